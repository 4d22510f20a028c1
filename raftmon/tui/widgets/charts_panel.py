"""The charts of the selected run, one of them large, under one value cursor.

What draws them (numpy above all) is imported with the first snapshot: the first paint does without it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from raftmon.model import CampaignView, RunView
from raftmon.tui.widgets.chart_tabs import ChartTab, ChartTabs

if TYPE_CHECKING:
    from raftmon.tui.figure import Chart
    from raftmon.tui.plot import Plot

__all__ = ["ChartsPanel"]

PLOTS = 7
"""The large chart and up to six small ones."""
SMALL_BESIDE = 3
"""Small charts in a row."""
TABS_FROM = 6
"""Lines of the panel from which on the charts' names stand above the only one that has room."""
ROWS, TABBED_ROWS = "5fr 4fr 4fr", "1 1fr"
"""Heights of the grid's rows."""


class ChartsPanel(Widget, can_focus=True, inherit_bindings=False):
    """A large chart above as many small ones as there is room for."""

    DEFAULT_CSS = """
    ChartsPanel {
        layout: grid;
        grid-rows: 5fr 4fr 4fr;
        grid-gutter: 0 2;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left,h",
            "cursor(-1)",
            "Back",
            show=False,
            id="cursor-left",
            tooltip="Move the value cursor back in all charts",
        ),
        Binding(
            "right,l",
            "cursor(1)",
            "On",
            show=False,
            id="cursor-right",
            tooltip="Move the value cursor on in all charts",
        ),
        Binding("home,g", "cursor_end(-1)", "First", show=False, id="cursor-first", tooltip="Cursor to the first step"),
        Binding("end,G", "cursor_end(1)", "Last", show=False, id="cursor-last", tooltip="Cursor to the newest step"),
        Binding("down,j", "next_chart(1)", "Next", show=False, id="chart-next", tooltip="Enlarge the next chart"),
        Binding("up,k", "next_chart(-1)", "Previous", show=False, id="chart-back", tooltip="Enlarge the chart before"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._run: RunView | None = None
        self._campaign: CampaignView | None = None
        self._slots = 1
        self._main = "loss"
        self._known: dict[Hashable, Chart] = {}
        self._plots: list[Plot] = []
        self._tabs = ChartTabs(id="chart-tabs")
        self._tabs.display = False
        self.log_scale = False
        """Logarithmic y axes where the values allow it."""
        self.cursor: float | None = None
        """Step under the value cursor, or None."""

    @property
    def plots(self) -> list[Plot]:
        """The plots in use, the large one first."""
        return [plot for plot in self._plots if plot.chart is not None and plot.display]

    def show(self, run: RunView | None, campaign: CampaignView | None) -> None:
        """Show the charts of a run; the cursor goes when the run is another one."""
        if self._run is not None and (run is None or run.path != self._run.path):
            self.cursor = None
        self._run, self._campaign = run, campaign
        self._make_plots()
        self._update()

    def toggle_log(self) -> None:
        """Change between linear and logarithmic y axes."""
        self.log_scale = not self.log_scale
        self._update()

    def resume(self, main: str | None, *, log: bool) -> None:
        """Enlarge a chart (None: the usual one), and choose the y axes."""
        self._main, self.log_scale = main or self._main, log
        self._update()

    @property
    def main(self) -> str:
        """Role of the chart that is enlarged, where the run has it."""
        return self._main

    def clear_cursor(self) -> None:
        """Take the value cursor away."""
        self.cursor = None
        self._update()

    def action_cursor(self, direction: int) -> None:
        """Move the value cursor by about one character cell, at least one point."""
        import numpy as np

        chart = self._step_chart()
        if chart is None:
            return
        x = np.unique(chart.curves[0].x)
        stride = max(1, round(len(x) / max(self.size.width, 1)))
        if self.cursor is None:
            index = len(x) - 1
        else:
            index = int(np.clip(int(np.searchsorted(x, self.cursor)) + direction * stride, 0, len(x) - 1))
        self.cursor = float(x[index])
        self._update()

    def action_cursor_end(self, direction: int) -> None:
        """Move the value cursor to the first or newest step."""
        from raftmon.tui.figure import nearest

        chart = self._step_chart()
        if chart is not None and nearest(chart.curves[0], 0.0) is not None:
            x = chart.curves[0].x
            self.cursor = float(x.max() if direction > 0 else x.min())
            self._update()

    def on_chart_tabs_chosen(self, message: ChartTabs.Chosen) -> None:
        """Show the chart whose tab was clicked."""
        message.stop()
        self._main = message.role
        self._update()

    def action_next_chart(self, direction: int) -> None:
        """Enlarge another chart."""
        roles = self._roles() or [self._main]
        at = roles.index(self._main) if self._main in roles else 0
        self._main = roles[(at + direction) % len(roles)]
        self._update()

    def on_resize(self) -> None:
        """Count the charts there is room for."""
        width, height = self.size
        slots = 1 if width < 60 or height < 14 else 1 + SMALL_BESIDE if width < 90 or height < 27 else PLOTS
        tabbed = slots == 1 and height >= TABS_FROM
        if slots != self._slots or tabbed != self._tabs.display:
            self._slots = slots
            self._update()

    def watch_has_focus(self, _has_focus: bool) -> None:
        """Mark the large chart while the keys are meant for it."""
        super().watch_has_focus(_has_focus)
        self._update()

    def _make_plots(self) -> None:
        """Make all plots, the first time; those without a chart stay hidden."""
        if not self._plots and self.is_mounted:
            from raftmon.tui.plot import Plot

            self._plots = [Plot(id=f"plot-{index}") for index in range(PLOTS)]
            self.mount(self._tabs, *self._plots)

    def _roles(self) -> list[str]:
        if not self._plots:
            return []
        from raftmon.tui.widgets.charts import roles_of

        return roles_of(self._run, self._campaign, max(self._slots, 4) if self._slots > 1 else PLOTS)

    def _step_chart(self) -> Chart | None:
        charts = [plot.chart for plot in self.plots if plot.chart is not None]
        return next((c for c in charts if c.x_name == "step" and c.curves and len(c.curves[0].x)), None)

    def _update(self) -> None:
        if not self._plots:
            return
        from raftmon.tui.widgets.charts import chart_of

        roles = self._roles()
        main = self._main if self._main in roles else roles[0]
        shown = [main, *(role for role in roles if role != main)][: max(self._slots, 1)]
        charts = [chart_of(role, self._run, self._campaign, self._known) for role in shown]
        self._known = {chart.version: chart for chart in charts}
        self._arrange(len(charts))
        self._show_tabs(roles, main)
        for index, plot in enumerate(self._plots):
            plot.display = index < len(charts)
            if index < len(charts):
                focused = index == 0 and self.has_focus
                plot.show(charts[index], log=self.log_scale, cursor=self.cursor, focused=focused)

    def _show_tabs(self, roles: list[str], main: str) -> None:
        from raftmon.tui.widgets.charts import is_there, short_title_of

        tabbed = self._slots == 1 and self.size.height >= TABS_FROM
        if tabbed != self._tabs.display:
            self._tabs.display = tabbed
            self.styles.grid_rows = TABBED_ROWS if tabbed else ROWS
        if tabbed:
            run, campaign = self._run, self._campaign
            tabs = (ChartTab(role, short_title_of(role), not is_there(role, run, campaign)) for role in roles)
            self._tabs.show(tuple(tabs), main)

    def _arrange(self, count: int) -> None:
        small = max(count - 1, 1)
        beside = 2 if small == 4 else min(small, SMALL_BESIDE)
        if self.styles.grid_size_columns != beside:
            self.styles.grid_size_columns = beside
            self._plots[0].styles.column_span = beside
