"""Distinct outputs at equal numbers of samples.

More samples repeat themselves more often, whatever the model. So two cycles are compared at the smaller number of
accepted samples: the expected distinct ones among m drawn without replacement (Hurlbert, 1971).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

__all__ = ["LEAST_SAMPLES", "Outputs", "distinct_among", "unique_left"]

Outputs: TypeAlias = Sequence[tuple[int, int]]
"""How many distinct outputs came how often: (times, outputs)."""

LEAST_SAMPLES: Final = 30
"""Accepted samples below which repetitions say nothing."""


def distinct_among(outputs: Outputs, samples: int) -> float:
    """Return the expected distinct outputs among so many samples, drawn without replacement from all of them."""
    total = sum(times * count for times, count in outputs)
    if samples >= total:
        return float(sum(count for _, count in outputs))
    missed = 0.0
    for times, count in outputs:
        if total - times >= samples:
            missed += count * math.exp(_log_choose(total - times, samples) - _log_choose(total, samples))
    return sum(count for _, count in outputs) - missed


def unique_left(first: Outputs, newest: Outputs) -> float | None:
    """Return the distinct outputs of the newest cycle over those of the first, at equal numbers of samples.

    Returns:
        None where one of the two has fewer than `LEAST_SAMPLES` accepted samples.
    """
    samples = min(sum(times * count for times, count in outputs) for outputs in (first, newest))
    if samples < LEAST_SAMPLES:
        return None
    return distinct_among(newest, samples) / distinct_among(first, samples)


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
