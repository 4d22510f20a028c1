"""What the next cycle of a campaign should do, in the order of the policy that the study behind the rules tested.

1. Broken numbers, 2. harm (a drop that chance does not explain): go back to the best checkpoint, then lower; harm in
the cycle after that once more: stop and ship the best one. 3. Spent diversity: halve, and stop before a collapse.
4. rho, or else 5. the KL of the cycle, where a trainer logs them: the rate that would give the target. 6. Otherwise the
strategy. Guardrails come last. Each step is named in the advice.

A rule that is only ``experimental`` is shown but moves no number. Rates are lowered by the strongest reason, not by the
product of all, since they tend to have one cause; they are raised by a probe alone, and only where nothing that fires,
shown rules included, speaks against it. So more evidence of "too high" never raises a rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raftmon.advice.learning_rate import AUTHORITY, format_rate, guarded, rounded, strategy_rate, weaker
from raftmon.advice.rule import Rule
from raftmon.advice.settings import Settings
from raftmon.model import Authority, CycleView, Finding, NextCycle, PointsTo

__all__ = ["checkpoint_of", "next_cycle"]

ORDER: Final[tuple[PointsTo, ...]] = ("health", "lr_too_high", "collapse")
"""Steps 1 to 3: what a rule points to, the gravest first."""
TARGET_RHO: Final = 0.9
"""Gain of a step over the predicted one at the best learning rate: median of the study's sweep 0.91, RAFT 0.85."""
LEAST_RHO: Final = 0.5
"""Below, rho saturates and 1 - rho says too little: lower threefold more."""
RHO_RANGE: Final = (0.1, 10.0)
TARGET_KL: Final = 0.02
"""Nats per token that a cycle at the best learning rate moved the model by."""
KL_RANGE: Final = (0.5, 3.16)
DEAD_ZONE: Final = 1.5
"""A probe that asks for less than this factor asks for nothing: half a decade is what a sweep resolves."""


@dataclass
class _Plan:
    """The advice while it is being worked out."""

    rate: float | None
    """Learning rate of the next cycle; None: nothing to start from."""
    current: float | None
    """That of the newest cycle."""
    start: float | None
    """What factors apply to: the fault happened at the rate in force, but a strategy may mean less already."""
    authority: Authority
    because: list[str]
    stop: bool = False
    remarks: list[str] = field(default_factory=list)
    """What is said beside the numbers."""

    def lower(self, factor: float, why: str) -> None:
        """Lower the rate to a factor of the one in force, where no other reason has lowered it further."""
        if self.rate is None or self.start is None:
            return
        asked = self.start * factor
        if asked < self.rate:
            self.rate = asked
            self.because.append(f"{why} = {format_rate(asked)}")
        else:
            self.because.append(f"{why}: no lower than {format_rate(self.rate)}")


def next_cycle(
    cycles: Sequence[CycleView],
    best_cycle: int | None,
    findings: Sequence[Finding],
    rules: Mapping[str, Rule],
    settings: Settings,
    readings: Mapping[str, float | None] | None = None,
) -> NextCycle | None:
    """Work out what the next cycle of a campaign should do.

    Args:
        cycles: in the order of their numbers.
        best_cycle: the cycle with the best rate, None without rates.
        findings: of the campaign.
        rules: id to rule.
        settings: strategy and guardrails.
        readings: the campaign's signals, for the probes.
    """
    known = [cycle.learning_rate for cycle in cycles if cycle.learning_rate]
    if not cycles or (not known and settings.strategy.base is None and best_cycle is None):
        return None
    number = cycles[-1].cycle + 1
    plan = _planned(number, known, settings)
    firing = [finding for finding in findings if finding.state == "firing" and finding.inhibited_by is None]
    acting = [finding for finding in firing if AUTHORITY[rules[finding.rule].status] != "show"]
    acting.sort(key=lambda finding: ORDER.index(finding.points_to) if finding.points_to in ORDER else len(ORDER))
    for finding in acting:
        _heed(plan, finding, rules[finding.rule])
    _stop_after_harm(plan, findings, rules, cycles)
    _heed_probes(plan, firing, readings or {})
    if plan.rate is not None:
        plan.rate = rounded(guarded(plan.rate, plan.current, settings.guardrails, plan.because))
    roll_back_to = None
    if best_cycle is not None and any(rules[finding.rule].roll_back for finding in acting):
        roll_back_to = checkpoint_of(cycles, best_cycle)
        plan.because.append(
            f"back to the checkpoint of cycle {roll_back_to}" if roll_back_to else "back to the base model"
        )
    ship = checkpoint_of(cycles, best_cycle) if best_cycle is not None else None
    told = [finding for finding in acting or firing if finding.severity != "informational"]
    text = _text(plan, number, roll_back_to, ship, told[:1])
    return NextCycle(number, plan.rate, plan.authority, tuple(plan.because), roll_back_to, plan.stop, text)


def checkpoint_of(cycles: Sequence[CycleView], cycle: int) -> int:
    """Return the cycle whose checkpoint had the rate that was measured in `cycle`; 0 is the base model.

    The samples verified at the start of a cycle come from the model that the cycle before it saved.
    """
    view = next(view for view in cycles if view.cycle == cycle)
    return max(0, cycle - 1) if view.measures == "before" else cycle


def _planned(number: int, known: Sequence[float], settings: Settings) -> _Plan:
    """Begin with what the strategy says; a constant one without a base holds the rate in force."""
    current = known[-1] if known else None
    rate, step = strategy_rate(settings.strategy, number, known[0] if known else None)
    if settings.strategy.kind == "constant" and settings.strategy.base is None and current is not None:
        rate, step = current, f"strategy:constant {format_rate(current)}"
    start = min(rate, current) if rate is not None and current is not None else rate
    return _Plan(rate, current, start, "propose" if rate is not None else "show", [step])


def _heed(plan: _Plan, finding: Finding, rule: Rule) -> None:
    """Do what a rule of steps 1 to 3 asks for."""
    if rule.multiply is not None:
        plan.lower(rule.multiply, f"{finding.rule} × {rule.multiply:g}")
    plan.authority = weaker(plan.authority, AUTHORITY[rule.status])
    plan.stop = plan.stop or rule.stop


def _stop_after_harm(
    plan: _Plan, findings: Sequence[Finding], rules: Mapping[str, Rule], cycles: Sequence[CycleView]
) -> None:
    """Stop where a harm was there in the judged cycle before the newest one already, explained by a graver one or not.

    A cycle that is not judged yet is no second harm.
    """
    newest = max((cycle.cycle for cycle in cycles if cycle.verification_rate is not None), default=0)
    for finding in findings:
        rule = rules[finding.rule]
        is_harm = rule.points_to == "lr_too_high" and rule.roll_back and AUTHORITY[rule.status] != "show"
        began = finding.since_step
        if is_harm and finding.state == "firing" and began is not None and began < newest:
            plan.stop = True
            plan.because.append(f"{rule.id} since cycle {began}: harm twice in a row, stop")
            return


def _heed_probes(plan: _Plan, firing: Sequence[Finding], readings: Mapping[str, float | None]) -> None:
    """Steps 4 to 6: ask rho, or else the KL; without either say what would tell."""
    asked = _by_rho(readings.get("campaign.rho")) or _by_kl(readings.get("campaign.kl"))
    if asked is None:
        if any(finding.points_to == "lr_too_low" for finding in firing):
            plan.remarks.append(
                "Insufficient evidence for a learning rate that is too low: without rho or the KL logged, one cycle at "
                "twice the rate from the best checkpoint would tell, given up if the held-out rate falls."
            )
        return
    factor, why = asked
    against = [finding for finding in firing if finding.points_to in ORDER]
    if 1.0 / DEAD_ZONE < factor < DEAD_ZONE:
        plan.because.append(f"{why}, within ×{DEAD_ZONE:g}: no change")
    elif factor < 1.0:
        plan.lower(factor, why)
        plan.authority = weaker(plan.authority, "propose")
    elif against:
        plan.because.append(f"{why}, but {against[0].rule} speaks against raising: held")
    elif plan.rate is not None and plan.current is not None:
        plan.rate = max(plan.rate, plan.current * factor)
        plan.because.append(f"{why} = {format_rate(plan.rate)}")
        plan.authority = weaker(plan.authority, "propose")


def _by_rho(rho: float | None) -> tuple[float, str] | None:
    """Return the factor that rho asks for, and the arithmetic; 1 - rho grows as the learning rate."""
    if rho is None or not math.isfinite(rho):
        return None
    least, most = RHO_RANGE
    ratio = (1.0 - TARGET_RHO) / (1.0 - rho) if rho < 1.0 else most
    factor, why = min(max(ratio, least), most), f"rho {rho:.2f}: × {1 - TARGET_RHO:.1g}/{1 - rho:.2g}"
    if rho < LEAST_RHO:
        factor, why = factor / 3.0, f"{why} / 3 (rho below {LEAST_RHO:g})"
    return factor, f"{why} → × {factor:.3g}"


def _by_kl(kl: float | None) -> tuple[float, str] | None:
    """Return the factor that the KL of the cycle asks for, and the arithmetic; the KL grows as the rate squared."""
    if kl is None or not math.isfinite(kl):
        return None
    least, most = KL_RANGE
    factor = min(max(math.sqrt(TARGET_KL / kl), least), most) if kl > 0.0 else most
    return factor, f"KL {kl:.3g}: × sqrt({TARGET_KL:g}/{kl:.3g}) → × {factor:.3g}"


def _text(plan: _Plan, number: int, roll_back_to: int | None, ship: int | None, because: Sequence[Finding]) -> str:
    reasons = " ".join([*(finding.text for finding in because), *plan.remarks])
    if plan.stop and ship is not None:
        what = f"ship the checkpoint of cycle {ship}" if ship else "ship the base model"
        return f"Stop here and {what}. {reasons}"
    parts, rate, current = [], plan.rate, plan.current
    if roll_back_to is not None:
        parts.append(f"start from {f'the checkpoint of cycle {roll_back_to}' if roll_back_to else 'the base model'}")
    if rate is not None and current is not None and abs(rate / current - 1.0) > 0.01:
        parts.append(f"learning rate {format_rate(current)} → {format_rate(rate)}")
    elif rate is not None:
        parts.append(f"keep the learning rate at {format_rate(rate)}")
    begin = f"Cycle {number}: {', '.join(parts)}." if parts else f"Cycle {number}: no learning rate known."
    return f"{begin} {reasons}".strip()
