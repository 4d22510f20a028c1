"""Signals of a campaign: one update per cycle, in the order of the cycles.

Two axes, never mixed: what the rates and the probes say of the size of the steps, and how much of the diversity that
the campaign began with is left. The comparison of rates is in `raftmon.signals.rates`.
"""

from __future__ import annotations

import math
from typing import ClassVar

from raftmon.grounds import BEYOND
from raftmon.signals.base import SignalInfo
from raftmon.signals.curvature import curvature
from raftmon.signals.gains import RatedCycle, gains
from raftmon.signals.rarefaction import unique_left
from raftmon.signals.rates import (
    Rate,
    detectable,
    error_of_difference,
    gain_bound,
    level_of_best,
    needed_z,
    upper_limit,
    z_of_drop,
)
from raftmon.slotted import dataclass

__all__ = ["CampaignSignals", "CycleFacts", "needed_z"]


@dataclass(frozen=True, slots=True)
class CycleFacts:
    """What the signals need to know of one cycle; None: not known."""

    cycle: int
    rate: float | None
    """Share of samples that passed the verifier."""
    verified: int | None
    """Samples judged; None: the rate came without a count."""
    prompts: str | None = None
    """Digest of the set of prompts."""
    prompt_count: int | None = None
    """Different prompts."""
    clustering: float | None = None
    """Intraclass correlation of the verdicts on one prompt."""
    held_out: bool = False
    """Whether `rate` is one on prompts that are never trained on."""
    unique_fraction: float | None = None
    """Distinct accepted outputs over accepted ones; used where `outputs` is unknown."""
    outputs: tuple[tuple[int, int], ...] = ()
    """How many distinct accepted outputs came how often: (times, outputs); empty if unknown."""
    distinct: float | None = None
    """Distinct pairs of tokens over all, in a sample of accepted outputs of always the same size."""
    entropy: float | None = None
    """Mean entropy logged in the cycle."""
    mean_length: float | None = None
    """Mean length of an accepted output, in characters."""
    length_variation: float | None = None
    """Standard deviation of that length over its mean."""
    training: Rate | None = None
    """Rate on the prompts trained on, where `rate` is the held-out one."""
    acceptance: float | None = None
    """Share of the samples behind the cycle's training data that was accepted."""
    rho: float | None = None
    """Loss change of a step over the change that the gradient predicts, median of the cycle."""
    kl: float | None = None
    """Nats per token by which the cycle moved the model away from its own samples."""
    harm: float | None = None
    """Nats per token by which verified held-out samples became less likely."""
    broken: int | None = None
    """Points of loss and gradient norm in the cycle that are NaN or infinite."""
    loss_drop: float | None = None
    """Fall of the training loss within the cycle, nats per token."""
    learning_rate: float | None = None
    """Peak of the cycle."""
    trained: bool = True
    """Whether its training has begun; its samples may be judged before."""

    @property
    def counted(self) -> Rate | None:
        """The rate with what is needed to compare it."""
        if self.rate is None:
            return None
        return Rate(self.rate, self.verified, self.prompts, self.prompt_count, self.clustering)

    @property
    def held_out_rate(self) -> Rate | None:
        """The same, where the prompts are never trained on."""
        return self.counted if self.held_out else None


class CampaignSignals:
    """Drops, standstill, and spent diversity over the cycles of one campaign."""

    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("campaign.cycles", "cycles", "campaign", 0, "cycles with a verification rate"),
        SignalInfo("campaign.rate", "share", "campaign", 1, "newest verification rate"),
        SignalInfo("campaign.held_out", "flag", "campaign", 1, "1 when the rates are on held-out prompts, else 0"),
        SignalInfo("campaign.drop", "share", "campaign", 2, "best rate so far less the newest rate"),
        SignalInfo("campaign.drop_of_best", "ratio", "campaign", 2, "the same over the best rate"),
        SignalInfo(
            "campaign.drop_margin", "sigma", "campaign", 2, "standard errors of the drop beyond those of chance"
        ),
        SignalInfo(
            "campaign.below_best", "share", "campaign", 2, "level of the best less the newest rate's upper limit"
        ),
        SignalInfo(
            "campaign.detectable_drop", "share", "campaign", 2, "least drop seen with power 0.8 at these counts"
        ),
        SignalInfo("campaign.flat_cycles", "cycles", "campaign", 2, "newest cycles whose rates do not differ"),
        SignalInfo("campaign.gain_bound", "share", "campaign", 4, "largest gain a cycle that the flat rates allow"),
        SignalInfo("campaign.cycles_at_rate", "cycles", "campaign", 1, "newest cycles at the learning rate in force"),
        SignalInfo("campaign.gain", "share", "campaign", 2, "gain of the held-out rate since that rate is in force"),
        SignalInfo("campaign.gain_z", "sigma", "campaign", 2, "the same in standard errors"),
        SignalInfo("campaign.total_gain_z", "sigma", "campaign", 2, "gain since the first rate, in standard errors"),
        SignalInfo(
            "campaign.detectable_gain", "share", "campaign", 2, "least gain seen with power 0.8 at these counts"
        ),
        SignalInfo(
            "campaign.diversity_left", "ratio", "campaign", 2, "least of the known ones of unique and entropy left"
        ),
        SignalInfo(
            "campaign.unique_left",
            "ratio",
            "campaign",
            2,
            "unique accepted outputs against the first cycle, among equally many",
        ),
        SignalInfo("campaign.distinct_left", "ratio", "campaign", 2, "distinct token pairs against the first cycle"),
        SignalInfo("campaign.entropy_left", "ratio", "campaign", 2, "entropy against the first cycle"),
        SignalInfo(
            "campaign.length_left", "ratio", "campaign", 2, "length of accepted outputs against the first cycle"
        ),
        SignalInfo(
            "campaign.variation_left", "ratio", "campaign", 2, "variation of that length against the first cycle"
        ),
        SignalInfo("campaign.gap", "share", "campaign", 1, "rate on trained prompts less rate on held-out prompts"),
        SignalInfo("campaign.gap_of_rate", "ratio", "campaign", 1, "the same over the rate on trained prompts"),
        SignalInfo("campaign.gap_low", "share", "campaign", 1, "lower 95 % limit of the gap"),
        SignalInfo("campaign.gap_growth", "share", "campaign", 2, "gap less the gap of the first cycle"),
        SignalInfo("campaign.gap_growth_low", "share", "campaign", 2, "lower 95 % limit of the growth of the gap"),
        SignalInfo("campaign.rho", "ratio", "campaign", 1, "gain of a step over the gain that the gradient predicts"),
        SignalInfo(
            "campaign.rho_curvature", "ratio", "campaign", 1, "1 - rho over the learning rate, mean of three cycles"
        ),
        SignalInfo("campaign.kl", "nats", "campaign", 1, "KL per token that the newest cycle moved the model by"),
        SignalInfo("campaign.harm", "nats", "campaign", 1, "rise per token of the loss on verified held-out samples"),
        SignalInfo("campaign.broken", "points", "campaign", 1, "NaN or infinite points in the newest cycle"),
        SignalInfo("campaign.loss_drop", "nats", "campaign", 1, "fall of the training loss within the newest cycle"),
        SignalInfo(
            "campaign.loss_unexplained",
            "nats",
            "campaign",
            1,
            "fall of the loss beyond log(1/acceptance)/length per character",
        ),
    )

    def __init__(self) -> None:
        self._cycles: list[CycleFacts] = []
        self._rated: list[tuple[int, Rate]] = []
        self._drop: dict[str, float | None] = {}

    def update(self, facts: CycleFacts) -> None:
        """Take in the next cycle."""
        self._cycles.append(facts)
        rate = facts.counted
        if rate is None:
            return
        self._drop = self._compare_with_best(rate)
        self._rated.append((facts.cycle, rate))

    def readings(self) -> dict[str, float | None]:
        """Return every signal of the family."""
        readings: dict[str, float | None] = dict.fromkeys((info.name for info in self.signals), None)
        readings["campaign.cycles"] = float(len(self._rated))
        readings.update(self._drop)
        rated = [cycle for cycle in self._cycles if cycle.rate is not None]
        readings["campaign.rate"] = rated[-1].rate if rated else None
        readings["campaign.held_out"] = float(rated[-1].held_out) if rated else None
        flat = self._flat()
        if len(self._rated) >= 2:
            readings["campaign.flat_cycles"] = float(len(flat))
        if len(flat) >= 4:
            readings["campaign.gain_bound"] = gain_bound(flat)
        if self._cycles:
            readings.update(self._diversity())
            readings.update(self._gap())
            # What a training tells is that of the newest one, also while the samples of the next are judged already.
            last = max((place for place, cycle in enumerate(self._cycles) if cycle.trained), default=-1)
            known = self._cycles[: last + 1] if last >= 0 else self._cycles
            readings.update(_newest(known[-1]))
            readings.update(gains([RatedCycle(c.learning_rate, c.held_out_rate) for c in known]))
            readings["campaign.rho_curvature"] = curvature([(c.learning_rate, c.rho) for c in known])
        return readings

    def _compare_with_best(self, rate: Rate) -> dict[str, float | None]:
        earlier = [rate for _, rate in self._rated]
        level = level_of_best(earlier)
        if level is None:
            return {}
        best = max(rate.value for rate in earlier)
        readings: dict[str, float | None] = {
            "campaign.drop": best - rate.value,
            "campaign.drop_of_best": (best - rate.value) / best if best > 0.0 else None,
        }
        error = error_of_difference(level, rate)
        if error is not None:
            comparison, top = len(earlier), upper_limit(rate)
            z = z_of_drop(level.value - rate.value, error)
            # What is cut off stays so: less what is needed, it would look like a measurement.
            readings["campaign.drop_margin"] = z - needed_z(comparison) if abs(z) < BEYOND else z
            readings["campaign.detectable_drop"] = detectable(comparison, error)
            readings["campaign.below_best"] = level.value - top if top is not None else None
        return readings

    def _flat(self) -> list[tuple[int, Rate]]:
        """Return the newest cycles, oldest first, that none of the others differs from at 95 %."""
        flat: list[tuple[int, Rate]] = []
        for cycle, rate in reversed(self._rated):
            for _, other in flat:
                error = error_of_difference(rate, other)
                if error is None or abs(rate.value - other.value) > 1.96 * error:
                    return flat[::-1]
            flat.append((cycle, rate))
        return flat[::-1]

    def _diversity(self) -> dict[str, float | None]:
        newest, first = self._cycles[-1], next((cycle for cycle in self._cycles if cycle.outputs), None)
        unique = self._left("unique_fraction")
        if newest.outputs and first is not None and first is not newest:
            unique = unique_left(first.outputs, newest.outputs)
        entropy = self._left("entropy")
        return {
            "campaign.diversity_left": min((x for x in (unique, entropy) if x is not None), default=None),
            "campaign.unique_left": unique,
            "campaign.distinct_left": self._left("distinct"),
            "campaign.entropy_left": entropy,
            "campaign.length_left": self._left("mean_length"),
            "campaign.variation_left": self._left("length_variation"),
        }

    def _left(self, name: str) -> float | None:
        values = [getattr(cycle, name) for cycle in self._cycles]
        known = [value for value in values if value is not None]
        if len(known) < 2 or values[-1] is None or not known[0] > 0.0:
            return None
        return float(values[-1] / known[0])

    def _gap(self) -> dict[str, float | None]:
        """Compare trained with held-out prompts: other prompts, so that only the growth is free of their difficulty."""
        gaps = [
            (cycle.training, rate) for cycle in self._cycles if cycle.training and (rate := cycle.counted) is not None
        ]
        newest = self._cycles[-1]
        if not gaps or newest.training is None or newest.rate is None:
            return {}
        training, held_out = gaps[-1]
        gap = training.value - held_out.value
        error = error_of_difference(training, held_out, fresh=True)
        found: dict[str, float | None] = {
            "campaign.gap": gap,
            "campaign.gap_of_rate": gap / training.value if training.value > 0.0 else None,
            "campaign.gap_low": gap - 1.96 * error if error is not None else None,
        }
        if len(gaps) >= 2:
            first = gaps[0]
            growth = gap - (first[0].value - first[1].value)
            errors = [error_of_difference(training, first[0]), error_of_difference(held_out, first[1])]
            spread = sum(error**2 for error in errors if error is not None) ** 0.5
            found["campaign.gap_growth"] = growth
            found["campaign.gap_growth_low"] = growth - 1.96 * spread if None not in errors else None
        return found


def _newest(facts: CycleFacts) -> dict[str, float | None]:
    """Return what is told of the newest cycle alone."""
    return {
        "campaign.rho": facts.rho,
        "campaign.kl": facts.kl,
        "campaign.harm": facts.harm,
        "campaign.broken": float(facts.broken) if facts.broken is not None else None,
        "campaign.loss_drop": facts.loss_drop,
        "campaign.loss_unexplained": _unexplained(facts),
    }


def _unexplained(facts: CycleFacts) -> float | None:
    """Return the fall of the loss beyond what filtering one's own samples makes attainable.

    A model that learns its accepted samples by nothing but leaving out the others gains log(1/acceptance) nats a
    sample. Characters stand for tokens: a token has several, so that the attainable fall per token is larger.
    """
    if facts.loss_drop is None or not facts.acceptance or not facts.mean_length:
        return None
    return facts.loss_drop - math.log(1.0 / facts.acceptance) / facts.mean_length
