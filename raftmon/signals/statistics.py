"""Online statistics: one point in, constant work (or work bounded by a window), a value out.

All are scale-free where they can be: the noise of a series is measured on its own differences, so that a slow trend
does not count as noise (Rice, 1984: difference-based variance estimators).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Final

__all__ = ["Ewma", "NoiseScale", "RollingMedian", "Thinned", "wilson_interval"]

MAD_TO_SIGMA: Final = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""


class RollingMedian:
    """Median and median absolute deviation of the newest `window` values.

    Example:
        >>> median = RollingMedian(3)
        >>> for value in [1.0, 9.0, 2.0, 3.0]:
        ...     median.update(value)
        >>> median.median
        3.0
    """

    __slots__ = ("_ordered", "_recent", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._ordered)

    def update(self, value: float) -> None:
        """Take in a finite value."""
        if len(self._recent) == self.window:
            oldest = self._recent.popleft()
            del self._ordered[bisect_left(self._ordered, oldest)]
        self._recent.append(value)
        insort(self._ordered, value)

    @property
    def median(self) -> float | None:
        """The lower median; None before the first value."""
        return self._ordered[(len(self._ordered) - 1) // 2] if self._ordered else None

    @property
    def sigma(self) -> float | None:
        """Standard deviation by the median absolute deviation; None before the second value."""
        middle = self.median
        if middle is None or len(self._ordered) < 2:
            return None
        deviations = sorted(abs(value - middle) for value in self._ordered)
        return MAD_TO_SIGMA * deviations[len(deviations) // 2]

    def values(self) -> list[float]:
        """Return the values of the window in the order of arrival."""
        return list(self._recent)


class Ewma:
    """Exponentially weighted mean that begins with the plain mean of its first values.

    Args:
        weight: of a new value, in 0..1, once 1/weight values are in.
    """

    __slots__ = ("count", "value", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.count = 0
        self.value = math.nan

    def update(self, value: float) -> float:
        """Take in a finite value and return the new mean."""
        self.count += 1
        if self.count == 1:
            self.value = value
        else:
            self.value += max(self.weight, 1.0 / self.count) * (value - self.value)
        return self.value

    @property
    def error_factor(self) -> float:
        """Standard error of the mean over the noise of one value."""
        if self.count == 0:
            return math.nan
        return math.sqrt(max(self.weight / (2.0 - self.weight), 1.0 / self.count))


class NoiseScale:
    """Standard deviation of a series about its own trend, from the differences of neighbours."""

    __slots__ = ("_differences", "_last")

    def __init__(self, window: int = 64) -> None:
        self._differences = RollingMedian(window)
        self._last = math.nan

    def update(self, value: float) -> None:
        """Take in a finite value."""
        if not math.isnan(self._last):
            self._differences.update(abs(value - self._last))
        self._last = value

    @property
    def sigma(self) -> float | None:
        """The noise of one value; None before 8 differences."""
        middle = self._differences.median
        if middle is None or len(self._differences) < 8:
            return None
        return MAD_TO_SIGMA * middle / math.sqrt(2.0)


class Thinned:
    """A history of (index, value) in at most `size` evenly spaced entries.

    Every `stride`-th value is kept; when the list is full, every other entry goes and the stride doubles.
    """

    __slots__ = ("_size", "_stride", "count", "entries")

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._stride = 1
        self.count = 0
        self.entries: list[tuple[int, float]] = []

    def update(self, value: float) -> None:
        """Take in a value."""
        if self.count % self._stride == 0:
            if len(self.entries) == self._size:
                self.entries = self.entries[::2]
                self._stride *= 2
            if self.count % self._stride == 0:
                self.entries.append((self.count, value))
        self.count += 1

    def at(self, share: float) -> float | None:
        """Return the value at a share (0..1) of the count so far; None before the first value."""
        if not self.entries:
            return None
        place = min(int(share * self.count) // self._stride, len(self.entries) - 1)
        return self.entries[place][1]


def wilson_interval(hits: float, trials: float, z: float = 1.96) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson, 1927).

    Args:
        hits: successes.
        trials: tries, more than 0.
        z: quantile of the normal distribution; 1.96 for 95 %.
    """
    rate = hits / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)
