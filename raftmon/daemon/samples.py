"""One run or campaign as samples of metrics: what is exported of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from raftmon.daemon.exported import label, logdir_of, state_of
from raftmon.model import CampaignView, Finding, RunView

__all__ = ["Sampled", "of_campaign", "of_run", "steps_per_second"]

Sampled: TypeAlias = tuple[str, dict[str, str], float]
"""Name of the metric, its labels, its value, which is finite."""

PACE_SECONDS: Final = 60.0
"""Seconds over which the pace of a run is measured, longer where it logs less often."""
NEWEST_CYCLES: Final = 12
"""Cycles of a campaign whose rate is exported."""


def of_run(view: RunView) -> Iterator[Sampled]:
    """Yield what is exported of a run."""
    where = {"logdir": label(logdir_of(view.path, view.run)), "run": label(view.run)}
    state = state_of(view)
    yield "raftmon_run_state", {**where, "state": state}, 1.0
    advised = next((advice.proposed for advice in view.advice if advice.parameter == "learning_rate"), None)
    series = view.series.get("learning_rate")
    numbers = {
        "raftmon_run_last_step": view.last_step,
        "raftmon_run_last_point_timestamp_seconds": view.last_wall_time,
        "raftmon_run_steps_per_second": steps_per_second(view) if state == "live" else 0.0,
        "raftmon_run_learning_rate": series.last if series is not None else None,
        "raftmon_run_recommended_learning_rate": advised,
    }
    yield from _numbers(numbers, where)
    verdict = view.verdict
    named = {**where, "verdict": verdict.learning_rate}
    yield from _numbers({"raftmon_run_verdict_confidence": verdict.confidence}, named)
    yield from _findings(view.firing, where)


def of_campaign(view: CampaignView) -> Iterator[Sampled]:
    """Yield what is exported of a campaign."""
    where = {"logdir": label(logdir_of(view.path, view.name)), "campaign": label(view.name)}
    for cycle in view.cycles[-NEWEST_CYCLES:]:
        named = {**where, "cycle": str(cycle.cycle)}
        yield from _numbers({"raftmon_campaign_verification_ratio": cycle.verification_rate}, named)
    following = view.next
    rates = [cycle.verification_rate for cycle in view.cycles if cycle.verification_rate is not None]
    numbers = {
        "raftmon_campaign_newest_verification_ratio": rates[-1] if rates else None,
        "raftmon_campaign_best_cycle": view.best_cycle,
        "raftmon_campaign_newest_cycle": view.cycles[-1].cycle if view.cycles else None,
        "raftmon_campaign_next_learning_rate": following.learning_rate if following is not None else None,
    }
    yield from _numbers(numbers, where)
    if following is not None:
        advice = "stop" if following.stop else "roll_back" if following.roll_back_to is not None else "go_on"
        yield "raftmon_campaign_advice", {**where, "advice": advice}, 1.0
    yield from _findings(view.firing, where)


def steps_per_second(view: RunView) -> float | None:
    """Return the pace of a run by its own clock; None: it has logged one moment only."""
    if view.clock is None or len(view.clock[0]) < 2:
        return None
    steps, times = view.clock
    newest = float(times[-1])
    first = len(times) - 2
    while first and newest - float(times[first]) < PACE_SECONDS:
        first -= 1
    seconds = newest - float(times[first])
    return (int(steps[-1]) - int(steps[first])) / seconds if seconds > 0 else None


def _numbers(numbers: Mapping[str, float | int | None], where: dict[str, str]) -> Iterator[Sampled]:
    """Yield what is known and finite: a NaN would be a sample, and poison what is worked out from it."""
    for name, value in numbers.items():
        if value is not None and math.isfinite(value):
            yield name, where, float(value)


def _findings(findings: tuple[Finding, ...], where: dict[str, str]) -> Iterator[Sampled]:
    for finding in findings:
        named = {**where, "rule": label(finding.rule), "severity": finding.severity}
        yield "raftmon_finding_firing", named, 1.0
