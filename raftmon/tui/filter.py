"""Which runs a filter text lets through."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["RunFilter", "TooSlow"]

MOST_SECONDS: Final = 0.15
"""What matching all names may take: the keys wait for it."""
_Test: TypeAlias = Callable[[str, float], bool]
"""Takes a name, and the seconds that it may take; raises `TimeoutError`."""


class TooSlow(Exception):
    """A regular expression tries more ways than there is time for."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Words separated by blanks; a run must pass every one of them.

    ``word`` asks for a name that contains it, in any case; ``/pattern/`` for a regular expression that matches
    somewhere; a ``!`` before either turns it around.
    """

    text: str = ""
    """As typed."""
    error: str = ""
    """Why the text is no filter; every run passes then. Empty when it is one."""
    tests: tuple[_Test, ...] = ()

    @classmethod
    def parse(cls, text: str) -> RunFilter:
        """Read a filter; a broken regular expression is told in `error`."""
        tests: list[_Test] = []
        for word in text.split():
            negated = word.startswith("!")
            wanted = word[1:] if negated else word
            if not wanted:
                continue
            try:
                test = _test(wanted)
            except ValueError as error:
                return cls(text, f"not a regular expression: {error}")
            tests.append(_negation(test) if negated else test)
        return cls(text, "", tuple(tests))

    def passing(self, names: Sequence[str], timer: Callable[[], float] = time.monotonic) -> list[bool]:
        """Return for each name whether a run of that name is shown.

        Args:
            names: of the runs.
            timer: seconds, from any moment on.

        Raises:
            TooSlow: that would take longer than a person at the keys waits.
        """
        end = timer() + MOST_SECONDS
        passing = []
        for name in names:
            try:
                passing.append(all(test(name, end - timer()) for test in self.tests))
            except TimeoutError as error:
                raise TooSlow from error
        return passing

    def given_up(self) -> RunFilter:
        """Return what is left of a filter that is too slow: its text, and why it lets everything through."""
        return RunFilter(self.text, "takes too long to match; repeat less within what is repeated")


def _test(wanted: str) -> _Test:
    if len(wanted) > 2 and wanted.startswith("/") and wanted.endswith("/"):
        # Imported here: few filters have a pattern. The standard library's `re` knows no end of trying.
        import regex

        try:
            pattern = regex.compile(wanted[1:-1], regex.IGNORECASE)
        except (regex.error, OverflowError, RecursionError) as error:
            raise ValueError(str(error) or "too large") from error

        def matches(name: str, seconds: float) -> bool:
            if seconds <= 0.0:
                raise TimeoutError
            return pattern.search(name, timeout=seconds) is not None

        return matches
    needle = wanted.casefold()
    return lambda name, _: needle in name.casefold()


def _negation(test: _Test) -> _Test:
    return lambda name, seconds: not test(name, seconds)
