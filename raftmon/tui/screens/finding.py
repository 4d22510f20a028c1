"""Why a finding says what it says: readings against thresholds, since when, and what is missing."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from raftmon.model import CampaignView, Finding, FindingState, PointsTo, RunView
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, NOTHING, SEVERITIES, assemble, fit, number, run_name, sentence
from raftmon.tui.widgets.advice_panel import by_severity, verdict_line
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
    if finding.missing:
        lines += [Content(), *wrap(assemble(("waits for ", "$text-warning"), ", ".join(finding.missing)), width)]
    lines += [Content(), *_readings(finding)]
    return [*lines, Content(), assemble(("rule ", MUTED), finding.rule)]


def _readings(finding: Finding) -> list[Content]:
    readings = [(reading.signal, number(reading.value), reading.unit) for reading in finding.readings]
    limits = [(name, number(value), "") for name, value in finding.thresholds.items()]
    label = max([len(name) for name, _, _ in readings + limits] or [0])
    lines: list[Content] = []
    for title, rows in (("readings", readings), ("compared with", limits)):
        lines += [assemble((title, "bold"))] if rows else []
        for name, value, unit in rows:
            strength = "bold" if rows is readings and value != NOTHING else ""
            lines.append(assemble(f"  {fit(name, label)}  ", (value.rjust(10), strength), (f" {unit}", MUTED)))
    return lines


class FindingSheet(Sheet):
    """One finding after the other, beginning with the gravest that fires."""

    TITLE_TEXT = "WHY"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "turn(1)", "Next", show=False, id="finding-next", tooltip="The next finding"),
        Binding("left,h", "turn(-1)", "Previous", show=False, id="finding-back", tooltip="The finding before"),
    ]

    def __init__(self, run: RunView | None, campaign: CampaignView | None) -> None:
        super().__init__()
        self._run = run
        self._campaign = campaign
        self._findings = explained(run, campaign)
        self._index = 0

    def lines(self, width: int) -> list[Content]:
        """Return the verdict's reasons and the present finding."""
        lines: list[Content] = []
        if self._findings:
            lines = finding_lines(*self._findings[self._index], width)
        else:
            lines = [assemble(("no rule has looked at this run", MUTED))]
        if self._run is None:
            return lines
        verdict = self._run.verdict
        lines += [Content(), verdict_line(verdict), *wrap(assemble(sentence(verdict.why)), width)]
        for reason in verdict.reasons:
            lines += wrap(assemble(("· ", MUTED), reason), width, 0, 2)
        return lines

    def detail(self) -> str:
        """Return which finding of how many, and of what."""
        name = run_name(self._run) if self._run is not None else self._campaign.title if self._campaign else ""
        return f"{name}  {self._index + 1} of {len(self._findings)}" if self._findings else name

    def hint(self) -> str:
        """Return the keys."""
        return "esc close · ↑↓ scroll" + (" · ←→ other findings" if len(self._findings) > 1 else "")

    def action_turn(self, direction: int) -> None:
        """Explain another finding."""
        if self._findings:
            self._index = (self._index + direction) % len(self._findings)
            self.renew()
