"""The learning rates that the strategies mean for the cycles of a campaign, side by side, before anything has run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from raftmon.advice.learning_rate import strategy_rate
from raftmon.advice.settings import Strategy

__all__ = ["COMPARED", "PlannedRates", "compare_strategies"]

COMPARED: Final = (0.95, 0.85, 0.70)
"""Decays per cycle that the table of the seed document compares: gentle, the default, steep."""


@dataclass(frozen=True, slots=True)
class PlannedRates:
    """One strategy, cycle by cycle."""

    name: str
    strategy: Strategy
    rates: tuple[float, ...]
    """Learning rate of cycle 1, 2..."""
    chosen: bool
    """Whether it is the one that was asked for."""


def compare_strategies(chosen: Strategy, base: float, cycles: int) -> list[PlannedRates]:
    """Return the chosen strategy beside the constant one and the usual decays.

    Args:
        chosen: what was asked for.
        base: learning rate of cycle 1.
        cycles: how many.
    """
    candidates = [
        ("constant", Strategy("constant", base=base)),
        *((f"decay {decay:g}", Strategy("exponential", base, decay, chosen.least)) for decay in COMPARED),
    ]
    if chosen.kind == "manual":
        candidates.append(("manual", chosen))
    elif chosen.kind == "exponential" and chosen.decay not in COMPARED:
        candidates.append((f"decay {chosen.decay:g}", Strategy("exponential", base, chosen.decay, chosen.least)))
    return [
        PlannedRates(name, strategy, _rates(strategy, base, cycles), _is_same(strategy, chosen))
        for name, strategy in candidates
    ]


def _rates(strategy: Strategy, base: float, cycles: int) -> tuple[float, ...]:
    rates: Sequence[float | None] = [strategy_rate(strategy, cycle, base)[0] for cycle in range(1, cycles + 1)]
    return tuple(base if rate is None else rate for rate in rates)


def _is_same(strategy: Strategy, chosen: Strategy) -> bool:
    if strategy.kind != chosen.kind:
        return False
    return strategy.kind != "exponential" or strategy.decay == chosen.decay
