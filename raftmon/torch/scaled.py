"""Multiplies the rates of an optimiser and of its schedule, whatever remembers them: groups, bases, peaks, floors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import torch

__all__ = ["parts_of", "scale", "set_in_place"]

_OF_A_GROUP: Final = ("lr", "initial_lr", "max_lr", "min_lr")
"""What optimisers, and the schedules of torch, keep in a group of parameters."""
_LISTS: Final = ("base_lrs", "max_lrs", "_last_lr", "min_lrs")
"""What schedules remember for each group, floors last."""
_FLOORS: Final = ("eta_min", "default_min_lr")
"""What they remember for all groups; the second is the floor of groups that a `ReduceLROnPlateau` gets later."""


def parts_of(scheduler: Any) -> Iterator[Any]:
    """Yield a schedule and all those that a `SequentialLR` or `ChainedScheduler` is made of, at any depth."""
    scheduler = getattr(scheduler, "scheduler", scheduler)  # as accelerate wraps it
    if scheduler is None:
        return
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from parts_of(part)


def scale(optimizer: Any, scheduler: Any, scaled: Callable[[float], float]) -> None:
    """Replace all rates of an optimiser and its schedule; the schedule keeps its shape where all are multiplied alike.

    Args:
        optimizer: has `param_groups`; a wrapper of accelerate or Lightning may.
        scheduler: of that optimiser; None: the rate is constant.
        scaled: a rate to the one that takes its place. A floor of 0 stays.
    """
    for group in optimizer.param_groups:
        for key in _OF_A_GROUP:
            if group.get(key) is not None:
                set_in_place(group, key, scaled(float(group[key])))
    for part in parts_of(scheduler):
        for name in _LISTS:
            values = getattr(part, name, None)
            # Made anew, as a `SequentialLR` shares them.
            if values and (name != "min_lrs" or any(values)):
                setattr(part, name, [_like(value, scaled(float(value))) for value in values])
        for name in _FLOORS:
            if getattr(part, name, None):
                setattr(part, name, scaled(float(getattr(part, name))))


def set_in_place(group: dict[str, Any], key: str, rate: float) -> None:
    """Set a rate of a group, in place where it is a tensor: compiled and captured steps hold on to that."""
    if isinstance(group[key], torch.Tensor):
        group[key].fill_(rate)
    else:
        group[key] = rate


def _like(value: Any, rate: float) -> Any:
    """Return a rate as what a schedule keeps: a number, or a tensor like the one that it kept."""
    return torch.full_like(value, rate) if isinstance(value, torch.Tensor) else rate
