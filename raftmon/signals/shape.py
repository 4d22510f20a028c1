"""The shape of a run's curves as shares of the run: what the verdict weighs.

Everything here is read off a bounded `Profile` of each series, so that the same training logged every step, every five
or every fifty looks (nearly) the same. The one thing that averaging does change is the noise of a point: a trainer that
logs the mean of k losses divides it by the square root of k, which is undone here.

Features after sections 3 and 4 of the study behind the rules; which of them carry information was decided on some
families of the recorded sweeps and is judged on others (tests/benchmarks/verdicts.py).
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar, Final

from raftmon.signals.base import SignalInfo
from raftmon.signals.profile import Profile

__all__ = ["CurveShape", "ShapeSignals"]

LEAST_POINTS: Final = 8
BINS: Final = 20
FINE_BINS: Final = 32
CLEAR: Final = 6.0
"""Progress in standard errors of a bin from which its course over time means anything."""
MAD_TO_SIGMA: Final = 1.4826


class CurveShape:
    """What is kept of the training loss for its shape."""

    __slots__ = ("first", "greatest_rise", "profile")

    def __init__(self) -> None:
        self.profile = Profile()
        self.first = math.nan
        """Mean of the first three points."""
        self.greatest_rise = 0.0
        """Between two neighbouring points."""

    def update(self, value: float) -> None:
        """Take in a finite value."""
        count = self.profile.count
        if count:
            self.greatest_rise = max(self.greatest_rise, value - self.profile.last)
        if count < 3:
            self.first = value if not count else self.first + (value - self.first) / (count + 1)
        self.profile.update(value)


class ShapeSignals:
    """Shape of the loss, alone and against the learning rate applied.

    Args:
        loss: kept by the signals of the loss.
        schedule: profile of the learning rate.
        points_per_value: how many losses a logged one is the mean of; 1 where it is a single one, or unknown.
    """

    role: ClassVar[str] = "shape"
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("shape.progress", "ratio", "loss", LEAST_POINTS, "fall of the loss so far, over its first value"),
        SignalInfo("shape.falling", "ratio", "loss", LEAST_POINTS, "share of the run's twentieths below the last"),
        SignalInfo("shape.jump", "ratio", "loss", LEAST_POINTS, "greatest rise between two points over the mean move"),
        SignalInfo(
            "shape.late_moves", "ratio", "loss", LEAST_POINTS, "mean move in the newest quarter, over the whole run's"
        ),
        SignalInfo("shape.noise_level", "ratio", "loss", LEAST_POINTS, "noise of a step over the first loss"),
        SignalInfo("shape.noise", "ratio", "loss", LEAST_POINTS, "noise of a step over the progress so far"),
        SignalInfo(
            "shape.half_mass",
            "ratio",
            "loss",
            LEAST_POINTS,
            "share of the learning rate's sum (of the run, if none is logged) that half of the progress took",
            "clear progress",
        ),
    )

    def __init__(self, loss: CurveShape, schedule: Profile, points_per_value: float = 1.0) -> None:
        self._loss = loss
        self._schedule = schedule
        self.points_per_value = points_per_value

    def update(self, step: int, value: float) -> None:
        """Take in nothing: the series belong to other families."""

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        profile, first = self._loss.profile, self._loss.first
        if profile.count < LEAST_POINTS:
            return dict.fromkeys((info.name for info in self.signals), None)
        fine = profile.means(FINE_BINS)
        progress = first - min(fine)
        moves = profile.moves(4)
        move = sum(moves) / len(moves)
        noise = move * math.sqrt(math.pi) / 2.0 * math.sqrt(max(1.0, self.points_per_value))
        bins = profile.means(BINS)
        size = abs(first)
        return {
            "shape.progress": progress / size if size > 0.0 else None,
            "shape.falling": sum(b < a for a, b in itertools.pairwise(bins)) / (len(bins) - 1),
            "shape.jump": self._loss.greatest_rise / move if move > 0.0 else None,
            "shape.late_moves": moves[-1] / move if move > 0.0 else None,
            "shape.noise_level": noise / size if size > 0.0 else None,
            "shape.noise": noise / progress if progress > 0.0 else None,
            "shape.half_mass": self._half_mass(fine, progress),
        }

    def _half_mass(self, bins: list[float], progress: float) -> float | None:
        bends = sorted(abs(a - 2 * b + c) for a, b, c in zip(bins, bins[1:], bins[2:], strict=False))
        error = MAD_TO_SIGMA * bends[len(bends) // 2] / math.sqrt(6.0) if bends else math.inf
        if not progress > CLEAR * error:
            return None
        middle = self._loss.first - progress / 2.0
        place = next(index for index, value in enumerate(bins) if value <= middle)
        before = bins[place - 1] if place else self._loss.first
        passed = place + (before - middle) / (before - bins[place]) if before > bins[place] else place + 1.0
        rates = self._schedule.means(len(bins))
        total = sum(rates)
        if len(rates) < len(bins) or not total > 0.0:
            return passed / len(bins)
        whole = int(passed)
        rest = (passed - whole) * rates[whole] if whole < len(rates) else 0.0
        return (sum(rates[:whole]) + rest) / total
