"""A campaign that trains at whatever raftmon tells it, for the tests of the number that is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from raftmon.journal import Journal
from raftmon.override import Override
from raftmon.torch import next_learning_rate
from tests.loop import BEGAN, CONFIG, Loop

__all__ = ["HOUR", "PASSED", "Obedient"]

HOUR: Final = 3600.0
PASSED: Final = (400, 420, 430, 150, 430, 440, 435, 440)
"""Of 1000 samples, judged at the start of cycles 1 to 8: cycle 3 did harm, which is seen in cycle 4."""


class Obedient:
    """A campaign whose cycles train at whatever they are told; its config is read by raftmon alone."""

    def __init__(self, directory: Path, text: str = CONFIG, **options: Any) -> None:
        self.loop = Loop(directory, text)
        self.options = {"authority": "test", **options}
        self.heard: list[Override] = []

    def journal(self, cycle: int) -> Journal:
        """Return the journal as it is used just before a cycle begins."""
        return Journal(self.loop.journal, clock=lambda: BEGAN + HOUR * (cycle - 1) - 60.0)

    def ask(self, cycle: int, **options: Any) -> float:
        """Ask for the rate of a cycle just before it begins."""
        return next_learning_rate(
            self.loop.campaign,
            self.loop.config,
            cycle,
            **{"journal": self.journal(cycle), "tell": self.heard.append, **self.options, **options},
        )

    def follow(self, passed: tuple[int, ...] = PASSED) -> Iterator[float]:
        """Train cycle by cycle, each at what it was told after its samples were judged."""
        for cycle, right in enumerate(passed, start=1):
            self.judge(cycle, right)
            rate = self.ask(cycle)
            self.loop.train(cycle, rate, right)
            yield rate

    def judge(self, cycle: int, passed: int) -> None:
        """Write the verdicts of a cycle alone: its training has not begun."""
        self.loop.train(cycle, passed=passed)
        for file in (self.loop.campaign / f"cycle_{cycle}").rglob("events*"):
            file.unlink()
