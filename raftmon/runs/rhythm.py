"""How a run writes: how far apart its steps usually come, and how long it pauses in between (to evaluate, to save).

What is measured are the wall times that the trainer wrote, within one file: the time between a job and its restart is
no pause. Buffered writers flush now and then only, so that the moments at which a file was seen to grow count, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from raftmon.model import Floats, Ints

__all__ = ["Rhythm"]

KEPT: Final = 64
"""Newest gaps of which the usual one is the median."""
NEWEST: Final = 4 * KEPT
"""Newest gaps of a batch among which those are looked for."""
FEW: Final = 64
"""Points of a batch up to which each is looked at by itself."""
LEAST: Final = 3
"""Gaps without which no rhythm is known."""
BURST_SECONDS: Final = 1e-3
"""Steps that come closer than this were written together; what lies between them says nothing."""
ALIKE: Final = 0.5
"""A pause is one of a kind when no other was at least this share of it."""
FORGET: Final = 2.0
"""A pause of its own kind counts until so many times the steps before it have come since: evaluations come again, a
laptop that slept for a night does not."""
FORGET_LEAST: Final = 100
"""...but for at least so many steps."""


class _Longest:
    """The longest of many gaps, leaving out one that has not come again."""

    __slots__ = ("_first", "_first_at", "_second")

    def __init__(self) -> None:
        self._first = self._second = 0.0
        self._first_at = 0

    def note(self, gap: float, at: int) -> None:
        """Take in a gap, by the number of the step before it."""
        if gap > self._first:
            self._second, self._first, self._first_at = self._first, gap, at
        elif gap > self._second:
            self._second = gap

    def regular(self, count: int) -> float:
        """Return the longest gap that may come again, after so many steps."""
        young = count - self._first_at <= max(FORGET_LEAST, FORGET * self._first_at)
        return self._first if young or self._second >= ALIKE * self._first else self._second


class Rhythm:
    """Gaps between the steps of a run, in bounded memory."""

    __slots__ = ("_arrivals", "_count", "_ends", "_gaps", "_longest", "_usual", "stride")

    def __init__(self) -> None:
        self._gaps: Floats = np.empty(0)
        self._count = 0
        self._ends: dict[Path, tuple[int, float]] = {}
        self._longest = _Longest()
        self._arrivals = _Longest()
        self._usual: float | None = None
        self.stride = 0
        """Steps between the newest two; 0 before."""

    @property
    def usual(self) -> float | None:
        """Seconds between two steps that are logged, as a rule; None: too few yet, or all came at once."""
        if self._usual is None and len(self._gaps) >= LEAST:
            ordered, middle = sorted(self._gaps.tolist()), len(self._gaps) // 2
            self._usual = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0
        return self._usual

    @property
    def pause(self) -> float:
        """The longest pause so far, in seconds, that is part of the rhythm; 0: none yet."""
        return max(self._longest.regular(self._count), self._arrivals.regular(self._count))

    def note(self, path: Path, steps: Ints, times: Floats) -> None:
        """Take in points of one tag of one file; those whose step is no progress are left out.

        Args:
            path: the file.
            steps: in the order of arrival.
            times: same length, seconds since the epoch.
        """
        if len(steps) > FEW and _ascends(steps, times):
            # Two halves: the join with what was there before, and the rest as it is, without a copy.
            self.note(path, steps[:1], times[:1])
            self._take(np.diff(times))
            self.stride = int(steps[-1] - steps[-2])
            self._ends[path] = int(steps[-1]), float(times[-1])
            return
        end = self._ends.get(path)
        if end is not None:
            steps, times = np.append(end[0], steps), np.append(end[1], times)
        reached = np.maximum.accumulate(steps)
        ahead = np.append(True, reached[1:] > reached[:-1])
        ahead &= np.isfinite(times)
        steps, times = steps[ahead], times[ahead]
        if not len(steps):
            return
        self._ends[path] = int(steps[-1]), float(times[-1])
        if len(steps) > 1:
            self.stride = int(steps[-1] - steps[-2])
            self._take(np.diff(times))

    def _take(self, gaps: Floats) -> None:
        """Take in gaps in their order, one at least; may change them."""
        newest = gaps[-NEWEST:]
        told = newest[newest >= BURST_SECONDS]
        self._gaps, self._usual = np.concatenate([self._gaps, told])[-KEPT:], None
        for _ in range(min(2, len(gaps))):
            at = int(np.argmax(gaps))
            self._longest.note(float(gaps[at]), self._count + at)
            gaps[at] = -1.0
        self._count += len(gaps)

    def note_arrival(self, gap: float) -> None:
        """Take in the seconds between two moments at which a file was seen to grow."""
        self._arrivals.note(gap, self._count)

    def rewind(self, step: int) -> None:
        """Take in that steps from one on will come again."""
        self._ends = {path: end for path, end in self._ends.items() if end[0] < step}


def _ascends(steps: Ints, times: Floats) -> bool:
    """Tell whether every point is a step ahead of the one before, at a known time."""
    return bool((steps[1:] > steps[:-1]).all()) and bool(np.isfinite(times).all())
