"""Schedules multiplied, and optimisers that begin a new cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from raftmon.errors import UsageError

torch = pytest.importorskip("torch", reason="schedules are torch's")

from torch.optim import lr_scheduler  # noqa: E402

from raftmon.torch import multiply_schedule, plateau_decay, restart_at, warmup_linear  # noqa: E402
from tests.schedule_toys import MAKERS, Make, assert_same, now, ramp, rates_of, sgd, walk  # noqa: E402

TORCHS: Final[dict[str, Make]] = {
    "cosine to a floor": lambda o: lr_scheduler.CosineAnnealingLR(o, 20, eta_min=1e-6),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, eta_min=1e-6),
    "steps": lambda o: lr_scheduler.StepLR(o, 3),
    "milestones": lambda o: lr_scheduler.MultiStepLR(o, [2, 9]),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 20, power=2.0),
    "sequence": lambda o: ramp(o, 4, lr_scheduler.ExponentialLR(o, 0.9)),
    "nested": lambda o: lr_scheduler.ChainedScheduler(
        [ramp(o, 4, lr_scheduler.ExponentialLR(o, 0.9)), lr_scheduler.StepLR(o, 3)]
    ),
    "chain": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)]),
}


@pytest.mark.parametrize("make", [*MAKERS.values(), *TORCHS.values()], ids=[*MAKERS, *TORCHS])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("after", [0, 7])
def test_a_multiplied_schedule_is_that_many_times_the_plain_one(make: Make, factor: float, after: int) -> None:
    plain = rates_of(make, 30)
    optimizer = sgd()
    scheduler = make(optimizer)
    before = walk(optimizer, scheduler, after)

    assert multiply_schedule(scheduler, factor) is scheduler
    assert [float(rate) for rate in scheduler.get_last_lr()] == now(optimizer)
    seen = walk(optimizer, scheduler, 30 - after)

    assert before == plain[: after + 1]
    assert_same(seen, [[factor * rate for rate in row] for row in plain[after:]])


def test_a_multiplied_plateau_has_multiplied_floors() -> None:
    optimizer = sgd((1.0, 0.1))
    scheduler = multiply_schedule(plateau_decay(optimizer, patience=0, floor=0.05), 2.0)
    assert now(optimizer) == [2.0, 0.2]
    for _ in range(5):
        scheduler.step(1.0)
    assert now(optimizer) == pytest.approx([0.1, 0.01])


def test_what_was_multiplied_is_in_the_saved_state() -> None:
    optimizer = sgd()
    scheduler = multiply_schedule(MAKERS["cosine"](optimizer), 2.0)
    walk(optimizer, scheduler, 10)
    again = sgd()
    resumed = MAKERS["cosine"](again)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())

    assert walk(again, resumed, 30) == walk(optimizer, scheduler, 30)


def test_a_new_cycle_begins_at_its_own_rate() -> None:
    optimizer = sgd((1e-3, 1e-4))
    walk(optimizer, warmup_linear(optimizer, 10), 10)
    assert now(optimizer) == [0.0, 0.0]

    restart_at(optimizer, 4e-4)
    seen = walk(optimizer, warmup_linear(optimizer, 10, warmup_steps=0), 10)

    assert seen[0] == pytest.approx([4e-4, 4e-5])
    assert seen[5] == pytest.approx([2e-4, 2e-5])


def test_a_rate_that_is_a_tensor_stays_the_same_tensor() -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    held = optimizer.param_groups[0]["lr"]
    scheduler = warmup_linear(optimizer, 10, warmup_steps=0)
    walk(optimizer, scheduler, 5)
    multiply_schedule(scheduler, 2.0)
    walk(optimizer, scheduler, 1)

    assert optimizer.param_groups[0]["lr"] is held
    assert float(held) == pytest.approx(0.1 * 2 * 0.4)


REFUSED: Final[list[tuple[Callable[[], Any], str, str]]] = [
    (lambda: multiply_schedule(MAKERS["linear"](sgd()), 0.0), "factor is 0.0", "above 0"),
    (lambda: multiply_schedule(lr_scheduler.OneCycleLR(sgd(), 1.0, 9), 2.0), "OneCycleLR cannot", "LambdaLR"),
    (lambda: restart_at(sgd(), -1.0), "learning_rate is -1.0", "above 0"),
    (lambda: restart_at(sgd((0.0, 0.0)), 1e-4), "all learning rates of the optimiser are 0", "above 0"),
]


@pytest.mark.parametrize(("call", "what", "remedy"), REFUSED, ids=[what for _, what, _ in REFUSED])
def test_what_cannot_be_meant_is_refused_with_the_legal_values(call: Callable[[], Any], what: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert what in str(caught.value)
    assert remedy in caught.value.remedy


def test_a_refused_multiplication_changes_nothing() -> None:
    optimizer = sgd()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, 9)
    before = now(optimizer)
    with pytest.raises(UsageError):
        multiply_schedule(scheduler, 2.0)
    assert now(optimizer) == before
