"""The keys, from the bindings themselves, and what the glyphs mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, SEVERITIES, STANDSTILLS, STATES, VERDICTS, assemble, fit
from raftmon.tui.widgets.lines import wrap

__all__ = ["BindingGroup", "HelpSheet", "help_lines", "key_names"]

BindingGroup = tuple[str, Sequence[BindingType]]
"""Where the keys work, and their bindings."""
KEY_WIDTH = 16
SIGNS = {
    "question_mark": "?",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "escape": "esc",
}


def key_names(keys: str) -> str:
    """Return keys as people read them: ``down,j`` gives ``↓ j``."""
    return " ".join(SIGNS.get(key.strip(), key.strip()) for key in keys.split(","))


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
        for binding in bindings:
            if isinstance(binding, Binding):
                keys = key_names(keymap.get(binding.id or "", binding.key))
                text = assemble((fit(keys, KEY_WIDTH), "$text-primary"), binding.tooltip or binding.description)
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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "dismiss_sheet", "Close", show=False, id="help-close", tooltip="Back to the overview"),
    ]

    def __init__(self, groups: Sequence[BindingGroup], keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._groups = groups
        self._keymap = keymap

    def lines(self, width: int) -> list[Content]:
        """Return the keys and signs."""
        return help_lines(self._groups, self._keymap, width)
