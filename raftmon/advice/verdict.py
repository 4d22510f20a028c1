"""Whether the learning rate of a run is right: all rules that point at it, weighed for and against.

Each rule carries likelihood ratios, measured on trainings whose right answer is known: how much oftener it fires (or
is silent although it could fire) in runs whose learning rate is too low, right, or too high. The verdict multiplies
them onto equal priors, weakened by `DEPENDENCE` because rules look at the same curve, and speaks only above
`SPEAK_ABOVE`. It is ``undecided`` when the run is too short, has no loss, or when the evidence conflicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from raftmon.advice.rule import Rule, Weights
from raftmon.model import Finding, Verdict, VerdictKind

__all__ = ["decide"]

LEAST_POINTS: Final = 20
"""Loss points below which only a gross failure is told."""
SPEAK_ABOVE: Final = 0.6
"""Probability from which a verdict is given."""
DEPENDENCE: Final = 0.8
"""Exponent on each likelihood ratio: the rules are not independent witnesses."""
MOST_CONFIDENT: Final = 0.95
_KINDS: Final[tuple[VerdictKind, ...]] = ("too_low", "ok", "too_high")
_WORDS: Final[Mapping[str, str]] = {"too_low": "too low", "ok": "right", "too_high": "too high"}


def decide(rules: Mapping[str, Rule], findings: Sequence[Finding], counts: Mapping[str, int]) -> Verdict:
    """Weigh the findings of one run.

    Args:
        rules: id to rule, for the findings.
        findings: as the engine gave them.
        counts: points received per role.
    """
    weighed = [(finding, rules[finding.rule]) for finding in findings if rules[finding.rule].firing_weights]
    evidence = [(finding, weights) for finding, rule in weighed if (weights := _weights(finding, rule)) is not None]
    probabilities = _posterior([weights for _, weights in evidence])
    likeliest = max(_KINDS, key=lambda kind: probabilities[kind])
    confidence = min(MOST_CONFIDENT, probabilities[likeliest])
    speaking = [finding for finding, _ in evidence if finding.state == "firing"]
    reasons = _reasons(evidence, likeliest)
    missing = _what_is_missing(counts)
    gross = any(finding.severity == "critical" for finding in speaking)
    if missing and not gross:
        return Verdict("undecided", confidence, missing, reasons)
    directions = {finding.points_to for finding in speaking} & {"lr_too_high", "lr_too_low"}
    if len(directions) == 2 and not gross:
        return Verdict("undecided", confidence, f"the evidence conflicts: {_names(speaking)}", reasons)
    if confidence < SPEAK_ABOVE or not speaking:
        return Verdict("undecided", confidence, _why_undecided(speaking, counts), reasons)
    return Verdict(likeliest, confidence, _names(_supporting(evidence, likeliest)) or reasons[0], reasons)


def _weights(finding: Finding, rule: Rule) -> Weights | None:
    if finding.inhibited_by is not None or rule.firing_weights is None:
        return None
    if finding.state == "firing":
        return rule.firing_weights
    return rule.silent_weights if finding.state in ("inactive", "resolved") else None


def _posterior(weights: Sequence[Weights]) -> dict[VerdictKind, float]:
    odds: dict[VerdictKind, float] = dict.fromkeys(_KINDS, 1.0)
    for weight in weights:
        for kind in _KINDS:
            odds[kind] *= _ratio(weight, kind) ** DEPENDENCE
    total = sum(odds.values())
    return {kind: value / total for kind, value in odds.items()}


def _ratio(weights: Weights, kind: VerdictKind) -> float:
    return {"too_low": weights.too_low, "ok": weights.ok, "too_high": weights.too_high}[kind]


def _supporting(evidence: Sequence[tuple[Finding, Weights]], kind: VerdictKind) -> list[Finding]:
    """Return the firing findings that speak for a kind, strongest first."""
    speaking = [(_ratio(weights, kind), finding) for finding, weights in evidence if finding.state == "firing"]
    return [finding for ratio, finding in sorted(speaking, key=lambda pair: -pair[0]) if ratio > 1.0]


def _reasons(evidence: Sequence[tuple[Finding, Weights]], kind: VerdictKind) -> tuple[str, ...]:
    ordered = sorted(evidence, key=lambda pair: -abs(_ratio(pair[1], kind) - 1.0))
    reasons = []
    for finding, weights in ordered:
        ratio = _ratio(weights, kind)
        if ratio == 1.0:
            continue
        state = "fires" if finding.state == "firing" else "is silent"
        reasons.append(f"{finding.rule} {state}: {_WORDS[kind]} ×{ratio:.2g}")
    return tuple(reasons)


def _names(findings: Sequence[Finding]) -> str:
    return "; ".join(finding.title[0].lower() + finding.title[1:] for finding in findings[:2])


def _what_is_missing(counts: Mapping[str, int]) -> str:
    points = counts.get("loss", 0)
    if not any(counts.values()):
        return "nothing with a known role logged yet"
    if points == 0:
        others = [role.replace("_", " ") for role in ("reward", "policy_loss", "eval_loss") if counts.get(role)]
        return f"no training loss logged, only {', '.join(others)}" if others else "no training loss logged"
    if points < LEAST_POINTS:
        return f"{points} loss point{'s' if points > 1 else ''}; {LEAST_POINTS} are needed"
    return ""


def _why_undecided(speaking: Sequence[Finding], counts: Mapping[str, int]) -> str:
    weak = f"only {_names(speaking)}" if speaking else f"nothing in {counts.get('loss', 0)} loss points decides"
    absent = [
        word for role, word in (("grad_norm", "no grad norm"), ("eval_loss", "no eval loss")) if not counts.get(role)
    ]
    return ", ".join([weak, *absent])
