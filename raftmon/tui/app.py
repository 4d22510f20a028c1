"""The application: takes snapshots from its source's thread and shows them on the overview."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from raftmon.model import Snapshot
from raftmon.plain import plain
from raftmon.tui.announce import new_alarms
from raftmon.tui.screens.detail import DetailScreen
from raftmon.tui.screens.help import BindingGroup, HelpSheet
from raftmon.tui.screens.overview import Overview
from raftmon.tui.source import Follower, SnapshotArrived, SnapshotFailed, SnapshotSource
from raftmon.tui.widgets.charts_panel import ChartsPanel
from raftmon.tui.widgets.lines import LinesView
from raftmon.tui.widgets.runs_table import RunsTable
from raftmon.tui.widgets.status_bar import Status

__all__ = ["RaftmonApp", "SnapshotSource"]

MOST_ALARMS = 3
"""Notices for one snapshot; more would hide the screen."""


class RaftmonApp(App[int]):
    """Live view of training runs.

    Nothing is drawn but what a new snapshot version, a key or the mouse changes; there is no clock and no
    animation, so that an idle screen costs no CPU.

    Args:
        source: polled in one worker thread, closed when the app ends.
        title: first word of the screen.
        interval: seconds after which the source is polled although nothing seems to have changed.
    """

    # Absolute, because Textual looks for a relative one beside the module of a subclass.
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause", id="pause", tooltip="Freeze the view; reading goes on"),
        Binding("question_mark", "help", "Help", id="help", tooltip="Keys and signs"),
        Binding("q,ctrl+c", "quit_now", "Quit", id="quit", tooltip="Leave raftmon; the training is not touched"),
    ]

    def __init__(self, source: SnapshotSource, *, title: str = "raftmon", interval: float = 0.5) -> None:
        super().__init__()
        self.title = title
        self.animation_level = "none"
        self.keys: dict[str, str] = {}
        """Keys by binding id, where settings changed them."""
        self.paused = False
        """Whether the view is frozen."""
        self._follower = Follower(source, self.post_message, interval)
        self._latest: Snapshot | None = None
        self._shown: Snapshot | None = None
        self._error = ""
        self._overview = Overview(title)

    def get_default_screen(self) -> Screen[None]:
        """Begin with the overview."""
        return self._overview

    def on_mount(self) -> None:
        """Begin to poll."""
        self._show_status()
        self._follower.start()

    def on_unmount(self) -> None:
        """End the worker and close the source."""
        self._follower.stop()

    def on_snapshot_arrived(self, message: SnapshotArrived) -> None:
        """Show a snapshot, or keep it until the view is no longer frozen."""
        self._announce(message.snapshot)
        self._latest = message.snapshot
        self._error = ""
        self._show_latest()

    def on_snapshot_failed(self, message: SnapshotFailed) -> None:
        """Say that there is no news, and why."""
        self._error = message.reason
        self._show_status()

    def action_pause(self) -> None:
        """Freeze or free the view."""
        self.paused = not self.paused
        self._show_latest()

    def open_detail(self, screen: DetailScreen) -> None:
        """Show a screen about what is selected on the overview."""
        screen.show(self._shown, self._overview.run, self._overview.campaign)
        self.push_screen(screen)
        self._show_status()

    def action_help(self) -> None:
        """Show the keys."""
        # Imported here: the first screen does without it.
        from raftmon.tui.screens.run import RunScreen

        groups: list[BindingGroup] = [
            ("Everywhere", [*Overview.BINDINGS, *RaftmonApp.BINDINGS]),
            ("Runs", RunsTable.BINDINGS),
            ("Advice", LinesView.BINDINGS),
            ("Charts", ChartsPanel.BINDINGS),
            ("Run screen", RunScreen.BINDINGS),
        ]
        self.push_screen(HelpSheet(groups, self.keys))

    def action_quit_now(self) -> None:
        """Leave."""
        self.exit(0)

    def set_keymap(self, keymap: Mapping[str, str]) -> None:
        """Change keys by binding id, also as the help shows them."""
        self.keys = dict(keymap)
        super().set_keymap(self.keys)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer every action of the overview in the command palette."""
        yield from super().get_system_commands(screen)
        for binding in Overview.BINDINGS:
            if isinstance(binding, Binding) and binding.show and screen is self._overview:
                yield SystemCommand(binding.description, binding.tooltip, getattr(screen, f"action_{binding.action}"))

    def _show_latest(self) -> None:
        if not self.paused and self._latest is not None and self._latest is not self._shown:
            self._shown = self._latest
            self._overview.show(self._shown)
            for screen in self._details:
                screen.show(self._shown, self._overview.run, self._overview.campaign)
        self._show_status()

    @property
    def _details(self) -> list[DetailScreen]:
        return [screen for screen in self.screen_stack if isinstance(screen, DetailScreen)]

    def _show_status(self) -> None:
        waiting = self.paused and self._latest is not self._shown
        status = Status.of(self.title, self._latest, paused=self.paused, waiting=waiting, error=self._error)
        self._overview.show_status(status)
        for screen in self._details:
            screen.show_status(status)

    def _announce(self, snapshot: Snapshot) -> None:
        for name, finding in new_alarms(self._latest, snapshot)[:MOST_ALARMS]:
            grave = finding.severity == "critical"
            self.notify(plain(finding.title), title=plain(name), severity="error" if grave else "warning", markup=False)
