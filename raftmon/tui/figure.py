"""What a chart shows, and its drawing as rows of characters: pure, without Textual."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np

from raftmon.tui import raster
from raftmon.tui.axis import log_ticks, percent_label, position_ticks, tick_label, ticks
from raftmon.tui.grid import Grid, Ink, Row
from raftmon.tui.raster import Dots, Floats, Frame

__all__ = ["Band", "Bars", "Chart", "Curve", "Level", "Marker", "draw", "drawable_log", "nearest"]

REACH = 3.0
"""A level or band is brought into view if that stretches the y axis by no more than this factor."""
LINES_PER_TICK = 3
COLUMNS_PER_TICK = 12
SMALLEST = (12, 3)
"""Cells (width, height) below which nothing can be told from a drawing."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A series of points joined by lines."""

    x: Floats
    y: Floats
    """Same length as `x`; values that are not finite are gaps."""
    ink: Ink = "line"
    name: str = ""
    """For the value under the cursor: ``ema``; empty for the series itself."""
    sign: str = ""
    """One character at the newest point in view, which tells the curve from others without colours."""


@dataclass(frozen=True, slots=True)
class Level:
    """A value that a series is compared with."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A moment at which something happened."""

    x: float
    glyph: str
    """One character, near the bottom."""
    label: str = ""
    """Right of the glyph, where it hides no data."""


@dataclass(frozen=True, slots=True)
class Band:
    """A range of values that a series is compared with."""

    low: float
    high: float
    labels: tuple[str, ...]
    """From the longest to the shortest; the first one that fits is written."""


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Points with intervals."""

    x: Floats
    y: Floats
    low: Floats
    """NaN: no interval."""
    high: Floats
    glyphs: str
    """One character per point."""


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """Everything a plot shows."""

    role: str
    title: str
    version: Hashable
    """Equal versions look the same: what a widget compares to find out whether it must draw again."""
    missing: str
    """What to say when there is nothing to draw."""
    curves: tuple[Curve, ...] = ()
    levels: tuple[Level, ...] = ()
    band: Band | None = None
    bars: Bars | None = None
    x_name: str = "step"
    summary: tuple[str, ...] = ()
    """Newest values in words, the most telling first; as many are shown as there is room for."""
    warning: str = ""
    """For example ``3 NaN``; empty when all is well."""
    percent: bool = False
    """The values are shares; never on a logarithmic axis."""
    faults: Floats = field(default_factory=lambda: np.empty(0))
    """x of the values that are not finite."""
    markers: tuple[Marker, ...] = ()
    """The lowest in a column comes first."""
    others: tuple[Curve, ...] = ()
    """The same series of other runs, drawn behind."""
    short_title: str = ""
    """Heading where there is no room for `title` beside the newest value; empty: the same."""

    @property
    def empty(self) -> bool:
        """Whether there is no point at all, finite or not."""
        return not any(len(curve.x) for curve in self.curves) and (self.bars is None or not len(self.bars.x))


def drawable_log(chart: Chart) -> bool:
    """Whether a logarithmic axis can show anything of the chart."""
    return not chart.percent and any(bool(np.any((c.y > 0.0) & (c.y < math.inf))) for c in chart.curves)


def nearest(curve: Curve, x: float) -> int | None:
    """Return the index of the point nearest to x, the newest of several; None for an empty curve."""
    if not len(curve.x):
        return None
    distance = np.abs(curve.x - x)
    return len(distance) - 1 - int(np.argmin(distance[::-1]))


def draw(
    chart: Chart,
    width: int,
    height: int,
    *,
    log: bool = False,
    cursor: float | None = None,
    window: tuple[float, float] | None = None,
) -> list[Row]:
    """Draw a chart with its axes.

    Args:
        chart: what to draw.
        width: cells.
        height: cells; the last line holds the labels of the x axis.
        log: logarithmic y; ignored where `drawable_log` is false.
        cursor: x of the value cursor.
        window: ends of the x axis, the lower first; None takes all points in. The y axis fits what is in view.

    Returns:
        `height` rows of exactly `width` characters; empty rows for a chart without a drawable value, or a box
        below the `SMALLEST` size.
    """
    log = log and drawable_log(chart)
    limits = _limits(chart, log, window)
    if limits is None or width < SMALLEST[0] or height < SMALLEST[1]:
        return [[(" " * width, "")] for _ in range(height)]
    x_limits, y_limits = limits
    label = percent_label if chart.percent else tick_label
    count = max(2, (height - 1) // LINES_PER_TICK + 1)
    values = log_ticks(*y_limits, count) if log else ticks(*y_limits, count)
    labels = _labels(values, label, log)
    # The name of the x axis stands below the labels of the y axis.
    gutter = max([len(text) + 1 for text in labels] + [len(chart.x_name)])
    frame = Frame(max(width - gutter - 1, 1), height - 1, x_limits, y_limits, log)
    grid = Grid(width, height)
    _paint(grid, chart, frame, gutter + 1, cursor)
    _y_axis(grid, frame, values, labels, gutter)
    _x_axis(grid, chart, frame, gutter + 1)
    return grid.rows()


def _limits(
    chart: Chart, log: bool, window: tuple[float, float] | None
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    bars = [chart.bars] if chart.bars is not None else []
    curves = [*chart.curves, *chart.others]
    x = window or raster.bounds([c.x for c in curves] + [b.x for b in bars])
    y = raster.bounds([c.y for c in curves] + [part for b in bars for part in (b.y, b.low, b.high)], log=log)
    if window is not None:
        inside = [c.y[(c.x >= window[0]) & (c.x <= window[1])] for c in curves]
        # Between two points there is nothing but the line that joins them.
        y = raster.bounds(inside, log=log) or y
    if x is None or y is None:
        return None
    extras = [level.value for level in chart.levels] + ([chart.band.low, chart.band.high] if chart.band else [])
    for value in extras:
        y = _stretched(y, value, log)
    if bars:
        whole = np.concatenate([b.x for b in bars])
        x = (float(whole.min()) - 0.5, float(whole.max()) + 0.5)
    return x, y


def _stretched(limits: tuple[float, float], value: float, log: bool) -> tuple[float, float]:
    """Return limits that take a value in, unless the curves would become too flat."""
    low, high = min(limits[0], value), max(limits[1], value)
    if log:
        near = low > 0.0 and math.log(high / low) <= REACH * math.log(limits[1] / limits[0])
    else:
        near = high - low <= REACH * (limits[1] - limits[0])
    return (low, high) if near else limits


def _layers(chart: Chart, frame: Frame, cursor: float | None) -> list[tuple[Dots, Ink]]:
    """Return what is drawn in dots, from the back to the front."""
    layers: list[tuple[Dots, Ink]] = []
    if chart.band is not None:
        layers.append((raster.band(frame, chart.band.low, chart.band.high), "band"))
    layers += [(raster.level(frame, level.value), "level") for level in chart.levels]
    layers += [(raster.vertical(frame, marker.x, every=4), "marker") for marker in chart.markers]
    if cursor is not None and chart.x_name != "cycle":
        layers.append((raster.vertical(frame, cursor), "cursor"))
    if chart.bars is not None:
        layers.append((raster.error_bars(frame, chart.bars.x, chart.bars.low, chart.bars.high), "bars"))
    curves = (*chart.others, *chart.curves)
    return layers + [(raster.line(frame, curve.x, curve.y), curve.ink) for curve in curves]


def _paint(grid: Grid, chart: Chart, frame: Frame, left: int, cursor: float | None) -> None:
    layers = _layers(chart, frame, cursor)
    cells = raster.compose(frame, [dots for dots, _ in layers])
    for row, (text, inks) in enumerate(zip(raster.text_of(cells), cells.ink.tolist(), strict=True)):
        for column, (char, ink) in enumerate(zip(text, inks, strict=True), left):
            if ink >= 0:
                grid.chars[row][column], grid.inks[row][column] = char, layers[ink][1]
    _signs(grid, chart, frame, left)
    for column in raster.cell_columns(frame, chart.faults):
        grid.put(frame.height - 1, left + column, "×", "bad")
    if chart.bars is not None:
        _points(grid, chart.bars, frame, left)
    for level in chart.levels:
        _write(grid, frame, left, level.value, (level.label,), "level")
    if chart.band is not None:
        middle = (chart.band.low + chart.band.high) / 2.0
        if not _write(grid, frame, left, middle, chart.band.labels, "band"):
            # A band that does not say what it is would be taken for a fact.
            grid.erase("band")


def _signs(grid: Grid, chart: Chart, frame: Frame, left: int) -> None:
    """Write the curves' signs at their newest points in view, then the markers' glyphs where no data is hidden."""
    taken: set[tuple[int, int]] = set()
    for curve in (c for c in (*chart.others, *chart.curves) if c.sign):
        rows, columns = frame.row_of(curve.y), frame.column_of(curve.x)
        there = np.flatnonzero((rows >= 0) & (rows < frame.rows) & (columns >= 0) & (columns <= frame.columns - 1))
        if len(there):
            row, column = round(float(rows[there[-1]])) // 4, round(float(columns[there[-1]])) // 2
            # Curves that end in one cell are told apart, too.
            near = [(abs(at - row), at) for at in range(frame.height) if (at, column) not in taken]
            at = min(near, default=(0, -1))[1]
            taken.add((at, column))
            grid.put(at, left + column, curve.sign, curve.ink)
    for marker in chart.markers:
        for column in raster.cell_columns(frame, np.array([marker.x])):
            _mark(grid, frame.height, left + column, marker)


def _mark(grid: Grid, height: int, column: int, marker: Marker) -> None:
    """Write a marker's glyph into the lowest unused cell of its column, with its label if there is room anywhere."""
    size = 1 + len(marker.label)
    unused = [row for row in range(height) if grid.unused(row, column, 1)]
    roomy = [row for row in unused if grid.unused(row, column, size)]
    if roomy:
        grid.put(roomy[-1], column, marker.glyph + marker.label, "sign")
    elif unused:
        grid.put(unused[-1], column, marker.glyph, "sign")


def _points(grid: Grid, bars: Bars, frame: Frame, left: int) -> None:
    columns = np.rint(frame.column_of(bars.x))
    for column, value, glyph in zip(columns.tolist(), bars.y.tolist(), bars.glyphs, strict=True):
        row = frame.cell_row(value) if math.isfinite(value) else None
        if row is not None:
            grid.put(row, left + int(column) // 2, glyph, "mark")


def _write(grid: Grid, frame: Frame, left: int, value: float, labels: tuple[str, ...], ink: Ink) -> bool:
    """Write a label near its row where it hides no data; an arrow tells of a value out of view.

    Returns:
        Whether there was room.
    """
    inside = frame.cell_row(value)
    above = value > frame.y[1]
    row = inside if inside is not None else 0 if above else frame.height - 1
    arrow = "" if inside is not None else "↑ " if above else "↓ "
    near = [row, row - 1, row + 1, row - 2, row + 2] if inside is not None else [row]
    for label in labels:
        text = f"{arrow}{label}"
        for at in near:
            for start in (grid.width - len(text), left):
                if 0 <= at < frame.height and start >= left and grid.free(at, start, len(text)):
                    grid.put(at, start, text, ink)
                    return True
    return False


def _labels(values: list[float], label: Callable[[float, float], str], log: bool) -> list[str]:
    step = values[1] - values[0] if len(values) > 1 and not log else 0.0
    return [label(value, step) for value in values]


def _y_axis(grid: Grid, frame: Frame, values: list[float], labels: list[str], gutter: int) -> None:
    for row in range(frame.height):
        grid.put(row, gutter, "│", "axis")
    for value, text in zip(values, labels, strict=True):
        at = frame.cell_row(value)
        if at is not None:
            grid.put(at, 0, text.rjust(gutter - 1), "axis")
            grid.put(at, gutter, "┤", "axis")


def _x_axis(grid: Grid, chart: Chart, frame: Frame, left: int) -> None:
    room = COLUMNS_PER_TICK if chart.bars is None else COLUMNS_PER_TICK // 3
    labels = position_ticks(chart.x_name, *frame.x, max(2, frame.width // room + 1))
    if chart.bars is not None:
        labels = [(value, text) for value, text in labels if frame.x[0] < value < frame.x[1]]
    row, end = grid.height - 1, left - 1
    grid.put(row, left - 1 - len(chart.x_name), chart.x_name, "axis")
    for value, text in labels:
        at = left + round(float(frame.column_of(np.array([value]))[0])) // 2 - len(text) // 2
        at = max(min(at, grid.width - len(text)), left)
        if at > end:
            grid.put(row, at, text, "axis")
            end = at + len(text)
