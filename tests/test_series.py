"""Series: exact at the end, thinned in the past, never without its landmarks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raftmon.runs.series import BUCKETS, EXACT, Series


def filled(values: np.ndarray[tuple[int], np.dtype[np.float64]], chunk: int) -> Series:
    series = Series()
    steps = np.arange(len(values), dtype=np.int64)
    for start in range(0, len(values), chunk):
        series.append(steps[start : start + chunk], values[start : start + chunk])
    return series


@given(st.integers(0, 9000), st.integers(1, 4000), st.integers(0, 8999))
def test_a_spike_of_one_sample_and_a_nan_survive_any_length_and_chunking(n: int, chunk: int, place: int) -> None:
    values = np.sin(np.arange(n) / 7.0)
    if place < n:
        values[place] = 50.0
    if 0 < place < n:
        values[place - 1] = np.nan

    series = filled(values, chunk)

    assert series.count == n
    assert len(series.steps) == len(series.values) <= 2 * EXACT + 5 * BUCKETS
    assert np.all(np.diff(series.steps) > 0)
    if place < n:
        assert 50.0 in series.values
        assert np.isnan(series.values).any() == (place > 0)
    if n:
        assert series.steps[0] == 0
    tail = min(n, EXACT)
    np.testing.assert_array_equal(series.values[len(series.values) - tail :], values[n - tail :])


def test_history_keeps_the_same_resolution_everywhere() -> None:
    series = filled(np.arange(1_000_000, dtype=np.float64), 50_000)

    old = series.steps[:-EXACT]
    assert np.diff(old).max() <= 2 * 1_000_000 / BUCKETS
    assert series.count == 1_000_000


def test_rewind_takes_back_points_and_counts() -> None:
    series = filled(np.arange(5000, dtype=np.float64), 700)

    assert series.rewind(4500)
    assert series.count == 4500
    assert series.steps[-1] == 4499
    assert not series.rewind(4500)
    series.append(np.array([4500], dtype=np.int64), np.array([1.0]))
    assert series.count == 4501
    assert series.rewind(0)
    assert (series.count, len(series.steps)) == (0, 0)


def test_views_that_were_handed_out_do_not_change() -> None:
    series = filled(np.zeros(10), 10)
    before = series.values

    series.append(np.array([10], dtype=np.int64), np.array([9.0]))

    np.testing.assert_array_equal(before, np.zeros(10))
