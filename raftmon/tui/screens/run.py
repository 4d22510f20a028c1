"""The Run screen: all charts of the selected run, with zoom, markers, and marked runs behind."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import ClassVar

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, VerticalScroll
from textual.content import Content

from raftmon.model import CampaignView, RunView, Snapshot
from raftmon.tui.bindings import SCREENSHOT
from raftmon.tui.cycle_starts import cycle_times
from raftmon.tui.export import export_series
from raftmon.tui.figure import Chart
from raftmon.tui.overlay import Marks
from raftmon.tui.plot import Plot
from raftmon.tui.screens.detail import DetailScreen
from raftmon.tui.step_axis import AXES, AxisKind, axis_of
from raftmon.tui.text import MUTED, assemble, run_name
from raftmon.tui.viewport import Viewport
from raftmon.tui.widgets.lines import Heading, LinesView
from raftmon.tui.widgets.run_charts import Subject, grid_of, roles_to_draw
from raftmon.tui.widgets.run_legend import legend_lines

__all__ = ["RunScreen"]

ZOOM = 0.5
"""Share of the steps that stay in view at one press."""
PAN = 0.25
"""Share of its width by which one press moves the view."""
TALL = 28
"""Lines of the terminal from which on the legend may take two."""


class RunScreen(DetailScreen):
    """Every series of the run in a grid by role, under one value cursor and one window over the steps.

    Args:
        title: first word of the status bar.
        marks: the runs to draw behind the selected one.
    """

    DEFAULT_CSS = """
    RunScreen {
        & > Heading, & > #legend, & > VerticalScroll { padding: 0 1; }
        & > VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
        & #run-grid { height: auto; grid-gutter: 0 2; }
        & > #legend { height: auto; max-height: 2; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", show=False, id="run-back", tooltip="Grid again; drop the cursor; overview"),
        Binding("enter,z", "enlarge", "Enlarge", id="run-enlarge", tooltip="The chosen chart alone, or all again"),
        Binding("w", "window", "Window", id="run-window", tooltip="Window: all steps, the last 1000, the last 100"),
        Binding("x", "axis", "Axis", id="run-axis", tooltip="X axis: step, time since the start, epoch"),
        Binding("y", "log", "Log", id="run-log", tooltip="Logarithmic or linear y axes"),
        Binding("s", "smooth", "Smooth", id="run-smooth", tooltip="Smoothed curves over the points, or points alone"),
        Binding(
            "plus,equals_sign", "zoom(1)", "Zoom", show=False, id="run-zoom-in", tooltip="Zoom in, about the cursor"
        ),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, id="run-zoom-out", tooltip="Zoom out"),
        Binding("shift+left,H", "pan(-1)", "Pan", show=False, id="run-pan-back", tooltip="Move the window back"),
        Binding("shift+right,L", "pan(1)", "Pan on", show=False, id="run-pan-on", tooltip="Move the window on"),
        Binding("0", "all_steps", "All", show=False, id="run-all", tooltip="Show all steps again"),
        Binding("left,h", "cursor(-1)", "Back", show=False, id="run-cursor-back", tooltip="Value cursor back"),
        Binding("right,l", "cursor(1)", "On", show=False, id="run-cursor-on", tooltip="Value cursor on"),
        Binding("home,g", "cursor_end(-1)", "First", show=False, id="run-cursor-first", tooltip="Cursor to the start"),
        Binding("end,G", "cursor_end(1)", "Last", show=False, id="run-cursor-last", tooltip="Cursor to the last step"),
        Binding("down,j,tab", "choose(1)", "Next", show=False, id="run-chart-next", tooltip="Choose the next chart"),
        Binding(
            "up,k,shift+tab",
            "choose(-1)",
            "Previous",
            show=False,
            id="run-chart-back",
            tooltip="Choose the previous",
        ),
        Binding(
            "e", "export", "Export", show=False, id="run-export", tooltip="Write the series on the screen to a CSV file"
        ),
        # `s` smooths here.
        replace(SCREENSHOT, key="S", id="run-screenshot"),
    ]
    PLACE = "run"

    def __init__(self, title: str, marks: Marks | None = None) -> None:
        super().__init__(title)
        self._marks = marks or Marks()
        self._known: dict[Hashable, Chart] = {}
        self._chosen = 0
        self._seen = False
        """Whether there has been a run."""
        self.viewport = Viewport()
        """The steps in view."""
        self.cursor: float | None = None
        """Step under the value cursor, or None."""
        self.enlarged = False
        """Whether the chosen chart is alone."""
        self.kind: AxisKind = "step"
        """X axis asked for; a run that does not say enough for it is drawn over steps."""
        self.log_scale = False
        """Logarithmic y axes where the values allow it."""
        self.smoothed = True
        """Whether smoothed curves are drawn over the points."""

    def compose_content(self) -> ComposeResult:
        """Lay out heading, charts and legend."""
        yield Heading("RUN")
        with VerticalScroll(can_focus=False):
            yield Grid(id="run-grid")
        legend = LinesView(id="legend")
        legend.can_focus = False
        yield legend

    @property
    def plots(self) -> list[Plot]:
        """The charts on the screen, in their order; one when it is enlarged."""
        return [plot for plot in self.query(Plot) if plot.display and plot.chart is not None]

    def show(self, snapshot: Snapshot | None, run: RunView | None, campaign: CampaignView | None) -> None:
        """Show another state, or another run, with a view of its own."""
        if self.run is not None and (run is None or run.path != self.run.path):
            self.cursor, self.viewport = None, Viewport()
        self._seen = self._seen or run is not None
        super().show(snapshot, run, campaign)

    def draw(self) -> None:
        """Draw all charts; one that looks the same is not painted again."""
        heading, legend = self.query_one(Heading), self.query_one("#legend", LinesView)
        subject = self._subject
        if self.run is None or subject is None:
            heading.show(self._nothing())
            self._arrange([])
            legend.show(lambda _: [])
            return
        roles = roles_to_draw(self.run)
        self._chosen = min(self._chosen, max(len(roles) - 1, 0))
        charts = [subject.chart(role, self._known) for role in roles]
        self._known = {chart.version: chart for chart in charts}
        heading.show(f"{run_name(self.run)} · {len(roles)} series", self._view_words(subject))
        lines = 2 if self.size.height >= TALL else 1
        legend.show(lambda width: legend_lines(subject, self._marks, width, lines))
        self._show(subject, charts)

    def action_back(self) -> None:
        """Take back one thing: the enlarged chart, then the cursor, then the screen."""
        if self.enlarged:
            self.enlarged = False
        elif self.cursor is not None:
            self.cursor = None
        else:
            self.action_leave()
            return
        self.draw()

    def action_enlarge(self) -> None:
        """Show the chosen chart alone, or all again."""
        self.enlarged = not self.enlarged
        self.draw()

    def action_window(self) -> None:
        """Show all steps, or the newest."""
        self.viewport = self.viewport.next_window()
        self.draw()

    def action_all_steps(self) -> None:
        """Show all steps."""
        self.viewport = Viewport()
        self.draw()

    def action_zoom(self, direction: int) -> None:
        """Show fewer or more steps."""
        subject = self._subject
        if subject is not None and subject.extent is not None:
            factor = ZOOM if direction > 0 else 1.0 / ZOOM
            self.viewport = self.viewport.zoomed(subject.extent, factor, self.cursor)
            self.draw()

    def action_pan(self, direction: int) -> None:
        """Move the window."""
        subject = self._subject
        if subject is not None and subject.extent is not None:
            self.viewport = self.viewport.panned(subject.extent, direction * PAN)
            self.draw()

    def action_axis(self) -> None:
        """Change the x axis to the next one that the run says enough for."""
        if self.run is None:
            return
        there = [kind for kind in AXES if axis_of(self.run, kind) is not None]
        if len(there) == 1:
            self.notify("This run logs neither epochs nor wall times: its x axis stays the step.", timeout=3)
        self.kind = there[(there.index(self.kind) + 1) % len(there)] if self.kind in there else there[0]
        self.draw()

    def action_log(self) -> None:
        """Change between linear and logarithmic y axes."""
        self.log_scale = not self.log_scale
        self.draw()

    def action_smooth(self) -> None:
        """Show or hide the smoothed curves."""
        self.smoothed = not self.smoothed
        self.draw()

    def action_export(self) -> None:
        """Write the series of the charts on the screen to a file."""
        export_series(self.app, self.run, [plot.chart.role for plot in self.plots if plot.chart is not None])

    def action_choose(self, direction: int) -> None:
        """Choose another chart, and bring it into view."""
        count = len(roles_to_draw(self.run)) if self.run is not None else 0
        if count:
            self._choose((self._chosen + direction) % count)

    def action_cursor(self, direction: int) -> None:
        """Move the value cursor by about one character cell, at least one point."""
        subject, steps = self._subject, self._chosen_steps()
        if subject is None or subject.extent is None or not len(steps):
            return
        low, high = self.viewport.limits(subject.extent)
        seen = steps[(steps >= low) & (steps <= high)]
        if self.cursor is None:
            self._move_cursor(float(seen[-1] if len(seen) else steps[-1]))
            return
        width = next((plot.size.width for plot in self.plots), 1)
        stride = max(1, round(len(seen) / max(width, 1)))
        at = int(np.searchsorted(steps, self.cursor)) + direction * stride
        self._move_cursor(float(steps[min(max(at, 0), len(steps) - 1)]))

    def action_cursor_end(self, direction: int) -> None:
        """Move the value cursor to the first or newest step."""
        steps = self._chosen_steps()
        if len(steps):
            self._move_cursor(float(steps[-1 if direction > 0 else 0]))

    def on_click(self, event: events.Click) -> None:
        """Choose the chart under the mouse."""
        plots = list(self.query(Plot))
        if event.widget in plots and not self.enlarged:
            self._choose(plots.index(event.widget))

    @property
    def _subject(self) -> Subject | None:
        if self.run is None:
            return None
        runs = {run.path: run for run in self.snapshot.runs} if self.snapshot is not None else {}
        others = {self._marks.letter(path): runs[path] for path in self._marks.places if path in runs}
        cycles = cycle_times(self.snapshot, self.run) if self.snapshot is not None else ()
        return Subject(self.run, self.kind, self.smoothed, others, cycles)

    def _nothing(self) -> str:
        """Return why there are no charts."""
        if self.snapshot is None:
            return "the event files are still being read"
        if not self.snapshot.runs:
            return "no run in the logdir any more" if self._seen else "no run yet"
        return "no run is selected"

    def _choose(self, index: int) -> None:
        self._chosen = index
        self.draw()
        self.query(Plot)[index].scroll_visible(animate=False)

    def _chosen_steps(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the steps of the chosen chart, ascending, no two equal."""
        roles = roles_to_draw(self.run) if self.run is not None else []
        if self.run is None or not roles:
            return np.empty(0)
        return np.unique(self.run.series[roles[min(self._chosen, len(roles) - 1)]].steps.astype(np.float64))

    def _move_cursor(self, step: float) -> None:
        subject = self._subject
        self.cursor = step
        if subject is not None and subject.extent is not None:
            self.viewport = self.viewport.with_in_view(subject.extent, step)
        self.draw()

    def _view_words(self, subject: Subject) -> Content:
        words = [f"x {subject.axis.kind}"]
        words += [f"steps {self.viewport.words(subject.extent)}"] if subject.extent is not None else []
        words += ["log"] if self.log_scale else []
        words += [] if self.smoothed else ["not smoothed"]
        return assemble((" · ".join(words), MUTED))

    def _show(self, subject: Subject, charts: list[Chart]) -> None:
        self._arrange(charts)
        window = None
        if subject.extent is not None:
            low, high = self.viewport.limits(subject.extent)
            window = (subject.axis.at(low), subject.axis.at(high))
        cursor = subject.axis.at(self.cursor) if self.cursor is not None else None
        for index, (plot, chart) in enumerate(zip(self.query(Plot), charts, strict=False)):
            plot.show(chart, log=self.log_scale, cursor=cursor, focused=index == self._chosen, window=window)

    def _arrange(self, charts: list[Chart]) -> None:
        """Make as many plots as there are charts, and give them their places."""
        grid = self.query_one("#run-grid", Grid)
        plots = list(self.query(Plot))
        if len(plots) < len(charts):
            grid.mount(*(Plot() for _ in range(len(charts) - len(plots))))
        area = self.query_one(VerticalScroll).size
        shown = 1 if self.enlarged else len(charts)
        columns, height = grid_of(max(shown, 1), max(area.width, 1), max(area.height, 1))
        grid.styles.grid_size_columns = columns
        grid.styles.grid_rows = str(height)
        for index, plot in enumerate(self.query(Plot)):
            plot.display = index < len(charts) and (not self.enlarged or index == self._chosen)
            # The last chart takes what is left of its row.
            plot.styles.column_span = columns - index % columns if index == shown - 1 and not self.enlarged else 1
