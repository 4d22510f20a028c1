"""Smoothing for the eye; judgements come from `raftmon.signals`, never from here."""

from __future__ import annotations

import math

import numpy as np

from raftmon.tui.raster import Floats

__all__ = ["debiased_ema", "weight_for"]


def debiased_ema(values: Floats, weight: float) -> Floats:
    """Return the exponential moving average without the pull of its start value.

    The bias is divided out as in Kingma & Ba, "Adam" (ICLR 2015), section 3: a constant series stays constant,
    and what was drawn never changes when points are added.

    Args:
        values: values that are not finite are stepped over, and are NaN in the result.
        weight: of the past, 0 (no smoothing) to below 1.
    """
    result = []
    total = 0.0
    norm = 0.0
    for value in values.tolist():
        if math.isfinite(value):
            total = weight * total + (1.0 - weight) * value
            norm = weight * norm + (1.0 - weight)
            result.append(total / norm)
        else:
            result.append(math.nan)
    return np.array(result)


def weight_for(count: int) -> float:
    """Return the weight of the past for a number of points: the more points, the smoother.

    In few steps, so that a live curve is redrawn differently only when its length outgrows the next one.
    """
    if count < 100:
        return 0.6
    return 0.9 if count < 2_000 else 0.98
