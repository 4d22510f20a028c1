"""A recorder whose journal is broken, held by another, or not to be used: moved aside, waited for, or left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from raftmon.daemon.recorder import Recorder
from raftmon.errors import Refused
from raftmon.history import History
from raftmon.journal import Journal
from raftmon.journal_rescue import begin_anew
from tests.test_journal import ENTRY
from tests.test_recorder import Clock, news, noted

__all__ = ["die_in_a_transaction"]

DIE = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 5")  # so that changed pages reach the file before the end
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE happenings SET text = text || hex(randomblob(900))")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the journal lie on what is taken for a network file system: it has a rollback journal, and no WAL."""
    monkeypatch.setattr("raftmon.journal_file.is_remote", lambda _: True)


def die_in_a_transaction(path: Path) -> None:
    """Leave a journal as a process does that was killed while it wrote to it."""
    subprocess.run([sys.executable, "-c", DIE, str(path)], check=False)
    assert Path(f"{path}-journal").stat().st_size


@pytest.mark.usefixtures("remote")
def test_what_a_killed_writer_left_half_written_is_taken_back(path: Path) -> None:
    History(path).note(news(*range(500)))
    die_in_a_transaction(path)

    recorder = Recorder(path)

    assert len(recorder.open()) == 500
    assert recorder.problems() == []
    assert list(path.parent.iterdir()) == [path], "nothing is moved aside, nothing left"
    assert noted(path) == list(range(500))


@pytest.mark.usefixtures("remote")
def test_a_reader_takes_it_back_too(path: Path) -> None:
    History(path).note(news(*range(500)))
    die_in_a_transaction(path)

    assert {line.text for line in History(path).lines()} == {news(1)[0].text}
    assert noted(path) == list(range(500))


@pytest.mark.usefixtures("remote")
def test_what_nobody_can_take_back_is_neither_read_nor_called_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    History(path).note(news(*range(500)))
    die_in_a_transaction(path)
    connect = sqlite3.connect

    def only_reading(database: str, **rest: object) -> sqlite3.Connection:
        """As SQLite does with a file that may not be written to."""
        return connect(database.replace("mode=rw", "mode=ro"), **rest)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("raftmon.journal_file.sqlite3.connect", only_reading)
    monkeypatch.setattr("raftmon.journal_file.os.access", lambda *_: False)

    for ask in (History(path).file.check, lambda: noted(path)):
        with pytest.raises(Refused, match="readonly database") as caught:
            ask()
        assert type(caught.value) is Refused


@pytest.mark.usefixtures("remote")
def test_a_rollback_journal_is_moved_aside_with_its_journal(path: Path) -> None:
    """SQLite would write the old file's pages into the new one."""
    History(path).note(news(*range(500)))
    die_in_a_transaction(path)

    aside, kept = begin_anew(History(path).file, 0.0)

    assert kept == 500
    assert noted(path) == list(range(500))
    assert sorted(path.parent.iterdir()) == [path, aside], "what was saved was read with it"


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
