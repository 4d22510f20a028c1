"""The application under test: a scripted source, and a session that waits without a clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Label

from raftmon.model import Snapshot
from raftmon.tui.app import RaftmonApp
from raftmon.tui.changer import Changer
from raftmon.tui.look import Look
from raftmon.tui.mutes import MuteStore
from raftmon.tui.plot import Plot
from raftmon.tui.screens.overview import Overview
from raftmon.tui.state import StateFile
from raftmon.tui.widgets.chart_tabs import ChartTabs
from raftmon.tui.widgets.charts_panel import ChartsPanel
from raftmon.tui.widgets.lines import Heading, LinesView
from raftmon.tui.widgets.runs_table import RunsTable
from raftmon.tui.widgets.status_bar import StatusBar

SMALL, MEDIUM, LARGE = (80, 24), (120, 30), (200, 50)


class ScriptedSource:
    """Hands out what the test pushed; waits without a clock until the next push."""

    def __init__(self, first: Snapshot | Exception) -> None:
        self._state = first
        self._news = threading.Event()
        self.at_rest = threading.Event()
        self.polls = 0
        self.failures = threading.Semaphore(0)
        self.closed = False

    def push(self, state: Snapshot | Exception) -> None:
        """Let the worker find something else at its next poll."""
        self.at_rest.clear()
        self._state = state
        self._news.set()

    def poll(self) -> Snapshot:
        """Return or raise what was pushed last."""
        self.polls += 1
        if isinstance(self._state, Exception):
            self.failures.release()
            raise self._state
        return self._state

    def wait(self, timeout: float) -> bool:
        """Block until a push or the end."""
        self.at_rest.set()
        self._news.wait()
        if not self.closed:
            self._news.clear()
        return True

    def close(self) -> None:
        """End the wait."""
        self.closed = True
        self._news.set()


class CountingApp(RaftmonApp):
    """Counts how often the terminal was written to, and how often it rang."""

    displays = 0
    bells = 0

    def post_display_hook(self) -> None:
        """Count."""
        self.displays += 1

    def bell(self) -> None:
        """Count."""
        self.bells += 1


class Session:
    """An application under test with its source."""

    def __init__(self, app: CountingApp, source: ScriptedSource, pilot: Pilot[int]) -> None:
        self.app, self.source, self.pilot = app, source, pilot

    async def settle(self) -> None:
        """Wait until the worker waits and all messages are handled."""
        assert await asyncio.to_thread(self.source.at_rest.wait, 10)
        await self.pilot.pause()

    async def muted(self) -> None:
        """Wait until the store of mutes has answered, and that is handled."""
        while True:
            assert await asyncio.to_thread(self.app.mutes.at_rest.wait, 10)
            await self.pilot.pause()
            # An answer may lead to the next question.
            if self.app.mutes.at_rest.is_set():
                return

    async def push(self, state: Snapshot) -> None:
        """Let a snapshot arrive."""
        self.source.push(state)
        await self.settle()

    async def press(self, *keys: str) -> None:
        """Press keys; the pilot waits until they are handled."""
        await self.pilot.press(*keys)

    def text(self, selector: str | type[Widget] = "*") -> str:
        """Return what the widgets that draw lines show, line by line."""
        widgets = [w for w in self.app.screen.query(selector) if isinstance(w, OURS) and w.display]
        return "\n".join(w.render_line(y).text for w in widgets for y in range(w.size.height))

    def underlined(self, title: str) -> bool:
        """Return whether a heading is marked as that of the panel with the focus."""
        tops = [w.render_line(0) for w in self.app.screen.query("*") if isinstance(w, OURS) and w.display]
        return any(s.text == title and bool(s.style and s.style.underline) for strip in tops for s in strip)

    def selected(self) -> str | None:
        """Name of the selected run."""
        return self.table.selected.run if self.table.selected is not None else None

    def cursor(self) -> float | None:
        """Step under the value cursor."""
        return self.charts.cursor

    @property
    def closed_sheets(self) -> bool:
        """Whether the overview is on top."""
        return self.app.screen is self.overview

    @property
    def focused(self) -> str | None:
        """Id of the widget with the focus."""
        return self.app.focused.id if self.app.focused is not None else None

    @property
    def table(self) -> RunsTable:
        """The table of runs."""
        return self.overview.query_one(RunsTable)

    @property
    def charts(self) -> ChartsPanel:
        """The charts."""
        return self.overview.query_one(ChartsPanel)

    @property
    def overview(self) -> Overview:
        """The screen below all sheets."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, Overview)
        return screen


OURS = (LinesView, Heading, ChartTabs, RunsTable, StatusBar, Plot, Label)


@asynccontextmanager
async def running(
    first: Snapshot,
    size: tuple[int, int] = MEDIUM,
    look: Look | None = None,
    state: StateFile | None = None,
    changer: Changer | None = None,
    mutes: MuteStore | None = None,
) -> AsyncIterator[Session]:
    source = ScriptedSource(first)
    app = CountingApp(source, interval=0.001, look=look, state=state, changer=changer, mutes=mutes)
    async with app.run_test(size=size, notifications=True) as pilot:
        session = Session(app, source, pilot)
        await session.settle()
        yield session
