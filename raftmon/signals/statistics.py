"""Online statistics: points in, work for each bounded by a window, a value out.

Points may be taken in one by one or many at a time: the same operations are done in the same order, so that every value
is the same to the last bit.

All are scale-free where they can be: the noise of a series is measured on its own differences, so that a slow trend
does not count as noise (Rice, 1984: difference-based variance estimators).
"""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Final

__all__ = ["Ewma", "NoiseScale", "RollingMedian", "Thinned", "wilson_interval"]

MAD_TO_SIGMA: Final = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""
SQRT_2: Final = math.sqrt(2.0)
LEAST_DIFFERENCES: Final = 8
SORT_ANEW: Final = 12
"""Values that wait from which sorting the window is cheaper than putting in one by one."""


class RollingMedian:
    """Median and median absolute deviation of the newest `window` values.

    Values are put in order when somebody asks: what nobody looks at costs next to nothing.

    Example:
        >>> median = RollingMedian(3)
        >>> median.extend([1.0, 9.0, 2.0, 3.0])
        >>> median.median
        3.0
    """

    __slots__ = ("_ordered", "_place", "_recent", "_waiting", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._recent = array("d")
        """A ring: once it is full, `_place` is where the oldest value stands."""
        self._place = 0
        self._ordered = array("d")
        self._waiting = array("d")
        """The newest values, not yet in the two above."""

    def __len__(self) -> int:
        return min(self.window, len(self._recent) + len(self._waiting))

    def update(self, value: float) -> None:
        """Take in a finite value."""
        self._waiting.append(value)
        if len(self._waiting) > 2 * self.window:
            del self._waiting[: -self.window]

    def extend(self, values: Sequence[float]) -> None:
        """Take in finite values in the order of arrival."""
        self._waiting.extend(values[-self.window :])
        if len(self._waiting) > 2 * self.window:
            del self._waiting[: -self.window]

    def push(self, value: float) -> float:
        """Take in a finite value and return the new lower median."""
        ordered, recent = self._settled() if self._waiting else self._ordered, self._recent
        if len(recent) == self.window:
            place = self._place
            del ordered[bisect_left(ordered, recent[place])]
            recent[place] = value
            self._place = place + 1 if place + 1 < self.window else 0
        else:
            recent.append(value)
        insort(ordered, value)
        return ordered[(len(ordered) - 1) // 2]

    @property
    def median(self) -> float | None:
        """The lower median; None before the first value."""
        ordered = self._settled()
        return ordered[(len(ordered) - 1) // 2] if ordered else None

    @property
    def sigma(self) -> float | None:
        """Standard deviation by the median absolute deviation; None before the second value."""
        ordered = self._settled()
        if len(ordered) < 2:
            return None
        middle = ordered[(len(ordered) - 1) // 2]
        deviations = sorted([abs(value - middle) for value in ordered])
        return MAD_TO_SIGMA * deviations[len(deviations) // 2]

    def values(self) -> list[float]:
        """Return the values of the window in the order of arrival."""
        self._settled()
        return [*self._recent[self._place :], *self._recent[: self._place]]

    def _settled(self) -> array[float]:
        """Put in order what is waiting, and return the window in order."""
        waiting = self._waiting
        if waiting:
            self._waiting = array("d")
            if len(waiting) > SORT_ANEW:
                self._recent = array("d", [*self.values(), *waiting][-self.window :])
                self._place = 0
                self._ordered = array("d", sorted(self._recent))
            else:
                for value in waiting:
                    self.push(value)
        return self._ordered


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

    def extend(self, values: Sequence[float]) -> list[float]:
        """Take in finite values in the order of arrival and return the mean after each."""
        mean, count, weight = self.value, self.count, self.weight
        means = []
        for value in values:
            count += 1
            mean = value if count == 1 else mean + max(weight, 1.0 / count) * (value - mean)
            means.append(mean)
        self.value, self.count = mean, count
        return means

    @property
    def error_factor(self) -> float:
        """Standard error of the mean over the noise of one value."""
        if self.count == 0:
            return math.nan
        return self.error_factor_at(self.count)

    @property
    def least_error_factor(self) -> float:
        """What `error_factor` comes to after many values."""
        return math.sqrt(self.weight / (2.0 - self.weight))

    def error_factor_at(self, count: int) -> float:
        """Return what `error_factor` is after so many values, at least 1."""
        return math.sqrt(max(self.weight / (2.0 - self.weight), 1.0 / count))


class NoiseScale:
    """Standard deviation of a series about its own trend, from the differences of neighbours."""

    __slots__ = ("_differences", "_last")

    def __init__(self, window: int = 64) -> None:
        self._differences = RollingMedian(window)
        self._last = math.nan

    def update(self, value: float) -> None:
        """Take in a finite value."""
        if self._last == self._last:
            self._differences.update(abs(value - self._last))
        self._last = value

    def extend(self, values: Sequence[float]) -> None:
        """Take in finite values in the order of arrival."""
        chain = [self._last, *values] if self._last == self._last else values
        self._differences.extend([abs(after - before) for before, after in itertools.pairwise(chain)])
        self._last = values[-1] if values else self._last

    def push(self, distance: float) -> float | None:
        """Take in a value by its distance from the one before it, and return the new `sigma`."""
        median = self._differences.push(distance)
        return MAD_TO_SIGMA * median / SQRT_2 if len(self._differences) >= LEAST_DIFFERENCES else None

    @property
    def sigma(self) -> float | None:
        """The noise of one value; None before 8 differences."""
        if len(self._differences) < LEAST_DIFFERENCES:
            return None
        middle = self._differences.median
        return MAD_TO_SIGMA * middle / SQRT_2 if middle is not None else None


class Thinned:
    """A history of values in at most `size` evenly spaced entries.

    Every `stride`-th value is kept; when the list is full, every other entry goes and the stride doubles.
    """

    __slots__ = ("_size", "count", "kept", "stride")

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self.stride = 1
        self.count = 0
        self.kept = array("d")
        """The values at 0, `stride`, 2 x `stride`... of all that came."""

    def update(self, value: float) -> None:
        """Take in a value."""
        if self.count % self.stride == 0:
            if len(self.kept) == self._size:
                self.kept = self.kept[::2]
                self.stride *= 2
            if self.count % self.stride == 0:
                self.kept.append(value)
        self.count += 1

    def extend(self, values: Sequence[float]) -> None:
        """Take in values in the order of arrival."""
        place = -self.count % self.stride
        while place < len(values):
            if len(self.kept) == self._size:
                self.kept = self.kept[::2]
                self.stride *= 2
                place += -(self.count + place) % self.stride
            else:
                some = values[place :: self.stride][: self._size - len(self.kept)]
                self.kept.extend(some)
                place += self.stride * len(some)
        self.count += len(values)

    @property
    def entries(self) -> list[tuple[int, float]]:
        """What is kept: (index, value), in the order of arrival."""
        return [(place * self.stride, value) for place, value in enumerate(self.kept)]

    def at(self, share: float) -> float | None:
        """Return the value at a share (0..1) of the count so far; None before the first value."""
        if not self.kept:
            return None
        return self.kept[min(int(share * self.count) // self.stride, len(self.kept) - 1)]


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
