"""The keys, from the bindings themselves, and what the glyphs mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from textual.binding import BindingType
from textual.content import Content

from raftmon.tui.bindings import key_names, only_bindings
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, SEVERITIES, STANDSTILLS, STATES, VERDICTS, assemble, fit
from raftmon.tui.widgets.lines import wrap

__all__ = ["BindingGroup", "HelpSheet", "help_lines"]

BindingGroup = tuple[str, Sequence[BindingType]]
"""Where the keys work, and their bindings."""
KEY_WIDTH = 16
"""Cells for the keys, with the gap behind them."""


def help_lines(groups: Iterable[BindingGroup], keymap: Mapping[str, str], width: int) -> list[Content]:
    """Return every key with what it does, then the legend.

    Args:
        groups: bindings by where they work.
        keymap: keys by binding id, where the user's settings change them.
        width: cells.
    """
    lines: list[Content] = []
    for title, bindings in groups:
        lines.append(assemble((title, "bold")))
        for binding in only_bindings(bindings):
            keys = key_names(keymap.get(binding.id or "", binding.key))
            # Many keys take more than their column: none of them may be cut.
            named = fit(keys, KEY_WIDTH - 1) if len(keys) < KEY_WIDTH else keys
            text = assemble((f"{named} ", "$text-primary"), binding.tooltip or binding.description)
            lines += wrap(text, width, 2, KEY_WIDTH + 2)
        lines.append(Content())
    lines.append(assemble(("Signs", "bold")))
    for name, entries in (
        ("learning rate", VERDICTS.values()),
        ("run", (*STATES.values(), *STANDSTILLS.values())),
        ("finding", SEVERITIES.values()),
    ):
        signs = [part for glyph, word, style in entries for part in ((f"{glyph} {word}", style), "   ")]
        lines += wrap(assemble((fit(name, KEY_WIDTH), MUTED), *signs), width, 2, KEY_WIDTH + 2)
    return lines


class HelpSheet(Sheet):
    """Keys and signs."""

    TITLE_TEXT = "HELP"

    def __init__(self, groups: Sequence[BindingGroup], keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._groups = groups
        self._keymap = keymap

    def lines(self, width: int) -> list[Content]:
        """Return the keys and signs."""
        return help_lines(self._groups, self._keymap, width)
