"""The application: from a scripted source to the screen, by keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Footer, Input, Label

from raftmon.model import Problem, Snapshot
from raftmon.tui.announce import new_alarms
from raftmon.tui.app import RaftmonApp
from raftmon.tui.filter import RunFilter
from raftmon.tui.plot import Plot
from raftmon.tui.screens.finding import FindingSheet, explained, finding_lines
from raftmon.tui.screens.help import HelpSheet, help_lines, key_names
from raftmon.tui.screens.overview import Overview
from raftmon.tui.screens.problems import ProblemsSheet
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.source import SnapshotArrived, SnapshotFailed
from raftmon.tui.text import cut_end, cut_middle, fit, metric, number, plain, run_name, steps
from raftmon.tui.widgets.advice_panel import advice_lines, verdict_line
from raftmon.tui.widgets.campaign_panel import CampaignPanel, campaign_lines, next_lines
from raftmon.tui.widgets.charts_panel import ChartsPanel
from raftmon.tui.widgets.filter_bar import FilterBar
from raftmon.tui.widgets.lines import Heading, LinesView, heading, wrap
from raftmon.tui.widgets.run_columns import COLUMNS, columns_for, common_directory
from raftmon.tui.widgets.runs_table import RunsTable
from raftmon.tui.widgets.status_bar import Status, StatusBar, status_line
from tests import snapshots

SMALL, MEDIUM, LARGE = (80, 24), (120, 30), (200, 50)


class ScriptedSource:
    """Hands out what the test pushed; waits without a clock until the next push."""

    def __init__(self, first: Snapshot | Exception) -> None:
        self._state = first
        self._news = threading.Event()
        self.at_rest = threading.Event()
        self.polls = 0
        self.failures = threading.Semaphore(0)
        self.closed = False

    def push(self, state: Snapshot | Exception) -> None:
        """Let the worker find something else at its next poll."""
        self.at_rest.clear()
        self._state = state
        self._news.set()

    def poll(self) -> Snapshot:
        """Return or raise what was pushed last."""
        self.polls += 1
        if isinstance(self._state, Exception):
            self.failures.release()
            raise self._state
        return self._state

    def wait(self, timeout: float) -> bool:
        """Block until a push or the end."""
        self.at_rest.set()
        self._news.wait()
        if not self.closed:
            self._news.clear()
        return True

    def close(self) -> None:
        """End the wait."""
        self.closed = True
        self._news.set()


class CountingApp(RaftmonApp):
    """Counts how often the terminal was written to."""

    displays = 0

    def post_display_hook(self) -> None:
        """Count."""
        self.displays += 1


class Session:
    """An application under test with its source."""

    def __init__(self, app: CountingApp, source: ScriptedSource, pilot: Pilot[int]) -> None:
        self.app, self.source, self.pilot = app, source, pilot

    async def settle(self) -> None:
        """Wait until the worker waits and all messages are handled."""
        assert await asyncio.to_thread(self.source.at_rest.wait, 10)
        await self.pilot.pause()

    async def push(self, state: Snapshot) -> None:
        """Let a snapshot arrive."""
        self.source.push(state)
        await self.settle()

    async def press(self, *keys: str) -> None:
        """Press keys; the pilot waits until they are handled."""
        await self.pilot.press(*keys)

    def text(self, selector: str | type[Widget] = "*") -> str:
        """Return what the widgets that draw lines show, line by line."""
        widgets = [w for w in self.app.screen.query(selector) if isinstance(w, OURS) and w.display]
        return "\n".join(w.render_line(y).text for w in widgets for y in range(w.size.height))

    def underlined(self, title: str) -> bool:
        """Return whether a heading is marked as that of the panel with the focus."""
        tops = [w.render_line(0) for w in self.app.screen.query("*") if isinstance(w, OURS) and w.display]
        return any(s.text == title and bool(s.style and s.style.underline) for strip in tops for s in strip)

    def selected(self) -> str | None:
        """Name of the selected run."""
        return self.table.selected.run if self.table.selected is not None else None

    def cursor(self) -> float | None:
        """Step under the value cursor."""
        return self.charts.cursor

    @property
    def closed_sheets(self) -> bool:
        """Whether the overview is on top."""
        return self.app.screen is self.overview

    @property
    def focused(self) -> str | None:
        """Id of the widget with the focus."""
        return self.app.focused.id if self.app.focused is not None else None

    @property
    def table(self) -> RunsTable:
        """The table of runs."""
        return self.overview.query_one(RunsTable)

    @property
    def charts(self) -> ChartsPanel:
        """The charts."""
        return self.overview.query_one(ChartsPanel)

    @property
    def overview(self) -> Overview:
        """The screen below all sheets."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, Overview)
        return screen


OURS = (LinesView, Heading, RunsTable, StatusBar, Plot, Label)


@asynccontextmanager
async def running(first: Snapshot, size: tuple[int, int] = MEDIUM) -> AsyncIterator[Session]:
    source = ScriptedSource(first)
    app = CountingApp(source, interval=0.001)
    async with app.run_test(size=size, notifications=True) as pilot:
        session = Session(app, source, pilot)
        await session.settle()
        yield session


# --- what is on the screen


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_verdict_advice_and_loss_are_on_every_screen(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        text = session.text()
        for words in (
            "LEARNING RATE TOO HIGH",
            "82% sure",
            "3.07e-5 → 1.84e-5",
            "NEXT CYCLE 5",
            "roll back to cycle 3",
        ):
            assert words in text
        assert "▲ too high 82%" in session.text(RunsTable)
        assert "LOSS 0.6600" in text
        assert "4 runs   ● 1 live" in session.text(StatusBar)
        assert "1 problem" in session.text(StatusBar)
        assert len(session.app.screen.query_one(Footer).children) <= 8


async def test_a_narrow_screen_shows_one_chart_below_the_advice() -> None:
    async with running(snapshots.raft(), SMALL) as session:
        advice, charts = session.app.screen.query_one("#advice"), session.charts
        assert len(charts.plots) == 1
        assert charts.region.y >= advice.region.bottom
        assert advice.size.height >= 5
        assert charts.size.height >= 7
        await session.press("v")
        assert "GRAD NORM" in session.text(Plot)
        await session.press("v", "v")
        assert "VERIFIED" in session.text(Plot)


async def test_a_large_screen_shows_more() -> None:
    async with running(snapshots.pretraining(), LARGE) as session:
        titles = [plot.chart.title for plot in session.charts.plots if plot.chart]
        assert titles == ["LOSS", "GRAD NORM", "LEARNING RATE", "EVAL LOSS", "ENTROPY"]
    async with running(snapshots.raft(), LARGE) as session:
        assert "± 95 %" in session.text(CampaignPanel)
        assert "dialect" in session.text(RunsTable)


async def test_the_layout_follows_the_terminal() -> None:
    async with running(snapshots.raft(), LARGE) as session:
        await session.pilot.resize_terminal(80, 24)
        await session.settle()
        assert len(session.charts.plots) == 1
        await session.pilot.resize_terminal(120, 30)
        await session.settle()
        assert len(session.charts.plots) == 4


@pytest.mark.parametrize("size", [(1, 1), (20, 6), (45, 12), (300, 12), (60, 90)])
async def test_odd_terminals_are_survived(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        for key in ("j", "v", "left", "y", "enter", "escape", "tab", "j"):
            await session.press(key)
        assert session.table.selected is not None


async def test_nothing_there_is_said_everywhere() -> None:
    async with running(snapshots.empty()) as session:
        text = session.text()
        assert f"waiting for event files in {snapshots.LOGDIR}" in text
        assert "no run to advise on yet" in text
        assert "CAMPAIGN none found" in text
        assert "nothing to draw yet" in text
        for key in ("j", "k", "G", "g", "enter", "escape", "right", "y", "v", "c", "p", "escape", "question_mark"):
            await session.press(key)


async def test_an_undecided_verdict_gives_its_reason() -> None:
    async with running(snapshots.snapshot([snapshots.make_run()])) as session:
        text = session.text("#advice")
        assert "? UNDECIDED" in text
        assert "16 steps and no grad_norm" in text
        assert "waiting for grad_norm (1 rule)" in text
        assert "no grad_norm logged" in session.text(Plot)


async def test_a_run_outside_the_campaigns() -> None:
    state = snapshots.raft()
    stray = snapshots.make_run("zz/alone")
    async with running(replace(state, runs=(*state.runs, stray))) as session:
        await session.press("G")
        assert "the selected run belongs to none; there is models/raft" in session.text("#campaign-heading")
        assert not session.app.screen.query_one(CampaignPanel).display
        await session.press("g")
        assert session.app.screen.query_one(CampaignPanel).display


async def test_a_campaign_of_sidecar_files_alone_is_shown() -> None:
    async with running(snapshots.snapshot((), (snapshots.raft_campaign(),))) as session:
        assert "NEXT CYCLE 5" in session.text("#advice")
        assert "VERIFIED 34.1%" in session.text(Plot)


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_hostile_names_are_only_text(size: tuple[int, int]) -> None:
    async with running(snapshots.hostile(), size) as session:
        text = session.text()
        assert "[red]evil[/r" in text
        assert "\x1b" not in text
        assert "[reverse]title[/]" in text
        for keys in (("enter", "right", "escape"), ("p", "escape"), ("v", "v", "v"), ("slash", "[", "enter")):
            await session.press(*keys)
            assert "\x1b" not in session.text()


async def test_nan_is_told_in_words() -> None:
    async with running(snapshots.diverged()) as session:
        assert "60 NaN 1 inf" in session.text(Plot)
        assert "NaN" in session.text(RunsTable)
        await session.press("j")
        assert "20 NaN: no finite value to draw" in session.text(Plot)


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light"])
async def test_themes_change_colours_only(theme: str) -> None:
    async with running(snapshots.raft()) as session:
        before = session.text()
        session.app.theme = theme
        await session.settle()
        assert session.text() == before


async def test_it_works_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with running(snapshots.raft()) as session:
        assert "▲ LEARNING RATE TOO HIGH" in session.text()


# --- keys


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
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
        assert names.index(selected()) in range(290, 299)
        await session.press("home")
        assert selected() == names[0]
        assert "seed-000" in session.text("#advice-heading")


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_the_filter(size: tuple[int, int]) -> None:
    async with running(snapshots.many(40), size) as session:
        await session.press("slash", *"seed-01")
        assert session.focused == session.app.screen.query_one(Input).id
        assert len(session.table.shown) == 10
        assert not session.app.screen.query_one(Footer).display
        await session.press("enter")
        assert session.focused == "runs"
        assert session.app.screen.query_one(Footer).display
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


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_log_scale(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("y")
        assert " log" in session.text("#plot-0")
        await session.press("y")
        assert " log" not in session.text("#plot-0")


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
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


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_help_lists_every_binding(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("question_mark")
        assert isinstance(session.app.screen, HelpSheet)
        text = "\n".join(line.plain for line in session.app.screen.lines(200))
        for binding in all_bindings(RaftmonApp, Overview, RunsTable, LinesView, ChartsPanel):
            assert binding.tooltip in text
        assert "undecided" in text
        await session.press("question_mark")
        assert session.closed_sheets


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_enter_explains_the_gravest_finding(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("enter")
        assert isinstance(session.app.screen, FindingSheet)
        text = session.text()
        for words in ("WHY models/raft/cycle_4/logs  1 of 5", "Loss climbs away", "since step 9", "loss.drawup", "4.6"):
            assert words in text
        await session.press("right")
        assert "since cycle 4" in session.text()
        await session.press("left", "left")
        assert "5 of 5" in session.text()
        await session.press("escape")
        assert session.closed_sheets


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_the_problems(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("p")
        assert isinstance(session.app.screen, ProblemsSheet)
        assert "2 records have a wrong checksum" in session.text()
        assert "→ Nothing to do" in session.text()
        await session.press("q")
        assert session.closed_sheets


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
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


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
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


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
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


# --- snapshots on their way


async def test_nothing_is_painted_without_a_new_version() -> None:
    async with running(snapshots.raft()) as session:
        painted, polls = session.app.displays, session.source.polls
        for _ in range(5):
            await session.push(snapshots.raft())
        assert session.source.polls >= polls + 5
        assert session.app.displays == painted
        await session.push(snapshots.raft(2, count=13))
        assert session.app.displays > painted


async def test_another_run_growing_does_not_redraw_the_charts() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("j")
        drawings = [plot.drawings for plot in session.charts.plots]
        await session.push(snapshots.raft(2, count=13))
        assert "13/16" in session.text(RunsTable)
        assert [plot.drawings for plot in session.charts.plots] == drawings


async def test_news_move_the_screen_on() -> None:
    async with running(snapshots.empty()) as session:
        await session.push(snapshots.raft(2, count=8))
        assert "8/16" in session.text(RunsTable)
        await session.push(snapshots.raft(3, count=14))
        assert "14/16" in session.text(RunsTable)
        await session.push(snapshots.empty(4))
        assert "waiting for event files" in session.text()


async def test_the_selection_follows_its_run() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("j", "j")
        state = snapshots.raft(2)
        await session.push(replace(state, runs=tuple(reversed(state.runs))))
        assert session.table.selected is not None
        assert session.table.selected.cycle == 2
        await session.push(replace(state, version=3, runs=state.runs[:1]))
        assert session.table.selected.cycle == 4


async def test_the_cursor_follows_the_live_run_until_it_is_moved() -> None:
    done = [snapshots.make_run(f"cycle_{n}", last_wall_time=float(n)) for n in (1, 2, 3)]

    def state(version: int, live: str) -> Snapshot:
        runs = [replace(run, state="live") if run.run == live else run for run in done]
        return snapshots.snapshot(runs, version=version)

    async with running(state(1, "")) as session:
        assert session.selected() == "cycle_3"
        await session.push(state(2, "cycle_1"))
        assert session.selected() == "cycle_1"
        await session.push(
            replace(state(3, "cycle_2"), runs=(replace(done[1], state="live"), *state(2, "cycle_1").runs))
        )
        assert session.selected() == "cycle_1", "a live run is not left for another one"
        await session.press("G")
        await session.push(state(4, "cycle_2"))
        assert session.selected() == "cycle_3"
        await session.press("escape")
        assert session.selected() == "cycle_2"


async def test_a_failing_source_is_said_and_recovers() -> None:
    source = ScriptedSource(OSError("disk [gone]\x1b"))
    app = CountingApp(source, interval=0.001)
    async with app.run_test(size=MEDIUM) as pilot:
        session = Session(app, source, pilot)
        for _ in range(2):
            await asyncio.to_thread(source.failures.acquire)
        await pilot.pause()
        assert "✖ OSError: disk [gone]\N{REPLACEMENT CHARACTER}" in session.text(StatusBar)
        assert "reading the event files" in session.text(RunsTable)
        await session.push(snapshots.raft())
        assert "OSError" not in session.text(StatusBar)
        assert "12/16" in session.text(RunsTable)


async def test_reading_of_history_is_shown() -> None:
    async with running(replace(snapshots.raft(), backfilling=True, progress=0.43)) as session:
        assert session.source.polls == 2, "history is read on without a wait, until nothing changes"
        assert "↻ reading 43%" in session.text(StatusBar)
        await session.push(snapshots.raft(2))
        assert "reading" not in session.text(StatusBar)


def test_queued_snapshots_collapse_to_the_newest() -> None:
    first, second = SnapshotArrived(snapshots.empty()), SnapshotArrived(snapshots.empty(2))
    assert first.can_replace(second)
    assert not first.can_replace(SnapshotFailed("x"))


async def test_new_grave_findings_are_announced_once() -> None:
    async with running(snapshots.raft()) as session:
        assert not session.app._notifications
    calm, alarm = snapshots.snapshot([snapshots.make_run()]), snapshots.raft(2)
    assert [(name, finding.rule) for name, finding in new_alarms(calm, alarm)] == [
        ("models/raft/cycle_4/logs", "loss-draws-up")
    ]
    assert new_alarms(alarm, alarm) == []
    assert new_alarms(None, alarm) == []
    assert new_alarms(calm, replace(alarm, backfilling=True)) == []
    async with running(calm) as session:
        await session.push(alarm)
        assert [n.message for n in session.app._notifications] == ["Loss climbs away from its lowest point"]


# --- bindings


def all_bindings(*owners: type) -> list[Binding]:
    return [binding for owner in owners for binding in owner.__dict__["BINDINGS"]]


def test_every_binding_can_be_explained_and_rebound() -> None:
    owners = (RaftmonApp, Overview, RunsTable, LinesView, ChartsPanel, FilterBar, Sheet)
    bindings = all_bindings(*owners, HelpSheet, FindingSheet, ProblemsSheet)
    ids = [binding.id for binding in bindings]
    assert all(binding.id and binding.tooltip and binding.description for binding in bindings)
    assert len(set(ids)) == len(ids)
    assert sum(binding.show for binding in all_bindings(RaftmonApp, Overview)) <= 8


async def test_keys_can_be_changed_and_the_help_says_so() -> None:
    async with running(snapshots.raft()) as session:
        session.app.set_keymap({"pause": "f5"})
        await session.press("f5")
        assert session.app.paused
        await session.press("question_mark")
        assert "f5" in session.text()


async def test_the_palette_offers_the_actions() -> None:
    async with running(snapshots.raft()) as session:
        commands = {c.title: c for c in session.app.get_system_commands(session.app.screen)}
        commands["Log"].callback()
        assert session.charts.log_scale


def test_key_names_are_readable() -> None:
    assert key_names("down,j") == "↓ j"
    assert key_names("left_square_bracket") == "["
    lines = help_lines([("Here", [Binding("x", "a", "Do", id="do", tooltip="Do it")])], {"do": "z"}, 60)
    assert lines[1].plain.split() == ["z", "Do", "it"]


# --- pure parts


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("", "cycle_1 cycle_2 SFT"),
        ("cycle", "cycle_1 cycle_2"),
        ("sft", "SFT"),
        ("!cycle", "SFT"),
        ("cycle !_1", "cycle_2"),
        ("/^cycle_[12]$/", "cycle_1 cycle_2"),
        ("!/1$/", "cycle_2 SFT"),
        ("!", "cycle_1 cycle_2 SFT"),
        ("/", ""),
    ],
)
def test_filters(text: str, passing: str) -> None:
    run_filter = RunFilter.parse(text)
    assert [name for name in ("cycle_1", "cycle_2", "SFT") if run_filter.passes(name)] == passing.split()
    assert run_filter.error == ""


def test_a_broken_pattern_lets_everything_through_and_says_why() -> None:
    run_filter = RunFilter.parse("x /(/")
    assert run_filter.passes("anything")
    assert "not a regular expression" in run_filter.error


def test_long_names_lose_their_middle() -> None:
    assert cut_middle("cycle_12_final_checkpoint/logs", 15) == "cycle_1…nt/logs"
    assert cut_middle("short", 15) == "short"
    assert cut_middle("日本語の名前", 7) == "日…前"
    assert [cut_middle("abcdef", width) for width in (0, 1, 2, 3)] == ["", "a", "ab", "a…f"]
    assert fit("ab", 4) + "|" == "ab  |"
    assert fit("ab", 4, right=True) == "  ab"
    assert [cut_end("abcdef", width) for width in (0, 1, 3, 9)] == ["", "…", "ab…", "abcdef"]


def test_control_characters_never_reach_the_terminal() -> None:
    mark = "\N{REPLACEMENT CHARACTER}"
    assert plain("a\x1b[31mb\nc\u202ed") == f"a{mark}[31mb{mark}c{mark}d"
    assert plain("é日本 ok") == "é日本 ok"


def test_numbers() -> None:
    assert [number(v) for v in (None, 0.0, 3.0, 0.4, 12345.0, 3e-5)] == ["–", "0", "3", "0.4", "12.3k", "3e-5"]
    assert number(float("nan")) == "NaN"
    assert metric("learning_rate", 3.614e-5) == "3.61e-5"
    assert metric("learning_rate", 0.0) == "0"
    assert metric("learning_rate", 0.1) == "0.1"
    assert metric("verification_rate", 0.397) == "39.7%"
    assert [metric("loss", v) for v in (0.66, 12.0, 1234.0)] == ["0.6600", "12.00", "1234"]
    assert steps(snapshots.make_run(last_step=None)) == "–"
    assert run_name(snapshots.make_run(".", logdir="/data/one")) == "one"


@pytest.mark.parametrize("width", [20, 40, 60, 78, 98, 118, 158, 198])
def test_the_table_fits_its_width(width: int) -> None:
    columns, name = columns_for(width)
    assert 4 + name + sum(column.width + 2 for column in columns) <= max(width, 18)
    assert [c for c in COLUMNS if c in columns] == columns
    assert width < 60 or {"verdict", "LR", "loss"} <= {c.title for c in columns}
    assert columns_for(width, 100)[1] >= columns_for(width, 5)[1]


def test_the_common_directory_is_left_out() -> None:
    assert common_directory(["a/b/1", "a/b/2"]) == "a/b/"
    assert common_directory(["a/bc/1", "a/bd/2"]) == "a/"
    assert common_directory(["a/b"]) == ""
    assert common_directory(["x", "y"]) == ""
    assert common_directory([]) == ""


def test_headings_keep_their_width() -> None:
    for width in (5, 12, 30, 60):
        line = heading(width, "RUNS", "a/very/long/name/indeed/of/a/run", heading(8, "right"))
        assert line.cell_length <= width
    assert heading(20, "RUNS", "5").plain == "RUNS 5 ─────────────"


def test_wrapped_lines_hang() -> None:
    lines = wrap(heading(40, "one two three four five six"), 20, 0, 4)
    assert all(line.cell_length <= 20 for line in lines)
    assert all(line.plain.startswith("    ") for line in lines[1:])


def test_the_status_line_tells_of_trouble_first() -> None:
    status = Status.of("raftmon", snapshots.raft(), paused=True, waiting=False, error="OSError: gone")
    line = status_line(status, 100).plain
    assert line.index("OSError") < line.index("PAUSED") < line.index("1 problem")
    assert status_line(status, 30).plain.startswith("raftmon")
    assert "starting" in status_line(Status.of("raftmon", None, paused=False, waiting=False, error=""), 60).plain


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"stop": True, "roll_back_to": 3}, "■ STOP, ship cycle 3"),
        ({"stop": True, "roll_back_to": None}, "■ STOP, ship the newest"),
        ({"roll_back_to": 0}, "NEXT CYCLE 5  ↩ roll back to the base model  LR 2.61e-5  proposed"),
        ({"roll_back_to": None, "learning_rate": None}, "NEXT CYCLE 5  LR –  proposed"),
    ],
)
def test_the_next_cycle_in_one_line(changes: dict[str, object], text: str) -> None:
    plan = snapshots.raft_campaign().next
    assert plan is not None
    assert [line.plain for line in next_lines(replace(plan, **changes), 80)] == [text]  # type: ignore[arg-type]


def test_a_long_campaign_shows_its_newest_cycles() -> None:
    cycles = tuple(snapshots.make_cycle(n, 0.3, 5e-5) for n in range(1, 31))
    lines = campaign_lines(snapshots.raft_campaign(cycles=cycles), 30, 118)
    assert "cycle …" in lines[0].plain
    assert "● 30" in lines[0].plain
    assert " 1 " not in lines[0].plain
    assert all(line.cell_length <= 118 for line in lines)


def test_the_best_cycle_stays_in_view() -> None:
    cycles = tuple(snapshots.make_cycle(n, 0.5 if n == 2 else 0.3, 5e-5) for n in range(1, 31))
    first = campaign_lines(snapshots.raft_campaign(cycles=cycles, best_cycle=2), 30, 118)[0].plain
    assert first.split("│")[0].split() == ["cycle", "…", "★", "2", "27", "28", "29", "●", "30"]


def test_what_decides_comes_first() -> None:
    campaign = snapshots.raft_campaign()
    undecided = advice_lines(snapshots.make_run(), campaign, 60)
    assert undecided[0].plain.startswith("NEXT CYCLE 5  ↩ roll back to cycle 3")
    assert advice_lines(snapshots.live_cycle(), campaign, 60)[0].plain.startswith(" ▲ LEARNING RATE TOO HIGH")
    calm = replace(campaign, findings=(), next=None)
    assert advice_lines(snapshots.make_run(), calm, 60)[0].plain == " ? UNDECIDED "


def test_campaigns_in_the_making() -> None:
    bare = snapshots.raft_campaign(cycles=(), next=None)
    assert [line.plain for line in campaign_lines(bare, None, 118)] == ["no cycle yet"]
    first = snapshots.raft_campaign(cycles=(snapshots.make_cycle(1, None, None),), next=None, best_cycle=None)
    assert "no advice for a next cycle" in campaign_lines(first, 1, 118)[0].plain
    assert "cycle 1  verified –  LR –" in campaign_lines(first, 1, 78)[0].plain


@pytest.mark.parametrize("width", [40, 44, 78])
def test_advice_fits_its_width(width: int) -> None:
    run, campaign = snapshots.live_cycle(), snapshots.raft_campaign()
    lines = advice_lines(run, campaign, width)
    assert all(line.cell_length <= width for line in lines)
    compact = advice_lines(run, campaign, width, compact=True)
    assert [line.plain for line in compact] == [line.plain for line in lines if line.plain]
    assert "×0.6" in "".join(line.plain for line in lines)
    assert advice_lines(None, None, width)[0].plain == "no run selected"


def test_a_verdict_has_a_glyph_and_a_word() -> None:
    run = snapshots.live_cycle()
    assert verdict_line(run.verdict).plain == " ▲ LEARNING RATE TOO HIGH   82% sure"
    assert verdict_line(snapshots.UNDECIDED).plain == " ? UNDECIDED "


def test_findings_are_explained_gravest_first() -> None:
    run, campaign = snapshots.live_cycle(), snapshots.raft_campaign()
    order = [(finding.rule, cycles) for finding, cycles in explained(run, campaign)]
    assert order == [
        ("loss-draws-up", False),
        ("cycle-rate-falls", True),
        ("loss-oscillates", False),
        ("grad-norm-rises", False),
        ("plateau", False),
    ]
    waiting = "\n".join(line.plain for line in finding_lines(snapshots.waiting_finding(), False, 60))
    assert "cannot be judged" in waiting
    assert "waits for grad_norm" in waiting
    hidden = snapshots.make_finding(inhibited_by="loss-not-finite")
    assert any("explained by loss-not-finite" in line.plain for line in finding_lines(hidden, False, 60))


async def test_a_screen_without_problems_or_findings_says_so() -> None:
    state = snapshots.snapshot([snapshots.make_run(findings=())])
    async with running(state) as session:
        await session.press("p")
        assert "no problem: every file, rule and config was read" in session.text()
        await session.press("escape", "enter")
        assert "no rule has looked at this run" in session.text()


async def test_many_problems_scroll() -> None:
    problems = tuple(Problem(f"file-{n}", "broken", "mend it") for n in range(50))
    async with running(replace(snapshots.raft(), problems=problems)) as session:
        await session.press("p", "G")
        assert "file-49" in session.text("#text")
        assert "file-0\n" not in session.text("#text")
