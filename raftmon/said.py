"""One happening, and what a view of a run or campaign has to say: none of it is known to be new.

What is over when it is first seen, or when a rule is, is history: nobody is called for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from functools import partial
from typing import Final, Literal, TypeAlias

from raftmon.model import CampaignView, Finding, Problem, RunView, Severity, Snapshot
from raftmon.slotted import dataclass

__all__ = [
    "GIVEN_UP_SECONDS",
    "KINDS",
    "NEXT_CYCLE",
    "OPEN",
    "QUIET",
    "SILENT",
    "STANDING_STILL",
    "UNTOLD",
    "Happening",
    "Key",
    "Kind",
    "Said",
    "is_given_up",
    "is_news",
    "is_past",
    "is_past_campaign",
    "of_campaign",
    "of_problem",
    "of_run",
]

Kind: TypeAlias = Literal["finding", "verdict", "advice", "run", "problem", "action", "daemon"]
Key: TypeAlias = tuple[str, str, str]
"""Path, kind and subject: of one key only the newest happening stands."""
KINDS: Final[tuple[Kind, ...]] = ("finding", "verdict", "advice", "run", "problem", "action", "daemon")
NEXT_CYCLE: Final = "next_cycle"
"""Subject of a campaign's advice."""
QUIET: Final = "quiet"
"""Of a finding whose rule sees that nothing is the matter, before it is known what was said of it."""
UNTOLD: Final = "untold"
"""Of a finding that time alone moves, and of which nobody can tell any more: what was said of it stands."""
SILENT: Final = frozenset({"inactive", QUIET, UNTOLD, "undecided", "empty"})
"""States that are worth no line where nothing else was said before."""
OPEN: Final = ("pending", "firing", "inhibited")
OLD_SECONDS: Final = 3600.0
"""A run that wrote nothing for so long when it was first seen is over: what is found of it is history."""
OLD_CAMPAIGN_SECONDS: Final = 86400.0
"""The same of a campaign, between whose cycles hours pass."""
GIVEN_UP_SECONDS: Final = 7 * 86400.0
"""Silence after which a run of which nobody can tell is not said to stand still any more."""
STANDING_STILL: Final = "run.standing_still"
"""The signal of findings that time alone moves."""


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


Said: TypeAlias = "tuple[Kind, str, str, int | None, float | None, Callable[[], Happening]]"
"""Kind, subject, state, step and value of what could be said, and what makes it a happening."""


def _is_over(run: RunView, at: float) -> bool:
    if run.state == "live" or run.stalled is not None:
        return False
    return run.last_wall_time is None or at - run.last_wall_time > OLD_SECONDS


def is_past(before: RunView | None, run: RunView, at: float) -> bool:
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


def is_given_up(run: RunView, at: float) -> bool:
    """Tell whether a run has been silent for so long that nobody waits for it."""
    return run.last_wall_time is not None and at - run.last_wall_time > GIVEN_UP_SECONDS


def is_past_campaign(before: CampaignView | None, campaign: CampaignView, snapshot: Snapshot, at: float) -> bool:
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


def of_run(run: RunView, at: float, *, late: bool) -> Iterator[Said]:
    """Yield what a run has to say; `late`: it is history."""
    path, name, step, still, verdict = run.path, run.run, run.last_step, run.standstill, run.verdict
    state, text = (still.kind, still.text) if still is not None else (run.state, "")
    yield "run", "", state, step, None, lambda: Happening(at, "run", path, name, "", state, text, step=step, late=late)
    done = is_given_up(run, at) or (still is not None and still.kind == "ended")
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


def of_campaign(campaign: CampaignView, at: float, *, late: bool) -> Iterator[Said]:
    """Yield what a campaign has to say; `late`: it is history."""
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
) -> Iterator[Said]:
    for finding in findings:
        state: str = finding.state
        if state == "firing" and finding.inhibited_by is not None:
            state = "inhibited"
        elif state == "inactive":
            state = QUIET
        elif state == "unknown":
            timed = any(reading.signal == STANDING_STILL for reading in finding.readings)
            # Who looks anew has seen nothing, which ends no standstill.
            state = (QUIET if done else UNTOLD) if timed else "inactive"
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
        finding.text if state in OPEN else "",
        severity=finding.severity,
        step=finding.since_step,
        readings={reading.signal: reading.value for reading in finding.readings},
        title=finding.title,
        late=late,
        began=began,
    )


def of_problem(problem: Problem, state: str, at: float) -> Happening:
    """Return a problem that has ``begun`` or is ``over``."""
    return Happening(at, "problem", problem.where, problem.where, problem.what, state, problem.remedy)
