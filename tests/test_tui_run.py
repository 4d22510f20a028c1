"""The Run screen by keys and mouse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raftmon.model import Snapshot
from raftmon.tui.plot import Plot
from raftmon.tui.screens.help import HelpSheet
from raftmon.tui.screens.run import RunScreen
from raftmon.tui.viewport import Viewport
from raftmon.tui.widgets.lines import Heading
from raftmon.tui.widgets.runs_table import RunsTable
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, Session, running
from tests.views import loss_curve, make_run, make_series

SIZES = pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])


def screen_of(session: Session) -> RunScreen:
    screen = session.app.screen
    assert isinstance(screen, RunScreen)
    return screen


def window(session: Session) -> tuple[float, float]:
    screen = screen_of(session)
    return screen.viewport.limits((0.0, 8999.0))


def timed(roles: int = 1) -> Snapshot:
    """Return one run with a clock, epochs and as many series as asked for."""
    series = {f"extra_{index}": make_series(f"extra_{index}", loss_curve(200)) for index in range(roles - 1)}
    series["loss"] = make_series("loss", loss_curve(200))
    series["epoch"] = make_series("epoch", list(np.arange(1, 201) / 50.0))
    steps = np.arange(1, 201)
    run = make_run("timed", series=series, clock=(steps, 1.7e9 + 30.0 * steps), last_step=200)
    return snapshots.snapshot((run,))


@SIZES
async def test_every_series_has_a_chart_and_escape_leads_back(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("3")
        titles = [plot.chart.title for plot in screen_of(session).plots if plot.chart]
        assert titles == ["LOSS", "GRAD NORM", "LEARNING RATE", "EVAL LOSS", "ENTROPY"]
        assert "gpt2-small" in session.text(Heading)
        assert "x step · steps all" in session.text(Heading)
        await session.press("escape")
        assert session.closed_sheets


@SIZES
async def test_one_cursor_goes_through_all_charts(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("3", "left")
        screen = screen_of(session)
        last = screen.cursor
        await session.press("h", "left")
        assert screen.cursor is not None
        assert last is not None
        assert screen.cursor < last
        assert all("step" in plot.render_line(0).text for plot in screen.plots)
        await session.press("l", "right")
        assert screen.cursor == last
        await session.press("g")
        assert screen.cursor == 1.0
        await session.press("G", "home", "end")
        assert screen.cursor == last
        await session.press("escape")
        assert not any("step" in plot.render_line(0).text for plot in screen.plots)
        assert screen.is_current


@SIZES
async def test_the_chosen_chart_alone_and_back(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("3", "j", "enter")
        screen = screen_of(session)
        assert [plot.chart.role for plot in screen.plots if plot.chart] == ["grad_norm"]
        assert screen.plots[0].size.height >= size[1] - 5
        assert screen.plots[0].size.width >= size[0] - 4
        await session.press("down")
        assert [plot.chart.role for plot in screen.plots if plot.chart] == ["learning_rate"]
        await session.press("escape")
        assert len(screen.plots) == 5
        await session.press("up", "k", "z")
        assert [plot.chart.role for plot in screen.plots if plot.chart] == ["loss"]
        await session.press("z", "shift+tab", "z")
        assert [plot.chart.role for plot in screen.plots if plot.chart] == ["entropy"]


@SIZES
async def test_zoom_and_pan(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("3", "plus", "plus")
        low, high = window(session)
        assert high - low == pytest.approx(8999 / 4, rel=0.01)
        drawn = screen_of(session).plots[0].render_line(1).text
        await session.press("shift+right")
        assert window(session)[0] > low
        assert screen_of(session).plots[0].render_line(1).text != drawn
        await session.press("H", "shift+left", "L")
        assert window(session)[0] == pytest.approx(low, abs=2)
        await session.press("minus")
        assert window(session)[1] - window(session)[0] == pytest.approx(8999 / 2, rel=0.01)
        await session.press("0")
        assert "steps all" in session.text(Heading)
        await session.press("equals_sign", "home")
        assert window(session)[0] == pytest.approx(1.0, abs=1), "the cursor stays in view"


@SIZES
async def test_the_window_over_the_newest(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("3", "w")
        assert "steps last 1000" in session.text(Heading)
        await session.press("w")
        assert "steps last 100" in session.text(Heading)
        await session.press("w")
        assert "steps all" in session.text(Heading)
        assert screen_of(session).viewport == Viewport()


@SIZES
async def test_steps_time_and_epochs(size: tuple[int, int]) -> None:
    async with running(timed(), size) as session:
        await session.press("3", "x", "left")
        first = screen_of(session).plots[0]
        assert "x time" in session.text(Heading)
        assert "1h39m" in first.render_line(0).text
        await session.press("x")
        assert "x epoch" in session.text(Heading)
        assert "epoch 4" in first.render_line(0).text
        await session.press("x")
        assert "x step" in session.text(Heading)
        assert "step 200" in first.render_line(0).text


async def test_a_run_that_logs_no_epochs_says_so() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("3", "x")
        assert "x step" in session.text(Heading)
        assert any("neither" in notice.message for notice in session.app._notifications)


@SIZES
async def test_log_and_smoothing(size: tuple[int, int]) -> None:
    async with running(snapshots.pretraining(), size) as session:
        await session.press("3", "y")
        loss = screen_of(session).plots[0]
        assert loss.render_line(0).text.rstrip().endswith("log")
        assert "ema" in loss.render_line(0).text
        await session.press("s")
        assert "not smoothed" in session.text(Heading)
        assert "ema" not in loss.render_line(0).text
        await session.press("s", "y")
        assert "log" not in loss.render_line(0).text
        assert "ema" in loss.render_line(0).text


@SIZES
async def test_what_fires_is_marked_and_explained(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("3")
        assert all("◆" in session.text(Plot) for _ in screen_of(session).plots)
        assert "◆ Loss climbs away from its lowest point (step 9)" in session.text("#legend")


@SIZES
async def test_marked_runs_are_drawn_behind(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("j", "m", "j", "m", "j")
        marks = session.overview.marks
        marked = [run for run in session.table.shown if run.path in marks]
        letters = [marks.letter(run.path) for run in marked]
        assert [run.cycle for run in marked] == [1, 2]
        rows = session.text(RunsTable).splitlines()
        assert [row[1] if row[0] in " ❯" else "" for row in rows[2:4]] == letters
        await session.press("3")
        assert "cycle_1" in session.text("#legend")
        loss = screen_of(session).plots[0]
        assert loss.chart is not None
        assert [curve.sign for curve in loss.chart.others] == letters
        assert all(letter in session.text(Plot) for letter in letters)
        await session.press("q", "k", "m", "3")
        loss = screen_of(session).plots[0]
        assert loss.chart is not None
        assert [curve.sign for curve in loss.chart.others] == letters[:1]


async def test_more_than_six_marked_runs_are_not_drawn() -> None:
    async with running(snapshots.many(10)) as session:
        await session.press("g", *("m", "j") * 8)
        assert session.text(RunsTable).count("+") == 2
        await session.press("3")
        assert "2 more marked runs not drawn: 6 at most" in " ".join(session.text("#legend").split())


@SIZES
async def test_more_charts_than_fit_are_scrolled_to(size: tuple[int, int]) -> None:
    async with running(timed(30), size) as session:
        await session.press("3")
        screen = screen_of(session)
        last = screen.plots[-1]
        assert len(screen.plots) == 31
        assert not last.region.overlaps(screen.query_one("VerticalScroll").region)
        await session.press("k")
        await session.pilot.pause()
        assert screen.query_one("VerticalScroll").region.contains_region(last.region)


async def test_a_click_chooses_a_chart() -> None:
    async with running(snapshots.pretraining()) as session:
        await session.press("3")
        screen = screen_of(session)
        await session.pilot.click(screen.plots[2])
        await session.press("enter")
        assert [plot.chart.role for plot in screen.plots if plot.chart] == ["learning_rate"]


async def test_a_growing_run_moves_on_and_what_stands_is_not_painted() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("3")
        screen = screen_of(session)
        drawings = [plot.drawings for plot in screen.plots]
        await session.push(replace(snapshots.raft(), version=2))
        assert [plot.drawings for plot in screen.plots] == drawings
        await session.push(snapshots.raft(3, count=14))
        loss = screen.plots[0].chart
        assert loss is not None
        assert loss.curves[0].x[-1] == 14
        assert [plot.drawings for plot in screen.plots] != drawings


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (80, 24)])
async def test_odd_terminals_and_no_run_are_survived(size: tuple[int, int]) -> None:
    async with running(snapshots.empty(), size) as session:
        await session.press("3", "left", "plus", "w", "x", "y", "s", "j", "enter", "home", "shift+right")
        assert "no run yet" in session.text(Heading)
        await session.push(snapshots.hostile(2))
        await session.press("left", "plus", "enter", "escape", "escape", "escape")
        assert session.closed_sheets


async def test_the_help_lists_the_keys_of_the_screen() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("3", "question_mark")
        sheet = session.app.screen
        assert isinstance(sheet, HelpSheet)
        text = "\n".join(line.plain for line in sheet.lines(200))
        assert "\nRun\n" in text
        for binding in RunScreen.__dict__["BINDINGS"]:
            assert binding.tooltip in text
            assert binding.id
            assert binding.description
