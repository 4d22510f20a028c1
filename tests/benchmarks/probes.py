"""How near one step of the policy comes to the best learning rate, by rho or by the KL: a part of the campaign tables.

The best rate of a task and temperature is that of the constant campaigns with the best mean peak of the true held-out
rate. Asked is cycle 1 of each of them, without guardrails.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from raftmon.advice.campaign_policy import next_cycle
from raftmon.advice.settings import Guardrails, Settings
from raftmon.model import CycleView
from tests.recorded_campaigns import RecordedCampaign

NEAR: Final = 3.2
"""Half a decade: the grid of the recorded campaigns."""
_WIDE: Final = Settings(guardrails=Guardrails(max_change=1e6))


def next_rate(rate: float, probe: str, value: float | None) -> float:
    """Return what the policy makes of a probe of the first cycle."""
    cycle = CycleView(1, None, rate, None, None, None, None, "after", True, None, "")
    found = next_cycle([cycle], None, [], {}, _WIDE, {f"campaign.{probe}": value})
    return found.learning_rate if found is not None and found.learning_rate is not None else rate


def best_rate(campaigns: Sequence[RecordedCampaign]) -> float:
    """Return the learning rate whose campaigns reach the best peak on average."""
    peaks: dict[float, list[float]] = {}
    for campaign in campaigns:
        peaks.setdefault(campaign.learning_rate, []).append(campaign.cycles[campaign.peak].true_rate)
    return max(peaks, key=lambda rate: statistics.mean(peaks[rate]))


def report_probes(campaigns: Sequence[RecordedCampaign]) -> None:
    """Print how many rates lie within half a decade of the best one, before and after one step."""
    print("\nWithin half a decade of the best learning rate, after one step from cycle 1\n")
    print("| task | temperature | best | campaigns | no step | by rho | by KL |\n|---|---|---|---|---|---|---|")
    constant = [campaign for campaign in campaigns if campaign.schedule == "constant"]
    for task, heat in dict.fromkeys((campaign.task, campaign.temperature) for campaign in constant):
        group = [campaign for campaign in constant if (campaign.task, campaign.temperature) == (task, heat)]
        best = best_rate(group)
        rates = {
            "no step": [campaign.learning_rate for campaign in group],
            "rho": [next_rate(c.learning_rate, "rho", c.cycles[0].rho) for c in group],
            "kl": [next_rate(c.learning_rate, "kl", c.cycles[0].kl[0]) for c in group],
        }
        near = [sum(best / NEAR <= rate <= best * NEAR for rate in found) for found in rates.values()]
        print(f"| {task} | {heat:g} | {best:g} | {len(group)} | {' | '.join(map(str, near))} |")
