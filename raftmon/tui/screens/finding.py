"""Why a finding or the verdict says what it says: readings against limits, since when, how that is founded."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from raftmon.model import CampaignView, Finding, FindingState, PointsTo, RunView
from raftmon.tui.mutes import Mutes
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, SEVERITIES, assemble, run_name
from raftmon.tui.widgets.advice_panel import IsMuted, by_severity, none_muted
from raftmon.tui.widgets.evidence_lines import founded_lines, proposal_lines, reading_lines, verdict_lines
from raftmon.tui.widgets.lines import LinesView, wrap

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
        self._run = run
        self._campaign = campaign
        self._mutes = mutes if mutes is not None else Mutes()
        # In this order as long as the sheet is open, whatever is muted meanwhile.
        self._findings = explained(run, campaign, self._mutes.holds)
        speaks = any(finding.state in ("firing", "pending") for finding, _ in self._findings)
        self._page = 1 if self._findings and (run is None or (speaks and not verdict)) else 0

    def lines(self, width: int) -> list[Content]:
        """Return the present finding, or on page 0 the verdict."""
        if self._page:
            finding, view = self._findings[self._page - 1]
            muted = self._mutes.holds(view, finding.rule)
            return finding_lines(finding, isinstance(view, CampaignView), width, muted=muted)
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
        """Return the keys that do something on this page."""
        wanted = [("close", "close")]
        if self._page:
            finding, view = self._findings[self._page - 1]
            wanted.append(("finding-mute", "unmute" if self._mutes.holds(view, finding.rule) else "mute"))
        if self._findings and self._run is not None:
            wanted.append(("finding-verdict", "verdict"))
        return self.key_hints([*wanted, *([("finding-back finding-next", "findings")] if self._findings else [])])

    def renew(self) -> None:
        """Show another page and its keys."""
        super().renew()
        self._renew_hint()

    def show_mutes(self) -> None:
        """Show anew what is muted; the text stays where it is."""
        self.query_one("#text", LinesView).show(self.lines)
        self._renew_hint()

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

    def action_mute(self) -> None:
        """Mute the finding, or mute it no longer."""
        if not self._page:
            self.notify("Turn to a finding first: a verdict cannot be muted.", severity="warning", timeout=3)
            return
        finding, view = self._findings[self._page - 1]
        self._mutes.toggle(view, finding.rule)
        self.show_mutes()
        self.post_message(self.Muted())

    def _renew_hint(self) -> None:
        self.query_one("#hint", LinesView).show(lambda _: [Content.styled(self.hint(), "$text-primary")])
