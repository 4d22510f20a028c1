"""Rasters, axes and smoothing: golden pictures, and what must hold for any series."""

from __future__ import annotations

import math
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raftmon.tui import raster
from raftmon.tui.axis import log_ticks, percent_label, tick_label, ticks
from raftmon.tui.raster import Dots, Floats, Frame
from raftmon.tui.smooth import debiased_ema, weight_for

ANY_FLOATS = st.lists(st.floats(), min_size=1, max_size=60)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 12))


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def frame_for(x: Floats, y: Floats, width: int, height: int, *, log: bool = False) -> Frame | None:
    x_limits, y_limits = raster.bounds([x]), raster.bounds([y], log=log)
    return Frame(width, height, x_limits, y_limits, log) if x_limits and y_limits else None


def picture(frame: Frame, *layers: Dots) -> list[str]:
    return [f"|{row}|" for row in raster.text_of(raster.compose(frame, layers))]


def test_a_rising_line_is_drawn_from_corner_to_corner() -> None:
    frame = Frame(6, 3, (0.0, 1.0), (0.0, 1.0))
    assert picture(frame, raster.line(frame, floats(0, 1), floats(0, 1))) == [
        "|    ⡤⠏|",
        "|  ⡤⠏⠁ |",
        "|⡤⠏⠁   |",
    ]


def test_nan_parts_a_line() -> None:
    frame = Frame(3, 1, (0.0, 5.0), (0.0, 2.0))
    assert picture(frame, raster.line(frame, np.arange(6.0), floats(1, 1, math.nan, 1, 1, 1))) == ["|⠤⠠⠤|"]


@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
def test_a_point_between_faults_stands_alone(fault: float) -> None:
    frame = Frame(5, 1, (0.0, 4.0), (0.0, 1.0))
    assert int(raster.line(frame, np.arange(5.0), floats(0, fault, 1, fault, 0)).sum()) == 3


def test_a_band_a_level_and_error_bars() -> None:
    frame = Frame(8, 4, (0.0, 3.0), (0.0, 1.0))
    bars = raster.error_bars(frame, floats(1, 2), floats(0.3, math.nan), floats(0.7, 0.9))
    assert picture(frame, raster.band(frame, 0.0, 0.2), raster.level(frame, 0.9), bars) == [
        "|⠒ ⠒ ⠒ ⠒ |",
        "|  ⢲⠂    |",
        "|  ⠼⠄    |",
        "|⠅ ⠅ ⠅ ⠅ |",
    ]


def test_the_last_layer_wins_the_whole_cell() -> None:
    frame = Frame(8, 2, (0.0, 3.0), (0.0, 1.0))
    flat = raster.line(frame, floats(0, 3), floats(0.5, 0.5))
    cells = raster.compose(frame, [raster.vertical(frame, 1.0), flat])
    assert raster.text_of(cells) == ["  ⢸     ", "⠉⠉⠉⠉⠉⠉⠉⠉"]
    assert cells.ink.tolist() == [[-1, -1, 0, -1, -1, -1, -1, -1], [1] * 8]


def test_levels_and_cursors_outside_the_frame_are_not_drawn() -> None:
    frame = Frame(8, 2, (0.0, 3.0), (0.0, 1.0))
    outside = [raster.level(frame, 1.5), raster.level(frame, math.nan), raster.vertical(frame, 4.0)]
    assert not any(dots.any() for dots in outside)
    assert frame.cell_row(1.5) is None
    assert frame.cell_row(0.0) == 1


def test_what_lies_outside_is_cut_off() -> None:
    frame = Frame(4, 2, (0.0, 1.0), (0.0, 1.0))
    through = raster.line(frame, floats(-1e300, 1e300), floats(0.5, 0.5))
    assert through.sum() == frame.columns
    assert not raster.line(frame, floats(2, 3), floats(0.5, 0.5)).any()
    assert not raster.line(frame, floats(0, 1), floats(5, 6)).any()


def test_log_keeps_equal_ratios_equally_far() -> None:
    frame = Frame(4, 4, (0.0, 1.0), (0.01, 100.0), log=True)
    steps = np.diff(frame.row_of(floats(0.01, 0.1, 1, 10, 100)))
    assert np.allclose(steps, steps[0])
    assert np.isnan(frame.row_of(floats(0.0, -1.0))).all()
    assert raster.bounds([floats(-5, 0, 2, 8)], log=True) == (2.0, 8.0)
    assert raster.bounds([floats(-5, 0)], log=True) is None


def test_a_constant_series_runs_near_the_middle() -> None:
    y = np.full(50, 3.61e-5) * (1 + 1e-8 * np.arange(50) / 50)
    frame = frame_for(np.arange(50.0), y, 10, 3)
    assert frame is not None
    assert picture(frame, raster.line(frame, np.arange(50.0), y)) == [
        "|          |",
        "|⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤|",
        "|          |",
    ]


def test_bounds_of_nothing() -> None:
    assert raster.bounds([]) is None
    assert raster.bounds([floats(math.nan, math.inf)]) is None
    assert raster.bounds([floats(0.0)]) == (-1.0, 1.25)


@given(ANY_FLOATS, SIZES, st.booleans())
def test_every_drawable_point_lights_its_dot(values: list[float], size: tuple[int, int], log: bool) -> None:
    x, y = np.arange(len(values), dtype=np.float64), floats(*values)
    frame = frame_for(x, y, *size, log=log)
    if frame is None:
        assert not np.any(np.isfinite(y) & ((y > 0) | (not log)))
        return
    dots = raster.line(frame, x, y)
    assert dots.shape == (frame.rows, frame.columns)
    drawable = np.isfinite(y) & ((y > 0) | (not log))
    columns, rows = np.rint(frame.column_of(x)), np.rint(frame.row_of(y))
    assert all(dots[int(rows[i]), int(columns[i])] for i in np.flatnonzero(drawable))


@given(st.lists(st.floats(), min_size=2, max_size=40).filter(lambda v: len(v) % 2 == 0), st.integers(1, 10))
def test_a_gap_is_a_gap(values: list[float], height: int) -> None:
    x, y = np.arange(len(values), dtype=np.float64), floats(*values)
    frame = frame_for(x, y, len(values) // 2, height)
    if frame is not None:
        assert raster.line(frame, x, y).any(axis=0).tolist() == np.isfinite(y).tolist()


@given(st.lists(st.lists(st.floats(), min_size=5, max_size=5), min_size=0, max_size=4), SIZES)
def test_the_picture_has_the_size_of_the_frame(series: list[list[float]], size: tuple[int, int]) -> None:
    frame = Frame(*size, (0.0, 4.0), (-1.0, 1.0))
    cells = raster.compose(frame, [raster.line(frame, np.arange(5.0), floats(*values)) for values in series])
    assert cells.bits.shape == cells.ink.shape == (size[1], size[0])
    assert [len(row) for row in raster.text_of(cells)] == [size[0]] * size[1]
    assert bool(((cells.bits > 0) == (cells.ink >= 0)).all())


@given(st.integers(0, 9_999), SIZES)
def test_a_spike_of_one_sample_survives(at: int, size: tuple[int, int]) -> None:
    y = np.sin(np.arange(10_000.0))
    y[at] = 50.0
    x = np.arange(10_000.0)
    frame = frame_for(x, y, *size)
    assert frame is not None
    dots = raster.line(frame, x, y)
    assert np.flatnonzero(dots[0]).tolist() == [round(float(frame.column_of(floats(at))[0]))]


@given(ANY_FLOATS, st.integers(0, 30))
def test_a_sparkline_has_a_character_per_bucket(values: list[float], width: int) -> None:
    text = raster.sparkline(floats(*values), width)
    assert len(text) == min(width, len(values))
    assert set(text) <= set("▁▂▃▄▅▆▇█×")
    assert ("×" in text) == (width > 0 and not np.isfinite(floats(*values)).all())


def test_a_sparkline_shows_the_spike_and_the_fault() -> None:
    assert raster.sparkline(floats(0, 1, 2, 3, 4, 5, 6, 7), 8) == "▁▂▃▄▅▆▇█"
    assert raster.sparkline(floats(*[0.0] * 50, 9, *[0.0] * 49, math.nan), 4) == "▁▁█×"
    assert raster.sparkline(floats(math.nan), 4) == "×"
    assert raster.sparkline(floats(), 4) == ""


def test_ten_thousand_points_take_less_than_ten_milliseconds() -> None:
    rng = np.random.default_rng(0)
    x, y = np.arange(10_000.0), rng.standard_normal(10_000)
    frame = frame_for(x, y, 120, 30)
    assert frame is not None
    spent = []
    for _ in range(7):
        start = time.process_time()
        raster.text_of(raster.compose(frame, [raster.line(frame, x, y)]))
        spent.append(time.process_time() - start)
    assert min(spent) < 0.010


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0.0, 1.0, 5, ["0", "0.5", "1"]),
        (0.31, 2.7, 5, ["0.5", "1", "1.5", "2", "2.5"]),
        (1e-5, 4.2e-5, 4, ["1e-5", "2e-5", "3e-5", "4e-5"]),
        (0.0, 123_456.0, 5, ["0", "50k", "100k"]),
        (0.3333, 0.33334, 3, ["0.3333", "0.33332", "0.33334"]),
        (-3.0, 7.0, 3, ["0", "5"]),
        (2.0, 2.0, 5, []),
        (0.0, math.inf, 5, []),
    ],
)
def test_ticks_are_round_and_told_apart(low: float, high: float, count: int, expected: list[str]) -> None:
    values = ticks(low, high, count)
    step = values[1] - values[0] if len(values) > 1 else 0.0
    assert [tick_label(value, step) for value in values] == expected


@given(FINITE, FINITE, st.integers(0, 12))
def test_ticks_ascend_inside_the_limits(one: float, other: float, count: int) -> None:
    low, high = min(one, other), max(one, other)
    values = ticks(low, high, count)
    slack = (high / 2 - low / 2) * 1e-6
    assert len(values) <= count
    assert values == sorted(set(values))
    assert all(low - slack <= value <= high + slack for value in values)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (1e-3, 1e3, 4, [1e-3, 1e-1, 1e1, 1e3]),
        (0.2, 3.0, 4, [0.2, 0.5, 1.0, 2.0]),
        (1.4, 60.0, 4, [3.0, 10.0, 30.0]),
        (0.22, 0.45, 4, [0.3, 0.4]),
        (1.0, 1.0, 4, []),
        (1e306, 1.7e308, 4, [1e306, 1e307, 1e308]),
        (1e-310, 1e-300, 4, [1e-310, 1e-307, 1e-304, 1e-301]),
        (-1.0, 1.0, 4, []),
    ],
)
def test_log_ticks(low: float, high: float, count: int, expected: list[float]) -> None:
    assert log_ticks(low, high, count) == pytest.approx(expected)


def test_labels_are_short() -> None:
    values = (0.0, 3.61e-5, 1200.0, 999.9, 999.4, 1e15, -4.56e-7, math.nan, math.inf, -math.inf)
    labels = ["0", "3.61e-5", "1.2k", "1k", "999", "1e15", "-4.56e-7", "NaN", "inf", "-inf"]
    assert [tick_label(value) for value in values] == labels
    assert [percent_label(0.397), percent_label(0.4, 0.1), percent_label(0.355, 0.005)] == ["39.7%", "40%", "35.5%"]
    assert percent_label(math.nan) == "NaN"


@given(FINITE)
def test_a_label_is_never_long(value: float) -> None:
    assert len(tick_label(value)) <= 10


def test_the_average_starts_without_bias_and_steps_over_faults() -> None:
    assert debiased_ema(np.full(5, 7.0), 0.98) == pytest.approx([7.0] * 5)
    result = debiased_ema(floats(1, math.nan, 3), 0.5)
    assert result[0] == 1.0
    assert np.isnan(result[1])
    assert result[2] == pytest.approx((0.25 * 1 + 0.5 * 3) / 0.75)


# Below some 1e-290 scaling is no longer exact.
ORDINARY = st.floats(-1e6, 1e6).filter(lambda value: value == 0.0 or abs(value) > 1e-200)


@given(st.lists(ORDINARY, min_size=2, max_size=50), st.sampled_from([0.0, 0.6, 0.9, 0.98]))
def test_what_was_drawn_does_not_move_when_points_arrive(values: list[float], weight: float) -> None:
    whole, part = debiased_ema(floats(*values), weight), debiased_ema(floats(*values[:-1]), weight)
    assert whole[:-1].tolist() == part.tolist()
    assert weight_for(10) < weight_for(1_000) < weight_for(100_000) < 1.0


@given(ANY_FLOATS, st.sampled_from([0.0, 0.6, 0.9, 0.98]))
@example([sys.float_info.max, sys.float_info.max], 0.6)
def test_the_average_is_the_recurrence(values: list[float], weight: float) -> None:
    total = norm = 0.0
    largest = max([abs(value) for value in values if math.isfinite(value)] or [0.0])
    for value, got in zip(values, debiased_ema(floats(*values), weight).tolist(), strict=True):
        if math.isfinite(value):
            total = weight * total + (1.0 - weight) * value
            norm = weight * norm + (1.0 - weight)
            assert got == pytest.approx(total / norm, abs=largest * 1e-8 + 1e-300, rel=1e-8)
        else:
            assert math.isnan(got)
