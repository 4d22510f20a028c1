"""The cycles of a campaign side by side, and what the next one should do."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content

from raftmon.model import CampaignView, CycleView, NextCycle
from raftmon.tui.text import AUTHORITIES, MUTED, NOTHING, Part, assemble, cut_end, fit, metric, number
from raftmon.tui.widgets.lines import LinesView, wrap

__all__ = ["CampaignPanel", "best_line", "campaign_lines", "next_lines"]

LABEL = 9
CELL = 9
WIDE = 100
"""Cells from which on cycles and the next cycle stand side by side."""


class CampaignPanel(LinesView, can_focus=False):
    """As high as its lines."""

    DEFAULT_CSS = "CampaignPanel { height: auto; }"


def best_line(campaign: CampaignView) -> Content:
    """Return ``best ★ cycle 3 · 39.7%``, or nothing without a best cycle."""
    cycle = next((c for c in campaign.cycles if c.cycle == campaign.best_cycle), None)
    if cycle is None:
        return Content()
    rate = metric("verification_rate", cycle.verification_rate)
    return assemble(("best ", MUTED), (f"★ cycle {cycle.cycle} · {rate}", "bold $text-success"))


def next_lines(plan: NextCycle, width: int) -> list[Content]:
    """Return what the next cycle should do, in one line if that fits."""
    if plan.stop:
        ship = "the newest" if plan.roll_back_to is None else _checkpoint(plan.roll_back_to)
        return wrap(assemble((f"■ STOP, ship {ship}", "bold $text-error")), width, 0, 2)
    parts: list[Part] = [(f"NEXT CYCLE {plan.cycle}", "bold")]
    if plan.roll_back_to is not None:
        parts.append((f"  ↩ roll back to {_checkpoint(plan.roll_back_to)}", "bold $text-warning"))
    what = assemble(*parts)
    rate = assemble(
        ("LR ", MUTED),
        (metric("learning_rate", plan.learning_rate), "bold"),
        (f"  {AUTHORITIES[plan.authority]}", MUTED),
    )
    whole = what + Content("  ") + rate
    return [whole] if whole.cell_length <= width else [*wrap(what, width, 0, 2), *wrap(rate, width, 2)]


def campaign_lines(campaign: CampaignView, current: int | None, width: int, *, tall: bool = False) -> list[Content]:
    """Return the lines of the panel.

    Args:
        campaign: its cycles.
        current: number of the selected run's cycle, or None.
        width: cells.
        tall: show counts and diversity, too.
    """
    if not campaign.cycles:
        return [assemble(("no cycle yet", MUTED))]
    if width < WIDE:
        return _narrow(campaign, current, width)
    count = min(len(campaign.cycles), max((width // 2 - LABEL) // CELL, 1))
    cycles = _newest(campaign, count)
    left = _table(campaign, cycles, current, tall=tall)
    left_width = LABEL + CELL * count
    room = width - left_width - 5
    right = _plan_lines(campaign.next, room, len(left))
    right += [Content()] * (len(left) - len(right))
    return [
        a.pad_right(max(left_width - a.cell_length, 0)) + Content.styled("  │  ", MUTED) + b
        for a, b in zip(left, right, strict=True)
    ]


def _newest(campaign: CampaignView, count: int) -> tuple[CycleView, ...]:
    """Return the newest cycles, and the best one among them however old it is."""
    newest = campaign.cycles[-count:]
    best = [c for c in campaign.cycles[:-count] if c.cycle == campaign.best_cycle]
    return (*best, *newest[1:]) if best else newest


def rate_name(campaign: CampaignView) -> str:
    """Return what kind of rate the cycles show: on held-out prompts, or on those that are trained on."""
    return "held-out" if any(cycle.held_out for cycle in campaign.cycles) else "verified"


def _checkpoint(cycle: int) -> str:
    return f"cycle {cycle}" if cycle else "the base model"


def _table(campaign: CampaignView, cycles: tuple[CycleView, ...], current: int | None, *, tall: bool) -> list[Content]:
    cut = len(cycles) < len(campaign.cycles)
    numbers: list[Part] = [(fit("cycle …" if cut else "cycle", LABEL), MUTED)]
    for cycle in cycles:
        best = cycle.cycle == campaign.best_cycle
        mark = "★ " if best else "● " if cycle.cycle == current else ""
        style = "bold $text-success" if best else "bold" if cycle.cycle == current else ""
        numbers.append((fit(f"{mark}{cycle.cycle}", CELL, right=True), style))
    rows = [
        assemble(*numbers),
        _row("LR", cycles, lambda c: metric("learning_rate", c.learning_rate)),
        _row(
            rate_name(campaign), cycles, lambda c: metric("verification_rate", c.verification_rate), campaign.best_cycle
        ),
    ]
    if tall:
        rows.append(_row("± 95 %", cycles, _half_interval))
        rows.append(_row("kept", cycles, lambda c: number(c.kept)))
    return rows


def _row(
    label: str, cycles: tuple[CycleView, ...], cell: Callable[[CycleView], str], best: int | None = None
) -> Content:
    parts: list[Part] = [(fit(label, LABEL), MUTED)]
    for cycle in cycles:
        text = cell(cycle)
        style = "bold $text-success" if cycle.cycle == best else MUTED if text == NOTHING else ""
        parts.append((fit(text, CELL, right=True), style))
    return assemble(*parts)


def _half_interval(cycle: CycleView) -> str:
    if cycle.interval is None:
        return NOTHING
    low, high = cycle.interval
    return f"±{(high - low) / 2 * 100:.1f}"


def _plan_lines(plan: NextCycle | None, width: int, height: int) -> list[Content]:
    if plan is None:
        return wrap(assemble(("no advice for a next cycle before one has a learning rate or a rate", MUTED)), width)
    lines = next_lines(plan, width)
    if plan.because and len(lines) < height:
        lines.append(assemble((cut_end(" · ".join(plan.because), width), MUTED)))
    text = wrap(assemble(plan.text), width) if plan.text else []
    room = height - len(lines)
    if len(text) > room > 0:
        text = [*text[: room - 1], assemble(cut_end(f"{text[room - 1].plain} …", width))]
    return lines + text[: max(room, 0)]


def _narrow(campaign: CampaignView, current: int | None, width: int) -> list[Content]:
    cycle = next((c for c in campaign.cycles if c.cycle == current), campaign.cycles[-1])
    now = assemble(
        ("cycle ", MUTED),
        (str(cycle.cycle), "bold"),
        (f"  {rate_name(campaign)} ", MUTED),
        (metric("verification_rate", cycle.verification_rate), "bold"),
        ("  LR ", MUTED),
        (metric("learning_rate", cycle.learning_rate), "bold"),
    )
    if campaign.next is None:
        return [now]
    return [now, *next_lines(campaign.next, width)]
