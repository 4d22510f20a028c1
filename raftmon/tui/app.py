"""The application: takes snapshots from its source's thread and shows them on the overview."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from rich.console import RenderableType
from textual.app import App, SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.events import Resize
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widget import Widget

from raftmon.errors import RaftmonError
from raftmon.model import RunView, Snapshot, Standstill
from raftmon.plain import plain
from raftmon.tui.announce import LOW_SECONDS, News, halts, most_news, news, short_notice
from raftmon.tui.bindings import EVERYWHERE, PAUSE, QUIT
from raftmon.tui.changer import Changer
from raftmon.tui.look import DEFAULT_THEME, THEMES, Ascii, Look
from raftmon.tui.mutes import Mutes, MutesArrived, MuteStore
from raftmon.tui.palette import commands, has_room
from raftmon.tui.screens.detail import DetailScreen
from raftmon.tui.screens.help import HelpSheet
from raftmon.tui.screens.overview import SHORT, Overview
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.source import Follower, SnapshotArrived, SnapshotFailed, SnapshotSource, SourceRefused
from raftmon.tui.state import BrokenState, StateFile
from raftmon.tui.terminal import require_terminal, tell_of_hangup
from raftmon.tui.text import STANDSTILLS, run_name, sentence
from raftmon.tui.widgets.status_bar import Status

__all__ = ["RaftmonApp", "SnapshotSource"]

HUNG_UP = 129
"""Exit code after the terminal is gone: that of a program which SIGHUP ends."""
HELD = 2.0
"""Seconds that notices wait for word on what is muted."""


class RaftmonApp(App[int]):
    """Live view of training runs.

    Nothing is drawn but what a new snapshot version, a key or the mouse changes; there is no clock and no
    animation, so that an idle screen costs no CPU.

    Args:
        source: polled in one worker thread, closed when the app ends.
        title: first word of the screen.
        interval: seconds after which the source is polled although nothing seems to have changed.
        look: colours and signs, and whether news pop up.
        state: how the screens were left the last time; None: nothing is kept.
        changer: writes the next cycle's learning rate; None: nothing can be written.
        mutes: keeps what is muted; None: it ends with the app.
    """

    VERTICAL_BREAKPOINTS = [(0, "-low"), (SHORT, "-high")]  # noqa: RUF012 - Textual declares it so
    # Absolute, because Textual looks for a relative one beside the module of a subclass.
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [PAUSE, *EVERYWHERE, QUIT]

    def __init__(
        self,
        source: SnapshotSource,
        *,
        title: str = "raftmon",
        interval: float = 0.5,
        look: Look | None = None,
        state: StateFile | None = None,
        changer: Changer | None = None,
        mutes: MuteStore | None = None,
    ) -> None:
        self._look = look or Look()
        self._state_file = state
        self._ascii = Ascii()
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._look.theme or DEFAULT_THEME
        self.title = title
        self.animation_level = "none"
        self.keys: dict[str, str] = {}
        """Keys by binding id, where settings changed them."""
        self.paused = False
        """Whether the view is frozen."""
        self.changer = changer
        """Writes the next cycle's learning rate; None: nothing can be written."""
        self.refusal: RaftmonError | None = None
        """Why the source could not be opened; None: it could."""
        self._follower = Follower(source, self.post_message, interval)
        self._latest: Snapshot | None = None
        self._shown: Snapshot | None = None
        self._error = ""
        self.mutes = Mutes(mutes)
        """Which findings make no notice."""
        self._held: list[News] = []
        self._halted: list[tuple[RunView, Standstill]] = []
        self._overview = Overview(title, changer, self.mutes)

    def run_in_terminal(self) -> int:
        """Run until somebody leaves; returns the exit code.

        Raises:
            RaftmonError: there is no terminal, or the source cannot be opened.
        """
        require_terminal()
        self.run()
        if self.refusal is not None:
            raise self.refusal
        return self.return_code or 0

    def get_default_screen(self) -> Screen[None]:
        """Begin with the overview."""
        return self._overview

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Have every line that goes out in ASCII, where that is wanted."""
        filters = super().get_line_filters()
        return [*filters, self._ascii] if self._look.ascii else filters

    def get_key_display(self, binding: Binding) -> str:
        """Return a key as people read it: its name where its sign cannot be printed."""
        shown = super().get_key_display(binding)
        return shown if shown.isascii() or not self._look.ascii else binding.key

    def on_mount(self) -> None:
        """Go on where the screens were left, and begin to poll."""
        self._resume()
        self._show_status()
        if not self.is_headless and not self.is_web:
            tell_of_hangup(lambda: self.call_later(self.exit, HUNG_UP, HUNG_UP))
        # What it imports and reads would else come before the first paint.
        self.call_after_refresh(self._follower.start)

    def on_unmount(self) -> None:
        """End the worker and close the source."""
        self._follower.stop()
        self.mutes.stop()

    def on_mutes_arrived(self, message: MutesArrived) -> None:
        """Show what is muted, and announce what is not."""
        trouble = self.mutes.take(message)
        if trouble:
            self.notify(trouble, title="Mutes are not kept", severity="warning", markup=False, timeout=10)
        self._tell()
        self._overview.show_mutes()
        for screen in self.screen_stack:
            if isinstance(screen, DetailScreen | Sheet):
                screen.show_mutes()

    def on_finding_sheet_muted(self) -> None:
        """Show behind the sheet what is muted."""
        self._overview.show_mutes()

    def on_snapshot_arrived(self, message: SnapshotArrived) -> None:
        """Show a snapshot, or keep it until the view is no longer frozen."""
        if self._latest is None:
            # Not before there is something to show, and long before the first notice.
            self.mutes.begin(self.post_message)
        self._announce(message.snapshot)
        self._latest = message.snapshot
        self._error = ""
        self._show_latest()

    def on_snapshot_failed(self, message: SnapshotFailed) -> None:
        """Say that there is no news, and why."""
        self._error = message.reason
        self._show_status()

    def on_source_refused(self, message: SourceRefused) -> None:
        """End: there is nothing to show."""
        self.refusal = message.error
        self.exit(message.error.exit_code, message.error.exit_code)

    def action_pause(self) -> None:
        """Freeze or free the view."""
        self.paused = not self.paused
        self._show_latest()

    def _resume(self) -> None:
        if self._state_file is None:
            return
        try:
            state = self._state_file.read()
        except BrokenState as error:
            self.notify(plain(str(error)), title="The view begins anew", severity="warning", markup=False)
            return
        if self._look.theme is None and state.theme in self.available_themes:
            self.theme = str(state.theme)
        self._overview.begin_with(state)

    def exit(self, result: int | None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """End, and keep how the screens were left."""
        if self._state_file is not None and self._overview.is_mounted:
            # Not to be able to keep it is no reason to stay.
            with contextlib.suppress(OSError):
                self._state_file.write(replace(self._overview.state, theme=self.theme))
        super().exit(result, return_code, message)

    def open_detail(self, screen: DetailScreen) -> None:
        """Show a screen about what is selected on the overview."""
        screen.show(self._shown, self._overview.run, self._overview.campaign)
        self.push_screen(screen)
        self._show_status()

    def pop_screen(self) -> AwaitComplete:
        """Close the screen on top, and have its widgets forget what they drew.

        Textual keeps up to 1,024 caches of drawn lines whose widgets are long gone (its issue 6665): some 25 MB after
        a day of opening and closing. `refresh` is the public way to empty one.
        """
        screen = self.screen
        popped = super().pop_screen()
        for widget in screen.walk_children(Widget, with_self=True):
            widget.refresh()
        return popped

    async def action_go(self, place: str) -> None:
        """Switch between the overview, Cycles and Run.

        Args:
            place: ``overview``, ``cycles`` or ``run``.
        """
        screen = self.screen
        if isinstance(screen, DetailScreen):
            if place == screen.PLACE:
                return
            self.pop_screen()
        if place != "overview":
            await self.run_action(place, self._overview)

    async def action_overview(self, action: str) -> None:
        """Do an action of the overview, whose selection all screens follow."""
        await self.run_action(action, self._overview)

    def action_help(self) -> None:
        """Show the keys, or close them again."""
        # Imported here: the first screen does without them.
        from raftmon.tui.keymap import groups

        if isinstance(self.screen, HelpSheet):
            self.screen.action_dismiss_sheet()
        else:
            self.push_screen(HelpSheet(groups(), self.keys))

    def action_command_palette(self) -> None:
        """Open the palette where it has room."""
        if has_room(self.size):
            super().action_command_palette()
        else:
            self.bell()

    def on_resize(self, event: Resize) -> None:
        """Close a palette that has no room any more."""
        if isinstance(self.screen, CommandPalette) and not has_room(event.size):
            self.pop_screen()

    def action_quit_now(self) -> None:
        """Leave."""
        self.exit(0)

    def set_keymap(self, keymap: Mapping[str, str]) -> None:
        """Change keys by binding id, also as the help shows them."""
        self.keys = dict(keymap)
        super().set_keymap(self.keys)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer every action of the present screen in the command palette."""
        return commands(self, screen, self.keys)

    def _show_latest(self) -> None:
        if not self.paused and self._latest is not None and self._latest is not self._shown:
            self._shown = self._latest
            self._overview.show(self._shown)
            for screen in self.screen_stack:
                if isinstance(screen, DetailScreen | Sheet):
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
        if not self._look.quiet:
            self._halted += halts(self._latest, snapshot)
            self._held += news(self._latest, snapshot)
        views = [*(item.view for item in self._held), *(run for run, _ in self._halted)]
        if views and self.mutes.ask(views):
            # Other processes mute, too; a journal that does not answer must not silence anything, though.
            self.set_timer(HELD, self._tell)
        else:
            self._tell()

    def _tell(self) -> None:
        self._tell_of_halts()
        found = [item for item in self._held if not self.mutes.holds(item.view, item.finding.rule)]
        self._held = []
        for item in found[: self._most_news]:
            grave = item.finding.severity == "critical"
            severity: SeverityLevel = "information" if item.ended else "error" if grave else "warning"
            self._notice(item.name, ": has ended" if item.ended else "", item.finding.title, severity)
        if found:
            self.bell()

    def _tell_of_halts(self) -> None:
        still = [(run, halt) for run, halt in self._halted if not self._is_muted_halt(run)]
        self._halted = []
        for run, halt in still[: self._most_news]:
            self._notice(run_name(run), f": {STANDSTILLS[halt.kind][1]}", sentence(halt.text), "error")
        if still:
            self.bell()

    def _is_muted_halt(self, run: RunView) -> bool:
        return any(finding.tells_standstill and self.mutes.holds(run, finding.rule) for finding in run.firing)

    @property
    def _is_low(self) -> bool:
        return self.size.height < SHORT

    @property
    def _most_news(self) -> int:
        return most_news(low=self._is_low)

    def _notice(self, name: str, what: str, text: str, severity: SeverityLevel) -> None:
        """Let news pop up; on a low terminal in two lines, and for a shorter time."""
        title, timeout = plain(name) + what, None
        if self._is_low:
            title, text, timeout = *short_notice(name, what, text, self.size.width), LOW_SECONDS
        self.notify(plain(text), title=title, severity=severity, markup=False, timeout=timeout)
