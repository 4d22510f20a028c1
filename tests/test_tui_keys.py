"""The application by keys and mouse."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from textual.binding import Binding
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from raftmon.model import Snapshot
from raftmon.tui.app import RaftmonApp
from raftmon.tui.bindings import bindings_of, key_names
from raftmon.tui.screens.help import HelpSheet, help_lines
from raftmon.tui.screens.overview import Overview
from raftmon.tui.screens.problems import ProblemsSheet
from raftmon.tui.widgets.filter_bar import FilterBar
from raftmon.tui.widgets.keys_bar import KeysBar
from raftmon.tui.widgets.lines import LinesView
from raftmon.tui.widgets.runs_table import RunsTable
from raftmon.tui.widgets.status_bar import StatusBar
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, ScriptedSource, running


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_cursor_goes_through_the_runs(size: tuple[int, int]) -> None:
    async with running(snapshots.many(300), size) as session:
        names = [run.run for run in session.table.shown]

        def selected() -> str:
            assert session.table.selected is not None
            return session.table.selected.run

        await session.press("j", "down")
        assert selected() == names[2]
        await session.press("k", "up", "up")
        assert selected() == names[0]
        await session.press("G")
        assert selected() == names[299]
        assert "seed-299" in session.text(RunsTable)
        assert "of 300" in session.text(RunsTable)
        await session.press("pageup")
        assert names.index(selected()) in range(285, 299)
        await session.press("home")
        assert selected() == names[0]
        assert "seed-000" in session.text("#advice-heading")


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_filter(size: tuple[int, int]) -> None:
    async with running(snapshots.many(40), size) as session:
        await session.press("slash", *"seed-01")
        assert session.focused == session.app.screen.query_one(Input).id
        assert len(session.table.shown) == 10
        assert not session.app.screen.query_one(KeysBar).display
        await session.press("enter")
        assert session.focused == "runs"
        assert session.app.screen.query_one(KeysBar).display
        assert len(session.table.shown) == 10
        await session.press("escape")
        assert len(session.table.shown) == 40
        await session.press("slash", *"nothing")
        assert "no run matches the filter “nothing”" in session.text(RunsTable)
        await session.press("escape")
        assert len(session.table.shown) == 40
        assert not session.app.screen.query_one(FilterBar).display
        await session.press("slash", *"/(/")
        assert "not a regular expression" in session.text("#filter-error")


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_log_scale(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("y")
        assert " log" in session.text("#plot-0")
        await session.press("y")
        assert " log" not in session.text("#plot-0")


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_pause_freezes_the_view_and_not_the_intake(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("space")
        assert "PAUSED" in session.text(StatusBar)
        polls = session.source.polls
        await session.push(snapshots.raft(2, count=13))
        assert session.source.polls > polls
        assert "12/16" in session.text(RunsTable)
        assert "newer data waits" in session.text(StatusBar)
        await session.press("j")
        assert session.table.selected is not None
        assert session.table.selected.cycle == 1, "a frozen view can still be looked around in"
        await session.press("space")
        assert "13/16" in session.text(RunsTable)
        assert "PAUSED" not in session.text(StatusBar)


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_help_lists_keys_and_signs(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("question_mark")
        assert isinstance(session.app.screen, HelpSheet)
        text = "\n".join(line.plain for line in session.app.screen.lines(200))
        assert "Freeze the view; reading goes on" in text
        assert "undecided" in text
        await session.press("question_mark")
        assert session.closed_sheets


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_problems(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("p")
        assert isinstance(session.app.screen, ProblemsSheet)
        assert "2 records have a wrong checksum" in session.text()
        assert "→ Nothing to do" in session.text()
        await session.press("q")
        assert session.closed_sheets


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_tab_goes_through_the_panels(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        order, marks = [], []
        for _ in range(4):
            order.append(session.focused)
            marks.append([title for title in ("RUNS", "ADVICE", "LOSS") if session.underlined(title)])
            await session.press("tab")
        assert order == ["runs", "advice", "charts", "runs"]
        assert marks == [["RUNS"], ["ADVICE"], ["LOSS"], ["RUNS"]]
        await session.press("shift+tab")
        assert session.focused == "runs"


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_value_cursor_is_in_step_in_all_charts(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("left_square_bracket")
        assert session.cursor() == 9000
        await session.press("left", "h")
        at = session.cursor()
        assert at is not None
        assert 8700 < at < 9000
        assert f"step {at:.0f}" in session.text("#plot-0")
        await session.press("l", "right", "right_square_bracket")
        assert session.cursor() == 9000
        await session.press("escape")
        assert session.cursor() is None
        assert "step" not in session.text("#plot-0").splitlines()[0]


async def test_the_keys_of_the_charts() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("tab", "tab", "g")
        assert session.cursor() == 1
        await session.press("G")
        assert session.cursor() == 12
        await session.press("j")
        assert "GRAD NORM" in session.text("#plot-0")
        await session.press("k", "k")
        assert "VERIFIED" in session.text("#plot-0")
        await session.press("left")
        assert session.cursor() == 11


async def test_the_cursor_stays_within_its_run() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("left", "left")
        assert session.cursor() == 11
        await session.push(snapshots.raft(2, count=13))
        assert session.cursor() == 11
        await session.press("j")
        assert session.cursor() is None


async def test_the_advice_scrolls() -> None:
    async with running(snapshots.raft(), SMALL) as session:
        await session.press("tab", "j", "j")
        advice = session.app.screen.query_one("#advice", LinesView)
        assert advice.top == 2
        await session.press("G")
        assert "config:" in session.text("#advice")
        await session.press("pageup", "g", "k")
        assert advice.top == 0
        await session.press("pagedown")
        assert advice.top > 0
        await session.push(snapshots.raft(2, count=13))
        assert advice.top > 0, "news do not scroll what is being read"
        session.table.focus()
        await session.press("j")
        assert advice.top == 0


async def test_the_mouse_selects_and_scrolls() -> None:
    async with running(snapshots.raft()) as session:
        await session.pilot.click(RunsTable, offset=(10, 3))
        assert session.table.selected is not None
        assert session.table.selected.cycle == 2


async def test_copy_takes_the_advice() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("c")
        assert "LEARNING RATE TOO HIGH" in session.app.clipboard
        assert "Lower the learning rate" in session.app.clipboard


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_q_quits(size: tuple[int, int], key: str) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press(key)
    assert session.app.return_value == 0
    assert session.source.closed


async def test_q_does_not_wait_for_a_poll_that_hangs() -> None:
    class Hanging(ScriptedSource):
        """Never comes back from a poll."""

        def poll(self) -> Snapshot:
            self.at_rest.set()
            threading.Event().wait()
            raise AssertionError

    source = Hanging(snapshots.empty())
    app = RaftmonApp(source)
    async with app.run_test(size=SMALL) as pilot:
        await asyncio.to_thread(source.at_rest.wait, 10)
        await pilot.press("q")
    assert app.return_value == 0


def test_the_line_of_keys_is_short() -> None:
    assert sum(binding.show for binding in (*bindings_of(RaftmonApp), *bindings_of(Overview))) <= 8


async def test_keys_can_be_changed_and_the_help_says_so() -> None:
    async with running(snapshots.raft()) as session:
        session.app.set_keymap({"pause": "f5"})
        await session.press("f5")
        assert session.app.paused
        await session.press("question_mark")
        assert any("f5" in line.plain for line in session.app.screen.query_one("#text", LinesView).lines)


async def test_the_palette_offers_the_actions() -> None:
    async with running(snapshots.raft()) as session:
        commands = {c.title: c for c in session.app.get_system_commands(session.app.screen)}
        commands["Logarithmic or linear y axes"].callback()
        await session.pilot.pause()
        assert session.charts.log_scale


def test_key_names_are_readable() -> None:
    assert key_names("down,j") == "↓ j"
    assert key_names("left_square_bracket") == "["
    lines = help_lines([("Here", [Binding("x", "a", "Do", id="do", tooltip="Do it")])], {"do": "z"}, 60)
    assert lines[1].plain.split() == ["z", "Do", "it"]


def _alive(kind: type) -> int:
    """How many objects of a class there are."""
    gc.collect()
    # `type`, not `isinstance`: objects of other libraries do not like to be asked for their class.
    return sum(issubclass(type(found), kind) for found in gc.get_objects())


async def test_opening_and_closing_leaves_nothing_behind() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("question_mark", "escape", "2", "escape", "3", "escape")
        widgets, lines = _alive(Widget), _alive(Strip)
        for _ in range(5):
            await session.press("question_mark", "escape", "p", "escape", "2", "escape", "3", "escape")
        assert _alive(Widget) <= widgets
        # Each of these twenty screens was drawn in thirty lines or so.
        assert _alive(Strip) <= lines + 100


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_a_click_on_a_key_does_what_it_does(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        bar = session.app.screen.query_one(KeysBar)
        text = bar.render_line(0).text
        await session.pilot.click(KeysBar, offset=(text.index("y Log") + 3, 0))
        assert session.charts.log_scale
        await session.pilot.click(KeysBar, offset=(size[0] - 1, 0))
        assert session.closed_sheets


async def test_the_keys_that_have_no_room_are_left_out_whole() -> None:
    async with running(snapshots.raft(), (36, 24)) as session:
        assert session.app.screen.query_one(KeysBar).render_line(0).text.split() == [
            *("/", "Filter", "y", "Log", "⏎", "Why", "v", "Chart")
        ]
