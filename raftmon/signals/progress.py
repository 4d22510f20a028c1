"""Signals of the schedule and of the evaluation, and facts about the run itself."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from raftmon.run_config import RunConfig
from raftmon.signals.base import Family, Readers, SignalInfo
from raftmon.signals.profile import Profile
from raftmon.signals.statistics import NoiseScale, RollingMedian
from raftmon.slotted import dataclass

__all__ = ["EvaluationSignals", "RunFacts", "ScheduleSignals"]

NEARLY_ZERO: Final = 1e-3
"""A learning rate below this share of its peak moves nothing any more."""
NEVER_BEGAN: Final = 30
"""Points at a learning rate of exactly 0 from the first one on: mixed precision skips some steps at its start."""


class ScheduleSignals(Family):
    """What the learning rate in the log did."""

    role: ClassVar[str] = "learning_rate"
    rests_on: ClassVar[frozenset[str]] = frozenset({"learning_rate"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("schedule.peak", "", "learning_rate", 1, "largest learning rate logged"),
        SignalInfo("schedule.of_peak", "ratio", "learning_rate", 1, "newest learning rate over the largest"),
        SignalInfo("schedule.dead_share", "ratio", "learning_rate", 2, "share of the run spent at (nearly) 0 since"),
        SignalInfo(
            "schedule.rising_share", "ratio", "learning_rate", 3, "share of the run in which it was still rising"
        ),
        SignalInfo("schedule.mean_of_peak", "ratio", "learning_rate", 2, "mean learning rate over the largest"),
    )

    __slots__ = (
        "_count",
        "_dead_points",
        "_dead_since",
        "_first_step",
        "_last",
        "_last_step",
        "_peak",
        "_peak_step",
        "_sum",
        "profile",
    )

    def __init__(self) -> None:
        self._count = 0
        self._first_step = self._last_step = 0
        self._peak = self._last = math.nan
        self._sum = 0.0
        self._dead_since: int | None = None
        self._peak_step = 0
        self._dead_points = 0
        self.profile = Profile()

    @property
    def first_step(self) -> int | None:
        """Step of the first learning rate logged; None without one."""
        return self._first_step if self._count else None

    def update(self, step: int, value: float) -> None:
        """Take in one point."""
        if not math.isfinite(value):
            return
        self.profile.update(value)
        if self._count == 0:
            self._first_step, self._peak = step, value
        self._count += 1
        self._sum += value
        self._last, self._last_step = value, step
        if value > self._peak:
            self._peak, self._peak_step = value, step
        if self._peak > 0.0 and value > NEARLY_ZERO * self._peak:
            self._dead_since, self._dead_points = None, 0
        else:
            self._note_dead(step, value)

    def _note_dead(self, step: int, value: float) -> None:
        """Take note of a rate that may be (nearly) 0."""
        fallen = self._peak > 0.0 and value <= NEARLY_ZERO * self._peak and step > self._peak_step
        if fallen or self._peak == 0.0:
            self._dead_since = step if self._dead_since is None else self._dead_since
            self._dead_points += 1
        else:
            self._dead_since, self._dead_points = None, 0

    def peak(self) -> float | None:
        """Return the largest learning rate logged; None without one."""
        return self._peak if self._count else None

    def of_peak(self) -> float | None:
        """Return the newest learning rate over the largest; None without one, or where the largest is 0."""
        return self._last / self._peak if self._count and self._peak > 0.0 else None

    def rising_share(self) -> float | None:
        """Return the share of the run in which the rate was still rising; None before the tenth point."""
        span = self._last_step - self._first_step
        return (self._peak_step - self._first_step) / span if self._count >= 10 and span else None

    def mean_of_peak(self) -> float | None:
        """Return the mean over the largest; None before the second point, or where the largest is 0."""
        return self._sum / self._count / self._peak if self._count >= 2 and self._peak else None

    def _dead_share(self) -> float | None:
        if self._count < 2:
            return None
        span = self._last_step - self._first_step
        if self._dead_since is None or span <= 0 or self._dead_points < (3 if self._peak > 0.0 else NEVER_BEGAN):
            return 0.0
        return (self._last_step - self._dead_since) / span

    readers: ClassVar[Readers] = {
        "schedule.peak": peak,
        "schedule.of_peak": of_peak,
        "schedule.dead_share": _dead_share,
        "schedule.rising_share": rising_share,
        "schedule.mean_of_peak": mean_of_peak,
    }


class EvaluationSignals(Family):
    """What the loss on held-out data did."""

    role: ClassVar[str] = "eval_loss"
    rests_on: ClassVar[frozenset[str]] = frozenset({"eval_loss"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("eval.points", "points", "eval_loss", 0, "evaluations so far"),
        SignalInfo("eval.rise", "ratio", "eval_loss", 3, "newest evaluation loss above the least, over the fall to it"),
        SignalInfo("eval.past_best", "ratio", "eval_loss", 2, "share of the evaluations that came after the best"),
        SignalInfo("eval.since_best", "points", "eval_loss", 2, "evaluations since the least loss"),
        SignalInfo("eval.drawup", "ratio", "eval_loss", 3, "largest rise above the least loss, over the fall to it"),
        SignalInfo("eval.efficiency", "ratio", "eval_loss", 4, "net fall over all moves; 1 is a straight way down"),
        SignalInfo(
            "eval.same_streak", "points", "eval_loss", 1, "newest evaluations in a row with one and the same value"
        ),
        SignalInfo("eval.nonfinite", "points", "eval_loss", 1, "NaN or infinite evaluations in a row"),
    )

    __slots__ = (
        "_bends",
        "_broken",
        "_drawup",
        "_last",
        "_move",
        "_noise",
        "_same",
        "_since_best",
        "_travelled",
        "count",
        "first",
        "least",
    )

    def __init__(self) -> None:
        self.count = self._since_best = self._broken = self._same = 0
        self._travelled = 0.0
        self._bends = RollingMedian(64)
        self._move = math.nan
        self.first = self.least = self._last = math.nan
        self._drawup = 0.0
        self._noise = NoiseScale()

    def _scale(self) -> float:
        """Return the fall to the least loss; where there is hardly any, a twentieth of the level stands for it."""
        return max(self.first - self.least, 0.05 * abs(self.first), 1e-12)

    @property
    def bend(self) -> float | None:
        """Median of how far the newest 64 moves differ from the ones before; None before the third evaluation."""
        return self._bends.median

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        if not math.isfinite(value):
            self._broken += 1
            return
        self._broken = 0
        self._same = self._same + 1 if value == self._last and not _is_rounded(value) else 1
        self.count += 1
        self._noise.update(value)
        if self.count > 1:
            move = value - self._last
            self._travelled += abs(move)
            if self.count > 2:
                self._bends.update(abs(move - self._move))
            self._move = move
        if self.count >= 3:
            self._drawup = max(self._drawup, (value - self.least) / self._scale())
        if self.count == 1:
            self.first = self.least = value
        elif value < self.least:
            self.least, self._since_best = value, 0
        else:
            self._since_best += 1
        self._last = value

    def rise(self) -> float | None:
        """Return the newest loss above the least, over the fall to it; None before the third evaluation."""
        if self.count < 3:
            return None
        scale = max(abs(self.least), self.first - self.least, 4.0 * (self._noise.sigma or 0.0), 1e-12)
        return (self._last - self.least) / scale

    def efficiency(self) -> float | None:
        """Return the net fall over all moves; None before the fourth evaluation, or where nothing moves."""
        return (self.first - self._last) / self._travelled if self.count >= 4 and self._travelled > 0.0 else None

    def past_best(self) -> float | None:
        """Return the share of the evaluations that came after the best; None before the second."""
        return self._since_best / self.count if self.count >= 2 else None

    readers: ClassVar[Readers] = {
        "eval.points": lambda own: float(own.count) if own.count or own._broken else None,
        "eval.rise": rise,
        "eval.past_best": past_best,
        "eval.since_best": lambda own: float(own._since_best) if own.count >= 2 else None,
        "eval.drawup": lambda own: own._drawup if own.count >= 3 else None,
        "eval.efficiency": efficiency,
        "eval.same_streak": lambda own: float(own._same) if own.count else None,
        "eval.nonfinite": lambda own: float(own._broken) if own.count or own._broken else None,
    }


def _is_rounded(value: float) -> bool:
    """Tell whether a value was written with few digits, decimal or binary: then equal ones are no wonder."""
    decimal = abs(value - float(f"{value:.5g}")) <= 1e-7 * abs(value)
    return decimal or (math.frexp(value)[0] * 2**16).is_integer()


@dataclass(frozen=True, slots=True)
class RunFacts(Family):
    """What is known about a run beside its series."""

    config: RunConfig
    ended: bool
    """Whether the run is over, or has not grown for so long that it must be taken as over."""
    steps: int | None
    """Steps between the first and the newest point; None without points."""
    points: int = 0
    """Points of the series that is the run's clock."""
    optimizer_steps: int | None = None
    """Optimiser steps taken so far; None where the step axis counts something else."""
    finished: bool = False
    """Whether the run said itself that it is done; a run that has only ceased to grow may have been stopped."""

    role: ClassVar[str] = "run-facts"
    rests_on: ClassVar[frozenset[str]] = frozenset({"run"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("run.ended", "flag", "run", 0, "1 when the run is over or does not grow any more, else 0"),
        SignalInfo("run.steps", "steps", "run", 0, "steps from the first to the newest point"),
        SignalInfo("run.optimizer_steps", "steps", "run", 0, "optimiser steps taken, where the step axis counts them"),
        SignalInfo("run.steps_per_point", "steps", "run", 0, "steps between two points of the run's clock"),
        SignalInfo(
            "run.warmup_share",
            "ratio",
            "run",
            0,
            "configured warm-up steps over the planned steps, or over those taken by a run that has ended",
        ),
    )

    def _steps_per_point(self) -> float | None:
        return self.steps / (self.points - 1) if self.steps is not None and self.points > 1 else None

    def _optimizer_steps(self) -> float | None:
        taken = self.optimizer_steps
        return float(taken) if taken is not None and taken >= 0 else None

    def _warmup_share(self) -> float | None:
        warmup = self.config.warmup_steps
        planned = self.optimizer_steps if self.ended and self.optimizer_steps else self.config.max_steps
        return warmup / planned if warmup is not None and planned else None

    readers: ClassVar[Readers] = {
        "run.ended": lambda facts: float(facts.ended),
        "run.steps": lambda facts: float(facts.steps) if facts.steps is not None else None,
        "run.optimizer_steps": _optimizer_steps,
        "run.steps_per_point": _steps_per_point,
        "run.warmup_share": _warmup_share,
    }
