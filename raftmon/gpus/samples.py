"""What is made of the readings of GPUs: calm figures for people, and since when none of them works."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import Final

from raftmon.model import GpuView

__all__ = ["Samples"]

KEPT: Final = 5
"""Readings that the utilisation is averaged over: NVML's covers less than a second, and jumps."""
STALE_SECONDS: Final = 20.0
"""After so long without a reading (the driver hangs) nothing is known any more."""
IDLE_SHARE: Final = 0.03
"""A GPU is idle up to this utilisation: a desktop or a monitor costs as much."""
WORKING_SHARE: Final = 0.2
"""A GPU that was at this utilisation has been at work."""
POWER_STEP: Final = 5.0
"""Watts that power is rounded to."""
MEMORY_STEP: Final = 100 << 20
"""Bytes that used memory is rounded to."""


class Samples:
    """The newest readings of all GPUs."""

    def __init__(self) -> None:
        self._kept: deque[tuple[GpuView, ...]] = deque(maxlen=KEPT)
        self._taken_at = 0.0
        self._idle_since: float | None = None
        self._worked = False
        self._views: tuple[GpuView, ...] = ()

    def take(self, views: Sequence[GpuView], at: float) -> None:
        """Take in a reading.

        Args:
            views: all GPUs, in the same order each time.
            at: seconds, from any moment on.
        """
        if at - self._taken_at > STALE_SECONDS or (self._kept and len(self._kept[-1]) != len(views)):
            self._kept.clear()
            self._idle_since = None
        self._kept.append(tuple(views))
        self._taken_at = at
        shares = [view.utilisation for view in views]
        self._worked = self._worked or any(share is not None and share >= WORKING_SHARE for share in shares)
        known = [share for share in shares if share is not None]
        idle = bool(known) and len(known) == len(shares) and max(known) <= IDLE_SHARE
        self._idle_since = (at if self._idle_since is None else self._idle_since) if idle else None
        self._views = tuple(self._calm(place) for place in range(len(views)))

    def views(self, now: float) -> tuple[GpuView, ...]:
        """Return the GPUs for people, rounded; empty when the newest reading is stale."""
        return self._views if self._kept and now - self._taken_at <= STALE_SECONDS else ()

    def idle_for(self, now: float) -> float | None:
        """Return for how many seconds no GPU has worked, 0 while one does.

        None: it is not known, or no GPU was seen at work before, so that whatever trains here may not need one.
        """
        if not self._worked or not self.views(now):
            return None
        return self._taken_at - self._idle_since if self._idle_since is not None else 0.0

    def _calm(self, place: int) -> GpuView:
        """Return a GPU with figures that stay the same while nothing much happens."""
        newest = self._kept[-1][place]
        shares = [kept[place].utilisation for kept in self._kept]
        known = [share for share in shares if share is not None]
        mean = sum(known) / len(known) if known and newest.utilisation is not None else None
        used, power = newest.memory_used, newest.power
        return dataclasses.replace(
            newest,
            utilisation=round(mean, 2) if mean is not None else None,
            memory_used=round(used / MEMORY_STEP) * MEMORY_STEP if used is not None else None,
            power=round(power / POWER_STEP) * POWER_STEP if power is not None else None,
            temperature=round(newest.temperature) if newest.temperature is not None else None,
        )
