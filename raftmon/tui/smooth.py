"""Smoothing for the eye; judgements come from `raftmon.signals`, never from here."""

from __future__ import annotations

import math

import numpy as np

from raftmon.tui.raster import Floats

__all__ = ["debiased_ema", "weight_for"]

MOST_GROWTH = 1e6
"""Largest ratio of weights in one block of the sum; ten digits are left to the values."""


def debiased_ema(values: Floats, weight: float) -> Floats:
    """Return the exponential moving average without the pull of its start value.

    The bias is divided out as in Kingma & Ba, "Adam" (ICLR 2015), section 3: a constant series stays constant,
    and what was drawn never changes when points are added.

    Args:
        values: values that are not finite are stepped over, and are NaN in the result.
        weight: of the past, 0 (no smoothing) to below 1.
    """
    finite = np.isfinite(values)
    result = np.full(len(values), np.nan)
    x = values[finite]
    if weight <= 0.0 or not len(x):
        result[finite] = x
        return result
    # A power of two scales without rounding; the largest doubles would overflow below.
    scale = 2.0 ** int(np.frexp(np.abs(x).max())[1] - 1)
    x = x / scale
    block = max(1, int(math.log(MOST_GROWTH) / -math.log(weight)))
    powers = weight ** np.arange(1, block + 1)
    total = 0.0
    totals = np.empty(len(x))
    for start in range(0, len(x), block):
        part = x[start : start + block]
        decay = powers[: len(part)]
        totals[start : start + block] = decay * (total + np.cumsum(part / decay) * (1.0 - weight))
        total = float(totals[start + len(part) - 1])
    average = totals / (1.0 - weight ** np.arange(1, len(x) + 1))
    # Rounding may lift it above its inputs, and the largest double then overflows. The bounds are of the points so far,
    # so that what was drawn stays.
    result[finite] = np.clip(average, np.minimum.accumulate(x), np.maximum.accumulate(x)) * scale
    return result


def weight_for(count: int) -> float:
    """Return the weight of the past for a number of points: the more points, the smoother.

    In few steps, so that a live curve is redrawn differently only when its length outgrows the next one.
    """
    if count < 100:
        return 0.6
    return 0.9 if count < 2_000 else 0.98
