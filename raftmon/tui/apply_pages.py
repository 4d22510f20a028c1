"""What the sheet that writes a config goes through: worked out, agreed to, written, taken back.

Every step asks the changer, may take as long as a disk does, and gives the page that is shown then. Nothing here
touches a widget, so that it can run in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from raftmon.errors import RaftmonError
from raftmon.grounds import Evidence
from raftmon.model import NextCycle
from raftmon.tui.changer import Changer
from raftmon.tui.widgets.apply_panel import back_lines, proposal_lines, trouble_lines, working_lines, written_lines

if TYPE_CHECKING:
    from raftmon.override import Override, Undone

__all__ = ["ApplyPages", "Page", "working"]


@dataclass(frozen=True, slots=True)
class Page:
    """One state of the sheet."""

    build: Callable[[int], list[Content]]
    """Makes the lines for a width in cells."""
    state: str
    """How far it is, in a word or two."""
    said: str
    """What came of it, in one sentence."""
    diff: str = ""
    """What changes, or changed, in the file; empty where nothing does."""
    ask: str = ""
    """What a yes does, in a word or two; empty: there is nothing to say yes to."""
    doing: str = ""
    """What is under way after a yes."""
    agree: Callable[[], Page] | None = None
    """What a yes does; may block."""
    busy: bool = False
    """Whether something is under way, whose page comes after this one."""
    grave: bool = False
    """Whether something that was asked for was not done."""


def working(doing: str) -> Page:
    """Return the page that is shown while something is under way."""
    return Page(lambda width: working_lines(doing, width), "", f"{doing} …", busy=True)


class ApplyPages:
    """The pages about one config.

    Args:
        changer: writes.
        grounds: what is known of rules, by id.
        advised: what the overview advises for the next cycle; None: nothing.
    """

    def __init__(self, changer: Changer, grounds: Mapping[str, Evidence], advised: NextCycle | None = None) -> None:
        self._changer = changer
        self._grounds = grounds
        self._advised = advised

    def look(self) -> Page:
        """Work out what would be written."""
        return self._guarded(lambda: self._proposal(self._changer.dry_run()))

    def look_back(self) -> Page:
        """Ask whether to take back the last override."""
        return self._guarded(lambda: self._offer(self._changer.look_back(), self._changer.place()))

    def _proposal(self, override: Override, *, asked: bool = False) -> Page:
        def build(width: int) -> list[Content]:
            return proposal_lines(override, self._grounds, self._advised, width)

        if asked or override.refused is not None or override.stop:
            why = override.refused or "the campaign should end here"
            return Page(build, "nothing is written", f"Nothing is written: {why}.", override.diff, grave=asked)
        ask = "write" if override.changed else "note"
        doing = f"writing into {override.config}" if override.changed else "noting it in the journal"
        return Page(
            build,
            "not written yet",
            "Nothing is written yet.",
            override.diff,
            ask,
            doing,
            lambda: self._apply(override),
        )

    def _apply(self, agreed: Override) -> Page:
        return self._guarded(lambda: self._result(self._changer.apply(agreed)))

    def _result(self, override: Override) -> Page:
        if not override.applied:
            return self._proposal(override, asked=True)
        place = self._changer.place()
        what = f"`{override.key}` is written into" if override.changed else "Noted; nothing changed in"
        said = f"{what} {override.config} for cycle {override.cycle}."
        state = "written" if override.changed else "noted"
        return Page(lambda width: written_lines(override, place, width), state, said, override.diff)

    def _offer(self, undone: Undone, place: str) -> Page:
        return Page(
            lambda width: back_lines(undone, place, width, done=False),
            "not taken back yet",
            "Nothing is taken back yet.",
            undone.diff,
            "take back",
            f"giving back {undone.config}",
            lambda: self._undo(undone),
        )

    def _undo(self, agreed: Undone) -> Page:
        def taken() -> Page:
            undone, place = self._changer.undo(agreed), self._changer.place()
            said = f"The last override of {undone.config} is taken back."
            return Page(lambda width: back_lines(undone, place, width, done=True), "taken back", said, undone.diff)

        return self._guarded(taken)

    def _guarded(self, step: Callable[[], Page]) -> Page:
        try:
            return step()
        except Exception as error:  # whatever it is, the screen must say it and live on
            told = error
            said = f"{error.where}: {error.what}." if isinstance(error, RaftmonError) else f"{type(error).__name__}."
            return Page(lambda width: trouble_lines(told, width), "not possible", said, grave=True)
