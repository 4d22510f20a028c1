"""What happened between two snapshots, as data: the lines of the journal, and what people and programs are told.

A `Ledger` compares each snapshot with what was said before, also by an earlier process: it can be given what the
journal holds, so that a daemon that was restarted says nothing twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from itertools import compress
from operator import is_not
from typing import Final, TypeVar

from raftmon.model import CampaignView, Problem, RunView, Snapshot
from raftmon.said import (
    KINDS,
    NEXT_CYCLE,
    OPEN,
    QUIET,
    SILENT,
    UNTOLD,
    Happening,
    Key,
    Kind,
    Said,
    is_given_up,
    is_news,
    is_past,
    is_past_campaign,
    of_campaign,
    of_problem,
    of_run,
)

__all__ = ["KINDS", "NEXT_CYCLE", "Happening", "Key", "Kind", "Ledger", "is_news"]

_SPEAKING: Final = ("pending", "firing", "inhibited", "resolved")
GONE_SECONDS: Final = 600.0
"""Seconds for which a directory may be away, as with its file system, before what was found there is called gone."""


class Ledger:
    """What was said last of everything.

    Args:
        standing: what an earlier process said last; its states are taken as known.
    """

    def __init__(self, standing: Iterable[Happening] = ()) -> None:
        self._said: dict[str, dict[tuple[Kind, str], Happening]] = {}
        self._runs: tuple[RunView, ...] = ()
        self._views: dict[str, RunView] = {}
        self._campaigns: dict[str, CampaignView] = {}
        self._unread: dict[str, RunView] = {}
        """Runs that were not read to their ends yet."""
        self._away: dict[str, float] = {}
        self._unseen: dict[str, list[str]] = {}
        """Paths of what an earlier process spoke of, by what it is noted as, until its logdir was looked through."""
        self._ways: dict[str, list[str]] = {}
        """All paths of what is away and was never seen here, by the first of them."""
        self._reachable: list[str] | None = None
        self._kept: set[str] = set()
        """Runs that were said to stand still, and of which nobody can tell now."""
        self._problems: dict[Problem, None] = {}
        for happening in standing:
            path = happening.path
            if happening.kind == "problem":
                self._problems[Problem(path, happening.subject, happening.text)] = None
                continue
            if path not in self._said:
                self._unseen.setdefault(happening.place or path, []).append(path)
            self._said.setdefault(path, {})[happening.kind, happening.subject] = happening

    def take(self, snapshot: Snapshot, at: float, steady: float | None = None) -> list[Happening]:
        """Return what is new in a snapshot.

        What a half read run shows is no news: nothing is said of a run, nor of its campaign, before all of it was read
        once.

        Args:
            snapshot: the newest.
            at: seconds since the epoch.
            steady: seconds of a clock that never jumps, by which it is told what is gone; None: `at` is one.
        """
        steady = at if steady is None else steady
        news: list[Happening] = []
        fresh = list(_others(snapshot.runs, self._runs))
        if snapshot.unread or self._unread:
            fresh = self._whole(fresh, snapshot.unread)
        for run in fresh:
            before = self._views.get(run.path)
            if before is not run:
                self._views[run.path] = run
                news += self._of_run(run, at, late=is_past(before, run, at))
        self._runs = snapshot.runs
        for path in [path for path in self._kept if is_given_up(self._views[path], at)]:
            news += self._of_run(self._views[path], at, late=True)
        for campaign in snapshot.campaigns:
            known = self._campaigns.get(campaign.path)
            if known is None and _is_above(campaign.path, self._unread):
                continue
            if known is not campaign:
                self._campaigns[campaign.path] = campaign
                late = is_past_campaign(known, campaign, snapshot, at)
                news += self._changed(campaign.path, of_campaign(campaign, at, late=late))
        self._leave(snapshot, steady)
        news += self._gone(at, steady)
        news += self._of_problems(snapshot.problems, at)
        return news

    def _whole(self, fresh: Iterable[RunView], unread: frozenset[str]) -> list[RunView]:
        """Return the runs of which all was read once, those included that are whole since a moment ago."""
        found = [run for run in fresh if run.path in self._views]
        self._unread |= {run.path: run for run in fresh if run.path not in self._views}
        now_whole = [path for path in self._unread if path not in unread]
        return [*found, *map(self._unread.pop, now_whole)]

    def _of_run(self, run: RunView, at: float, *, late: bool) -> Iterator[Happening]:
        self._kept.discard(run.path)
        return self._changed(run.path, of_run(run, at, late=late))

    def _changed(self, path: str, said_now: Iterable[Said]) -> Iterator[Happening]:
        """Yield what is said otherwise than it was said last; most is not, so that it is made only then."""
        known = self._said.setdefault(path, {})
        for kind, subject, state, step, value, make in said_now:
            before = known.get((kind, subject))
            if before is None and state in SILENT:
                continue
            if state == UNTOLD:
                if before is not None and before.state in OPEN:
                    self._kept.add(path)
                continue
            if state == QUIET:
                # A finding that time alone decides may have ended while nobody watched.
                state = "resolved" if before is not None and _may_end(before) else "inactive"
            if _is_worth_a_line(before, kind, state, step, value):
                happening = dataclasses.replace(make(), state=state)
                if kind == "finding":
                    happening = _with_its_past(happening, before)
                known[kind, subject] = happening
                yield happening

    def _leave(self, snapshot: Snapshot, steady: float) -> None:
        """Note what is in view no more."""
        left = _dropped(self._views, snapshot.runs) | _dropped(self._campaigns, snapshot.campaigns)
        if self._unread:
            there = {run.path for run in snapshot.runs}
            self._unread = {path: run for path, run in self._unread.items() if path in there}
        self._kept &= self._views.keys()
        for path in left:
            if not self._is_in_view(path):
                self._away.setdefault(path, steady)
        if self._unseen or self._ways:
            self._look_for_unseen(snapshot, steady)

    def _look_for_unseen(self, snapshot: Snapshot, steady: float) -> None:
        """Note what an earlier process spoke of and is not there, once its logdir was looked through."""
        troubled = {problem.where for problem in snapshot.problems}
        reachable = [logdir for logdir in snapshot.logdirs if logdir not in troubled]
        if reachable == self._reachable:
            return
        self._reachable = reachable
        for first, ways in list(self._ways.items()):
            if not _is_below(ways, reachable):  # its logdir is not there after all
                self._unseen[first] = self._ways.pop(first)
                self._away.pop(first, None)
        for place, paths in list(self._unseen.items()):
            if any(map(self._is_in_view, paths)) or not _is_below(paths, snapshot.logdirs):
                self._forget(self._unseen.pop(place))
            elif _is_below(paths, reachable):
                first = paths[0]
                self._away[first], self._ways[first] = steady, self._unseen.pop(place)

    def _gone(self, at: float, steady: float) -> Iterator[Happening]:
        """Yield what was found in directories that have been away for long."""
        for path, since in list(self._away.items()):
            ways = self._ways.get(path, [path])
            if any(map(self._is_in_view, ways)):
                del self._away[path]
                self._forget(self._ways.pop(path, ()))
            elif steady - since >= GONE_SECONDS:
                del self._away[path]
                for happening in self._said.pop(path, {}).values():
                    if happening.kind == "finding" and happening.state in OPEN:
                        text, fired = "Its directory is gone.", _may_end(happening)
                        yield dataclasses.replace(happening, at=at, state="gone", text=text, fired=fired, place="")
                self._forget(self._ways.pop(path, ()))

    def _is_in_view(self, path: str) -> bool:
        return path in self._views or path in self._campaigns or path in self._unread

    def _forget(self, paths: Iterable[str]) -> None:
        """Forget what was said under paths that nothing in view has."""
        for path in paths:
            if not self._is_in_view(path):
                self._said.pop(path, None)

    def _of_problems(self, problems: Iterable[Problem], at: float) -> Iterator[Happening]:
        now = dict.fromkeys(problems)
        for problem in now:
            if problem not in self._problems:
                yield of_problem(problem, "begun", at)
        for problem in self._problems:
            if problem not in now:
                yield of_problem(problem, "over", at)
        self._problems = now


_Seen = TypeVar("_Seen", RunView, CampaignView)


def _others(now: tuple[_Seen, ...], before: tuple[_Seen, ...]) -> Iterable[_Seen]:
    """Return what did not stand at the same place before: few, of thousands, several times a second."""
    if now is before:
        return ()
    return compress(now, map(is_not, now, before)) if len(now) == len(before) else now


def _dropped(known: dict[str, _Seen], now: tuple[_Seen, ...]) -> set[str]:
    """Take out of what is known what is no more; all that there is is known."""
    if len(known) == len(now):
        return set()
    left = known.keys() - {view.path for view in now}
    for path in left:
        del known[path]
    return left


def _is_below(paths: Iterable[str], logdirs: Iterable[str]) -> bool:
    roots = [logdir.rstrip("/") + "/" for logdir in logdirs]
    return any(f"{path}/".startswith(root) for path in paths for root in roots)


def _is_above(path: str, runs: Iterable[str]) -> bool:
    root = f"{path.rstrip('/')}/"
    return any(f"{run}/".startswith(root) for run in runs)


def _with_its_past(happening: Happening, before: Happening | None) -> Happening:
    """Return a finding that knows whether people were called for its beginning: then they are for its end."""
    if happening.state == "firing":
        return dataclasses.replace(happening, fired=True)
    if before is None or not _may_end(before):
        return happening
    return dataclasses.replace(happening, fired=True, late=before.late)


def _may_end(before: Happening) -> bool:
    """Tell whether a finding was said to fire, and not yet that it does no longer."""
    return before.state == "firing" or (before.fired and before.state == "inhibited")


def _is_worth_a_line(before: Happening | None, kind: Kind, state: str, step: int | None, value: float | None) -> bool:
    if kind == "finding":
        old = before.state if before is not None else "inactive"
        return state != old and (state in _SPEAKING or old in OPEN)
    if before is None or state != before.state:
        return True
    return kind == "advice" and (step != before.step or not _are_close(value, before.value))


def _are_close(value: float | None, other: float | None) -> bool:
    """Tell whether two proposals are the same to a person."""
    if value is None or other is None:
        return value is other
    return math.isclose(value, other, rel_tol=0.01)
