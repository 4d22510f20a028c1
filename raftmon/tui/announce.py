"""Which changes are worth interrupting for."""

from __future__ import annotations

from typing import TypeAlias

from raftmon.model import CampaignView, Finding, RunView, Snapshot, Standstill
from raftmon.slotted import dataclass
from raftmon.tui.text import cut_end, cut_middle, run_name

__all__ = ["LOW_SECONDS", "News", "halts", "most_news", "news", "short_notice"]

MOST_NEWS, LOW_NEWS = 3, 2
"""Notices for one snapshot, also on a low terminal; more would hide the screen."""
LOW_SECONDS = 3.0
"""How long a notice stays on a low terminal."""
_WIDEST, _FRAME = 60, 4
"""Cells of a notice at most, half of the terminal at most; and those that are not text: an edge, and blanks."""

_Told: TypeAlias = tuple[str, Finding, RunView | CampaignView]


@dataclass(frozen=True, slots=True)
class News:
    """A grave finding that began to fire, or no longer does."""

    name: str
    """Of the run or campaign."""
    finding: Finding
    ended: bool
    """Whether it has ended."""
    view: RunView | CampaignView
    """Whose it is."""


def news(before: Snapshot | None, after: Snapshot) -> list[News]:
    """Return the grave findings that fire now and did not before, then those that did and have ended.

    Nothing is new at the start or while history is read: what fires then began long ago. A run that is gone has not
    mended anything, and a finding that another one explains now has not ended.
    """
    if before is None or before.backfilling or after.backfilling:
        return []
    were, are = _grave(before), _grave(after)
    quiet = {(path, f.rule) for path, f in _all(after) if f.state in ("resolved", "inactive")}
    begun = [News(name, finding, False, view) for key, (name, finding, view) in are.items() if key not in were]
    return begun + [
        News(name, finding, True, view)
        for key, (name, finding, view) in were.items()
        if key not in are and key in quiet
    ]


def halts(before: Snapshot | None, after: Snapshot) -> list[tuple[RunView, Standstill]]:
    """Return the runs that stand still now and did not before, each with the evidence; see `news`."""
    if before is None or before.backfilling or after.backfilling:
        return []
    were = {run.path: run.standstill.kind if run.standstill is not None else None for run in before.runs}
    grave = ("stalled", "cut_off")
    return [
        (run, run.standstill)
        for run in after.runs
        if run.standstill is not None
        and run.standstill.kind in grave
        and were.get(run.path, run.standstill.kind) != run.standstill.kind
    ]


def most_news(*, low: bool) -> int:
    """Return how many notices there may be for one snapshot."""
    return LOW_NEWS if low else MOST_NEWS


def short_notice(name: str, what: str, text: str, width: int) -> tuple[str, str]:
    """Return title and text of a notice that takes one line each.

    Args:
        name: of the run or campaign; gives way first.
        what: what of it, behind the name.
        text: what has happened.
        width: cells of the terminal.
    """
    room = max(min(_WIDEST, width // 2) - _FRAME, 1)
    return cut_middle(name, max(room - len(what), 0)) + what, cut_end(text, room)


def _grave(snapshot: Snapshot) -> dict[tuple[str, str], _Told]:
    """Return name, finding and whose it is by path and rule."""
    found: list[_Told] = [
        (run_name(run), finding, run)
        for run in snapshot.runs
        for finding in run.firing
        if not finding.tells_standstill  # `halts` does
    ]
    found += [(c.title, finding, c) for c in snapshot.campaigns for finding in c.firing]
    return {(view.path, f.rule): (name, f, view) for name, f, view in found if f.severity in ("high", "critical")}


def _all(snapshot: Snapshot) -> list[tuple[str, Finding]]:
    found = [(run.path, finding) for run in snapshot.runs for finding in run.findings]
    return found + [(c.path, finding) for c in snapshot.campaigns for finding in c.findings]
