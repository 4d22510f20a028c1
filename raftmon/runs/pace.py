"""When a monitor looks, and for how long what it was told of had waited when it was shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from raftmon.runs.watch import Changes

if TYPE_CHECKING:
    from raftmon.runs.watch import Watcher

__all__ = ["BUSY_SECONDS", "Pace"]

BUSY_SECONDS: Final = 0.005
"""When wake-ups come closer than this for a while, each waits so long for the next ones."""
TICK: Final = 0.2
"""With a breath, seconds between two looks at least."""
SHARE: Final = 0.005
"""Seconds that a write waits for each run that is live: few runs are read at once, many in batches."""


class Pace:
    """When one monitor looks.

    Args:
        watcher: tells what has changed; None: whoever asks looks at everything.
        breath: seconds that a write waits at most for the next ones of its run, when many runs are live. What is read
            together costs a fraction of what is read bit by bit; with 0 each change is read at once.
        timer: seconds, from any moment on.
        pause: sleeps.

    Attributes:
        live: how many runs grow now.
    """

    def __init__(
        self,
        watcher: Watcher | None,
        breath: float,
        timer: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._watcher = watcher
        self._breath = breath if watcher is not None else 0.0
        self._timer = timer
        self._pause = pause
        self._looked_at: float | None = None
        self._woken_at, self._gap = 0.0, 1.0
        self._noticed: dict[str, float] = {}
        self.live = 0

    @property
    def _patience(self) -> float:
        return min(self._breath, SHARE * self.live)

    def wait(self, timeout: float) -> bool:
        """Block until something has changed and is to be looked at, or for so many seconds at most.

        Returns:
            Whether a change was told.
        """
        if self._watcher is None:
            return True
        if self._breath:
            return self._rest(self._watcher, timeout)
        told = self._watcher.wait(timeout)
        woken_at = self._timer()
        self._gap = 0.9 * self._gap + 0.1 * min(1.0, woken_at - self._woken_at)
        self._woken_at = woken_at
        if told and self._gap < BUSY_SECONDS:
            self._pause(BUSY_SECONDS)
        return told

    def _rest(self, watcher: Watcher, timeout: float) -> bool:
        begun = self._timer()
        left = watcher.ripens_in(self._patience)
        if left is None:
            if not watcher.wait(timeout):
                return False
            left = watcher.ripens_in(self._patience) or 0.0
        now = self._timer()
        if self._looked_at is not None:
            left = max(left, self._looked_at + TICK - now)
        most = timeout - (now - begun)
        if left > 0.0 and watcher.rest(max(0.0, min(left, most))):
            return True
        return left <= most

    def take(self) -> Changes:
        """Return what has changed since the last look and has waited long enough."""
        if self._watcher is None:
            return Changes(frozenset(), everything=True)
        if not self._breath:
            return self._watcher.take()
        self._looked_at = self._timer()
        return self._watcher.take(self._patience)

    def notice(self, runs: Iterable[tuple[str, float]]) -> None:
        """Take in for which runs a write was told, and how many seconds ago."""
        now = self._timer()
        for run, age in runs:
            self._noticed.setdefault(run, now - age)

    def forget(self, run: str) -> None:
        """Take in that there was nothing in it, or that the run is gone."""
        self._noticed.pop(run, None)

    def shown(self, runs: Iterable[str]) -> tuple[float, ...]:
        """Return for how many seconds what is shown of runs now had waited; those of which nobody told are left out."""
        now = self._timer()
        return tuple(now - self._noticed.pop(run) for run in runs if run in self._noticed)
