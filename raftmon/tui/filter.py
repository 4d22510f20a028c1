"""Which runs a filter text lets through."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["RunFilter"]

_Test: TypeAlias = Callable[[str], bool]


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
            except re.error as error:
                return cls(text, f"not a regular expression: {error.msg}")
            tests.append(_negation(test) if negated else test)
        return cls(text, "", tuple(tests))

    def passes(self, name: str) -> bool:
        """Return whether a run of that name is shown."""
        return all(test(name) for test in self.tests)


def _test(wanted: str) -> _Test:
    if len(wanted) > 2 and wanted.startswith("/") and wanted.endswith("/"):
        pattern = re.compile(wanted[1:-1], re.IGNORECASE)
        return lambda name: pattern.search(name) is not None
    needle = wanted.casefold()
    return lambda name: needle in name.casefold()


def _negation(test: _Test) -> _Test:
    return lambda name: not test(name)
