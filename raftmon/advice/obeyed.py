"""Tells whether a run trained at the learning rate that its config file means.

A command line wins over the file in most trainers, a resumed scheduler keeps the old rate, a launch script may write a
file of its own: then whatever is written into the config has no effect.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from raftmon.advice.learning_rate import written_rate
from raftmon.model import RunView

if TYPE_CHECKING:
    from raftmon.model import Floats, Ints

__all__ = ["agrees", "rate_in_force"]

EXACT: Final = 0.01
"""Share by which a rate that the trainer reports itself may differ."""
LOGGED: Final = 0.2
"""The same for the largest logged one: more than the first logged step of a schedule can explain."""
_RESCALING: Final = ("noam", "onecycle", "one_cycle", "cyclic")
"""Schedules whose peak is not the configured rate."""
LEAST_POINTS: Final = 2


def rate_in_force(run: RunView) -> tuple[float, float] | None:
    """Return the learning rate that a run was given, and the share by which that may be off.

    Returns:
        None where the log does not tell: no learning rate, a warm-up that has not ended, a schedule that rescales it.
    """
    series, config = run.series.get("learning_rate"), run.config
    if config.learning_rate is not None and "args" in config.source:
        return config.learning_rate, EXACT  # the trainer's own word, whatever the schedule makes of it
    scheduler = (config.scheduler or "").lower()
    if config.several_rates or any(word in scheduler for word in _RESCALING):
        return None
    if series is not None:
        finite = np.isfinite(series.values)
        values, steps = series.values[finite], series.steps[finite]
        if len(values) >= LEAST_POINTS and values.max() > 0.0 and _shows_its_peak(values, steps, config.warmup_steps):
            # A schedule that stands at its top shows it, one that falls from the start has begun to.
            stands = int((values >= values.max() * (1.0 - 1e-6)).sum()) >= LEAST_POINTS
            return written_rate(float(values.max())), EXACT if stands else LOGGED
    return None


def agrees(meant: float, observed: float, share: float) -> bool:
    """Tell whether two rates are the same within a share."""
    return math.isclose(meant, observed, rel_tol=share)


def _shows_its_peak(values: Floats, steps: Ints, warmup: int | None) -> bool:
    """Tell whether the largest logged value is that of the schedule: seen from the start, and past the warm-up."""
    top = values >= values.max() * (1.0 - 1e-6)
    # A constant rate shows its peak everywhere, one that warms up does once it falls or stands again.
    has_turned = not bool(top[-1]) or int(top.sum()) >= LEAST_POINTS
    span = float(steps[-1] - steps[0]) + 1.0
    return has_turned and float(steps[0]) <= (warmup or 0) + 1.0 + 0.05 * span
