"""The columns of the table of runs, and which of them fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from raftmon.model import RunView
from raftmon.tui.text import MUTED, NOTHING, SEVERITIES, VERDICTS, metric, state_of, steps

__all__ = ["COLUMNS", "GAP", "LEAD", "NAME_COMFORT", "Column", "columns_for", "common_directory"]

NAME_WIDTH = (14, 40)
"""Least and largest width of the run's name."""
NAME_COMFORT = 24
"""Width of the name that the less telling columns leave."""
COMFORT_FROM = 4
"""Priority from which on a column counts as less telling."""
SPARK = 9
FINDINGS = 15
"""Cells of what fires: ``✖ 2 critical +2``."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column beside the run's name."""

    title: str
    width: int
    """Cells, without the gap before it."""
    priority: int
    """The lowest are kept longest when there is little room."""
    cell: Callable[[RunView], tuple[str, str]]
    """Text and style for a run; the text is cut or filled to the width."""
    right: bool = False


def _value(role: str) -> Callable[[RunView], tuple[str, str]]:
    def cell(run: RunView) -> tuple[str, str]:
        series = run.series.get(role)
        value = series.last if series is not None else None
        text = metric(role, value)
        if value is None:
            return text, MUTED
        return (text, "") if value - value == 0.0 else (text, "bold $text-error")

    return cell


def _learning_rate(run: RunView) -> tuple[str, str]:
    if "learning_rate" in run.series:
        return _value("learning_rate")(run)
    # Not logged: what was configured is better than nothing, and looks it.
    return metric("learning_rate", run.config.learning_rate), MUTED


def _verdict(run: RunView) -> tuple[str, str]:
    kind = run.verdict.learning_rate
    glyph, word, style = VERDICTS[kind]
    return f"{glyph} {word}" if kind == "undecided" else f"{glyph} {word} {run.verdict.confidence:.0%}", style


def _findings(run: RunView) -> tuple[str, str]:
    firing = run.firing
    if not firing:
        return "", MUTED
    order = list(SEVERITIES)
    worst = min(firing, key=lambda finding: order.index(finding.severity))
    glyph, word, style = SEVERITIES[worst.severity]
    alike = sum(finding.severity == worst.severity for finding in firing)
    rest = f" +{len(firing) - alike}" if len(firing) > alike else ""
    text = f"{glyph} {alike} {word}"
    # Rather none of the others than a number cut in its middle.
    return (text + rest if len(text + rest) <= FINDINGS else text), style


def _spark(run: RunView) -> tuple[str, str]:
    from raftmon.tui.raster import sparkline  # numpy comes with it, which the first paint does without

    loss = run.series.get("loss")
    return (sparkline(loss.values, SPARK), "$primary") if loss is not None else (NOTHING, MUTED)


COLUMNS: tuple[Column, ...] = (
    Column("dialect", 9, 9, lambda run: (run.dialect, MUTED)),
    Column("state", 7, 5, lambda run: state_of(run)[1:]),
    Column("cycle", 5, 6, lambda run: (NOTHING if run.cycle is None else str(run.cycle), ""), right=True),
    Column("step", 9, 3, lambda run: (steps(run), ""), right=True),
    Column("curve", SPARK, 4, _spark),
    Column("loss", 9, 2, _value("loss"), right=True),
    Column("LR", 8, 1, _learning_rate, right=True),
    Column("grad norm", 9, 7, _value("grad_norm"), right=True),
    Column("verdict", 15, 0, _verdict),
    Column("findings", FINDINGS, 8, _findings),
)
"""From left to right."""
GAP = 2
LEAD = 4
"""Cells before the name: the cursor, the state's glyph, and blanks."""


def columns_for(width: int, longest: int = NAME_COMFORT) -> tuple[list[Column], int]:
    """Return the columns that fit beside the name, and the width of the name.

    Args:
        width: cells of the whole table.
        longest: cells of the longest name; long ones cost the less telling columns.
    """
    kept: list[Column] = []
    room = width - LEAD - NAME_WIDTH[0]
    comfort = max(min(longest, NAME_COMFORT) - NAME_WIDTH[0], 0)
    for column in sorted(COLUMNS, key=lambda column: column.priority):
        spared = comfort if column.priority >= COMFORT_FROM else 0
        if column.width + GAP > room - spared:
            continue
        kept.append(column)
        room -= column.width + GAP
    name = min(NAME_WIDTH[0] + room, NAME_WIDTH[1])
    return [column for column in COLUMNS if column in kept], max(name, 1)


def common_directory(names: list[str]) -> str:
    """Return the directories that all of several names begin with, slash included; empty if there are none."""
    if len(names) < 2:
        return ""
    # Whatever the first and last in order share, all in between share.
    first, last = min(names), max(names)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))))
    return first[: first.rfind("/", 0, shared) + 1]
