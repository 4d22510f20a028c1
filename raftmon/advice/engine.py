"""Rules over time: inactive, pending, firing, resolved; unknown where a needed signal has no reading.

The states depend on the points alone, not on when they were polled: `RuleEngine.tick` is called at places that the
series itself decides, and what it does not cover yet is looked at without being kept.
"""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from raftmon.advice.rule import Duration, Rule
from raftmon.model import SEVERITIES, Finding, FindingState, Reading
from raftmon.signals.registry import SIGNALS

__all__ = ["RuleEngine", "filled_in"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one rule stands."""

    state: FindingState = "unknown"
    since_step: int | None = None
    since_point: int = 0
    clear_step: int | None = None
    """Step at which the condition ceased to hold while the rule fires; None while it holds."""
    clear_point: int = 0

    def moved(self, rule: Rule, holds: bool | None, point: int, step: int) -> Progress:
        """Return where the rule stands after one more look.

        Args:
            rule: the rule.
            holds: whether its condition holds; None: a reading is missing, which resolves nothing.
            point: number of the primary series' points so far.
            step: step of the newest of them.
        """
        if self.state == "firing":
            return self._firing(rule, holds, point, step)
        if holds is None:
            return self if self.state in ("pending", "resolved", "unknown") else Progress()
        if not holds:
            return self if self.state in ("resolved", "inactive") else Progress("inactive")
        if self.state != "pending":
            return Progress("pending" if rule.hold.count else "firing", step, point)
        if _elapsed(rule.hold, self.since_point, point, self.since_step, step):
            return Progress("firing", self.since_step, self.since_point)
        return self

    def _firing(self, rule: Rule, holds: bool | None, point: int, step: int) -> Progress:
        if holds is None:
            return self
        if holds:
            return self if self.clear_step is None else dataclasses.replace(self, clear_step=None)
        clear = self if self.clear_step is not None else dataclasses.replace(self, clear_step=step, clear_point=point)
        if _elapsed(rule.keep, clear.clear_point, point, clear.clear_step, step):
            return Progress("resolved", step, point)
        return clear


class Look(NamedTuple):
    """A rule's place, and what it saw there."""

    progress: Progress = Progress()
    held: Mapping[str, float | None] | None = None
    """The signals that the rule mentions, as they were when its condition held last; None if it never did."""


def _elapsed(wanted: Duration, from_point: int, point: int, from_step: int | None, step: int) -> bool:
    if wanted.unit == "points":
        return point - from_point >= wanted.count
    return step - (from_step if from_step is not None else step) >= wanted.count


class RuleEngine:
    """The states of a set of rules for one run or one campaign.

    Args:
        rules: those that apply.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._looks = [Look() for _ in self.rules]
        # What a configuration says it says once: such a rule is settled by its first look.
        self._settles = [_is_settled_at_once(rule) for rule in self.rules]
        self._looked = False

    def tick(self, readings: Mapping[str, float | None], point: int, step: int) -> None:
        """Advance every rule by the readings at one step and keep the result."""
        self._looks = self._advanced(readings, point, step)
        self._looked = True

    def findings(
        self, readings: Mapping[str, float | None], point: int, step: int, counts: Mapping[str, int]
    ) -> tuple[Finding, ...]:
        """Look at the newest readings without keeping the result.

        Args:
            readings: signal name to value.
            point: number of the primary series' points so far.
            step: step of the newest of them.
            counts: points received per role, for saying what is missing.

        Returns:
            One finding per rule, firing ones first, then by severity.
        """
        looks = self._advanced(readings, point, step)
        findings = [_finding(rule, look, readings, counts) for rule, look in zip(self.rules, looks, strict=True)]
        return _ordered(_inhibited(findings, self.rules))

    def _advanced(self, readings: Mapping[str, float | None], point: int, step: int) -> list[Look]:
        looks = []
        for rule, look, settles in zip(self.rules, self._looks, self._settles, strict=True):
            if settles and self._looked:
                looks.append(look)
                continue
            before = look.progress
            holds = rule.when.holds(readings, before.state == "firing")
            now = before.moved(rule, holds, point, step)
            if holds:
                looks.append(Look(now, {name: readings.get(name) for name in rule.mentioned}))
            else:
                looks.append(look if now is before else Look(now, look.held))
        return looks


def _is_settled_at_once(rule: Rule) -> bool:
    comparisons = rule.when.comparisons()
    return rule.hold.count == 0 and all(SIGNALS[comparison.signal].needs == "config" for comparison in comparisons)


def _finding(rule: Rule, look: Look, readings: Mapping[str, float | None], counts: Mapping[str, int]) -> Finding:
    where = look.progress
    names = dict.fromkeys(comparison.signal for comparison in rule.when.comparisons())
    speaks = where.state in ("pending", "firing", "resolved")
    return Finding(
        rule=rule.id,
        title=rule.title,
        state=where.state,
        severity=rule.severity,
        points_to=rule.points_to,
        since_step=where.since_step if speaks else None,
        readings=tuple(Reading(name, readings.get(name), SIGNALS[name].unit) for name in names),
        thresholds={name: rule.parameters[name].value for name in rule.compared},
        text=filled_in(rule.whole_text, rule, look.held or readings) if speaks else "",
        missing=_missing(names, readings, counts) if where.state == "unknown" else (),
        evidence=rule.evidence,
    )


def _missing(names: Iterable[str], readings: Mapping[str, float | None], counts: Mapping[str, int]) -> tuple[str, ...]:
    missing = []
    for name in names:
        info = SIGNALS[name]
        if readings.get(name) is not None:
            continue
        seen = counts.get(info.needs, 0)
        if info.also and seen >= info.minimum:
            missing.append(info.also)
        elif info.needs in ("run", "config", "campaign"):
            missing.append(info.description)
        elif seen == 0:
            missing.append(info.needs.replace("_", " "))
        else:
            missing.append(f"{info.minimum} {info.needs.replace('_', ' ')} points ({seen} so far)")
    return tuple(dict.fromkeys(missing))


class _Readable(float):
    """A number in an advice text: a missing or infinite reading stays a question mark in any format.

    ``:.1p`` writes a share as percentage points, without a sign behind it; ``:?yes|no`` chooses between two words.
    """

    def __format__(self, specification: str) -> str:
        if specification.startswith("?"):
            return specification[1:].split("|")[0 if self == 1.0 else 1] if math.isfinite(self) else "?"
        if specification.endswith("p") and math.isfinite(self):
            return format(100.0 * float(self), specification[:-1] + "f")
        return format(float(self), specification or ".3g") if math.isfinite(self) else "?"


class _AdviceText(string.Formatter):
    """Fills ``{loss.drawup:.2f}`` from a mapping: the dots belong to the names of signals."""

    def get_field(
        self,
        field_name: str,
        args: Sequence[object],  # noqa: ARG002 - the signature of the base class
        kwargs: Mapping[str, object],
    ) -> tuple[object, str]:
        value = kwargs.get(field_name)
        return _Readable(value if isinstance(value, float) else math.nan), field_name


def filled_in(text: str, rule: Rule, readings: Mapping[str, float | None]) -> str:
    """Put readings, and the parameters of a rule, into a text of its advice."""
    parameters = {name: parameter.value for name, parameter in rule.parameters.items()}
    return _AdviceText().vformat(text, (), {**parameters, **readings})


def _inhibited(findings: list[Finding], rules: tuple[Rule, ...]) -> list[Finding]:
    """Mark the symptoms of a cause that fires itself."""
    causes: dict[str, str] = {}
    for finding, rule in zip(findings, rules, strict=True):
        if finding.state == "firing":
            for symptom in rule.inhibits:
                causes.setdefault(symptom, rule.id)
    return [
        dataclasses.replace(finding, inhibited_by=causes[finding.rule])
        if finding.state in ("firing", "pending") and finding.rule in causes
        else finding
        for finding in findings
    ]


def _ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    states: tuple[FindingState, ...] = ("firing", "pending", "resolved", "inactive", "unknown")
    return tuple(
        sorted(
            findings,
            key=lambda f: (states.index(f.state), f.inhibited_by is not None, -SEVERITIES.index(f.severity), f.rule),
        )
    )
