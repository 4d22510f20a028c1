"""Each judged cycle of a campaign against the judged one before it, and whether chance explains the difference.

The comparison is that of the campaign's rules (`raftmon.signals.rates`): the same standard error, which knows of the
prompts, and the same z, which grows with the comparisons made. Those rules compare with the level of the best cycles,
which is the better question for an alarm; a table that is read row by row asks for the cycle before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from raftmon.model import RateChange
from raftmon.signals.campaign import CycleFacts
from raftmon.signals.rates import error_of_difference, needed_z, z_of_drop

__all__ = ["rate_changes"]


def rate_changes(facts: Sequence[CycleFacts]) -> dict[int, RateChange]:
    """Compare rates.

    Args:
        facts: of the cycles, in the order of their numbers.

    Returns:
        Cycle to its change; without the first cycle that has a rate, and without those that have none.
    """
    rated = [(cycle.cycle, rate) for cycle in facts if (rate := cycle.counted) is not None]
    changes: dict[int, RateChange] = {}
    for comparison, ((since, before), (cycle, rate)) in enumerate(pairwise(rated), start=1):
        difference = rate.value - before.value
        error = error_of_difference(before, rate)
        z = z_of_drop(difference, error) if error is not None else None
        changes[cycle] = RateChange(since, difference, z, needed_z(comparison))
    return changes
