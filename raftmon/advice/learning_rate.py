"""The arithmetic of the recommended learning rate, and what to do besides.

In this order: the strategy (constant, exponential, manual), then what the findings say, then the guardrails. Each step
is named in the advice. A rule that is only ``experimental`` is shown but moves no number; ``test`` rules propose;
``stable`` ones may be applied. Conflicting evidence holds the learning rate.

Policy after section 5 of the study behind the rules: harm first (go back to the best checkpoint, then lower), spent
diversity next (stop and ship), then the strategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from raftmon.advice.rule import Rule
from raftmon.advice.settings import Guardrails, Settings, Strategy
from raftmon.model import Advice, Authority, CycleView, Finding, NextCycle, RunConfig, Verdict

__all__ = ["advise_run", "format_rate", "next_cycle", "strategy_rate", "written_rate"]

AUTHORITY: Final[Mapping[str, Authority]] = {"experimental": "show", "test": "propose", "stable": "apply"}
_ORDER: Final[tuple[Authority, ...]] = ("show", "propose", "apply")
CONFIDENT: Final = 0.75
"""Confidence from which a verdict suggests a number for the next run."""
VERDICT_FACTOR: Final = 3.0
"""What a verdict changes the learning rate by where no rule says how much: half a decade, the resolution of a sweep."""


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
        return strategy.schedule[max(known)], f"strategy:manual, cycle {max(known)}"
    if base is None:
        return None, f"strategy:{strategy.kind} without a base"
    if strategy.kind == "constant":
        return base, f"strategy:constant {format_rate(base)}"
    rate = max(strategy.least, base * strategy.decay ** (cycle - 1))
    return rate, f"strategy:exponential {format_rate(base)} × {strategy.decay:g}^{cycle - 1} = {format_rate(rate)}"


def next_cycle(
    cycles: Sequence[CycleView],
    best_cycle: int | None,
    findings: Sequence[Finding],
    rules: Mapping[str, Rule],
    settings: Settings,
) -> NextCycle | None:
    """Work out what the next cycle of a campaign should do.

    Args:
        cycles: in the order of their numbers.
        best_cycle: the cycle with the best rate, None without rates.
        findings: of the campaign.
        rules: id to rule.
        settings: strategy and guardrails.
    """
    known = [cycle.learning_rate for cycle in cycles if cycle.learning_rate]
    if not cycles or (not known and settings.strategy.base is None and best_cycle is None):
        return None
    number, current = cycles[-1].cycle + 1, known[-1] if known else None
    rate, step = strategy_rate(settings.strategy, number, known[0] if known else None)
    if settings.strategy.kind == "constant" and settings.strategy.base is None and current is not None:
        rate, step = current, f"strategy:constant {format_rate(current)}"
    because = [step]
    firing = [finding for finding in findings if finding.state == "firing" and finding.inhibited_by is None]
    acting = [finding for finding in firing if AUTHORITY[rules[finding.rule].status] != "show"]
    authority: Authority = "propose" if rate is not None else "show"
    for finding in acting:
        rule = rules[finding.rule]
        if rule.multiply is not None and rate is not None:
            # The fault happened at the rate in force: that is what the factor applies to.
            start = min(rate, current) if current is not None else rate
            rate = min(rate, start * rule.multiply)
            because.append(f"{rule.id} × {rule.multiply:g} = {format_rate(rate)}")
        authority = min(authority, AUTHORITY[rule.status], key=_ORDER.index)
    if rate is not None:
        rate = rounded(_guarded(rate, current, settings.guardrails, because))
    roll_back_to = None
    if best_cycle is not None and any(rules[finding.rule].roll_back for finding in acting):
        roll_back_to = checkpoint_of(cycles, best_cycle)
        because.append(f"back to the checkpoint of cycle {roll_back_to}" if roll_back_to else "back to the base model")
    stop = any(rules[finding.rule].stop for finding in acting)
    text = _campaign_text(number, rate, current, roll_back_to, stop, best_cycle, cycles, (acting or firing)[:1])
    return NextCycle(number, rate, authority, tuple(because), roll_back_to, stop, text)


def checkpoint_of(cycles: Sequence[CycleView], cycle: int) -> int:
    """Return the cycle whose checkpoint had the rate that was measured in `cycle`; 0 is the base model.

    The samples verified at the start of a cycle come from the model that the cycle before it saved.
    """
    view = next(view for view in cycles if view.cycle == cycle)
    return max(0, cycle - 1) if view.measures == "before" else cycle


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
    proposed = rounded(current * factor)
    because.append(f"{format_rate(current)} × {factor:.3g} = {format_rate(proposed)}")
    text = f"{begin} {direction} it for the next run: {format_rate(current)} → {format_rate(proposed)}."
    return Advice("learning_rate", current, proposed, authority, tuple(because), text)


def _guarded(rate: float, current: float | None, guardrails: Guardrails, because: list[str]) -> float:
    """Clamp a rate to the guardrails; each clamp is named in `because`."""
    guarded = rate
    if current is not None and current > 0.0:
        guarded = min(max(rate, current / guardrails.max_change), current * guardrails.max_change)
        if guarded != rate:
            because.append(f"guardrail: at most ×{guardrails.max_change:g} a cycle = {format_rate(guarded)}")
    for limit, clamp in ((guardrails.least, max), (guardrails.most, min)):
        if limit is not None and clamp(guarded, limit) != guarded:
            guarded = limit
            because.append(f"guardrail: {'min' if clamp is max else 'max'} {format_rate(limit)}")
    return guarded


def _campaign_text(
    number: int,
    rate: float | None,
    current: float | None,
    roll_back_to: int | None,
    stop: bool,
    best_cycle: int | None,
    cycles: Sequence[CycleView],
    because: Sequence[Finding],
) -> str:
    reasons = " ".join(finding.text for finding in because)
    if stop and best_cycle is not None:
        return f"Stop here and ship the checkpoint of cycle {checkpoint_of(cycles, best_cycle)}. {reasons}"
    parts = []
    if roll_back_to is not None:
        parts.append(f"start from {f'the checkpoint of cycle {roll_back_to}' if roll_back_to else 'the base model'}")
    if rate is not None and current is not None and abs(rate / current - 1.0) > 0.01:
        parts.append(f"learning rate {format_rate(current)} → {format_rate(rate)}")
    elif rate is not None:
        parts.append(f"keep the learning rate at {format_rate(rate)}")
    begin = f"Cycle {number}: {', '.join(parts)}." if parts else f"Cycle {number}: no learning rate known."
    return f"{begin} {reasons}".strip()
