"""Which findings are worth interrupting for."""

from __future__ import annotations

from raftmon.model import Finding, Snapshot
from raftmon.tui.text import run_name

__all__ = ["new_alarms"]


def new_alarms(before: Snapshot | None, after: Snapshot) -> list[tuple[str, Finding]]:
    """Return the grave findings that fire now and did not before, with the names of their runs or campaigns.

    Nothing is new at the start or while history is read: what fires then began long ago.
    """
    if before is None or before.backfilling or after.backfilling:
        return []
    known = {(path, finding.rule) for path, _, finding in _grave(before)}
    return [(name, finding) for path, name, finding in _grave(after) if (path, finding.rule) not in known]


def _grave(snapshot: Snapshot) -> list[tuple[str, str, Finding]]:
    found = [(run.path, run_name(run), finding) for run in snapshot.runs for finding in run.firing]
    found += [(c.path, c.title, finding) for c in snapshot.campaigns for finding in c.firing]
    return [entry for entry in found if entry[2].severity in ("high", "critical")]
