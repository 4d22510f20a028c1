"""How many scalar tags are followed: a trainer that makes a new tag at each step must not fill the memory.

A tag that plays a role is followed also beyond the limits, as far as it goes: what such a run says of its loss counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["MOST_OF_ALL", "MOST_OF_RUN", "TagLimits"]

MOST_OF_RUN: Final = 10_000
"""Tags of one run."""
MOST_OF_ALL: Final = 200_000
"""Tags without a role, of all runs that one monitor follows: 1.4 kB each."""
MOST_BEYOND: Final = 500
"""Tags of one run that may play a role and are followed beyond either limit."""


class TagLimits:
    """Shared by all runs of a monitor.

    Args:
        plays_role: tells whether a tag may play a role, whatever its trainer.
        most_of_run: see `MOST_OF_RUN`.
        most_of_all: see `MOST_OF_ALL`.
    """

    def __init__(
        self,
        plays_role: Callable[[str], bool] = lambda _: False,
        most_of_run: int = MOST_OF_RUN,
        most_of_all: int = MOST_OF_ALL,
    ) -> None:
        self._plays_role = plays_role
        self.most_of_run = most_of_run
        self.most_of_all = most_of_all
        self._followed = 0

    def admit(self, tag: str, followed: int) -> bool:
        """Tell whether one more tag of a run is followed.

        Args:
            tag: its name.
            followed: how many of the run are.
        """
        within = followed < self.most_of_run and self._followed < self.most_of_all
        if not within and not (followed < self.most_of_run + MOST_BEYOND and self._plays_role(tag)):
            return False
        self._followed += 1
        return True

    def let_go(self, count: int) -> None:
        """Take in that so many tags are not followed any more."""
        self._followed -= count
