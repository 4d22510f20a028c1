"""When steps were logged: bounded, ascending, and rewound with the run."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from raftmon.events.columns import ScalarBatch
from raftmon.runs.clock import MOST, Clock
from tests.views import make_run

POINTS = st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1e9) | st.just(math.nan)), max_size=200)


def columns(points: list[tuple[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.array([p[0] for p in points], dtype=np.int64), np.array([p[1] for p in points], dtype=np.float64)


@given(st.lists(POINTS | st.integers(0, 500), max_size=12))
def test_it_is_bounded_and_ascends_whatever_comes(pieces: list[list[tuple[int, float]] | int]) -> None:
    clock, given_points = Clock(), set()
    for piece in pieces:
        if isinstance(piece, int):
            clock.rewind(piece)
            assert clock.known is None or clock.known[0][-1] < piece
        else:
            clock.note(*columns(piece))
            given_points.update(piece)
        if clock.known is not None:
            steps, times = clock.known
            assert 0 < len(steps) == len(times) <= MOST
            assert (np.diff(steps) > 0).all()
            assert set(zip(steps.tolist(), times.tolist(), strict=True)) <= given_points


@given(st.integers(1, 3000), st.integers(1, 300))
def test_a_steady_pace_is_kept_with_both_ends(count: int, piece: int) -> None:
    clock = Clock()
    steps = np.arange(count, dtype=np.int64)
    for at in range(0, count, piece):
        clock.note(steps[at : at + piece], (100.0 + 2.0 * steps[at : at + piece]).astype(np.float64))
    assert clock.known is not None
    known, times = clock.known
    assert (known[0], known[-1]) == (0, count - 1)
    assert (times == 100.0 + 2.0 * known).all()


def test_what_was_handed_out_does_not_change() -> None:
    clock = Clock()
    clock.note(np.array([1, 2]), np.array([10.0, 20.0]))
    before = clock.known
    assert before is not None
    clock.rewind(2)
    clock.note(np.array([2, 3]), np.array([90.0, 95.0]))
    assert clock.known is not None
    assert before[1].tolist() == [10.0, 20.0]
    assert clock.known[1].tolist() == [10.0, 90.0, 95.0]


def test_a_run_without_wall_times_has_no_clock() -> None:
    clock = Clock()
    clock.note(np.array([1, 2]), np.array([math.nan, math.inf]))
    assert clock.known is None
    assert make_run().clock is None


@given(st.integers(1, 90), st.integers(1, 5), st.booleans(), st.integers(1, 70))
def test_a_sample_of_a_batch_is_of_its_points(cycles: int, columns: int, shared: bool, most: int) -> None:
    """Of a table of cycles, whose steps may stand there once for all columns, and of the same points in one column."""
    steps = np.arange(cycles * columns).reshape(cycles, columns) if not shared else np.arange(cycles).reshape(cycles, 1)
    times = np.arange(cycles * columns, dtype=np.float64).reshape(cycles, columns) / 8
    tags = tuple("abcde"[:columns])
    table = ScalarBatch(tags, np.arange(columns, dtype=np.int32), steps, times, times.copy())
    flat = ScalarBatch(tags, table.tag_id, table.step, table.wall_time, table.value)
    some_steps, some_times = table.some(most)
    assert len(some_steps) == len(some_times) == min(most, len(table))
    points = list(zip(table.step.tolist(), table.wall_time.tolist(), strict=True))
    found = list(zip(some_steps.tolist(), some_times.tolist(), strict=True))
    assert set(found) <= set(points)
    assert found[0] == points[0]
    assert most == 1 or found[-1] == points[-1]
    assert [part.tolist() for part in flat.some(most)] == [some_steps.tolist(), some_times.tolist()]
