"""The chart of a finding: which series, which part of it, where on the sheet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.grounds import Criterion
from raftmon.model import Finding, Reading, RunView
from raftmon.signals.registry import SIGNALS
from raftmon.tui.plot import Plot
from raftmon.tui.widgets.finding_chart import MOST, moment_of, role_of, window_around
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, Session, running
from tests.views import loss_curve, make_evidence, make_finding, make_run, make_series

EVALUATED = next(info.name for info in SIGNALS.values() if info.needs == "eval_loss")


def about(*signals: str) -> Finding:
    criteria = (Criterion(0, "all"), *(Criterion(1, None, name) for name in signals))
    return make_finding(evidence=make_evidence(criteria=criteria))


def long_run(points: int = 3000) -> RunView:
    return make_run(series={"loss": make_series("loss", loss_curve(points))}, last_step=points)


def place(session: Session) -> tuple[int, int, int, int]:
    region = session.app.screen.query_one("#moment", Plot).region
    return region.x, region.y, region.width, region.height


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_sheet_shows_the_series_with_its_moment_and_leaves_room_for_the_text(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("enter")
        chart, text = session.app.screen.query_one("#moment", Plot), session.app.screen.query_one("#text")
        drawn = session.text("#moment")
        assert drawn.startswith("LOSS 0.5300 · step 9 ")
        assert "◆ step 9" in drawn
        if size == LARGE:
            assert text.region.right < chart.region.x, "side by side"
            assert chart.region.y == text.region.y
        else:
            assert text.region.bottom < chart.region.y, "one below the other"
        assert 6 <= chart.size.height <= 22
        assert text.size.height >= 11
        assert text.size.width >= 70


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_a_finding_of_the_campaign_shows_its_rate_by_cycle(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("enter", "right")
        drawn = session.text("#moment")
        assert drawn.startswith("VERIFIED 34.1% · cycle 4 · ★ best cycle 3 ")
        assert "◆ cycle 4" in drawn
        assert "★" in drawn


async def test_there_is_no_chart_without_a_moment_and_none_in_a_low_terminal() -> None:
    async with running(snapshots.raft(), SMALL) as session:
        await session.press("w")
        assert session.text("#moment") == "", "the verdict was weighed from everything"
        await session.press("right")
        assert session.text("#moment") != ""
        await session.press("left", "left")
        assert session.text("#moment") == "", "this one cannot be judged"
    async with running(snapshots.raft(), (80, 18)) as session:
        await session.press("enter")
        assert session.text("#moment") == ""


async def test_the_chart_is_drawn_once_while_nothing_changes() -> None:
    first = snapshots.raft(2)
    async with running(first) as session:
        await session.press("enter")
        plot = session.app.screen.query_one("#moment", Plot)
        drawings = plot.drawings
        await session.press("down", "m", "m")
        await session.push(replace(first, version=3))
        assert plot.drawings == drawings == 1


def test_the_role_is_the_first_that_its_signals_need_and_the_run_has() -> None:
    run = make_run(series={r: make_series(r, [1.0, 2.0]) for r in ("loss", "grad_norm", "eval_loss")})
    assert role_of(about("gradient.spike", "loss.points"), run) == "grad_norm"
    assert role_of(about("run.ended", "reward.drawdown", EVALUATED), run) == "eval_loss"
    assert role_of(about("config.anything", "no.signal"), run) == "loss"
    plain = make_finding(readings=(Reading("gradient.spike", 3.0, "sigma"),))
    assert role_of(plain, run) == "grad_norm", "a rule without a file has its readings"
    assert role_of(plain, make_run()) == "loss", "the run does not log it"


def test_what_never_began_or_was_not_logged_has_no_chart() -> None:
    run = make_run()
    assert moment_of(make_finding(since_step=None), run, run) is None
    bare = make_run(series={})
    assert moment_of(make_finding(), bare, bare) is None
    unrated = snapshots.raft_campaign(cycles=())
    assert moment_of(make_finding(), unrated, None) is None


def test_the_rate_is_that_of_the_cycle_where_it_has_one() -> None:
    campaign = snapshots.raft_campaign()
    said = [moment_of(make_finding(since_step=cycle), campaign, None) for cycle in (2, 7)]
    assert [moment.chart.summary[:2] for moment in said if moment is not None] == [
        ("36.5%", "cycle 2"),
        ("34.1%", "★ best cycle 3"),
    ]


def test_a_short_series_is_shown_whole_and_a_long_one_around_the_moment() -> None:
    short = moment_of(make_finding(), make_run(), None)
    assert short is not None
    assert short.window is None
    long = moment_of(make_finding(since_step=2000), long_run(), None)
    assert long is not None
    assert long.window == (1700.0, 2099.0)
    assert long.chart.summary[1] == "step 2000"


def test_equal_states_have_equal_versions_and_others_have_not() -> None:
    run = long_run()
    versions = [
        moment.chart.version
        for moment in (
            moment_of(make_finding(since_step=9), run, None),
            moment_of(make_finding(since_step=9), run, None),
            moment_of(make_finding(since_step=10), run, None),
            moment_of(make_finding(since_step=9, severity="low"), run, None),
            moment_of(make_finding(since_step=9), long_run(3001), None),
        )
        if moment is not None
    ]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 4


@given(st.integers(MOST + 1, 3000), st.integers(-50, 4000), st.integers(1, 20))
def test_the_moment_is_always_in_view_with_as_many_points_as_wanted(count: int, at: int, stride: int) -> None:
    steps = np.arange(count, dtype=np.float64) * stride
    window = window_around(steps, float(at))
    assert window is not None
    low, high = window
    assert low <= at <= high
    inside = int(((steps >= low) & (steps <= high)).sum())
    assert inside == MOST
    if steps[300] <= at <= steps[-101]:
        before = int(((steps >= low) & (steps < at)).sum())
        assert before == 300


def test_a_run_that_was_taken_up_again_is_shown_whole() -> None:
    steps = np.concatenate([np.arange(500.0), np.arange(300.0, 800.0)])
    assert window_around(steps, 400.0) is None
