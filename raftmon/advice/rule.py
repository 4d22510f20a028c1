"""What a rule is, once it has been read: conditions are structure, nothing is evaluated as text."""

from __future__ import annotations

import dataclasses
import functools
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Literal, TypeAlias

from raftmon.grounds import Evidence, EvidenceLevel, Grade, Measured, Status
from raftmon.model import PointsTo, Reading, Severity
from raftmon.signals.registry import RESTS_ON, SELDOM, SIGNALS, TIME, Readings
from raftmon.slotted import dataclass

__all__ = ["All", "Any", "Comparison", "Condition", "Duration", "Measured", "Parameter", "Rule", "RuleTest", "Test"]

Test: TypeAlias = "Callable[[Readings, bool], bool | None]"
"""Takes readings and whether the rule fires; says whether a condition holds, None where a needed reading is missing."""
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

    def compiled(self) -> Test:
        """Return the comparison as a function; its answer is None where the signal has no reading."""
        signal, limit, clear = self.signal, self.limit, self.clear

        def is_above(readings: Readings, firing: bool) -> bool | None:
            value = readings[signal]
            return None if value is None else value > (clear if firing else limit)

        def is_below(readings: Readings, firing: bool) -> bool | None:
            value = readings[signal]
            return None if value is None else value < (clear if firing else limit)

        return is_above if self.above else is_below

    def comparisons(self) -> Iterator[Comparison]:
        """Yield itself."""
        yield self


@dataclass(frozen=True, slots=True)
class All:
    """Holds when every part holds; one that does not hold decides even where others are unknown."""

    parts: tuple[Condition, ...]

    def compiled(self) -> Test:
        """Return the combination of the parts in three-valued logic as a function."""
        tests = tuple(part.compiled() for part in self.parts)

        def all_hold(readings: Readings, firing: bool) -> bool | None:
            unknown = False
            for test in tests:
                value = test(readings, firing)
                if value is False:
                    return False
                unknown = unknown or value is None
            return None if unknown else True

        return all_hold

    def comparisons(self) -> Iterator[Comparison]:
        """Yield every comparison below."""
        for part in self.parts:
            yield from part.comparisons()


@dataclass(frozen=True, slots=True)
class Any:
    """Holds when one part holds; unknown only when all parts are: alternatives are different witnesses of one thing."""

    parts: tuple[Condition, ...]

    def compiled(self) -> Test:
        """Return the combination of the parts in three-valued logic as a function."""
        tests = tuple(part.compiled() for part in self.parts)

        def any_holds(readings: Readings, firing: bool) -> bool | None:
            known = False
            for test in tests:
                value = test(readings, firing)
                if value is True:
                    return True
                known = known or value is False
            return False if known else None

        return any_holds

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


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """One rule file; two are the same only if they are one object."""

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
    def test(self) -> Test:
        """The condition as a function."""
        return self.when.compiled()

    @functools.cached_property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that it compares."""
        return tuple(dict.fromkeys(comparison.signal for comparison in self.when.comparisons()))

    @functools.cached_property
    def units(self) -> tuple[str, ...]:
        """Units of those signals."""
        return tuple(SIGNALS[signal].unit for signal in self.signals)

    @functools.cached_property
    def awaited(self) -> tuple[str, ...]:
        """What those signals are computed from, each once."""
        return tuple(dict.fromkeys(SIGNALS[signal].needs for signal in self.signals))

    @functools.cached_property
    def mentioned(self) -> tuple[str, ...]:
        """Names of the signals that it compares, and of those that its advice quotes."""
        quoted = [name for _, name, _, _ in string.Formatter().parse(self.whole_text) if name and "." in name]
        return tuple(dict.fromkeys([*self.signals, *quoted]))

    @functools.cached_property
    def moved_by(self) -> frozenset[str]:
        """What must have moved for it to have anything new to see, in the words of `RESTS_ON`."""
        return frozenset().union(*(RESTS_ON[signal] for signal in self.mentioned if signal in RESTS_ON))

    @functools.cached_property
    def guards(self) -> tuple[Test, ...]:
        """Parts without which it cannot hold, and which do not move from point to point."""
        parts = self.when.parts if isinstance(self.when, All) else (self.when,)
        return tuple(
            part.compiled() for part in parts if isinstance(part, Comparison) and RESTS_ON[part.signal] <= SELDOM
        )

    @functools.cached_property
    def settles(self) -> bool:
        """Whether its first look decides: what a configuration says it says once."""
        return self.hold.count == 0 and all(SIGNALS[signal].needs == "config" for signal in self.signals)

    @functools.cached_property
    def is_timed(self) -> bool:
        """Whether time alone moves it, so that it is looked at whenever somebody looks at the run."""
        return any(RESTS_ON[signal] == TIME for signal in self.signals)

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the parameters that readings are compared with."""
        return tuple(dict.fromkeys(name for comparison in self.when.comparisons() for name in comparison.parameters))

    @functools.cached_property
    def thresholds(self) -> Mapping[str, float]:
        """Those parameters with their values."""
        return {name: self.parameters[name].value for name in self.compared}

    @functools.cached_property
    def without_readings(self) -> tuple[Reading, ...]:
        """What its signals read where there is no data."""
        return tuple(Reading(signal, None, SIGNALS[signal].unit) for signal in self.signals)
