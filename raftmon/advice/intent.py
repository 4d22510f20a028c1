"""What is planned for the next cycle of a campaign, and the advice on it while it is being worked out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from raftmon.advice.interactions import Interactions
from raftmon.advice.learning_rate import USUAL_CHANGE, format_rate
from raftmon.advice.rule import Rule
from raftmon.grounds import STATUSES, Status
from raftmon.model import Authority, PointsTo, Step

__all__ = ["ORDER", "SAME", "Intent", "Plan"]

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

    def lower(self, factor: float, rule: str, why: str) -> None:
        """Lower the rate to a factor of the one in force, where no other reason has lowered it further."""
        if self.rate is None or self.start is None:
            return
        asked = self.start * factor
        if self.start < self.rate * (1.0 - SAME) and not any(step.factor for step in self.steps):
            why = f"{why} of the {format_rate(self.start)} in force"
        if asked < self.rate:
            self.rate = asked
            self.steps.append(Step(rule, factor, f"{why} = {format_rate(asked)}"))
        else:
            self.steps.append(Step(rule, None, f"{why}: no lower than {format_rate(self.rate)}"))

    def note(self, rule: str, text: str) -> None:
        """Note a step that multiplies nothing."""
        self.steps.append(Step(rule, None, text))
