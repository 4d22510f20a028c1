"""The one place of the screen that writes: the next cycle's learning rate, into the trainer's config, after a yes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.content import Content

from raftmon.model import CampaignView, RunView
from raftmon.tui.apply_pages import ApplyPages, Page, working
from raftmon.tui.changer import Changer
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.widgets.apply_panel import grounds_of
from raftmon.tui.widgets.lines import LinesView

__all__ = ["READ_ONLY", "ApplySheet"]

READ_ONLY = "Nothing can be written here: start `raftmon watch LOGDIR --config NEXT_CYCLES_CONFIG --apply`."
LOOKING = "working out the next cycle's learning rate"


class ApplySheet(Sheet):
    """Shows what would be written and why, and writes it, or takes it back, when a person says yes.

    What touches files runs in a thread, a daemon: a disk that hangs must neither freeze the screen nor keep the program
    from ending. A write that is cut off there is made good by the journal.

    Args:
        changer: writes.
        run: the selected one, and
        campaign: its campaign: what is known of their rules is told beside the arithmetic.
    """

    TITLE_TEXT = "APPLY"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "agree", "Yes", show=False, id="apply-yes", tooltip="Yes: write it, or take it back"),
        Binding("u", "undo", "Undo", show=False, id="apply-undo", tooltip="Take back the last override, after a yes"),
        Binding("c", "copy", "Copy", show=False, id="apply-copy", tooltip="Copy the diff to the clipboard"),
        Binding("r", "look", "Again", show=False, id="apply-again", tooltip="Work it out again"),
        Binding("a", "dismiss_sheet", "Close", show=False, id="apply-close", tooltip="Close it again"),
    ]

    def __init__(self, changer: Changer, run: RunView | None, campaign: CampaignView | None) -> None:
        super().__init__()
        self._pages = ApplyPages(changer, grounds_of(run, campaign), campaign.next if campaign is not None else None)
        self._page = working(LOOKING)
        self._under_way = False
        self.at_rest = threading.Event()
        """Set once the thread has handed on what came of it."""

    def on_mount(self) -> None:
        """Begin to work it out."""
        super().on_mount()
        self._begin(LOOKING, self._pages.look, tell=False)

    def lines(self, width: int) -> list[Content]:
        """Return the present page."""
        return self._page.build(width)

    def detail(self) -> str:
        """Return how far it is."""
        return self._page.state

    def hint(self) -> str:
        """Return the keys that do something now."""
        wanted = [("close", "close")]
        if not self._page.busy:
            wanted = [
                *([("apply-yes", self._page.ask)] if self._page.ask else []),
                *wanted,
                ("apply-undo", "undo"),
                *([("apply-copy", "copy diff")] if self._page.diff else []),
                ("apply-again", "again"),
            ]
        return self.key_hints(wanted)

    def renew(self) -> None:
        """Show another page and its keys."""
        super().renew()
        self.query_one("#hint", LinesView).show(lambda _: [Content.styled(self.hint(), "$text-primary")])

    def action_agree(self) -> None:
        """Do what the page asks for."""
        page = self._page
        if page.agree is not None:
            self._begin(page.doing, page.agree, tell=True)
        elif not page.busy:
            self.notify("There is nothing to say yes to on this page.", severity="warning", timeout=3)

    def action_undo(self) -> None:
        """Show what the last override changed, and ask whether to take it back."""
        self._begin("looking for the last override", self._pages.look_back, tell=False)

    def action_look(self) -> None:
        """Work it out again."""
        self._begin(LOOKING, self._pages.look, tell=False)

    def action_copy(self) -> None:
        """Copy the diff as plain text."""
        if self._page.diff:
            self.app.copy_to_clipboard(self._page.diff)
        said = "The diff is on the clipboard." if self._page.diff else "There is no diff to copy on this page."
        self.notify(said, timeout=2)

    def _begin(self, doing: str, work: Callable[[], Page], *, tell: bool) -> None:
        """Do something in a thread and show the page that comes of it.

        Args:
            doing: what is under way.
            work: may block.
            tell: whether the result is told also if the sheet is closed meanwhile.
        """
        if self._under_way:
            return
        self._under_way = True
        self.at_rest.clear()
        self._show(working(doing))
        app: App[Any] = self.app
        threading.Thread(target=self._work, args=(app, work, tell), name="raftmon-apply", daemon=True).start()

    def _work(self, app: App[Any], work: Callable[[], Page], tell: bool) -> None:
        page = work()
        with suppress(RuntimeError):  # the app has ended meanwhile
            app.call_later(self._arrived, app, page, tell)
        self.at_rest.set()

    def _arrived(self, app: App[Any], page: Page, tell: bool) -> None:
        self._under_way = False
        if self in app.screen_stack:
            self._show(page)
        elif tell:
            app.notify(page.said, severity="error" if page.grave else "information", markup=False)

    def _show(self, page: Page) -> None:
        self._page = page
        self.renew()
