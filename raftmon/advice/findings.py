"""From where a rule stands to a finding: its readings, its text, what it waits for, which cause silences it."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from raftmon.advice.rule import Rule
from raftmon.grounds import beyond
from raftmon.model import SEVERITIES, Finding, FindingState, Reading
from raftmon.signals.awaited import awaited
from raftmon.signals.registry import SIGNALS

__all__ = [
    "filled_in",
    "inhibited",
    "missing",
    "order",
    "placed",
    "quiet_finding",
    "silent_finding",
    "spoken_finding",
]

_RANKS: Final[Mapping[FindingState, int]] = {"firing": 0, "pending": 1, "resolved": 2, "inactive": 3, "unknown": 4}


@functools.lru_cache(maxsize=4096)
def silent_finding(rule: Rule, state: FindingState, missing: tuple[str, ...]) -> Finding:
    """Return the finding of a rule without any reading: one object for all runs that have none.

    Args:
        rule: the rule.
        state: ``inactive`` or ``unknown``.
        missing: what it waits for.
    """
    return _finding(rule, state, None, (None,) * len(rule.signals), "", missing)


def spoken_finding(
    rule: Rule,
    state: FindingState,
    since_step: int | None,
    values: Sequence[float | None],
    quoted: Mapping[str, float | None],
) -> Finding:
    """Return the finding of a rule that has something to say.

    Args:
        rule: the rule.
        state: where it stands.
        since_step: since when.
        values: readings of `Rule.signals`.
        quoted: what the text may quote: signal name to value.
    """
    return _finding(rule, state, since_step, values, filled_in(rule.whole_text, rule, quoted), ())


def quiet_finding(rule: Rule, state: FindingState, values: Sequence[float | None], missing: tuple[str, ...]) -> Finding:
    """Return the finding of a rule that has readings, and nothing to say."""
    return _finding(rule, state, None, values, "", missing)


def _finding(
    rule: Rule,
    state: FindingState,
    since_step: int | None,
    values: Sequence[float | None],
    text: str,
    missing: tuple[str, ...],
) -> Finding:
    return Finding(
        rule=rule.id,
        title=rule.title,
        state=state,
        severity=rule.severity,
        points_to=rule.points_to,
        since_step=since_step,
        readings=tuple(map(Reading, rule.signals, values, rule.units)),
        thresholds=rule.thresholds,
        text=text,
        missing=missing,
        evidence=rule.evidence,
    )


def missing(rule: Rule, values: Sequence[float | None], counts: Mapping[str, int]) -> tuple[str, ...]:
    """Say in words what a rule waits for.

    Args:
        rule: the rule.
        values: readings of `Rule.signals`.
        counts: points received per role.
    """
    found = [
        awaited(SIGNALS[name], counts.get(SIGNALS[name].needs, 0))
        for name, value in zip(rule.signals, values, strict=True)
        if value is None
    ]
    return tuple(dict.fromkeys(found))


class _Readable(float):
    """A number in an advice text: a missing or infinite reading stays a question mark in any format.

    ``:.1p`` writes a share as percentage points, without a sign behind it; ``:?yes|no`` chooses between two words;
    ``:.0%|not logged`` has words of its own for a missing reading.
    """

    unit = ""
    """Of the reading."""

    def __format__(self, specification: str) -> str:
        if words := beyond(self, self.unit):
            return words
        if specification.startswith("?"):
            return specification[1:].split("|")[0 if self == 1.0 else 1] if math.isfinite(self) else "?"
        specification, _, missing = specification.partition("|")
        if not math.isfinite(self):
            return missing or "?"
        if specification.endswith("p"):
            return format(100.0 * float(self), specification[:-1] + "f")
        return format(float(self), specification or ".3g")


class _AdviceText(string.Formatter):
    """Fills ``{loss.drawup:.2f}`` from a mapping: the dots belong to the names of signals."""

    def get_field(
        self,
        field_name: str,
        args: Sequence[object],  # noqa: ARG002 - the signature of the base class
        kwargs: Mapping[str, object],
    ) -> tuple[object, str]:
        value = kwargs.get(field_name)
        number = _Readable(value if isinstance(value, float) else math.nan)
        number.unit = SIGNALS[field_name].unit if field_name in SIGNALS else ""
        return number, field_name


def filled_in(text: str, rule: Rule, readings: Mapping[str, float | None]) -> str:
    """Put readings, and the parameters of a rule, into a text of its advice."""
    parameters = {name: parameter.value for name, parameter in rule.parameters.items()}
    return _AdviceText().vformat(text, (), {**parameters, **readings})


def inhibited(findings: Sequence[Finding], rules: Iterable[Rule]) -> list[Finding]:
    """Mark the symptoms of a cause that fires itself."""
    causes: dict[str, str] = {}
    for finding, rule in zip(findings, rules, strict=True):
        if finding.state == "firing":
            for symptom in rule.inhibits:
                causes.setdefault(symptom, rule.id)
    if not causes:
        return list(findings)
    return [
        dataclasses.replace(finding, inhibited_by=causes[finding.rule])
        if finding.state in ("firing", "pending") and finding.rule in causes
        else finding
        for finding in findings
    ]


def order(findings: Sequence[Finding]) -> list[int]:
    """Return the places of findings in their order: firing ones first, then by severity."""
    return sorted(range(len(findings)), key=lambda place: _rank(findings[place]))


def placed(findings: Sequence[Finding], more: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return sorted findings with a few more, each at its place."""
    every = list(findings)
    for finding in more:
        bisect.insort(every, finding, key=_rank)
    return tuple(every)


def _rank(finding: Finding) -> tuple[int, bool, int, str]:
    inhibited = finding.inhibited_by is not None
    return _RANKS[finding.state], inhibited, -SEVERITIES.index(finding.severity), finding.rule
