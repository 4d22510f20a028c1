"""Follows a logdir in a process of its own, whose limits can be lowered and which can be stopped.

usage: python -m tests.watching LOGDIR COUNT
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raftmon.monitor import Monitor
from raftmon.runs.watch import Changes, Watcher
from tests.scripted import scalar_record

PATIENCE = 30.0
"""Seconds after which what is awaited counts as lost."""


class Clock:
    """Seconds, by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Seen:
    """What a watcher has told so far."""

    def __init__(self) -> None:
        self.directories: set[str] = set()
        self.everything = False

    def add(self, changes: Changes) -> None:
        """Take in what was told."""
        self.directories |= changes.directories | changes.unsure
        self.everything = self.everything or changes.everything


def told_of(watcher: Watcher, directory: Path) -> None:
    """Wait until a directory is told of."""
    seen = Seen()
    while str(directory) not in seen.directories:
        assert watcher.wait(PATIENCE)
        seen.add(watcher.take())


class Noting(Watcher):
    """A watcher that remembers whether it asked for a look at everything."""

    asked = 0

    def take(self, patience: float = 0.0) -> Changes:
        """Hand over the changes."""
        changes = super().take(patience)
        self.asked += changes.everything and not self.polling
        return changes


def unshared() -> bool:
    """Tell whether a program can be started with lower limits on inotify than those of the machine."""
    if shutil.which("unshare") is None:
        return False
    trial = "echo 3 > /proc/sys/user/max_inotify_watches"
    return subprocess.run(["unshare", "-Ur", "sh", "-c", trial], capture_output=True, check=False).returncode == 0


def follow(
    logdir: Path,
    *,
    writes: Sequence[str],
    limits: Mapping[str, int] | None = None,
    before: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Let a process follow a logdir, write one point into each of some directories, and return what it has seen.

    Args:
        logdir: what is followed.
        writes: directories below it, made where they are missing.
        limits: of the follower, by their names in ``/proc/sys/user``.
        before: done while the follower is stopped, with the writes after it.
    """
    command = [sys.executable, "-m", "tests.watching", str(logdir), str(len(writes))]
    if limits:
        lower = "; ".join(f"echo {number} > /proc/sys/user/{name}" for name, number in limits.items())
        command = ["unshare", "-Ur", "sh", "-c", f'{lower}; exec "$@"', "sh", *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "following\n"
        if before is not None:
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            before()
        for name in writes:
            (logdir / name).mkdir(parents=True, exist_ok=True)
            (logdir / name / "events.out.tfevents.1").write_bytes(scalar_record("loss", 1.0, 1))
        if before is not None:
            os.kill(process.pid, signal.SIGCONT)
        report: dict[str, Any] = json.loads(process.stdout.readline())
    return report


def main(logdir: Path, count: int) -> None:
    """Follow until so many runs have a point, then say what was seen."""
    watcher = Noting([logdir])
    monitor = Monitor([logdir], watcher=watcher)
    snapshot = monitor.poll()
    while watcher.wait(0.2) or snapshot.backfilling:
        snapshot = monitor.poll()
    watcher.asked = 0
    print("following", flush=True)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        monitor.wait(0.5)
        snapshot = monitor.poll()
        if sum(run.last_step is not None for run in snapshot.runs) >= count and not snapshot.backfilling:
            break
    points = {run.run: run.series["loss"].count for run in snapshot.runs if "loss" in run.series}
    problems = [{"what": problem.what, "remedy": problem.remedy} for problem in snapshot.problems]
    print(json.dumps({"points": points, "problems": problems, "everything": watcher.asked > 0}), flush=True)
    monitor.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
