"""How fast rho sinks with the learning rate, over the newest cycles: one cycle's rho is off by a factor of two.

1 - rho is nearly proportional to the learning rate while it is neither lost in its noise nor saturated, so that
(1 - rho) / rate is one quantity, whatever the rates of the cycles were. It drifts as a policy sharpens: three cycles
are averaged, no more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["curvature"]

CYCLES: Final = 3
INFORMATIVE: Final = (0.02, 0.6)
"""1 - rho that is proportional to the learning rate: below it is noise, above it saturates."""


def curvature(cycles: Sequence[tuple[float | None, float | None]]) -> float | None:
    """Return the geometric mean of (1 - rho) / learning rate over up to three newest cycles, per unit of the rate.

    Args:
        cycles: learning rate and rho of each cycle, in their order; None: not known.

    Returns:
        None where the newest cycle's rho is unknown, or says no more than that it is very small or very large.
    """
    least, most = INFORMATIVE
    found: list[float] = []
    for rate, rho in reversed(cycles):
        if not rate or rho is None or not least <= 1.0 - rho <= most or len(found) == CYCLES:
            break
        found.append(math.log((1.0 - rho) / rate))
    return math.exp(sum(found) / len(found)) if found else None
