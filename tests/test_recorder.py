"""The daemon's recorder: what happens reaches the journal, whatever becomes of the journal and its disk."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from raftmon.daemon.recorder import Pace, Recorder
from raftmon.errors import Refused
from raftmon.happenings import Happening
from raftmon.history import History
from raftmon.journal import Journal
from raftmon.journal_rescue import begin_anew
from tests import snapshots
from tests.test_history import FIRING, at
from tests.test_journal import ENTRY

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


def test_a_broken_journal_is_moved_aside_at_the_start_and_its_overrides_taken_along(path: Path) -> None:
    journal = Journal(path)
    journal.finish(journal.begin(ENTRY), "written")
    journal.mute("/runs/a", "nan-loss")
    History(path).note(news(*range(2_000)))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 10_000)
    broken = path.read_bytes()
    recorder = Recorder(path, clock=Clock(1_795_300_000.0))

    standing = recorder.open()

    (problem,) = recorder.problems()
    aside = path.with_name("journal.sqlite3.corrupt-20261121T222640Z")
    assert "damaged and a new one begun" in problem.what
    assert str(aside) in problem.remedy
    assert aside.read_bytes() == broken
    assert [entry.state for entry in journal.entries()] == ["written"]
    assert recorder.muted("/runs/a", "nan-loss")
    assert 0 < len(standing) < 2_000, "what could be read of it"
    recorder.note(news(5_000))
    assert recorder.turn()
    assert noted(path)[-2:] != []


def test_one_that_breaks_meanwhile_is_moved_aside(path: Path) -> None:
    recorder = Recorder(path, clock=Clock(1_795_300_000.0))
    recorder.open()
    path.write_bytes(b"no database " * 100)
    Path(f"{path}.corrupt-20261121T222640Z").touch()
    recorder.note(news(1))

    assert not recorder.turn()
    assert recorder.turn()

    assert Path(f"{path}.corrupt-20261121T222640Z-2").read_bytes() == b"no database " * 100
    assert noted(path) == [1]
    assert len(recorder.problems()) == 1


def test_what_lies_beside_a_journal_is_moved_with_it(path: Path) -> None:
    """SQLite would take the log of the old file for one of the new."""
    History(path).note(news(1))
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM mutes").fetchall()  # or else the last to close it deletes the log
        History(path).note(news(2))

        aside, kept = begin_anew(History(path).file, 0.0)

        assert Path(f"{aside}-wal").stat().st_size > 0
    assert (aside.name, kept) == ("journal.sqlite3.corrupt-19700101T000000Z", 2)
    assert noted(path) == [1, 2]


def test_a_disk_that_breaks_every_journal_does_not_fill_a_directory(path: Path) -> None:
    clock = Clock()
    recorder = Recorder(path, steady=clock)
    recorder.open()
    for _ in range(3):
        path.write_bytes(b"no database " * 100)
        recorder.note(news(1))
        assert not recorder.turn()
        clock.now += 60.0

    assert len(list(path.parent.glob("*.corrupt-*Z"))) == 1
    clock.now += 3_600.0
    assert not recorder.turn()
    assert recorder.turn()
    assert noted(path) == [1] * 3


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()

    with pytest.raises(Refused, match="another program"):
        Recorder(path).open()
    assert path.read_bytes() == before


def test_a_journal_that_another_process_holds_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmon.journal_file.BUSY_SECONDS", 0.01)
    History(path).note(news(1))
    recorder = Recorder(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        recorder.open()
        recorder.note(news(2))
        assert not recorder.turn()
        (problem,) = recorder.problems()
        assert "database is locked" in problem.what
        other.execute("ROLLBACK")

    assert recorder.turn()
    assert noted(path) == [1, 2]


def test_a_directory_that_cannot_be_used_is_a_problem_until_it_can(path: Path) -> None:
    path.parent.write_bytes(b"a file where the directory should be")
    recorder = Recorder(path)
    assert recorder.open() == []
    recorder.note(news(1))
    assert not recorder.turn()
    assert "the journal cannot be used" in recorder.problems()[0].what

    path.parent.unlink()

    assert recorder.turn()
    assert noted(path) == [1]


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
