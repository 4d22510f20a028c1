"""Whether the learning rate of a run is right.

A run that diverges is too high, whatever else is said of it; and what the other runs of a sweep show counts more than
any curve. Otherwise the signals are weighed
(`raftmon.advice.weighing`), and a verdict is given only above a probability that ``rules/verdict.yaml`` names. It is
``undecided`` when the run is too short, logs no loss, is broken in another way, or when a firing rule contradicts the
weighing; and always for the cycle of a RAFT campaign: a model that is trained on its own accepted samples can lower
its loss by next to nothing, so that the curve of one cycle says nothing about its learning rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from raftmon.advice.rule import Rule
from raftmon.advice.weighing import KINDS, Weighing, reasons
from raftmon.grounds import figures
from raftmon.model import SEVERITIES, Finding, Severity, Verdict, VerdictKind
from raftmon.signals.progress import RunFacts

__all__ = ["WOULD_CHANGE", "WOULD_DECIDE_A_CYCLE", "decide"]

_WORDS: Final[Mapping[VerdictKind, str]] = {"too_low": "too low", "ok": "right", "too_high": "too high"}
_GRAVE: Final[Mapping[str, Severity]] = {"health": "high", "schedule": "medium"}
"""Severity from which a finding about something else leaves nothing to say about the learning rate."""
_POINTS_TO: Final[Mapping[str, VerdictKind]] = {"lr_too_low": "too_low", "lr_too_high": "too_high", "lr_ok": "ok"}

WOULD_CHANGE: Final[Mapping[VerdictKind, tuple[str, ...]]] = {
    "too_high": (
        "A second run at a third of the rate that ends no better.",
        "The same rise of the loss, at the same step, in a run at a lower rate: then it is the data.",
    ),
    "too_low": (
        "A second run at three times the rate that ends no lower.",
        "A held-out loss that has stopped falling: then the run is at its floor.",
    ),
    "ok": (
        "A second run at a third, or at three times the rate, that ends clearly lower: a language model at three times "
        "its best rate falls as smoothly, and only ends worse.",
    ),
    "undecided": (
        "More loss points, with the gradient norm beside them, where these are missing.",
        "A second run of the same recipe at another rate.",
    ),
}
"""By what was said: observations that would show that it is wrong, or that would decide."""
WOULD_DECIDE_A_CYCLE: Final = (
    "The verification rates of its campaign, cycle by cycle, best on prompts that are not trained on.",
)
"""The same for the cycle of a campaign, of which nothing is said."""


def decide(
    weighing: Weighing,
    rules: Mapping[str, Rule],
    findings: Sequence[Finding],
    readings: Mapping[str, float | None],
    counts: Mapping[str, int],
    facts: RunFacts,
    scenario: str,
) -> Verdict:
    """Judge one run.

    Args:
        weighing: the coefficients.
        rules: id to rule, for the findings.
        findings: as the engine gave them.
        readings: signal name to value.
        counts: points received per role.
        facts: what is known of the run beside its series.
        scenario: kind of training; ``raft`` for the cycle of a campaign.
    """
    verdict = _decided(weighing, rules, findings, readings, counts, facts, scenario)
    if verdict.learning_rate == "undecided":
        would_decide = WOULD_DECIDE_A_CYCLE if scenario == "raft" else WOULD_CHANGE["undecided"]
        return dataclasses.replace(verdict, would_change=would_decide)
    would_change = WOULD_CHANGE[verdict.learning_rate]
    return dataclasses.replace(
        verdict, would_change=would_change, measured=verdict.measured or weighing.model(readings).measured
    )


def _decided(
    weighing: Weighing,
    rules: Mapping[str, Rule],
    findings: Sequence[Finding],
    readings: Mapping[str, float | None],
    counts: Mapping[str, int],
    facts: RunFacts,
    scenario: str,
) -> Verdict:
    speaking = [f for f in findings if f.state == "firing" and f.inhibited_by is None]
    about_rate = [f for f in speaking if f.points_to in _POINTS_TO]
    decisive = [f for f in about_rate if _is_decisive(f, rules[f.rule])]
    kinds = {_POINTS_TO[finding.points_to] for finding in decisive}
    if len(kinds) > 1:
        titles = " and ".join(_lower(finding.title) for finding in decisive)
        return Verdict("undecided", 1.0 / len(KINDS), f"the evidence conflicts: {titles}")
    if decisive and not _is_too_early(weighing, kinds, facts):
        return _by_rule(weighing, decisive[0], rules[decisive[0].rule])
    reason = _cannot_tell(weighing, speaking, rules, counts, scenario)
    if reason:
        return Verdict("undecided", 1.0 / len(KINDS), reason)
    return _weigh(weighing, speaking, readings, counts, facts)


def _is_decisive(finding: Finding, rule: Rule) -> bool:
    """Tell whether a finding is a verdict by itself: a run that diverges, or a rule that was measured to be right."""
    diverged = finding.severity == "critical" and finding.points_to == "lr_too_high"
    return diverged or (rule.decides and rule.status != "experimental")


def _is_too_early(weighing: Weighing, kinds: set[VerdictKind], facts: RunFacts) -> bool:
    return kinds == {"too_low"} and not facts.ended and not _is_under_way(facts, weighing.limits.early)


def _by_rule(weighing: Weighing, finding: Finding, rule: Rule) -> Verdict:
    limits = weighing.limits
    confidence = min(limits.most_confident, rule.measured.precision or limits.diverged)
    found = f"{finding.rule}: {figures(rule.measured)[0]}" if rule.measured.runs else ""
    kind = _POINTS_TO[finding.points_to]
    return Verdict(kind, confidence, _lower(finding.title), (finding.text,), measured=found)


def _weigh(
    weighing: Weighing,
    speaking: Sequence[Finding],
    readings: Mapping[str, float | None],
    counts: Mapping[str, int],
    facts: RunFacts,
) -> Verdict:
    limits, model = weighing.limits, weighing.model(readings)
    probabilities, terms = model.weighed(readings)
    ranked = sorted(KINDS, key=lambda kind: -probabilities[kind])
    kind, confidence = ranked[0], min(limits.most_confident, probabilities[ranked[0]])
    weighed = reasons(terms, kind)
    told = tuple(f"{words} ({gain:+.1f} for {_WORDS[kind]})" for gain, words in weighed)
    against = next((f for f in speaking if _contradicts(f, kind)), None)
    if confidence < limits.speak_above:
        odds = " or ".join(f"{_WORDS[k]} ({probabilities[k]:.0%})" for k in ranked[:2])
        why = f"{odds}; " + ", ".join(["not sure enough", *_absent(counts)])
        return Verdict("undecided", confidence, why, told)
    if against is not None:
        why = f"the evidence conflicts: the curve looks {_WORDS[kind]}, but {_lower(against.title)}"
        return Verdict("undecided", confidence, why, told)
    if kind == "too_low" and not facts.ended and not _is_under_way(facts, limits.early):
        why = "the loss still falls evenly, as it does early in any run"
        return Verdict("undecided", confidence, why, told)
    return Verdict(kind, confidence, "; ".join(words for gain, words in weighed[:2] if gain > 0.0), told)


def _cannot_tell(
    weighing: Weighing,
    speaking: Sequence[Finding],
    rules: Mapping[str, Rule],
    counts: Mapping[str, int],
    scenario: str,
) -> str:
    """Return why nothing can be said, or an empty string."""
    if not any(counts.values()):
        return "nothing with a known role logged yet"
    points = counts.get("loss", 0)
    if points == 0:
        others = [role.replace("_", " ") for role in ("reward", "policy_loss", "eval_loss") if counts.get(role)]
        return f"no training loss logged, only {', '.join(others)}" if others else "no training loss logged"
    if scenario == "raft":
        return "the loss of one RAFT cycle does not tell its learning rate; its campaign does"
    if points < weighing.limits.points:
        return f"{points} loss point{'s' if points > 1 else ''}; {weighing.limits.points:.0f} are needed"
    broken = [finding for finding in speaking if _is_something_else(finding, rules)]
    return _lower(broken[0].title) if broken else ""


def _is_something_else(finding: Finding, rules: Mapping[str, Rule]) -> bool:
    """Tell whether a finding leaves nothing to say about the learning rate."""
    if finding.points_to in _POINTS_TO:
        return False
    least = _GRAVE.get(finding.points_to)
    grave = least is not None and SEVERITIES.index(finding.severity) >= SEVERITIES.index(least)
    rule = rules.get(finding.rule)
    return grave or (rule is not None and rule.decides)


def _contradicts(finding: Finding, kind: VerdictKind) -> bool:
    """Tell whether a finding that is more than a remark points the other way."""
    pointed = _POINTS_TO.get(finding.points_to)
    grave = SEVERITIES.index(finding.severity) >= SEVERITIES.index("medium")
    return pointed not in (None, "ok", kind) and grave


def _is_under_way(facts: RunFacts, early: float) -> bool:
    planned, done = facts.config.max_steps, facts.optimizer_steps
    return planned is not None and done is not None and done >= early * planned


def _absent(counts: Mapping[str, int]) -> list[str]:
    return [] if counts.get("grad_norm") else ["no grad norm"]


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]
