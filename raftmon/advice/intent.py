"""What is planned for the next cycle of a campaign, and the advice on it while it is being worked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raftmon.advice.interactions import Interactions
from raftmon.advice.learning_rate import USUAL_CHANGE, format_rate
from raftmon.advice.rule import Rule
from raftmon.grounds import STATUSES, Status
from raftmon.model import Advice, Authority, CycleView, Finding, PointsTo, Step

__all__ = ["ORDER", "SAME", "Intent", "Plan", "Seen"]

ORDER: Final[tuple[PointsTo, ...]] = ("health", "lr_too_high", "collapse")
"""Steps 1 to 3: what a rule points to, the gravest first."""
SAME: Final = 0.005
"""Rates that differ by a smaller share are the same: proposals have three digits."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What is planned for the next cycle, beside what was measured."""

    cycle: int | None = None
    """Number of the cycle; None: the one after the newest."""
    configured: float | None = None
    """Learning rate that the trainer's config gives that cycle as it is; None: not known."""
    origin: str = "config"
    """How the config comes to that rate, in words."""
    carried: Step | None = None
    """What earlier evidence made of the strategy's rate; a strategy knows nothing of it."""
    changes: Interactions | None = None
    """What changed in the configuration since the rate was last worked out."""
    acted: frozenset[tuple[str, int]] = frozenset()
    """(rule, cycle) of the evidence that has moved the number already."""
    again: frozenset[tuple[str, int]] = frozenset()
    """What of that did so when this same cycle was asked for before: whatever else it asks for still holds."""
    least: Status = "test"
    """Least status of a rule that may move a number, go back or stop."""

    def allows(self, rule: Rule) -> bool:
        """Tell whether a rule may act."""
        return list(STATUSES).index(rule.status) >= list(STATUSES).index(self.least)

    @property
    def allows_proposals(self) -> bool:
        """Whether what only proposes may act: probes, and verdicts that rest on `test` rules."""
        return self.least != "stable"


@dataclass(frozen=True)
class Seen:
    """What a campaign shows, as the steps of the policy look at it."""

    cycles: Sequence[CycleView]
    """In the order of their numbers."""
    firing: Sequence[Finding]
    """Findings on the campaign that fire and that no other one explains, whether they may act or not."""
    rules: Mapping[str, Rule]
    readings: Mapping[str, float | None]
    """The campaign's signals."""
    newest: Sequence[Advice]
    """Advice on the run of the newest cycle."""
    intent: Intent

    @property
    def trained(self) -> int:
        """The newest cycle with a run; 0: none."""
        return max((cycle.cycle for cycle in self.cycles if cycle.run is not None), default=0)

    @property
    def judged(self) -> int:
        """The newest cycle with a rate; 0: none."""
        return max((cycle.cycle for cycle in self.cycles if cycle.verification_rate is not None), default=0)

    @property
    def against(self) -> str | None:
        """What speaks against raising the rate, shown rules included; None: nothing."""
        named = (finding.rule for finding in self.firing if finding.points_to in ORDER)
        lowers = any(_lowers(advice) for advice in self.newest)
        return next(named, "the verdict on the newest run" if lowers else None)


def _lowers(advice: Advice) -> bool:
    is_rate = advice.parameter == "learning_rate" and advice.current is not None and advice.proposed is not None
    return is_rate and (advice.proposed or 0.0) < (advice.current or 0.0)


@dataclass
class Plan:
    """The advice while it is being worked out."""

    rate: float | None
    """Learning rate of the next cycle; None: nothing to start from."""
    current: float | None
    """That of the newest cycle."""
    start: float | None
    """What factors apply to: the fault happened at the rate in force, but a strategy may mean less already."""
    authority: Authority
    steps: list[Step]
    planned: float | None = None
    """What it would be without new evidence."""
    carried: float = 1.0
    """What earlier evidence made of the strategy's rate."""
    is_strategy: bool = False
    """Whether a strategy with numbers of its own gave the rate."""
    acted: list[tuple[str, int]] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    stop: bool = False
    reach: float = USUAL_CHANGE
    """Largest factor that the guardrails let the rate change by, where the user names none."""
    remarks: list[str] = field(default_factory=list)
    """What is said beside the numbers."""

    def lower(self, factor: float, rule: str, why: str, floor: float | None = None) -> None:
        """Lower the rate to a factor of the one in force, where no other reason has lowered it further.

        Args:
            factor: of the rate in force.
            rule: that asks for it.
            why: the arithmetic in words.
            floor: learning rate below which this reason does not lower; None: there is none.
        """
        if self.rate is None or self.start is None:
            return
        asked = self.start * factor
        if floor is not None and asked < floor < self.start * (1.0 - SAME):
            asked, why = floor, f"{why}, but the checkpoint gone back to was trained at {format_rate(floor)}"
        if self.start < self.rate * (1.0 - SAME) and not any(step.factor for step in self.steps):
            why = f"{why} of the {format_rate(self.start)} in force"
        if asked < self.rate:
            self.rate = asked
            self.steps.append(Step(rule, factor, f"{why} = {format_rate(asked)}"))
        else:
            self.steps.append(Step(rule, None, f"{why}: no lower than {format_rate(self.rate)}"))

    def raise_by(self, factor: float, rule: str, why: str) -> None:
        """Raise the rate to a factor of the one in force, or of the planned one where none is known."""
        start = self.current if self.current is not None else self.rate
        if self.rate is None or start is None:
            self.note(rule, f"{why}, but no learning rate is known: log it")
            return
        self.rate = max(self.rate, start * factor)
        self.steps.append(Step(rule, factor, f"{why} = {format_rate(self.rate)}"))

    def note(self, rule: str, text: str) -> None:
        """Note a step that multiplies nothing."""
        self.steps.append(Step(rule, None, text))
