"""The columns of the table of cycles, and which of them fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from raftmon.model import CycleView, RunView
from raftmon.tui.text import MUTED, NOTHING, VERDICTS, metric, number, state_of

__all__ = ["BAR_WIDTH", "COLUMNS", "GAP", "LEAD", "CycleCell", "CycleColumn", "change_cell", "columns_for"]

CycleCell: TypeAlias = tuple[str, str]
"""Text and its style."""

GAP = 2
LEAD = 8
"""Cells before the columns: three marks, and the cycle's number."""
BAR_WIDTH = (17, 61)
"""Least and largest cells of the bars; odd, so that a middle is drawn in the middle."""
BAR_PRIORITY = 3
"""Columns with a smaller number are kept even if the bars then have no room."""
WORDS = {True: "real", False: "unsure", None: "?"}
"""Whether a difference is more than chance explains; it cannot be told of rates without a count."""
SPARK = 12


@dataclass(frozen=True, slots=True)
class CycleColumn:
    """A column beside the cycle's number and its bar."""

    title: str
    width: int
    """Cells, without the gap before it."""
    priority: int
    """The lowest are kept longest when there is little room."""
    cell: Callable[[CycleView, RunView | None], CycleCell]
    """Text and style for a cycle and its run, if that is there; the text is filled to the width."""
    right: bool = True
    after_bar: bool = True
    """Whether it stands to the right of the bars."""


def change_cell(cycle: CycleView) -> CycleCell:
    """Return how the rate differs from that of the judged cycle before, in percentage points, and what to make of it.

    It is told against which one in a column of its own: cycles without a rate may lie between.
    """
    change = cycle.change
    if change is None:
        return NOTHING, MUTED
    points = f"{change.difference * 100.0:+.1f}"
    if float(points) == 0.0:
        points = "0.0"
    text = f"{points} {WORDS[change.significant]}"
    if not change.significant:
        return text, MUTED
    return text, "bold $text-error" if change.difference < 0.0 else "bold $text-success"


def _series(run: RunView | None, role: str, *, median: bool = False) -> CycleCell:
    """Return the last value of a series, or the median of its finite ones."""
    series = run.series.get(role) if run is not None else None
    value = series.last if series is not None else None
    if series is not None and median:
        # Without a finite value the last one tells at least what they are.
        middle = series.median
        value = middle if middle is not None else value
    text = metric(role, value)
    if value is None:
        return text, MUTED
    return text, "" if value - value == 0.0 else "bold $text-error"


def _known(text: str) -> CycleCell:
    return text, MUTED if text == NOTHING else ""


def _spark(run: RunView | None) -> CycleCell:
    from raftmon.tui.raster import sparkline  # numpy comes with it, which the first paint does without

    loss = run.series.get("loss") if run is not None else None
    return (sparkline(loss.values, SPARK), "$primary") if loss is not None else (NOTHING, MUTED)


def _verdict(run: RunView | None) -> CycleCell:
    if run is None:
        return NOTHING, MUTED
    kind = run.verdict.learning_rate
    glyph, word, style = VERDICTS[kind]
    return f"{glyph} {word}" if kind == "undecided" else f"{glyph} {word} {run.verdict.confidence:.0%}", style


def _state(run: RunView | None) -> CycleCell:
    return state_of(run)[1:] if run is not None else (NOTHING, MUTED)


COLUMNS: tuple[CycleColumn, ...] = (
    CycleColumn("LR", 8, 1, lambda c, _: _known(metric("learning_rate", c.learning_rate)), after_bar=False),
    CycleColumn("rate", 8, 0, lambda c, _: _known(metric("verification_rate", c.verification_rate)), after_bar=False),
    CycleColumn("change", 12, 2, lambda c, _: change_cell(c), right=False),
    CycleColumn("vs", 3, 11, lambda c, _: _known(number(c.change.since if c.change is not None else None))),
    CycleColumn("kept", 6, 6, lambda c, _: _known(number(c.kept))),
    CycleColumn("judged", 6, 5, lambda c, _: _known(number(c.verified))),
    CycleColumn("unique", 6, 12, lambda c, _: _known(metric("verification_rate", c.unique_fraction))),
    CycleColumn("on trained", 10, 13, lambda c, _: _known(metric("verification_rate", c.training_rate))),
    CycleColumn("loss curve", SPARK, 14, lambda _, run: _spark(run), right=False),
    CycleColumn("last loss", 9, 4, lambda _, run: _series(run, "loss")),
    CycleColumn("med. grad", 9, 8, lambda _, run: _series(run, "grad_norm", median=True)),
    CycleColumn("med. entropy", 12, 9, lambda _, run: _series(run, "entropy", median=True)),
    CycleColumn("verdict", 14, 7, lambda _, run: _verdict(run), right=False),
    CycleColumn("state", 7, 10, lambda _, run: _state(run), right=False),
)
"""From left to right; the bars stand after those that come before them."""


def columns_for(width: int) -> tuple[list[CycleColumn], int]:
    """Return the columns that fit, and the cells of the bars: 0 where there is no room for them.

    Args:
        width: cells of the whole table.
    """
    room = width - LEAD
    kept: list[CycleColumn] = []
    bar = 0
    for column in sorted(COLUMNS, key=lambda column: column.priority):
        if column.priority >= BAR_PRIORITY and not bar:
            bar = BAR_WIDTH[0] if room >= BAR_WIDTH[0] + GAP else 0
            room -= bar + GAP if bar else 0
        # What comes next is less important: it must not take the place of what found no room.
        if column.width + GAP > room or (column.priority >= BAR_PRIORITY and not bar):
            break
        kept.append(column)
        room -= column.width + GAP
    if bar:
        bar = min(bar + max(room, 0), BAR_WIDTH[1])
    return [column for column in COLUMNS if column in kept], bar
