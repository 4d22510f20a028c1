"""A strategy given on the command line, over the one of the settings."""

from __future__ import annotations

import math

from raftmon.advice.settings import Strategy, StrategyKind
from raftmon.errors import UsageError

__all__ = ["chosen_strategy"]


def chosen_strategy(
    settings: Strategy,
    kind: StrategyKind | None,
    base: float | None,
    decay: float | None,
    least: float | None,
) -> Strategy:
    """Return the strategy of the settings with what the command line changes.

    Args:
        settings: as the settings have it, given or default.
        kind: None: that of the settings; a decay alone means exponential.
        base: learning rate of cycle 1.
        decay: factor a cycle.
        least: floor.

    Raises:
        UsageError: a number that cannot be meant.
    """
    if kind is None and base is None and decay is None and least is None:
        return settings
    for name, value in (("--base-lr", base), ("--decay", decay), ("--min-lr", least)):
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise UsageError(f"{name} {value:g}", "no number above 0", "For example 5e-5.")
    if decay is not None and decay > 1.0:
        raise UsageError(f"--decay {decay:g}", "above 1", "It is a factor per cycle, for example 0.85.")
    if kind is not None and kind != "exponential" and decay is not None:
        raise UsageError(f"--decay {decay:g}", f"a {kind} strategy has none", "Take --strategy exponential.")
    return Strategy(
        kind=kind or ("exponential" if decay is not None or least is not None else settings.kind),
        base=base if base is not None else settings.base,
        decay=decay if decay is not None else settings.decay,
        least=least if least is not None else settings.least,
        schedule=settings.schedule,
    )
