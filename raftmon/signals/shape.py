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
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from raftmon.signals.base import Family, SignalInfo
from raftmon.signals.profile import Profile
from raftmon.signals.statistics import Thinned

if TYPE_CHECKING:
    from raftmon.signals.progress import EvaluationSignals

__all__ = ["CurveShape", "ShapeSignals"]

LEAST_POINTS: Final = 8
LEAST_EVALUATIONS: Final = 5
"""Evaluations before their course is weighed: of three, one alone would decide."""
BINS: Final = 32
MAD_TO_SIGMA: Final = 1.4826
LEAST_FALL: Final = 0.05
"""Of the first evaluation: what its fall counts as at least, where jitter is measured by it."""
CLEAR: Final = 5.0
"""Progress in standard errors of a bin from which its course over time means anything."""


class CurveShape:
    """What is kept of the training loss for its shape."""

    __slots__ = ("_last", "distances", "first", "greatest_rise", "moves", "profile")

    def __init__(self) -> None:
        self.profile = Profile()
        self.moves = Profile()
        """Of the distances between neighbouring points."""
        self.distances = Thinned(128)
        """Some of them, evenly over the run."""
        self.first = math.nan
        """Mean of the first three points."""
        self.greatest_rise = 0.0
        """Between two neighbouring points."""
        self._last = math.nan

    def update(self, value: float) -> float | None:
        """Take in a finite value, and return its distance from the one before it; None for the first of all."""
        count, distance = self.profile.count, None
        if count:
            rise = value - self._last
            if rise > self.greatest_rise:
                self.greatest_rise = rise
            distance = abs(rise)
            self.moves.update(distance)
            self.distances.update(distance)
        if count < 3:
            self.first = value if not count else self.first + (value - self.first) / (count + 1)
        self._last = value
        self.profile.update(value)
        return distance

    def extend(self, values: Sequence[float]) -> list[float]:
        """Take in finite values in the order of arrival, and return their distances from the ones before them.

        Of the first value of all there is none.
        """
        count = self.profile.count
        chain = [self._last, *values] if count else values
        distances = [abs(after - before) for before, after in itertools.pairwise(chain)]
        self.moves.extend(distances)
        self.distances.extend(distances)
        if distances and max(distances) > self.greatest_rise:
            rises = (after - before for before, after in itertools.pairwise(chain))
            self.greatest_rise = max(self.greatest_rise, max(rises))
        if count < 3:
            for number, value in enumerate(values[: 3 - count], start=count + 1):
                self.first = value if number == 1 else self.first + (value - self.first) / number
        self._last = values[-1]
        self.profile.extend(values)
        return distances

    @property
    def noise(self) -> float:
        """Standard deviation of a point about the trend, from the median distance of neighbours."""
        ordered = sorted(self.distances.kept)
        return MAD_TO_SIGMA * ordered[len(ordered) // 2] / math.sqrt(2.0)


class ShapeSignals(Family):
    """Shape of the loss, alone and against the learning rate applied and the evaluation.

    Args:
        loss: kept by the signals of the loss.
        schedule: profile of the learning rate.
        evaluation: signals of the evaluation loss.
    """

    role: ClassVar[str] = "shape"
    rests_on: ClassVar[frozenset[str]] = frozenset({"loss", "learning_rate", "eval_loss", "run"})
    signals: ClassVar[tuple[SignalInfo, ...]] = tuple(
        SignalInfo(f"shape.{name}", "ratio", "loss", LEAST_POINTS, description, also)
        for name, description, also in (
            ("progress", "fall of the loss so far less two standard errors, over its first value", ""),
            ("noise_level", "noise of a step over the first loss", ""),
            ("jump", "greatest rise between two points over the mean move", ""),
            ("early_moves", "mean move in the first tenth over the whole run's", ""),
            ("late_moves", "mean move in the newest quarter over the whole run's", ""),
            ("overshoot", "highest mean of a thirtieth of the run above the first loss, over the progress", ""),
            ("half_mass", "share of the learning rate's sum that half of the progress took", "clear progress"),
            ("most_mass", "share of the learning rate's sum that 80 % of the progress took", "clear progress"),
            ("eval_progress", "fall of the evaluation loss over that of the training loss", "5 evaluations"),
            ("eval_efficiency", "net fall of the evaluation loss over all its moves", "5 evaluations"),
            ("eval_past_best", "share of the evaluations that came after the best", "5 evaluations"),
            ("eval_jitter", "median bend from evaluation to evaluation, over their fall", "5 evaluations"),
        )
    )

    def __init__(self, loss: CurveShape, schedule: Profile, evaluation: EvaluationSignals) -> None:
        self._loss = loss
        self._schedule = schedule
        self._evaluation = evaluation
        self.points_per_value = 1.0
        """How many losses a logged one is the mean of; 1 where it is a single one, or unknown."""

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        profile = self._loss.profile
        if profile.count < LEAST_POINTS:
            return self.without_readings()
        bins, moves = profile.means(BINS), self._loss.moves.means(20)
        move = sum(moves) / len(moves)
        noise = self._loss.noise
        of_bin = noise / math.sqrt(max(1.0, profile.count / BINS))
        start, least = self._loss.first, min(bins)
        # The first points of a noisy loss may stand anywhere: take them towards the mean that follows.
        first = start if start <= bins[0] else max(bins[0], start - noise / math.sqrt(3.0))
        progress, size = first - least, abs(start)
        clear = progress > CLEAR * of_bin
        scale = max(progress, CLEAR * of_bin) or math.inf
        sure = progress - 2.0 * math.hypot(of_bin, noise / math.sqrt(3.0))
        mass = self._mass(bins, first, progress) if clear else (None, None)
        early, late = moves[: max(1, len(moves) // 10)], moves[-max(1, len(moves) // 4) :]
        return {
            "shape.progress": max(0.0, sure) / size if size > 0.0 else None,
            "shape.noise_level": noise * math.sqrt(max(1.0, self.points_per_value)) / size if size > 0.0 else None,
            "shape.jump": self._loss.greatest_rise / move if move > 0.0 else None,
            "shape.early_moves": sum(early) / len(early) / move if move > 0.0 else None,
            "shape.late_moves": sum(late) / len(late) / move if move > 0.0 else None,
            "shape.overshoot": max(0.0, max(bins) - start) / scale,
            "shape.half_mass": mass[0],
            "shape.most_mass": mass[1],
            **self._evaluated(start, progress if clear else None),
        }

    def _evaluated(self, start: float, progress: float | None) -> dict[str, float | None]:
        """Compare the evaluation with the training; it begins late, so that its fall is counted from the first loss."""
        evaluation = self._evaluation
        names = ("eval_progress", "eval_efficiency", "eval_past_best", "eval_jitter")
        if evaluation.count < LEAST_EVALUATIONS:
            return dict.fromkeys((f"shape.{name}" for name in names), None)
        fall = max(start, evaluation.first) - evaluation.least
        scale, bend = max(fall, LEAST_FALL * abs(evaluation.first)), evaluation.bend
        return {
            "shape.eval_progress": (start - evaluation.least) / progress if progress is not None else None,
            "shape.eval_efficiency": evaluation.efficiency(),
            "shape.eval_past_best": evaluation.past_best(),
            "shape.eval_jitter": bend / scale if bend is not None and scale > 0.0 else None,
        }

    def _mass(self, bins: list[float], first: float, progress: float) -> tuple[float, float]:
        """Return the shares of the learning rate's sum (of the run, if none is logged) that progress took."""
        rates = self._schedule.means(len(bins))
        if len(rates) < len(bins) or not sum(rates) > 0.0:
            rates = [1.0] * len(bins)
        half, most = (_passed(bins, first, first - share * progress) for share in (0.5, 0.8))
        return _part(rates, half), _part(rates, most)


def _passed(bins: list[float], first: float, level: float) -> float:
    """Return how many bins it took to fall to a level, the last one by its part."""
    place = next(index for index, value in enumerate(bins) if value <= level)
    before = bins[place - 1] if place else first
    return place + ((before - level) / (before - bins[place]) if before > bins[place] else 1.0)


def _part(rates: list[float], passed: float) -> float:
    whole = min(int(passed), len(rates) - 1)
    return (sum(rates[:whole]) + (passed - whole) * rates[whole]) / sum(rates)
