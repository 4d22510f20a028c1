"""The learning rates that schedules start from: multiplied, or begun anew in the next cycle."""

from __future__ import annotations

import math
from typing import Final

from raftmon.errors import MissingExtra, UsageError
from raftmon.torch.checks import number

try:
    from torch.optim import Optimizer, lr_scheduler
    from torch.optim.lr_scheduler import LRScheduler
except ModuleNotFoundError as error:
    _what = f"schedules need {error.name}, which is not installed"
    raise MissingExtra("raftmon.torch.base_rates", _what, 'pip install "raftmon[torch]"') from error

from raftmon.torch.scaled import parts_of, scale, set_in_place

__all__ = ["base_rates", "multiply_schedule", "restart_at"]

_SCALABLE: Final = (
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
)
"""torch's schedulers whose rates are proportional to those that the optimiser began with, floors aside."""


def base_rates(call: str, optimizer: object) -> list[float]:
    """Return the learning rates that a schedule made now would start from, one for each group.

    That is the ``initial_lr`` that an earlier schedule left in a group, else its ``lr``.

    Args:
        call: the function that was called, for the error.
        optimizer: what was given as such.

    Raises:
        UsageError: it is no optimiser, or a rate is negative or not finite.
    """
    if not isinstance(optimizer, Optimizer):
        remedy = "Give the torch.optim.Optimizer that is to be stepped."
        raise UsageError(f"{call}(optimizer)", f"optimizer is a {type(optimizer).__name__}", remedy)
    rates = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    for index, rate in enumerate(rates):
        if not (math.isfinite(rate) and rate >= 0.0):
            what = f"the learning rate of group {index} is {rate}"
            raise UsageError(f"{call}(optimizer)", what, "Give a finite number of at least 0.")
    return rates


def multiply_schedule(scheduler: LRScheduler, factor: float) -> LRScheduler:
    """Multiply a whole schedule, from now on, floors included: this module's, torch's or transformers'.

    Some recipes call the factor the schedule's "temperature": claim 2-36 (definition, grade C). It has nothing to do
    with the temperature of sampling. Its state is in the state dicts of scheduler and optimiser: do not multiply
    again after a resume.

    Args:
        scheduler: changed in place, with the optimiser's rates.
        factor: above 0; below 1 more careful, above 1 riskier.

    Returns:
        The same scheduler.

    Raises:
        UsageError: the factor is not positive, or the scheduler has rates that do not follow from the optimiser's.
    """
    call = "multiply_schedule"
    times = number(call, "factor", factor, "(0,inf)")
    known = tuple(getattr(lr_scheduler, name) for name in _SCALABLE)
    for part in parts_of(scheduler):
        if not isinstance(part, known):
            remedy = f"Give one of {', '.join(_SCALABLE)}, or make it with other learning rates."
            raise UsageError(f"{call}(scheduler)", f"{type(part).__name__} cannot be multiplied", remedy)
    scale(scheduler.optimizer, scheduler, lambda rate: rate * times)
    return scheduler


def restart_at(optimizer: Optimizer, learning_rate: float) -> None:
    """Give an optimiser that has been through a schedule a new peak, for the schedule of the next cycle.

    A scheduler begins with the ``initial_lr`` that the first one left in the optimiser, whatever ``lr`` says since:
    without this, a new learning rate is lost when the next schedule is made. Groups keep their ratio.

    Args:
        optimizer: changed in place; its state (moments) stays.
        learning_rate: of the group with the largest one.

    Raises:
        UsageError: the rate is not positive, or all groups stand at 0, so that no ratio is known.
    """
    call = "restart_at"
    peaks = base_rates(call, optimizer)
    rate = number(call, "learning_rate", learning_rate, "(0,inf)")
    if max(peaks) == 0.0:
        remedy = "Set the learning rate of at least one group above 0 first."
        raise UsageError(f"{call}(optimizer)", "all learning rates of the optimiser are 0", remedy)
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        set_in_place(group, "lr", rate * (peak / max(peaks)))
        group.pop("initial_lr", None)
