"""kill -9 at any moment and a new start give the same Snapshot as an undisturbed follower.

`RAFTMON_KILLS` sets how often the disturbed follower is killed (4 unless told otherwise, some seconds).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scripted import event, header_record, record, simple

KILLS = int(os.environ.get("RAFTMON_KILLS", "4"))
SECONDS_PER_KILL = 1.6
"""A follower needs some 0.7 s to its first line: it is killed while it starts, while it reads, and while it waits."""
STEPS = 60 * KILLS
PATIENCE = 40.0
"""Seconds after which a follower that says nothing has failed."""


class Follower:
    """`raftmon advise --follow --format json` as a process of its own; the newest whole line is kept."""

    def __init__(self, logdir: Path) -> None:
        command = [sys.executable, "-m", "raftmon.cli", "advise", str(logdir), "--follow", "--format", "json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.newest: dict[str, Any] | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # the line that it was killed in does not count
                with self._changed:
                    self.newest = json.loads(line)
                    self._changed.notify_all()

    def wait_for(self, points: dict[str, int]) -> dict[str, Any]:
        """Wait until the newest line has so many points of the loss in each run."""

        def arrived() -> bool:
            found = {run["run"]: run["points"].get("loss") for run in (self.newest or {"runs": []})["runs"]}
            return found == points

        with self._changed:
            assert self._changed.wait_for(arrived, PATIENCE), self.newest
            assert self.newest is not None
            return self.newest

    def lives_for(self, seconds: float) -> bool:
        """Whether it still runs after some time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()
        self._thread.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


def points(step: int) -> bytes:
    """What a trainer logs at a step: a loss that falls, then rises."""
    loss = 3.0 - step / 100 if step < STEPS // 2 else 1.0 + step / 20
    values = [("train/loss", loss), ("train/grad_norm", 1.0 + step % 3), ("train/learning_rate", 1e-3)]
    return b"".join(record(event([simple(tag, value)], step=step, wall_time=time.time())) for tag, value in values)


def write_all(logdir: Path, stop: threading.Event, seed: int) -> None:
    """Two runs that grow in torn pieces; the first is restarted in the middle and goes on from an earlier step."""
    chance = random.Random(seed)
    first, again = logdir / "a" / "events.out.tfevents.1700000000.h", logdir / "a" / "events.out.tfevents.1700000009.h"
    second = logdir / "b" / "events.out.tfevents.1700000000.h"
    pause = KILLS * SECONDS_PER_KILL / STEPS
    for path in (first, second):
        path.parent.mkdir()
        path.write_bytes(header_record())
    for step in range(STEPS):
        stop.wait(pause)
        restarted = step >= STEPS // 2
        if step == STEPS // 2:
            again.write_bytes(header_record())
        for path, at in ((again if restarted else first, step - 10 if restarted else step), (second, step)):
            data = points(at)
            cut = chance.randrange(len(data))
            for piece in (data[:cut], data[cut:]):
                with path.open("ab") as file:
                    file.write(piece)


@pytest.fixture
def started() -> Iterator[list[Follower]]:
    """The followers that were started; they are ended with the test."""
    followers: list[Follower] = []
    yield followers
    for follower in followers:
        if follower.process.poll() is None:
            follower.kill()


@pytest.mark.timeout(120 + 4 * KILLS)
def test_a_follower_that_is_killed_and_started_again_says_the_same(tmp_path: Path, started: list[Follower]) -> None:
    seed, stop = random.SystemRandom().randrange(2**32), threading.Event()
    print(f"seed {seed}")
    chance = random.Random(seed)
    undisturbed = Follower(tmp_path)
    started.append(undisturbed)
    writer = threading.Thread(target=write_all, args=(tmp_path, stop, seed))
    writer.start()
    try:
        for _ in range(KILLS):
            disturbed = Follower(tmp_path)
            started.append(disturbed)
            disturbed.lives_for(chance.uniform(0.0, 2 * SECONDS_PER_KILL))
            disturbed.kill()
        writer.join()
    finally:
        stop.set()
        writer.join()
    last = Follower(tmp_path)
    started.append(last)

    expected = {"a": STEPS - 10, "b": STEPS}
    whole, anew = undisturbed.wait_for(expected), last.wait_for(expected)

    assert whole["problems"] == anew["problems"] == []
    assert anew == whole
    assert [run["last_step"] for run in sorted(whole["runs"], key=lambda run: run["run"])] == [STEPS - 11, STEPS - 1]
    assert any(finding["state"] == "firing" for run in whole["runs"] for finding in run["findings"])
