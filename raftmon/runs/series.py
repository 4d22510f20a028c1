"""The points of one tag, in the order of their arrival, in bounded memory.

The newest points are kept as they came. Older ones lie in at most `BUCKETS` buckets of equal width (in points), of
which the first, last, least, greatest and first non-finite point survive: a spike of one sample, or one NaN, is never
lost from a chart, and the start of a long run keeps the same resolution as its middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.model import Floats, Ints

__all__ = ["BUCKETS", "EXACT", "Series"]

EXACT: Final = 1024
"""At least so many of the newest points are exact."""
BUCKETS: Final = 256
"""Most buckets of older points; their width doubles when they are used up."""
_Number = TypeVar("_Number", np.int64, np.float64)


class Series:
    """A growing column of points that can be rewound.

    Attributes:
        count: points received and not taken back, thinned ones included.
    """

    __slots__ = ("_cache", "_length", "_old_index", "_old_steps", "_old_values", "_steps", "_values", "_width", "count")

    def __init__(self) -> None:
        self.count = 0
        self._length = 0
        self._steps: Ints = np.empty(64, dtype=np.int64)
        self._values: Floats = np.empty(64, dtype=np.float64)
        self._width = 4
        self._old_index: Ints = np.empty(0, dtype=np.int64)
        self._old_steps: Ints = np.empty(0, dtype=np.int64)
        self._old_values: Floats = np.empty(0, dtype=np.float64)
        self._cache: tuple[Ints, Floats] | None = None

    @property
    def steps(self) -> Ints:
        """Steps of the kept points in the order of arrival, shape ``[n]``; never written to again."""
        return self._kept()[0]

    @property
    def values(self) -> Floats:
        """Values of the kept points, shape ``[n]``; never written to again."""
        return self._kept()[1]

    @property
    def last_step(self) -> int | None:
        """Step of the newest point; None without points."""
        if self._length:
            return int(self._steps[self._length - 1])
        return int(self._old_steps[-1]) if len(self._old_steps) else None

    def append(self, steps: Ints, values: Floats) -> None:
        """Add points, both of shape ``[n]``, in the order of the file."""
        end = self._length + len(steps)
        if end <= min(len(self._steps), 2 * EXACT):
            self._put(end, steps, values)
            return
        for start in range(0, len(steps), EXACT):
            self._append_some(steps[start : start + EXACT], values[start : start + EXACT])

    def rewind(self, step: int) -> bool:
        """Drop every point at or after a step, as a restarted job does.

        Returns:
            Whether anything was dropped.
        """
        keep, old = self._steps[: self._length] < step, self._old_steps < step
        kept = int(np.count_nonzero(keep))
        if kept == self._length and old.all():
            return False
        self._steps, self._values = self._steps[: self._length][keep], self._values[: self._length][keep]
        self._length = kept
        self._old_index, self._old_steps = self._old_index[old], self._old_steps[old]
        self._old_values = self._old_values[old]
        newest_old = int(self._old_index[-1]) + 1 if len(self._old_index) else 0
        self.count = newest_old + kept
        self._cache = None
        return True

    def _append_some(self, steps: Ints, values: Floats) -> None:
        if self._length + len(steps) > 2 * EXACT:
            self._move_to_buckets(self._length - EXACT)
        needed = self._length + len(steps)
        if needed > len(self._steps):
            size = max(needed, 2 * len(self._steps))
            self._steps, self._values = _grown(self._steps, size), _grown(self._values, size)
        self._put(needed, steps, values)

    def _put(self, end: int, steps: Ints, values: Floats) -> None:
        """Write points into the room that is there, up to a place."""
        # Views that were handed out share this memory: only cells behind their ends are ever written.
        self._steps[self._length : end] = steps
        self._values[self._length : end] = values
        self.count += end - self._length
        self._length = end
        self._cache = None

    def _move_to_buckets(self, length: int) -> None:
        """Thin the oldest exact points into the buckets."""
        first = self.count - self._length
        index = np.concatenate([self._old_index, np.arange(first, first + length, dtype=np.int64)])
        steps = np.concatenate([self._old_steps, self._steps[:length]])
        values = np.concatenate([self._old_values, self._values[:length]])
        while int(index[-1]) // self._width >= BUCKETS:
            self._width *= 2
        keep = _landmarks(index // self._width, values)
        self._old_index, self._old_steps, self._old_values = index[keep], steps[keep], values[keep]
        self._steps, self._values = (
            self._steps[length : self._length].copy(),
            self._values[length : self._length].copy(),
        )
        self._length -= length

    def _kept(self) -> tuple[Ints, Floats]:
        if self._cache is None:
            steps, values = self._steps[: self._length], self._values[: self._length]
            if len(self._old_index):
                steps = np.concatenate([self._old_steps, steps])
                values = np.concatenate([self._old_values, values])
            self._cache = _read_only(steps), _read_only(values)
        return self._cache


def _landmarks(bucket: Ints, values: Floats) -> NDArray[np.bool_]:
    """Mark first, last, least, greatest and first non-finite point of each bucket; both of shape ``[n]``, n > 0."""
    keep = np.zeros(len(bucket), dtype=bool)
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    keep[starts] = True
    keep[np.append(starts[1:], len(bucket)) - 1] = True
    finite = np.isfinite(values)
    least = np.lexsort((np.where(finite, values, np.inf), bucket))
    keep[least[starts]] = True
    greatest = np.lexsort((-np.where(finite, values, -np.inf), bucket))
    keep[greatest[starts]] = True
    broken = np.lexsort((finite, bucket))
    keep[broken[starts]] |= ~finite[broken[starts]]
    return keep


def _grown(array: NDArray[_Number], size: int) -> NDArray[_Number]:
    grown = np.empty(size, dtype=array.dtype)
    grown[: len(array)] = array
    return grown


def _read_only(view: NDArray[_Number]) -> NDArray[_Number]:
    view.flags.writeable = False
    return view
