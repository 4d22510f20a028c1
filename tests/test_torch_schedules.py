"""Schedules against torch's own, step by step and group by group; saved, loaded, pickled; refusals."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle
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

RATES: Final = (1e-3, 2.5e-5, 0.0)
"""Peaks of three groups; the last is frozen."""
Make = Callable[[Any], Any]

MAKERS: Final[dict[str, Make]] = {
    "cosine": lambda o: warmup_cosine(o, 40, warmup_steps=5),
    "linear": lambda o: warmup_linear(o, 40),
    "late decay": lambda o: constant_late_decay(o, 40, warmup_steps=2),
    "restarts": lambda o: cosine_restarts(o, 7, growth=2, warmup_steps=3),
    "cycle decay": lambda o: cycle_decay(o, steps_per_cycle=4),
}


def sgd(rates: tuple[float, ...] = RATES) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def now(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def walk(optimizer: Any, scheduler: Any, steps: int) -> list[list[float]]:
    """Return the rates of each step, and those after the last."""
    seen = [now(optimizer)]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        seen.append(now(optimizer))
        assert seen[-1] == [float(rate) for rate in scheduler.get_last_lr()]
    return seen


def rates_of(make: Make, steps: int, rates: tuple[float, ...] = RATES) -> list[list[float]]:
    optimizer = sgd(rates)
    return walk(optimizer, make(optimizer), steps)


def assert_same(ours: list[list[float]], theirs: list[list[float]]) -> None:
    assert len(ours) == len(theirs)
    for step, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-18), step


def by_group(make: Callable[[Any, float], Any], steps: int) -> list[list[float]]:
    """Return what torch's own gives with a floor for each group: one optimiser for each, as it has but one floor."""
    columns = [rates_of(lambda o, rate=rate: make(o, rate), steps, (rate,)) for rate in RATES]  # type: ignore[misc]
    return [[row[0] for row in rows] for rows in zip(*columns, strict=True)]


def ramp(optimizer: Any, warmup: int, then: Any) -> Any:
    """Return torch's own warm-up before another of its schedulers."""
    if warmup == 0:
        return then
    begin = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), end_factor=1.0, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [begin, then], milestones=[warmup])


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


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("after", [0, 1, 3, 12, 39])
def test_what_is_saved_goes_on_alike(name: str, after: int) -> None:
    whole = rates_of(MAKERS[name], 60)
    optimizer = sgd()
    scheduler = MAKERS[name](optimizer)
    walk(optimizer, scheduler, after)
    file = io.BytesIO()
    torch.save({"scheduler": scheduler.state_dict(), "optimizer": optimizer.state_dict()}, file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again = sgd((1.0, 2.0, 3.0))
    resumed = MAKERS[name](again)
    again.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["scheduler"])

    assert walk(again, resumed, 60 - after) == whole[after:]


def test_the_lengths_come_back_with_the_state() -> None:
    optimizer, again = sgd(), sgd()
    scheduler, other = warmup_linear(optimizer, 40), warmup_linear(again, 80)
    walk(optimizer, scheduler, 10)
    other.load_state_dict(scheduler.state_dict())

    assert walk(again, other, 30)[1:] == walk(optimizer, scheduler, 30)[1:]


@pytest.mark.parametrize("name", [*MAKERS, "plateau"])
@pytest.mark.parametrize("copied", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy_goes_on_alike_with_an_optimiser_of_its_own(name: str, copied: Callable[[Any], Any]) -> None:
    optimizer = sgd()
    if name == "plateau":
        scheduler: Any = plateau_decay(optimizer, patience=2)
        for _ in range(5):
            scheduler.step(1.0)
        again = copied(scheduler)
        for one in (scheduler, again):
            for _ in range(5):
                one.step(1.0)
        assert now(optimizer) == now(again.optimizer) == pytest.approx([rate * 0.001 for rate in RATES])
        return
    scheduler = MAKERS[name](optimizer)
    walk(optimizer, scheduler, 9)
    again = copied(scheduler)

    assert walk(again.optimizer, again, 40) == walk(optimizer, scheduler, 40)
    assert again.optimizer is not optimizer


@pytest.mark.parametrize("name", MAKERS)
def test_one_may_follow_another_of_torchs(name: str) -> None:
    optimizer = sgd()
    parts = [lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=100), MAKERS[name](optimizer)]
    seen = walk(optimizer, lr_scheduler.SequentialLR(optimizer, parts, milestones=[6]), 40)

    assert seen[:6] == [[rate * 0.5 for rate in RATES]] * 6
    assert_same(seen[6:], rates_of(MAKERS[name], 34))


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
