"""The base of the screens beside the overview: they follow its selection, and lead back to it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from raftmon.model import CampaignView, RunView, Snapshot
from raftmon.tui.bindings import SCREENS
from raftmon.tui.widgets.keys_bar import KeysBar
from raftmon.tui.widgets.status_bar import Status, StatusBar

__all__ = ["DetailScreen"]


class DetailScreen(Screen[None]):
    """A whole screen about the run or campaign that is selected on the overview; asks nobody for data.

    Args:
        title: first word of the status bar.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Overview", id="leave", tooltip="Back to the overview"),
        # Their line of keys has room for their own.
        *(replace(binding, show=False) for binding in SCREENS),
    ]
    PLACE: ClassVar[str] = ""
    """What the key that leads here calls it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._status = Status(title)
        self.snapshot: Snapshot | None = None
        self.run: RunView | None = None
        self.campaign: CampaignView | None = None

    def compose(self) -> ComposeResult:
        """Lay out the status bar, what the screen is about, and the keys."""
        yield StatusBar(self._title)
        yield from self.compose_content()
        yield KeysBar()

    @abstractmethod
    def compose_content(self) -> ComposeResult:
        """Make the widgets between status bar and keys."""

    @abstractmethod
    def draw(self) -> None:
        """Show what `snapshot`, `run` and `campaign` are now; called when they changed, and on another size."""

    def show(self, snapshot: Snapshot | None, run: RunView | None, campaign: CampaignView | None) -> None:
        """Show another state, or another selection."""
        self.snapshot, self.run, self.campaign = snapshot, run, campaign
        if self.is_mounted:
            self.draw()

    def show_mutes(self) -> None:
        """Show what the journal has told; most screens show nothing of it."""

    def show_status(self, status: Status) -> None:
        """Show how the watching goes."""
        self._status = status
        if self.is_mounted:
            self.query_one(StatusBar).show(status)

    def on_mount(self) -> None:
        """Begin with what is known."""
        self.query_one(StatusBar).show(self._status)
        self.draw()

    def on_resize(self) -> None:
        """Draw for the size."""
        self.draw()

    def action_leave(self) -> None:
        """Go back to the overview."""
        self.dismiss(None)
