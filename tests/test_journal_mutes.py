"""Which findings are muted, as the journal keeps it: for several processes, and from the journals of older versions."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.errors import Refused
from raftmon.journal import Journal
from raftmon.journal_file import MIGRATIONS
from raftmon.model import Mute
from tests.test_journal import ENTRY


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    times = iter(range(1_000, 2_000))
    return Journal(tmp_path / "state" / "journal.sqlite3", clock=lambda: float(next(times)))


def standing(journal: Journal) -> set[tuple[str, str]]:
    return {(mute.path, mute.rule) for mute in journal.mutes() if mute.lifted_at is None}


def test_a_mute_is_kept_with_when_and_until_when(journal: Journal) -> None:
    assert journal.mutes() == []
    assert not journal.path.exists(), "nobody has muted anything yet"

    journal.mute("/runs/a", "loss-draws-up", 55.5)
    journal.mute("/runs/b", "loss-draws-up")
    journal.lift("/runs/a", "loss-draws-up")

    assert journal.mutes() == [
        Mute("/runs/a", "loss-draws-up", 55.5, at=1_000.0, lifted_at=1_002.0),
        Mute("/runs/b", "loss-draws-up", None, at=1_001.0),
    ]


def test_muted_again_is_muted_anew(journal: Journal) -> None:
    journal.mute("/runs/a", "nan-loss", 1.0)
    journal.mute("/runs/a", "nan-loss", 2.0)

    assert [(m.seen, m.lifted_at) for m in journal.mutes()] == [(1.0, 1_001.0), (2.0, None)]


def test_what_is_not_muted_is_lifted_in_vain(journal: Journal) -> None:
    journal.mute("/runs/a", "nan-loss")
    journal.lift("/runs/a", "loss-draws-up")
    journal.lift("/runs/b", "nan-loss")

    assert standing(journal) == {("/runs/a", "nan-loss")}


def test_a_run_is_known_by_its_directory_not_by_the_way_to_it(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    journal.mute(str(tmp_path / "link"), "nan-loss")
    journal.mute("s3://user:secret@bucket/raft/cycle_1", "nan-loss")

    assert standing(journal) == {
        (os.path.realpath(tmp_path / "runs"), "nan-loss"),
        ("s3://bucket/raft/cycle_1", "nan-loss"),
    }
    journal.lift(str(tmp_path / "runs"), "nan-loss")
    assert len(standing(journal)) == 1


def test_the_name_of_a_run_may_be_any_bytes(journal: Journal) -> None:
    journal.mute("/runs/\udcff\udcfe", "nan-loss")
    journal.lift("/runs/\udcff\udcfe", "nan-loss")

    assert [mute.path for mute in journal.mutes()] == ["/runs/\\xff\\xfe"]
    assert standing(journal) == set()


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.sampled_from("xy")), max_size=8))
def test_what_stands_is_what_was_said_last(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[bool, str, str]]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal") / "j.sqlite3")
    last: dict[tuple[str, str], bool] = {}
    for muted, run, rule in said:
        (journal.mute if muted else journal.lift)(f"/{run}", rule)
        last[f"/{run}", rule] = muted

    assert standing(journal) == {key for key, muted in last.items() if muted}
    assert len(journal.mutes()) == sum(muted for muted, _, _ in said), "nothing is ever deleted"


def test_a_journal_of_an_older_version_is_read_and_then_brought_up(journal: Journal) -> None:
    journal.begin(ENTRY)
    with closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute("DROP TABLE mutes")
        connection.execute("DROP TABLE happenings")
        connection.execute("PRAGMA user_version = 1")
    assert journal.mutes() == []
    assert len(journal.entries()) == 1

    journal.mute("/runs/a", "nan-loss")

    assert standing(journal) == {("/runs/a", "nan-loss")}
    assert len(journal.entries()) == 1
    with closing(sqlite3.connect(journal.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_several_processes_mute_at_once(journal: Journal) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom raftmon.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for number in range(10):\n"
        "    journal.mute('/runs/all', 'nan-loss')\n"
        "    journal.mute(f'/runs/{sys.argv[2]}', f'rule-{number}')\n"
    )
    command = [sys.executable, "-c", script, str(journal.path)]
    writers = [subprocess.Popen([*command, str(n)], cwd=Path(__file__).parents[1]) for n in range(3)]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]

    expected = {("/runs/all", "nan-loss")} | {(f"/runs/{n}", f"rule-{m}") for n in range(3) for m in range(10)}
    assert standing(journal) == expected


def test_it_is_read_while_another_process_writes(journal: Journal) -> None:
    journal.mute("/runs/a", "nan-loss")
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE mutes SET lifted_at = 1")
        found: list[Mute] = []
        reader = threading.Thread(target=lambda: found.extend(journal.mutes()))
        reader.start()
        reader.join(4.0)  # less than a locked journal is waited for
        assert [mute.lifted_at for mute in found] == [None]
        other.execute("ROLLBACK")


@pytest.mark.parametrize("what", ["mute", "lift"])
def test_a_journal_that_cannot_be_used_is_told(tmp_path: Path, what: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"no database " * 100)
    for path in (file, file / "below"):
        with pytest.raises(Refused, match="the journal cannot be used") as caught:
            getattr(Journal(path), what)("/runs/a", "nan-loss")
        assert "--journal PATH" in caught.value.remedy
    with pytest.raises(Refused, match="the journal cannot be used"):
        Journal(file).mutes()
