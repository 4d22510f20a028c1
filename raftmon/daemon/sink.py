"""What the daemon hands snapshots and happenings to: the journal, the metrics, notifications, commands.

Each sink has a thread of its own for what may block (a disk, a network, a program); the daemon's loop only ever puts
something into a queue of bounded length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raftmon.happenings import Happening
from raftmon.model import Problem, Snapshot

__all__ = ["Sink"]


class Sink(Protocol):
    """Takes what happened. No method but `close` may block, and none may raise."""

    def take(self, snapshot: Snapshot, news: Sequence[Happening]) -> None:
        """Take in the newest state, and what is new in it; called at each poll that changed something."""

    def problems(self) -> Sequence[Problem]:
        """Return what is wrong with it now: a full disk, an endpoint that refuses."""

    def close(self, seconds: float) -> None:
        """Finish what can be finished in so many seconds, and end."""
