"""The legend of the Run screen: what the marks and letters in its charts mean."""

from __future__ import annotations

from itertools import groupby

from textual.content import Content

from raftmon.model import RunView
from raftmon.tui.overlay import LETTERS, Marks
from raftmon.tui.text import MUTED, Part, assemble, cut_middle, plural, run_name
from raftmon.tui.widgets.lines import wrap
from raftmon.tui.widgets.run_charts import Event, Subject
from raftmon.tui.widgets.run_columns import common_directory

__all__ = ["legend_lines"]

NAME_WIDTH = 28
"""Cells of a marked run's name."""


def legend_lines(subject: Subject, marks: Marks, width: int, most: int) -> list[Content]:
    """Return what the charts' marks mean, the gravest first, then the marked runs.

    Args:
        subject: what is drawn.
        marks: the marked runs.
        width: cells.
        most: lines; what does not fit ends in an ellipsis.
    """
    shared = common_directory([run_name(run) for run in subject.others.values()])
    parts: list[list[Part]] = [_run(letter, run, subject, shared) for letter, run in subject.others.items()]
    if marks.left_out:
        parts.append([(f"{plural(marks.left_out, 'more marked run')} not drawn: {len(LETTERS)} at most", MUTED)])
    parts += [_event(list(events)) for _, events in groupby(reversed(subject.events), key=lambda e: (e.glyph, e.text))]
    if not parts:
        return []
    joined: list[Part] = []
    for part in parts:
        joined += [("   ", ""), *part] if joined else part
    lines = wrap(assemble(*joined), width)
    if len(lines) > most:
        lines = [*lines[: most - 1], (lines[most - 1] + Content(" …")).truncate(width, ellipsis=True)]
    return lines


def _event(events: list[Event]) -> list[Part]:
    first = events[-1]
    numbers = [event.number for event in reversed(events) if event.number is not None]
    if numbers:
        which = f"cycle {numbers[0]} begins" if len(numbers) == 1 else f"cycles {_several(numbers)} begin"
        return [(first.glyph, "bold $text-warning"), (f" {which} (step {first.step:.0f})", MUTED)]
    times = f" ×{len(events)}" if len(events) > 1 else ""
    return [(first.glyph, "bold $text-warning"), (f" {first.text}{times} (step {first.step:.0f})", MUTED)]


def _several(numbers: list[int]) -> str:
    """Return ``2–6`` for numbers without a gap, else all of them."""
    whole = numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}–{numbers[-1]}" if whole else ", ".join(map(str, numbers))


def _run(letter: str, run: RunView, subject: Subject, shared: str) -> list[Part]:
    drawn = letter in subject.drawn_others or letter == subject.own_letter
    reason = "" if drawn else f" (logs no {subject.axis.kind})"
    return [(letter, "bold"), (f" {cut_middle(run_name(run).removeprefix(shared), NAME_WIDTH)}{reason}", MUTED)]
