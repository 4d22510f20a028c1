"""Gives an optimiser and its schedule another learning rate, and every process of a training the same one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from torch import distributed

from raftmon.errors import RaftmonError
from raftmon.torch.scaled import parts_of, scale

__all__ = ["decided_by_the_first", "peak_of", "set_rate"]

T = TypeVar("T")
_EXACT: Final = 1e-9


def set_rate(optimizer: Any, scheduler: Any, rate: float) -> None:
    """Make a rate the peak of the first group of parameters; groups and schedule keep their shape.

    A schedule that only scales (all of transformers' and most of torch's) then gives each step what it would have given
    had the optimiser been made with this rate. Floors of a schedule (`eta_min`) are scaled with it: a rate that was
    lowered below one would else climb to it.

    Args:
        optimizer: has `param_groups`; a wrapper of accelerate or Lightning may.
        scheduler: of that optimiser, at its start; None: the rate is constant.
        rate: above 0.
    """
    peak = peak_of(optimizer, scheduler)
    if math.isclose(peak, rate, rel_tol=_EXACT):
        return

    def scaled(value: float) -> float:
        new = value * rate / peak if peak > 0.0 else rate
        return rate if math.isclose(new, rate, rel_tol=_EXACT) else new

    scale(optimizer, scheduler, scaled)


def peak_of(optimizer: Any, scheduler: Any) -> float:
    """Return the rate that the schedule of the first group of parameters rises to or falls from."""
    group = optimizer.param_groups[0]
    if group.get("max_lr") is not None:
        return float(group["max_lr"])
    bases = next((part.base_lrs for part in parts_of(scheduler) if getattr(part, "base_lrs", None)), None)
    return float(bases[0] if bases else group.get("initial_lr", group["lr"]))


def decided_by_the_first(decide: Callable[[], T]) -> T:
    """Return in every process of a training what the first one decides, or raise there what it raises."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return decide()
    held: list[Any] = [None, None]
    fault: Exception | None = None
    if distributed.get_rank() == 0:
        try:
            held[0] = decide()
        except Exception as error:  # the others wait
            fault, held[1] = error, (type(error).__name__, str(error), "")
            if isinstance(error, RaftmonError):
                held[1] = (error.where, error.what, error.remedy)
    distributed.broadcast_object_list(held, src=0)
    if fault is not None:
        raise fault
    if held[1] is not None:
        raise RaftmonError(*held[1])
    return held[0]
