"""The daemon's recorder: what happens reaches the journal, whatever becomes of the journal and its disk."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from raftmon.daemon.recorder import Pace, Recorder
from raftmon.errors import Refused
from raftmon.happenings import Happening
from raftmon.history import History
from raftmon.journal import Journal
from tests import snapshots
from tests.test_history import FIRING, at

FULL = Refused("/state/journal.sqlite3", "the journal cannot be used: database or disk is full", "Give another.")


class Clock:
    """Time under test."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FullDisk(History):
    """A history that cannot be written while its disk is full."""

    full = True
    attempts = 0

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.again = threading.Event()

    def note(self, happenings: Sequence[Happening]) -> None:
        if happenings:
            self.attempts += 1
            if self.attempts > 5:
                self.again.set()
            if self.full:
                raise FULL
        super().note(happenings)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def noted(path: Path) -> list[float]:
    return [line.at for line in History(path).lines()]


def news(*times: float) -> list[Happening]:
    return [at(time, "firing", rule=str(time)) for time in times]


def test_what_is_taken_is_written_by_its_thread_and_all_of_it_at_the_end(path: Path) -> None:
    recorder = Recorder(path)
    assert recorder.open() == []
    recorder.start()
    for start in range(0, 3_000, 100):
        recorder.take(snapshots.raft(2), news(*range(start, start + 100)))
    recorder.close(10.0)

    assert noted(path) == list(range(3_000))
    assert (recorder.waiting, recorder.lost, list(recorder.problems())) == (0, 0, [])
    assert len(Recorder(path).open()) == 3_000
    assert len(Recorder(path).open(["/runs/b"])) == 0


def test_a_full_disk_costs_nothing_but_memory(path: Path) -> None:
    recorder = Recorder(path)
    recorder.history = disk = FullDisk(path)
    recorder.open()
    recorder.note(news(1, 2))
    assert not recorder.turn()
    recorder.note(news(3))
    assert not recorder.turn()

    (problem,) = recorder.problems()
    assert problem.what == "the journal cannot be used: database or disk is full; what happens waits in memory"
    assert recorder.waiting == 3
    disk.full = False
    assert recorder.turn()
    assert noted(path) == [1, 2, 3]
    assert recorder.problems() == []


def test_beyond_the_bound_the_oldest_are_lost_and_counted(path: Path) -> None:
    recorder = Recorder(path, pace=Pace(most=1_000))
    recorder.history = disk = FullDisk(path)
    recorder.open()
    recorder.note(news(*range(900)))
    assert not recorder.turn()
    recorder.note(news(*range(900, 1_300)))
    assert not recorder.turn()
    assert [problem.what[:4] for problem in recorder.problems()] == ["the ", "some"]

    disk.full = False
    assert recorder.turn()

    assert noted(path) == list(range(300, 1_300))
    assert recorder.lost == 300
    (problem,) = recorder.problems()
    assert problem.what == "300 happenings are in no journal: more than 1,000 waited for it"


def test_it_tries_again_less_and_less_often(path: Path) -> None:
    recorder = Recorder(path, pace=Pace(retries=(0.001, 0.002), refresh=60.0))
    recorder.history = disk = FullDisk(path)
    recorder.open()
    recorder.start()
    recorder.note(news(1))
    assert disk.again.wait(10)
    disk.full = False
    recorder.close(10)

    assert noted(path) == [1]


def test_a_disk_that_stays_full_does_not_hold_up_the_end(path: Path) -> None:
    clock = Clock()
    recorder = Recorder(path, steady=clock)
    recorder.history = FullDisk(path)
    recorder.open()
    recorder.note(news(1))
    recorder.start()
    recorder.close(0.0)

    assert recorder.waiting == 1


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    script = f"""
import dataclasses, os, pathlib, subprocess, sys
disk = pathlib.Path({str(tmp_path)!r})
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]).returncode:
    sys.exit(77)
from tests.test_recorder import *
path = disk / "journal.sqlite3"
recorder = Recorder(path)
recorder.open()
recorder.note(news(1)); assert recorder.turn()
(disk / "filler").write_bytes(b"x" * 900_000)
recorder.note([dataclasses.replace(one, text="y" * 1000) for one in news(*range(2, 2_000))])
assert not recorder.turn() and recorder.waiting == 1_998
assert "full" in recorder.problems()[0].what, recorder.problems()
assert noted(path) == [1], noted(path)
subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
assert recorder.turn() and not recorder.problems()
assert noted(path) == list(range(1, 2_000))
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
recorder.note(news(2_000))
assert not recorder.turn() and "readonly" in recorder.problems()[0].what.replace("read-only", "readonly")
assert len(noted(path)) == 1_999
subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
assert recorder.turn() and len(noted(path)) == 2_000
"""
    root = Path(__file__).parents[1]
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("this machine lets nobody mount anything")
    assert done.returncode == 0, done.stderr


def test_old_lines_are_forgotten_by_a_clock_that_did_not_jump(path: Path) -> None:
    wall, steady = Clock(10_000.0), Clock()
    recorder = Recorder(path, retention=5_000.0, clock=wall, steady=steady)
    recorder.open()
    recorder.take(snapshots.raft(2), [dataclasses.replace(at(100, "resolved"), path="/runs/gone"), *news(13_000)])
    assert recorder.turn()
    assert noted(path) == [100, 13_000]

    wall.now, steady.now = 10_000.0 + 1e6, 600.0
    assert recorder.turn()
    assert noted(path) == [100, 13_000], "the clock jumped ahead"
    wall.now, steady.now = 13_600.0, 4_200.0
    assert recorder.turn()
    assert noted(path) == [100, 13_000], "and back"
    wall.now, steady.now = 17_200.0, 7_800.0
    assert recorder.turn()
    assert noted(path) == [13_000]


def test_how_long_is_kept_may_change_while_it_runs(path: Path) -> None:
    wall, steady = Clock(10_000.0), Clock()
    recorder = Recorder(path, clock=wall, steady=steady)
    recorder.open()
    recorder.take(snapshots.raft(2), [dataclasses.replace(one, state="resolved") for one in news(100, 9_500)])

    def later(seconds: float) -> list[float]:
        wall.now += seconds
        steady.now += seconds
        assert recorder.turn()
        return noted(path)

    assert later(3_600.0) == [100, 9_500], "for ever"
    recorder.retain(10_000.0)
    assert later(100.0) == [100, 9_500], "not at once"
    assert later(500.0) == [9_500]
    recorder.retain(None)
    assert later(1e6) == [9_500]


def test_what_a_person_muted_elsewhere_is_known_after_a_while(path: Path, tmp_path: Path) -> None:
    steady = Clock()
    recorder = Recorder(path, steady=steady)
    recorder.open()
    run, link = tmp_path / "run", tmp_path / "link"
    run.mkdir()
    link.symlink_to(run)
    journal = Journal(path)
    journal.mute(str(link), "nan-loss", seen=100.0)
    assert not recorder.muted(str(run), "nan-loss")

    steady.now = 5.0
    assert recorder.turn()

    assert recorder.muted(str(run), "nan-loss", began=50.0)
    assert recorder.muted(str(link), "nan-loss")
    assert not recorder.muted(str(run), "nan-loss", began=101.0), "another run began there"
    assert not recorder.muted(str(run), "loss-draws-up")
    journal.lift(str(run), "nan-loss")
    steady.now = 10.0
    assert recorder.turn()
    assert not recorder.muted(str(run), "nan-loss")


def test_a_fault_of_its_own_is_told_and_does_not_end_the_thread(path: Path) -> None:
    recorder = Recorder(path)
    recorder.open()
    recorder.note([dataclasses.replace(FIRING, readings={"x": object()})])  # type: ignore[dict-item]

    assert not recorder.turn()

    assert "a defect of raftmon: TypeError" in recorder.problems()[0].what
