"""Signals of a campaign: one update per cycle, in the order of the cycles.

Verification rates are shares of counted samples, so that a drop is tested, not looked at: one-sided two-proportion z
against the best cycle so far, its error rate spent over the cycles as 6/(pi^2 k^2) of a total of 0.035 (0.035 and not
0.05 because the best of several is biased upwards). Samples of one prompt are alike; that widens the error only when
two cycles drew different prompts, by the design effect 1 + (m - 1) icc (Kish, 1965).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Final

from raftmon.signals.base import SignalInfo

__all__ = ["CampaignSignals", "CycleFacts"]

TOTAL_ERROR: Final = 0.035
INTRACLASS_CORRELATION: Final = 0.3
"""Likeness of the samples of one prompt, from the simulation behind the thresholds."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class CycleFacts:
    """What the signals need to know of one cycle."""

    cycle: int
    rate: float | None
    """Share of samples that passed the verifier."""
    verified: int | None
    """Samples judged; None: the rate came without a count."""
    prompts: str | None = None
    """Digest of the set of prompts, None if unknown."""
    prompt_count: int | None = None
    """Different prompts, None if unknown."""
    unique_fraction: float | None = None
    entropy: float | None = None
    """Mean entropy logged in the cycle."""
    mean_length: float | None = None
    """Mean length of an accepted completion."""
    training_rate: float | None = None
    """Rate on the prompts trained on, where `rate` is the held-out one."""


class CampaignSignals:
    """Drops, standstill, and spent diversity over the cycles of one campaign."""

    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("campaign.cycles", "cycles", "campaign", 0, "cycles with a verification rate"),
        SignalInfo("campaign.drop", "share", "campaign", 2, "best rate so far less the newest rate"),
        SignalInfo("campaign.drop_of_best", "ratio", "campaign", 2, "the same over the best rate"),
        SignalInfo("campaign.drop_margin", "sigma", "campaign", 2, "z of the drop less the z that it needs; > 0: real"),
        SignalInfo(
            "campaign.detectable_drop", "share", "campaign", 2, "least drop seen with power 0.8 at these counts"
        ),
        SignalInfo("campaign.flat_cycles", "cycles", "campaign", 2, "newest cycles whose rates do not differ"),
        SignalInfo("campaign.gain_bound", "share", "campaign", 4, "largest gain a cycle that the flat rates allow"),
        SignalInfo("campaign.unique_left", "ratio", "campaign", 2, "unique accepted outputs against the first cycle"),
        SignalInfo("campaign.entropy_left", "ratio", "campaign", 2, "entropy against the first cycle"),
        SignalInfo(
            "campaign.length_left", "ratio", "campaign", 2, "length of accepted outputs against the first cycle"
        ),
        SignalInfo("campaign.gap", "share", "campaign", 1, "rate on trained prompts less rate on held-out prompts"),
    )

    def __init__(self) -> None:
        self._cycles: list[CycleFacts] = []
        self._rated: list[CycleFacts] = []
        self._drop: dict[str, float | None] = {}

    def update(self, facts: CycleFacts) -> None:
        """Take in the next cycle."""
        self._cycles.append(facts)
        if facts.rate is None:
            return
        self._drop = self._compare_with_best(facts)
        self._rated.append(facts)

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        readings: dict[str, float | None] = dict.fromkeys((info.name for info in self.signals), None)
        readings["campaign.cycles"] = float(len(self._rated))
        readings.update(self._drop)
        flat = self._flat()
        if len(self._rated) >= 2:
            readings["campaign.flat_cycles"] = float(len(flat))
        if len(flat) >= 4:
            readings["campaign.gain_bound"] = _gain_bound(flat)
        readings["campaign.unique_left"] = self._left("unique_fraction")
        readings["campaign.entropy_left"] = self._left("entropy")
        readings["campaign.length_left"] = self._left("mean_length")
        newest = self._rated[-1] if self._rated else None
        if newest is not None and newest.rate is not None and newest.training_rate is not None:
            readings["campaign.gap"] = newest.training_rate - newest.rate
        return readings

    def _compare_with_best(self, facts: CycleFacts) -> dict[str, float | None]:
        best = max(self._rated, key=lambda cycle: cycle.rate or 0.0, default=None)
        if best is None or best.rate is None or facts.rate is None:
            return {}
        drop = best.rate - facts.rate
        readings: dict[str, float | None] = {
            "campaign.drop": drop,
            "campaign.drop_of_best": drop / best.rate if best.rate > 0.0 else None,
        }
        error = _error_of_difference(best, facts)
        if error is not None:
            needed = needed_z(len(self._rated))
            z = drop / error if error > 0.0 else math.copysign(999.0, drop) if drop else 0.0
            readings["campaign.drop_margin"] = z - needed
            readings["campaign.detectable_drop"] = (needed + _NORMAL.inv_cdf(0.8)) * error
        return readings

    def _flat(self) -> list[CycleFacts]:
        """Return the newest cycles, oldest first, that none of the others differs from at 95 %."""
        flat: list[CycleFacts] = []
        for cycle in reversed(self._rated):
            for other in flat:
                error = _error_of_difference(cycle, other)
                if error is None or abs((cycle.rate or 0.0) - (other.rate or 0.0)) > 1.96 * error:
                    return flat[::-1]
            flat.append(cycle)
        return flat[::-1]

    def _left(self, name: str) -> float | None:
        values = [getattr(cycle, name) for cycle in self._cycles]
        known = [value for value in values if value is not None]
        if len(known) < 2 or values[-1] is None or not known[0] > 0.0:
            return None
        return float(values[-1] / known[0])


def needed_z(comparison: int, total_error: float = TOTAL_ERROR) -> float:
    """Return the z that the k-th comparison (from 1) needs so that all together stay below the total error rate."""
    return _NORMAL.inv_cdf(1.0 - total_error * 6.0 / (math.pi * comparison) ** 2)


def _design_effect(first: CycleFacts, second: CycleFacts) -> float:
    if first.prompts is None or first.prompts == second.prompts:
        return 1.0
    per_prompt = [
        cycle.verified / cycle.prompt_count for cycle in (first, second) if cycle.verified and cycle.prompt_count
    ]
    return 1.0 + (max(per_prompt, default=1.0) - 1.0) * INTRACLASS_CORRELATION


def _error_of_difference(first: CycleFacts, second: CycleFacts) -> float | None:
    """Return the standard error of the difference of two rates under the null, None without counts."""
    if not first.verified or not second.verified or first.rate is None or second.rate is None:
        return None
    pooled = (first.rate * first.verified + second.rate * second.verified) / (first.verified + second.verified)
    variance = pooled * (1.0 - pooled) * (1.0 / first.verified + 1.0 / second.verified)
    return math.sqrt(variance * _design_effect(first, second))


def _gain_bound(cycles: list[CycleFacts]) -> float:
    """Return the upper end of the 95 % interval of the slope per cycle (weighted least squares on the rates)."""
    weights = [float(cycle.verified or 1) for cycle in cycles]
    rates = [cycle.rate or 0.0 for cycle in cycles]
    places = [float(cycle.cycle) for cycle in cycles]
    total = sum(weights)
    mean_place = sum(w * x for w, x in zip(weights, places, strict=True)) / total
    mean_rate = sum(w * y for w, y in zip(weights, rates, strict=True)) / total
    spread = sum(w * (x - mean_place) ** 2 for w, x in zip(weights, places, strict=True))
    if spread == 0.0:
        return math.inf
    slope = sum(w * (x - mean_place) * (y - mean_rate) for w, x, y in zip(weights, places, rates, strict=True)) / spread
    return slope + 1.96 * math.sqrt(mean_rate * (1.0 - mean_rate) / spread)
