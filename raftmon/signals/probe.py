"""Signals of what a training logs about its own steps, where it was asked to.

``raftmon/rho`` is the gain ratio: by how much a step really lowered the loss of its own batch, over what the gradient
had promised for the update made (summed over a few probed steps). It is 1 for a step so small that the loss is a
straight line along it, and sinks with the learning rate: 1 - rho is nearly proportional to it. A schedule that decays
takes rho back to 1 at its end, so that only probes at half of the peak learning rate or more count.

``raftmon/update_ratio`` is the norm of the update over that of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

from raftmon.signals.base import Family, SignalInfo
from raftmon.signals.statistics import Thinned

__all__ = ["GainRatioSignals", "UpdateRatioSignals"]

NEAR_PEAK: Final = 0.5
"""Of the peak: probes at a smaller learning rate say nothing about it."""
LEAST: Final = 3
"""Probes before the first reading."""
KEPT: Final = 64


class GainRatioSignals(Family):
    """The gain ratio while the learning rate was near its peak."""

    role: ClassVar[str] = "rho"
    rests_on: ClassVar[frozenset[str]] = frozenset({"rho", "learning_rate"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("probe.rho", "ratio", "rho", LEAST, "median gain ratio near the peak learning rate"),
    )

    __slots__ = ("_rates", "_ratios", "rate")

    def __init__(self) -> None:
        self._ratios, self._rates = Thinned(KEPT), Thinned(KEPT)
        self.rate = math.nan
        """The learning rate in force; set by whoever feeds the points."""

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        self.extend_at((self.rate,), (value,))

    def extend_at(self, rates: Sequence[float], values: Sequence[float]) -> None:
        """Take in points in the order of arrival, each with the learning rate that was in force."""
        known = [(rate, value) for rate, value in zip(rates, values, strict=True) if value == value]
        self._rates.extend([rate for rate, _ in known])
        # A step that blew the loss up gained less than nothing.
        self._ratios.extend([max(-1.0, min(1.5, value)) for _, value in known])

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        ratios, rates = self._ratios.kept, self._rates.kept
        peak = max((rate for rate in rates if math.isfinite(rate)), default=math.nan)
        near = sorted(ratio for ratio, rate in zip(ratios, rates, strict=True) if not rate < NEAR_PEAK * peak)
        return {"probe.rho": _quantile(near, 0.5)}


class UpdateRatioSignals(Family):
    """The size of the updates."""

    role: ClassVar[str] = "update_ratio"
    rests_on: ClassVar[frozenset[str]] = frozenset({"update_ratio"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("probe.update_ratio", "ratio", "update_ratio", LEAST, "median of update over weights"),
        SignalInfo("probe.update_peak", "ratio", "update_ratio", LEAST, "greatest update over weights"),
    )

    __slots__ = ("_greatest", "_ratios")

    def __init__(self) -> None:
        self._ratios = Thinned(KEPT)
        self._greatest = 0.0

    def update(self, step: int, value: float) -> None:  # noqa: ARG002 - points count, whatever their steps are
        """Take in one point."""
        if math.isfinite(value) and value > 0.0:
            self._ratios.update(value)
            self._greatest = max(self._greatest, value)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        median = _quantile(sorted(self._ratios.kept), 0.5)
        return {"probe.update_ratio": median, "probe.update_peak": self._greatest if median is not None else None}


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[int(share * (len(ordered) - 1))] if len(ordered) >= LEAST else None
