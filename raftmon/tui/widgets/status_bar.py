"""The first line of the overview: what is watched, and how that goes."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.strip import Strip

from raftmon.model import Snapshot
from raftmon.plain import plain
from raftmon.tui.gpu_text import gpu_texts
from raftmon.tui.text import MUTED, STANDSTILLS, Part, assemble, cut_end, cut_middle, plural
from raftmon.tui.widgets.lines import Inked

__all__ = ["Status", "StatusBar", "progress_bar", "status_line"]

LOGDIR_ROOM = 24
"""Cells that the logdirs get before the GPUs are told in full."""
GAP = 3
"""Cells between two parts."""
FULL, EMPTY = "█", "░"
"""Cells of the bar beside ``reading 38%``: what is read, and what is not."""
BAR, WIDE_BAR = 10, 20
"""Cells of the bar, and on a terminal of at least `WIDE` columns."""
WIDE = 140


@dataclass(frozen=True, slots=True)
class Status:
    """What the line tells."""

    title: str
    logdirs: str = ""
    runs: int = 0
    live: int = 0
    problems: int = 0
    reading: str = ""
    """How far the history is read: ``43%``; empty when it is."""
    paused: bool = False
    waiting: bool = False
    """Paused, and newer data has arrived."""
    error: str = ""
    """Why there is no news."""
    stalled: int = 0
    """Runs that should go on, and do not."""
    share: float | None = None
    """Of the history that is read, from 0 to 1; None where it is read, or not known how much there is."""
    gpus: tuple[str, ...] = ()
    """What to say of the GPUs, the longest first; empty where none is known."""

    @classmethod
    def of(cls, title: str, snapshot: Snapshot | None, *, paused: bool, waiting: bool, error: str) -> Status:
        """Sum up a snapshot; None before the first one."""
        if snapshot is None:
            return cls(title, reading="" if error else "starting", paused=paused, error=error)
        share = f"reading {snapshot.progress:.0%}" if snapshot.progress is not None else "reading"
        return cls(
            title=title,
            logdirs=", ".join(snapshot.logdirs),
            runs=len(snapshot.runs),
            live=sum(run.state == "live" and run.stalled is None for run in snapshot.runs),
            problems=len(snapshot.problems),
            reading=share if snapshot.backfilling else "",
            share=snapshot.progress if snapshot.backfilling else None,
            paused=paused,
            waiting=waiting,
            error=error,
            stalled=sum(run.stalled is not None for run in snapshot.runs),
            gpus=tuple(gpu_texts(snapshot.gpus)),
        )


def status_line(status: Status, width: int) -> Content:
    """Return the line; the logdirs give way first, then what is said of the GPUs beyond their utilisation."""
    left = assemble((status.title, "bold $text-primary"))
    right = _parts(status, width, "")
    if status.reading and status.share is not None:
        barred = _parts(status, width, f" {progress_bar(status.share, WIDE_BAR if width >= WIDE else BAR)}")
        right = barred if left.cell_length + 2 + barred.cell_length <= width else right
    room = width - left.cell_length - right.cell_length - 4
    gpus = _gpus(status, room)
    right, room = gpus + right, room - gpus.cell_length
    if room >= 8:
        left += assemble(("  " + cut_middle(status.logdirs, room), MUTED))
    gap = max(width - left.cell_length - right.cell_length, 2)
    return left + Content(" " * gap) + right


def _parts(status: Status, width: int, bar: str) -> Content:
    """Return what stands at the right end, without the GPUs; `bar` stands behind how far the history is read."""
    parts: list[Part] = []
    if status.error:
        parts.append((cut_end(f"✖ {status.error}", max(width // 2, 10)), "bold $text-error"))
    if status.paused:
        parts.append((" ‖ PAUSED, newer data waits " if status.waiting else " ‖ PAUSED ", "bold reverse $text-warning"))
    if status.reading:
        parts.append((f"↻ {status.reading}{bar}", "$text-primary"))
    if status.problems:
        parts.append((f"! {plural(status.problems, 'problem')}", "$text-warning"))
    if status.stalled:
        glyph, word, style = STANDSTILLS["stalled"]
        parts.append((f"{glyph} {status.stalled} {word}", style))
    if status.logdirs:
        parts.append((plural(status.runs, "run"), ""))
        if status.live or not status.stalled:
            live = (f"● {status.live} live", "$text-success") if status.live else ("none live", MUTED)
            parts.append(live)
    return Content(" " * GAP).join([assemble(part) for part in parts])


def progress_bar(share: float, width: int) -> str:
    """Return a bar of `width` cells; full only when all is done, and no longer empty when anything is."""
    done = min(max(share, 0.0), 1.0) * width
    full = width if done >= width else max(min(round(done), width - 1), 1 if done > 0.0 else 0)
    return FULL * full + EMPTY * (width - full)


def _gpus(status: Status, room: int) -> Content:
    """Return what there is room for to say of the GPUs, with the gap behind it."""
    # A logdir that is not cut to pieces is worth more than what is beside a GPU's utilisation.
    named = min(cell_len(plain(status.logdirs)), LOGDIR_ROOM) + 2 if status.logdirs else 0
    for text in status.gpus:
        if cell_len(text) + GAP <= room - (0 if text == status.gpus[-1] else named):
            return assemble(text, " " * GAP)
    return Content()


class StatusBar(Inked):
    """The line on the screen."""

    DEFAULT_CSS = "StatusBar { height: 1; }"

    def __init__(self, title: str, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._status = Status(title)

    def show(self, status: Status) -> None:
        """Change the line; nothing is repainted if it stays the same."""
        if status != self._status:
            self._status = status
            self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is one line only
        """Draw the line."""
        return self.strip(status_line(self._status, self.size.width), self.size.width)
