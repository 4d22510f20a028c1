"""All cycles of the selected run's campaign, what the next one should do, and what each strategy would."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content

from raftmon.model import CampaignView
from raftmon.tui.bindings import EXPLAIN, FOCUS, SCREENSHOT, VERDICT
from raftmon.tui.figure import Chart
from raftmon.tui.mutes import Mutes
from raftmon.tui.plot import Plot
from raftmon.tui.screens.detail import DetailScreen
from raftmon.tui.text import MUTED, assemble
from raftmon.tui.widgets.campaign_panel import best_line
from raftmon.tui.widgets.charts import chart_of
from raftmon.tui.widgets.cycles_plan import panel_lines
from raftmon.tui.widgets.cycles_table import CycleTable, header_lines, row_lines, runs_of
from raftmon.tui.widgets.lines import Heading, LinesView

__all__ = ["CyclesScreen"]

LEGEND_FROM = 100
"""Columns of the terminal from which on the marks are explained beside the title."""
FEWEST_ROWS = 3
"""Lines that the table keeps however low the terminal is."""


ASK_SECONDS = 10.0
"""Between looks at the journal, which other processes write."""
CHART = (8, 22)
"""Least and largest lines of the chart of the rates, which has what the table and the plan leave."""


class CyclesScreen(DetailScreen):
    """The table above, scrolled by itself, and the plan below."""

    DEFAULT_CSS = """
    CyclesScreen { layout: vertical; background: $background; }
    CyclesScreen #cycles-head, CyclesScreen #cycles-heading, CyclesScreen #plan-heading { height: 1; }
    CyclesScreen #cycles-head, CyclesScreen #cycles-heading, CyclesScreen #plan-heading,
    CyclesScreen #cycles-rows, CyclesScreen #plan, CyclesScreen #cycles-chart { padding: 0 1; }
    CyclesScreen #cycles-chart { margin: 1 0; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        replace(FOCUS[0], show=True),
        FOCUS[1],
        EXPLAIN,
        VERDICT,
        SCREENSHOT,
    ]
    PLACE = "cycles"

    def __init__(self, title: str, mutes: Mutes | None = None) -> None:
        super().__init__(title)
        self._journal = mutes if mutes is not None else Mutes()
        self._seen: tuple[str, int | None] | None = None
        """Campaign and cycle that the table was scrolled to."""
        self._charted: dict[Hashable, Chart] = {}

    def compose_content(self) -> ComposeResult:
        """Lay out the table with its titles, and the plan."""
        yield Heading("CYCLES", id="cycles-heading")
        head = LinesView(id="cycles-head")
        head.can_focus = False
        yield head
        yield LinesView(id="cycles-rows")
        yield Plot(id="cycles-chart")
        yield Heading("PLAN", id="plan-heading")
        yield LinesView(id="plan")

    def on_mount(self) -> None:
        """Begin with the newest cycles, and the keys on what has more than it shows."""
        super().on_mount()
        self.query_one("#cycles-rows").focus()
        self._ask()
        self.set_interval(ASK_SECONDS, self._ask)

    def on_descendant_focus(self) -> None:
        """Mark the heading of the panel with the focus."""
        self._mark()

    def on_descendant_blur(self) -> None:
        """Take the mark away."""
        self._mark()

    def draw(self) -> None:
        """Show the campaign as it is now."""
        campaign = self.campaign
        for selector in ("#cycles-head", "#plan-heading", "#plan"):
            self.query_one(selector).display = campaign is not None
        if campaign is None:
            self._seen = None
            self.query_one("#cycles-heading", Heading).show()
            rows = self.query_one("#cycles-rows", LinesView)
            rows.styles.height = "1fr"
            self.query_one("#cycles-chart").display = False
            rows.show(lambda _: [Content.styled(self._nothing(), MUTED)], from_top=True)
            return
        self._draw_table(campaign)
        self._draw_chart(campaign)
        applied = self._journal.applied_to(campaign)
        self.query_one("#plan", LinesView).show(lambda width: panel_lines(campaign, width, applied))

    def show_mutes(self) -> None:
        """Show what another process has written into the config."""
        self.draw()

    def _ask(self) -> None:
        self._journal.ask((self.campaign,))

    def _draw_table(self, campaign: CampaignView) -> None:
        run = self.run
        current = run.cycle if run is not None else None
        table = CycleTable(campaign, runs_of(campaign, self.snapshot.runs if self.snapshot else ()), current)
        legend = "  > selected  ↩ checkpoint to use" if self.size.width >= LEGEND_FROM else ""
        heading = self.query_one("#cycles-heading", Heading)
        heading.show(campaign.title, best_line(campaign) + assemble((legend, MUTED)))
        # The titles have the width of the rows even where these have a bar at their right edge.
        self.query_one("#cycles-head", LinesView).show(lambda width: header_lines(table, width))
        rows = self.query_one("#cycles-rows", LinesView)
        height = self._table_height(campaign)
        rows.styles.height = height
        rows.show(lambda width: row_lines(table, width))
        seen = campaign.path, current
        if seen != self._seen:
            self._seen = seen
            self.call_after_refresh(self._bring_into_view, table.current_row)

    def _table_height(self, campaign: CampaignView) -> int:
        """Return the lines of the table: all it needs, but no more than half of the screen."""
        # Status bar, two headings, titles and keys.
        room = max(self.size.height - 5, 2)
        return max(min(len(campaign.cycles), room // 2), min(FEWEST_ROWS, room - 1), 1)

    def _draw_chart(self, campaign: CampaignView) -> None:
        """Draw the rates over the cycles where the table and the plan leave room."""
        plot = self.query_one(Plot)
        chart = chart_of("verification_rate", self.run, campaign, self._charted)
        self._charted = {chart.version: chart}
        # The plan has a cell at each side, and keeps two for its bar.
        plan = len(panel_lines(campaign, max(self.size.width - 4, 1), self._journal.applied_to(campaign)))
        # Status bar, two headings, titles, keys, and a line above and below.
        room = self.size.height - 7 - self._table_height(campaign) - plan
        plot.display = room >= CHART[0] and chart.bars is not None and len(chart.bars.x) > 1
        if plot.display:
            plot.styles.height = min(room, CHART[1])
            plot.show(chart, log=False, cursor=None, focused=False)

    def _bring_into_view(self, row: int) -> None:
        """Bring a row into view, as far down as it can be: what came before it tells more than what came after."""
        rows = self.query_one("#cycles-rows", LinesView)
        rows.top = row - rows.size.height + 1

    def _nothing(self) -> str:
        """Return why there is no table, in a sentence."""
        campaigns = self.snapshot.campaigns if self.snapshot is not None else ()
        if self.snapshot is None:
            return "The event files are still being read."
        if campaigns:
            return f"The selected run belongs to no campaign; there is {', '.join(c.title for c in campaigns)}."
        return "There is no campaign: no directory here holds runs or files of numbered cycles."

    def _mark(self) -> None:
        for heading, panel in (("#cycles-heading", "#cycles-rows"), ("#plan-heading", "#plan")):
            self.query_one(heading, Heading).mark(self.query_one(panel).has_focus)
