"""Series to dots: pure functions on numpy arrays, without Textual.

A chart is a `Frame` (a grid of character cells over a rectangle of data coordinates) and layers of `Dots`: a
braille cell holds 2 x 4 dots, so a frame of W x H cells has 2W x 4H of them. A layer is painted over the ones
before it, cell by cell, because a cell has one colour.

Lines keep what M4 keeps (Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", PVLDB 7(10),
2014): the dots of a column run from its least to its greatest value, so the picture equals that of all points and
no decimation loses a one-sample spike. NaN and infinities are gaps: nothing is drawn for them, or across them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Cells",
    "Dots",
    "Floats",
    "Frame",
    "band",
    "bounds",
    "cell_columns",
    "compose",
    "error_bars",
    "level",
    "line",
    "sparkline",
    "text_of",
    "vertical",
]

Floats: TypeAlias = NDArray[np.float64]
Dots: TypeAlias = NDArray[np.bool_]
"""One layer: ``[4 * height, 2 * width]``, row 0 at the top."""

BRAILLE = 0x2800
"""Code point of the empty braille cell; the low eight bits are the dots."""
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
_BLOCKS = "▁▂▃▄▅▆▇█"

_OFF_CENTRE = 1.25
"""More room above a constant series than below: the exact middle lies between two rows, and rounding would tear it."""
_FAR = 1e9
"""Frames away from the frame; farther is drawn the same."""

NEARLY_CONSTANT = 1e-6
"""Relative spread below which a series counts as constant: rounding of 32-bit floats is no curve."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A grid of character cells over a rectangle of data coordinates."""

    width: int
    """Cells."""
    height: int
    """Cells."""
    x: tuple[float, float]
    """Data coordinates of the first and last dot column."""
    y: tuple[float, float]
    """Data coordinates of the lowest and highest dot row."""
    log: bool = False
    """Logarithmic y; `y` is positive then, and values that are not positive count as gaps."""

    @property
    def columns(self) -> int:
        """Dot columns."""
        return 2 * self.width

    @property
    def rows(self) -> int:
        """Dot rows."""
        return 4 * self.height

    def column_of(self, x: Floats) -> Floats:
        """Return fractional dot columns; NaN where x is not finite."""
        return _share(x, *self.x) * (self.columns - 1)

    def row_of(self, y: Floats) -> Floats:
        """Return fractional dot rows counted from the top; NaN where y cannot be drawn."""
        if not self.log:
            return (1.0 - _share(y, *self.y)) * (self.rows - 1)
        low, high = np.log10(self.y)
        return (1.0 - _share(_log10(y), float(low), float(high))) * (self.rows - 1)

    def cell_row(self, y: float) -> int | None:
        """Return the cell row that holds a value, or None outside the frame."""
        row = float(self.row_of(np.array([y]))[0])
        return round(row) // 4 if -0.5 <= row < self.rows - 0.5 else None


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Painted cells."""

    bits: NDArray[np.uint8]
    """Braille dots of each cell, ``[height, width]``."""
    ink: NDArray[np.int16]
    """Index of the layer that painted the cell, -1 for an empty one."""


def bounds(values: Sequence[Floats], *, log: bool = False) -> tuple[float, float] | None:
    """Return the least and greatest drawable value of several series, or None where there is none.

    A constant series gets room above and below, so that it runs near the middle.

    Args:
        values: arrays of any lengths; what is not finite is left out.
        log: leave out values that are not positive, too.
    """
    drawable = [part[np.isfinite(part) & (part > 0.0)] if log else part[np.isfinite(part)] for part in values]
    drawable = [part for part in drawable if len(part)]
    if not drawable:
        return None
    low = min(float(part.min()) for part in drawable)
    high = max(float(part.max()) for part in drawable)
    if high / 2 - low / 2 > NEARLY_CONSTANT / 2 * max(abs(low), abs(high)):
        return low, high
    if log:
        return max(low / 2.0, float(np.nextafter(0.0, 1.0))), min(high * 2.0 * _OFF_CENTRE, float(np.finfo(float).max))
    room = abs(high) * 0.1 or 1.0
    largest = float(np.finfo(float).max)
    return max(low - room, -largest), min(high + room * _OFF_CENTRE, largest)


def line(frame: Frame, x: Floats, y: Floats) -> Dots:
    """Draw points and the straight lines between neighbours.

    Args:
        frame: where to draw; what lies outside is cut off.
        x: in the order of the line; need not be sorted.
        y: same length.
    """
    columns, rows = frame.column_of(x), frame.row_of(y)
    whole = np.isfinite(columns) & np.isfinite(rows)
    columns, rows = np.rint(columns), np.rint(rows)
    joined = whole[:-1] & whole[1:]
    back = columns[:-1][joined] > columns[1:][joined]
    starts = (columns[:-1][joined], rows[:-1][joined])
    ends = (columns[1:][joined], rows[1:][joined])
    left, top = (np.where(back, b, a) for a, b in zip(starts, ends, strict=True))
    right, bottom = (np.where(back, a, b) for a, b in zip(starts, ends, strict=True))
    spans = _segment_spans(left, top, right, bottom, frame.columns)
    points = (columns[whole], rows[whole], rows[whole])
    return _fill(frame, *(np.concatenate(pair) for pair in zip(spans, points, strict=True)))


def level(frame: Frame, value: float) -> Dots:
    """Draw a dashed horizontal line at a value; nothing outside the frame."""
    dots = np.zeros((frame.rows, frame.columns), dtype=np.bool_)
    row = float(frame.row_of(np.array([value]))[0])
    if -0.5 <= row < frame.rows - 0.5:
        dots[round(row), np.arange(frame.columns) % 4 < 2] = True
    return dots


def band(frame: Frame, low: float, high: float) -> Dots:
    """Draw the values between two limits as a loose grid of dots."""
    ends = frame.row_of(np.array([high, low]))
    dots = np.zeros((frame.rows, frame.columns), dtype=np.bool_)
    if np.isnan(ends[0]):
        return dots
    last = frame.rows - 1 if np.isnan(ends[1]) else min(round(float(ends[1])), frame.rows - 1)
    first = max(round(float(ends[0])), 0)
    rows = np.arange(frame.rows)
    inside = (rows >= first) & (rows <= last) & (rows % 2 == 0)
    dots[np.ix_(inside, np.arange(frame.columns) % 4 == 0)] = True
    return dots


def vertical(frame: Frame, x: float, every: int = 1) -> Dots:
    """Draw a vertical line, a dot in every `every`-th row; nothing outside the frame."""
    dots = np.zeros((frame.rows, frame.columns), dtype=np.bool_)
    column = float(frame.column_of(np.array([x]))[0])
    if -0.5 <= column < frame.columns - 0.5:
        dots[::every, round(column)] = True
    return dots


def error_bars(frame: Frame, x: Floats, low: Floats, high: Floats) -> Dots:
    """Draw intervals as vertical bars with caps; an interval with a NaN end is left out."""
    columns, tops, bottoms = frame.column_of(x), frame.row_of(high), frame.row_of(low)
    whole = np.isfinite(columns) & np.isfinite(tops) & np.isfinite(bottoms)
    columns, tops, bottoms = (np.rint(part[whole]) for part in (columns, tops, bottoms))
    stems = (columns, tops, bottoms)
    caps = [(columns + side, row, row) for side in (-1, 1) for row in (tops, bottoms)]
    return _fill(frame, *(np.concatenate(parts) for parts in zip(stems, *caps, strict=True)))


def compose(frame: Frame, layers: Sequence[Dots]) -> Cells:
    """Paint layers over each other: in every cell the last layer with a dot there wins whole.

    Args:
        frame: the frame that all layers were drawn in.
        layers: from the back to the front.
    """
    bits = np.zeros((frame.height, frame.width), dtype=np.uint8)
    ink = np.full((frame.height, frame.width), -1, dtype=np.int16)
    for index, dots in enumerate(layers):
        corners = dots.reshape(frame.height, 4, frame.width, 2).astype(np.uint8)
        cells = np.einsum("ricj,ij->rc", corners, _BITS)
        painted = cells > 0
        bits[painted] = cells[painted]
        ink[painted] = index
    return Cells(bits, ink)


def text_of(cells: Cells) -> list[str]:
    """Return one string of braille characters a row; an empty cell is a blank."""
    return ["".join(chr(BRAILLE + bit) if bit else " " for bit in row) for row in cells.bits.tolist()]


def cell_columns(frame: Frame, x: Floats) -> list[int]:
    """Return the distinct cell columns of finite x coordinates inside the frame, in order."""
    columns = np.rint(frame.column_of(x))
    inside = columns[(columns >= 0) & (columns <= frame.columns - 1)]
    return [int(column) for column in np.unique(inside // 2)]


def sparkline(values: Floats, width: int) -> str:
    """Return a row of block characters, one per bucket of neighbouring values.

    A bucket shows its greatest value, so that a spike survives; ``×`` stands for a bucket with a value that is
    not finite. Fewer values than `width` give a shorter row.
    """
    if not len(values) or width < 1:
        return ""
    limits = bounds([values])
    edges = np.unique(np.linspace(0, len(values), min(width, len(values)) + 1).astype(int))
    finite = np.logical_and.reduceat(np.isfinite(values), edges[:-1])
    if limits is None:
        return "×" * len(finite)
    greatest = np.maximum.reduceat(np.where(np.isfinite(values), values, limits[0]), edges[:-1])
    heights = np.clip(_share(greatest, *limits) * len(_BLOCKS), 0, len(_BLOCKS) - 1).astype(int)
    return "".join(_BLOCKS[h] if ok else "×" for h, ok in zip(heights.tolist(), finite.tolist(), strict=True))


def _share(values: Floats, low: float, high: float) -> Floats:
    """Return where values lie between low (0) and high (1); the middle where those are equal; NaN for gaps."""
    span = high / 2 - low / 2
    share = np.full(len(values), np.nan)
    finite = np.isfinite(values)
    # Halves: the difference of two doubles of opposite sign may overflow.
    with np.errstate(over="ignore", under="ignore"):
        share[finite] = (values[finite] / 2 - low / 2) / span if span > 0.0 else 0.5
    near: Floats = np.clip(share, -_FAR, _FAR)
    return near


def _log10(values: Floats) -> Floats:
    result = np.full(len(values), np.nan)
    positive = np.isfinite(values) & (values > 0.0)
    result[positive] = np.log10(values[positive])
    return result


def _segment_spans(
    left: Floats, top: Floats, right: Floats, bottom: Floats, columns: int
) -> tuple[Floats, Floats, Floats]:
    """Cut segments into one vertical span of dots per column they cross.

    Args:
        left: columns of the left ends; `right` is never less.
        top: rows of the left ends.
        right: columns of the right ends.
        bottom: rows of the right ends.
        columns: dot columns of the frame; spans outside are not made.

    Returns:
        Column, first row and last row of each span, rows in any order.
    """
    first, last = np.clip(left, 0, columns), np.clip(right, -1, columns - 1)
    counts = np.maximum(last - first + 1, 0).astype(np.int64)
    segment = np.repeat(np.arange(len(counts)), counts)
    begins = np.cumsum(counts) - counts
    column = first[segment] + (np.arange(len(segment)) - begins[segment])
    width = np.maximum(right - left, 1.0)[segment]
    slope = (bottom - top)[segment] / width
    # Half a column to either side, so that neighbouring spans touch.
    start = np.maximum(column - 0.5, left[segment])
    end = np.minimum(column + 0.5, right[segment])
    upright = (left == right)[segment]
    rows_start = top[segment] + slope * (start - left[segment])
    rows_end = np.where(upright, bottom[segment], top[segment] + slope * (end - left[segment]))
    return column, rows_start, rows_end


def _fill(frame: Frame, columns: Floats, starts: Floats, ends: Floats) -> Dots:
    """Light vertical spans of dots; rows are inclusive, in any order, and cut at the frame."""
    tops, bottoms = np.rint(np.minimum(starts, ends)), np.rint(np.maximum(starts, ends))
    inside = (bottoms >= 0) & (tops <= frame.rows - 1) & (columns >= 0) & (columns <= frame.columns - 1)
    at = columns[inside].astype(np.int64)
    first = np.maximum(tops[inside], 0).astype(np.int64)
    after = np.minimum(bottoms[inside], frame.rows - 1).astype(np.int64) + 1
    size = (frame.rows + 1) * frame.columns
    edges = np.bincount(first * frame.columns + at, minlength=size)
    edges = edges - np.bincount(after * frame.columns + at, minlength=size)
    dots: Dots = edges.reshape(frame.rows + 1, frame.columns).cumsum(axis=0)[:-1] > 0
    return dots
