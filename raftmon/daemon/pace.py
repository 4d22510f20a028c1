"""How often something may be tried: a bucket of tokens, and pauses that grow."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

__all__ = ["Backoff", "TokenBucket"]

_MAX_DOUBLINGS: Final = 60


class TokenBucket:
    """Allows some at once, and after that one each so many seconds.

    Args:
        most: how many at once; at least 1.
        seconds: until one more is allowed.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._tokens = float(most)
        self._at: float | None = None

    def wait(self, now: float) -> float:
        """Return the seconds until the next is allowed, 0 if it is now."""
        self._fill(now)
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) * self._seconds

    def spend(self, now: float) -> bool:
        """Take a token; returns False if there is none."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float) -> None:
        if self._seconds <= 0:
            self._tokens = float(self._most)
        elif self._at is not None:
            self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) / self._seconds + 1e-9)
        self._at = now


class Backoff:
    """Pauses between tries that fail one after another: each twice as long as the one before, less some chance.

    Args:
        first: seconds of the first pause.
        most: seconds of the longest.
        chance: returns a number from 0 to 1, so that many who failed together do not return together.
    """

    def __init__(self, first: float = 2.0, most: float = 300.0, chance: Callable[[], float] = random.random) -> None:
        self._first = first
        self._most = most
        self._chance = chance
        self.failures = 0
        """Tries that failed since the last that did not."""

    def failed(self) -> float:
        """Note a failure; returns the seconds to wait, from half of the pause to the whole."""
        self.failures += 1
        pause = min(self._most, self._first * 2.0 ** min(self.failures - 1, _MAX_DOUBLINGS))
        return pause * (0.5 + self._chance() / 2)

    def succeeded(self) -> None:
        """Note that it worked."""
        self.failures = 0
