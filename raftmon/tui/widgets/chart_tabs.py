"""The names of the charts in a line, where only one chart has room."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.strip import Strip

from raftmon.slotted import dataclass
from raftmon.tui.text import MUTED, Part, assemble
from raftmon.tui.widgets.lines import Inked

__all__ = ["ChartTab", "ChartTabs", "PlacedTab", "placed_tabs", "tabs_line"]

MORE = 2
"""Cells at an end for the mark of tabs that have no room."""
HINT = "next chart"
"""What stands at the right end, behind the key."""


@dataclass(frozen=True, slots=True)
class ChartTab:
    """A chart that can be shown."""

    role: str
    name: str
    """Short, printable."""
    missing: bool = False
    """Whether the run does not log it."""


@dataclass(frozen=True, slots=True)
class PlacedTab:
    """A tab in the line."""

    tab: ChartTab
    start: int
    """Cell of the line, from 0."""
    text: str
    """Between brackets if it is the present one, else between blanks."""


def placed_tabs(tabs: tuple[ChartTab, ...], present: str, width: int) -> list[PlacedTab]:
    """Return the tabs that fit, none of them cut, the present one among them.

    Args:
        tabs: all, in their order.
        present: role of the one that is shown.
        width: cells.
    """
    texts = [f"[{tab.name}]" if tab.role == present else f" {tab.name} " for tab in tabs]
    at = next((index for index, tab in enumerate(tabs) if tab.role == present), 0)
    first = 0
    # Those before it give way, as few as will do.
    while (
        first < at and sum(map(cell_len, texts[first : at + 1])) + MORE * ((first > 0) + (at + 1 < len(tabs))) > width
    ):
        first += 1
    start = MORE if first else 0
    placed: list[PlacedTab] = []
    for index, (tab, text) in enumerate(zip(tabs[first:], texts[first:], strict=True), first):
        if start + cell_len(text) + (MORE if index + 1 < len(tabs) else 0) > width:
            break
        placed.append(PlacedTab(tab, start, text))
        start += cell_len(text)
    return placed


def tabs_line(tabs: tuple[ChartTab, ...], present: str, width: int, key: str = "") -> Content:
    """Return the line: the present tab in bold between brackets, an ellipsis where tabs have no room.

    Args:
        tabs: all, in their order.
        present: role of the one that is shown.
        width: cells.
        key: changes to the next one; named at the right end where there is room. Empty: there is none.
    """
    placed = placed_tabs(tabs, present, width)
    if not placed:
        return Content()
    parts: list[Part] = [("… ", MUTED)] if placed[0].start else []
    for one in placed:
        style = "bold $text-primary" if one.tab.role == present else MUTED if one.tab.missing else ""
        parts.append((one.text, style))
    if placed[-1].tab != tabs[-1]:
        parts.append((" …", MUTED))
    line = assemble(*parts)
    hint = assemble((f"{key}: {HINT}", MUTED))
    gap = width - line.cell_length - hint.cell_length
    return line + Content(" " * gap) + hint if key and gap >= 2 and len(tabs) > 1 else line


class ChartTabs(Inked):
    """The line; a click on a name asks for that chart."""

    DEFAULT_CSS = "ChartTabs { height: 1; }"

    class Chosen(Message):
        """A tab was clicked.

        Args:
            role: of its chart.
        """

        def __init__(self, role: str) -> None:
            super().__init__()
            self.role = role

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._tabs: tuple[ChartTab, ...] = ()
        self._present = ""

    def show(self, tabs: tuple[ChartTab, ...], present: str) -> None:
        """Change the line; nothing is repainted if it stays the same."""
        if (tabs, present) != (self._tabs, self._present):
            self._tabs, self._present = tabs, present
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Ask for the chart under the mouse."""
        for one in placed_tabs(self._tabs, self._present, self.size.width):
            if one.start <= event.x < one.start + cell_len(one.text):
                self.post_message(self.Chosen(one.tab.role))

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is one line only
        """Draw the line."""
        return self.strip(tabs_line(self._tabs, self._present, self.size.width, self._key), self.size.width)

    @property
    def _key(self) -> str:
        """The key that shows the next chart, as people read it; empty without one."""
        bindings = (active.binding for active in self.screen.active_bindings.values())
        return next((self.app.get_key_display(b) for b in bindings if b.action == "next_chart"), "")
