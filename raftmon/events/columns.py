"""Scalar points in columns: what the readers hand on.

Points come in the order of the file. Most files repeat the same tags in the same order again and again; a batch of
such points is held as a table with a column for each place in that cycle, and costs no sorting when it is asked for
by tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids: TypeAlias = NDArray[np.int32]
    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["ScalarBatch", "join"]

_Number = TypeVar("_Number", np.int32, np.int64, np.float64)


class ScalarBatch:
    """Scalar points in columns, in file order. The columns are read-only.

    Args:
        tags: the tags of this batch in the order of their first appearance in it.
        tag_id: index into `tags` of each point, int32; or, where `step` has two dimensions, of each of its columns.
        step: int64, shape ``[n]``; or ``[cycles, columns]`` or ``[cycles, 1]`` for points whose tags repeat in cycles.
        wall_time: float64, shape ``[n]`` or ``[cycles, columns]``.
        value: float64, likewise.
    """

    def __init__(self, tags: tuple[str, ...], tag_id: Ids, step: Ints, wall_time: Floats, value: Floats) -> None:
        for column in (tag_id, step, wall_time, value):
            column.setflags(write=False)
        self.tags = tags
        self._tag_id = tag_id
        self._step = step
        self._wall_time = wall_time
        self._value = value

    def __len__(self) -> int:
        return self._value.size

    @cached_property
    def tag_id(self) -> Ids:
        """Index into `tags`, int32, shape ``[n]``."""
        return _flat(self._tag_id, self._value.shape)

    @cached_property
    def step(self) -> Ints:
        """Step as the trainer wrote it, int64, shape ``[n]``; may be negative, repeated or go back."""
        return _flat(self._step, self._value.shape)

    @cached_property
    def wall_time(self) -> Floats:
        """Seconds since the epoch, float64, shape ``[n]``."""
        return _flat(self._wall_time, self._value.shape)

    @cached_property
    def value(self) -> Floats:
        """Float64, shape ``[n]``; NaN and infinities are kept. Integers beyond 2**53 are rounded."""
        return _flat(self._value, self._value.shape)

    def some(self, most: int) -> tuple[Ints, Floats]:
        """Return steps and wall times of at most so many points, spread evenly, the first and the last among them."""
        count = len(self)
        if self._step.ndim == 1 and count <= most:
            return self._step, self._wall_time
        at = np.linspace(0, count - 1, min(count, most)).astype(np.int64)
        if self._step.ndim == 1:
            return self._step[at], self._wall_time[at]
        # Not as one column: that would copy all steps of the table for these few.
        row, column = np.divmod(at, self._value.shape[1])
        return self._step[row, column if self._step.shape[1] > 1 else 0], self._wall_time[row, column]

    def part(self, begin: int, end: int) -> ScalarBatch:
        """Return some of the points, in file order; at least one."""
        tag_id = self.tag_id[begin:end]
        used = list(dict.fromkeys(tag_id.tolist()))
        new_id = np.zeros(len(self.tags), np.int32)
        new_id[used] = np.arange(len(used))
        columns = (self.step[begin:end], self.wall_time[begin:end], self.value[begin:end])
        return ScalarBatch(tuple(self.tags[number] for number in used), new_id[tag_id], *columns)

    def renamed(self, prefix: str) -> ScalarBatch:
        """Return the same points with something put before each tag."""
        tags = tuple(prefix + tag for tag in self.tags)
        return ScalarBatch(tags, self._tag_id, self._step, self._wall_time, self._value)

    def by_tag(self) -> Iterator[tuple[str, Ints, Floats, Floats]]:
        """Yield tag, steps, wall times and values of each tag's points, in file order; each column is read-only."""
        if self._value.ndim == 1:
            yield from self._sorted_by_tag()
            return
        columns: dict[int, list[int]] = {}
        for column, number in enumerate(self._tag_id.tolist()):
            columns.setdefault(number, []).append(column)
        shared = self._step[:, 0] if self._step.shape[1] == 1 else None
        for number, places in columns.items():
            if len(places) == 1:
                at = places[0]
                step = self._step[:, at] if shared is None else shared
                yield self.tags[number], step, self._wall_time[:, at], self._value[:, at]
            else:
                steps = self._step[:, places] if shared is None else np.repeat(shared, len(places))
                yield self.tags[number], _line(steps), _line(self._wall_time[:, places]), _line(self._value[:, places])

    def _sorted_by_tag(self) -> Iterator[tuple[str, Ints, Floats, Floats]]:
        columns = self._step, self._wall_time, self._value
        if 1 < len(self.tags) < len(self):
            # Numpy sorts 16-bit numbers by radix.
            narrow = self._tag_id.astype(np.uint16) if len(self.tags) <= 1 << 16 else self._tag_id
            order = np.argsort(narrow, kind="stable")
            columns = _line(self._step[order]), _line(self._wall_time[order]), _line(self._value[order])
        elif len(self.tags) == len(self):
            # Tags are in the order of their first appearance, and here of their only one.
            for at, tag in enumerate(self.tags):
                yield tag, columns[0][at : at + 1], columns[1][at : at + 1], columns[2][at : at + 1]
            return
        begin = 0
        for tag, count in zip(self.tags, np.bincount(self._tag_id, minlength=len(self.tags)).tolist(), strict=True):
            points = slice(begin, begin + count)
            yield tag, columns[0][points], columns[1][points], columns[2][points]
            begin += count


def join(batches: Sequence[ScalarBatch]) -> ScalarBatch:
    """Return the points of several batches as one."""
    if len(batches) == 1:
        return batches[0]
    numbers: dict[str, int] = {}
    for batch in batches:
        for tag in batch.tags:
            numbers.setdefault(tag, len(numbers))
    ids = [np.array([numbers[tag] for tag in batch.tags], np.int32)[batch.tag_id] for batch in batches]
    return ScalarBatch(
        tuple(numbers),
        _joined(ids, np.int32),
        _joined([batch.step for batch in batches], np.int64),
        _joined([batch.wall_time for batch in batches], np.float64),
        _joined([batch.value for batch in batches], np.float64),
    )


def _joined(columns: list[NDArray[_Number]], dtype: type[_Number]) -> NDArray[_Number]:
    return np.concatenate([np.empty(0, dtype), *columns])


def _flat(column: NDArray[_Number], shape: tuple[int, ...]) -> NDArray[_Number]:
    """Return a column of points in file order."""
    if column.ndim == 1 and column.shape == shape:
        return column  # as always with the few points of a live job
    return _line(np.broadcast_to(column, shape))


def _line(table: NDArray[_Number]) -> NDArray[_Number]:
    """Return a table, or a part of it, as one read-only column."""
    line = table.reshape(-1)
    line.flags.writeable = False
    return line
