"""Online statistics against what numpy says of the same prefix."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.signals.statistics import Ewma, NoiseScale, RollingMedian, Thinned, wilson_interval

FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=1, max_size=80), st.integers(2, 40))
def test_rolling_median_is_the_lower_median_of_the_window(values: list[float], window: int) -> None:
    median = RollingMedian(window)
    for value in values:
        median.update(value)

    expected = sorted(values[-window:])

    assert median.median == expected[(len(expected) - 1) // 2]
    assert median.values() == values[-window:]
    assert len(median) == len(expected)


def test_rolling_sigma_of_a_normal_sample_is_its_standard_deviation() -> None:
    median = RollingMedian(2000)
    for value in np.random.default_rng(1).normal(5.0, 2.0, 2000):
        median.update(float(value))

    assert median.sigma == pytest.approx(2.0, rel=0.1)


@given(st.lists(FINITE, min_size=1, max_size=9))
def test_ewma_begins_as_the_plain_mean(values: list[float]) -> None:
    ewma = Ewma(0.1)
    for value in values:
        ewma.update(value)

    assert ewma.value == pytest.approx(np.mean(values), abs=1e-6)
    assert ewma.error_factor == pytest.approx(1.0 / math.sqrt(len(values)))


def test_error_factor_is_the_spread_of_the_mean_over_that_of_the_values() -> None:
    generator = np.random.default_rng(2)
    means = []
    for _ in range(2000):
        ewma = Ewma(0.1)
        for value in generator.normal(size=60):
            ewma.update(float(value))
        means.append(ewma.value)

    assert np.std(means) == pytest.approx(ewma.error_factor, rel=0.06)


@pytest.mark.parametrize("slope", [0.0, 0.01, -0.05])
def test_noise_scale_does_not_count_a_trend_as_noise(slope: float) -> None:
    scale = NoiseScale(500)
    for index, value in enumerate(np.random.default_rng(3).normal(0.0, 0.3, 500)):
        scale.update(float(value) + slope * index)

    assert scale.sigma == pytest.approx(0.3, rel=0.15)


def test_noise_scale_waits_for_eight_differences() -> None:
    scale = NoiseScale()
    for value in range(8):
        scale.update(float(value))
    assert scale.sigma is None

    scale.update(8.0)

    assert scale.sigma is not None


@given(st.integers(1, 3000), st.floats(0.0, 1.0))
def test_thinned_history_is_bounded_even_and_right(count: int, share: float) -> None:
    history = Thinned(64)
    for index in range(count):
        history.update(float(index))

    assert len(history.entries) <= 64
    assert all(index == value for index, value in history.entries)
    gaps = {later[0] - earlier[0] for earlier, later in zip(history.entries, history.entries[1:], strict=False)}
    assert len(gaps) <= 1
    found = history.at(share)
    assert found is not None
    assert abs(found - share * count) <= max(2.0, 2.5 * count / 64 + 1)


def test_wilson_interval_against_the_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17: 81 of 263 gives 0.2553 to 0.3662.
    low, high = wilson_interval(81, 263)

    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
