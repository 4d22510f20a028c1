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


class Pace:
    """When one monitor looks.

    Args:
        watcher: tells what has changed; None: whoever asks looks at everything.
        breath: seconds from one look to the next at what the watcher told of. What comes in between is read together,
            which costs a fraction of reading it bit by bit; with 0 each change is read at once.
        timer: seconds, from any moment on.
        pause: sleeps.
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

    def left(self) -> float:
        """Return the seconds until the next look is due; 0 or less: it is."""
        if not self._breath or self._looked_at is None or (self._watcher is not None and self._watcher.called):
            return 0.0
        return self._looked_at + self._breath - self._timer()

    def wait(self, timeout: float) -> bool:
        """Block until something has changed and is to be looked at, or for so many seconds at most.

        Returns:
            Whether a change was told.
        """
        if self._watcher is None:
            return True
        left = self.left()
        if left > 0.0:
            if self._watcher.rest(min(left, timeout)):
                return True
            timeout -= left
            if timeout <= 0.0:
                return False
        told = self._watcher.wait(timeout)
        woken_at = self._timer()
        self._gap = 0.9 * self._gap + 0.1 * min(1.0, woken_at - self._woken_at)
        self._woken_at = woken_at
        if told and self._gap < BUSY_SECONDS:
            self._pause(BUSY_SECONDS)
        return told

    def take(self, behind: bool = False) -> Changes:
        """Return what has changed since the last look.

        Args:
            behind: whether something of that look is not read yet: then nothing is asked before a breath is over.
        """
        if self._watcher is None:
            return Changes(frozenset(), everything=True)
        if behind and self.left() > 0.0:
            return Changes(frozenset(), everything=False)
        if self._breath:
            self._looked_at = self._timer()
        return self._watcher.take()

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
