"""Why a finding or the verdict says what it says: readings against limits, since when, how that is founded."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message

from raftmon.model import CampaignView, Finding, FindingState, PointsTo, RunView, Snapshot
from raftmon.tui.mutes import Mutes
from raftmon.tui.screens.about import About
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, SEVERITIES, assemble
from raftmon.tui.widgets.advice_panel import IsMuted, by_severity, none_muted
from raftmon.tui.widgets.evidence_lines import founded_lines, proposal_lines, reading_lines, verdict_lines
from raftmon.tui.widgets.lines import wrap

__all__ = ["FindingSheet", "explained", "finding_lines"]

ORDER: tuple[FindingState, ...] = ("firing", "pending", "resolved", "unknown", "inactive")
STATES: dict[FindingState, str] = {
    "firing": "fires",
    "pending": "seen, not yet for long enough",
    "resolved": "has ended",
    "unknown": "cannot be judged",
    "inactive": "quiet",
}
MEANINGS: dict[PointsTo, str] = {
    "lr_too_high": "a learning rate that is too high",
    "lr_too_low": "a learning rate that is too low",
    "lr_ok": "a learning rate that is right",
    "schedule": "the schedule of the learning rate",
    "data": "the data",
    "collapse": "a model that collapses",
    "health": "the health of the run",
}
WIDE = 150
"""Columns of the terminal from which on the chart stands beside the text."""
LEAST_HEIGHT = 20
"""Lines of the terminal below which all room is the text's."""
SILENCE = ": no notice, no bell; the verdict and the learning rate stay as they are"


def explained(
    run: RunView | None, campaign: CampaignView | None, is_muted: IsMuted = none_muted
) -> list[tuple[Finding, RunView | CampaignView]]:
    """Return the findings in the order in which they are explained, each with whose it is.

    What fires comes first, what is muted last of it, the gravest before the others; among equals the run's before the
    campaign's.
    """
    ours: list[tuple[Finding, RunView | CampaignView]] = []
    for view in (run, campaign):
        ours += [(finding, view) for finding in view.findings] if view is not None else []
    gravity = {id(finding): index for index, finding in enumerate(by_severity(finding for finding, _ in ours))}

    def rank(entry: tuple[Finding, RunView | CampaignView]) -> tuple[int, bool, bool, int]:
        finding, view = entry
        muted = is_muted(view, finding.rule)
        return ORDER.index(finding.state), finding.inhibited_by is not None, muted, gravity[id(finding)]

    return sorted(ours, key=rank)


def finding_lines(finding: Finding, cycles: bool, width: int, *, muted: bool = False) -> list[Content]:
    """Return the explanation of one finding.

    Args:
        finding: what to explain.
        cycles: its steps are numbers of cycles.
        width: cells.
        muted: a person does not want to be called for it.
    """
    glyph, word, style = SEVERITIES[finding.severity]
    lines = wrap(assemble((f"{glyph} {word}  ", style), (finding.title, "bold")), width)
    since = f" since {'cycle' if cycles else 'step'} {finding.since_step}" if finding.since_step is not None else ""
    lines += wrap(assemble((f"{STATES[finding.state]}{since} · points to {MEANINGS[finding.points_to]}", MUTED)), width)
    if muted:
        lines += wrap(assemble((f"muted for this {'campaign' if cycles else 'run'}", "bold"), SILENCE), width)
    if finding.inhibited_by is not None:
        lines += wrap(assemble(("explained by ", MUTED), finding.inhibited_by), width)
    if finding.text:
        lines += [Content(), *wrap(assemble(finding.text), width)]
        lines += proposal_lines(finding.evidence, width) if finding.evidence is not None else []
    if finding.missing:
        lines += [Content(), *wrap(assemble(("waits for ", "$text-warning"), ", ".join(finding.missing)), width)]
    lines += [Content(), *reading_lines(finding, width)]
    if finding.evidence is not None:
        lines += founded_lines(finding.evidence, width)
    return [*lines, Content(), assemble(("raftmon rules show ", MUTED), finding.rule)]


class FindingSheet(Sheet):
    """The verdict, then one finding after the other; begins with the gravest that fires, or else with the verdict.

    Args:
        run: what is explained.
        campaign: its campaign, whose findings come among the run's.
        verdict: begin with the verdict in any case.
        mutes: what is muted; None: what is muted here ends with the sheet.
    """

    TITLE_TEXT = "WHY"
    DEFAULT_CSS = """
    FindingSheet {
        #why { height: 1fr; layout: vertical; }
        #moment { height: 9; margin-top: 1; }
        &.-small #moment { height: 8; }
        &.-wide #why { layout: horizontal; }
        &.-wide #text { width: 1fr; }
        &.-wide #moment { width: 1fr; height: 100%; max-height: 22; margin: 0 0 0 3; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "turn(1)", "Next", show=False, id="finding-next", tooltip="The next finding"),
        Binding("left,h", "turn(-1)", "Previous", show=False, id="finding-back", tooltip="The finding before"),
        Binding(
            "w", "verdict", "Verdict", show=False, id="finding-verdict", tooltip="What the verdict was weighed from"
        ),
        Binding(
            "m",
            "mute",
            "Mute",
            show=False,
            id="finding-mute",
            tooltip="Mute the finding for this run, or unmute it: no notice and no bell, the advice stays",
        ),
    ]

    class Muted(Message):
        """A finding was muted, or is muted no longer."""

    def __init__(
        self,
        run: RunView | None,
        campaign: CampaignView | None,
        *,
        verdict: bool = False,
        mutes: Mutes | None = None,
    ) -> None:
        super().__init__()
        self._about = About(run, campaign)
        self._mutes = mutes if mutes is not None else Mutes()
        self._findings = explained(run, campaign, self._mutes.holds)
        # For the order, as long as the sheet is open, whatever is muted meanwhile.
        self._silent = {(view.path, f.rule) for f, view in self._findings if self._mutes.holds(view, f.rule)}
        speaks = any(finding.state in ("firing", "pending") for finding, _ in self._findings)
        self._page = 1 if self._findings and (run is None or (speaks and not verdict)) else 0

    def compose_text(self) -> ComposeResult:
        """Lay out the lines and a chart, below or beside them."""
        # Imported here, with numpy: the first paint does without it.
        from raftmon.tui.plot import Plot

        with Container(id="why"):
            yield from super().compose_text()
            yield Plot(id="moment")

    def on_mount(self) -> None:
        """Draw the chart, and ask what other processes have muted meanwhile."""
        self._draw_chart()
        self._mutes.ask((self._about.run, self._about.campaign))

    def on_resize(self) -> None:
        """Find a place for the chart."""
        self.set_class(self.size.width >= WIDE, "-wide")
        self._draw_chart()

    def show(self, snapshot: Snapshot, run: RunView | None, campaign: CampaignView | None) -> None:
        """Show what the same finding says now; it is found again by its rule."""
        shown = self._shown
        self._about = self._about.now(snapshot, run, campaign)
        self._findings = explained(
            self._about.run, self._about.campaign, lambda v, rule: (v.path, rule) in self._silent
        )
        if shown is not None:
            same = [
                page
                for page, (finding, view) in enumerate(self._findings, 1)
                if (finding.rule, isinstance(view, CampaignView)) == (shown[0].rule, isinstance(shown[1], CampaignView))
            ]
            self._page = same[0] if same else min(self._page, len(self._findings))
        self.refresh_lines()

    @property
    def _shown(self) -> tuple[Finding, RunView | CampaignView] | None:
        """The finding on this page and whose it is; None on that of the verdict."""
        return self._findings[self._page - 1] if self._page else None

    def lines(self, width: int) -> list[Content]:
        """Return the present finding, or on page 0 the verdict."""
        lines = self._about.lines(width)
        if self._shown is not None:
            finding, view = self._shown
            muted = self._mutes.holds(view, finding.rule)
            return lines + finding_lines(finding, isinstance(view, CampaignView), width, muted=muted)
        lines += verdict_lines(self._about.run.verdict, width) if self._about.run is not None else []
        if not self._findings:
            lines += [Content(), assemble(("no rule has looked at this run", MUTED))]
        return lines

    def detail(self) -> str:
        """Return which finding of how many, and of what."""
        count = f"{self._page} of {len(self._findings)}"
        where = count if self._page else "verdict" if self._about.run is not None else ""
        return f"{self._about.name}  {where}".rstrip()

    def hint(self) -> str:
        """Return the keys that do something on this page."""
        wanted = [("close", "close")]
        if self._shown is not None:
            finding, view = self._shown
            wanted.append(("finding-mute", "unmute" if self._mutes.holds(view, finding.rule) else "mute"))
        if self._findings and self._about.run is not None:
            wanted.append(("finding-verdict", "verdict"))
        return self.key_hints([*wanted, *([("finding-back finding-next", "findings")] if self._findings else [])])

    def refresh_lines(self) -> None:
        """Show lines, keys and chart as they are now."""
        super().refresh_lines()
        self._draw_chart()

    def show_mutes(self) -> None:
        """Show anew what is muted; the text stays where it is."""
        self.refresh_lines()

    def action_turn(self, direction: int) -> None:
        """Explain another finding; the verdict comes before the first."""
        first = 0 if self._about.run is not None else 1
        if self._findings:
            self._page = first + (self._page - first + direction) % (len(self._findings) + 1 - first)
            self.renew()

    def action_verdict(self) -> None:
        """Explain the verdict."""
        if self._about.run is not None:
            self._page = 0
            self.renew()

    def action_mute(self) -> None:
        """Mute the finding, or mute it no longer."""
        if self._shown is None:
            self.notify("Turn to a finding first: a verdict cannot be muted.", severity="warning", timeout=3)
            return
        finding, view = self._shown
        self._mutes.toggle(view, finding.rule)
        self.show_mutes()
        self.post_message(self.Muted())

    def _draw_chart(self) -> None:
        """Show the series that the finding is about, where there is room for it."""
        from raftmon.tui.plot import Plot
        from raftmon.tui.widgets.finding_chart import moment_of

        plots = self.query(Plot)
        if not plots:
            return  # not composed yet
        plot, shown = plots.first(), self._shown
        moment = moment_of(*shown, self._about.run) if shown is not None and self.size.height >= LEAST_HEIGHT else None
        plot.display = moment is not None
        if moment is not None:
            plot.show(moment.chart, log=False, cursor=None, focused=False, window=moment.window)
