"""Signals of the training loss.

Losses may be negative and of any scale, so that everything is measured in units of the series' own noise or of its
own progress. A point of a trainer that logs every k steps is the mean of k losses: the noise shrinks, the signals in
sigma grow, the shape stays. Detectors after section 3 of the study behind the rules (see rules/references.yaml).
"""

from __future__ import annotations

import itertools
import math
import operator
from array import array
from collections.abc import Sequence
from typing import ClassVar, Final

from raftmon.grounds import BEYOND
from raftmon.signals.base import Family, Readers, SignalInfo, finite_runs, newest_broken, newest_in_row
from raftmon.signals.shape import CurveShape
from raftmon.signals.spikes import Spikes
from raftmon.signals.statistics import Ewma, NoiseScale, Thinned

__all__ = ["LossCourse", "LossSignals"]

SMOOTHING: Final = 0.1
RECENT: Final = 10
LEAST_POINTS: Final = 10
ENOUGH_POINTS: Final = 30
MOVES: Final = 64
LEAST_MOVES: Final = 39
SIGNIFICANT: Final = 6.0
"""Standard errors from which a rise counts for the largest draw-up: below, it may be the noise of the smoothed loss."""
CLEAR_PROGRESS: Final = 4.0
"""Standard errors of progress from which its shape over time means anything."""


class LossCourse(Family):
    """What is seldom asked of the loss and dearer to work out: how it swings.

    Args:
        loss: whose points it looks at.
    """

    role: ClassVar[str] = "loss-course"
    rests_on: ClassVar[frozenset[str]] = frozenset({"loss"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("loss.noise_growth", "ratio", "loss", 64, "noise now over the noise after the first quarter"),
        SignalInfo(
            "loss.alternation", "correlation", "loss", 40, "correlation of neighbouring steps; -0.5 is white noise"
        ),
    )

    __slots__ = ("_loss",)

    def __init__(self, loss: LossSignals) -> None:
        self._loss = loss

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        return self._loss.course()


class LossSignals(Family):
    """Draw-up, noise, spikes, progress and broken values of one loss series."""

    role: ClassVar[str] = "loss"
    rests_on: ClassVar[frozenset[str]] = frozenset({"loss"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("loss.points", "points", "loss", 0, "finite loss points so far"),
        SignalInfo("loss.nonfinite", "points", "loss", 1, f"NaN or infinite among the newest {RECENT} points"),
        SignalInfo("loss.zero_streak", "points", "loss", 1, "newest points in a row that are exactly 0"),
        SignalInfo("loss.same_streak", "points", "loss", 1, "newest points in a row with one and the same value"),
        SignalInfo("loss.spike", "sigma", "loss", 9, "newest point above the median of the 32 before it; 0 below 10 %"),
        SignalInfo("loss.spike_share", "ratio", "loss", 68, "share of spikes (8 sigma) among the newest 100 points"),
        SignalInfo(
            "loss.drawup", "ratio", "loss", 10, "rise of the smoothed loss above its minimum, over its progress"
        ),
        SignalInfo("loss.drawup_sigma", "sigma", "loss", 10, "the same rise in standard errors of the smoothed loss"),
        SignalInfo("loss.drawup_sure", "sigma", "loss", 10, "the same, with the noise that the minimum had itself"),
        SignalInfo("loss.drawup_level", "ratio", "loss", 10, "the same rise over the size of the first loss"),
        SignalInfo("loss.drawup_peak", "ratio", "loss", 10, "largest draw-up so far"),
        SignalInfo("loss.progress", "ratio", "loss", 10, "fall of the smoothed loss so far, over its first value"),
        SignalInfo(
            "loss.movement", "sigma", "loss", 30, "change of the smoothed loss over the newest fifth of the run"
        ),
        SignalInfo("loss.half_time", "ratio", "loss", 30, "share of the run after which half of the progress was made"),
        SignalInfo(
            "loss.late_share", "ratio", "loss", 30, "share of the progress that the newest fifth of the run made"
        ),
        SignalInfo("loss.noise", "ratio", "loss", 30, "noise of a point over the progress made so far"),
    )

    __slots__ = (
        "_broken",
        "_drawup_peak",
        "_error",
        "_first",
        "_history",
        "_last",
        "_least",
        "_least_factor",
        "_moves",
        "_noise",
        "_noises",
        "_passed",
        "_points",
        "_same",
        "_seen",
        "_sigma",
        "_smooth",
        "_spikes",
        "_zeros",
        "shape",
    )

    def __init__(self) -> None:
        self._points = 0
        self._broken = 0
        """Of the newest points a bit each, 1 for NaN or infinite."""
        self._seen = False
        self._same = self._zeros = 0
        self._last = math.nan
        self._spikes = Spikes()
        self._smooth = Ewma(SMOOTHING)
        self._history = Thinned()
        """Of the smoothed loss."""
        self._noise = NoiseScale()
        self._sigma: float | None = None
        """The noise of a point now; None before the ninth."""
        self._error = 0.0
        """Standard error of the smoothed loss now."""
        self._noises = Thinned(64)
        self._moves = array("d")
        """The newest moves from point to point; cut now and then."""
        self._first = Ewma(1.0 / 3.0)
        self._least = math.inf
        self._least_factor = 0.0
        self._drawup_peak = 0.0
        self._passed = 0
        """Points before which the smoothed loss had not made half of its progress."""
        self.shape = CurveShape()

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        before, self._last = self._last, value
        self._same = self._same + 1 if value == before or (value != value and before != before) else 1
        self._zeros = self._zeros + 1 if value == 0.0 else 0
        self._broken = newest_broken(self._broken, (value,), RECENT)
        self._seen = True
        if not math.isfinite(value):
            return
        self._points += 1
        if self._points <= 3:
            self._first.update(value)
        if math.isfinite(before):
            self._keep_moves((value - before,))
        distance = self.shape.update(value)
        self._sigma = self._noise.push(distance) if distance is not None else None
        self._noises.update(self._sigma or math.nan)
        smooth = self._smooth.update(self._spikes.push(value))
        self._history.update(smooth)
        self._note_drawups((smooth,), (self._sigma,))

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in points in the order of arrival."""
        newest, before = values[-1], self._last
        same = self._same if newest == before or (newest != newest and before != before) else 0
        self._same = 1 + newest_in_row(values[:-1], newest, same)
        self._zeros = newest_in_row(values, 0.0, self._zeros)
        self._broken = newest_broken(self._broken, values, RECENT)
        self._seen = True
        for run in finite_runs(values):
            if run:
                self._take(run, before)
            before = math.nan
        self._last = newest

    def _take(self, run: Sequence[float], before: float) -> None:
        """Take in finite values; `before` is the value just before them, NaN or infinite if it was broken."""
        if self._points < 3:
            self._first.extend(run[: 3 - self._points])
        self._points += len(run)
        # Over a broken value there is no move, though there is a distance.
        chain = [before, *run] if math.isfinite(before) else run
        self._keep_moves([after - value for value, after in itertools.pairwise(chain[-MOVES - 1 :])])
        distances = self.shape.extend(run)
        sigmas = list(map(self._noise.push, distances))
        if len(sigmas) < len(run):
            sigmas.insert(0, None)
        self._sigma = sigmas[-1]
        self._noises.extend([sigma or math.nan for sigma in sigmas])
        smoothed = self._smooth.extend(list(map(self._spikes.push, run)))
        self._history.extend(smoothed)
        self._note_drawups(smoothed, sigmas)

    def _keep_moves(self, moves: Sequence[float]) -> None:
        self._moves.extend(moves)
        if len(self._moves) > 2 * MOVES:
            del self._moves[:-MOVES]

    def _note_drawups(self, smoothed: Sequence[float], sigmas: Sequence[float | None]) -> None:
        """Follow the least smoothed loss and the largest rise above it that cannot be noise."""
        least, peak, first = self._least, self._drawup_peak, self._first.value
        error_factor_at = self._smooth.error_factor_at
        # A rise below this many sigma is below SIGNIFICANT standard errors at any count.
        certainly_noise = 0.99 * SIGNIFICANT * self._smooth.least_error_factor
        begun = self._points - len(smoothed)
        least_at = None
        for number, (smooth, sigma) in enumerate(zip(smoothed, sigmas, strict=True), start=begun + 1):
            if smooth < least:
                least, least_at = smooth, number
                continue
            rise, spread = smooth - least, abs(first - least)
            if number < LEAST_POINTS or sigma is None or rise <= certainly_noise * sigma:
                continue
            error = sigma * error_factor_at(number)
            if _in_errors(rise, error) > SIGNIFICANT:
                scale = max(spread, 8.0 * error)
                peak = max(peak, rise / scale if scale > 0.0 else 0.0)
        self._least, self._drawup_peak = least, peak
        if least_at is not None:
            self._least_factor = error_factor_at(least_at)
        self._error = (self._sigma or 0.0) * self._smooth.error_factor

    def course(self) -> dict[str, float | None]:
        """Return the signals of `LossCourse`."""
        return {"loss.noise_growth": self._noise_growth(), "loss.alternation": self._alternation()}

    def _count(self) -> float | None:
        return float(self._points) if self._seen else None

    def _nonfinite(self) -> float | None:
        return float(self._broken.bit_count()) if self._seen else None

    def _zero_streak(self) -> float | None:
        return float(self._zeros) if self._seen else None

    def _same_streak(self) -> float | None:
        return float(self._same) if self._seen else None

    def _rise(self) -> float:
        return self._smooth.value - self._least

    def _fall(self) -> float:
        return self._first.value - self._least

    def _drawup(self) -> float | None:
        if self._points < LEAST_POINTS:
            return None
        scale = max(abs(self._fall()), 8.0 * self._error)
        return self._rise() / scale if scale > 0.0 else 0.0

    def _drawup_sigma(self) -> float | None:
        return _in_errors(self._rise(), self._error) if self._points >= LEAST_POINTS else None

    def _drawup_sure(self) -> float | None:
        if self._points < LEAST_POINTS:
            return None
        # A minimum among the first points has the noise of few points: a low one is no progress that was given back.
        error = math.hypot(self._error, (self._sigma or 0.0) * self._least_factor)
        return _in_errors(self._rise(), error)

    def _drawup_level(self) -> float | None:
        if self._points < LEAST_POINTS or self._first.value == 0.0:
            return None
        return self._rise() / abs(self._first.value)

    def _peak(self) -> float | None:
        return self._drawup_peak if self._points >= LEAST_POINTS else None

    def _progress(self) -> float | None:
        first = self._first.value
        return (first - self._least) / first if self._points >= LEAST_POINTS and first > 0.0 else None

    def _movement(self) -> float | None:
        before = self._history.at(0.8) if self._points >= ENOUGH_POINTS else None
        return _in_errors(abs(self._smooth.value - before), self._error) if before is not None else None

    def _half_time(self) -> float | None:
        if self._points < ENOUGH_POINTS or not self._fall() > CLEAR_PROGRESS * self._error:
            return None
        # The level sinks with the least loss: what was above it once stays above it.
        middle, kept, stride = self._first.value - self._fall() / 2.0, self._history.kept, self._history.stride
        place = -(-self._passed // stride)
        while place < len(kept) and kept[place] > middle:
            place += 1
        self._passed = place * stride
        return self._passed / self._points if place < len(kept) else None

    def _late_share(self) -> float | None:
        before = self._history.at(0.8) if self._points >= ENOUGH_POINTS else None
        if before is None or not self._fall() > CLEAR_PROGRESS * self._error:
            return None
        return (before - self._smooth.value) / self._fall()

    def _noise_of_progress(self) -> float | None:
        if self._points < ENOUGH_POINTS or self._sigma is None or not self._fall() > 0.0:
            return None
        return self._sigma / self._fall()

    def _noise_growth(self) -> float | None:
        early = self._noises.at(0.25) if self._points >= 64 else None
        if early is None or not early > 0.0:
            return None
        return (self._sigma or 0.0) / early

    def _alternation(self) -> float | None:
        newest = self._moves[-MOVES:]
        if len(newest) < LEAST_MOVES:
            return None
        mean = sum(newest) / len(newest)
        moves = [move - mean for move in newest]
        spread = sum([move**2 for move in moves])
        if spread == 0.0:
            return None
        return float(sum(map(operator.mul, moves, moves[1:])) / spread)

    readers: ClassVar[Readers] = {
        "loss.points": _count,
        "loss.nonfinite": _nonfinite,
        "loss.zero_streak": _zero_streak,
        "loss.same_streak": _same_streak,
        "loss.spike": lambda loss: loss._spikes.newest,
        "loss.spike_share": lambda loss: loss._spikes.share,
        "loss.drawup": _drawup,
        "loss.drawup_sigma": _drawup_sigma,
        "loss.drawup_sure": _drawup_sure,
        "loss.drawup_level": _drawup_level,
        "loss.drawup_peak": _peak,
        "loss.progress": _progress,
        "loss.movement": _movement,
        "loss.half_time": _half_time,
        "loss.late_share": _late_share,
        "loss.noise": _noise_of_progress,
    }


def _in_errors(rise: float, error: float) -> float:
    return min(rise / error, BEYOND) if error > 0.0 else (BEYOND if rise > 0.0 else 0.0)
