"""The command palette: every action that works on the present screen, by its name, with its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from textual.app import App, SystemCommand
from textual.dom import DOMNode
from textual.geometry import Size
from textual.screen import Screen

from raftmon.tui.bindings import EVERYWHERE, bindings_of, key_names
from raftmon.tui.screens.overview import Overview
from raftmon.tui.widgets.charts_panel import ChartsPanel
from raftmon.tui.widgets.runs_table import RunsTable

__all__ = ["commands", "has_room"]

LEAST_WIDTH, LEAST_HEIGHT = 20, 8
"""Columns and lines of the terminal from which on the palette has room; Textual's list breaks with none."""


def has_room(size: Size) -> bool:
    """Tell whether a terminal has room for the palette."""
    return size.width >= LEAST_WIDTH and size.height >= LEAST_HEIGHT


def commands(app: App[int], screen: Screen[object], keymap: Mapping[str, str]) -> Iterator[SystemCommand]:
    """Return the actions of a screen, of its panels, and those that work everywhere; none twice.

    Textual's own are left out but for the choice of a theme: they would maximize what has a place of its own, write
    files elsewhere, and show the keys a second time.

    Args:
        app: does them.
        screen: the one that the palette is opened over.
        keymap: keys by binding id, where settings changed them.
    """
    seen: set[object] = set()
    for node in _nodes(app, screen):
        # What is done behind a sheet is not to be seen.
        for binding in EVERYWHERE if node is app and screen.is_modal else bindings_of(type(node)):
            name = binding.tooltip or binding.description
            # What is called the same, and what does the same: keys that close, or leave, have several bindings.
            same = {name, binding.action if binding.action.startswith("app.") else (id(node), binding.action)}
            if same & seen or binding.action == "app.command_palette":
                continue
            seen |= same
            key = key_names(keymap.get(binding.id or "", binding.key))
            yield SystemCommand(name, f"key: {key}", partial(_do, app, binding.action, node))
    yield SystemCommand("Choose another theme", "colours; kept for the next time", app.action_change_theme)
    if isinstance(screen, Overview):
        where, mute = (key_names(keymap.get(name, key)) for name, key in (("explain", "enter"), ("finding-mute", "m")))
        explain = partial(_do, app, "explain", screen)
        yield SystemCommand(
            "Mute or unmute a finding for its run", f"opens the explanation; key: {where}, {mute}", explain
        )


def _nodes(app: App[int], screen: Screen[object]) -> list[DOMNode]:
    """Return what has actions, the screen first; the panels of the overview have theirs without the focus, too."""
    panels = [node for node in screen.query("*") if isinstance(node, (RunsTable, ChartsPanel))]
    focused = screen.focused
    around = [node for node in focused.ancestors_with_self if node not in (screen, app, *panels)] if focused else []
    return [screen, *panels, *around, app]


def _do(app: App[int], action: str, node: DOMNode) -> None:
    app.call_later(app.run_action, action, node)
