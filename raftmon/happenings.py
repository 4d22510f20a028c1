"""What happened between two snapshots, as data: the lines of the journal, and what people and programs are told.

A `Ledger` compares each snapshot with what was said before, also by an earlier process: it can be given what the
journal holds, so that a daemon that was restarted says nothing twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from functools import partial
from itertools import compress
from operator import is_not
from typing import Final, Literal, TypeAlias, TypeVar

from raftmon.model import CampaignView, Finding, Problem, RunView, Severity, Snapshot
from raftmon.slotted import dataclass

__all__ = ["KINDS", "NEXT_CYCLE", "Happening", "Key", "Kind", "Ledger", "is_news"]

Kind: TypeAlias = Literal["finding", "verdict", "advice", "run", "problem", "action", "daemon"]
Key: TypeAlias = tuple[str, str, str]
"""Path, kind and subject: of one key only the newest happening stands."""
KINDS: Final[tuple[Kind, ...]] = ("finding", "verdict", "advice", "run", "problem", "action", "daemon")
NEXT_CYCLE: Final = "next_cycle"
"""Subject of a campaign's advice."""
_QUIET: Final = "quiet"
"""Of a finding whose rule sees that nothing is the matter, before it is known what was said of it."""
_UNTOLD: Final = "untold"
"""Of a finding that time alone moves, and of which nobody can tell any more: what was said of it stands."""
_SILENT: Final = frozenset({"inactive", _QUIET, _UNTOLD, "undecided", "empty"})
"""States that are worth no line where nothing else was said before."""
_SPEAKING: Final = ("pending", "firing", "inhibited", "resolved")
_OPEN: Final = ("pending", "firing", "inhibited")
OLD_SECONDS: Final = 3600.0
"""A run that wrote nothing for so long when it was first seen is over: what is found of it is history."""
OLD_CAMPAIGN_SECONDS: Final = 86400.0
"""The same of a campaign, between whose cycles hours pass."""
GIVEN_UP_SECONDS: Final = 7 * 86400.0
"""Silence after which a run of which nobody can tell is not said to stand still any more."""
STANDING_STILL: Final = "run.standing_still"
"""The signal of findings that time alone moves."""
GONE_SECONDS: Final = 600.0
"""Seconds for which a directory may be away, as with its file system, before what was found there is called gone."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One change that somebody may want to know of."""

    at: float
    """When it was seen, in seconds since the epoch."""
    kind: Kind
    path: str
    """Directory of the run or campaign, or its URL without secrets; of a problem its place; empty for the daemon."""
    name: str
    """The run or campaign as people call it."""
    subject: str
    """The rule of a finding or an action, the parameter of an advice; else empty."""
    state: str
    """Of a finding ``pending``, ``firing``, ``inhibited`` (a graver one explains it), ``resolved``, ``inactive`` (it
    was pending, or its run began anew) or ``gone`` (its run is); of a verdict its kind; of an advice its authority, or
    ``roll_back`` or ``stop``; of a run its state, or the kind of its standstill; of a problem ``begun`` or ``over``."""
    text: str
    """In words for people; may be empty."""
    severity: Severity | None = None
    """Of a finding."""
    step: int | None = None
    """At which it happened: a cycle for a campaign; None: not known."""
    value: float | None = None
    """The learning rate that is proposed, or the confidence of a verdict."""
    readings: Mapping[str, float | None] = field(default_factory=dict)
    """What a finding rests on."""
    title: str = ""
    """Of a finding's rule."""
    late: bool = False
    """Whether it happened before anybody watched, to a run that is over: nobody is to be called for it. Of the end of a
    finding, whether that was so of its beginning."""
    began: float | None = None
    """Wall time of the run's first point, by which a mute of an earlier run there is told; None: not known."""
    fired: bool = False
    """Of a finding, whether it fires, or was said to fire before it came to this state."""
    place: str = ""
    """By what the journal that gave it back notes it: one thing may come under several paths; empty: it is new."""

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.path, self.kind, self.subject


def is_news(happening: Happening) -> bool:
    """Tell whether people are to be told: a finding fires, or one that was said to fire does no longer."""
    if happening.kind != "finding" or happening.late:
        return False
    return happening.state == "firing" or (happening.fired and happening.state in ("resolved", "gone"))


_Said: TypeAlias = "tuple[Kind, str, str, int | None, float | None, Callable[[], Happening]]"
"""Kind, subject, state, step and value of what could be said, and what makes it a happening."""


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
        """Return what is new in a snapshot whose files were all read to their ends once.

        Args:
            snapshot: the newest.
            at: seconds since the epoch.
            steady: seconds of a clock that never jumps, by which it is told what is gone; None: `at` is one.
        """
        steady = at if steady is None else steady
        news: list[Happening] = []
        for run in _others(snapshot.runs, self._runs):
            before = self._views.get(run.path)
            if before is not run:
                self._views[run.path] = run
                news += self._of_run(run, at, late=_is_past(before, run, at))
        self._runs = snapshot.runs
        for path in [path for path in self._kept if _is_given_up(self._views[path], at)]:
            news += self._of_run(self._views[path], at, late=True)
        for campaign in snapshot.campaigns:
            known = self._campaigns.get(campaign.path)
            if known is not campaign:
                self._campaigns[campaign.path] = campaign
                late = _is_past_campaign(known, campaign, snapshot, at)
                news += self._changed(campaign.path, _of_campaign(campaign, at, late=late))
        self._leave(snapshot, steady)
        news += self._gone(at, steady)
        news += self._of_problems(snapshot.problems, at)
        return news

    def _of_run(self, run: RunView, at: float, *, late: bool) -> Iterator[Happening]:
        self._kept.discard(run.path)
        return self._changed(run.path, _of_run(run, at, late=late))

    def _changed(self, path: str, said_now: Iterable[_Said]) -> Iterator[Happening]:
        """Yield what is said otherwise than it was said last; most is not, so that it is made only then."""
        known = self._said.setdefault(path, {})
        for kind, subject, state, step, value, make in said_now:
            before = known.get((kind, subject))
            if before is None and state in _SILENT:
                continue
            if state == _UNTOLD:
                if before is not None and before.state in _OPEN:
                    self._kept.add(path)
                continue
            if state == _QUIET:
                # A finding that time alone decides may have ended while nobody watched.
                state = "resolved" if before is not None and _may_end(before) else "inactive"
            if _is_worth_a_line(before, kind, state, step, value):
                happening = dataclasses.replace(make(), state=state)
                if kind == "finding":
                    happening = _with_its_past(happening, before)
                known[kind, subject] = happening
                yield happening

    def _leave(self, snapshot: Snapshot, steady: float) -> None:
        """Note what is in view no more, and what an earlier process spoke of and is not there."""
        left = _dropped(self._views, snapshot.runs) | _dropped(self._campaigns, snapshot.campaigns)
        self._kept &= self._views.keys()
        for path in left:
            if not self._is_in_view(path):
                self._away.setdefault(path, steady)
        if not self._unseen:
            return
        troubled = {problem.where for problem in snapshot.problems}
        reachable = [logdir for logdir in snapshot.logdirs if logdir not in troubled]
        if reachable == self._reachable:
            return
        self._reachable = reachable
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
                    if happening.kind == "finding" and happening.state in _OPEN:
                        text, fired = "Its directory is gone.", _may_end(happening)
                        yield dataclasses.replace(happening, at=at, state="gone", text=text, fired=fired, place="")
                self._forget(self._ways.pop(path, ()))

    def _is_in_view(self, path: str) -> bool:
        return path in self._views or path in self._campaigns

    def _forget(self, paths: Iterable[str]) -> None:
        """Forget what was said under paths that nothing in view has."""
        for path in paths:
            if not self._is_in_view(path):
                self._said.pop(path, None)

    def _of_problems(self, problems: Iterable[Problem], at: float) -> Iterator[Happening]:
        now = dict.fromkeys(problems)
        for problem in now:
            if problem not in self._problems:
                yield _of_problem(problem, "begun", at)
        for problem in self._problems:
            if problem not in now:
                yield _of_problem(problem, "over", at)
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
        return state != old and (state in _SPEAKING or old in _OPEN)
    if before is None or state != before.state:
        return True
    return kind == "advice" and (step != before.step or not _are_close(value, before.value))


def _are_close(value: float | None, other: float | None) -> bool:
    """Tell whether two proposals are the same to a person."""
    if value is None or other is None:
        return value is other
    return math.isclose(value, other, rel_tol=0.01)


def _is_over(run: RunView, at: float) -> bool:
    if run.state == "live" or run.stalled is not None:
        return False
    return run.last_wall_time is None or at - run.last_wall_time > OLD_SECONDS


def _is_past(before: RunView | None, run: RunView, at: float) -> bool:
    """Tell whether what is found of a run now, also by rules that are new, is history."""
    if not _is_over(run, at):
        return False
    if before is None:
        return True
    if run.standstill is not None and (before.standstill is None or before.standstill.kind != run.standstill.kind):
        return False  # the end of its process was seen, hours after its last point
    # What was over then and has moved is read bit by bit.
    moved = (before.last_step, before.last_wall_time) != (run.last_step, run.last_wall_time)
    return not moved or _is_over(before, at)


def _is_given_up(run: RunView, at: float) -> bool:
    return run.last_wall_time is not None and at - run.last_wall_time > GIVEN_UP_SECONDS


def _is_past_campaign(before: CampaignView | None, campaign: CampaignView, snapshot: Snapshot, at: float) -> bool:
    """Tell the same of a campaign: cycles that come with runs that are over are history, a late verification is not."""
    if before is not None and len(before.cycles) == len(campaign.cycles) and before.cycles != campaign.cycles:
        return False
    below, newest = f"{campaign.path.rstrip('/')}/", 0.0
    for run in snapshot.runs:
        if run.path == campaign.path or run.path.startswith(below):
            if run.state == "live":
                return False
            newest = max(newest, run.last_wall_time or 0.0)
    return at - newest > OLD_CAMPAIGN_SECONDS


def _of_run(run: RunView, at: float, *, late: bool) -> Iterator[_Said]:
    path, name, step, still, verdict = run.path, run.run, run.last_step, run.standstill, run.verdict
    state, text = (still.kind, still.text) if still is not None else (run.state, "")
    yield "run", "", state, step, None, lambda: Happening(at, "run", path, name, "", state, text, step=step, late=late)
    done = _is_given_up(run, at) or (still is not None and still.kind == "ended")
    yield from _of_findings(run.findings, path, name, at, late=late, began=run.first_wall_time, done=done)
    kind, sure = verdict.learning_rate, verdict.confidence
    make = partial(Happening, at, "verdict", path, name, "", kind, verdict.why, step=step, value=sure, late=late)
    yield "verdict", "", kind, step, sure, make
    said: set[str] = set()
    for advice in run.advice:
        what, rate = advice.parameter, advice.proposed
        if what in said:
            continue  # the first is that of the gravest finding
        said.add(what)
        make = partial(Happening, at, "advice", path, name, what, advice.authority, advice.text, value=rate, late=late)
        yield "advice", what, advice.authority, None, rate, make


def _of_campaign(campaign: CampaignView, at: float, *, late: bool) -> Iterator[_Said]:
    path, name, following = campaign.path, campaign.title, campaign.next
    yield from _of_findings(campaign.findings, path, name, at, late=late)
    if following is not None:
        cycle, rate, text = following.cycle, following.learning_rate, following.text
        state = "stop" if following.stop else "roll_back" if following.roll_back_to is not None else following.authority
        make = partial(Happening, at, "advice", path, name, NEXT_CYCLE, state, text, step=cycle, value=rate, late=late)
        yield "advice", NEXT_CYCLE, state, cycle, rate, make


def _of_findings(
    findings: Iterable[Finding],
    path: str,
    name: str,
    at: float,
    *,
    late: bool,
    began: float | None = None,
    done: bool = False,
) -> Iterator[_Said]:
    for finding in findings:
        state: str = finding.state
        if state == "firing" and finding.inhibited_by is not None:
            state = "inhibited"
        elif state == "inactive":
            state = _QUIET
        elif state == "unknown":
            timed = any(reading.signal == STANDING_STILL for reading in finding.readings)
            # Who looks anew has seen nothing, which ends no standstill.
            state = (_QUIET if done else _UNTOLD) if timed else "inactive"
        make = partial(_of_finding, finding, state, path, name, at, late, began)
        yield "finding", finding.rule, state, finding.since_step, None, make


def _of_finding(
    finding: Finding, state: str, path: str, name: str, at: float, late: bool, began: float | None
) -> Happening:
    return Happening(
        at,
        "finding",
        path,
        name,
        finding.rule,
        state,
        # What is to be done about it is no longer, once it has ended.
        finding.text if state in _OPEN else "",
        severity=finding.severity,
        step=finding.since_step,
        readings={reading.signal: reading.value for reading in finding.readings},
        title=finding.title,
        late=late,
        began=began,
    )


def _of_problem(problem: Problem, state: str, at: float) -> Happening:
    return Happening(at, "problem", problem.where, problem.where, problem.what, state, problem.remedy)
