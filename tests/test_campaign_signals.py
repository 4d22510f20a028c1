"""Campaign signals: published counts, and the error rate that they promise."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from raftmon.signals.campaign import CampaignSignals, CycleFacts, needed_z
from raftmon.signals.rarefaction import distinct_among
from raftmon.signals.rates import Rate, level_of_best

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
    [
        ([0.467, 0.293], 2992, 13.9),
        ([0.293, 0.23], 2992, 5.5),
        ([0.467, 0.457], 100, 0.14),
        ([0.467, 0.457], 2992, 0.78),
    ],
)
def test_the_z_of_a_drop_as_arithmetic(rates: list[float], verified: int, z: float) -> None:
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


def test_the_same_prompts_cancel_out_and_fresh_ones_do_not() -> None:
    def z(digests: tuple[str, str]) -> float:
        signals = CampaignSignals()
        for cycle, (rate, digest) in enumerate(zip([0.45, 0.42], digests, strict=True), start=1):
            signals.update(CycleFacts(cycle, rate, 2992, digest, 374, clustering=0.3))
        found = signals.readings()["campaign.drop_margin"]
        assert found is not None
        return found + needed_z(1)

    plain = margin([0.45, 0.42], 2992)
    assert plain is not None
    # The variance shrinks by 0.3 for the same prompts, and grows by 1 + 7 x 0.3 for fresh ones.
    assert z(("a", "a")) == pytest.approx((plain + needed_z(1)) / 0.7**0.5)
    assert z(("a", "b")) == pytest.approx((plain + needed_z(1)) / 3.1**0.5)


def test_cycles_as_good_as_the_best_are_pooled_with_it() -> None:
    level = level_of_best([Rate(0.30, 1000), Rate(0.42, 1000), Rate(0.44, 3000)])

    assert level is not None
    assert level.value == pytest.approx(0.435)
    assert level.verified == 4000
    assert level_of_best([Rate(0.3, None), Rate(0.4, None)]) == Rate(0.4, None)
    assert level_of_best([]) is None


def test_all_comparisons_of_a_campaign_share_one_error_rate() -> None:
    spent = [1.0 - NormalDist().cdf(needed_z(k)) for k in range(1, 2000)]

    assert sum(spent[:9]) == pytest.approx(0.055 * 9 / 19, rel=1e-6)
    assert sum(spent) < 0.055


def test_a_rate_has_recovered_when_its_interval_covers_the_best() -> None:
    assert (readings_of([0.47, 0.29])["campaign.below_best"] or 0.0) > 0.1
    assert (readings_of([0.47, 0.29, 0.46])["campaign.below_best"] or 0.0) < 0.0


def test_unique_outputs_are_compared_among_equally_many() -> None:
    few, many = ((1, 80), (2, 10)), ((5, 60), (20, 5))
    found = readings_of([0.3, 0.4], outputs=[few, many])["campaign.unique_left"]
    swapped = readings_of([0.3, 0.4], outputs=[many, few])["campaign.unique_left"]

    assert found is not None
    assert swapped == pytest.approx(1.0 / found)
    # As shares of different numbers, 65 of 400 over 90 of 100: three times too low.
    assert found == pytest.approx(distinct_among(many, 100) / 90)
    assert found > 0.5
    assert readings_of([0.3, 0.4], outputs=[((1, 20),), many])["campaign.unique_left"] is None


def test_the_gap_and_how_far_it_may_be_by_chance() -> None:
    facts = [Rate(0.5, 832, "t", 26), Rate(0.6, 832, "t", 26)]
    readings = readings_of([0.45, 0.4], verified=448, training=facts, prompts=["h", "h"], prompt_count=[14, 14])
    gap, low = readings["campaign.gap"], readings["campaign.gap_low"]
    growth, growth_low = readings["campaign.gap_growth"], readings["campaign.gap_growth_low"]

    assert gap == pytest.approx(0.2)
    assert readings["campaign.gap_of_rate"] == pytest.approx(1 / 3)
    assert growth == pytest.approx(0.15)
    # The prompts of the two sides differ; those of the first and the newest cycle do not.
    assert low is not None
    assert growth_low is not None
    assert low < 0.02
    assert growth_low > 0.05


def test_what_filtering_can_gain_is_taken_off_the_fall_of_the_loss() -> None:
    found = readings_of([0.2], acceptance=[0.2], mean_length=[10.0], loss_drop=[0.05])

    assert found["campaign.loss_unexplained"] == pytest.approx(0.05 - 0.1609, abs=1e-4)
    assert readings_of([0.2], loss_drop=[0.05])["campaign.loss_unexplained"] is None


def test_what_a_training_told_counts_while_the_next_cycles_samples_are_judged() -> None:
    """A loop may verify the samples of the coming cycle before it asks for its rate."""
    signals = CampaignSignals()
    base = CycleFacts(0, 0.40, 1000, held_out=True, trained=False)
    trained = [CycleFacts(n, 0.40, 1000, held_out=True, rho=0.8, kl=0.03, broken=0, learning_rate=1e-4) for n in (1, 2)]
    for facts in (base, *trained):
        signals.update(facts)
    before = signals.readings()
    signals.update(CycleFacts(3, None, None, acceptance=0.5, trained=False))
    after = signals.readings()

    for name in ("rho", "rho_curvature", "kl", "broken", "cycles_at_rate", "gain", "gain_z", "detectable_gain"):
        assert before[f"campaign.{name}"] is not None
        assert after[f"campaign.{name}"] == before[f"campaign.{name}"]


def test_a_training_that_told_nothing_is_not_answered_for_by_an_earlier_one() -> None:
    signals = CampaignSignals()
    signals.update(CycleFacts(1, 0.4, 1000, rho=0.8))
    signals.update(CycleFacts(2, 0.4, 1000))

    assert signals.readings()["campaign.rho"] is None
