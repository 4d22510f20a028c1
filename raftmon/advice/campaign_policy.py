"""What the next cycle of a campaign should do, in the order of the policy that the study behind the rules tested.

0. The strategy, or what the trainer's config says by itself, and what earlier evidence made of it. 1. Broken numbers,
2. harm (a drop that chance does not explain): go back to the best checkpoint, then lower; harm in the cycle after that
once more: stop and ship the best one, or lower again where no cycle was better than the base model yet. 3. Spent
diversity: halve, and stop before a collapse. A verdict on the newest cycle's own run that its rate is too high lowers
too. 4. rho, or else 5. the KL of the cycle, where a trainer logs them: the rate that would give the target; without
either a rule that says the cycles gain nothing. 6. What changed in the configuration since the newest cycle. Guardrails
come last. Each step is named in the advice.

A rule that is only ``experimental`` is shown but moves no number. Rates are lowered by the strongest reason, not by the
product of all, since they tend to have one cause; they are raised by a probe, by such a rule or by a change of the
configuration alone, and only where nothing that fires, shown rules included, speaks against it. So more evidence of
"too high" never raises a rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from raftmon.advice.intent import ORDER, SAME, Intent, Plan, Seen
from raftmon.advice.learning_rate import AUTHORITY, FAR_CHANGE, format_rate, guarded, rounded, strategy_rate, weaker
from raftmon.advice.probes import heed_probes
from raftmon.advice.raises import heed_changes, heed_standstill
from raftmon.advice.rule import Rule
from raftmon.advice.settings import Settings
from raftmon.model import Advice, Authority, CycleView, Finding, NextCycle, Step

__all__ = ["checkpoint_of", "following", "next_cycle"]

HALVED: Final = 0.5
"""Policy step 3 of the measured campaigns: what spent diversity makes of the rate."""


def next_cycle(
    cycles: Sequence[CycleView],
    best_cycle: int | None,
    findings: Sequence[Finding],
    rules: Mapping[str, Rule],
    settings: Settings,
    readings: Mapping[str, float | None] | None = None,
    intent: Intent | None = None,
    newest: Sequence[Advice] = (),
) -> NextCycle | None:
    """Work out what the next cycle of a campaign should do.

    Args:
        cycles: in the order of their numbers.
        best_cycle: the cycle with the best rate, None without rates.
        findings: of the campaign.
        rules: id to rule.
        settings: strategy and guardrails.
        readings: the campaign's signals, for the probes.
        intent: what is planned; None: nothing is known of it.
        newest: advice on the run of the newest cycle.
    """
    meant = intent or Intent()
    known = [cycle.learning_rate for cycle in cycles if cycle.learning_rate and cycle.learning_rate > 0.0]
    starts = known or settings.strategy.base is not None or meant.configured is not None
    if (not cycles and meant.cycle is None) or (not starts and best_cycle is None):
        return None
    number = meant.cycle if meant.cycle is not None else following(cycles)
    plan = _planned(number, known, settings, meant)
    firing = [finding for finding in findings if finding.state == "firing" and finding.inhibited_by is None]
    seen = Seen(cycles, firing, rules, readings or {}, newest, meant)
    ship = checkpoint_of(cycles, best_cycle) if best_cycle is not None else None
    acting = _heed_findings(plan, seen, ship)
    if ship:
        _stop_after_harm(plan, findings, seen)
    _heed_verdict(plan, seen)
    if not heed_probes(plan, seen):
        heed_standstill(plan, seen)
    heed_changes(plan, seen)
    factor = _guard(plan, settings, meant)
    roll_back_to = ship if any(rules[finding.rule].roll_back for finding in acting) else None
    if roll_back_to is not None:
        text = f"back to the checkpoint of cycle {roll_back_to}" if roll_back_to else "back to the base model"
        plan.note("roll-back", text)
    told = [finding for finding in acting or firing if finding.severity != "informational"]
    return NextCycle(
        cycle=number,
        learning_rate=plan.rate,
        authority=plan.authority,
        steps=tuple(plan.steps),
        roll_back_to=roll_back_to,
        stop=plan.stop,
        text=_text(plan, number, roll_back_to, ship, told[:1]),
        evidence_factor=factor,
        acted=tuple(plan.acted),
        held=tuple(plan.held),
    )


def _guard(plan: Plan, settings: Settings, intent: Intent) -> float:
    """Clamp the rate to the guardrails; what the config says already stays as it is written there.

    Returns:
        What evidence has made of the strategy's rate up to now, as far as the guardrails let it.
    """
    if plan.rate is None or plan.planned is None:
        return plan.carried
    own = None if plan.is_strategy else intent.configured
    rate, clamps = guarded(plan.rate, plan.current, settings.guardrails, own, plan.reach)
    alone, _ = guarded(plan.planned, plan.current, settings.guardrails, own, plan.reach)
    plan.steps += clamps
    is_as_configured = intent.configured is not None and abs(rate / intent.configured - 1.0) < SAME
    plan.rate = intent.configured if is_as_configured else rounded(rate)
    return plan.carried * rate / alone


def following(cycles: Sequence[CycleView]) -> int:
    """Return the number of the cycle that is trained next.

    Samples of a cycle may be judged already while its training has not begun; a campaign without any run in its logdir
    is known by its judged samples alone.
    """
    trained = [cycle.cycle for cycle in cycles if cycle.run is not None]
    return (max(trained) if trained else cycles[-1].cycle) + 1


def checkpoint_of(cycles: Sequence[CycleView], cycle: int) -> int:
    """Return the cycle whose checkpoint had the rate that was measured in `cycle`; 0 is the base model.

    The samples verified at the start of a cycle come from the model that the cycle before it saved.
    """
    view = next(view for view in cycles if view.cycle == cycle)
    return max(0, cycle - 1) if view.measures == "before" else cycle


def _planned(number: int, known: Sequence[float], settings: Settings, intent: Intent) -> Plan:
    """Begin with what is planned: the strategy, where a person gave one, else what the config says by itself.

    A constant strategy without a base, and no config, hold the rate in force.
    """
    current = known[-1] if known else None
    strategy = settings.strategy
    if not strategy.given and intent.configured is not None:
        rate: float | None = intent.configured
        step, is_strategy = Step("config", None, intent.origin), False
    elif strategy.kind == "constant" and strategy.base is None and current is not None:
        rate, is_strategy = current, False
        step = Step("strategy:constant", None, f"strategy:constant {format_rate(current)}")
    else:
        first = known[0] if known else intent.configured
        rate, text = strategy_rate(strategy, number, first)
        step, is_strategy = Step(f"strategy:{strategy.kind}", None, text), True
    steps, carried = [step], 1.0
    if intent.carried is not None and intent.carried.factor is not None:
        carried = intent.carried.factor
        # The config, and the rate in force, hold it already; a strategy with numbers of its own knows nothing of it.
        if is_strategy and rate is not None:
            rate *= carried
            steps.append(Step(intent.carried.rule, carried, f"{intent.carried.text} = {format_rate(rate)}"))
    start = min(rate, current) if rate is not None and current is not None else rate
    authority: Authority = "propose" if rate is not None else "show"
    return Plan(rate, current, start, authority, steps, rate, carried, is_strategy)


def _heed_findings(plan: Plan, seen: Seen, ship: int | None) -> list[Finding]:
    """Steps 1 to 3, the gravest first; returns the findings that were heeded.

    Args:
        plan: the advice on its way.
        seen: what the campaign shows.
        ship: the best checkpoint; 0: the base model, None: no rates.
    """
    rules, order = seen.rules, len(ORDER)
    allowed = [finding for finding in seen.firing if seen.intent.allows(rules[finding.rule])]
    acting = [finding for finding in allowed if (rules[finding.rule].multiply or 1.0) <= 1.0]
    acting.sort(key=lambda finding: ORDER.index(finding.points_to) if finding.points_to in ORDER else order)
    return [finding for finding in acting if _heed(plan, seen, rules[finding.rule], ship)]


def _heed(plan: Plan, seen: Seen, rule: Rule, ship: int | None) -> bool:
    """Do what a rule of steps 1 to 3 asks for; returns False where that was done for the same evidence already.

    Where nothing was gained, so that there is nothing to ship but the base model, a rule that would stop halves.
    """
    # Broken numbers are seen in what was trained, everything else in what was judged.
    basis = seen.trained if rule.points_to == "health" else seen.judged
    evidence, gained = (rule.id, basis), ship != 0
    if evidence in seen.intent.acted:
        plan.note(rule.id, f"{rule.id}: heeded already, and nothing newer than cycle {basis} tells of it")
        is_again = evidence in seen.intent.again
        plan.stop = plan.stop or (rule.stop and gained and is_again)
        if rule.roll_back and is_again:
            plan.reach = FAR_CHANGE
        return is_again
    plan.acted.append(evidence)
    if rule.roll_back:
        plan.reach = FAR_CHANGE
    if rule.multiply is not None:
        trained_at = next((cycle.learning_rate for cycle in seen.cycles if ship and cycle.cycle == ship), None)
        floor = trained_at if rule.roll_back else None
        plan.lower(rule.multiply, rule.id, f"{rule.id} × {rule.multiply:g}", floor)
    plan.authority = weaker(plan.authority, AUTHORITY[rule.status])
    if rule.stop and gained:
        plan.stop = True
        plan.note(rule.id, f"{rule.id}: stop")
    elif rule.stop:
        plan.lower(HALVED, rule.id, f"{rule.id}, with no checkpoint better than the base model to ship: × {HALVED:g}")
    return True


def _stop_after_harm(plan: Plan, findings: Sequence[Finding], seen: Seen) -> None:
    """Stop where a harm was there in the judged cycle before the newest one already, explained by a graver one or not.

    A cycle that is not judged yet is no second harm.
    """
    for finding in findings:
        rule = seen.rules[finding.rule]
        is_harm = rule.points_to == "lr_too_high" and rule.roll_back and seen.intent.allows(rule)
        began = finding.since_step
        if is_harm and finding.state == "firing" and began is not None and began < seen.judged:
            plan.stop = True
            plan.note(rule.id, f"{rule.id} since cycle {began}: harm twice in a row, stop")
            return


def _heed_verdict(plan: Plan, seen: Seen) -> None:
    """Lower the rate where the newest cycle's own run was judged too high, by rules that may act."""
    basis = ("verdict:too_high", seen.trained)
    for advice in seen.newest if basis not in seen.intent.acted else ():
        allowed = {"stable": ("apply",), "test": ("apply", "propose"), "experimental": ("apply", "propose", "show")}
        if (
            advice.parameter != "learning_rate"
            or not advice.current
            or advice.authority not in allowed[seen.intent.least]
        ):
            continue
        if advice.proposed is not None and advice.proposed < advice.current:
            factor = advice.proposed / advice.current
            plan.lower(factor, basis[0], f"the newest run's rate is too high: × {factor:.3g}")
            plan.acted.append(basis)
            plan.authority = weaker(plan.authority, advice.authority)


def _text(plan: Plan, number: int, roll_back_to: int | None, ship: int | None, because: Sequence[Finding]) -> str:
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
