"""Why a finding or the verdict says what it says: readings against limits, since when, how that is founded."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from raftmon.model import CampaignView, Finding, FindingState, PointsTo, RunView
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, SEVERITIES, assemble, run_name
from raftmon.tui.widgets.advice_panel import by_severity
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


def explained(run: RunView | None, campaign: CampaignView | None) -> list[tuple[Finding, bool]]:
    """Return the findings in the order in which they are explained, each with whether it counts in cycles.

    What fires comes first, the gravest before the others; among equals the run's before the campaign's.
    """
    ours = [(finding, False) for finding in run.findings] if run is not None else []
    ours += [(finding, True) for finding in campaign.findings] if campaign is not None else []
    gravity = {id(finding): index for index, finding in enumerate(by_severity(finding for finding, _ in ours))}
    return sorted(
        ours,
        key=lambda e: (ORDER.index(e[0].state), e[0].inhibited_by is not None, gravity[id(e[0])]),
    )


def finding_lines(finding: Finding, cycles: bool, width: int) -> list[Content]:
    """Return the explanation of one finding.

    Args:
        finding: what to explain.
        cycles: its steps are numbers of cycles.
        width: cells.
    """
    glyph, word, style = SEVERITIES[finding.severity]
    lines = wrap(assemble((f"{glyph} {word}  ", style), (finding.title, "bold")), width)
    since = f" since {'cycle' if cycles else 'step'} {finding.since_step}" if finding.since_step is not None else ""
    lines += wrap(assemble((f"{STATES[finding.state]}{since} · points to {MEANINGS[finding.points_to]}", MUTED)), width)
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
    """

    TITLE_TEXT = "WHY"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "turn(1)", "Next", show=False, id="finding-next", tooltip="The next finding"),
        Binding("left,h", "turn(-1)", "Previous", show=False, id="finding-back", tooltip="The finding before"),
        Binding(
            "w", "verdict", "Verdict", show=False, id="finding-verdict", tooltip="What the verdict was weighed from"
        ),
    ]

    def __init__(self, run: RunView | None, campaign: CampaignView | None, *, verdict: bool = False) -> None:
        super().__init__()
        self._run = run
        self._campaign = campaign
        self._findings = explained(run, campaign)
        speaks = any(finding.state in ("firing", "pending") for finding, _ in self._findings)
        self._page = 1 if self._findings and (run is None or (speaks and not verdict)) else 0

    def lines(self, width: int) -> list[Content]:
        """Return the present finding, or on page 0 the verdict."""
        if self._page:
            return finding_lines(*self._findings[self._page - 1], width)
        lines = verdict_lines(self._run.verdict, width) if self._run is not None else []
        if not self._findings:
            lines += [Content(), assemble(("no rule has looked at this run", MUTED))]
        return lines

    def detail(self) -> str:
        """Return which finding of how many, and of what."""
        name = run_name(self._run) if self._run is not None else self._campaign.title if self._campaign else ""
        where = f"{self._page} of {len(self._findings)}" if self._page else "verdict" if self._run is not None else ""
        return f"{name}  {where}".rstrip()

    def hint(self) -> str:
        """Return the keys."""
        if not self._findings:
            return "esc close · ↑↓ scroll"
        return "esc close · ↑↓ scroll · ←→ findings" + (" · w verdict" if self._run is not None else "")

    def action_turn(self, direction: int) -> None:
        """Explain another finding; the verdict comes before the first."""
        first = 0 if self._run is not None else 1
        if self._findings:
            self._page = first + (self._page - first + direction) % (len(self._findings) + 1 - first)
            self.renew()

    def action_verdict(self) -> None:
        """Explain the verdict."""
        if self._run is not None:
            self._page = 0
            self.renew()
