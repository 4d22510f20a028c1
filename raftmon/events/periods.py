"""Records whose forms repeat in cycles, which is what nearly every trainer writes: read without framing them.

The bytes of one cycle, with zeros where they vary, are compared with as many cycles as the block holds; this also
proves every length and its checksum. Then wall times, steps, values and checksums are copied out by columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np

from raftmon.events.block import varint_values, widened
from raftmon.events.crc import CARRIED_AT, CARRIED_STEP_BYTES, MASK_DELTA, summed_bytes, time_and_step
from raftmon.events.framing import HEADER_BYTES
from raftmon.events.wire import STEP_AT, WALL_AT, Form
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.events.block import Block

    Floats: TypeAlias = NDArray[np.float64]
    HalfWords: TypeAlias = NDArray[np.uint32]
    Ints: TypeAlias = NDArray[np.int64]
    Words: TypeAlias = NDArray[np.uint64]

__all__ = ["Cycle", "CycleRows", "find_cycle"]

_Word = TypeVar("_Word", np.uint32, np.uint64)

LONGEST: Final = 2048
"""Records in the longest cycle that is looked for."""
LONGEST_BYTES: Final = 1 << 18
"""Bytes of the longest cycle."""
_HISTORY: Final = 8192
"""Newest records in which it is looked for."""
_LEAST_BYTES: Final = 512
"""Shorter cycles are taken several times, as numpy is slow on many short rows."""
_CHECKED: Final = 1 << 15
"""Bytes whose checksums are looked up together: what that takes fits the second-level cache."""
_CANDIDATES: Final = 8
"""Lengths that are tried."""
_PROOF: Final = 512
"""At least so many of the newest records must repeat, as far as there are so many."""
_MANY_ROWS: Final = 256
"""From so many cycles on, copying column by column beats gathering."""


@dataclass(frozen=True, slots=True, eq=False)
class CycleRows:
    """The points of some cycles."""

    step: Ints
    """Shape ``[cycles, columns]``, or ``[cycles, 1]`` when all columns have the same."""
    wall_time: Floats
    """Shape ``[cycles, columns]``."""
    value: Floats
    """Likewise."""
    end: int
    """Offset in the block behind the last of them."""


class Cycle:
    """Some records in a row that come again and again.

    Args:
        forms: theirs. Their steps must have the same length, their values the same number and type.
        numbers: of the forms, in the table of forms.

    Raises:
        ValueError: they have not, or a record is too long.

    Attributes:
        numbers: as given.
        size: bytes that are looked at together: a short cycle is taken several times.
        records: records in them.
        tags: the tags in a cycle, in the order of their first appearance.
        tag_id: index into `tags` of each column, int32.
        is_plain: whether all are scalars in any file, whatever that says of their tags.
    """

    def __init__(self, forms: Sequence[Form], numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)
        length = sum(len(form.constant) for form in forms)
        repeats = -(-_LEAST_BYTES // length)
        if length > LONGEST_BYTES:
            raise ValueError("a cycle is too long")
        self._step_bytes, self._values, self._wide = _common_make(forms)
        forms = tuple(forms) * repeats
        sizes = np.array([len(form.constant) for form in forms])
        self.size = int(sizes.sum())
        self.records = len(forms)
        self._constant = np.frombuffer(b"".join(form.constant for form in forms), np.uint8)
        self._mask = np.frombuffer(b"".join(form.mask for form in forms), np.uint8)
        # A single cycle is compared fastest as one long number.
        self._constant_number = int.from_bytes(self._constant.tobytes(), "little")
        self._mask_number = int.from_bytes(self._mask.tobytes(), "little")
        self._record_at = np.cumsum(sizes) - sizes
        self._checksum_at = self._record_at + sizes - 4
        places = [place for form in forms for place in form.places]
        in_record = np.array([place.offset for place in places])
        self._value_at = np.repeat(self._record_at, self._values) + in_record
        self._checksum_follows = (
            self._values == 1 and not self._wide and bool((self._value_at + 4 == self._checksum_at).all())
        )
        self._checksum = np.array([form.checksum for form in forms], np.uint32)
        self._entries = self._table_entries(sizes, in_record)
        self._together = max(1, _CHECKED // len(self._entries))
        tags: dict[str, int] = {}
        # The columns are those of the cycle as it was given.
        ids = [tags.setdefault(place.tag, len(tags)) for place in places[: len(places) // repeats]]
        self.tags = tuple(tags)
        self.is_plain = all(place.plugin is None for place in places)
        self.tag_id = np.array(ids, np.int32)

    def _table_entries(self, sizes: Ints, value_at: Ints) -> Ints:
        """Return where in the tables of bytes those that vary are looked up: see `_varying`."""
        words = [np.full(len(sizes), HEADER_BYTES + CARRIED_AT)] * (2 if self._step_bytes > CARRIED_STEP_BYTES else 1)
        for at in value_at.reshape(-1, self._values).T:
            words += [at, at + 4] if self._wide else [at]
        if len(words) % 2:
            # The bytes of this one are zeros.
            words.append(words[0])
        last = sizes - 5
        distance = np.stack([last - at - place for at in words for place in range(4)], axis=1)
        return distance.ravel() * 256

    def read(self, block: Block, start: int, stop: int) -> CycleRows | None:
        """Read as many cycles as follow each other between two offsets of a block; None if there is none."""
        count = self._matching(block, start, (stop - start) // self.size)
        if count == 0:
            return None
        rows = self._copy(block, start, count)
        intact = self._intact(rows)
        if intact < count:
            if intact == 0:
                return None
            rows = rows.part(0, intact)
        columns = len(self.tag_id)
        step = rows.step.reshape(-1, columns // self._values)
        # Nearly always the step changes with the cycle only.
        if (step[:, 1:] == step[:, :1]).all():
            step = step[:, :1]
        number, wall_time = varint_values(step), rows.wall.view(np.float64).reshape(-1, columns // self._values)
        if self._values > 1:
            wall_time = np.repeat(wall_time, self._values, axis=1)
            number = np.repeat(number, self._values, axis=1) if step.shape[1] > 1 else number
        value = rows.value.view(np.float64) if self._wide else widened(rows.value.view(np.float32))
        return CycleRows(number, wall_time, value.reshape(-1, columns), start + intact * self.size)

    def begins_at(self, block: Block, start: int, stop: int) -> bool:
        """Tell whether a whole cycle lies at an offset of a block, and ends before another."""
        end = start + self.size
        if end > stop:
            return False
        return int.from_bytes(block.data[start:end], "little") & self._mask_number == self._constant_number

    def _matching(self, block: Block, start: int, count: int) -> int:
        """Return how many of the next cycles have the constant bytes of this one."""
        # Where something else comes next, the first cycle tells so, and the others need not be looked at.
        if count == 0 or (count > _MANY_ROWS and not self._matches(block, start, 1)):
            return 0
        if self._matches(block, start, count):
            return count
        different = block.scratch[: count * self.size].reshape(count, self.size).any(axis=1)
        return int(np.argmax(different))

    def _matches(self, block: Block, start: int, count: int) -> bool:
        length = count * self.size
        difference = block.scratch[:length].reshape(count, self.size)
        np.bitwise_xor(block.bytes[start : start + length].reshape(count, self.size), self._constant, out=difference)
        np.bitwise_and(difference, self._mask, out=difference)
        whole = length & ~7
        return not (np.bitwise_or.reduce(block.scratch[:whole].view(np.uint64)) or block.scratch[whole:length].any())

    def _copy(self, block: Block, start: int, count: int) -> _Rows:
        """Copy out what varies."""
        wall = _columns(block.words, start + self._record_at + WALL_AT, self.size, count)
        step = _columns(block.words, start + self._record_at + STEP_AT, self.size, count)
        step &= np.uint64((1 << (8 * self._step_bytes)) - 1)
        value = _columns(block.words, start + self._value_at, self.size, count)
        if self._wide:
            return _Rows(wall, step, value, self._checksums(block, start, count))
        halves = value.view(np.uint32).reshape(*value.shape, 2)
        # Mostly the checksum follows the value: one word holds both.
        checksum = halves[:, :, 1] if self._checksum_follows else self._checksums(block, start, count)
        return _Rows(wall, step, halves[:, :, 0], checksum)

    def _checksums(self, block: Block, start: int, count: int) -> HalfWords:
        return _columns(block.halves, start + self._checksum_at, self.size, count)

    def _intact(self, rows: _Rows) -> int:
        """Return how many of the first cycles have no damaged record."""
        count = len(rows.wall)
        for begin in range(0, count, self._together):
            some = rows.part(begin, begin + self._together) if count > self._together else rows
            damaged = self._residue(some).any(axis=1)
            if damaged.any():
                return begin + int(np.argmax(damaged))
        return count

    def _residue(self, rows: _Rows) -> HalfWords:
        """Return what is left of the stored checksums less the computed ones, shape ``[cycles, records]``."""
        residue = rows.checksum - np.uint32(MASK_DELTA)
        residue ^= self._checksum
        residue ^= summed_bytes(self._varying(rows), self._entries)
        return residue

    def _varying(self, rows: _Rows) -> HalfWords:
        """Return what varies in each record, the wall time and the step carried on by their checksum."""
        count = len(rows.wall)
        words = np.zeros((count, self.records, len(self._entries) // (4 * self.records)), np.uint32)
        words[:, :, 0] = time_and_step(np.ascontiguousarray(rows.wall), rows.step)
        at = 1
        if self._step_bytes > CARRIED_STEP_BYTES:
            words[:, :, 1] = rows.step >> np.uint64(8 * CARRIED_STEP_BYTES)
            at = 2
        value = np.ascontiguousarray(rows.value).view(np.uint32).reshape(count, self.records, -1)
        words[:, :, at : at + value.shape[2]] = value
        return words


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The varying bytes of some cycles, each of shape ``[cycles, records]``, or ``[cycles, values]``."""

    wall: Words
    step: Words
    value: Words | HalfWords
    """The bits of doubles or floats."""
    checksum: HalfWords

    def part(self, begin: int, end: int) -> _Rows:
        """Return some of the cycles."""
        return _Rows(self.wall[begin:end], self.step[begin:end], self.value[begin:end], self.checksum[begin:end])


def _common_make(forms: Sequence[Form]) -> tuple[int, int, bool]:
    """Return the bytes of the step, the number of values and whether these are doubles, the same in all forms.

    Raises:
        ValueError: they are not the same, or a form has no step or no value.
    """
    makes = {(form.step_bytes, len(form.places), *{place.wide for place in form.places}) for form in forms}
    if len(makes) != 1:
        raise ValueError("forms of different make")
    step_bytes, values, *wide = makes.pop()
    if not step_bytes or len(wide) != 1:
        raise ValueError("forms of different make")
    return step_bytes, values, bool(wide[0])


def _columns(source: NDArray[_Word], places: Ints, stride: int, count: int) -> NDArray[_Word]:
    """Return the words at some places of each cycle, shape ``[count, len(places)]``."""
    if count < _MANY_ROWS:
        found: NDArray[_Word] = source[np.arange(0, count * stride, stride)[:, None] + places]
        return found
    columns = np.empty((count, len(places)), source.dtype)
    length = (count - 1) * stride + 1
    for number, place in enumerate(places.tolist()):
        columns[:, number] = source[place : place + length : stride]
    return columns


def find_cycle(form: Ints, step: Words) -> tuple[int, int] | None:
    """Find out whether the newest records come in cycles.

    Args:
        form: number of the form of each record, -1 without one, in file order.
        step: their steps, by which a cycle's begin is told.

    Returns:
        How many records a cycle has, and the index of one that begins a cycle, as near to the end as possible; or None.
    """
    form, dropped = form[-_HISTORY:], max(0, len(form) - _HISTORY)
    length = _cycle_length(form)
    if length is None:
        return None
    step = step[dropped:]
    last = len(form) - length
    # One that begins with a new step, if there is one, has a single step in each of its columns.
    begins = last + np.flatnonzero(step[last:] != step[last - 1 : -1])
    if not len(begins):
        return length, dropped + last
    ring = np.concatenate([form[last:], form[last:]])
    # Of several, always the same one: cycles are kept for the next file.
    return length, dropped + min(begins.tolist(), key=lambda at: ring[at - last : at - last + length].tobytes())


def _cycle_length(form: Ints) -> int | None:
    count = len(form)
    newest = form[-(count // 3) :]
    if count < 3 or newest[-1] < 0:
        return None
    # The rarest form comes once in a cycle, or a few times: there are not many lengths to try.
    counts = np.bincount(newest[newest >= 0])
    counts[counts == 0] = count
    rare = np.flatnonzero(form == np.argmin(counts))[::-1]
    for length in (rare[0] - rare[1 : _CANDIDATES + 1]).tolist():
        if length > LONGEST or 3 * length > count:
            return None
        same = form[length:] == form[:-length]
        if same[-2 * length :].all() and same[-_PROOF:].all():
            return int(length) if (form[-length:] >= 0).all() else None
    return None
