"""Which changes are worth interrupting for."""

from __future__ import annotations

from raftmon.model import Finding, Snapshot, Standstill
from raftmon.slotted import dataclass
from raftmon.tui.text import run_name

__all__ = ["News", "halts", "news"]


@dataclass(frozen=True, slots=True)
class News:
    """A grave finding that began to fire, or no longer does."""

    name: str
    """Of the run or campaign."""
    finding: Finding
    ended: bool
    """Whether it has ended."""


def news(before: Snapshot | None, after: Snapshot) -> list[News]:
    """Return the grave findings that fire now and did not before, then those that did and have ended.

    Nothing is new at the start or while history is read: what fires then began long ago. A run that is gone has not
    mended anything, and a finding that another one explains now has not ended.
    """
    if before is None or before.backfilling or after.backfilling:
        return []
    were, are = _grave(before), _grave(after)
    quiet = {(path, f.rule) for path, f in _all(after) if f.state in ("resolved", "inactive")}
    begun = [News(name, finding, False) for key, (name, finding) in are.items() if key not in were]
    return begun + [
        News(name, finding, True) for key, (name, finding) in were.items() if key not in are and key in quiet
    ]


def halts(before: Snapshot | None, after: Snapshot) -> list[tuple[str, Standstill]]:
    """Return name and evidence of the runs that stand still now and did not before; see `news`."""
    if before is None or before.backfilling or after.backfilling:
        return []
    were = {run.path: run.standstill.kind if run.standstill is not None else None for run in before.runs}
    grave = ("stalled", "cut_off")
    return [
        (run_name(run), run.standstill)
        for run in after.runs
        if run.standstill is not None
        and run.standstill.kind in grave
        and were.get(run.path, run.standstill.kind) != run.standstill.kind
    ]


def _grave(snapshot: Snapshot) -> dict[tuple[str, str], tuple[str, Finding]]:
    """Return name and finding by path and rule."""
    found = [(run.path, run_name(run), finding) for run in snapshot.runs for finding in run.firing]
    found += [(c.path, c.title, finding) for c in snapshot.campaigns for finding in c.firing]
    return {(path, f.rule): (name, f) for path, name, f in found if f.severity in ("high", "critical")}


def _all(snapshot: Snapshot) -> list[tuple[str, Finding]]:
    found = [(run.path, finding) for run in snapshot.runs for finding in run.findings]
    return found + [(c.path, finding) for c in snapshot.campaigns for finding in c.findings]
