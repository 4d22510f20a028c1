"""Comparing the verification rates of cycles: counted shares, so that a difference is tested, not looked at.

The newest rate is tested against the level of the best ones: the best so far, pooled with all that do not lie clearly
below it. Alone, the best of several equal rates would lie above them by luck, and have the noise of one cycle. The
error rate is spent over the cycles (alpha spending: Lan and DeMets, 1983), half of it over the first ten.

Samples of one prompt are alike. Where both cycles drew the same prompts that makes the difference more certain: what
the prompts differ by cancels out, and the variance shrinks by the intraclass correlation. Where they drew different
prompts it makes it less certain, by the design effect 1 + (m - 1) icc (Kish, 1965). The correlation is measured on the
cycles' own verdicts where these name their prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from raftmon.grounds import BEYOND
from raftmon.slotted import dataclass

__all__ = [
    "Rate",
    "detectable",
    "error_of_difference",
    "gain_bound",
    "level_of_best",
    "needed_z",
    "seen_with_power",
    "upper_limit",
    "z_of_drop",
]

TOTAL_ERROR: Final = 0.055
"""What the comparisons of a campaign of any length spend together; about half of it by the tenth cycle."""
HALF_SPENT: Final = 10
"""Comparisons after which about half of the error rate is spent."""
USUAL_CLUSTERING: Final = 0.3
"""Likeness of the samples of one prompt where it was not measured, from the simulation behind the thresholds."""
MIXED: Final = "several"
"""Stands for the digest where cycles with different prompts are pooled."""
NOT_BELOW: Final = 2.8
"""Standard errors by which a cycle may lie below the best one and still belong to its level; with `TOTAL_ERROR` chosen
on simulated campaigns for a family-wise error below 3 %."""
POWER: Final = 0.8


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of counted samples."""

    value: float
    verified: int | None
    """Samples judged; None: the rate came without a count."""
    prompts: str | None = None
    """Digest of the set of prompts, None if unknown."""
    prompt_count: int | None = None
    """Different prompts, None if unknown."""
    clustering: float | None = None
    """Intraclass correlation of the verdicts on one prompt, None if unknown."""

    @property
    def per_prompt(self) -> float:
        """Samples per prompt; 1 where the prompts are unknown."""
        return self.verified / self.prompt_count if self.verified and self.prompt_count else 1.0


def needed_z(comparison: int, total_error: float = TOTAL_ERROR) -> float:
    """Return the z that the k-th comparison (from 1) needs so that all together stay below the total error rate.

    Comparison k may spend the share 10 / ((k + 9) (k + 10)) of the total: the shares of all comparisons add up to 1.
    """
    head = HALF_SPENT - 1
    return _normal_quantile(1.0 - total_error * HALF_SPENT / ((comparison + head) * (comparison + head + 1)))


def _normal_quantile(share: float) -> float:
    """Return the value that a standard normal variable stays below with this probability."""
    # Imported here because it brings random, decimal and fractions along, and most logdirs have no campaign.
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)


def level_of_best(rates: Sequence[Rate]) -> Rate | None:
    """Pool the best of some rates with those that do not lie clearly below it; None without rates."""
    best = max(rates, key=lambda rate: rate.value, default=None)
    if best is None:
        return None
    alike = [rate for rate in rates if rate is best or _is_near(best, rate)]
    if len(alike) == 1:
        return best
    verified = sum(rate.verified or 0 for rate in alike)
    sets = {rate.prompts: rate.prompt_count for rate in alike}
    counts = [count for count in sets.values() if count is not None]
    known = [rate.clustering for rate in alike if rate.clustering is not None]
    return Rate(
        value=sum(rate.value * (rate.verified or 0) for rate in alike) / verified,
        verified=verified,
        prompts=best.prompts if len(sets) == 1 else MIXED,
        prompt_count=sum(counts) if len(counts) == len(sets) else None,
        clustering=sum(known) / len(known) if known else None,
    )


def _is_near(best: Rate, rate: Rate) -> bool:
    error = error_of_difference(best, rate)
    return error is not None and best.value - rate.value <= NOT_BELOW * error


def _clustering(first: Rate, second: Rate) -> float | None:
    known = [rate.clustering for rate in (first, second) if rate.clustering is not None]
    return sum(known) / len(known) if known else None


def error_of_difference(first: Rate, second: Rate, *, fresh: bool | None = None) -> float | None:
    """Return the standard error of the difference of two rates if both were equal, None without counts.

    Args:
        first: one rate.
        second: the other.
        fresh: whether the prompts differ; None: told from their digests, and where these are unknown they do not.
    """
    if not first.verified or not second.verified:
        return None
    pooled = (first.value * first.verified + second.value * second.verified) / (first.verified + second.verified)
    variance = pooled * (1.0 - pooled) * (1.0 / first.verified + 1.0 / second.verified)
    clustering = _clustering(first, second)
    if fresh is None:
        fresh = first.prompts is not None and second.prompts is not None and first.prompts != second.prompts
    if fresh:
        per_prompt = max(first.per_prompt, second.per_prompt)
        likeness = clustering if clustering is not None else USUAL_CLUSTERING
        return math.sqrt(variance * (1.0 + (per_prompt - 1.0) * likeness))
    same = first.prompts is not None and first.prompts == second.prompts
    return math.sqrt(variance * (1.0 - (clustering or 0.0))) if same else math.sqrt(variance)


def z_of_drop(drop: float, error: float) -> float:
    """Return a drop in standard errors, cut off at ±`BEYOND`; without any error a drop is as certain as can be."""
    if error > 0.0:
        return max(-BEYOND, min(drop / error, BEYOND))
    return math.copysign(BEYOND, drop) if drop else 0.0


def detectable(comparison: int, error: float) -> float:
    """Return the least drop that the k-th comparison sees with power 0.8."""
    return seen_with_power(needed_z(comparison), error)


def seen_with_power(z: float, error: float) -> float:
    """Return the least difference that a test at `z` sees with power 0.8."""
    return (z + _normal_quantile(POWER)) * error


def upper_limit(rate: Rate, z: float = 1.96) -> float | None:
    """Return the upper end of a rate's 95 % score interval (Wilson, 1927), None without a count."""
    if not rate.verified:
        return None
    n, p = rate.verified, rate.value
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return min(1.0, (centre + half) / (1 + z * z / n))


def gain_bound(rates: list[tuple[int, Rate]]) -> float:
    """Return the upper end of the 95 % interval of the slope per cycle (weighted least squares on the rates)."""
    weights = [float(rate.verified or 1) for _, rate in rates]
    values = [rate.value for _, rate in rates]
    places = [float(cycle) for cycle, _ in rates]
    total = sum(weights)
    mean_place = sum(w * x for w, x in zip(weights, places, strict=True)) / total
    mean_rate = sum(w * y for w, y in zip(weights, values, strict=True)) / total
    spread = sum(w * (x - mean_place) ** 2 for w, x in zip(weights, places, strict=True))
    if spread == 0.0:
        return math.inf
    products = (w * (x - mean_place) * (y - mean_rate) for w, x, y in zip(weights, places, values, strict=True))
    return sum(products) / spread + 1.96 * math.sqrt(mean_rate * (1.0 - mean_rate) / spread)
