"""Which runs and campaigns of a snapshot are exported one by one: bounded, whatever lies in the logdirs.

A time series database pays for every run that was ever exported. So only those are that somebody may still want to be
called for: they go on, stand still, or ended a short while ago, so that one last scrape sees how.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from raftmon.model import CampaignView, RunView, Snapshot
from raftmon.slotted import dataclass

__all__ = ["Chosen", "Exported", "label", "logdir_of", "state_of", "states"]

MOST_RUNS: Final = 2000
MOST_CAMPAIGNS: Final = 500
ENDED_SECONDS: Final = 600.0
"""For so long a run that ended is still exported: forty scrapes at Prometheus' usual pace."""
CUT_OFF_SECONDS: Final = 86400.0
"""...and one whose process went before its planned end: somebody should have seen it."""
CAMPAIGN_SECONDS: Final = 86400.0
"""A campaign is exported for so long after its last change: hours pass between its cycles."""
MOST_LABEL: Final = 200
"""Characters of a label's value."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is exported one by one."""

    runs: tuple[RunView, ...]
    runs_omitted: int
    """Runs that should be among them and are too many; live ones come first, then stalled ones."""
    campaigns: tuple[CampaignView, ...]
    campaigns_omitted: int


class Exported:
    """Remembers what ended or changed when, from snapshot to snapshot.

    Args:
        most_runs: exported at one time.
        most_campaigns: exported at one time.
    """

    def __init__(self, most_runs: int = MOST_RUNS, most_campaigns: int = MOST_CAMPAIGNS) -> None:
        self._most_runs = most_runs
        self._most_campaigns = most_campaigns
        self._active: frozenset[str] = frozenset()
        self._ended: dict[str, float] = {}
        self._campaigns: dict[str, CampaignView] = {}
        self._changed: dict[str, float] = {}

    def take(self, snapshot: Snapshot, at: float) -> None:
        """Note what a new snapshot changed.

        Args:
            snapshot: the newest.
            at: seconds since the epoch.
        """
        active = []
        for view in snapshot.runs:
            if not _is_active(view):
                break  # the live and the stalled come first
            active.append(view.path)
        now = frozenset(active)
        self._ended = {path: since for path, since in self._ended.items() if _is_within(since, at, ENDED_SECONDS)}
        self._ended.update(dict.fromkeys(self._active - now, at))
        self._active = now
        campaigns = {view.path: view for view in snapshot.campaigns}
        for path, campaign in campaigns.items():
            if not _is_same(self._campaigns.get(path, campaign), campaign):
                self._changed[path] = at
        self._changed = {
            path: since
            for path, since in self._changed.items()
            if path in campaigns and _is_within(since, at, CAMPAIGN_SECONDS)
        }
        self._campaigns = campaigns

    def choose(self, snapshot: Snapshot, at: float) -> Chosen:
        """Return what of a snapshot is exported at a moment."""
        runs: list[RunView] = []
        newest: dict[tuple[str, str], float] = {}
        for view in snapshot.runs:
            if _is_active(view) or self._is_recent(view, at):
                runs.append(view)
            if view.campaign is not None:
                key = logdir_of(view.path, view.run), view.campaign
                newest[key] = max(newest.get(key, 0.0), view.last_wall_time or 0.0)
        campaigns = [view for view in snapshot.campaigns if self._is_going(view, newest, at)]
        if len(runs) > self._most_runs:
            runs.sort(key=_rank)
        return Chosen(
            tuple(runs[: self._most_runs]),
            max(0, len(runs) - self._most_runs),
            tuple(campaigns[: self._most_campaigns]),
            max(0, len(campaigns) - self._most_campaigns),
        )

    def _is_recent(self, view: RunView, at: float) -> bool:
        if view.path in self._ended:
            return True
        if view.last_wall_time is None:
            return False
        cut_off = view.standstill is not None and view.standstill.kind == "cut_off"
        return _is_within(view.last_wall_time, at, CUT_OFF_SECONDS if cut_off else ENDED_SECONDS)

    def _is_going(self, view: CampaignView, newest: dict[tuple[str, str], float], at: float) -> bool:
        if view.path in self._changed:
            return True
        moment = newest.get((logdir_of(view.path, view.name), view.name))
        return moment is not None and _is_within(moment, at, CAMPAIGN_SECONDS)


def state_of(view: RunView) -> str:
    """Return the state of a run, or the kind of its standstill."""
    return view.standstill.kind if view.standstill is not None else view.state


def logdir_of(path: str, name: str) -> str:
    """Return the logdir of a run or campaign.

    Args:
        path: its directory.
        name: its path below the logdir; `.` is the logdir itself.
    """
    return path if name == "." else path.removesuffix(name).rstrip("/") or "/"


def label(text: str) -> str:
    """Return a label's value for a path: short, printable, valid UTF-8, and another one for another path."""
    if len(text) <= MOST_LABEL and text.isprintable():
        return text
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    mark = hashlib.sha256(repr(text).encode()).hexdigest()[:8]
    # The end of a path tells more than its begin.
    return f"…{plain[-(MOST_LABEL - 10) :]}~{mark}" if len(plain) > MOST_LABEL - 9 else f"{plain}~{mark}"


def _is_active(view: RunView) -> bool:
    return view.state == "live" or view.stalled is not None


def _rank(view: RunView) -> int:
    """Return who has a place first when there are too many: what goes on, then what stands still."""
    return 1 if view.stalled is not None else 0 if view.state == "live" else 2


def _is_same(one: CampaignView, other: CampaignView) -> bool:
    """Tell whether nothing was judged anew; a copy with another path, as of a remote logdir, is the same."""
    return one.cycles is other.cycles and one.next is other.next and one.findings is other.findings


def _is_within(since: float, at: float, seconds: float) -> bool:
    """Tell whether a moment is no further away than that; a clock that was set back makes no difference."""
    return abs(at - since) <= seconds


def states(runs: Iterable[RunView]) -> dict[str, int]:
    """Return how many runs are in each state that there is."""
    counts = dict.fromkeys(("live", "stalled", "cut_off", "ended", "idle", "finished", "empty"), 0)
    for view in runs:
        counts[state_of(view)] += 1
    return counts
