"""What a rule is, once it has been read: conditions are structure, nothing is evaluated as text."""

from __future__ import annotations

import functools
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from raftmon.grounds import Evidence, EvidenceLevel, Grade, Measured, Status
from raftmon.model import PointsTo, Severity

__all__ = ["All", "Any", "Comparison", "Condition", "Duration", "Measured", "Parameter", "Rule", "RuleTest"]

Subject: TypeAlias = Literal["run", "campaign"]
DurationUnit: TypeAlias = Literal["points", "steps", "cycles"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A signal against a limit."""

    signal: str
    above: bool
    """True: holds while the reading is above the limit; False: while it is below."""
    limit: float
    clear: float
    """While the rule fires, the comparison holds up to this value (hysteresis); equals `limit` without one."""
    parameters: tuple[str, ...] = ()
    """Names of the rule's parameters that the two limits were given as."""

    def holds(self, readings: Mapping[str, float | None], firing: bool) -> bool | None:
        """Compare; None where the signal has no reading."""
        value = readings.get(self.signal)
        if value is None:
            return None
        limit = self.clear if firing else self.limit
        return value > limit if self.above else value < limit

    def comparisons(self) -> Iterator[Comparison]:
        """Yield itself."""
        yield self


@dataclass(frozen=True, slots=True)
class All:
    """Holds when every part holds; one that does not hold decides even where others are unknown."""

    parts: tuple[Condition, ...]

    def holds(self, readings: Mapping[str, float | None], firing: bool) -> bool | None:
        """Combine the parts in three-valued logic."""
        unknown = False
        for part in self.parts:
            value = part.holds(readings, firing)
            if value is False:
                return False
            unknown = unknown or value is None
        return None if unknown else True

    def comparisons(self) -> Iterator[Comparison]:
        """Yield every comparison below."""
        for part in self.parts:
            yield from part.comparisons()


@dataclass(frozen=True, slots=True)
class Any:
    """Holds when one part holds; unknown only when all parts are: alternatives are different witnesses of one thing."""

    parts: tuple[Condition, ...]

    def holds(self, readings: Mapping[str, float | None], firing: bool) -> bool | None:
        """Combine the parts in three-valued logic."""
        known = False
        for part in self.parts:
            value = part.holds(readings, firing)
            if value is True:
                return True
            known = known or value is False
        return False if known else None

    def comparisons(self) -> Iterator[Comparison]:
        """Yield every comparison below."""
        for part in self.parts:
            yield from part.comparisons()


Condition: TypeAlias = Comparison | All | Any


@dataclass(frozen=True, slots=True)
class Duration:
    """How long: counted on the run's own axes, so that a paused job resolves nothing."""

    count: int
    unit: DurationUnit

    def __str__(self) -> str:
        return f"{self.count} {self.unit}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number of a rule."""

    value: float
    unit: str
    origin: str
    """Where the number comes from, in words."""


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One case of a rule's test file."""

    where: str
    name: str
    series: Mapping[str, tuple[float | None, ...]]
    """Role to values, one per step from 1 on; None: nothing logged at that step."""
    cycles: tuple[Mapping[str, float], ...]
    """Facts per cycle, for campaign rules."""
    config: Mapping[str, float | str | bool]
    """What is known of the configuration, in the words of `RunConfig`."""
    siblings: tuple[tuple[float, tuple[float | None, ...]], ...]
    """Learning rate and training loss of the runs beside it."""
    ended: bool
    expect: tuple[tuple[int | None, str], ...]
    """(step or cycle; None: at the end) and the state that the rule must be in."""


@dataclass(frozen=True)
class Rule:
    """One rule file."""

    id: str
    title: str
    path: str
    points_to: PointsTo
    status: Status
    severity: Severity
    description: str
    subject: Subject
    scenarios: tuple[str, ...]
    """Kinds of training that it applies to; ``any`` for all."""
    needs: tuple[str, ...]
    """Roles without which it is unknown."""
    parameters: Mapping[str, Parameter]
    when: Condition
    hold: Duration
    """How long the condition must hold before the rule fires."""
    keep: Duration
    """How long it must not hold before the rule resolves."""
    inhibits: tuple[str, ...]
    text: str
    """What is the matter, with ``{signal}`` and ``{signal:.1%}`` places."""
    multiply: float | None
    """Factor for the learning rate, or None."""
    roll_back: bool
    """Whether to go back to the best checkpoint."""
    stop: bool
    """Whether to end the campaign."""
    decides: bool
    """Whether its finding settles the verdict: one on the learning rate, once it has earned a status, by what it points
    to; any other by leaving it undecided."""
    false_positives: tuple[str, ...]
    evidence_level: EvidenceLevel
    sources: tuple[tuple[str, str], ...]
    """(claim id, reference)."""
    measured: Measured
    tests: tuple[RuleTest, ...] = field(default=())
    enabled: bool = True
    grade: Grade = "D"
    would_change: tuple[str, ...] = ()
    """What would show that the rule is wrong about a run."""
    evidence: Evidence | None = None
    """All of this for those who read a finding; None for a rule that was not read from a file."""
    fix: str = ""
    """What to do, where `text` does not say it itself, with places alike."""

    @property
    def whole_text(self) -> str:
        """What is the matter, and what to do."""
        return f"{self.text} {self.fix}" if self.fix else self.text

    @functools.cached_property
    def mentioned(self) -> tuple[str, ...]:
        """Names of the signals that it compares, and of those that its advice quotes."""
        compared = [comparison.signal for comparison in self.when.comparisons()]
        quoted = [name for _, name, _, _ in string.Formatter().parse(self.whole_text) if name and "." in name]
        return tuple(dict.fromkeys(compared + quoted))

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the parameters that readings are compared with."""
        return tuple(dict.fromkeys(name for comparison in self.when.comparisons() for name in comparison.parameters))
