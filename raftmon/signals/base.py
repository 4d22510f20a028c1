"""What a signal is, and what a family of signals looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

__all__ = ["Family", "SignalInfo"]


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """What the catalogue says about a signal."""

    name: str
    """``<family>.<statistic>``, as rules write it."""
    unit: str
    """``ratio``, ``sigma``, ``points``, ``cycles``...; empty for a plain number."""
    needs: str
    """Role whose points it is computed from; ``run`` or ``campaign`` for facts about those, ``config`` for what the
    configuration alone answers."""
    minimum: int
    """Points of that role before the first reading."""
    description: str
    also: str = ""
    """What else it needs, said when the points are there and the reading is not."""


class Family(Protocol):
    """Statistics of one role that share their state."""

    role: ClassVar[str]
    signals: ClassVar[tuple[SignalInfo, ...]]

    def update(self, step: int, value: float) -> None:
        """Take in one point; the value may be NaN or infinite."""

    def readings(self) -> Mapping[str, float | None]:
        """Return signal name to value for every signal of the family; None is "not enough data"."""
