"""Signals of the schedule, the evaluation, the reward and the entropy, and facts about the run itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

from raftmon.run_config import RunConfig
from raftmon.signals.base import SignalInfo
from raftmon.signals.profile import Profile
from raftmon.signals.statistics import Ewma, NoiseScale, RollingMedian

__all__ = ["EntropySignals", "EvaluationSignals", "RewardSignals", "RunFacts", "ScheduleSignals"]

NEARLY_ZERO: Final = 1e-3
"""A learning rate below this share of its peak moves nothing any more."""
NEVER_BEGAN: Final = 30
"""Points at a learning rate of exactly 0 from the first one on: mixed precision skips some steps at its start."""


class ScheduleSignals:
    """What the learning rate in the log did."""

    role: ClassVar[str] = "learning_rate"
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("schedule.peak", "", "learning_rate", 1, "largest learning rate logged"),
        SignalInfo("schedule.of_peak", "ratio", "learning_rate", 1, "newest learning rate over the largest"),
        SignalInfo("schedule.dead_share", "ratio", "learning_rate", 2, "share of the run spent at (nearly) 0 since"),
        SignalInfo(
            "schedule.rising_share", "ratio", "learning_rate", 3, "share of the run in which it was still rising"
        ),
        SignalInfo("schedule.mean_of_peak", "ratio", "learning_rate", 2, "mean learning rate over the largest"),
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
        if value > self._peak:
            self._peak, self._peak_step = value, step
        self._last, self._last_step = value, step
        fallen = self._peak > 0.0 and value <= NEARLY_ZERO * self._peak and step > self._peak_step
        if fallen or self._peak == 0.0:
            self._dead_since = step if self._dead_since is None else self._dead_since
            self._dead_points += 1
        else:
            self._dead_since, self._dead_points = None, 0

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        if self._count == 0:
            return dict.fromkeys((info.name for info in self.signals), None)
        span = self._last_step - self._first_step
        dead = 0.0
        if self._dead_since is not None and span > 0 and self._dead_points >= (3 if self._peak > 0.0 else NEVER_BEGAN):
            dead = (self._last_step - self._dead_since) / span
        return {
            "schedule.peak": self._peak,
            "schedule.of_peak": self._last / self._peak if self._peak > 0.0 else None,
            "schedule.dead_share": dead if self._count >= 2 else None,
            "schedule.rising_share": (self._peak_step - self._first_step) / span
            if self._count >= 10 and span
            else None,
            "schedule.mean_of_peak": self._sum / self._count / self._peak if self._count >= 2 and self._peak else None,
        }


class EvaluationSignals:
    """What the loss on held-out data did."""

    role: ClassVar[str] = "eval_loss"
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

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        rise = None
        if self.count >= 3:
            scale = max(abs(self.least), self.first - self.least, 4.0 * (self._noise.sigma or 0.0), 1e-12)
            rise = (self._last - self.least) / scale
        return {
            "eval.points": float(self.count) if self.count or self._broken else None,
            "eval.rise": rise,
            "eval.drawup": self._drawup if self.count >= 3 else None,
            "eval.efficiency": (self.first - self._last) / self._travelled
            if self.count >= 4 and self._travelled > 0.0
            else None,
            "eval.past_best": self._since_best / self.count if self.count >= 2 else None,
            "eval.since_best": float(self._since_best) if self.count >= 2 else None,
            "eval.same_streak": float(self._same) if self.count else None,
            "eval.nonfinite": float(self._broken) if self.count or self._broken else None,
        }


def _is_rounded(value: float) -> bool:
    """Tell whether a value was written with few digits, decimal or binary: then equal ones are no wonder."""
    decimal = abs(value - float(f"{value:.5g}")) <= 1e-7 * abs(value)
    return decimal or (math.frexp(value)[0] * 2**16).is_integer()


class RewardSignals:
    """What the reward did (larger is better)."""

    role: ClassVar[str] = "reward"
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("reward.points", "points", "reward", 0, "reward points so far"),
        SignalInfo(
            "reward.drawdown", "ratio", "reward", 20, "fall of the smoothed reward below its best, over its gain"
        ),
        SignalInfo("reward.drawdown_sigma", "sigma", "reward", 20, "the same fall in standard errors"),
    )

    def __init__(self) -> None:
        self._smooth = Ewma(0.25)
        self._noise = NoiseScale()
        self._first = self._best = math.nan

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        if not math.isfinite(value):
            return
        self._noise.update(value)
        smooth = self._smooth.update(value)
        if self._smooth.count == 1:
            self._first = self._best = smooth
        self._best = max(self._best, smooth)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        drawdown = in_errors = None
        sigma = self._noise.sigma
        if self._smooth.count >= 20 and sigma is not None:
            error = sigma * self._smooth.error_factor
            fall, scale = self._best - self._smooth.value, max(self._best - self._first, 8.0 * error)
            drawdown = fall / scale if scale > 0.0 else 0.0
            in_errors = min(fall / error, 999.0) if error > 0.0 else 0.0
        return {
            "reward.points": float(self._smooth.count) if self._smooth.count else None,
            "reward.drawdown": drawdown,
            "reward.drawdown_sigma": in_errors,
        }


class EntropySignals:
    """How much of the policy's entropy is left."""

    role: ClassVar[str] = "entropy"
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo(
            "entropy.left", "ratio", "entropy", 10, "smoothed entropy over its first value; None if it is negative"
        ),
    )

    def __init__(self) -> None:
        self._smooth = Ewma(0.3)
        self._first = Ewma(1.0 / 3.0)

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        if not math.isfinite(value):
            return
        if self._first.count < 3:
            self._first.update(value)
        self._smooth.update(value)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        usable = self._smooth.count >= 10 and self._first.value > 0.0
        return {"entropy.left": max(0.0, self._smooth.value / self._first.value) if usable else None}


@dataclass(frozen=True, slots=True)
class RunFacts:
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

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        taken = self.optimizer_steps
        warmup = self.config.warmup_steps
        planned = self.optimizer_steps if self.ended and self.optimizer_steps else self.config.max_steps
        return {
            "run.ended": float(self.ended),
            "run.steps": float(self.steps) if self.steps is not None else None,
            "run.optimizer_steps": float(taken) if taken is not None and taken >= 0 else None,
            "run.steps_per_point": self.steps / (self.points - 1)
            if self.steps is not None and self.points > 1
            else None,
            "run.warmup_share": warmup / planned if warmup is not None and planned else None,
        }
