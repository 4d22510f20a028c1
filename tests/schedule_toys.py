"""Schedules to be walked through, for the tests of raftmon's schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import torch
from torch.optim import lr_scheduler

from raftmon.torch import constant_late_decay, cosine_restarts, cycle_decay, warmup_cosine, warmup_linear

__all__ = ["MAKERS", "RATES", "Make", "assert_same", "now", "ramp", "rates_of", "sgd", "walk"]

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
    """Return an optimiser with a group for each rate."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def now(optimizer: Any) -> list[float]:
    """Return the rates of its groups."""
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
    """Return the rates of each step of a schedule on an optimiser of its own."""
    optimizer = sgd(rates)
    return walk(optimizer, make(optimizer), steps)


def assert_same(ours: list[list[float]], theirs: list[list[float]]) -> None:
    """Compare two walks but for rounding."""
    assert len(ours) == len(theirs)
    for step, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-18), step


def ramp(optimizer: Any, warmup: int, then: Any) -> Any:
    """Return torch's own warm-up before another of its schedulers."""
    if warmup == 0:
        return then
    begin = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), end_factor=1.0, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [begin, then], milestones=[warmup])
