"""What the screens say is true, whole and can be understood: counts, numbers, limits, what is waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from raftmon.advice.findings import filled_in
from raftmon.advice.rulebook import load_rules
from raftmon.model import Severity
from raftmon.run_config import RunConfig
from raftmon.signals.awaited import awaited
from raftmon.signals.registry import SIGNALS
from raftmon.tui.announce import short_notice
from raftmon.tui.figure import draw
from raftmon.tui.plot import Plot, top_line
from raftmon.tui.text import metric
from raftmon.tui.widgets.advice_panel import advice_lines
from raftmon.tui.widgets.chart_tabs import ChartTab, ChartTabs, placed_tabs, tabs_line
from raftmon.tui.widgets.charts import chart_of
from raftmon.tui.widgets.lines import Heading, LinesView
from raftmon.tui.widgets.run_charts import Subject
from raftmon.tui.widgets.run_columns import COLUMNS
from raftmon.tui.widgets.status_bar import Status, StatusBar, progress_bar, status_line
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, Session, running

TABS = tuple(ChartTab(name.lower(), name) for name in ("LOSS", "GRAD", "LR", "VERIFIED", "EVAL LOSS", "ENTROPY", "KL"))


def findings_cell(*severities: Severity) -> str:
    firing = tuple(snapshots.make_finding(f"rule-{n}", severity=severity) for n, severity in enumerate(severities))
    (column,) = (column for column in COLUMNS if column.title == "findings")
    text, _ = column.cell(snapshots.make_run(findings=firing))
    assert cell_len(text) <= column.width
    return text


def test_the_worst_severity_is_counted_by_itself() -> None:
    assert findings_cell("critical", "high", "critical", "informational") == "✖ 2 critical +2"
    assert findings_cell("high") == "◆ 1 high"
    assert findings_cell("medium", "low") == "◆ 1 medium +1"
    assert findings_cell() == ""
    # No room for the others: their number is left out whole.
    many: list[Severity] = ["critical"] * 10
    assert findings_cell(*many, "low") == "✖ 10 critical"


@pytest.mark.parametrize("width", range(14, 60))
def test_no_number_in_a_heading_is_cut(width: int) -> None:
    chart = chart_of("learning_rate", snapshots.live_cycle(), None)
    value = metric("learning_rate", snapshots.live_cycle().series["learning_rate"].last)
    for log in (False, True):
        top = top_line(chart, width, log=log).plain
        assert "…" not in top
        assert (value in top) == (width >= len("LR ") + len(value))


def test_marked_runs_under_the_cursor_say_that_they_are_smoothed() -> None:
    run, other = snapshots.pretraining(count=200).runs[0], snapshots.pretraining(count=150).runs[0]
    subject = Subject(run, others={"D": replace(other, path=other.path + "-2")})
    chart = subject.chart("loss")
    assert [curve.name for curve in chart.curves] == ["", "ema"]
    assert [curve.name for curve in chart.others] == ["D ema"]
    (raw,) = Subject(run, smoothed=False, others=subject.others).chart("loss").others
    assert raw.name == "D"


def panel(**config: Any) -> str:
    run = snapshots.make_run(config=RunConfig(**config), dialect="hf")
    return "\n".join(line.plain for line in advice_lines(run, None, 100))


def test_a_clip_limit_that_nobody_configured_is_called_usual() -> None:
    assert panel(max_grad_norm=1.0, usual_clip=True).endswith("config not known; usual clip 1 by default of hf")
    assert "LR 1e-4 · usual clip 1" in panel(learning_rate=1e-4, max_grad_norm=1.0, usual_clip=True)
    assert "LR 1e-4 · clip 1" in panel(learning_rate=1e-4, max_grad_norm=1.0)
    for usual, label in ((None, "clip 1"), (True, "usual clip 1")):
        run = replace(snapshots.live_cycle(), config=RunConfig(max_grad_norm=1.0, usual_clip=usual))
        assert [level.label for level in chart_of("grad_norm", run, None).levels] == [label]
        assert [level.label for level in Subject(run).chart("grad_norm").levels] == [label]


def test_the_band_is_called_what_it_is() -> None:
    chart = chart_of("grad_norm", snapshots.live_cycle(), None)
    drawn = "\n".join("".join(text for text, _ in row) for row in draw(chart, 100, 20))
    assert "0.1–0.2: usual band (unproven)" in drawn


def test_what_is_waited_for_is_said_in_a_few_words() -> None:
    for info in SIGNALS.values():
        words = awaited(info, 0)
        assert len(words) <= 55, info.name
        assert words != info.description, info.name
        assert not any(sign in words for sign in ":;?<>²")
    assert awaited(SIGNALS["config.of_reference"], 0) == "a config with learning rate and method"
    assert awaited(SIGNALS["siblings.enclosed"], 0) == "runs at other learning rates"
    assert awaited(SIGNALS["loss.drawup"], 3) == "10 loss points (3 so far)"
    assert awaited(SIGNALS["gradient.clip_share"], 99) == "the clip limit (max_grad_norm)"


def test_a_number_that_is_missing_in_an_advice_is_said_in_words() -> None:
    (rule,) = (rule for rule in load_rules() if rule.id == "outputs-repetitive")
    text = filled_in(rule.text, rule, {"campaign.unique_left": 0.42, "campaign.entropy_left": None})
    assert "variety 42%, entropy not logged" in text
    assert "?" not in text


def test_rules_behind_an_advice_are_named_as_rules() -> None:
    run = snapshots.live_cycle()
    (advice, *_) = run.advice
    shown = {
        because: "\n".join(
            line.plain for line in advice_lines(replace(run, advice=(replace(advice, because=because),)), None, 100)
        )
        for because in (
            ("loss-draws-up",),
            ("loss-draws-up", "grad-norm-grows"),
            ("4e-5 × 0.5 = 2e-5", "loss-draws-up"),
        )
    }
    assert [text for text in shown if f"  {' · '.join(text)}\n" in shown[text]] == []
    one, two, mixed = shown.values()
    assert "  rule: loss-draws-up" in one
    assert "  rules: loss-draws-up, grad-norm-grows" in two
    assert "  4e-5 × 0.5 = 2e-5 · rule: loss-draws-up" in mixed


async def test_a_run_that_is_gone_is_not_awaited() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("3")
        await session.push(snapshots.snapshot([], version=9))
        assert "no run in the logdir any more" in session.text(Heading)


# The bar of progress


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "░░░░"), (0.001, "█░░░"), (0.5, "██░░"), (0.999, "███░"), (1.0, "████"), (7.0, "████"), (-1.0, "░░░░")],
)
def test_the_bar_is_full_at_the_end_only(share: float, shown: str) -> None:
    assert progress_bar(share, 4) == shown


def test_the_bar_stands_where_there_is_room() -> None:
    status = Status("raftmon", "/data/runs", 12, 0, 2, "reading 38%", share=0.38)
    assert "↻ reading 38% ████░░░░░░   ! 2 problems" in status_line(status, 80).plain
    assert "█" * 8 + "░" * 12 in status_line(status, 200).plain
    narrow = status_line(status, 60).plain
    assert "reading 38%" in narrow
    assert "█" not in narrow
    assert "░" not in status_line(replace(status, reading="reading", share=None), 80).plain


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_bar_goes_when_all_is_read(size: tuple[int, int]) -> None:
    first = replace(snapshots.raft(), backfilling=True, progress=0.38)
    async with running(first, size) as session:
        assert "░" in session.text(StatusBar)
        await session.push(snapshots.raft(2))
        assert "░" not in session.text(StatusBar)


# Tabs


@pytest.mark.parametrize("width", range(1, 90))
@pytest.mark.parametrize("present", [tab.role for tab in TABS])
def test_tabs_are_whole_and_the_present_one_is_among_them(width: int, present: str) -> None:
    placed = placed_tabs(TABS, present, width)
    line = tabs_line(TABS, present, width)
    assert line.cell_length <= width or not placed
    for one in placed:
        assert line.plain[one.start : one.start + len(one.text)] == one.text
        assert one.text == (f"[{one.tab.name}]" if one.tab.role == present else f" {one.tab.name} ")
    if width >= 2 + len("[EVAL LOSS]") + 2:
        assert f"[{next(tab.name for tab in TABS if tab.role == present)}]" in line.plain


def test_tabs_without_room_are_said_to_be_there() -> None:
    assert (
        tabs_line(TABS, "loss", 80, "v").plain
        == "[LOSS] GRAD  LR  VERIFIED  EVAL LOSS  ENTROPY  KL".ljust(67) + "v: next chart"
    )
    assert tabs_line(TABS, "loss", 30).plain == "[LOSS] GRAD  LR  VERIFIED  …"
    assert tabs_line(TABS, "kl", 30).plain == "…  EVAL LOSS  ENTROPY [KL]"
    assert tabs_line((), "loss", 30).plain == ""
    assert tabs_line(TABS, "loss", 80).plain.endswith("KL ")


def tabs_of(session: Session) -> str:
    return session.text(ChartTabs)


async def test_tabs_name_the_key_as_it_is() -> None:
    async with running(snapshots.raft(), SMALL) as session:
        assert tabs_of(session).rstrip().endswith("v: next chart")
        session.app.set_keymap({"chart": "f6"})
        await session.press("f6")
        assert tabs_of(session).rstrip().endswith("f6: next chart")


async def test_one_chart_has_tabs_that_keys_and_mouse_change() -> None:
    async with running(snapshots.raft(), SMALL) as session:
        assert tabs_of(session).startswith("[LOSS] GRAD  LR  VERIFIED ")
        await session.press("v")
        assert "[GRAD]" in tabs_of(session)
        assert session.charts.main == "grad_norm"
        session.charts.focus()
        await session.press("j")
        assert "[LR]" in tabs_of(session)
        await session.press("k", "k")
        assert "[LOSS]" in tabs_of(session)
        at = tabs_of(session).index("VERIFIED")
        await session.pilot.click("#chart-tabs", offset=(at, 0))
        assert "[VERIFIED]" in tabs_of(session)
        (plot,) = session.charts.plots
        assert plot.chart is not None
        assert plot.chart.role == "verification_rate"
        assert plot.size.height >= 7
        await session.pilot.click("#chart-tabs", offset=(70, 0))
        assert "[VERIFIED]" in tabs_of(session)


@pytest.mark.parametrize("size", [MEDIUM, LARGE])
async def test_several_charts_need_no_tabs(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        assert tabs_of(session) == ""
        assert len(session.charts.plots) >= 4


async def test_tabs_come_and_go_with_the_size() -> None:
    async with running(snapshots.raft(), MEDIUM) as session:
        for size, there in ((SMALL, True), (MEDIUM, False), ((80, 16), False), (SMALL, True)):
            await session.pilot.resize_terminal(*size)
            await session.settle()
            assert bool(tabs_of(session)) == there, size
            assert all(plot.size.height >= 3 for plot in session.charts.plots)


# Notices


def test_a_short_notice_takes_a_line_each() -> None:
    title, text = short_notice("models/raft/cycle_4/logs-of-a-long-name", ": has ended", "word " * 20, 80)
    assert (len(title), title[-11:]) == (36, ": has ended")
    assert len(text) <= 36
    assert short_notice("a", "", "b", 4) == ("a", "b")


@pytest.mark.parametrize(("size", "lines"), [(SMALL, 2), (MEDIUM, 4)])
async def test_notices_leave_the_advice_readable(size: tuple[int, int], lines: int) -> None:
    async with running(snapshots.snapshot([snapshots.make_run()]), size) as session:
        await session.push(snapshots.raft(2))
        await session.muted()
        (toast,) = session.app.screen.query("Toast")
        assert toast.region.height == lines
        assert not toast.region.overlaps(session.overview.query_one("#advice").region)
        (notice,) = session.app._notifications
        assert notice.timeout == (3.0 if size == SMALL else session.app.NOTIFICATION_TIMEOUT)


# Cycles


@pytest.mark.parametrize(("size", "charted"), [(SMALL, False), (MEDIUM, False), (LARGE, True)])
async def test_the_rates_are_drawn_where_the_cycles_leave_room(size: tuple[int, int], charted: bool) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("2")
        plot = session.app.screen.query_one("#cycles-chart", Plot)
        assert plot.display == charted
        assert ("VERIFIED" in session.text(Plot)) == charted
        if charted:
            plan = session.app.screen.query_one("#plan")
            assert plot.region.bottom < plan.region.y
            assert isinstance(plan, LinesView)
            assert len(plan.lines) <= plan.size.height
            drawings = plot.drawings
            await session.push(replace(snapshots.raft(), version=2))
            assert plot.drawings == drawings
        await session.push(snapshots.snapshot([snapshots.make_run()], version=3))
        assert not plot.display
