"""What a learning rate gained, and what could have been seen of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.signals.gains import GAINS, RatedCycle, gains
from raftmon.signals.rates import Rate


def cycle(rate: float | None, passed: float | None, verified: int | None = 1000) -> RatedCycle:
    return RatedCycle(rate, Rate(passed, verified, "p", 50) if passed is not None else None)


def test_the_gain_counts_from_the_checkpoint_that_the_rate_began_with() -> None:
    found = gains([cycle(None, 0.30), cycle(1e-5, 0.33), cycle(1e-5, 0.38)])

    assert found["campaign.cycles_at_rate"] == 2
    assert found["campaign.gain"] == pytest.approx(0.08)
    # sqrt(p q (1/n + 1/n)) at the pooled 0.34, against which 0.08 is 3.8 standard errors.
    assert found["campaign.gain_z"] == pytest.approx(3.776, abs=0.001)
    assert found["campaign.detectable_gain"] == pytest.approx((1.645 + 0.8416) * 0.021185, rel=1e-3)


def test_after_a_raise_counting_begins_anew() -> None:
    found = gains([cycle(None, 0.30), cycle(1e-5, 0.30), cycle(1e-5, 0.31), cycle(3e-5, 0.35)])

    assert found["campaign.cycles_at_rate"] == 1
    assert found["campaign.gain"] == pytest.approx(0.04)


def test_rates_that_differ_by_a_rounding_are_one() -> None:
    assert gains([cycle(None, 0.3), cycle(1e-5, 0.3), cycle(1.1e-5, 0.3)])["campaign.cycles_at_rate"] == 2


def test_without_the_base_models_rate_the_first_cycle_is_where_counting_begins() -> None:
    found = gains([cycle(1e-5, 0.30), cycle(1e-5, 0.33), cycle(1e-5, 0.38)])

    assert found["campaign.cycles_at_rate"] == 2
    assert found["campaign.gain"] == pytest.approx(0.08)
    assert gains([cycle(1e-5, 0.30)])["campaign.gain"] is None


def test_whoever_came_down_from_a_higher_rate_is_told_nothing() -> None:
    found = gains([cycle(None, 0.3), cycle(1e-4, 0.2), cycle(1e-5, 0.3), cycle(1e-5, 0.3)])

    assert found["campaign.cycles_at_rate"] == 2
    assert [found[name] for name in GAINS[1:]] == [None] * 4


@pytest.mark.parametrize(
    "cycles",
    [
        [],
        [cycle(None, 0.3)],
        [cycle(None, 0.3), cycle(1e-5, None)],
        [cycle(None, None), cycle(1e-5, 0.3)],
        [cycle(None, 0.3, None), cycle(1e-5, 0.3, None)],
    ],
)
def test_without_counted_rates_there_is_no_reading(cycles: list[RatedCycle]) -> None:
    assert [gains(cycles)[name] for name in GAINS[1:]] == [None] * 4


@given(
    st.lists(
        st.builds(
            cycle,
            st.none() | st.floats(1e-7, 1e-1),
            st.none() | st.floats(0.0, 1.0),
            st.none() | st.integers(1, 10**6),
        ),
        max_size=8,
    )
)
def test_it_reads_any_campaign(cycles: list[RatedCycle]) -> None:
    found = gains(cycles)

    assert tuple(found) == GAINS
    assert (found["campaign.gain"] is None) == (found["campaign.gain_z"] is None)
    assert (found["campaign.detectable_gain"] or 0.0) >= 0.0
    assert (found["campaign.cycles_at_rate"] or 0.0) <= len(cycles)
