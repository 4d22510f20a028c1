"""The base of what opens over the overview: a title, lines, and a way back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from raftmon.tui.bindings import HELP, keys_of
from raftmon.tui.widgets.lines import Heading, LinesView

__all__ = ["Sheet"]

SMALL = 28
"""Lines of the terminal below which a sheet leaves no margin."""


class Sheet(ModalScreen[None]):
    """Lines in a box; escape, `q` or the key that opened it closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss_sheet", "Close", id="close", tooltip="Close what is open"),
        HELP,
    ]
    TITLE_TEXT: ClassVar[str] = ""

    def compose(self) -> ComposeResult:
        """Lay out the box."""
        with Vertical(classes="sheet"):
            yield Heading(self.TITLE_TEXT)
            yield LinesView(self.lines, id="text")
            yield LinesView(lambda _: [Content.styled(self.hint(), "$text-primary")], id="hint")

    def on_mount(self) -> None:
        """Say what the sheet is about, and let the keys scroll it."""
        self.query_one(Heading).show(self.detail())
        self.query_one("#hint").can_focus = False
        self.query_one("#text").focus()

    def on_resize(self) -> None:
        """Take the whole of a small terminal: what is behind the sheet could not be read anyway."""
        self.set_class(self.size.height < SMALL, "-small")

    @abstractmethod
    def lines(self, width: int) -> list[Content]:
        """Return the text of the sheet, for a width in cells; each sheet says its own."""

    def detail(self) -> str:
        """Return what stands beside the title."""
        return ""

    def hint(self) -> str:
        """Return the keys of the sheet."""
        return self.key_hints([("close", "close")])

    def key_hints(self, wanted: Sequence[tuple[str, str]]) -> str:
        """Return keys with what they do, as they are now, settings regarded; those that scroll come last.

        Args:
            wanted: ids of bindings, several with a blank between them, and what they do; what no key does is left out.
        """
        keys = keys_of(self)
        words = []
        for names, what in (*wanted, ("lines-up lines-down", "scroll")):
            ours = [keys[name] for name in names.split() if name in keys]
            # Arrows say what they are side by side, letters do not.
            words += [f"{(' ' if any(map(str.isalnum, ours)) else '').join(ours)} {what}"] if ours else []
        return " · ".join(words)

    def renew(self) -> None:
        """Show the lines again after they changed."""
        self.query_one(Heading).show(self.detail())
        self.query_one("#text", LinesView).show(self.lines, from_top=True)

    def action_dismiss_sheet(self) -> None:
        """Go back."""
        self.dismiss(None)
