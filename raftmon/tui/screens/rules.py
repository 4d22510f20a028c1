"""Every rule that looks at the selected run or its campaign, and what each of them says just now."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from raftmon.model import CampaignView, Finding, RunView, Snapshot
from raftmon.tui.mutes import Mutes
from raftmon.tui.screens.about import About
from raftmon.tui.screens.finding import ORDER, STATES, explained
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, SEVERITIES, assemble, fit, plural
from raftmon.tui.widgets.advice_panel import IsMuted, none_muted
from raftmon.tui.widgets.lines import wrap

__all__ = ["RulesSheet", "rule_lines"]

ID_WIDTH = 24
"""Cells for the id of a rule; a longer one loses its middle."""
WIDE = 80
"""Cells from which on the id and the title stand side by side."""


def rule_lines(
    findings: list[tuple[Finding, RunView | CampaignView]], width: int, is_muted: IsMuted = none_muted
) -> list[Content]:
    """Return the rules by what they say, those that fire first.

    Args:
        findings: each with whose it is, in the order of `ORDER`.
        width: cells.
        is_muted: tells what is muted.
    """
    if not findings:
        return [assemble(("no rule has looked at this run", MUTED))]
    lines: list[Content] = []
    for state, group in groupby(findings, key=lambda entry: ORDER.index(entry[0].state)):
        ours = list(group)
        title = STATES[ORDER[state]]
        lines += [assemble((title, "bold"), (f"  {plural(len(ours), 'rule')}", MUTED))]
        for finding, view in ours:
            muted = is_muted(view, finding.rule)
            lines += _rule(finding, isinstance(view, CampaignView), width, muted=muted)
        lines.append(Content())
    return lines[:-1]


def _rule(finding: Finding, cycles: bool, width: int, *, muted: bool) -> list[Content]:
    glyph, word, style = SEVERITIES[finding.severity]
    since = f"  since {'cycle' if cycles else 'step'} {finding.since_step}" if finding.since_step is not None else ""
    waits = f"  waits for {', '.join(finding.missing)}" if finding.missing else ""
    cause = f"  explained by {finding.inhibited_by}" if finding.inhibited_by is not None else ""
    grave = ("  " + f"{glyph} {word}".ljust(11), MUTED if muted else style)
    head = assemble(grave, (fit(finding.rule, ID_WIDTH), MUTED if muted else "$text-primary"), " ")
    silent = "  muted" if muted else ""
    text = assemble((finding.title, MUTED if muted else ""), (silent + since + waits + cause, MUTED))
    if width < WIDE:
        return [head, *wrap(text, width, 4)]
    lines = wrap(text, width, head.cell_length)
    return [head + lines[0][head.cell_length :], *lines[1:]]


class RulesSheet(Sheet):
    """The rules of one run and its campaign.

    Args:
        run: the run, or None.
        campaign: its campaign, or None.
        mutes: what is muted; None: nothing.
    """

    TITLE_TEXT = "RULES"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "dismiss_sheet", "Close", show=False, id="rules-close", tooltip="Close it again"),
    ]

    def __init__(self, run: RunView | None, campaign: CampaignView | None, mutes: Mutes | None = None) -> None:
        super().__init__()
        self._about = About(run, campaign)
        self._mutes = mutes if mutes is not None else Mutes()

    def on_mount(self) -> None:
        """Ask what other processes have muted meanwhile."""
        self._mutes.ask((self._about.run, self._about.campaign))

    def show(self, snapshot: Snapshot, run: RunView | None, campaign: CampaignView | None) -> None:
        """Show what the rules say now."""
        self._about = self._about.now(snapshot, run, campaign)
        self.refresh_lines()

    def show_mutes(self) -> None:
        """Show anew what is muted."""
        self.refresh_lines()

    def lines(self, width: int) -> list[Content]:
        """Return the rules."""
        is_muted = self._mutes.holds
        findings = explained(self._about.run, self._about.campaign, is_muted)
        return [*self._about.lines(width), *rule_lines(findings, width, is_muted)]

    def detail(self) -> str:
        """Return whose rules they are."""
        return self._about.name
