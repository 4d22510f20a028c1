"""Series: exact at the end, thinned in the past, never without its landmarks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

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


class SeriesMachine(RuleBasedStateMachine):
    """Points come in pieces, are taken back, and the series settles, in any order; compared with a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.series = Series()
        self.points: list[tuple[int, float]] = []
        self.handed_out: list[tuple[NDArray[np.float64], list[float]]] = []

    @rule(count=st.integers(1, 3000), spike=st.booleans())
    def append(self, count: int, spike: bool) -> None:
        first = self.points[-1][0] + 1 if self.points else 0
        values = np.cos(np.arange(first, first + count))
        if spike:
            values[count // 2] = 100.0 + first
        steps = np.arange(first, first + count, dtype=np.int64)
        self.series.append(steps, values)
        self.points += zip(steps.tolist(), values.tolist(), strict=True)

    @rule(share=st.floats(0.0, 1.0))
    def rewind(self, share: float) -> None:
        step = round(share * (self.points[-1][0] + 1)) if self.points else 0
        before = len(self.series.steps)
        assert self.series.rewind(step) == (len(self.series.steps) < before)
        self.points = [point for point in self.points if point[0] < step]

    @rule()
    def settle(self) -> None:
        self.series.settle()
        assert len(self.series.steps) <= EXACT + 5 * BUCKETS

    @rule()
    def hand_out(self) -> None:
        view = self.series.values
        self.handed_out.append((view, view.tolist()))

    @invariant()
    def the_promises_hold(self) -> None:
        kept = list(zip(self.series.steps.tolist(), self.series.values.tolist(), strict=True))
        assert set(kept) <= set(self.points)
        assert kept == sorted(kept)
        spikes = {point for point in self.points if point[1] >= 100.0}
        assert spikes <= set(kept)
        assert self.series.last_step == (kept[-1][0] if kept else None)
        assert all(view.tolist() == values for view, values in self.handed_out)

        # Points of a bucket that were thinned out cannot be taken back one by one.
        assert len(kept) <= self.series.count <= len(self.points)


TestSeriesMachine = SeriesMachine.TestCase
TestSeriesMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_a_series_that_settles_takes_no_more_than_it_keeps() -> None:
    series = filled(np.arange(250_000, dtype=np.float64), 50_000)
    series.settle()

    assert series.count == 250_000
    assert series.values.base is not None
    assert len(series.values.base) == len(series.values)
    np.testing.assert_array_equal(series.steps[-EXACT:], np.arange(250_000 - EXACT, 250_000))


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
