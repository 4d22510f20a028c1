"""The table of runs: as many columns as the width allows, as many rows as the height."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.strip import Strip

from raftmon.model import RunView
from raftmon.plain import plain
from raftmon.tui.belonging import logdir_names
from raftmon.tui.bindings import keys_of
from raftmon.tui.filter import RunFilter, TooSlow
from raftmon.tui.text import MUTED, assemble, fit, run_name, state_of
from raftmon.tui.widgets.lines import Inked, wrap
from raftmon.tui.widgets.run_columns import GAP, LEAD, NAME_COMFORT, Column, columns_for, common_directory

__all__ = ["RunsTable"]


def _newest(runs: list[RunView], cursor: int) -> int:
    """Return the row to be on: a live or stalled run is not left for another one."""
    if cursor < len(runs) and (runs[cursor].state == "live" or runs[cursor].stalled):
        return cursor
    ages = [(run.state == "live" or run.stalled is not None, run.last_wall_time or 0.0) for run in runs]
    return ages.index(max(ages)) if ages else 0


class RunsTable(Inked, can_focus=True, inherit_bindings=False):
    """One row per run, the heading above; sends `Selected` when the cursor rests on another run."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"cursor", "cursor-focus"}
    DEFAULT_CSS = """
    RunsTable {
        & > .cursor { background: $foreground 8%; }
        & > .cursor-focus { background: $primary 28%; }
    }
    RunsTable:ansi {
        & > .cursor { background: ansi_default; text-style: bold; }
        & > .cursor-focus { background: ansi_default; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False, id="run-down", tooltip="Select the next run"),
        Binding("up,k", "move(-1)", "Up", show=False, id="run-up", tooltip="Select the run before"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="run-page-down", tooltip="One page of runs down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="run-page-up", tooltip="One page of runs up"),
        Binding("home,g", "go_to_end(-1)", "First", show=False, id="run-first", tooltip="Select the first run"),
        Binding("end,G", "go_to_end(1)", "Last", show=False, id="run-last", tooltip="Select the last run"),
    ]

    class Selected(Message):
        """Another run is selected."""

        def __init__(self, run: RunView | None) -> None:
            super().__init__()
            self.run = run

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._all: tuple[RunView, ...] = ()
        self._runs: list[RunView] = []
        self._cursor = 0
        self._top = 0
        self._following = True
        self._waiting = ""
        self._prefix = ""
        self._logdir_names: dict[str, str] = {}
        self._longest = 0
        self.filter = RunFilter()
        """What is shown; see `set_filter`."""
        self.letter: Callable[[str], str] = lambda _: ""
        """One character before the run of a path, for example the mark of a comparison; empty for none."""

    @property
    def selected(self) -> RunView | None:
        """The run under the cursor; None when nothing is shown."""
        return self._runs[self._cursor] if self._runs else None

    @property
    def shown(self) -> tuple[RunView, ...]:
        """The runs that pass the filter."""
        return tuple(self._runs)

    def show(self, runs: tuple[RunView, ...], waiting: str, logdirs: Sequence[str] = ()) -> None:
        """Show runs; the cursor stays on its run wherever that moved.

        Until a key or the mouse moves it, it is on a live run, or else on the one that grew last.

        Args:
            runs: in the order of the rows.
            waiting: what to say while there are none.
            logdirs: where they were found; of several, their names stand before those of the runs.
        """
        self._all, self._waiting = runs, waiting
        self._logdir_names = logdir_names(logdirs)
        names = [self.name_of(run) for run in runs]
        self._prefix = common_directory(names)
        self._longest = max((cell_len(plain(name)) for name in names), default=0) - cell_len(self._prefix)
        self._apply()

    def name_of(self, run: RunView) -> str:
        """Return what a run is called here."""
        logdir = run.path if run.run == "." else run.path.removesuffix(f"/{run.run}")
        above = self._logdir_names.get(logdir)
        return run_name(run) if above is None else above if run.run == "." else f"{above}/{run.run}"

    def set_filter(self, text: str) -> None:
        """Show only the runs that a `RunFilter` lets through."""
        self.filter = RunFilter.parse(text)
        self._apply()

    def follow(self) -> None:
        """Go to the live or newest run, and stay with it."""
        self._following = True
        self._apply()

    def wanted_height(self) -> int:
        """Return the lines that would show everything, heading included."""
        return 1 + (len(self._runs) or len(self._empty_lines()))

    def render_line(self, y: int) -> Strip:
        """Draw the heading or one row."""
        width = self.size.width
        columns, name_width = columns_for(width, self._longest)
        if y == 0:
            return self.strip(self._heading(columns, name_width), width)
        index = self._top + y - 1
        if not self._runs:
            lines = self._empty_lines()
            return self.strip(lines[y - 1] if y <= len(lines) else Content(), width)
        if index >= len(self._runs):
            return self.strip(Content(), width)
        strip = self.strip(self._row(self._runs[index], columns, name_width, index == self._cursor), width)
        if index != self._cursor:
            return strip
        return self.over(strip, "cursor-focus" if self.has_focus else "cursor")

    def action_move(self, count: int) -> None:
        """Move the cursor by rows."""
        self._go(self._cursor + count)

    def action_page(self, count: int) -> None:
        """Move the cursor by pages."""
        self._go(self._cursor + count * max(self._rows - 1, 1))

    def action_go_to_end(self, direction: int) -> None:
        """Move the cursor to the first or last run."""
        self._go(len(self._runs) if direction > 0 else 0)

    def on_click(self, event: events.Click) -> None:
        """Select the run under the mouse."""
        if event.y > 0 and self._top + event.y - 1 < len(self._runs):
            self._go(self._top + event.y - 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Select the next run."""
        event.stop()
        self._go(self._cursor + 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Select the run before."""
        event.stop()
        self._go(self._cursor - 1)

    def on_resize(self) -> None:
        """Keep the cursor in view, and show what the new rows have room for."""
        self._scroll()
        self.refresh()

    def on_focus(self) -> None:
        """Show the cursor as active."""
        self.refresh()

    def on_blur(self) -> None:
        """Show the cursor as resting."""
        self.refresh()

    @property
    def _rows(self) -> int:
        return max(self.size.height - 1, 1)

    def _apply(self) -> None:
        before = self.selected
        self._runs = self._passing()
        paths = [run.path for run in self._runs]
        if before is not None and before.path in paths:
            self._cursor = paths.index(before.path)
        if self._following:
            self._cursor = _newest(self._runs, self._cursor)
        self._cursor = max(0, min(self._cursor, len(self._runs) - 1))
        self._scroll()
        self.refresh()
        now = self.selected
        if now is not before:
            self.post_message(self.Selected(now))

    def _passing(self) -> list[RunView]:
        try:
            return list(compress(self._all, self.filter.passing([self.name_of(run) for run in self._all])))
        except TooSlow:
            self.filter = self.filter.given_up()
            return list(self._all)

    def _go(self, cursor: int) -> None:
        cursor = max(0, min(cursor, len(self._runs) - 1))
        self._following = False
        if cursor != self._cursor:
            self._cursor = cursor
            self._scroll()
            self.refresh()
            self.post_message(self.Selected(self.selected))

    def _scroll(self) -> None:
        self._top = min(self._top, self._cursor)
        self._top = max(self._top, self._cursor - self._rows + 1, 0)
        self._top = max(0, min(self._top, len(self._runs) - self._rows))

    def _empty_lines(self) -> list[Content]:
        key = keys_of(self.screen).get("filter", "/")
        text = f"no run matches the filter “{self.filter.text}”; press {key} to change it"
        text = text if self._all else self._waiting
        return wrap(assemble((text, MUTED)), max(self.size.width, NAME_COMFORT), LEAD)

    def _heading(self, columns: list[Column], name_width: int) -> Content:
        shown, count = len(self._runs), len(self._all)
        detail = f"{shown} of {count}" if self.filter.tests else str(count) if count else ""
        detail += f" in {self._prefix}" if self._prefix else ""
        if shown > self._rows:
            last = min(self._top + self._rows, shown)
            detail = f"{self._top + 1}–{last} of {shown}"
        if self.filter.text and not self.filter.error:
            detail += f" · {self.filter.text}"
        style = "bold underline $text-primary" if self.has_focus else "bold"
        room = LEAD + name_width - 5
        titles = [(" " * GAP + fit(column.title, column.width, right=column.right), MUTED) for column in columns]
        return assemble(("RUNS", style), " ", (fit(detail, room), MUTED), *titles)

    def _row(self, run: RunView, columns: list[Column], name_width: int, selected: bool) -> Content:
        glyph, _, state_style = state_of(run)
        cells = []
        for column in columns:
            text, style = column.cell(run)
            cells.append((" " * GAP + fit(text, column.width, right=column.right), style))
        name_style = "bold" if selected else ""
        return assemble(
            ("❯" if selected else " ", "bold $text-primary"),
            (self.letter(run.path) or " ", "bold $text-accent"),
            (f"{glyph} ", state_style),
            (fit(self.name_of(run).removeprefix(self._prefix), name_width), name_style),
            *cells,
        )
