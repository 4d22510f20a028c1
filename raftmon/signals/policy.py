"""Signals of a policy that is trained on a reward: the reward itself, and the entropy."""

from __future__ import annotations

import math
from typing import ClassVar

from raftmon.grounds import BEYOND
from raftmon.signals.base import Family, SignalInfo
from raftmon.signals.statistics import Ewma, NoiseScale

__all__ = ["EntropySignals", "RewardSignals"]


class RewardSignals(Family):
    """What the reward did (larger is better)."""

    role: ClassVar[str] = "reward"
    rests_on: ClassVar[frozenset[str]] = frozenset({"reward"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("reward.points", "points", "reward", 0, "reward points so far"),
        SignalInfo(
            "reward.drawdown", "ratio", "reward", 20, "fall of the smoothed reward below its best, over its gain"
        ),
        SignalInfo("reward.drawdown_sigma", "sigma", "reward", 20, "the same fall in standard errors"),
    )

    __slots__ = ("_best", "_first", "_noise", "_smooth")

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
        if not self._smooth.count:
            return self.without_readings()
        drawdown = in_errors = None
        sigma = self._noise.sigma
        if self._smooth.count >= 20 and sigma is not None:
            error = sigma * self._smooth.error_factor
            fall, scale = self._best - self._smooth.value, max(self._best - self._first, 8.0 * error)
            drawdown = fall / scale if scale > 0.0 else 0.0
            in_errors = min(fall / error, BEYOND) if error > 0.0 else 0.0
        return {
            "reward.points": float(self._smooth.count) if self._smooth.count else None,
            "reward.drawdown": drawdown,
            "reward.drawdown_sigma": in_errors,
        }


class EntropySignals(Family):
    """How much of the policy's entropy is left."""

    role: ClassVar[str] = "entropy"
    rests_on: ClassVar[frozenset[str]] = frozenset({"entropy"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo(
            "entropy.left", "ratio", "entropy", 10, "smoothed entropy over its first value; None if it is negative"
        ),
    )

    __slots__ = ("_first", "_smooth")

    def __init__(self) -> None:
        self._smooth = Ewma(0.3)
        self._first = Ewma(1.0 / 3.0)

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        if math.isfinite(value):
            if self._first.count < 3:
                self._first.update(value)
            self._smooth.update(value)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        usable = self._smooth.count >= 10 and self._first.value > 0.0
        return {"entropy.left": max(0.0, self._smooth.value / self._first.value) if usable else None}
