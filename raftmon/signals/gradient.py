"""Signals of the gradient norm (before clipping, as trainers log it).

The norm itself says nothing about the learning rate: scale the weights by c and the same training logs c times the
norm. What can be used are ratios inside one run, and the ratio to the clip limit as a fact about clipping.
"""

from __future__ import annotations

import functools
import itertools
import math
from array import array
from collections.abc import Sequence
from typing import ClassVar, Final

from raftmon.signals.base import Family, Readers, SignalInfo, finite_runs, newest_broken, newest_in_row
from raftmon.signals.profile import Profile
from raftmon.signals.statistics import RollingMedian, Thinned, wilson_interval

__all__ = ["GradientCourse", "GradientSignals"]

WINDOW: Final = 50
RECENT: Final = 10
WARM_UP: Final = 25
"""Points before a spike is judged: the first norms of a training are larger by nature."""
LEAST: Final = 8
FIRST: Final = 20
"""Norms that count as the first."""
_MEMORY: Final = 0.97
_WINDOW_MASK: Final = (1 << WINDOW) - 1


class GradientCourse(Family):
    """The norm's logarithm over the whole run."""

    role: ClassVar[str] = "gradient-course"
    rests_on: ClassVar[frozenset[str]] = frozenset({"grad_norm"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("gradient.range", "ratio", "grad_norm", 8, "logarithm of the norm, 95th less 5th percentile"),
        SignalInfo("gradient.peak", "ratio", "grad_norm", 8, "logarithm of the greatest norm over the median"),
        SignalInfo("gradient.settling", "ratio", "grad_norm", 8, "mean move of that logarithm over its first moves"),
        SignalInfo(
            "gradient.rise", "ratio", "grad_norm", 8, "its net rise over all of its way, by twelfths of the run"
        ),
    )

    __slots__ = ("_course", "_greatest", "_kept", "_last", "_moves")

    def __init__(self) -> None:
        self._course, self._moves = Profile(), Profile()
        self._last = math.nan
        self._kept = Thinned(128)
        self._greatest = -math.inf

    def update_log(self, log_norm: float) -> None:
        """Take in the logarithm of a norm: the signals of the norm hand it on."""
        if self._course.count:
            self._moves.update(abs(log_norm - self._last))
        self._last = log_norm
        self._course.update(log_norm)
        self._kept.update(log_norm)
        self._greatest = max(self._greatest, log_norm)

    def extend_logs(self, log_norms: Sequence[float]) -> None:
        """Take in logarithms of norms in the order of arrival: the signals of the norm hand them on."""
        chain = [self._last, *log_norms] if self._course.count else log_norms
        self._moves.extend([abs(after - before) for before, after in itertools.pairwise(chain)])
        self._last = log_norms[-1]
        self._course.extend(log_norms)
        self._kept.extend(log_norms)
        self._greatest = max(self._greatest, max(log_norms))

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        count = self._course.count
        if count < 8:
            return self.without_readings()
        kept = sorted(self._kept.kept)
        moves = self._moves.means(max(2, min(20, count // 4)))
        means = self._course.means(12)
        travelled = sum(abs(b - a) for a, b in itertools.pairwise(means))
        return {
            "gradient.range": kept[int(0.95 * (len(kept) - 1))] - kept[int(0.05 * (len(kept) - 1))],
            "gradient.peak": self._greatest - kept[len(kept) // 2],
            "gradient.settling": sum(moves) / len(moves) / moves[0] if moves[0] > 0.0 else None,
            "gradient.rise": (means[-1] - means[0]) / travelled if travelled > 0.0 else None,
        }


class GradientSignals(Family):
    """Clipping, spikes, size and trend of one gradient-norm series.

    Args:
        max_grad_norm: the clip limit, or None where it is not known; 0 stands for no clipping.
    """

    role: ClassVar[str] = "grad_norm"
    rests_on: ClassVar[frozenset[str]] = frozenset({"grad_norm"})
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

    __slots__ = (
        "_broken",
        "_clipped",
        "_clipped_seen",
        "_count",
        "_first",
        "_limit",
        "_logs",
        "_mean",
        "_norms",
        "_seen",
        "_spike",
        "_variance",
        "_zeros",
        "course",
    )

    def __init__(self, max_grad_norm: float | None) -> None:
        self._limit = max_grad_norm
        self._seen = False
        self._broken = self._clipped = 0
        """Of the newest points a bit each, 1 for NaN or infinite, or for a norm above the limit."""
        self._clipped_seen = 0
        self._zeros = 0
        self._count = 0
        self._norms = RollingMedian(WINDOW)
        self._logs = RollingMedian(WINDOW)
        self._first = array("d")
        self._mean = math.nan
        self._variance = 0.0
        self._spike: float | None = None
        self.course = GradientCourse()

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        self._seen = True
        self._broken = newest_broken(self._broken, (value,), RECENT)
        self._zeros = self._zeros + 1 if value == 0.0 else 0
        if not math.isfinite(value):
            return
        self._count += 1
        if self._count <= FIRST:
            self._first.append(value)
        self._norms.update(value)
        if self._limit:
            self._clipped = (self._clipped << 1 | (value > self._limit)) & _WINDOW_MASK
            self._clipped_seen = min(self._clipped_seen + 1, WINDOW)
        if value > 0.0:
            log_norm = math.log(value)
            self.course.update_log(log_norm)
            self._logs.update(log_norm)
            self._note_spikes((self._count,), (log_norm,))

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in points in the order of arrival."""
        self._seen = True
        self._broken = newest_broken(self._broken, values, RECENT)
        self._zeros = newest_in_row(values, 0.0, self._zeros)
        for run in finite_runs(values):
            if run:
                self._take(run)

    def _take(self, run: Sequence[float]) -> None:
        """Take in finite norms."""
        self._first.extend(run[: FIRST - len(self._first)])
        self._norms.extend(run)
        if self._limit:
            for value in run[-WINDOW:]:
                self._clipped = (self._clipped << 1 | (value > self._limit)) & _WINDOW_MASK
            self._clipped_seen = min(self._clipped_seen + len(run), WINDOW)
        numbers = [number for number, value in enumerate(run, start=self._count + 1) if value > 0.0]
        self._count += len(run)
        if numbers:
            logs = [math.log(value) for value in run if value > 0.0]
            self.course.extend_logs(logs)
            self._logs.extend(logs)
            self._note_spikes(numbers, logs)

    def _nonfinite(self) -> float | None:
        return float(self._broken.bit_count()) if self._seen else None

    def _zero_streak(self) -> float | None:
        return float(self._zeros) if self._seen else None

    def _median(self) -> float | None:
        return self._norms.median if len(self._norms) >= LEAST else None

    def _median_of_limit(self) -> float | None:
        median = self._median()
        return median / self._limit if median is not None and self._limit else None

    def _clip_share(self) -> float | None:
        seen = self._clipped_seen
        return _surely_clipped(self._clipped.bit_count(), seen) if seen >= LEAST else None

    def _trend(self) -> float | None:
        median = self._median()
        if median is None or self._count < 2 * FIRST:
            return None
        early = sorted(self._first)[len(self._first) // 2]
        return median / early if early > 0.0 else None

    def _dispersion(self) -> float | None:
        return self._logs.sigma if len(self._logs) >= 20 else None

    def _note_spikes(self, numbers: Sequence[int], logs: Sequence[float]) -> None:
        """Z-score against an exponential mean that is in turn protected from the spike (after ZClip, 2025).

        Args:
            numbers: how many norms there were with each.
            logs: logarithms of norms.
        """
        mean, variance, spike = self._mean, self._variance, self._spike
        for number, log_norm in zip(numbers, logs, strict=True):
            if mean != mean:
                mean = log_norm
                continue
            deviation = log_norm - mean
            if number > WARM_UP:
                floor = max(math.sqrt(variance), 1e-3)
                spike = deviation / floor
                deviation = max(-3.0 * floor, min(3.0 * floor, deviation))
            weight = max(1.0 - _MEMORY, 1.0 / number)
            mean += weight * deviation
            variance += weight * (deviation * deviation - variance)
        self._mean, self._variance, self._spike = mean, variance, spike

    readers: ClassVar[Readers] = {
        "gradient.nonfinite": _nonfinite,
        "gradient.zero_streak": _zero_streak,
        "gradient.median": _median,
        "gradient.median_of_limit": _median_of_limit,
        "gradient.clip_share": _clip_share,
        "gradient.spike": lambda gradient: gradient._spike,
        "gradient.trend": _trend,
        "gradient.dispersion": _dispersion,
    }


@functools.cache
def _surely_clipped(clipped: int, seen: int) -> float:
    return wilson_interval(clipped, seen)[0]
