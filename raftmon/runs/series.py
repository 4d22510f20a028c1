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
SLACK: Final = 256
"""So many more may be, before the oldest of them are thinned; as many as come at once, where that is more."""
BUCKETS: Final = 256
"""Most buckets of older points; their width doubles when they are used up."""
_Number = TypeVar("_Number", np.int64, np.float64)


class Series:
    """A growing column of points that can be rewound.

    All kept points lie in one buffer: the thinned ones, the exact ones, and room. Views of it are handed out, and only
    cells behind their ends are ever written; what changes a point moves to a new buffer.

    Attributes:
        count: points received and not taken back, thinned ones included.
    """

    __slots__ = ("_index", "_last_step", "_length", "_steps", "_thinned", "_values", "_views", "_width", "count")

    def __init__(self) -> None:
        self.count = 0
        self._length = 0
        self._steps: Ints = np.empty(64, dtype=np.int64)
        self._values: Floats = np.empty(64, dtype=np.float64)
        self._width = 4
        self._thinned = 0
        self._index: NDArray[np.integer] = np.empty(0, dtype=np.uint32)
        self._views: tuple[Ints, Floats] | None = None
        self._last_step: int | None = None

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
        if self._last_step is None and self._length:
            self._last_step = int(self._steps[self._length - 1])
        return self._last_step

    def append(self, steps: Ints, values: Floats) -> None:
        """Add points, both of shape ``[n]``, in the order of the file."""
        end = self._length + len(steps)
        if end <= min(len(self._steps), self._thinned + EXACT + SLACK):
            self._put(end, steps, values)
            return
        for start in range(0, len(steps), EXACT):
            self._append_some(steps[start : start + EXACT], values[start : start + EXACT])

    def rewind(self, step: int) -> bool:
        """Drop every point at or after a step, as a restarted job does.

        Returns:
            Whether anything was dropped.
        """
        keep = self._steps[: self._length] < step
        if keep.all():
            return False
        self._index = self._index[keep[: self._thinned]]
        exact = int(np.count_nonzero(keep[self._thinned :]))
        self._steps, self._values = self._steps[: self._length][keep], self._values[: self._length][keep]
        self._thinned = len(self._index)
        self._length = self._thinned + exact
        self._last_step = None
        self.count = (int(self._index[-1]) + 1 if self._thinned else 0) + exact
        self._views = None
        return True

    def settle(self) -> None:
        """Take as little memory as the promise allows: the run is over, or rests."""
        exact = self._length - self._thinned
        if exact > EXACT:
            self._thin(exact - EXACT)
        if len(self._steps) > self._length:
            self._resize(self._length)

    def _append_some(self, steps: Ints, values: Floats) -> None:
        exact, room = self._length - self._thinned, EXACT + max(SLACK, len(steps))
        if exact + len(steps) > room:
            self._thin(exact - EXACT)
        needed = self._length + len(steps)
        if needed > len(self._steps):
            self._resize(max(needed, min(len(self._steps) * 3 // 2, self._thinned + room)))
        self._put(needed, steps, values)

    def _put(self, end: int, steps: Ints, values: Floats) -> None:
        """Write points into the room that is there, up to a place."""
        self._steps[self._length : end] = steps
        self._values[self._length : end] = values
        self.count += end - self._length
        self._length = end
        self._views = self._last_step = None

    def _thin(self, length: int) -> None:
        """Take so many of the oldest exact points into the buckets."""
        first = self.count - (self._length - self._thinned)
        index = np.concatenate([self._index, np.arange(first, first + length, dtype=np.int64)])
        old = len(index)
        while int(index[-1]) // self._width >= BUCKETS:
            self._width *= 2
        keep = _landmarks(index // self._width, self._values[:old])
        index = index[keep]
        # Half the size, for a memory that many series share.
        self._index = index.astype(np.uint32) if int(index[-1]) < 1 << 32 else index
        self._steps = np.concatenate([self._steps[:old][keep], self._steps[old : self._length]])
        self._values = np.concatenate([self._values[:old][keep], self._values[old : self._length]])
        self._thinned, self._length = len(self._index), len(self._steps)
        self._views = None

    def _resize(self, size: int) -> None:
        steps, values = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.float64)
        steps[: self._length], values[: self._length] = self._steps[: self._length], self._values[: self._length]
        self._steps, self._values, self._views = steps, values, None

    def _kept(self) -> tuple[Ints, Floats]:
        if self._views is None:
            self._views = _read_only(self._steps[: self._length]), _read_only(self._values[: self._length])
        return self._views


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


def _read_only(view: NDArray[_Number]) -> NDArray[_Number]:
    view.flags.writeable = False
    return view
