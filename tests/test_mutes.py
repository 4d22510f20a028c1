"""Which findings are muted: what was said here, what the journal holds, what is another run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.cli import main
from raftmon.journal import Journal, place_of
from raftmon.model import Mute
from raftmon.tui.app import RaftmonApp
from raftmon.tui.mutes import JournalMutes, Mutes, MutesArrived
from tests import snapshots
from tests.muting import LOCKED, RULE, Desk
from tests.test_journal import ENTRY
from tests.tui_session import running
from tests.views import make_finding, make_run


def test_another_run_in_the_same_directory_is_not_muted() -> None:
    run = make_run(first_wall_time=100.0, last_wall_time=200.0, findings=(make_finding(),))
    again = replace(run, first_wall_time=300.0, last_wall_time=400.0)
    mutes = Mutes()
    assert mutes.toggle(run, RULE) is True
    assert mutes.holds(run, RULE)
    assert mutes.holds(replace(run, last_wall_time=900.0), RULE), "the same run goes on"
    assert mutes.holds(replace(run, first_wall_time=None), RULE)
    assert not mutes.holds(again, RULE)
    mutes.take(MutesArrived([Mute(run.path, "nan-loss", 200.0, 0.0)], None, ""))
    assert mutes.holds(run, "nan-loss")
    assert not mutes.holds(again, "nan-loss")
    assert mutes.toggle(again, RULE) is True


@given(st.lists(st.sampled_from(["press 0", "press 1", "theirs 0", "theirs 1", "break", "mend", "ask"]), max_size=12))
def test_what_was_said_here_holds_and_else_what_the_store_says(moves: list[str]) -> None:
    desk = Desk()
    runs = [make_run(path=f"/runs/{n}") for n in range(2)]
    desk.mutes.ask(runs)
    desk.take()
    here: dict[int, bool] = {}
    known = {0: False, 1: False}
    try:
        for move in moves:
            what, _, name = move.partition(" ")
            if what in ("break", "mend"):
                desk.store.trouble = LOCKED if what == "break" else None
                continue
            if what == "theirs":
                run, held = runs[int(name)], desk.store.trouble
                desk.store.trouble = None
                desk.store.keep(run.path, RULE, None, (run.path, RULE) not in desk.store.mutes)
                desk.store.trouble = held
                continue
            if what == "press":
                number = int(name)
                before = here.get(number, known[number])
                assert desk.mutes.toggle(runs[number], RULE) is not before
                here[number] = not before
                told = desk.take()
                assert bool(told) is (desk.store.trouble is not None)
                if not told:
                    del here[number]
            else:
                desk.mutes.ask()
                desk.take()
            if desk.store.trouble is None:
                known = {n: (run.path, RULE) in desk.store.mutes for n, run in enumerate(runs)}
            for n, run in enumerate(runs):
                assert desk.mutes.holds(run, RULE) is here.get(n, known[n])
    finally:
        desk.mutes.stop()


def test_the_end_waits_for_what_is_to_be_kept_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    run = make_run()
    desk.mutes.toggle(run, RULE)
    desk.mutes.stop()
    assert (run.path, RULE) in desk.store.mutes
    monkeypatch.setattr("raftmon.tui.mutes.LAST_WORD", 0.001)
    stuck = Desk()
    stuck.store.gate.clear()
    stuck.mutes.toggle(run, RULE)
    stuck.mutes.stop()
    assert not stuck.store.mutes
    stuck.store.gate.set()


@pytest.mark.parametrize("name", ["runs", "link"])
async def test_the_journal_keeps_it_for_the_next_time(tmp_path: Path, name: str) -> None:
    """Whichever way leads to the run."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    file = tmp_path / "state" / "journal.sqlite3"
    run = make_run(path=str(tmp_path / name), findings=(make_finding(),))
    async with running(snapshots.snapshot([run]), mutes=JournalMutes(file)) as session:
        await session.muted()
        assert not file.exists(), "looking writes nothing"
        await session.press("enter", "m")
        await session.muted()
    assert [(mute.path, mute.rule) for mute in Journal(file).mutes()] == [(str(tmp_path / "runs"), RULE)]
    again = replace(run, path=str(tmp_path / "runs"))
    calm = snapshots.snapshot([replace(again, findings=())])
    async with running(calm, mutes=JournalMutes(file)) as session:
        await session.push(replace(snapshots.snapshot([again]), version=2))
        await session.muted()
        assert not session.app._notifications
        await session.press("enter")
        assert "muted for this run" in session.text("#text")
        await session.press("m")
        await session.muted()
    assert [mute.lifted_at is None for mute in Journal(file).mutes()] == [False]


@pytest.mark.parametrize("broken", ["damaged", "directory", "newer"])
async def test_a_journal_that_cannot_be_used_stops_nothing(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "journal.sqlite3"
    if broken == "directory":
        file.mkdir()
    elif broken == "damaged":
        file.write_bytes(b"no database " * 100)
    else:
        import sqlite3

        Journal(file).mute("/a", "b")
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    async with running(snapshots.raft(), mutes=JournalMutes(file)) as session:
        await session.muted()
        await session.press("enter", "m")
        await session.muted()
        messages = [n.message for n in session.app._notifications]
        assert len(messages) == 2
        for message in messages:
            assert str(file) in message
            assert "--journal PATH" in message
        assert "muted for this run" in session.text("#text")


async def test_the_cycles_show_what_another_process_wrote_into_the_config(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    snapshot = snapshots.raft()
    (campaign,) = snapshot.campaigns
    journal = Journal(file, clock=lambda: 1_795_300_000.0)
    entry = replace(ENTRY, campaign=place_of(campaign.path), cycle=5, learning_rate=7.77e-5)
    journal.finish(journal.begin(replace(entry, learning_rate=9e-5)), "written")
    number = journal.begin(entry)
    async with running(snapshot, mutes=JournalMutes(file)) as session:
        await session.press("2")
        await session.muted()
        assert "LR 9e-5" in session.text("#plan"), "the other is only intended"

        journal.finish(number, "written")
        session.app.mutes.ask()
        await session.muted()
        written = " ".join(session.text("#plan").split())
        assert "written cycle 5: LR 7.77e-5" in written
        assert "raft.yaml" in written

        journal.undo(number)
        session.app.mutes.ask()
        await session.muted()
        assert "LR 9e-5" in session.text("#plan"), "what stands now that it was taken back"


def test_watch_takes_the_mutes_of_the_journal_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --apply, too."""
    opened: list[RaftmonApp] = []

    def run(app: RaftmonApp) -> int:
        opened.append(app)
        return 0

    monkeypatch.setattr(RaftmonApp, "run_in_terminal", run)
    with pytest.raises(SystemExit) as end:
        main(["watch", str(tmp_path), "--journal", str(tmp_path / "mine.sqlite3")])
    assert end.value.code == 0
    mutes = opened[0].mutes
    desk = Desk(mutes)
    mutes.toggle(make_run(path=str(tmp_path / "run")), RULE)
    assert desk.take() == ""
    mutes.stop()
    assert [(m.path, m.rule, m.lifted_at) for m in Journal(tmp_path / "mine.sqlite3").mutes()] == [
        (str(tmp_path / "run"), RULE, None)
    ]
