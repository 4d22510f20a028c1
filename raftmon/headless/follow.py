"""Follows logdirs without a screen: a line for each change, or a JSON document per snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from raftmon.headless.printable import printable
from raftmon.model import SEVERITIES, CampaignView, Finding, NextCycle, RunView, Severity, Snapshot

__all__ = ["Source", "changes", "follow", "worst_firing"]


BREATH: Final = 0.1
"""Seconds between a change and the look at it."""


class Source(Protocol):
    """What is followed; `raftmon.monitor.Monitor` is one."""

    def poll(self) -> Snapshot:
        """Return the newest state."""

    def wait(self, timeout: float) -> bool:
        """Block until something may have changed, or for `timeout` seconds."""


def follow(
    source: Source,
    done: Callable[[Snapshot], bool],
    timeout: float = 1.0,
    pause: Callable[[], None] = lambda: time.sleep(BREATH),
) -> Iterator[Snapshot]:
    """Yield a snapshot whenever something changed; what the GPUs do is not worth one.

    Args:
        source: what is followed.
        done: asked after each look; True ends it.
        timeout: longest wait between two looks, in seconds.
        pause: called after each change, so that a trainer's burst of records makes one snapshot, not fifty.
    """
    before: Snapshot | None = None
    while True:
        snapshot = source.poll()
        if before is None or (snapshot.version != before.version and not _differs_in_gpus_alone(before, snapshot)):
            yield snapshot
        before = snapshot
        if done(snapshot):
            return
        if source.wait(timeout):
            pause()


def _differs_in_gpus_alone(before: Snapshot, now: Snapshot) -> bool:
    same = before.runs is now.runs and before.campaigns is now.campaigns and before.problems is now.problems
    return same and before.gpus != now.gpus


def worst_firing(snapshot: Snapshot) -> Severity | None:
    """Return the gravest severity of all firing findings, None if nothing fires."""
    views: list[RunView | CampaignView] = [*snapshot.runs, *snapshot.campaigns]
    firing = [SEVERITIES.index(finding.severity) for view in views for finding in view.firing]
    return SEVERITIES[max(firing)] if firing else None


def changes(before: Snapshot | None, now: Snapshot) -> Iterator[str]:
    """Say in words what is new between two snapshots, one line each."""
    before, now = printable(before) if before else None, printable(now)
    old_runs = {run.path: run for run in before.runs} if before else {}
    old_campaigns = {campaign.path: campaign for campaign in before.campaigns} if before else {}
    old_problems = set(before.problems) if before else set()
    for campaign in now.campaigns:
        yield from _campaign_changes(old_campaigns.get(campaign.path), campaign)
    for run in now.runs:
        yield from _run_changes(old_runs.get(run.path), run)
    for problem in now.problems:
        if problem not in old_problems:
            yield f"problem: {problem.where}: {problem.what}. {problem.remedy}"


def _run_changes(before: RunView | None, now: RunView) -> Iterator[str]:
    at = f"{now.run} step {now.last_step}" if now.last_step is not None else now.run
    if before is None or (before.state, before.dialect) != (now.state, now.dialect):
        yield f"{at}: {now.state}{f' ({now.dialect})' if now.dialect != 'unknown' else ''}"
    still, was = now.standstill, before.standstill if before else None
    found = [finding for finding in now.firing if finding.tells_standstill]
    begins = found and (before is None or not any(finding.tells_standstill for finding in before.firing))
    if still is not None and (was is None or was.kind != still.kind) and not begins:
        yield f"{at}: {still.kind.replace('_', ' ')}: {still.text}"
    verdict, old = now.verdict, before.verdict if before else None
    if old is None or verdict.learning_rate != old.learning_rate:
        word = verdict.learning_rate.replace("_", " ")
        confidence = f" ({verdict.confidence:.0%})" if verdict.learning_rate != "undecided" else ""
        yield f"{at}: learning rate {word}{confidence}: {verdict.why}"
    yield from _finding_changes(f"{now.run} step", before.findings if before else (), now.findings)


def _campaign_changes(before: CampaignView | None, now: CampaignView) -> Iterator[str]:
    known = {cycle.cycle: cycle.verification_rate for cycle in before.cycles} if before else {}
    for cycle in now.cycles:
        rate = cycle.verification_rate
        if rate is not None and known.get(cycle.cycle) is None:
            kind = "held-out" if cycle.held_out else "verified"
            counted = f" of {cycle.verified}" if cycle.verified else ""
            yield f"campaign {now.title} cycle {cycle.cycle}: {rate:.1%}{counted} {kind}"
    yield from _finding_changes(f"campaign {now.title} cycle", before.findings if before else (), now.findings)
    if now.next is not None and (
        before is None or before.next is None or _decision(before.next) != _decision(now.next)
    ):
        yield f"campaign {now.title} next: {now.next.text}"


def _decision(following: NextCycle) -> tuple[object, ...]:
    """Return what is to be done, without the readings that its text quotes."""
    return following.cycle, following.learning_rate, following.roll_back_to, following.stop


def _finding_changes(axis: str, before: tuple[Finding, ...], now: tuple[Finding, ...]) -> Iterator[str]:
    """Say which findings fire or resolve, at the step or cycle at which they do."""
    old = {finding.rule: finding for finding in before}
    for finding in now:
        was = old[finding.rule].state if finding.rule in old else "unknown"
        if finding.inhibited_by is not None or finding.state == was or finding.state not in ("firing", "resolved"):
            continue
        if finding.state == "resolved" and was != "firing":
            continue
        text = f": {finding.text}" if finding.state == "firing" else ""
        yield f"{axis} {finding.since_step}: {finding.severity} {finding.rule} {finding.state}{text}"
