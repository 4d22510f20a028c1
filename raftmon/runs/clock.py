"""When the steps of a run were logged: a few of them, in bounded memory, for an axis of time.

The wall time of every point would cost half as much memory again as the points. A run's steps follow each other at a
pace that changes seldom, so that a straight line between a few dozen of them is as good for the eye.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.model import Floats, Ints

__all__ = ["MOST", "Clock"]

MOST: Final = 64
"""Steps kept; when there are more, every second one goes."""


class Clock:
    """Steps of a run with their wall times: the first, the newest, and some between."""

    __slots__ = ("_count", "_steps", "_times")

    def __init__(self) -> None:
        # What is handed out lies before `_count`, and is never written to again.
        self._steps: Ints = np.empty(MOST, np.int64)
        self._times: Floats = np.empty(MOST, np.float64)
        self._count = 0

    @property
    def known(self) -> tuple[Ints, Floats] | None:
        """Steps, ascending, and their wall times in seconds since the epoch; never written to again; None at first."""
        return (self._steps[: self._count], self._times[: self._count]) if self._count else None

    def note(self, steps: Ints, times: Floats) -> None:
        """Take in a few points of any tags; those whose step is no progress are left out.

        The first point that reaches a step, of several tags, says when.

        Args:
            steps: in the order of arrival.
            times: same length; what is not finite is left out.
        """
        newest = int(self._steps[self._count - 1]) if self._count else None
        for step, moment in zip(steps.tolist(), times.tolist(), strict=True):
            if (newest is None or step > newest) and math.isfinite(moment):
                if self._count == MOST:
                    self._keep(np.arange(MOST) % 2 == 0)
                self._steps[self._count], self._times[self._count] = step, moment
                self._count += 1
                newest = step

    def rewind(self, step: int) -> None:
        """Forget the steps from one on: a restarted run logs them again."""
        if self._count and self._steps[self._count - 1] >= step:
            self._keep(self._steps[: self._count] < step)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        """Keep some of the steps, in memory of their own: the others may have been handed out."""
        steps, times = self._steps[: self._count][kept], self._times[: self._count][kept]
        self._steps, self._times, self._count = np.empty(MOST, np.int64), np.empty(MOST, np.float64), len(steps)
        self._steps[: len(steps)], self._times[: len(steps)] = steps, times
