"""The shape of a whole series in a bounded number of bins, whatever its length and however often it was logged.

A trainer that logs every k steps writes the mean of k losses. The mean over a fiftieth of a run is then the same
number at every k, while the noise of single points is not: so the shape of a curve is read off bins that are shares of
the run, never off points.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

__all__ = ["Profile"]

MOST_BINS: Final = 96
"""Full bins that are kept; when they are so many, neighbours merge."""


class Profile:
    """Sums over equal numbers of points, in the order of arrival; a point is taken in in constant time."""

    __slots__ = ("_open", "_open_count", "_size", "_sums", "count")

    def __init__(self) -> None:
        self.count = 0
        self._size = 1
        self._sums = array("d")
        self._open = 0.0
        self._open_count = 0

    def update(self, value: float) -> None:
        """Take in a finite value."""
        self.count += 1
        self._open += value
        self._open_count += 1
        if self._open_count == self._size:
            self._close()

    def extend(self, values: Sequence[float]) -> None:
        """Take in finite values in the order of arrival."""
        self.count += len(values)
        done = 0
        while done < len(values):
            some = values[done : done + self._size - self._open_count]
            done += len(some)
            self._open_count += len(some)
            # Added one after the other: another order would round otherwise.
            total = self._open
            for value in some:
                total += value
            self._open = total
            if self._open_count == self._size:
                self._close()

    def _close(self) -> None:
        self._sums.append(self._open)
        self._open = 0.0
        self._open_count = 0
        if len(self._sums) == MOST_BINS:
            self._sums = array("d", [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)])
            self._size *= 2

    def means(self, count: int) -> list[float]:
        """Return the means over `count` equal shares of the series, or over single points where it has fewer.

        A share that ends within a bin takes its part of the bin's sum.
        """
        count = min(count, self.count)
        width = self.count / max(1, count)
        sums, size, full = self._sums, self._size, len(self._sums)
        totals = list(accumulate(sums, initial=0.0))
        shares = list[float]()
        before, done = 0.0, 0.0
        for number in range(1, count + 1):
            end = number * width
            # Exact: a size is a power of two.
            place = int((end + 1e-9) / size)
            if place > full:
                place = full
            total, covered = totals[place], place * size
            if end > covered + 1e-9:
                of, value = (size, sums[place]) if place < full else (self._open_count, self._open)
                total += value * (end - covered) / of if of else 0.0
            shares.append((total - before) / (end - done))
            before, done = total, end
        return shares
