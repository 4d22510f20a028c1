"""Calls that may hang for ever, given so many seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from raftmon.remote.faults import Failed, Fault

__all__ = ["Patience"]

T = TypeVar("T")
MOST_HANGING: Final = 8
"""Calls given up and still running, after which none is made until one of them ends."""


class Patience:
    """Makes calls in threads of their own, so that a dead network holds up nobody.

    A call that takes too long is given up: its thread, a daemon, goes on until the library's own timeout ends it, and
    what it returns is thrown away. Whoever waits can be interrupted by Ctrl-C.

    Args:
        seconds: given to each call.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._hanging = 0
        self._lock = threading.Lock()

    def call(self, function: Callable[[], T]) -> T:
        """Return what a function returns.

        Raises:
            Failed: it took too long.
            BaseException: whatever the function raised.
        """
        with self._lock:
            if self._hanging >= MOST_HANGING:
                raise Failed(self._too_long())
            self._hanging += 1
        answer: list[T] = []
        errors: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                answer.append(function())
            except BaseException as error:
                errors.append(error)
            finally:
                with self._lock:
                    self._hanging -= 1
                done.set()

        threading.Thread(target=run, name="raftmon-remote-call", daemon=True).start()
        if not done.wait(self.seconds):
            raise Failed(self._too_long())
        if errors:
            raise errors[0]
        return answer[0]

    def _too_long(self) -> Fault:
        return Fault("unanswered", f"no answer within {self.seconds:g} s", "Check the network and the address.")
