"""Signals of the gradient norm (before clipping, as trainers log it).

The norm itself says nothing about the learning rate: scale the weights by c and the same training logs c times the
norm. What can be used are ratios inside one run, and the ratio to the clip limit as a fact about clipping.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import ClassVar, Final

from raftmon.signals.base import SignalInfo
from raftmon.signals.profile import Profile
from raftmon.signals.statistics import RollingMedian, Thinned, wilson_interval

__all__ = ["GradientCourse", "GradientSignals"]

WINDOW: Final = 50
RECENT: Final = 10
WARM_UP: Final = 25
"""Points before a spike is judged: the first norms of a training are larger by nature."""
_MEMORY: Final = 0.97


class GradientCourse:
    """The norm's logarithm over the whole run."""

    role: ClassVar[str] = "gradient-course"
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("gradient.range", "ratio", "grad_norm", 8, "logarithm of the norm, 95th less 5th percentile"),
        SignalInfo("gradient.peak", "ratio", "grad_norm", 8, "logarithm of the greatest norm over the median"),
        SignalInfo("gradient.settling", "ratio", "grad_norm", 8, "mean move of that logarithm over its first moves"),
        SignalInfo(
            "gradient.rise", "ratio", "grad_norm", 8, "its net rise over all of its way, by twelfths of the run"
        ),
    )

    def __init__(self) -> None:
        self._course, self._moves = Profile(), Profile()
        self._last = math.nan
        self._kept = Thinned(128)
        self._greatest = -math.inf

    def update(self, step: int, value: float) -> None:
        """Take in nothing: the signals of the norm hand its logarithm on."""

    def update_log(self, log_norm: float) -> None:
        """Take in the logarithm of a norm."""
        if self._course.count:
            self._moves.update(abs(log_norm - self._last))
        self._last = log_norm
        self._course.update(log_norm)
        self._kept.update(log_norm)
        self._greatest = max(self._greatest, log_norm)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        count = self._course.count
        if count < 8:
            return dict.fromkeys(("gradient.range", "gradient.peak", "gradient.settling", "gradient.rise"), None)
        kept = sorted(value for _, value in self._kept.entries)
        moves = self._moves.means(max(2, min(20, count // 4)))
        means = self._course.means(12)
        travelled = sum(abs(b - a) for a, b in itertools.pairwise(means))
        return {
            "gradient.range": kept[int(0.95 * (len(kept) - 1))] - kept[int(0.05 * (len(kept) - 1))],
            "gradient.peak": self._greatest - kept[len(kept) // 2],
            "gradient.settling": sum(moves) / len(moves) / moves[0] if moves[0] > 0.0 else None,
            "gradient.rise": (means[-1] - means[0]) / travelled if travelled > 0.0 else None,
        }


class GradientSignals:
    """Clipping, spikes, size and trend of one gradient-norm series.

    Args:
        max_grad_norm: the clip limit, or None where it is not known; 0 stands for no clipping.
    """

    role: ClassVar[str] = "grad_norm"
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("gradient.nonfinite", "points", "grad_norm", 1, f"NaN or infinite among the newest {RECENT} points"),
        SignalInfo("gradient.zero_streak", "points", "grad_norm", 1, "newest points in a row that are exactly 0"),
        SignalInfo("gradient.median", "", "grad_norm", 8, f"median of the newest {WINDOW} norms"),
        SignalInfo(
            "gradient.median_of_limit",
            "ratio",
            "grad_norm",
            8,
            "the same median over the clip limit",
            "the clip limit (max_grad_norm)",
        ),
        SignalInfo(
            "gradient.clip_share",
            "ratio",
            "grad_norm",
            8,
            f"share of the newest {WINDOW} norms above the clip limit, lower end of its 95 % interval",
            "the clip limit (max_grad_norm)",
        ),
        SignalInfo("gradient.spike", "sigma", "grad_norm", WARM_UP, "log of the newest norm against its running mean"),
        SignalInfo("gradient.trend", "ratio", "grad_norm", 40, "median of the newest norms over that of the first"),
        SignalInfo("gradient.dispersion", "ratio", "grad_norm", 20, "spread of the logarithm of the newest norms"),
    )

    def __init__(self, max_grad_norm: float | None) -> None:
        self._limit = max_grad_norm
        self._broken: deque[bool] = deque(maxlen=RECENT)
        self._zeros = 0
        self._count = 0
        self._clipped: deque[bool] = deque(maxlen=WINDOW)
        self._norms = RollingMedian(WINDOW)
        self._logs = RollingMedian(WINDOW)
        self._first: list[float] = []
        self._mean = math.nan
        self._variance = 0.0
        self._spike: float | None = None
        self.course = GradientCourse()

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        self._broken.append(not math.isfinite(value))
        self._zeros = self._zeros + 1 if value == 0.0 else 0
        if not math.isfinite(value):
            return
        self._count += 1
        if len(self._first) < 20:
            self._first.append(value)
        self._norms.update(value)
        if self._limit:
            self._clipped.append(value > self._limit)
        if value > 0.0:
            log_norm = math.log(value)
            self.course.update_log(log_norm)
            self._logs.update(log_norm)
            self._note_spike(log_norm)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        seen = len(self._clipped)
        median = self._norms.median if len(self._norms) >= 8 else None
        return {
            "gradient.nonfinite": float(sum(self._broken)) if self._broken else None,
            "gradient.zero_streak": float(self._zeros) if self._broken else None,
            "gradient.median": median,
            "gradient.median_of_limit": median / self._limit if median is not None and self._limit else None,
            "gradient.clip_share": wilson_interval(sum(self._clipped), seen)[0] if seen >= 8 else None,
            "gradient.spike": self._spike,
            "gradient.trend": self._trend(median),
            "gradient.dispersion": self._logs.sigma if len(self._logs) >= 20 else None,
        }

    def _trend(self, median: float | None) -> float | None:
        if median is None or self._count < 40:
            return None
        early = sorted(self._first)[len(self._first) // 2]
        return median / early if early > 0.0 else None

    def _note_spike(self, log_norm: float) -> None:
        """Z-score against an exponential mean that is in turn protected from the spike (after ZClip, 2025)."""
        if math.isnan(self._mean):
            self._mean = log_norm
            return
        deviation = log_norm - self._mean
        sigma = math.sqrt(self._variance)
        if self._count > WARM_UP:
            floor = max(sigma, 1e-3)
            self._spike = deviation / floor
            deviation = max(-3.0 * floor, min(3.0 * floor, deviation))
        weight = max(1.0 - _MEMORY, 1.0 / self._count)
        self._mean += weight * deviation
        self._variance += weight * (deviation * deviation - self._variance)
