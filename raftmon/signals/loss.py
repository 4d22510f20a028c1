"""Signals of the training loss.

Losses may be negative and of any scale, so that everything is measured in units of the series' own noise or of its
own progress. A point of a trainer that logs every k steps is the mean of k losses: the noise shrinks, the signals in
sigma grow, the shape stays. Detectors after section 3 of the study behind the rules (see rules/references.yaml).
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import ClassVar, Final

from raftmon.signals.base import SignalInfo
from raftmon.signals.shape import CurveShape
from raftmon.signals.statistics import Ewma, NoiseScale, RollingMedian, Thinned

__all__ = ["LossCourse", "LossSignals"]

SMOOTHING: Final = 0.1
RECENT: Final = 10
SPIKE_WINDOW: Final = 32
SPIKE_MEMORY: Final = 100
LEAST_JUDGED: Final = 60
"""Points of which the share of spikes is told: of fewer, a single spike would be 2 %."""
SPIKE_SIGMA: Final = 8.0
LONGEST_SPIKE: Final = 3
"""Points that a spike may last before it counts as a new level."""
SIGNIFICANT: Final = 6.0
"""Standard errors from which a rise counts for the largest draw-up: below, it may be the noise of the smoothed loss."""
CLEAR_PROGRESS: Final = 4.0
"""Standard errors of progress from which its shape over time means anything."""
LEAST_SPIKE: Final = 0.1
"""A spike also rises by this share of the median's size: in a nearly constant series sigma is next to nothing."""


class LossCourse:
    """What is seldom asked of the loss and dearer to work out: how it swings.

    Args:
        loss: whose points it looks at.
    """

    role: ClassVar[str] = "loss-course"
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("loss.noise_growth", "ratio", "loss", 64, "noise now over the noise after the first quarter"),
        SignalInfo(
            "loss.alternation", "correlation", "loss", 40, "correlation of neighbouring steps; -0.5 is white noise"
        ),
    )

    def __init__(self, loss: LossSignals) -> None:
        self._loss = loss

    def update(self, step: int, value: float) -> None:
        """Take in nothing: the signals of the loss keep the points."""

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        return self._loss.course()


class LossSignals:
    """Draw-up, noise, spikes, progress and broken values of one loss series."""

    role: ClassVar[str] = "loss"
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

    def __init__(self) -> None:
        self._points = 0
        self._broken: deque[bool] = deque(maxlen=RECENT)
        self._same = self._zeros = 0
        self._last = math.nan
        self._median = RollingMedian(SPIKE_WINDOW)
        self._spike: float | None = None
        self._spikes: deque[bool] = deque(maxlen=SPIKE_MEMORY)
        self._smooth = Ewma(SMOOTHING)
        self._history = Thinned()
        self._noise = NoiseScale()
        self._noises = Thinned(64)
        self._steps_taken: deque[float] = deque(maxlen=64)
        self._spikes_in_row = 0
        self._first = Ewma(1.0 / 3.0)
        self._least = math.inf
        self._least_factor = 0.0
        self._drawup_peak = 0.0
        self.shape = CurveShape()

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        self._same = self._same + 1 if value == self._last or (value != value and self._last != self._last) else 1
        self._zeros = self._zeros + 1 if value == 0.0 else 0
        self._broken.append(not math.isfinite(value))
        if not math.isfinite(value):
            self._last = value
            return
        self._points += 1
        self.shape.update(value)
        self._note_spike(value)
        if math.isfinite(self._last):
            self._steps_taken.append(value - self._last)
        self._last = value
        if self._points <= 3:
            self._first.update(value)
        self._noise.update(value)
        self._noises.update(self._noise.sigma or math.nan)
        smooth = self._smooth.update(self._without_spike(value))
        self._history.update(smooth)
        if smooth < self._least:
            self._least, self._least_factor = smooth, self._smooth.error_factor
        drawup = self._drawup()
        if drawup is not None and self._drawup_sigma_value() > SIGNIFICANT:
            self._drawup_peak = max(self._drawup_peak, drawup)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        drawup = self._drawup()
        sigma, progress = self._noise.sigma, self._first.value - self._least
        enough = self._points >= 30
        return {
            "loss.points": float(self._points) if self._broken else None,
            "loss.nonfinite": float(sum(self._broken)) if self._broken else None,
            "loss.zero_streak": float(self._zeros) if self._broken else None,
            "loss.same_streak": float(self._same) if self._broken else None,
            "loss.spike": self._spike,
            "loss.spike_share": sum(self._spikes) / len(self._spikes) if len(self._spikes) >= LEAST_JUDGED else None,
            "loss.drawup": drawup,
            "loss.drawup_sigma": self._drawup_sigma_value() if drawup is not None else None,
            "loss.drawup_sure": self._drawup_sure() if drawup is not None else None,
            "loss.drawup_level": self._drawup_level(),
            "loss.drawup_peak": self._drawup_peak if drawup is not None else None,
            "loss.progress": self._progress(),
            "loss.movement": self._movement() if enough else None,
            "loss.half_time": self._half_time(progress) if enough else None,
            "loss.late_share": self._late_share(progress) if enough else None,
            "loss.noise": sigma / progress if enough and sigma is not None and progress > 0.0 else None,
        }

    def course(self) -> dict[str, float | None]:
        """Return the signals of `LossCourse`."""
        return {"loss.noise_growth": self._noise_growth(), "loss.alternation": self._alternation()}

    def _note_spike(self, value: float) -> None:
        """Compare the point with the window before it; a spike does not enter the window."""
        middle, sigma = self._median.median, self._median.sigma
        if middle is None or sigma is None or len(self._median) < 8:
            self._median.update(value)
            return
        rise = value - middle
        if rise <= LEAST_SPIKE * abs(middle):
            self._spike = 0.0
        else:
            self._spike = min(rise / sigma, 999.0) if sigma > 0.0 else 999.0
        is_spike = self._spike > SPIKE_SIGMA
        self._spikes.append(is_spike)
        if not is_spike or sum(self._spikes) > SPIKE_MEMORY // 4:
            self._median.update(value)

    def _without_spike(self, value: float) -> float:
        """Put the median in the place of a spike, unless spikes stay: then it is the level that has changed."""
        spiking = (self._spike or 0.0) > SPIKE_SIGMA
        self._spikes_in_row = self._spikes_in_row + 1 if spiking else 0
        middle = self._median.median
        return middle if middle is not None and 0 < self._spikes_in_row <= LONGEST_SPIKE else value

    def _error(self) -> float:
        return (self._noise.sigma or 0.0) * self._smooth.error_factor

    def _drawup(self) -> float | None:
        if self._points < 10 or self._noise.sigma is None:
            return None
        rise = self._smooth.value - self._least
        scale = max(abs(self._first.value - self._least), 8.0 * self._error())
        return rise / scale if scale > 0.0 else 0.0

    def _drawup_sigma_value(self) -> float:
        error, rise = self._error(), self._smooth.value - self._least
        return min(rise / error, 999.0) if error > 0.0 else (999.0 if rise > 0.0 else 0.0)

    def _drawup_sure(self) -> float:
        # A minimum among the first points has the noise of few points: a low one is no progress that was given back.
        error = math.hypot(self._error(), (self._noise.sigma or 0.0) * self._least_factor)
        rise = self._smooth.value - self._least
        return min(rise / error, 999.0) if error > 0.0 else (999.0 if rise > 0.0 else 0.0)

    def _drawup_level(self) -> float | None:
        if self._drawup() is None or self._first.value == 0.0:
            return None
        return (self._smooth.value - self._least) / abs(self._first.value)

    def _noise_growth(self) -> float | None:
        early = self._noises.at(0.25) if self._points >= 64 else None
        if early is None or not early > 0.0:
            return None
        return (self._noise.sigma or 0.0) / early

    def _alternation(self) -> float | None:
        moves = list(self._steps_taken)
        if len(moves) < 39:
            return None
        mean = sum(moves) / len(moves)
        spread = sum((move - mean) ** 2 for move in moves)
        if spread == 0.0:
            return None
        return sum((a - mean) * (b - mean) for a, b in itertools.pairwise(moves)) / spread

    def _progress(self) -> float | None:
        first = self._first.value
        return (first - self._least) / first if self._points >= 10 and first > 0.0 else None

    def _movement(self) -> float | None:
        before, error = self._history.at(0.8), self._error()
        if before is None:
            return None
        change = abs(self._smooth.value - before)
        return min(change / error, 999.0) if error > 0.0 else (999.0 if change > 0.0 else 0.0)

    def _half_time(self, progress: float) -> float | None:
        if not progress > CLEAR_PROGRESS * self._error():
            return None
        middle = self._first.value - progress / 2.0
        index = next((index for index, smooth in self._history.entries if smooth <= middle), None)
        return index / self._points if index is not None else None

    def _late_share(self, progress: float) -> float | None:
        before = self._history.at(0.8)
        if before is None or not progress > CLEAR_PROGRESS * self._error():
            return None
        return (before - self._smooth.value) / progress
