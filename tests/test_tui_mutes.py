"""Muting a finding for its run by key: dimmed and last, but never gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.content import Content

from raftmon.model import CampaignView, RunView
from raftmon.tui.mutes import Mutes
from raftmon.tui.screens.finding import FindingSheet, explained, finding_lines
from raftmon.tui.screens.rules import rule_lines
from raftmon.tui.text import MUTED
from raftmon.tui.widgets.advice_panel import advice_lines
from raftmon.tui.widgets.lines import LinesView
from tests import snapshots
from tests.muting import RULE, THEIRS, TITLE, FakeStore, live
from tests.tui_session import LARGE, MEDIUM, SMALL, running
from tests.views import make_finding, make_run


def muting(*keys: tuple[str, str]) -> Mutes:
    """Mutes without a store that hold something."""
    mutes = Mutes()
    for path, rule in keys:
        mutes.toggle(make_run(path=path), rule)
    return mutes


def all_muted(view: RunView | CampaignView, rule: str) -> bool:
    return True


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
        assert "Verification rate fell below the best cycle" in session.text("#text")


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
