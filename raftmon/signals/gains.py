"""What the held-out rate gained while one learning rate was in force, and what could have been seen of it.

A rate that does not rise tells nothing by itself: few samples hide a gain, and a campaign at its ceiling gains no more.
So beside the gain stands the least one that these counts show with power 0.8, and there is no reading where a higher
learning rate was in force before: whoever came down from there knows why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from raftmon.signals.rates import Rate, error_of_difference, seen_with_power, z_of_drop
from raftmon.slotted import dataclass

__all__ = ["GAINS", "RatedCycle", "gains"]

SAME: Final = 1.2
"""Learning rates nearer to each other than this factor are one."""
ONE_SIDED: Final = 1.645
"""z of a single comparison at 5 %."""
GAINS: Final = (
    "campaign.cycles_at_rate",
    "campaign.gain",
    "campaign.gain_z",
    "campaign.detectable_gain",
    "campaign.total_gain_z",
)


@dataclass(frozen=True, slots=True)
class RatedCycle:
    """A cycle, as far as gains are concerned."""

    learning_rate: float | None
    """In force; None: not known."""
    rate: Rate | None
    """Held-out rate of the checkpoint that the cycle left; None: not measured."""


def gains(cycles: Sequence[RatedCycle]) -> Mapping[str, float | None]:
    """Compare the newest cycle with the checkpoint that its learning rate began with.

    Args:
        cycles: in the order of their numbers; the base model's rate is a cycle without a learning rate.

    Returns:
        The readings `GAINS`: cycles at the rate in force since the rate that the gain is counted from, the gain
        (share), the same in standard errors, the least gain that is seen with power 0.8, and the gain of the whole
        campaign in standard errors. All but the first are None without counted rates, or where a higher learning rate
        was in force before.
    """
    readings: dict[str, float | None] = dict.fromkeys(GAINS)
    now = cycles[-1].learning_rate if cycles else None
    if now is None:
        return readings
    begin = len(cycles)
    while begin and _is_near(cycles[begin - 1].learning_rate, now):
        begin -= 1
    # Without a rate of the base model the first cycle's own is where counting begins.
    begin = max(begin, 1)
    readings["campaign.cycles_at_rate"] = float(len(cycles) - begin)
    if begin == len(cycles) or any((cycle.learning_rate or 0.0) > now * SAME for cycle in cycles[:begin]):
        return readings
    before, after = cycles[begin - 1].rate, cycles[-1].rate
    error = error_of_difference(before, after) if before is not None and after is not None else None
    if before is None or after is None or error is None:
        return readings
    readings["campaign.gain"] = after.value - before.value
    readings["campaign.gain_z"] = z_of_drop(after.value - before.value, error)
    readings["campaign.detectable_gain"] = seen_with_power(ONE_SIDED, error)
    first = next(cycle.rate for cycle in cycles if cycle.rate is not None)
    whole = error_of_difference(first, after)
    readings["campaign.total_gain_z"] = z_of_drop(after.value - first.value, whole) if whole is not None else None
    return readings


def _is_near(rate: float | None, other: float) -> bool:
    return rate is not None and 1.0 / SAME < rate / other < SAME
