"""Below the table of cycles: what the next one should do, its arithmetic, and the strategies side by side."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from textual.content import Content

from raftmon.advice.campaign_policy import checkpoint_of
from raftmon.model import CampaignView, StrategyPlan
from raftmon.tui.text import MUTED, SEVERITIES, assemble, fit, metric, number
from raftmon.tui.widgets.campaign_panel import next_lines
from raftmon.tui.widgets.lines import wrap

if TYPE_CHECKING:
    from raftmon.journal import Applied

__all__ = ["applied_lines", "checkpoint_lines", "next_cycle_lines", "note_lines", "panel_lines", "strategy_lines"]

BESIDE, ROOMY = 100, 140
"""Cells from which on the strategies stand beside the arithmetic, not below it; and for how many cycles they do."""
FEW = 4
"""Cycles ahead that are shown beside the arithmetic where there is little room."""
NAME, RATE = 13, 9
"""Cells of a strategy's name, and of each of its rates."""
CHOSEN = "→"
"""Marks the strategy that the advice begins with."""


def panel_lines(campaign: CampaignView, width: int, applied: Applied | None = None) -> list[Content]:
    """Return all lines: side by side where there is room, else the strategies below.

    Args:
        campaign: whose.
        width: cells.
        applied: the newest override that stands; None: none.
    """
    if width < BESIDE or not campaign.plans:
        below = [*strategy_lines(campaign, width), Content(), *note_lines(campaign, width)]
        return [*next_cycle_lines(campaign, width), *applied_lines(applied, width), Content(), *below]
    count = len(campaign.plans[0].rates) if width >= ROOMY else FEW
    right_width = NAME + RATE * count
    left_width = width - right_width - 5
    left = [*next_cycle_lines(campaign, left_width), *applied_lines(applied, left_width)]
    right = strategy_lines(campaign, right_width)
    right += [Content(), *note_lines(campaign, right_width)]
    height = max(len(left), len(right))
    left += [Content()] * (height - len(left))
    right += [Content()] * (height - len(right))
    return [
        a.pad_right(max(left_width - a.cell_length, 0)) + Content.styled("  │  ", MUTED) + b
        for a, b in zip(left, right, strict=True)
    ]


def next_cycle_lines(campaign: CampaignView, width: int) -> list[Content]:
    """Return what the next cycle should do, which checkpoint is the best, the arithmetic, and what it rests on."""
    plan = campaign.next
    if plan is None:
        text = "No advice for a next cycle before one has a learning rate or a rate."
        return [*wrap(assemble((text, MUTED)), width), *checkpoint_lines(campaign, width)]
    lines = next_lines(plan, width)
    if plan.stop and plan.learning_rate is not None:
        rate = metric("learning_rate", plan.learning_rate)
        lines += wrap(assemble((f"if trained on all the same: cycle {plan.cycle}, LR {rate}", MUTED)), width, 2)
    lines += checkpoint_lines(campaign, width)
    for index, step in enumerate(plan.steps):
        lines += wrap(assemble(("arithmetic  " if index == 0 else " " * 12, MUTED), step.text), width, 0, 14)
    lines += wrap(assemble(plan.text), width) if plan.text else []
    for finding in campaign.firing:
        glyph, word, style = SEVERITIES[finding.severity]
        since = f"  since cycle {finding.since_step}" if finding.since_step is not None else ""
        lines += wrap(assemble((f"{glyph} {word}  ", style), finding.title, (since, MUTED)), width, 0, 2)
    return lines


def checkpoint_lines(campaign: CampaignView, width: int) -> list[Content]:
    """Return which checkpoint is the best one, and how that is known; nothing without a rate."""
    best = next((cycle for cycle in campaign.cycles if cycle.cycle == campaign.best_cycle), None)
    if best is None:
        return []
    saved_by = checkpoint_of(campaign.cycles, best.cycle)
    name = f"cycle {saved_by}" if saved_by else "the base model"
    rate = metric("verification_rate", best.verification_rate)
    if best.measures == "before":
        how = f"cycle {best.cycle} began from it, and its samples passed at ★ {rate}"
    else:
        how = f"its model passed at ★ {rate}"
    return wrap(assemble(("checkpoint  ", MUTED), ("the best is ", MUTED), (name, "bold"), f": {how}"), width, 0, 12)


def applied_lines(applied: Applied | None, width: int) -> list[Content]:
    """Return what was written into the config, and when; nothing where nothing was."""
    if applied is None:
        return []
    rate = metric("learning_rate", applied.learning_rate)
    cycle = f"cycle {applied.cycle}: " if applied.cycle is not None else ""
    when = datetime.fromtimestamp(applied.at).strftime("%Y-%m-%d %H:%M")
    where = f" into {PurePath(applied.config).name}, {when}"
    return wrap(assemble(("written     ", MUTED), (cycle, MUTED), (f"LR {rate}", "bold"), where), width, 0, 12)


def strategy_lines(campaign: CampaignView, width: int) -> list[Content]:
    """Return a row for the advice and for each strategy, a column for each of the next cycles that fits."""
    plans, advice = campaign.plans, campaign.next
    if not plans or advice is None:
        return wrap(assemble(("No learning rate is known that a strategy could go on from.", MUTED)), width)
    count = max(min((width - NAME) // RATE, len(plans[0].rates)), 0)
    titles = "".join(fit(f"cycle {plans[0].first + n}", RATE, right=True) for n in range(count))
    lines = [assemble(("STRATEGIES".ljust(NAME), "bold"), (titles, MUTED))]
    lines.append(
        assemble(
            (fit("  as advised", NAME), "bold"),
            (fit(metric("learning_rate", advice.learning_rate), RATE, right=True) if count else "", "bold"),
        )
    )
    lines += [_strategy_line(plan, count) for plan in plans]
    note = f"{CHOSEN} in force. " if any(plan.chosen for plan in plans) else ""
    note += "What each alone gives, before evidence and guardrails."
    if advice.evidence_factor != 1.0:
        note += f" Evidence makes the next one × {number(advice.evidence_factor)}."
    return lines + wrap(assemble((note, MUTED)), width)


def note_lines(campaign: CampaignView, width: int) -> list[Content]:
    """Return how the table is to be read."""
    notes = ["med.: median of the cycle's finite values"]
    changes = [cycle.change for cycle in campaign.cycles if cycle.change is not None]
    if changes:
        needed = f"{changes[-1].needed:.2f} standard errors, at the newest"
        notes.insert(0, "change: points against the judged cycle before")
        notes.insert(1, f"real: more than chance explains ({needed})")
        if any(change.z is None for change in changes):
            notes.insert(2, "?: a rate without a count cannot be tested")
    if campaign.best_cycle is not None:
        notes.append("[--*--]: rate and its 95 % interval, : the best rate")
    return [line for note in notes for line in wrap(assemble((note, MUTED)), width, 0, 2)]


def _strategy_line(plan: StrategyPlan, count: int) -> Content:
    style = "bold" if plan.chosen else ""
    name = fit(f"{CHOSEN if plan.chosen else ' '} {plan.name}", NAME)
    rates = "".join(fit(metric("learning_rate", rate), RATE, right=True) for rate in plan.rates[:count])
    return assemble((name + rates, style))
