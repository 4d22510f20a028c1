"""The learning rates that the strategies mean for the cycles of a campaign, side by side, before anything has run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from raftmon.advice.learning_rate import strategy_rate
from raftmon.advice.settings import Strategy
from raftmon.model import CycleView, NextCycle, StrategyPlan

__all__ = ["COMPARED", "PlannedRates", "compare_strategies", "next_plans"]

COMPARED: Final = (0.95, 0.85, 0.70)
"""Decays per cycle that the table of the seed document compares: gentle, the default, steep."""


AHEAD: Final = 6
"""Cycles that `next_plans` looks ahead."""


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


def next_plans(chosen: Strategy, cycles: Sequence[CycleView], advice: NextCycle | None) -> tuple[StrategyPlan, ...]:
    """Return what the strategies mean for the next cycles of a campaign that has begun.

    Args:
        chosen: the strategy of the settings.
        cycles: in the order of their numbers.
        advice: for the next cycle; None: nothing is known to start from.

    Returns:
        The rates of `compare_strategies` from the next cycle on, and first that of the newest cycle held, where the
        advice begins with it. Empty without advice, or a learning rate to start from.
    """
    known = [cycle.learning_rate for cycle in cycles if cycle.learning_rate and cycle.learning_rate > 0.0]
    base = chosen.base if chosen.base is not None else known[0] if known else None
    if advice is None or base is None:
        return ()
    first = advice.cycle
    begin = advice.steps[0].rule if advice.steps else ""
    follows = begin == f"strategy:{chosen.kind}"
    plans = [
        StrategyPlan(plan.name, first, plan.rates[first - 1 :], plan.chosen and follows)
        for plan in compare_strategies(chosen, base, first - 1 + AHEAD)
    ]
    if follows and chosen.kind == "constant" and chosen.base is None and known and known[-1] != base:
        # The policy then goes on with the rate in force, which is not what cycle 1 had.
        others = [dataclasses.replace(plan, chosen=False) for plan in plans]
        return (StrategyPlan("hold", first, (known[-1],) * AHEAD, chosen=True), *others)
    return tuple(plans)


def _rates(strategy: Strategy, base: float, cycles: int) -> tuple[float, ...]:
    rates: Sequence[float | None] = [strategy_rate(strategy, cycle, base)[0] for cycle in range(1, cycles + 1)]
    return tuple(base if rate is None else rate for rate in rates)


def _is_same(strategy: Strategy, chosen: Strategy) -> bool:
    if strategy.kind != chosen.kind:
        return False
    return strategy.kind != "exponential" or strategy.decay == chosen.decay
