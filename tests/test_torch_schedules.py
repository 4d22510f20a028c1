"""Schedules against torch's own, step by step and group by group; refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftmon.advice.learning_rate import strategy_rate
from raftmon.advice.settings import Strategy
from raftmon.errors import UsageError

torch = pytest.importorskip("torch", reason="schedules are torch's")

from torch.optim import lr_scheduler  # noqa: E402

from raftmon.torch import (  # noqa: E402
    constant_late_decay,
    cosine_restarts,
    cycle_decay,
    multiply_schedule,
    plateau_decay,
    warmup_cosine,
    warmup_linear,
)
from tests.schedule_toys import RATES, Make, assert_same, now, ramp, rates_of, sgd  # noqa: E402


def by_group(make: Callable[[Any, float], Any], steps: int) -> list[list[float]]:
    """Return what torch's own gives with a floor for each group: one optimiser for each, as it has but one floor."""
    columns = [rates_of(lambda o, rate=rate: make(o, rate), steps, (rate,)) for rate in RATES]  # type: ignore[misc]
    return [[row[0] for row in rows] for rows in zip(*columns, strict=True)]


@pytest.mark.parametrize(("total", "warmup", "final"), [(40, 0, 0.01), (40, 7, 0.01), (16, 1, 0.1), (1, 0, 0.0)])
def test_cosine_is_torchs(total: int, warmup: int, final: float) -> None:
    def theirs(optimizer: Any, rate: float) -> Any:
        fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=rate * final)
        return ramp(optimizer, warmup, fall)

    ours = rates_of(lambda o: warmup_cosine(o, total, warmup_steps=warmup, final=final), total)

    assert_same(ours, by_group(theirs, total))


@pytest.mark.parametrize(("total", "warmup", "final"), [(40, 0, 0.0), (40, 7, 0.0), (16, 1, 0.1), (1, 0, 0.0)])
def test_linear_is_torchs(total: int, warmup: int, final: float) -> None:
    def theirs(optimizer: Any) -> Any:
        fall = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=final, total_iters=total - warmup)
        return ramp(optimizer, warmup, fall)

    ours = rates_of(lambda o: warmup_linear(o, total, warmup_steps=warmup, final=final), total)

    assert_same(ours, rates_of(theirs, total))


@pytest.mark.parametrize(("total", "warmup", "share", "steps"), [(40, 4, 0.1, 4), (16, 0, 0.1, 2), (30, 3, 0.5, 15)])
def test_late_decay_is_torchs_constant_and_linear(total: int, warmup: int, share: float, steps: int) -> None:
    def theirs(optimizer: Any) -> Any:
        flat = lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=total)
        fall = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)
        begin = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), 1.0, total_iters=max(1, warmup))
        parts, milestones = (
            ([begin, flat, fall], [warmup, total - steps]) if warmup else ([flat, fall], [total - steps])
        )
        return lr_scheduler.SequentialLR(optimizer, parts, milestones)

    ours = rates_of(lambda o: constant_late_decay(o, total, warmup_steps=warmup, decay_share=share), total)

    assert_same(ours, rates_of(theirs, total))


@pytest.mark.parametrize(("first", "growth", "warmup"), [(5, 1, 0), (5, 1, 3), (4, 2, 0), (3, 3, 2), (1, 1, 0)])
def test_restarts_are_torchs(first: int, growth: int, warmup: int) -> None:
    def theirs(optimizer: Any, rate: float) -> Any:
        fall = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=growth, eta_min=rate * 0.01)
        return ramp(optimizer, warmup, fall)

    ours = rates_of(lambda o: cosine_restarts(o, first, growth=growth, warmup_steps=warmup), 50)

    assert_same(ours, by_group(theirs, 50))


def test_cosine_is_not_the_quarter_that_is_often_copied() -> None:
    rates = rates_of(lambda o: warmup_cosine(o, 100, warmup_steps=0, final=0.0), 100, (1.0,))

    assert rates[50][0] == pytest.approx(0.5)
    assert math.cos(math.pi / 4) == pytest.approx(0.707, abs=1e-3)


def test_cycle_decay_gives_the_published_table_and_what_the_plan_says() -> None:
    rates = [row[0] for row in rates_of(cycle_decay, 29, (5e-5,))]

    assert [f"{rate:.2e}" for rate in rates[:5]] == ["5.00e-05", "4.25e-05", "3.61e-05", "3.07e-05", "2.61e-05"]
    planned = [strategy_rate(Strategy(kind="exponential", base=5e-5), cycle, None)[0] for cycle in range(1, 31)]
    assert rates[:25] == planned[:25]
    assert rates[25:] == pytest.approx(planned[25:], rel=1e-15, abs=0.0)
    assert planned[25:] == [1e-6] * 5


@pytest.mark.parametrize(("decay", "table"), [(0.95, [5.0, 4.5, 4.1]), (0.70, [5.0, 2.5, 1.2])])
def test_cycle_decay_gives_the_other_published_factors(decay: float, table: list[float]) -> None:
    rates = [row[0] for row in rates_of(lambda o: cycle_decay(o, decay=decay), 4, (5e-5,))]

    assert [rate * 1e5 for rate in rates[::2]] == pytest.approx(table, abs=0.051)


def test_cycle_decay_keeps_the_ratio_of_groups_at_the_floor_and_lasts_for_the_steps_of_a_cycle() -> None:
    rates = rates_of(lambda o: cycle_decay(o, floor=4e-4, steps_per_cycle=3), 30, (1e-3, 1e-4))

    assert rates[0] == rates[2] == [1e-3, 1e-4]
    assert rates[3] == pytest.approx([8.5e-4, 8.5e-5])
    assert rates[30] == pytest.approx([4e-4, 4e-5])


def test_cycle_decay_has_no_floor_of_its_own_below_that_of_the_plan() -> None:
    assert rates_of(cycle_decay, 2, (5e-7,))[1] == pytest.approx([5e-7 * 0.85])


METRICS: Final = (3.0, 2.0, 2.0, 2.1, 2.0, 1.9999, 1.0, math.nan, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_plateau_is_torchs(mode: str, cooldown: int) -> None:
    one, other = sgd(), sgd()
    ours = plateau_decay(one, mode=mode, factor=0.5, patience=1, cooldown=cooldown, floor=0.1)
    floors = [0.1 * rate for rate in RATES]
    kept = {"mode": mode, "factor": 0.5, "patience": 1, "cooldown": cooldown, "min_lr": floors}
    theirs = lr_scheduler.ReduceLROnPlateau(other, **kept)
    for metric in METRICS:
        ours.step(metric)
        theirs.step(metric)
        assert now(one) == now(other)
    assert now(one)[0] < RATES[0]


def test_plateau_lowers_by_hand_and_stops_at_each_groups_floor() -> None:
    optimizer = sgd((1.0, 0.1))
    scheduler = plateau_decay(optimizer, factor=0.1, patience=1, floor=0.05)
    seen = []
    for metric in (2.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        scheduler.step(metric)
        seen.append(now(optimizer)[0])
    assert seen == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.05, 0.05])
    assert now(optimizer) == pytest.approx([0.05, 0.005])


def test_plateau_lowers_small_rates_which_torchs_default_leaves() -> None:
    one, other = sgd((1e-7,)), sgd((1e-7,))
    ours, theirs = (
        plateau_decay(one, factor=0.9, patience=0),
        lr_scheduler.ReduceLROnPlateau(other, factor=0.9, patience=0),
    )
    for scheduler in (ours, theirs):
        scheduler.step(1.0)
        scheduler.step(1.0)
    assert now(one) == pytest.approx([9e-8])
    assert now(other) == [1e-7]


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 60),
    warmup=st.integers(0, 59),
    final=st.floats(0.0, 0.99),
    factor=st.floats(0.01, 10.0),
    kind=st.sampled_from(["cosine", "linear", "late", "restarts", "cycles"]),
)
def test_rates_are_never_negative_nor_above_the_peak_and_warm_up_climbs(
    total: int, warmup: int, final: float, factor: float, kind: str
) -> None:
    warmup = min(warmup, total - 1)
    makers: dict[str, Make] = {
        "cosine": lambda o: warmup_cosine(o, total, warmup_steps=warmup, final=final),
        "linear": lambda o: warmup_linear(o, total, warmup_steps=warmup, final=final),
        "late": lambda o: constant_late_decay(
            o, total, warmup_steps=warmup, decay_share=(total - warmup) / total, final=final
        ),
        "restarts": lambda o: cosine_restarts(o, total, warmup_steps=warmup, final=final),
        "cycles": lambda o: cycle_decay(o, decay=max(0.01, final), floor=final * 1e-3, steps_per_cycle=total),
    }
    rates = rates_of(lambda o: multiply_schedule(makers[kind](o), factor), total + 5)
    peaks = [factor * rate for rate in RATES]
    for row in rates:
        assert all(0.0 <= rate <= peak * (1 + 1e-12) for rate, peak in zip(row, peaks, strict=True))
    first = [row[0] for row in rates]
    if kind == "cycles":
        assert first == sorted(first, reverse=True)
        return
    assert all(low < high for low, high in itertools.pairwise(first[: warmup + 1]))
    assert rates[warmup] == pytest.approx(peaks)
    assert first[0] > 0.0
    if kind != "restarts":
        end = [final * peak for peak in peaks]
        assert rates[total] == pytest.approx(end, abs=1e-15)
        assert rates[total:] == [rates[total]] * 6  # it stays there


def test_without_a_length_the_warm_up_is_what_the_steps_and_the_optimiser_allow() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    for optimizer, total, warmup in (
        (torch.optim.AdamW(parameters, lr=1.0), 9, 0),
        (torch.optim.AdamW(parameters, lr=1.0), 16, 1),
        (torch.optim.AdamW(parameters, lr=1.0, betas=(0.9, 0.95)), 5000, 40),
        (torch.optim.AdamW(parameters, lr=1.0), 5000, 500),
        (torch.optim.SGD(parameters, lr=1.0), 5000, 500),
    ):
        warmup_linear(optimizer, total)
        assert now(optimizer) == pytest.approx([1 / (warmup + 1)])


REFUSED: Final[list[tuple[Callable[[], Any], str, str]]] = [
    (lambda: warmup_cosine(sgd(), 0), "warmup_cosine(total_steps): total_steps is 0", "at least 1"),
    (lambda: warmup_cosine(sgd(), 10.5), "total_steps is 10.5", "a whole number"),  # type: ignore[arg-type]
    (lambda: warmup_cosine(sgd(), True), "total_steps is True", "a whole number"),
    (lambda: warmup_linear(sgd(), "10"), "total_steps is '10'", "a whole number"),  # type: ignore[arg-type]
    (lambda: warmup_cosine(sgd(), 16, warmup_steps=5000), "leave none of the 16", "Give 0 to 15; 1 would do"),
    (lambda: warmup_linear(sgd(), 16, warmup_steps=-1), "warmup_steps is -1", "at least 0"),
    (lambda: warmup_linear(sgd(), 16, final=1.0), "final is 1.0", "at least 0 and below 1"),
    (lambda: warmup_cosine(sgd(), 16, final=math.nan), "final is nan", "at least 0 and below 1"),
    (lambda: warmup_cosine(None, 16), "optimizer is a NoneType", "torch.optim.Optimizer"),
    (lambda: constant_late_decay(sgd(), 20, decay_share=0.0), "decay_share is 0.0", "above 0 and at most 1"),
    (lambda: constant_late_decay(sgd(), 20, warmup_steps=15, decay_share=0.5), "15 steps of warm-up and 10", "0.25"),
    (lambda: cosine_restarts(sgd(), 5, growth=0), "growth is 0", "at least 1"),
    (lambda: cosine_restarts(sgd(), 5, growth=1.5), "growth is 1.5", "a whole number"),  # type: ignore[arg-type]
    (lambda: plateau_decay(sgd(), mode="down"), "mode is 'down'", "one of min, max"),
    (lambda: plateau_decay(sgd(), factor=1.0), "factor is 1.0", "above 0 and below 1"),
    (lambda: plateau_decay(sgd(), patience=-1), "patience is -1", "at least 0"),
    (lambda: plateau_decay(sgd(), threshold=math.inf), "threshold is inf", "at least 0"),
    (lambda: cycle_decay(sgd(), decay=1.2), "decay is 1.2", "above 0 and at most 1"),
    (lambda: cycle_decay(sgd(), floor=0.01), "floor 0.01 is above", "from 0 to 0.001"),
    (lambda: warmup_linear(sgd((math.inf,)), 9), "the learning rate of group 0 is inf", "finite"),
]


@pytest.mark.parametrize(("call", "what", "remedy"), REFUSED, ids=[what for _, what, _ in REFUSED])
def test_what_cannot_be_meant_is_refused_with_the_legal_values(call: Callable[[], Any], what: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert what in str(caught.value)
    assert remedy in caught.value.remedy
