"""Why a run is taken to stand still, above the advice on it."""

from __future__ import annotations

from textual.content import Content

from raftmon.model import RunView
from raftmon.tui.text import assemble, sentence, state_of
from raftmon.tui.widgets.lines import wrap

__all__ = ["standstill_lines"]


def standstill_lines(run: RunView | None, width: int) -> list[Content]:
    """Return the word and the evidence; nothing for a run of which nothing is known beyond its state."""
    if run is None or run.standstill is None:
        return []
    glyph, word, style = state_of(run)
    return wrap(assemble((f"{glyph} {word.upper()}", style), f"  {sentence(run.standstill.text)}"), width, 0, 2)
