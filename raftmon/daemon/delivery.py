"""The thread that brings groups of findings to one target, however long that takes.

What is put in is taken at once. The thread waits for a group to be complete and for the target's rate, hands it over,
and tries again what failed, together with what has come since.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from raftmon.daemon.grouping import Group, Grouping
from raftmon.daemon.pace import Backoff, TokenBucket
from raftmon.happenings import Happening
from raftmon.model import Problem

__all__ = ["STUCK_SECONDS", "Delivery", "Undelivered"]

STUCK_SECONDS: Final = 90.0
"""A message that takes longer than that is told as a problem."""
_LONGEST_WAIT: Final = 3600.0


class Undelivered(Exception):
    """A group did not arrive.

    Args:
        reason: in a few words and without secrets: it is shown.
        again: whether it is worth another try.
    """

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


class Delivery:
    """Brings findings to one target, in a thread of its own that a process does not wait for at its end.

    Args:
        label: the target as it may be shown.
        deliver: hands a group over; may take its time. What it raises is an `Undelivered`; of anything else only the
            kind is shown, as its text may hold a secret.
        grouping: what waits.
        rate: how many messages are allowed.
        backoff: pauses between tries.
        remedy: what a person can do where it fails.
        clock: seconds that never go back.
        stuck_after: seconds after which one message takes too long.
        told: is called with each group that arrived.
    """

    def __init__(
        self,
        label: str,
        deliver: Callable[[Group], None],
        grouping: Grouping,
        *,
        rate: TokenBucket,
        backoff: Backoff,
        remedy: str,
        clock: Callable[[], float] = time.monotonic,
        stuck_after: float = STUCK_SECONDS,
        told: Callable[[str, Group], None] = lambda _label, _group: None,
    ) -> None:
        self.label = label
        self._deliver = deliver
        self._grouping = grouping
        self._rate = rate
        self._backoff = backoff
        self._remedy = remedy
        self._clock = clock
        self._stuck_after = stuck_after
        self._told = told
        self._changed = threading.Condition()
        self._not_before = -math.inf
        self._busy_since: float | None = None
        self._trouble = ""
        self._closing = False
        self.delivered = 0
        """Messages that arrived."""
        self._thread = threading.Thread(target=self._run, name=f"notify {label}", daemon=True)
        self._thread.start()

    def put(self, happenings: Iterable[tuple[Happening, bool]]) -> None:
        """Take in what happened, each with whether it is muted."""
        with self._changed:
            now = self._clock()
            for happening, muted in happenings:
                self._grouping.put(happening, now, muted=muted)
            self._changed.notify_all()

    def problems(self) -> Sequence[Problem]:
        """Return what is wrong with it now."""
        with self._changed:
            found = []
            if self._busy_since is not None and self._clock() - self._busy_since > self._stuck_after:
                minutes = max(1, round((self._clock() - self._busy_since) / 60))
                found.append(Problem(self.label, f"has not answered for over {_rounded(minutes)} min", self._remedy))
            elif self._trouble:
                found.append(Problem(self.label, self._trouble, self._remedy))
            if self._grouping.lost:
                remedy = "They are in `raftmon history`; the next message that arrives says how many they were."
                found.append(Problem(self.label, "was never told of some findings", remedy))
            return tuple(found)

    def end(self) -> None:
        """Bring what waits once more, and then end; does not wait for it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait for the end; returns whether it came."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (group := self._next()) is not None:
            trouble, again = "", True
            try:
                self._deliver(group)
            except Undelivered as error:
                trouble, again = error.reason, error.again
            except Exception as error:
                trouble = f"failed with {type(error).__name__}"
            self._settle(trouble, again=again)
            if not trouble:
                self._told(self.label, group)

    def _next(self) -> Group | None:
        """Wait for something that can be told now; None at the end."""
        with self._changed:
            while True:
                now = self._clock()
                wait = max(self._grouping.due, self._not_before) - now
                if self._closing:
                    # A target that just failed would use up the little time that there is.
                    group = None if self._trouble else self._grouping.take(now, at_once=True)
                elif wait <= 0:
                    wait = self._rate.wait(now)
                    group = self._grouping.take(now) if wait <= 0 else None
                    if wait <= 0 and group is None:
                        wait = self._grouping.due - now
                else:
                    group = None
                if group is not None:
                    self._busy_since = now
                if group is not None or self._closing:
                    return group
                self._changed.wait(min(max(wait, 0.0), _LONGEST_WAIT))

    def _settle(self, trouble: str, *, again: bool) -> None:
        with self._changed:
            now = self._clock()
            self._busy_since = None
            if trouble:
                self._grouping.failed(now, again=again)
                self._not_before = now + self._backoff.failed()
            else:
                self._grouping.sent(now)
                self._rate.spend(now)
                self._backoff.succeeded()
                self.delivered += 1
            self._trouble = trouble


def _rounded(minutes: int) -> int:
    """Round down to a power of two, so that a problem that lasts is not another one every minute."""
    return 1 << (minutes.bit_length() - 1)
