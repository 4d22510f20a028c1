"""What a signal is, and what a family of signals looks like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from raftmon.slotted import dataclass

__all__ = ["Family", "Readers", "SignalInfo", "finite_runs", "newest_broken", "newest_in_row"]


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


Readers = Mapping[str, Callable[[Any], "float | None"]]
"""Signal name to the method of the family that works its value out."""
NO_READERS: Final[Readers] = MappingProxyType({})


class Family:
    """Statistics of one role that share their state.

    A family either works out each signal by itself (`readers`), or all of them together (it overrides `readings`).
    """

    __slots__ = ()

    role: ClassVar[str]
    signals: ClassVar[tuple[SignalInfo, ...]]
    rests_on: ClassVar[frozenset[str]]
    """The roles whose points change its readings; ``run`` for facts about the run."""
    readers: ClassVar[Readers] = NO_READERS

    def update(self, step: int, value: float) -> None:
        """Take in one point, which may be NaN or infinite; nothing, where the points belong to other families."""

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take in points in the order of arrival.

        Every reading is, to the last bit, what it is after `update` with one after the other.
        """
        for step, value in zip(steps, values, strict=True):
            self.update(step, value)

    def readings(self) -> dict[str, float | None]:
        """Return signal name to value for every signal of the family; None is "not enough data"."""
        return {name: read(self) for name, read in self.readers.items()}

    @classmethod
    def without_readings(cls) -> dict[str, float | None]:
        """Return every signal of the family without a value."""
        return dict.fromkeys((info.name for info in cls.signals), None)


def newest_broken(bits: int, values: Sequence[float], count: int) -> int:
    """Shift a bit for each value, 1 for NaN or infinite, into those of the values before; the newest `count` are kept.

    The newest is the lowest bit.
    """
    for value in values[-count:]:
        bits = bits << 1 | (not math.isfinite(value))
    return bits & ((1 << count) - 1)


def finite_runs(values: Sequence[float]) -> list[Sequence[float]]:
    """Cut values at those that are NaN or infinite, which are left out: ``[1, nan, 2, 3]`` gives ``[1], [2, 3]``.

    The list has one (perhaps empty) run more than there are broken values. Values are expected below 1e100 in size.
    """
    if math.isfinite(sum(values)):
        return [values]
    runs: list[Sequence[float]] = []
    begin = 0
    for place, value in enumerate(values):
        if not math.isfinite(value):
            runs.append(values[begin:place])
            begin = place + 1
    runs.append(values[begin:])
    return runs


def newest_in_row(values: Sequence[float], wanted: float, before: int) -> int:
    """Return how many newest values in a row are equal to a value (NaN to NaN), those `before` these included."""
    if values and values[-1] != wanted and wanted == wanted:
        return 0
    count = 0
    for value in reversed(values):
        if value != wanted and (value == value or wanted == wanted):
            return count
        count += 1
    return before + count
