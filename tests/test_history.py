"""What happened, as the journal keeps it: for the next process, for one that reads meanwhile, and for how long."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.errors import Refused
from raftmon.happenings import GONE_SECONDS, Happening, Key, Kind, Ledger, is_news
from raftmon.history import History
from raftmon.journal import Journal
from raftmon.journal_file import MIGRATIONS, Damaged
from raftmon.model import Snapshot
from tests.test_journal import ENTRY

FIRING = Happening(
    1_000.0,
    "finding",
    "/runs/a",
    "a",
    "nan-loss",
    "firing",
    "The loss is no number.",
    severity="critical",
    step=12,
    readings={"loss.nan": 1.0, "loss.drawup": None},
    title="Loss is NaN",
)
VERDICT = Happening(1_001.0, "verdict", "/runs/a", "a", "", "too_high", "It draws up.", step=12, value=0.9)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "state" / "journal.sqlite3")


def at(time: float, state: str, path: str = "/runs/a", rule: str = "nan-loss", kind: Kind = "finding") -> Happening:
    return dataclasses.replace(FIRING, at=time, state=state, path=path, subject=rule, kind=kind)


def states(found: Iterable[Happening]) -> dict[Key, str]:
    return {happening.key: happening.state for happening in found}


def test_what_was_noted_stands_as_it_was(history: History) -> None:
    assert list(history.standing()) == []
    assert not history.path.exists()

    history.note([FIRING, VERDICT])

    assert list(history.standing()) == [dataclasses.replace(one, place=one.path) for one in (FIRING, VERDICT)]


def test_of_one_subject_the_newest_stands(history: History) -> None:
    history.note([at(1, "pending"), at(2, "firing"), at(3, "firing", rule="other")])
    history.note([at(4, "resolved"), at(5, "firing", path="/runs/b")])

    assert states(history.standing()) == {
        ("/runs/a", "finding", "nan-loss"): "resolved",
        ("/runs/a", "finding", "other"): "firing",
        ("/runs/b", "finding", "nan-loss"): "firing",
    }


def test_what_is_as_if_nothing_had_been_said_does_not_stand(history: History) -> None:
    history.note([at(1, "firing"), at(2, "firing", rule="other"), at(3, "begun", kind="problem", path="/runs/a/f:3")])
    history.note([at(4, "gone"), at(5, "inactive", rule="other"), dataclasses.replace(VERDICT, state="undecided")])
    history.note([at(6, "over", kind="problem", path="/runs/a/f:3")])

    assert list(history.standing()) == []
    assert len(list(history.lines())) == 7


def test_problems_stand_wherever_they_are_and_the_newest_of_very_many(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftmon.history.KNOWN_PROBLEMS", 2)
    history.note([at(n, "begun", kind="problem", path=f"/elsewhere/{n}") for n in range(3)])

    assert [found.path for found in history.standing([tmp_path])] == ["/elsewhere/1", "/elsewhere/2"]


def test_what_was_deleted_while_no_daemon_ran_is_told_once_and_noted(history: History, tmp_path: Path) -> None:
    runs, link = tmp_path / "runs", tmp_path / "link"
    (runs / "a").mkdir(parents=True)
    link.symlink_to(runs)
    history.note([at(1, "firing", f"{runs}/a"), at(1, "begun", "/runs/f:3", "damaged", kind="problem")])
    (runs / "a").rmdir()

    ledger, empty = Ledger(history.standing([link])), Snapshot((str(link),), (), (), (), version=1)
    (over,) = ledger.take(empty, 10.0, 0.0)
    (gone,) = ledger.take(empty, 20.0, GONE_SECONDS)
    assert (over.kind, over.path, over.state) == ("problem", "/runs/f:3", "over")
    assert (gone.path, gone.state, is_news(gone)) == (f"{link}/a", "gone", True)
    history.note([over, gone])
    assert list(history.standing()) == []


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from(["firing", "gone"])), max_size=4
        ),
        max_size=4,
    )
)
def test_what_stands_is_what_was_said_last(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, str, str]]]
) -> None:
    history, last = History(tmp_path_factory.mktemp("history") / "j.sqlite3"), dict[Key, str]()
    for batch in batches:
        said = [at(1, state, f"/{run}", rule) for run, rule, state in batch]
        history.note(said)
        last.update(states(said))

    assert states(history.standing()) == {key: state for key, state in last.items() if state != "gone"}


def test_a_run_is_known_whichever_way_leads_to_it(history: History, tmp_path: Path) -> None:
    runs, link = tmp_path / "runs", tmp_path / "link"
    (runs / "a").mkdir(parents=True)
    link.symlink_to(runs)
    history.note([at(1, "firing", f"{link}/a")])

    assert {found.path for found in history.standing()} == {f"{link}/a", f"{runs}/a"}
    history.note([at(2, "resolved", f"{runs}/a")])
    other = tmp_path / "other"
    other.symlink_to(runs)
    assert states(history.standing([other])) == {
        (f"{way}/a", "finding", "nan-loss"): "resolved" for way in (runs, other)
    }, "no more than one line stands, and it is found by the way that leads there now"
    assert list(history.standing([tmp_path / "ru"])) == []


def test_a_directory_that_is_away_is_noted_as_before(history: History, tmp_path: Path) -> None:
    runs, link = tmp_path / "runs", tmp_path / "link"
    runs.mkdir()
    link.symlink_to(runs)
    history.note([at(1, "firing", str(link))])
    link.unlink()

    history.note([at(2, "gone", str(link))])

    assert list(history.standing()) == []
    assert [line.path for line in history.lines()] == [str(runs)] * 2


def test_paths_and_names_may_be_any_bytes_and_hold_no_secrets(history: History) -> None:
    odd = "/runs/\udcff"
    secret = "s3://user:secret@bucket/raft?sig=secret"
    history.note([dataclasses.replace(at(1, "firing", odd), name="\udcff", text="\x00\udcff"), at(2, "firing", secret)])
    history.note([at(3, "begun", "/runs/\x00:3", kind="problem"), at(4, "gone", "/runs/\x00\ud800")])

    assert {found.path for found in history.standing()} == {odd, "/runs/\\xff", "/runs/\x00:3", "s3://bucket/raft"}
    assert b"secret" not in history.path.read_bytes()


def test_numbers_that_no_column_holds_are_left_out(history: History) -> None:
    history.note([dataclasses.replace(VERDICT, step=2**63, value=float("nan"))])

    (found,) = history.standing()
    assert (found.step, found.value) == (None, None)


def test_old_lines_are_forgotten_but_not_what_stands_of_what_is_there(history: History) -> None:
    journal = Journal(history.path, clock=lambda: 1.0)
    journal.begin(ENTRY)
    journal.mute("/runs/a", "nan-loss")
    history.note([at(1, "firing"), at(2, "resolved", rule="over"), at(3, "resolved", "/runs/gone")])
    history.note([at(4, "pending", rule="again"), at(5, "firing", rule="again"), at(50, "firing", "/runs/new")])
    history.note([at(6, "firing", "/runs/gone", rule="open")])

    assert history.forget(40.0, present=["/runs/a"]) == 3

    assert [(line.at, line.kind, line.path) for line in history.lines()] == [
        (1.0, "finding", "/runs/a"),
        (1.0, "override", "/c/campaign"),
        (1.0, "mute", "/runs/a"),
        (2.0, "finding", "/runs/a"),
        (5.0, "finding", "/runs/a"),
        (50.0, "finding", "/runs/new"),
    ]
    assert history.forget(40.0, present=["/runs/a"]) == 0
    assert history.forget(40.0) == 3, "what was said last, of a run that is no more"


def free_pages(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as connection:
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))


@pytest.mark.parametrize("old", [False, True], ids=["new", "of an older version"])
def test_the_room_of_what_was_forgotten_is_given_back(history: History, old: bool) -> None:
    if old:
        make_old(history.path, 2)
    text = "x" * 400
    history.note([dataclasses.replace(at(n, "firing", rule=f"{n % 7}"), text=text) for n in range(12_000)])
    pages = free_pages(history.path)[1]

    assert history.forget(20_000.0, present=["/runs/a"]) == 12_000 - 7, "more than go in one transaction"

    assert free_pages(history.path)[0] == 0
    assert free_pages(history.path)[1] < pages / 10
    assert len(list(history.standing())) == 7


def make_old(path: Path, schema: int) -> None:
    """Make a journal as an older raftmon did, statement by statement."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statements in MIGRATIONS[:schema]:
            connection.executescript(statements)
        connection.execute(
            "INSERT INTO overrides VALUES (1, 10.0, 'pre-cycle', 'written', '/c/raft.yaml', '/c', 'lr', 2, 1e-5, 0.5,"
            " x'789c030000000001', x'789c030000000001', '{\"text\": \"Lower.\"}', 20.0)"
        )
        if schema >= 2:
            connection.execute("INSERT INTO mutes VALUES (1, 15.0, '/c/cycle_1', 'nan-loss', NULL, 25.0)")
        connection.execute(f"PRAGMA user_version = {schema}")


@pytest.mark.parametrize("schema", [1, 2])
def test_a_journal_of_an_older_version_keeps_what_it_holds(history: History, schema: int) -> None:
    make_old(history.path, schema)
    content = [(10.0, "override", "written"), (20.0, "override", "undone")]
    if schema >= 2:
        content = [content[0], (15.0, "mute", "muted"), content[1], (25.0, "mute", "lifted")]
    assert list(history.standing()) == []
    assert [(line.at, line.kind, line.state) for line in history.lines()] == content, "read without a write"

    history.note([at(30, "firing")])

    assert [(line.at, line.kind, line.state) for line in history.lines()] == [*content, (30.0, "finding", "firing")]
    (entry,) = Journal(history.path).entries()
    assert (entry.before, entry.undone_at) == (b"", 20.0)
    with closing(sqlite3.connect(history.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def test_lines_are_in_the_order_of_time_a_page_at_a_time(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmon.timeline.PAGE", 3)
    history.note([at(5, "firing", rule=str(n)) for n in range(8)])
    history.note([at(1, "pending"), at(9, "firing")])  # the clock went back
    Journal(history.path, clock=lambda: 5.5).mute("/runs/a", "nan-loss")

    times = [line.at for line in history.lines()]

    assert times == [1.0, *[5.0] * 8, 5.5, 9.0]
    assert [line.at for line in history.lines(since=5.0, until=5.5)] == [5.0] * 8
    assert [line.at for line in history.lines(kinds=["mute"])] == [5.5]


def test_a_place_has_what_lies_below_it_and_its_overrides(history: History) -> None:
    Journal(history.path, clock=lambda: 4.0).begin(ENTRY)
    paths = ["/c/campaign", "/c/campaign/cycle_1", "/c/campaign-2", "/c/campaign.old", "/c"]
    history.note([at(n, "firing", path) for n, path in enumerate(paths)])

    assert [line.at for line in history.lines("/c/campaign")] == [0.0, 1.0, 4.0]
    assert len(list(history.lines("/"))) == len(list(history.lines("/c"))) == 6
    assert [line.config for line in history.lines("/c/raft.yaml")] == ["/c/raft.yaml"]


def test_nobody_is_held_back_by_a_reader_that_thinks(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmon.timeline.PAGE", 2)
    history.note([at(n, "firing", rule=str(n)) for n in range(6)])
    lines = history.lines()
    next(lines)

    history.note([at(7, "firing", rule="7")])
    with closing(sqlite3.connect(history.path)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert busy == 0
    assert [line.at for line in lines] == [1.0, 2.0, 3.0, 4.0, 5.0, 7.0]


def test_a_broken_journal_is_told_apart_from_one_that_is_locked(history: History) -> None:
    history.note([at(n, "firing", rule=str(n)) for n in range(500)])
    with history.path.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xff" * 20_000)

    with pytest.raises(Damaged, match=r"damaged|malformed") as caught:
        history.file.check()
    assert isinstance(caught.value, Refused)
