"""The journal of overrides: what it keeps, for whom, and what it says when it cannot be used."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from raftmon.errors import Refused
from raftmon.journal import Entry, Journal, default_path
from raftmon.journal_file import MIGRATIONS

ENTRY = Entry(
    at=0.0,
    kind="pre-cycle",
    state="intended",
    config="/c/raft.yaml",
    campaign="/c/campaign",
    key="training.learning_rate",
    cycle=3,
    learning_rate=3.61e-5,
    evidence_factor=0.5,
    before=b"a: \xc3\xbc\r\n",
    after=b"b: 2\n",
    document={"refused": None, "because": [{"rule": "x"}]},
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal.sqlite3", clock=lambda: 1_000.5)


def test_what_was_noted_is_read_back(journal: Journal) -> None:
    assert journal.entries() == []
    assert not journal.path.exists()

    number = journal.begin(ENTRY)
    journal.finish(number, "written")

    (found,) = journal.entries()
    assert found == dataclasses.replace(ENTRY, at=1_000.5, state="written", id=number)


def test_standing_overrides_are_those_of_the_file_the_newest_first(journal: Journal, tmp_path: Path) -> None:
    config, link = tmp_path / "raft.yaml", tmp_path / "link.yaml"
    config.touch()
    link.symlink_to(config)
    mine = dataclasses.replace(ENTRY, config=os.path.realpath(config))
    first, second, third, fourth = (journal.begin(mine) for _ in range(4))
    journal.begin(ENTRY)
    journal.finish(second, "failed")
    journal.undo(third)

    assert [entry.id for entry in journal.standing(link)] == [fourth, first]
    assert len(journal.entries()) == 5


def test_nobody_else_may_read_it(journal: Journal) -> None:
    """Configs hold tokens."""
    journal.begin(ENTRY)

    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_it_is_in_wal_mode_with_a_version(journal: Journal) -> None:
    journal.begin(ENTRY)
    with sqlite3.connect(journal.path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def test_one_of_a_newer_raftmon_is_left_alone(journal: Journal) -> None:
    journal.begin(ENTRY)
    with sqlite3.connect(journal.path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()

    for action in (lambda: journal.begin(ENTRY), journal.entries, lambda: list(journal.standing(Path("x")))):
        with pytest.raises(Refused, match=r"newer raftmon \(schema 7, known: 3\)"):
            action()


def test_a_file_that_is_no_journal_is_told(journal: Journal) -> None:
    journal.path.parent.mkdir()
    journal.path.write_bytes(b"no database " * 100)

    with pytest.raises(Refused, match="the journal cannot be used") as caught:
        journal.begin(ENTRY)
    assert "--journal PATH" in caught.value.remedy
    with pytest.raises(Refused, match="the journal cannot be used"):
        Journal(journal.path.parent).begin(ENTRY)
    with pytest.raises(Refused, match="the journal cannot be used"):
        Journal(journal.path / "below-a-file").begin(ENTRY)


def test_many_processes_write_at_once(journal: Journal) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom raftmon.journal import Journal\n"
        "from tests.test_journal import ENTRY\njournal = Journal(Path(sys.argv[1]))\n"
        "for _ in range(10):\n    journal.finish(journal.begin(ENTRY), 'written')\n"
    )
    command = [sys.executable, "-c", script, str(journal.path)]
    writers = [subprocess.Popen(command, cwd=Path(__file__).parents[1]) for _ in range(4)]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0, 0]

    assert [entry.state for entry in journal.entries()] == ["written"] * 40


def test_it_lies_in_the_state_directory_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert default_path() == tmp_path / "raftmon" / "journal.sqlite3"
    assert Journal().path == default_path()


def test_a_database_of_another_program_is_left_alone(journal: Journal) -> None:
    journal.path.parent.mkdir()
    with sqlite3.connect(journal.path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = journal.path.read_bytes()

    assert journal.entries() == []
    with pytest.raises(Refused, match="a database of another program"):
        journal.begin(ENTRY)
    assert journal.path.read_bytes() == before


def test_reading_writes_nothing(journal: Journal) -> None:
    journal.begin(ENTRY)
    before = journal.path.read_bytes()

    assert len(journal.entries()) == 1

    assert journal.path.read_bytes() == before


def test_a_damaged_entry_is_told(journal: Journal) -> None:
    journal.begin(ENTRY)
    with sqlite3.connect(journal.path) as connection:
        connection.execute("UPDATE overrides SET before = x'00'")
    connection.close()

    with pytest.raises(Refused, match="the journal cannot be used"):
        journal.entries()
    with pytest.raises(Refused, match="the journal cannot be used"):
        Journal(Path("/" + "x" * 300)).begin(ENTRY)
