"""Campaign signals: published counts, and the error rate that they promise."""

from typing import Any

import numpy as np
import pytest

from raftmon.signals.campaign import CampaignSignals, CycleFacts, needed_z
from raftmon.signals.rates import Rate

NULL_CAMPAIGNS = 3000


def readings_of(rates: list[float], verified: int | None = 2992, **facts: list[Any]) -> dict[str, float | None]:
    signals = CampaignSignals()
    for index, rate in enumerate(rates):
        more = {name: values[index] for name, values in facts.items()}
        signals.update(CycleFacts(index + 1, rate, verified, **more))
    return signals.readings()


def margin(rates: list[float], verified: int | None) -> float | None:
    return readings_of(rates, verified)["campaign.drop_margin"]


@pytest.mark.parametrize(
    ("rates", "verified", "z"),
    [([0.467, 0.293], 2992, 13.9), ([0.467, 0.457], 100, 0.14), ([0.467, 0.457], 2992, 0.78)],
)
def test_the_z_of_a_drop(rates: list[float], verified: int, z: float) -> None:
    found = margin(rates, verified)

    assert found is not None
    assert found + needed_z(1) == pytest.approx(z, abs=0.06)
    assert (found > 0.0) == (z > 3.0)


def test_rates_without_counts_are_not_tested() -> None:
    assert margin([0.467, 0.2], None) is None


def test_ten_cycles_without_a_change_raise_an_alarm_in_fewer_than_one_in_twenty_campaigns() -> None:
    generator = np.random.default_rng(7)
    alarms = 0
    for _ in range(NULL_CAMPAIGNS):
        signals = CampaignSignals()
        alarmed = False
        for cycle, hits in enumerate(generator.binomial(2992, 0.4, size=10), start=1):
            signals.update(CycleFacts(cycle, hits / 2992, 2992))
            found = signals.readings()["campaign.drop_margin"]
            alarmed = alarmed or (found is not None and found > 0.0)
        alarms += alarmed

    # Three standard errors above the promised 5 %.
    assert alarms / NULL_CAMPAIGNS < 0.05 + 3 * (0.05 * 0.95 / NULL_CAMPAIGNS) ** 0.5


def test_fresh_prompts_widen_the_error() -> None:
    def drop(prompts: tuple[str | None, str | None]) -> float:
        signals = CampaignSignals()
        for cycle, (rate, digest) in enumerate(zip([0.45, 0.41], prompts, strict=True), start=1):
            signals.update(CycleFacts(cycle, rate, 2992, prompts=digest, prompt_count=374))
        found = signals.readings()["campaign.drop_margin"]
        assert found is not None
        return found

    assert drop(("a", "a")) > 0.0
    assert drop(("a", "b")) < 0.0


def test_flat_cycles_and_the_gain_that_they_allow() -> None:
    flat = readings_of([0.30, 0.40, 0.401, 0.399, 0.4, 0.402])

    assert flat["campaign.flat_cycles"] == 5.0
    assert flat["campaign.gain_bound"] == pytest.approx(0.006, abs=0.003)


def test_diversity_is_compared_with_the_first_cycle_that_knows_it() -> None:
    readings = readings_of([0.3, 0.4, 0.4], unique_fraction=[0.8, 0.6, 0.4], mean_length=[20.0, 18.0, 5.0])

    assert readings["campaign.unique_left"] == pytest.approx(0.5)
    assert readings["campaign.length_left"] == pytest.approx(0.25)
    assert readings["campaign.entropy_left"] is None


def test_the_gap_needs_a_held_out_rate() -> None:
    assert readings_of([0.4], training=[Rate(0.7, 2992)])["campaign.gap"] == pytest.approx(0.3)
    assert readings_of([0.4])["campaign.gap"] is None
