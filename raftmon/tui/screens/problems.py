"""The list of everything that could not be read as it should."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from raftmon.model import CampaignView, Problem, RunView, Snapshot
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.text import MUTED, assemble, plural
from raftmon.tui.widgets.lines import wrap

__all__ = ["ProblemsSheet", "problem_lines"]


def problem_lines(problems: tuple[Problem, ...], width: int) -> list[Content]:
    """Return what is wrong, where, and what to do about it."""
    lines: list[Content] = []
    for problem in problems:
        lines += wrap(assemble(("! ", "bold $text-warning"), (problem.what, "bold")), width, 0, 2)
        lines += wrap(assemble((problem.where, MUTED)), width, 2)
        lines += wrap(assemble(("→ ", "$text-primary"), problem.remedy), width, 2, 4) if problem.remedy else []
        lines.append(Content())
    return lines or [assemble(("no problem: every file, rule and config was read", MUTED))]


class ProblemsSheet(Sheet):
    """Problems with their remedies."""

    TITLE_TEXT = "PROBLEMS"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "dismiss_sheet", "Close", show=False, id="problems-close", tooltip="Close it again"),
    ]

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__()
        self._problems = problems

    def show(self, snapshot: Snapshot, run: RunView | None, campaign: CampaignView | None) -> None:  # noqa: ARG002
        """Show the problems there are now."""
        self._problems = snapshot.problems
        self.refresh_lines()

    def lines(self, width: int) -> list[Content]:
        """Return the problems."""
        return problem_lines(self._problems, width)

    def detail(self) -> str:
        """Return how many there are."""
        return plural(len(self._problems), "problem")
