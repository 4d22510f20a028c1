"""When the steps of a run were logged: a few of them, in bounded memory, for an axis of time.

The wall time of every point would cost half as much memory again as the points. A run's steps follow each other at a
pace that changes seldom, so that a straight line between a few dozen of them is as good for the eye.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from raftmon.model import Floats, Ints

__all__ = ["MOST", "Clock"]

MOST: Final = 64
"""Steps kept; when there are more, every second one goes."""
_NO_STEPS: Final = np.empty(0, dtype=np.int64)
_NO_TIMES: Final = np.empty(0, dtype=np.float64)


class Clock:
    """Steps of a run with their wall times: the first, the newest, and some between."""

    __slots__ = ("_steps", "_times")

    def __init__(self) -> None:
        self._steps: Ints = _NO_STEPS
        self._times: Floats = _NO_TIMES

    @property
    def known(self) -> tuple[Ints, Floats] | None:
        """Steps, ascending, and their wall times in seconds since the epoch; never written to again; None at first."""
        return (self._steps, self._times) if len(self._steps) else None

    def note(self, steps: Ints, times: Floats) -> None:
        """Take in points of any tags; those whose step is no progress are left out.

        Args:
            steps: in the order of arrival.
            times: same length; what is not finite is left out.
        """
        if len(steps) > MOST:
            some = np.linspace(0, len(steps) - 1, MOST).astype(np.int64)
            steps, times = steps[some], times[some]
        newest = int(self._steps[-1]) if len(self._steps) else None
        ahead = np.isfinite(times) if newest is None else np.isfinite(times) & (steps > newest)
        steps, times = steps[ahead], times[ahead]
        if not len(steps):
            return
        # The first point that reaches a step, of several tags, says when.
        front = np.concatenate([[True], steps[1:] > np.maximum.accumulate(steps)[:-1]])
        self._steps = np.concatenate([self._steps, steps[front]])
        self._times = np.concatenate([self._times, times[front]])
        while len(self._steps) > MOST:
            kept = np.arange(len(self._steps)) % 2 == 0
            kept[-1] = True
            self._steps, self._times = self._steps[kept], self._times[kept]

    def rewind(self, step: int) -> None:
        """Forget the steps from one on: a restarted run logs them again."""
        before = self._steps < step
        if not before.all():
            self._steps, self._times = self._steps[before], self._times[before]
