"""Muting a finding for its run: by key, kept by a store that may fail, block or be shared; no notice, never gone."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content
from textual.message import Message

from raftmon.cli import main
from raftmon.errors import Refused
from raftmon.journal import Journal
from raftmon.model import CampaignView, Mute, RunView, Snapshot
from raftmon.tui.app import RaftmonApp
from raftmon.tui.mutes import JournalMutes, Mutes, MutesArrived
from raftmon.tui.screens.finding import FindingSheet, explained, finding_lines
from raftmon.tui.screens.rules import rule_lines
from raftmon.tui.text import MUTED
from raftmon.tui.widgets.advice_panel import advice_lines
from raftmon.tui.widgets.lines import LinesView
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, running
from tests.views import make_finding, make_run

RULE, THEIRS = "loss-draws-up", "cycle-rate-falls"
TITLE = "Loss climbs away from its lowest point"
LOCKED = Refused("/state/journal.sqlite3", "the journal cannot be used: database is locked", "Give another journal.")


@dataclass
class FakeStore:
    """Mutes in memory; fails or waits on command."""

    mutes: dict[tuple[str, str], Mute] = field(default_factory=dict)
    trouble: Exception | None = None
    asked: int = 0
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def place(self, path: str) -> str:
        return path

    def standing(self) -> list[Mute]:
        self.asked += 1
        assert self.gate.wait(10)
        if self.trouble is not None:
            raise self.trouble
        return list(self.mutes.values())

    def keep(self, path: str, rule: str, seen: float | None, muted: bool) -> None:
        assert self.gate.wait(10)
        if self.trouble is not None:
            raise self.trouble
        if muted:
            self.mutes[path, rule] = Mute(path, rule, seen, 1.0)
        else:
            self.mutes.pop((path, rule), None)


def live(snapshot: Snapshot) -> RunView:
    return snapshot.runs[0]


def store_with(view: RunView | CampaignView, rule: str = RULE, seen: float | None = None) -> FakeStore:
    store = FakeStore()
    store.keep(view.path, rule, seen, True)
    return store


def muting(*keys: tuple[str, str]) -> Mutes:
    """Mutes without a store that hold something."""
    mutes = Mutes()
    for path, rule in keys:
        mutes.toggle(make_run(path=path), rule)
    return mutes


def all_muted(view: RunView | CampaignView, rule: str) -> bool:
    return True


def calm_and_alarm() -> tuple[Snapshot, Snapshot]:
    alarm = snapshots.raft(2)
    quiet = replace(live(alarm), findings=())
    return replace(alarm, version=1, runs=(quiet, *alarm.runs[1:])), alarm


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_m_mutes_the_finding_shown_and_again_unmutes_it(size: tuple[int, int]) -> None:
    store = FakeStore()
    async with running(snapshots.raft(), size, mutes=store) as session:
        run = live(snapshots.raft())
        await session.press("enter")
        assert "m mute" in session.text("#hint")
        await session.press("m")
        assert "muted for this run: no notice, no bell" in session.text("#text").replace("\n", " ")
        assert "m unmute" in session.text("#hint")
        await session.muted()
        assert list(store.mutes) == [(run.path, RULE)]
        assert store.mutes[run.path, RULE].seen == run.last_wall_time
        await session.press("right", "m")
        assert "muted for this campaign" in session.text("#text")
        await session.muted()
        assert (snapshots.raft_campaign().path, THEIRS) in store.mutes
        await session.press("left", "m", "escape")
        await session.muted()
        assert [rule for _, rule in store.mutes] == [THEIRS]
        assert session.closed_sheets


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_it_stays_in_the_advice_dimmed_and_last(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        before = session.text("#advice")
        await session.press("enter", "m", "escape")
        await session.pilot.pause()
        await session.press("tab", "G")
        shown = session.text("#advice")
        assert before != shown
        assert "muted" in shown
        assert shown.rindex("◆ high") > shown.rindex("config") if "config" in shown else "◆ high" in shown
        await session.press("shift+tab", "enter")
        assert TITLE in session.text("#text") or THEIRS in session.text("#text")


def test_the_muted_lines_of_the_panel_are_dimmed_and_keep_glyph_and_word() -> None:
    snapshot = snapshots.raft()
    run, campaign = live(snapshot), snapshot.campaigns[0]
    keys = {(run.path, RULE), (campaign.path, THEIRS)}
    lines = advice_lines(run, campaign, 100, is_muted=lambda view, rule: (view.path, rule) in keys)
    ours, theirs = lines[-2:]
    assert ours.plain.startswith("◆ high     Loss climbs away from its lowest point")
    assert "since step 9 · muted" in ours.plain
    assert "since cycle 4 · muted" in theirs.plain
    assert {str(span.style) for span in ours.spans} == {MUTED}
    assert sum(TITLE in line.plain for line in lines) == 1
    loud = advice_lines(run, campaign, 100)
    assert [line.plain for line in loud if line.plain not in {other.plain for other in lines}] != []
    assert not any("muted" in line.plain for line in loud)
    assert [line.plain for line in lines[:2]] == [line.plain for line in loud[:2]], "the verdict stays"


def test_a_pending_finding_is_muted_too() -> None:
    run = make_run(findings=(make_finding(state="pending"),))
    (last,) = advice_lines(run, None, 100, is_muted=all_muted)[-1:]
    assert "pending since step 9 · muted" in last.plain


def test_a_muted_finding_of_the_campaign_does_not_take_the_first_place() -> None:
    campaign = replace(snapshots.raft_campaign(), next=None)
    run = make_run()
    first = advice_lines(run, campaign, 100)[0].plain
    assert "UNDECIDED" not in first
    assert "UNDECIDED" in advice_lines(run, campaign, 100, is_muted=all_muted)[0].plain


def test_the_sheet_says_what_a_mute_does_not_do() -> None:
    def words(lines: list[Content]) -> str:
        return " ".join(" ".join(line.plain for line in lines).split())

    muted = words(finding_lines(make_finding(severity="critical"), False, 60, muted=True))
    assert "muted for this run: no notice, no bell; the verdict and the learning rate stay as they are" in muted
    assert "✖ critical" in muted
    assert "muted" not in words(finding_lines(make_finding(), False, 60))


def test_what_is_muted_is_explained_after_what_is_not_but_never_left_out() -> None:
    run = make_run(findings=(make_finding("a", severity="critical"), make_finding("b", severity="low")))
    assert [f.rule for f, _ in explained(run, None)] == ["a", "b"]
    assert [f.rule for f, _ in explained(run, None, muting((run.path, "a")).holds)] == ["b", "a"]
    lines = rule_lines(explained(run, None), 100, muting((run.path, "a")).holds)
    assert ["muted" in line.plain for line in lines] == [False, True, False]


async def test_the_pages_of_an_open_sheet_keep_their_places() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("enter")
        first = session.text("#text").splitlines()[0]
        await session.press("m", "right", "left")
        assert session.text("#text").splitlines()[0] == first
        await session.press("escape", "enter")
        assert session.text("#text").splitlines()[0] != first, "opened anew, what is not muted comes first"


async def test_muting_does_not_scroll_the_text() -> None:
    async with running(snapshots.raft(), SMALL) as session:
        await session.press("enter", "pagedown")
        text = session.app.screen.query_one("#text", LinesView)
        before = text.top
        await session.press("m")
        assert text.top == before > 0


async def test_a_verdict_cannot_be_muted() -> None:
    store = FakeStore()
    async with running(snapshots.raft(), mutes=store) as session:
        await session.press("w")
        assert " mute" not in session.text("#hint")
        await session.press("m")
        assert [n.message for n in session.app._notifications] == [
            "Turn to a finding first: a verdict cannot be muted."
        ]
        assert not store.mutes


async def test_the_key_is_changed_by_its_id_and_stands_in_help_and_palette() -> None:
    async with running(snapshots.raft(), LARGE) as session:
        session.app.set_keymap({"finding-mute": "x"})
        commands = {c.title: c for c in session.app.get_system_commands(session.app.screen)}
        entry = commands["Mute or unmute a finding for its run"]
        assert entry.help == "opens the explanation; key: enter, x"
        entry.callback()
        await session.pilot.pause()
        assert isinstance(session.app.screen, FindingSheet)
        assert "x mute" in session.text("#hint")
        await session.press("x")
        assert "x unmute" in session.text("#hint")
        await session.press("escape", "question_mark", "G")
        read = session.text()
        for _ in range(4):
            await session.press("pageup")
            read += session.text()
        assert "Sheet WHY" in read
        assert "Mute the finding for this run, or unmute it" in read


async def test_a_muted_finding_makes_no_notice_and_no_bell() -> None:
    calm, alarm = calm_and_alarm()
    for store, notices in ((FakeStore(), 1), (store_with(live(alarm)), 0)):
        async with running(calm, mutes=store) as session:
            await session.push(alarm)
            await session.muted()
            assert len(session.app._notifications) == notices
            assert session.app.bells == notices


async def test_what_is_muted_is_asked_before_a_notice_as_others_mute_too() -> None:
    """The journal holds what another process has muted meanwhile."""
    calm, alarm = calm_and_alarm()
    store = FakeStore()
    async with running(calm, mutes=store) as session:
        await session.muted()
        assert store.asked == 1
        store.keep(live(alarm).path, RULE, None, True)
        await session.push(alarm)
        await session.muted()
        assert not session.app._notifications
        await session.press("tab", "G")
        assert "muted" in session.text("#advice")


async def test_a_mute_stays_when_the_finding_ends_and_fires_again() -> None:
    calm, alarm = calm_and_alarm()
    ended = replace(
        alarm,
        runs=(replace(live(alarm), findings=(make_finding(state="resolved"),)), *alarm.runs[1:]),
    )
    async with running(calm, mutes=store_with(live(alarm))) as session:
        for version, state in enumerate((alarm, ended, alarm), 2):
            await session.push(replace(state, version=version))
            await session.muted()
        assert not session.app._notifications
        assert session.app.bells == 0


async def test_a_journal_that_does_not_answer_silences_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmon.tui.app.HELD", 0.001)
    calm, alarm = calm_and_alarm()
    store = FakeStore()
    store.gate.clear()
    async with running(calm, mutes=store) as session:
        await session.push(alarm)
        while not session.app._notifications:
            await session.pilot.pause()
        assert session.app.bells == 1
        await session.press("enter", "m")
        assert "muted for this run" in session.text("#text"), "nor does it stop anything else"
        store.gate.set()
        await session.muted()
        assert list(store.mutes) == [(live(alarm).path, RULE)]
        assert session.app.bells == 1


async def test_where_it_cannot_be_kept_it_holds_until_the_end_and_is_told() -> None:
    calm, alarm = calm_and_alarm()
    store = FakeStore(trouble=LOCKED)
    async with running(alarm, mutes=store) as session:
        await session.muted()
        await session.press("enter", "m")
        await session.muted()
        first, second = (n.message for n in session.app._notifications)
        assert first == (
            "What was muted before is not known. "
            "/state/journal.sqlite3: the journal cannot be used: database is locked. Give another journal."
        )
        assert second.startswith("`loss-draws-up` is muted until raftmon ends. /state/journal.sqlite3: ")
        assert "muted for this run" in session.text("#text")
        await session.press("escape")
        for version, state in enumerate((calm, alarm), 3):
            await session.push(replace(state, version=version))
            await session.muted()
        assert session.app.bells == 0
        assert len(session.app._notifications) == 2, "that it cannot be read is said once"


async def test_any_fault_of_the_store_is_only_told() -> None:
    async with running(snapshots.raft(), mutes=FakeStore(trouble=ImportError("no [b]sqlite3\x1b"))) as session:
        await session.muted()
        ((notice),) = session.app._notifications
        assert notice.message.endswith("ImportError: no [b]sqlite3\N{REPLACEMENT CHARACTER}")
        assert session.closed_sheets


async def test_without_a_store_a_mute_ends_with_the_program() -> None:
    calm, alarm = calm_and_alarm()
    async with running(alarm) as session:
        await session.press("enter", "m", "escape")
        for version, state in enumerate((calm, alarm), 3):
            await session.push(replace(state, version=version))
        assert not session.app._notifications
    async with running(calm) as session:
        await session.push(alarm)
        assert len(session.app._notifications) == 1


async def test_what_was_pressed_last_is_what_is_kept() -> None:
    store = FakeStore()
    async with running(snapshots.raft(), mutes=store) as session:
        await session.press("enter", *"mmm")
        await session.muted()
        assert [rule for _, rule in store.mutes] == [RULE]
        await session.press(*"mm", "m")
        await session.muted()
        assert not store.mutes
        assert "m mute" in session.text("#hint")


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


class Desk:
    """Mutes, over a fake store unless given, each answer taken in before the next question."""

    def __init__(self, mutes: Mutes | None = None) -> None:
        self.store, self.answers = FakeStore(), queue.SimpleQueue[MutesArrived]()
        self.mutes = mutes or Mutes(self.store)
        self.mutes.begin(self._post)
        self.take()

    def _post(self, message: Message) -> bool:
        self.answers.put(cast(MutesArrived, message))
        return True

    def take(self) -> str:
        return self.mutes.take(self.answers.get(timeout=10))


@given(st.lists(st.sampled_from(["press 0", "press 1", "theirs 0", "theirs 1", "break", "mend", "ask"]), max_size=12))
def test_what_was_said_here_holds_and_else_what_the_store_says(moves: list[str]) -> None:
    desk = Desk()
    runs = [make_run(path=f"/runs/{n}") for n in range(2)]
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
