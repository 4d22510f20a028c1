"""The table of a campaign: one row a cycle, its rate as a bar on a scale that all rows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from textual.content import Content

from raftmon.model import CampaignView, CycleView, RunView
from raftmon.tui.belonging import is_cycle_of
from raftmon.tui.text import MUTED, Part, assemble, fit
from raftmon.tui.widgets.campaign_panel import rate_name
from raftmon.tui.widgets.cycle_columns import GAP, CycleColumn, columns_for
from raftmon.tui.widgets.interval_bar import RateScale, interval_bar

__all__ = ["CycleTable", "header_lines", "row_lines", "runs_of"]

SELECTED, BEST, BACK = ">", "★", "↩"
"""Marks of the selected run's cycle, of the best one, and of the one whose checkpoint is to be trained on."""


@dataclass(frozen=True, slots=True)
class CycleTable:
    """What the rows are made of."""

    campaign: CampaignView
    runs: dict[int, RunView] = field(default_factory=dict)
    """Cycle to its run, where that is in the snapshot."""
    current: int | None = None
    """Number of the selected run's cycle; None: no run, or one without a cycle."""

    @property
    def best(self) -> CycleView | None:
        """The cycle with the best rate."""
        return next((c for c in self.campaign.cycles if c.cycle == self.campaign.best_cycle), None)

    @property
    def current_row(self) -> int:
        """Index of the selected cycle's row; of the newest where none is selected."""
        numbers = [cycle.cycle for cycle in self.campaign.cycles]
        return numbers.index(self.current) if self.current in numbers else max(len(numbers) - 1, 0)


def runs_of(campaign: CampaignView, runs: Sequence[RunView]) -> dict[int, RunView]:
    """Return the runs that a campaign's cycles are known by, by the number of the cycle.

    Two logdirs may hold campaigns, and runs, of the same names: those of the other one lie at other paths.
    """
    ours = {run.run: run for run in runs if is_cycle_of(run, campaign)}
    return {cycle.cycle: ours[cycle.run] for cycle in campaign.cycles if cycle.run is not None and cycle.run in ours}


def header_lines(table: CycleTable, width: int) -> list[Content]:
    """Return the titles of the columns; above the bars the ends of their scale."""
    columns, bar = columns_for(width)
    scale = RateScale.of(table.campaign.cycles)
    parts: list[Part] = [("   cycle", MUTED)]
    for column, cells in _laid_out(columns, bar):
        if column is None:
            text = scale.labels(cells) if scale is not None else " " * cells
        else:
            title = rate_name(table.campaign) if column.title == "rate" else column.title
            text = fit(title, cells, right=column.right)
        parts.append((" " * GAP + text, MUTED))
    return [assemble(*parts)]


def row_lines(table: CycleTable, width: int) -> list[Content]:
    """Return one line a cycle, oldest first."""
    columns, bar = columns_for(width)
    scale = RateScale.of(table.campaign.cycles)
    return [_row(table, cycle, columns, bar, scale) for cycle in table.campaign.cycles]


def _laid_out(columns: Sequence[CycleColumn], bar: int) -> list[tuple[CycleColumn | None, int]]:
    """Return columns with their cells from left to right; None is that of the bars."""
    before = [(column, column.width) for column in columns if not column.after_bar]
    after = [(column, column.width) for column in columns if column.after_bar]
    return [*before, *([(None, bar)] if bar else []), *after]


def _row(
    table: CycleTable, cycle: CycleView, columns: Sequence[CycleColumn], bar: int, scale: RateScale | None
) -> Content:
    run = table.runs.get(cycle.cycle)
    is_best = cycle.cycle == table.campaign.best_cycle
    is_current = cycle.cycle == table.current
    advice = table.campaign.next
    goes_back = advice is not None and advice.roll_back_to == cycle.cycle
    style = "bold $text-success" if is_best else "bold" if is_current else ""
    parts: list[Part] = [
        (SELECTED if is_current else " ", "bold"),
        (BEST if is_best else " ", "bold $text-success"),
        (BACK if goes_back else " ", "bold $text-warning"),
        (fit(str(cycle.cycle), 5, right=True), style),
    ]
    for column, cells in _laid_out(columns, bar):
        parts.append(" " * GAP)
        if column is None:
            parts += _bar_parts(table, cycle, scale, cells, style)
            continue
        text, own = column.cell(cycle, run)
        parts.append((fit(text, cells, right=column.right), style if column.title == "rate" and not own else own))
    return assemble(*parts)


def _bar_parts(table: CycleTable, cycle: CycleView, scale: RateScale | None, width: int, style: str) -> list[Part]:
    """Return the bar: its interval in the row's style, the mark of the best rate pale."""
    if scale is None:
        return [" " * width]
    best = table.best.verification_rate if table.best is not None else None
    text = interval_bar(cycle, scale, width, best)
    return [(cell, MUTED if cell == ":" else style) for cell in _pieces(text)]


def _pieces(text: str) -> list[str]:
    """Split a bar at the mark of the best rate."""
    before, mark, after = text.partition(":")
    return [piece for piece in (before, mark, after) if piece]
