"""The arithmetic of the recommended learning rate: strategies, guardrails, how a rate is written, advice on one run.

A rule that is only ``experimental`` is shown but moves no number; ``test`` rules propose; ``stable`` ones may be
applied. What a campaign should do next is worked out in `raftmon.advice.campaign_policy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from raftmon.advice.rule import Rule
from raftmon.advice.settings import Guardrails, Strategy
from raftmon.model import Advice, Authority, Finding, Step, Verdict
from raftmon.run_config import RunConfig

__all__ = [
    "AUTHORITY",
    "FAR_CHANGE",
    "USUAL_CHANGE",
    "advise_run",
    "format_rate",
    "guarded",
    "rounded",
    "strategy_rate",
    "weaker",
    "written_rate",
]

AUTHORITY: Final[Mapping[str, Authority]] = {"experimental": "show", "test": "propose", "stable": "apply"}
_ORDER: Final[tuple[Authority, ...]] = ("show", "propose", "apply")
CONFIDENT: Final = 0.75
"""Confidence from which a verdict suggests a number for the next run."""
VERDICT_FACTOR: Final = 3.0
"""What a verdict changes the learning rate by where no rule says how much: half a decade, the resolution of a sweep."""

USUAL_CHANGE: Final = 3.0
"""Largest factor between two cycles, where the user names none."""
FAR_CHANGE: Final = 10.0
"""The same where a probe measured how far the rate is off, or where the campaign goes back."""


def weaker(first: Authority, second: Authority) -> Authority:
    """Return the one of two authorities that allows less."""
    return min(first, second, key=_ORDER.index)


def format_rate(rate: float) -> str:
    """Write a learning rate as people do, with a point so that YAML reads a number: ``3.61e-05``, ``0.1``."""
    if rate >= 0.01:
        text = f"{rate:.3g}"
        return text if "." in text or "e" in text else f"{text}.0"
    mantissa, exponent = f"{rate:.2e}".split("e")
    mantissa = mantissa.rstrip("0")
    return f"{mantissa}{'0' if mantissa.endswith('.') else ''}e{exponent}"


def rounded(rate: float) -> float:
    """Return a proposal to three digits: more would pretend to know more."""
    return float(f"{rate:.2e}")


def written_rate(rate: float) -> float:
    """Return the number that a trainer logged as float32: 0.001, not 0.0010000000474974513."""
    short = np.float32(rate)
    return float(str(short)) if float(short) == rate else rate


def strategy_rate(strategy: Strategy, cycle: int, first: float | None) -> tuple[float | None, str]:
    """Return the learning rate that a strategy means for a cycle, and the arithmetic in words.

    Args:
        strategy: kind and numbers.
        cycle: number of the cycle, from 1.
        first: learning rate of the first cycle, used where the strategy has no base of its own.
    """
    base = strategy.base if strategy.base is not None else first
    if strategy.kind == "manual":
        known = [number for number in strategy.schedule if number <= cycle]
        if not known:
            return base, f"strategy:manual has nothing for cycle {cycle}"
        rate = strategy.schedule[max(known)]
        return rate, f"strategy:manual, cycle {max(known)} = {format_rate(rate)}"
    if base is None:
        return None, f"strategy:{strategy.kind} without a base"
    if strategy.kind == "constant":
        return base, f"strategy:constant {format_rate(base)}"
    rate = base * strategy.decay ** (cycle - 1)
    words = f"strategy:exponential {format_rate(base)} × {strategy.decay:g}^{cycle - 1}"
    # A floor holds a rate up; it never raises one above where it began.
    floor = min(strategy.least, base)
    if rate < floor:
        return floor, f"{words}, at least {format_rate(floor)}"
    return rate, f"{words} = {format_rate(rate)}"


def advise_run(
    config: RunConfig, peak: float | None, verdict: Verdict, findings: Sequence[Finding], rules: Mapping[str, Rule]
) -> tuple[Advice, ...]:
    """Say what to do about one run: first the learning rate, then whatever else fires.

    Args:
        config: what is known of the run's configuration.
        peak: largest learning rate in the log, None if none was logged.
        verdict: of the run.
        findings: of the run.
        rules: id to rule.
    """
    current = written_rate(peak) if peak else config.learning_rate
    firing = [finding for finding in findings if finding.state == "firing" and finding.inhibited_by is None]
    advice = []
    if verdict.learning_rate in ("too_high", "too_low"):
        advice.append(_rate_advice(current, verdict, firing, rules))
    for finding in firing:
        if finding.points_to in ("schedule", "data", "collapse", "health") and finding.severity != "informational":
            authority = AUTHORITY[rules[finding.rule].status]
            advice.append(Advice(_PARAMETERS[finding.points_to], None, None, authority, (finding.rule,), finding.text))
    return tuple(advice)


_PARAMETERS: Final[Mapping[str, str]] = {
    "schedule": "schedule",
    "data": "data",
    "collapse": "checkpoint",
    "health": "run",
}


def _rate_advice(
    current: float | None, verdict: Verdict, firing: Sequence[Finding], rules: Mapping[str, Rule]
) -> Advice:
    high = verdict.learning_rate == "too_high"
    pointing = [f for f in firing if f.points_to == ("lr_too_high" if high else "lr_too_low")]
    factors = [rules[f.rule].multiply for f in pointing if rules[f.rule].multiply is not None]
    usual = 1.0 / VERDICT_FACTOR if high else VERDICT_FACTOR
    factor = (min if high else max)((f for f in factors if f is not None), default=usual)
    because = [f.rule for f in pointing]
    word, direction = ("too high", "Lower") if high else ("too low", "Raise")
    begin = f"The learning rate looks {word} ({verdict.confidence:.0%}): {verdict.why}."
    powers = [AUTHORITY[rules[f.rule].status] for f in pointing]
    authority: Authority = max(powers, key=_ORDER.index) if powers else "show"
    if current is None:
        text = f"{begin} {direction} it about {max(factor, 1 / factor):.2g}-fold in the next run."
        return Advice("learning_rate", None, None, authority, tuple(because), text)
    if verdict.confidence < CONFIDENT:
        text = f"{begin} Too uncertain for a number: try one run at {format_rate(current * factor)} and compare."
        return Advice("learning_rate", current, None, "show", tuple(because), text)
    best = _best_of_sweep(pointing)
    proposed = rounded(best if best is not None else current * factor)
    because.append(
        f"the best run of its sweep: {format_rate(proposed)}"
        if best is not None
        else f"{format_rate(current)} × {factor:.3g} = {format_rate(proposed)}"
    )
    text = f"{begin} {direction} it for the next run: {format_rate(current)} → {format_rate(proposed)}."
    return Advice("learning_rate", current, proposed, authority, tuple(because), text)


def guarded(
    rate: float,
    current: float | None,
    guardrails: Guardrails,
    configured: float | None = None,
    reach: float = USUAL_CHANGE,
) -> tuple[float, tuple[Step, ...]]:
    """Clamp a rate to the guardrails.

    Args:
        rate: the proposal.
        current: in force in the newest cycle.
        guardrails: the user's.
        configured: what the user's own config says: a person may change more at once, and that is no clamp's matter.
        reach: largest factor, up or down, where the user names none.

    Returns:
        The rate, and a step for each clamp.
    """
    clamped, steps = rate, []
    if current is not None and current > 0.0:
        own = configured if configured is not None else current
        most = guardrails.max_change if guardrails.max_change is not None else reach
        lowest, highest = current / most, current * most
        clamped = min(max(rate, min(lowest, own)), max(highest, own))
        if clamped != rate:
            text = f"guardrail: at most ×{most:g} a cycle = {format_rate(clamped)}"
            steps.append(Step("guardrail:max_change", clamped / rate, text))
    for limit, clamp in ((guardrails.least, max), (guardrails.most, min)):
        if limit is not None and clamp(clamped, limit) != clamped:
            name = "min" if clamp is max else "max"
            steps.append(Step(f"guardrail:{name}", limit / clamped, f"guardrail: {name} {format_rate(limit)}"))
            clamped = limit
    return clamped, tuple(steps)


def _best_of_sweep(findings: Sequence[Finding]) -> float | None:
    """Return the learning rate of the best run beside this one, where a finding rests on it."""
    readings = [reading for finding in findings for reading in finding.readings]
    return next((reading.value for reading in readings if reading.signal == "siblings.best_rate"), None)
