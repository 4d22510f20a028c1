"""The screen of cycles, by keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.binding import Binding

from raftmon.model import CampaignView, Snapshot
from raftmon.tui.screens.cycles import CyclesScreen
from raftmon.tui.screens.help import HelpSheet
from raftmon.tui.widgets.lines import LinesView
from raftmon.tui.widgets.status_bar import StatusBar
from tests import snapshots
from tests.test_cycles_table import with_changes
from tests.tui_session import LARGE, MEDIUM, SMALL, Session, running
from tests.views import make_cycle

SIZES = [SMALL, MEDIUM, LARGE]


def raft(version: int = 1, **changes: Any) -> Snapshot:
    campaign = with_changes(snapshots.raft_campaign(**changes))
    return replace(snapshots.raft(version), campaigns=(campaign,))


def long_campaign(count: int = 60) -> CampaignView:
    cycles = tuple(make_cycle(n, 0.3 + 0.002 * n, 5e-5) for n in range(1, count + 1))
    return with_changes(snapshots.raft_campaign(cycles=cycles, best_cycle=count, next=None))


def rows(session: Session) -> str:
    return session.text("#cycles-rows")


@pytest.mark.parametrize("size", SIZES)
async def test_the_cycles_of_the_selected_run(size: tuple[int, int]) -> None:
    async with running(raft(), size) as session:
        await session.press("2")
        assert isinstance(session.app.screen, CyclesScreen)
        text = session.text()
        for words in ("CYCLES models/raft", "best ★ cycle 3 · 39.7%", "NEXT CYCLE 5", "roll back to cycle 3"):
            assert words in text
        table = rows(session)
        assert ">      4" in table
        assert "★↩    3" in table
        for words in ("3.07e-5", "34.1%", "-5.6 real", "0.6600"):
            assert words in table
        assert ("2992" in table) == (size != SMALL)
        assert "4 runs   ● 1 live" in session.text(StatusBar)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", ["escape", "q", "1"])
async def test_the_way_back(size: tuple[int, int], key: str) -> None:
    async with running(raft(), size) as session:
        await session.press("2", key)
        assert session.closed_sheets


@pytest.mark.parametrize("size", SIZES)
async def test_many_cycles_are_scrolled_by_keys(size: tuple[int, int]) -> None:
    state = replace(raft(), runs=(), campaigns=(long_campaign(),))
    async with running(state, size) as session:
        await session.press("2")
        assert session.focused == "cycles-rows"
        assert rows(session).splitlines()[-1].split()[:2] == ["★", "60"]
        await session.press("g")
        assert rows(session).split()[0] == "1"
        await session.press("j", "down")
        assert rows(session).split()[0] == "3"
        await session.press("k", "up", "pagedown")
        assert int(rows(session).split()[0]) >= 3
        await session.press("pageup", "home")
        assert rows(session).split()[0] == "1"
        await session.press("G")
        assert rows(session).splitlines()[-1].split()[1] == "60"
        assert "cycle" in session.text("#cycles-head")


@pytest.mark.parametrize("size", SIZES)
async def test_the_other_panel_is_reached_by_tab(size: tuple[int, int]) -> None:
    async with running(raft(), size) as session:
        await session.press("2")
        assert session.underlined("CYCLES")
        await session.press("tab")
        assert session.focused == "plan"
        assert session.underlined("PLAN")
        await session.press("G")
        assert "[--*--]: rate and its" in session.text("#plan")
        await session.press("shift+tab")
        assert session.focused == "cycles-rows"


async def test_all_of_the_plan_can_be_read_on_a_small_screen() -> None:
    async with running(raft(), SMALL) as session:
        await session.press("2", "tab")
        seen = ""
        for _ in range(5):
            seen += session.text("#plan")
            await session.press("pagedown")
        for words in (
            "arithmetic",
            "guardrail: within",
            "STRATEGIES",
            "as advised",
            "→ decay 0.85",
            "more than chance explains",
        ):
            assert words in seen


@pytest.mark.parametrize("size", SIZES)
async def test_the_selected_run_s_cycle_is_in_view(size: tuple[int, int]) -> None:
    campaign = long_campaign()
    state = raft()
    old = replace(state.runs[1], cycle=5)
    async with running(replace(state, runs=(old,), campaigns=(campaign,)), size) as session:
        await session.press("2")
        assert ">      5" in rows(session)


@pytest.mark.parametrize("size", SIZES)
async def test_no_campaign_is_said_in_a_sentence(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("2")
        assert "There is no campaign: no directory here" in session.text()
        assert "PLAN" not in session.text()
        await session.push(raft(2))
        assert "NEXT CYCLE 5" in session.text()
        assert "3.07e-5" in rows(session)
        await session.push(snapshots.pretraining(3))
        assert "There is no campaign" in session.text()
        await session.press("j", "tab", "escape")
        assert session.closed_sheets


async def test_a_run_of_no_campaign_names_those_that_there_are() -> None:
    state = raft()
    stray = snapshots.make_run("zz/alone")
    async with running(replace(state, runs=(*state.runs, stray))) as session:
        await session.press("G", "2")
        assert "The selected run belongs to no campaign; there is models/raft." in session.text()


async def test_news_arrive_and_nothing_is_painted_without_them() -> None:
    async with running(raft()) as session:
        await session.press("2")
        quiet = []
        # On a slow machine a late layout may paint once more: that is not what would paint at every push.
        for _ in range(4):
            painted = session.app.displays
            await session.push(raft())
            quiet.append(session.app.displays == painted)
        assert quiet.count(True) >= 2
        more = (*snapshots.raft_campaign().cycles, make_cycle(5, 0.412, 2.61e-5))
        await session.push(raft(2, cycles=more, best_cycle=5))
        assert "41.2%" in rows(session)
        assert "best ★ cycle 5" in session.text()


async def test_the_place_that_was_scrolled_to_is_kept() -> None:
    state = replace(raft(), runs=(), campaigns=(long_campaign(),))
    async with running(state) as session:
        await session.press("2", "g", "j")
        await session.push(replace(state, version=2, campaigns=(long_campaign(61),)))
        assert rows(session).split()[0] == "2"


def test_every_key_can_be_explained_and_rebound() -> None:
    bindings = [binding for binding in CyclesScreen.BINDINGS if isinstance(binding, Binding)]
    assert len(bindings) == len(CyclesScreen.BINDINGS)
    assert all(binding.id and binding.tooltip and binding.description for binding in bindings)


async def test_a_pause_freezes_it() -> None:
    async with running(raft()) as session:
        await session.press("2", "space")
        await session.push(raft(2, best_cycle=2))
        assert "PAUSED" in session.text(StatusBar)
        assert "best ★ cycle 3" in session.text()
        await session.press("space")
        assert "best ★ cycle 2" in session.text()


async def test_the_keys_can_be_changed_and_are_in_the_help() -> None:
    async with running(raft()) as session:
        session.app.set_keymap({"cycles": "f2"})
        await session.press("f2")
        assert isinstance(session.app.screen, CyclesScreen)
        await session.press("question_mark")
        assert isinstance(session.app.screen, HelpSheet)
        text = "\n".join(line.plain for line in session.app.screen.query_one("#text", LinesView).lines)
        assert "All cycles of the campaign" in text
        assert "f2" in text


@pytest.mark.parametrize("size", [(1, 1), (20, 6), (45, 12), (300, 12), (60, 90)])
async def test_odd_terminals_are_survived(size: tuple[int, int]) -> None:
    async with running(raft(), size) as session:
        for key in ("2", "j", "G", "tab", "pagedown", "g", "escape"):
            await session.press(key)
        assert session.closed_sheets


async def test_the_layout_follows_the_terminal() -> None:
    async with running(raft(), LARGE) as session:
        await session.press("2")
        assert "med. entropy" in session.text("#cycles-head")
        await session.pilot.resize_terminal(80, 24)
        await session.settle()
        assert "med. entropy" not in session.text("#cycles-head")
        assert "last loss" in session.text("#cycles-head")
