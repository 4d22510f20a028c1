"""The answers to what agents ask, as plain data: from a snapshot, the journal, and a dry run of the hook."""

from __future__ import annotations

import fnmatch
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from raftmon.errors import UsageError
from raftmon.grounds import Evidence
from raftmon.mcp.asked import ExplainRun, ListRuns, NextCycle, RunHistory
from raftmon.mcp.bounded import clean
from raftmon.model import CampaignView, RunView, Snapshot
from raftmon.override import Override, override_document
from raftmon.slotted import dataclass

__all__ = ["SCHEMA", "Answers", "DryRun", "Encoders"]

SCHEMA: Final = "raftmon/mcp@1"
HISTORY_SCHEMA: Final = "raftmon/history@1"
MOST_PROBLEMS: Final = 10
MOST_NAMES: Final = 10
"""Names that an error offers."""

Happened = Callable[[Sequence[str], str | None, str | None], Iterable[dict[str, Any]]]
"""Takes paths and two moments as a person writes them; yields what the journal holds of what is or lies there, the
oldest first."""
DryRun = Callable[[str, str, NextCycle], Override]
"""Works out the next cycle for a config and a logdir, and writes nothing."""
_View = TypeVar("_View", bound=RunView | CampaignView)


@dataclass(frozen=True, slots=True)
class Encoders:
    """How the command line writes the same things as JSON."""

    run: Callable[[RunView], dict[str, Any]]
    campaign: Callable[[CampaignView], dict[str, Any]]
    rule: Callable[[Evidence], dict[str, Any]]


class Answers:
    """Answers each tool.

    Args:
        snapshot: returns the newest state; may block.
        encoders: how views become documents.
        configs: trainers' configs, as the command line names them.
        logdirs: likewise.
        happened: what the journal holds.
        dry_run: the hook.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        encoders: Encoders,
        configs: Sequence[str],
        logdirs: Sequence[str],
        happened: Happened,
        dry_run: DryRun,
    ) -> None:
        self._snapshot = snapshot
        self._encoders = encoders
        self._configs = configs
        self._logdirs = logdirs
        self._happened = happened
        self._dry_run = dry_run

    def list_runs(self, asked: ListRuns) -> dict[str, Any]:
        """Return the runs in short, live and stalled ones first, and the campaigns."""
        snapshot = self._snapshot()
        found = [
            run
            for run in snapshot.runs
            if fnmatch.fnmatchcase(clean(run.run), asked.glob) and (run.firing or not asked.firing)
        ]
        part = found[asked.offset : asked.offset + asked.limit]
        return {
            "schema": SCHEMA,
            "logdirs": list(snapshot.logdirs),
            "as_of": snapshot.polled_at,
            **_page([self._brief(run) for run in part], len(found), asked.offset, "runs"),
            "campaigns": [_brief_campaign(campaign) for campaign in snapshot.campaigns],
            "problems": [msgspec.to_builtins(problem) for problem in snapshot.problems[:MOST_PROBLEMS]],
            "problems_in_all": len(snapshot.problems),
        }

    def explain_run(self, asked: ExplainRun) -> dict[str, Any]:
        """Return all that is known of a run, of the rules that have something to say of it, and of its campaign."""
        snapshot = self._snapshot()
        run = _chosen(asked.run, snapshot.runs)
        campaign = next((c for c in snapshot.campaigns if run.campaign == c.name and _holds(c, run)), None)
        views: list[RunView | CampaignView] = [run, *([campaign] if campaign is not None else [])]
        speaking = (f for view in views for f in view.findings if f.state in ("firing", "pending", "resolved"))
        rules = {f.rule: self._encoders.rule(f.evidence) for f in speaking if f.evidence is not None}
        return {
            "schema": SCHEMA,
            "as_of": snapshot.polled_at,
            "run": self._encoders.run(run),
            "rules": rules,
            "campaign": self._encoders.campaign(campaign) if campaign is not None else None,
        }

    def history(self, asked: RunHistory) -> dict[str, Any]:
        """Return what happened to one run or campaign, or below all logdirs, the newest first."""
        places: Sequence[str] = self._logdirs
        if asked.run is not None:
            snapshot = self._snapshot()
            every: list[RunView | CampaignView] = [*snapshot.runs, *snapshot.campaigns]
            places = [_chosen(asked.run, every).path]
        # The newest come last: of the others none is kept.
        newest: deque[dict[str, Any]] = deque(maxlen=asked.offset + asked.limit)
        total = 0
        for event in self._happened(places, asked.since, asked.until):
            newest.append(event)
            total += 1
        page = list(newest)[::-1][asked.offset :]
        return {"schema": HISTORY_SCHEMA, **_page(page, total, asked.offset, "events")}

    def next_cycle(self, asked: NextCycle) -> dict[str, Any]:
        """Return what `pre-cycle` would write, which it does not."""
        config = _one_of(asked.config, self._configs, "config")
        logdir = _one_of(asked.logdir, self._logdirs, "logdir")
        return override_document(self._dry_run(config, logdir, asked))

    def _brief(self, run: RunView) -> dict[str, Any]:
        """Return some of the fields of a run's document."""
        whole = self._encoders.run(run)
        kept = ("run", "path", "state", "standstill", "dialect", "campaign", "cycle", "last_step", "last_wall_time")
        verdict: Mapping[str, Any] = whole["verdict"]
        found = [finding for finding in whole["findings"] if finding["state"] == "firing"]
        return {
            **{name: whole[name] for name in kept},
            "verdict": {name: verdict[name] for name in ("learning_rate", "confidence", "why")},
            "firing": [
                {name: finding[name] for name in ("rule", "title", "severity", "since_step", "inhibited_by")}
                for finding in found
            ],
            "advice": [
                {name: advice[name] for name in ("parameter", "current", "proposed", "authority")}
                for advice in whole["advice"]
            ],
        }


def _page(entries: Sequence[object], total: int, offset: int, name: str) -> dict[str, Any]:
    """Return a part of a list, with where the next one begins."""
    after = offset + len(entries)
    return {name: list(entries), "total": total, "offset": offset, "next_offset": after if after < total else None}


def _brief_campaign(campaign: CampaignView) -> dict[str, Any]:
    following = campaign.next
    return {
        "name": campaign.name,
        "path": campaign.path,
        "cycles": len(campaign.cycles),
        "best_cycle": campaign.best_cycle,
        "next": following.text if following is not None else None,
        "firing": [finding.rule for finding in campaign.firing],
    }


def _chosen(name: str, views: Sequence[_View]) -> _View:
    """Return the run or campaign of that path or name; a name is looked up, never opened."""
    found = [view for view in views if clean(view.path) == name][:1]
    found = found or [view for view in views if clean(_name(view)) == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(name, f"{len(found)} have this name", f"Give a path: {_some(view.path for view in found)}.")
    every = _some(map(_name, views))
    remedy = f"Ask `list_runs` for the names; there are {every}." if every else "There is none yet; ask again later."
    raise UsageError(name, "no such run", remedy)


def _name(view: RunView | CampaignView) -> str:
    return view.run if isinstance(view, RunView) else view.name


def _holds(campaign: CampaignView, run: RunView) -> bool:
    """Tell whether a run lies in a campaign's directory: two logdirs can have campaigns of one name."""
    return run.path == campaign.path or run.path.startswith(f"{campaign.path.rstrip('/')}/")


def _one_of(asked: str | None, there: Sequence[str], what: str) -> str:
    """Return one of what the command line names."""
    named = {clean(name): name for name in there}
    if asked is None and len(there) == 1:
        return there[0]
    if asked is not None and asked in named:
        return named[asked]
    said = "not given, and there are several" if asked is None else "not one that the server was started with"
    raise UsageError(f"{what} {asked or ''}".rstrip(), said, f"Give one of: {_some(there)}.")


def _some(names: Iterable[str]) -> str:
    """Return the first of some names, and how many more there are."""
    every = [clean(name) for name in names]
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(f"`{name}`" for name in every[:MOST_NAMES]) + more
