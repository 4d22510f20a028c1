"""Spikes of the loss: points far above the median of those before them."""

from __future__ import annotations

from typing import Final

from raftmon.grounds import BEYOND
from raftmon.signals.statistics import RollingMedian

__all__ = ["SPIKE_MEMORY", "SPIKE_SIGMA", "Spikes"]

SPIKE_WINDOW: Final = 32
LEAST_WINDOW: Final = 8
SPIKE_MEMORY: Final = 100
LEAST_JUDGED: Final = 60
"""Points of which the share of spikes is told: of fewer, a single spike would be 2 %."""
SPIKE_SIGMA: Final = 8.0
LONGEST_SPIKE: Final = 3
"""Points that a spike may last before it counts as a new level."""
LEAST_SPIKE: Final = 0.1
"""A spike also rises by this share of the median's size: in a nearly constant series sigma is next to nothing."""
_MASK: Final = (1 << SPIKE_MEMORY) - 1


class Spikes:
    """Which points are spikes, and the series without them."""

    __slots__ = ("_in_row", "_judged", "_marks", "_median", "newest")

    def __init__(self) -> None:
        self.newest: float | None = None
        """The newest point above the median before it, in sigma; None before 9 points."""
        self._median = RollingMedian(SPIKE_WINDOW)
        self._marks = 0
        """Of the newest points a bit each, 1 for a spike; the newest is the lowest bit."""
        self._judged = 0
        self._in_row = 0

    @property
    def share(self) -> float | None:
        """Share of spikes among the newest 100 points; None before 60 were judged."""
        return self._marks.bit_count() / self._judged if self._judged >= LEAST_JUDGED else None

    def push(self, value: float) -> float:
        """Take in a finite value; returns it, or the median in the place of a spike.

        Spikes do not enter the window, unless they stay: then it is the level that has changed.
        """
        median = self._median
        middle = median.median if len(median) >= LEAST_WINDOW else None
        if middle is None:
            median.push(value)
            return value
        is_spike = self._is_spike(value - middle, middle)
        self._marks = (self._marks << 1 | is_spike) & _MASK
        if self._judged < SPIKE_MEMORY:
            self._judged += 1
        if not is_spike:
            median.push(value)
            self._in_row = 0
            return value
        if self._marks.bit_count() > SPIKE_MEMORY // 4:
            middle = median.push(value)
        self._in_row += 1
        return middle if self._in_row <= LONGEST_SPIKE else value

    def _is_spike(self, rise: float, middle: float) -> bool:
        if rise <= LEAST_SPIKE * abs(middle):
            self.newest = 0.0
        else:
            # The dearest part of all, and seldom needed.
            sigma = self._median.sigma or 0.0
            self.newest = min(rise / sigma, BEYOND) if sigma > 0.0 else BEYOND
        return self.newest > SPIKE_SIGMA
