"""The overview: campaign, runs, advice and charts on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input

from raftmon.model import CampaignView, RunView, Snapshot
from raftmon.tui.belonging import campaign_of
from raftmon.tui.bindings import EXPLAIN, FOCUS, SCREENS, SCREENSHOT, VERDICT
from raftmon.tui.changer import Changer
from raftmon.tui.export import export_screen, export_series
from raftmon.tui.mutes import Mutes
from raftmon.tui.overlay import Marks
from raftmon.tui.screens.apply import READ_ONLY, ApplySheet
from raftmon.tui.screens.finding import FindingSheet
from raftmon.tui.screens.problems import ProblemsSheet
from raftmon.tui.screens.rules import RulesSheet
from raftmon.tui.state import State
from raftmon.tui.text import MUTED
from raftmon.tui.widgets.advice_panel import advice_lines
from raftmon.tui.widgets.campaign_panel import CampaignPanel, best_line, campaign_lines
from raftmon.tui.widgets.charts_panel import ChartsPanel
from raftmon.tui.widgets.filter_bar import FilterBar
from raftmon.tui.widgets.keys_bar import KeysBar
from raftmon.tui.widgets.lines import Heading, LinesView
from raftmon.tui.widgets.runs_table import RunsTable
from raftmon.tui.widgets.standstill_lines import standstill_lines
from raftmon.tui.widgets.status_bar import Status, StatusBar

if TYPE_CHECKING:
    from raftmon.tui.app import RaftmonApp

__all__ = ["Overview"]

NARROW, SHORT, TALL = 100, 28, 40
"""Columns and lines of the terminal: below the first two room is saved, from the last on counts are shown."""


class Overview(Screen[None]):
    """Shows a snapshot and moves about in it; asks nobody for data."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="filter", tooltip="Filter runs: word, !word, /pattern/"),
        Binding("y", "toggle_log", "Log", id="log", tooltip="Logarithmic or linear y axes"),
        EXPLAIN,
        VERDICT,
        Binding("v", "next_chart", "Chart", id="chart", tooltip="Enlarge the next chart"),
        Binding(
            "left,h,left_square_bracket",
            "cursor(-1)",
            "Back",
            show=False,
            id="value-back",
            tooltip="Move the value cursor back in all charts",
        ),
        Binding(
            "right,l,right_square_bracket",
            "cursor(1)",
            "On",
            show=False,
            id="value-on",
            tooltip="Move the value cursor on in all charts",
        ),
        Binding(
            "e", "export", "Export", show=False, id="export", tooltip="Write the charts' series to a CSV file here"
        ),
        SCREENSHOT,
        Binding("m", "mark", "Mark", show=False, id="mark", tooltip="Mark the run to be drawn over others on screen 3"),
        *FOCUS,
        Binding(
            "escape",
            "reset",
            "Reset",
            show=False,
            id="reset",
            tooltip="Drop cursor, then filter; then follow live run",
        ),
        *SCREENS,
    ]

    def __init__(self, title: str, changer: Changer | None = None, mutes: Mutes | None = None) -> None:
        super().__init__()
        self._mutes = mutes if mutes is not None else Mutes()
        self._title = title
        self._changer = changer
        self._snapshot: Snapshot | None = None
        self._status = Status(title)
        self._advised: str | None = None
        self._left = State()
        self.marks = Marks()
        """The runs that are drawn over each other on the Run screen."""

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield StatusBar(self._title)
        yield Heading("CAMPAIGN", id="campaign-heading")
        yield CampaignPanel(id="campaign")
        yield RunsTable(id="runs")
        with Horizontal(id="body"):
            with Vertical(id="advice-side"):
                yield Heading("ADVICE", id="advice-heading")
                yield LinesView(id="advice")
            yield ChartsPanel(id="charts")
        yield FilterBar()
        yield KeysBar()

    def on_mount(self) -> None:
        """Begin with the runs."""
        self.query_one(StatusBar).show(self._status)
        self.query_one(ChartsPanel).resume(self._left.chart, log=self._left.log)
        self.query_one(Input).value = self._left.filter
        self._draw()
        self.query_one(RunsTable).letter = self.marks.letter
        self.query_one(RunsTable).focus()

    def on_resize(self) -> None:
        """Choose the layout for the size."""
        width, height = self.size
        self.set_class(width < NARROW, "-narrow")
        self.set_class(height >= SHORT, "-medium")
        self.set_class(height >= TALL, "-tall")
        self._draw()

    def on_descendant_focus(self) -> None:
        """Mark the heading of the panel with the focus."""
        self._mark()

    def on_descendant_blur(self) -> None:
        """Take the mark away."""
        self._mark()

    @property
    def run(self) -> RunView | None:
        """The selected run."""
        return self.query_one(RunsTable).selected

    @property
    def campaign(self) -> CampaignView | None:
        """The campaign of the selected run."""
        return campaign_of(self._snapshot, self.run) if self._snapshot is not None else None

    def show(self, snapshot: Snapshot) -> None:
        """Show another snapshot."""
        self._snapshot = snapshot
        if self.is_mounted:
            self._draw()

    def show_mutes(self) -> None:
        """Show anew what is muted."""
        if self.is_mounted:
            self._draw_run()

    @property
    def state(self) -> State:
        """How it is left."""
        charts = self.query_one(ChartsPanel)
        return State(log=charts.log_scale, chart=charts.main, filter=self.query_one(RunsTable).filter.text)

    def begin_with(self, state: State) -> None:
        """Go on where it was left; takes effect when the screen is made."""
        self._left = state

    def show_status(self, status: Status) -> None:
        """Show how the watching goes."""
        self._status = status
        if self.is_mounted:
            self.query_one(StatusBar).show(status)

    @on(RunsTable.Selected)
    def _selected(self) -> None:
        self._draw_run()

    @on(Input.Changed)
    def _filter_changed(self, event: Input.Changed) -> None:
        table = self.query_one(RunsTable)
        table.set_filter(event.value)
        self.query_one(FilterBar).complain(table.filter.error)
        self._draw()

    @on(FilterBar.Closed)
    def _filter_closed(self) -> None:
        self.query_one(RunsTable).focus()

    def action_filter(self) -> None:
        """Open the filter line."""
        self.query_one(FilterBar).open()

    def action_toggle_log(self) -> None:
        """Change the y axes."""
        self.query_one(ChartsPanel).toggle_log()

    def action_next_chart(self) -> None:
        """Enlarge the next chart."""
        self.query_one(ChartsPanel).action_next_chart(1)

    def action_cursor(self, direction: int) -> None:
        """Move the value cursor."""
        self.query_one(ChartsPanel).action_cursor(direction)

    def action_explain(self) -> None:
        """Explain what fires."""
        self.app.push_screen(FindingSheet(self.run, self.campaign, mutes=self._mutes))

    def action_explain_verdict(self) -> None:
        """Explain the verdict of the selected run."""
        self.app.push_screen(FindingSheet(self.run, self.campaign, verdict=True, mutes=self._mutes))

    def action_rules(self) -> None:
        """List the rules."""
        self.app.push_screen(RulesSheet(self.run, self.campaign, self._mutes))

    def action_cycles(self) -> None:
        """Show the campaign as a table."""
        # Imported here: a logdir without a campaign never needs it.
        from raftmon.tui.screens.cycles import CyclesScreen

        cast("RaftmonApp", self.app).open_detail(CyclesScreen(self._title, self._mutes))

    def action_problems(self) -> None:
        """List the problems."""
        self.app.push_screen(ProblemsSheet(self._snapshot.problems if self._snapshot is not None else ()))

    def action_apply(self) -> None:
        """Open what writes the next cycle's learning rate, or say how to get it."""
        if self._changer is None:
            self.app.notify(READ_ONLY, severity="warning", markup=False)
        else:
            self.app.push_screen(ApplySheet(self._changer, self.run, self.campaign))

    def action_run(self) -> None:
        """Show all charts of the selected run."""
        # Imported here: the first screen does without it.
        from raftmon.tui.screens.run import RunScreen

        cast("RaftmonApp", self.app).open_detail(RunScreen(self._title, self.marks))

    def action_mark(self) -> None:
        """Mark the selected run for comparison, or take its mark away."""
        if self.run is not None:
            self.marks.toggle(self.run.path)
            self.query_one(RunsTable).refresh()

    def action_copy(self) -> None:
        """Copy the advice as plain text."""
        lines = advice_lines(self.run, self.campaign, 100, is_muted=self._mutes.holds)
        self.app.copy_to_clipboard("\n".join(line.plain.rstrip() for line in lines).strip() + "\n")
        self.app.notify("The advice is on the clipboard.", timeout=2)

    def action_export(self) -> None:
        """Write the visible series to a file."""
        roles = [plot.chart.role for plot in self.query_one(ChartsPanel).plots if plot.chart is not None]
        export_series(self.app, self.run, roles)

    def action_screenshot(self) -> None:
        """Write the screen to a file, whichever is on top."""
        export_screen(self.app)

    def action_reset(self) -> None:
        """Take away what narrows the view, one thing at a time."""
        charts = self.query_one(ChartsPanel)
        if charts.cursor is not None:
            charts.clear_cursor()
        elif self.query_one(RunsTable).filter.text:
            self.query_one(FilterBar).clear()
        else:
            self.query_one(RunsTable).follow()
            self._draw_run()

    def _draw(self) -> None:
        table = self.query_one(RunsTable)
        snapshot = self._snapshot
        if snapshot is None:
            table.show((), "reading the event files…")
        else:
            waiting = f"waiting for event files in {', '.join(snapshot.logdirs) or 'no logdir'}"
            table.show(snapshot.runs, waiting, snapshot.logdirs)
        height = self.size.height
        share = 4 if height < SHORT else height // 4
        table.styles.height = min(table.wanted_height(), share + 1)
        self._draw_run()

    def _draw_run(self) -> None:
        run, campaign = self.run, self.campaign
        self._draw_campaign(campaign, run)
        advice = self.query_one("#advice", LinesView)
        path = run.path if run is not None else None
        advice.show(lambda width: self._advice(run, campaign, width), from_top=path != self._advised)
        self._advised = path
        name = self.query_one(RunsTable).name_of(run) if run is not None else ""
        self.query_one("#advice-heading", Heading).show(name)
        if self._snapshot is not None:
            self.query_one(ChartsPanel).show(run, campaign)

    def _advice(self, run: RunView | None, campaign: CampaignView | None, width: int) -> list[Content]:
        if run is None and campaign is None:
            return [Content.styled("no run to advise on yet", MUTED)]
        compact = self.size.height < SHORT
        still = standstill_lines(run, width)
        return [
            *still,
            *([] if compact or not still else [Content()]),
            *advice_lines(run, campaign, width, compact=compact, is_muted=self._mutes.holds),
        ]

    def _draw_campaign(self, campaign: CampaignView | None, run: RunView | None) -> None:
        heading, panel = self.query_one("#campaign-heading", Heading), self.query_one(CampaignPanel)
        others = self._snapshot.campaigns if self._snapshot is not None else ()
        panel.display = campaign is not None
        heading.display = campaign is not None or self.size.height >= SHORT
        if campaign is None:
            named = ", ".join(c.title for c in others)
            heading.show(f"the selected run belongs to none; there is {named}" if others else "none found")
            return
        heading.show(campaign.title, best_line(campaign))
        cycle = run.cycle if run is not None else None
        tall = self.size.height >= TALL
        panel.show(lambda width: campaign_lines(campaign, cycle, width, tall=tall))

    def _mark(self) -> None:
        self.query_one("#advice-heading", Heading).mark(self.query_one("#advice").has_focus)
