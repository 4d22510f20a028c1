"""The table of cycles and the plan below it: pure functions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.plans import next_plans
from raftmon.advice.rate_changes import rate_changes
from raftmon.advice.settings import Strategy
from raftmon.model import CampaignView, CycleView, RateChange, RunView
from raftmon.signals.campaign import CycleFacts
from raftmon.tui.widgets.cycle_columns import BAR_WIDTH, COLUMNS, GAP, LEAD, change_cell, columns_for
from raftmon.tui.widgets.cycles_plan import checkpoint_lines, next_cycle_lines, note_lines, panel_lines, strategy_lines
from raftmon.tui.widgets.cycles_table import CycleTable, header_lines, row_lines, runs_of
from raftmon.tui.widgets.interval_bar import RateScale, interval_bar
from tests import snapshots
from tests.views import LOGDIR, make_cycle, make_run, make_series


def with_changes(campaign: CampaignView, strategy: Strategy | None = None) -> CampaignView:
    """Return a campaign of `tests.snapshots` as the judge makes it: with changes, plans and the names of its runs."""
    changes = rate_changes([CycleFacts(c.cycle, c.verification_rate, c.verified) for c in campaign.cycles])
    cycles = tuple(
        replace(c, change=changes.get(c.cycle), run=f"{campaign.name}/cycle_{c.cycle}/logs") for c in campaign.cycles
    )
    plans = next_plans(strategy or Strategy("exponential", 5e-5), cycles, campaign.next)
    return replace(campaign, cycles=cycles, plans=plans)


def table_of(current: int | None = 4, **changes: Any) -> CycleTable:
    state = snapshots.raft()
    campaign = with_changes(snapshots.raft_campaign(**changes))
    return CycleTable(campaign, runs_of(campaign, state.runs), current)


def rows(table: CycleTable, width: int = 200) -> list[str]:
    return [line.plain for line in row_lines(table, width)]


shares = st.floats(0.0, 1.0)


def judged(rate: float, count: int) -> CycleView:
    return make_cycle(1, rate, 1e-5, count)


@given(st.lists(st.tuples(shares, st.integers(1, 5000)), min_size=1, max_size=8), st.integers(1, 80))
def test_a_bar_holds_its_rate_inside_its_interval(cycles: list[tuple[float, int]], width: int) -> None:
    views = [judged(*cycle) for cycle in cycles]
    scale = RateScale.of(views)
    assert scale is not None
    assert 0.0 <= scale.low < scale.high <= 1.0
    for view in views:
        text = interval_bar(view, scale, width, max(rate for rate, _ in cycles))
        assert len(text) == width
        assert text.isascii()
        assert text.count("*") == 1
        at = text.index("*")
        assert "[" not in text[at:]
        assert "]" not in text[:at]
        assert view.verification_rate is not None
        assert at == scale.column(view.verification_rate, width)


@given(shares, shares, st.integers(2, 80))
def test_a_larger_rate_is_never_drawn_further_left(one: float, other: float, width: int) -> None:
    scale = RateScale.of([judged(one, 100), judged(other, 100)])
    assert scale is not None
    low, high = sorted((one, other))
    assert scale.column(low, width) <= scale.column(high, width)


def test_the_scale_is_of_whole_percents_and_not_smaller_than_noise() -> None:
    scale = RateScale.of([judged(0.5, 10_000_000)])
    assert scale is not None
    assert scale.high - scale.low == pytest.approx(0.04)
    assert RateScale.of([replace(judged(1.0, 10), interval=None)]) == RateScale(0.96, 1.0)
    assert RateScale.of([replace(judged(0.0, 10), interval=None)]) == RateScale(0.0, 0.04)
    assert RateScale.of([make_cycle(1, None, 1e-5)]) is None
    assert RateScale(0.3, 0.4).labels(10) == "30%    40%"
    assert RateScale(0.3, 0.4).labels(6) == " " * 6


def test_a_bar_without_count_is_a_point_and_without_rate_only_the_mark_of_the_best() -> None:
    scale = RateScale(0.0, 1.0)
    assert interval_bar(replace(judged(0.5, 10), interval=None), scale, 11, 1.0) == "     *    :"
    assert interval_bar(make_cycle(1, None, None), scale, 11, 1.0) == "          :"
    assert interval_bar(replace(judged(0.5, 10), interval=(0.2, 0.8)), scale, 11) == "  [--*--]  "


@given(st.integers(1, 400))
def test_columns_drop_in_the_order_of_importance(width: int) -> None:
    kept, bar = columns_for(width)
    assert bar == 0 or BAR_WIDTH[0] <= bar <= BAR_WIDTH[1]
    used = LEAD + sum(column.width + GAP for column in kept) + (bar + GAP if bar else 0)
    assert not kept or used <= width
    ranks = sorted(column.priority for column in COLUMNS)
    assert sorted(column.priority for column in kept) == ranks[: len(kept)]
    wider, _ = columns_for(width + 1)
    assert set(kept) <= set(wider)


def test_what_stays_at_eighty_columns() -> None:
    kept, bar = columns_for(76)
    assert [column.title for column in kept] == ["LR", "rate", "change", "last loss"]
    assert bar >= BAR_WIDTH[0]
    assert columns_for(200)[0] == list(COLUMNS)


@pytest.mark.parametrize("width", [30, 44, 60, 76, 116, 160, 196, 240])
def test_titles_and_rows_are_of_one_width(width: int) -> None:
    table = table_of()
    widths = {line.cell_length for line in [*header_lines(table, width), *row_lines(table, width)]}
    assert len(widths) == 1
    assert widths.pop() <= width


def test_a_row_tells_all_of_a_cycle() -> None:
    first, second, third, fourth = rows(table_of())
    assert fourth.startswith(">      4")
    assert third.startswith(" ★↩    3")
    for words in ("3.07e-5", "34.1%", "-5.6 real", "510", "2992", "0.6600", "▲ too high 82%", "live"):
        assert words in fourth
    assert "+5.3 real" in second
    assert "5e-5" in first
    header = header_lines(table_of(), 200)[0].plain
    for title in ("cycle", "LR", "verified", "29%", "change", "last loss", "med. grad", "med. entropy", "verdict"):
        assert title in header


def test_held_out_rates_are_named_and_the_trained_one_stands_beside() -> None:
    cycle = replace(make_cycle(1, 0.3, 1e-5), held_out=True, training_rate=0.45)
    table = CycleTable(snapshots.raft_campaign(cycles=(cycle,), best_cycle=1))
    assert "held-out" in header_lines(table, 200)[0].plain
    assert "45.0%" in rows(table)[0]


def test_what_is_not_known_is_a_dash() -> None:
    cycle = replace(make_cycle(7, None, None), unique_fraction=None)
    table = CycleTable(snapshots.raft_campaign(cycles=(cycle,), best_cycle=None, next=None))
    row = rows(table)[0]
    assert row.split() == ["7", *["–"] * len(COLUMNS)]
    assert "%" not in header_lines(table, 200)[0].plain


def series_row(**series: list[float]) -> str:
    run = make_run(
        "models/raft/cycle_1/logs",
        campaign="models/raft",
        cycle=1,
        series={role: make_series(role, values) for role, values in series.items()},
    )
    return rows(CycleTable(snapshots.raft_campaign(), {1: run}))[0]


def test_loss_is_the_last_value_the_others_are_medians_of_what_is_finite() -> None:
    row = series_row(loss=[3.0, 2.0, 1.5], grad_norm=[1.0, math.nan, 9.0, 2.0], entropy=[0.25, 0.75])
    assert "1.500" in row
    assert "2.000" in row
    assert "0.5000" in row


def test_nan_is_told_as_such() -> None:
    row = series_row(loss=[3.0, math.nan], grad_norm=[math.nan, math.inf])
    assert "NaN" in row
    assert "inf" in row


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (None, "–"),
        (RateChange(1, -0.06, -3.0, 2.6), "-6.0 real"),
        (RateChange(1, 0.06, 2.0, 2.6), "+6.0 unsure"),
        (RateChange(1, -0.0001, -0.1, 2.6), "0.0 unsure"),
        (RateChange(1, 0.5, None, 2.6), "+50.0 ?"),
    ],
)
def test_changes_in_words(change: RateChange | None, text: str) -> None:
    assert change_cell(replace(make_cycle(2, 0.4, 1e-5), change=change))[0] == text


def test_runs_of_another_logdir_with_the_same_names_are_not_ours() -> None:
    campaign = with_changes(snapshots.raft_campaign())

    def run(logdir: str, **changes: Any) -> RunView:
        return make_run("models/raft/cycle_2/logs", logdir=logdir, campaign="models/raft", cycle=2, **changes)

    ours, others = run(LOGDIR), run(f"{LOGDIR}-copy")
    assert runs_of(campaign, [others, ours]) == {2: ours}
    assert runs_of(campaign, [others]) == {}
    assert runs_of(campaign, [run(LOGDIR, path=f"{LOGDIR}/models/raft-2/cycle_2/logs")]) == {}


def plain(lines: list[Any]) -> str:
    return "\n".join(line.plain for line in lines)


def test_the_checkpoint_of_a_rate_measured_before_training_is_the_one_before() -> None:
    text = plain(checkpoint_lines(snapshots.raft_campaign(), 100))
    assert "the best is cycle 2: cycle 3 began from it" in text
    after = tuple(replace(c, measures="after") for c in snapshots.raft_campaign().cycles)
    assert "the best is cycle 3: its model passed at ★ 39.7%" in plain(
        checkpoint_lines(snapshots.raft_campaign(cycles=after), 100)
    )
    assert "the base model" in plain(checkpoint_lines(snapshots.raft_campaign(best_cycle=1), 100))
    assert checkpoint_lines(snapshots.raft_campaign(best_cycle=None), 100) == []


def test_the_plan_with_its_arithmetic() -> None:
    text = plain(next_cycle_lines(snapshots.raft_campaign(), 100))
    for words in (
        "NEXT CYCLE 5  ↩ roll back to cycle 3  LR 2.61e-5  proposed",
        "arithmetic  strategy:exponential 5e-5 × 0.85^4",
        "            guardrail: within ×3",
        "◆ medium  Verification rate fell below the best cycle  since cycle 4",
    ):
        assert words in text


def test_a_stop_still_tells_the_rate() -> None:
    advice = snapshots.raft_campaign().next
    assert advice is not None
    text = plain(next_cycle_lines(snapshots.raft_campaign(next=replace(advice, stop=True)), 100))
    assert "■ STOP, ship cycle 3" in text
    assert "if trained on all the same: cycle 5, LR 2.61e-5" in text


def test_no_advice_is_said() -> None:
    campaign = snapshots.raft_campaign(next=None)
    assert "No advice for a next cycle" in plain(next_cycle_lines(campaign, 100))
    assert "No learning rate is known that a strategy could go on from." in plain(panel_lines(campaign, 100))


def test_the_strategies_side_by_side() -> None:
    lines = [line.plain for line in strategy_lines(with_changes(snapshots.raft_campaign()), 70)]
    assert lines[0].split() == ["STRATEGIES", *(word for n in range(5, 11) for word in ("cycle", str(n)))]
    assert lines[1].split() == ["as", "advised", "2.61e-5"]
    assert lines[4].split()[:4] == ["→", "decay", "0.85", "2.61e-5"]
    assert "→ in force" in lines[6]
    assert "Evidence" not in plain(strategy_lines(with_changes(snapshots.raft_campaign()), 70))


def test_what_evidence_makes_of_the_strategy_is_told() -> None:
    campaign = with_changes(snapshots.raft_campaign())
    assert campaign.next is not None
    lowered = replace(campaign, next=replace(campaign.next, evidence_factor=0.316))
    assert "Evidence makes the next one × 0.316." in plain(strategy_lines(lowered, 130))


def test_the_notes_say_what_is_there() -> None:
    campaign = with_changes(snapshots.raft_campaign())
    assert "(2.69 standard errors, at the newest)" in plain(note_lines(campaign, 100))
    assert "?" not in plain(note_lines(campaign, 100))
    bare = with_changes(
        snapshots.raft_campaign(cycles=tuple(replace(c, verified=None, interval=None) for c in campaign.cycles))
    )
    assert "?: a rate without a count" in plain(note_lines(bare, 100))


@given(st.integers(30, 240))
def test_the_panel_fits_any_width(width: int) -> None:
    lines = panel_lines(with_changes(snapshots.raft_campaign()), width)
    assert max(line.cell_length for line in lines) <= width


def test_hostile_names_are_only_text() -> None:
    campaign = with_changes(snapshots.raft_campaign())
    evil = tuple(replace(plan, name="\x1b[31mevil") for plan in campaign.plans)
    assert "\x1b" not in plain(panel_lines(replace(campaign, plans=evil), 120))
