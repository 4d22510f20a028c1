"""The line in which a filter is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from raftmon.tui.bindings import keys_of
from raftmon.tui.widgets.keys_bar import KeysBar

__all__ = ["FilterBar"]


class FilterBar(Horizontal):
    """Hidden until it is opened; filters while one types, enter keeps the filter, escape drops it."""

    DEFAULT_CSS = """
    FilterBar {
        height: 1;
        display: none;
        padding: 0 1;
        & Label { width: auto; color: $text-primary; text-style: bold; }
        & #filter-error { color: $text-error; }
        & Input { width: 1fr; height: 1; border: none; padding: 0; background: transparent; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        # Before the line itself gets them.
        Binding("enter", "keep", "Keep", show=False, id="filter-keep", tooltip="Keep the filter", priority=True),
        Binding("escape", "drop", "Drop", show=False, id="filter-drop", tooltip="Show all runs again", priority=True),
    ]

    class Closed(Message):
        """The line was closed; the filter may stay."""

    def compose(self) -> ComposeResult:
        """Lay out the line."""
        yield Label("filter /")
        line = Input(compact=True)
        line.cursor_blink = False
        yield line
        yield Label(id="filter-error", markup=False)

    def open(self) -> None:
        """Show the line and type into it."""
        self.display = True
        self.screen.query_one(KeysBar).display = False
        self.query_one(Input).focus()

    def on_descendant_focus(self) -> None:
        """Name the keys that close the line, as they are now."""
        keys = keys_of(self.screen)
        keep, drop = keys.get("filter-keep", "enter"), keys.get("filter-drop", "esc")
        self.query_one(Input).placeholder = f"word   !word   /pattern/   {keep} keeps it, {drop} drops it"

    def complain(self, error: str) -> None:
        """Say why the text is no filter; nothing if it is one."""
        self.query_one("#filter-error", Label).update(error)

    def clear(self) -> None:
        """Drop the filter."""
        self.query_one(Input).value = ""

    def action_keep(self) -> None:
        """Keep the filter and go back to the runs."""
        self._close()

    def action_drop(self) -> None:
        """Drop the filter and go back to the runs."""
        self.clear()
        self._close()

    def _close(self) -> None:
        self.display = False
        self.screen.query_one(KeysBar).display = True
        self.post_message(self.Closed())
