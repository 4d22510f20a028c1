"""The keys at the bottom of a screen, in one line.

Textual's Footer makes a widget for each key anew whenever a screen opens, and what it bound to their data keeps the old
ones in memory. This line has no children and makes nothing.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.strip import Strip

from raftmon.tui.text import assemble
from raftmon.tui.widgets.lines import Inked

__all__ = ["KeysBar"]


class KeysBar(Inked):
    """The bindings that are shown and work now, as key and name; a click on one does what its key does."""

    DEFAULT_CSS = """
    KeysBar { height: 1; dock: bottom; padding-left: 1; background: $footer-background; color: $footer-foreground; }
    """
    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[tuple[str, str, str]] = []

    @property
    def shown_keys(self) -> list[tuple[str, str, str]]:
        """Key as Textual names it, as people read it, and what it does."""
        return self._keys

    def on_mount(self) -> None:
        """Follow the keys of the screen."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self._changed(self.screen)

    def on_unmount(self) -> None:
        """Follow them no longer."""
        self.screen.bindings_updated_signal.unsubscribe(self)

    def _changed(self, screen: Screen[object]) -> None:
        if screen is not self.screen or not self.is_attached:
            return
        by_action: dict[str, Binding] = {}
        for _, binding, enabled, _ in screen.active_bindings.values():
            if binding.show and enabled:
                by_action.setdefault(binding.action, binding)
        found = [(b.key, self.app.get_key_display(b), b.description) for b in by_action.values()]
        if found != self._keys:
            self._keys = found
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does."""
        end = 0
        for key, shown, name in self._keys:
            end += _entry(shown, name).cell_length
            # A click on the padding counts for the first one.
            if event.x - self.styles.padding.left < end:
                self.app.simulate_key(key)
                return

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is one line only
        """Draw the keys; what has no room is left out whole."""
        width = self.size.width
        line = Content()
        for _, shown, name in self._keys:
            entry = _entry(shown, name)
            if line.cell_length + entry.cell_length - 1 > width:
                break
            line += entry
        return self.strip(line, width)


def _entry(shown: str, name: str) -> Content:
    return assemble((shown, "bold $footer-key-foreground"), (f" {name} ", "$footer-description-foreground"))
