"""Rates with their confidence intervals, as characters on a scale that all rows share.

Only ASCII is drawn: ``[--*--]`` for an interval around its rate, ``*`` alone for a rate without a count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from raftmon.model import CycleView

__all__ = ["RateScale", "interval_bar"]

LEAST_SPAN = 4
"""Percentage points that a scale has at least: a smaller one would make noise look like news."""


@dataclass(frozen=True, slots=True)
class RateScale:
    """The shares at the two ends of every bar."""

    low: float
    high: float

    @staticmethod
    def of(cycles: Iterable[CycleView]) -> RateScale | None:
        """Return the scale that holds every rate and interval, in whole percent; None without a rate."""
        shares = [share for cycle in cycles for share in (*(cycle.interval or ()), cycle.verification_rate)]
        known = [share for share in shares if share is not None and math.isfinite(share)]
        if not known:
            return None
        # A hair's breadth of tolerance: 0.29 * 100 is a little less than 29.
        low = max(math.floor(min(known) * 100.0 + 1e-9), 0)
        high = min(math.ceil(max(known) * 100.0 - 1e-9), 100)
        lacking = max(LEAST_SPAN - (high - low), 0)
        low = max(low - (lacking + 1) // 2, 0)
        high = min(max(high, low + LEAST_SPAN), 100)
        return RateScale(min(low, high - LEAST_SPAN) / 100.0, high / 100.0)

    def column(self, share: float, width: int) -> int:
        """Return the cell (from 0) of a share in a bar of `width` cells; what lies outside is drawn at the end."""
        place = (share - self.low) / (self.high - self.low)
        return min(max(round(place * (width - 1)), 0), width - 1)

    def labels(self, width: int) -> str:
        """Return the two ends as a line of `width` cells, or blanks where there is no room for both."""
        low, high = f"{self.low:.0%}", f"{self.high:.0%}"
        gap = width - len(low) - len(high)
        return low + " " * gap + high if gap > 0 else " " * max(width, 0)


def interval_bar(cycle: CycleView, scale: RateScale, width: int, best: float | None = None) -> str:
    """Return the bar of a cycle's rate, exactly `width` cells.

    Args:
        cycle: its rate and interval; blanks without a rate.
        scale: of all cycles.
        width: cells, at least 1.
        best: a rate to mark with ``:`` where the interval leaves room; whether it reaches it is seen that way.
    """
    cells = [" "] * width
    if best is not None:
        cells[scale.column(best, width)] = ":"
    rate = cycle.verification_rate
    if rate is None or not math.isfinite(rate):
        return "".join(cells)
    place = scale.column(rate, width)
    if cycle.interval is not None:
        low, high = (scale.column(share, width) for share in cycle.interval)
        cells[low : high + 1] = "-" * (high + 1 - low)
        cells[low], cells[high] = "[", "]"
    cells[place] = "*"
    return "".join(cells)
