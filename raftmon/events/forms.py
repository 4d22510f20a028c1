"""Every form of record met so far, and which one thousands of records have, worked out at once.

A record is known by its length and by its first tag: the lengths before it and its first two characters, the eight
bytes up to the one behind its last character, and a hash of those in between. Then the constant bytes behind the value
are compared; and the checksum, computed from the constants of the form and the few bytes that vary, must be the one in
the file. What fails in any of this is looked at by the protobuf parser.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.block import varint_values, widened
from raftmon.events.crc import MASK_DELTA, MAX_DISTANCE, add_bytes, add_time_and_step, masked_crc32c
from raftmon.events.kinds import SLOTS, Kinds, kinds_of, rest_of
from raftmon.events.periods import Cycle
from raftmon.events.prologue import Prologue
from raftmon.events.single import Single
from raftmon.events.wire import MAX_FORM_BYTES, MAX_STEP_BYTES, WALL_AT, Form, read_form
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.events.block import Block

    Bools: TypeAlias = NDArray[np.bool_]
    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]
    Words: TypeAlias = NDArray[np.uint64]

__all__ = ["FORMS", "FormTable", "Heads", "Points"]

MAX_FORMS: Final = 16384
"""Forms that are kept; a form takes about three kilobytes. When there are more, all are forgotten and learnt again."""
MAX_CYCLES: Final = 64
"""Cycles that are kept for other files; each takes three times its bytes."""
LIKES: Final = 4
"""So many records of a kind make it worth a form."""
_EXAMPLES: Final = 64
"""New kinds that are read in one round."""
_ROUNDS: Final = 32
_PROBES: Final = 4
_UNKNOWN: Final = -1
_MOST_REST: Final = 8
"""Words that are compared beside those by which a kind is told."""
_KEPT_BITS: Final = np.array([(1 << (8 * count)) - 1 for count in range(8)] + [(1 << 64) - 1], np.uint64)
"""Masks that keep the lowest 0 to 8 bytes of a word."""


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """What the columns of records say before their values are looked at; each of shape ``[n]``."""

    starts: Ints
    """Offset of each record in its block."""
    sizes: Ints
    """Its bytes, header and checksum included."""
    step: Words
    """The bytes of its step, as a little-endian word."""
    step_bytes: Ints
    """How many these are; 0 without a step."""
    form: Ints
    """Number of its form; -1: not known, or of no form."""

    def part(self, rows: Ints | slice) -> Heads:
        """Return some of the records."""
        return Heads(self.starts[rows], self.sizes[rows], self.step[rows], self.step_bytes[rows], self.form[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """The scalar of each record of shape ``[n]``, one a record."""

    step: Ints
    wall_time: Floats
    value: Floats
    intact: Bools
    """Whether the record is what its form says and its checksum is right; the other columns mean nothing elsewhere."""

    def part(self, rows: Bools) -> Points:
        """Return some of the points."""
        return Points(self.step[rows], self.wall_time[rows], self.value[rows], self.intact[rows])


class FormTable:
    """Forms, and the columns by which records are matched with them. Serves all files of a process.

    Attributes:
        lock: held by whoever reads with it, as another thread might forget everything meanwhile.
        generation: another object each time that everything was forgotten: numbers of forms mean others then.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.generation = object()
        self.forms: list[Form | None] = []
        """By number; None: a kind of record that has no form."""
        self.singles: dict[int, dict[int, dict[int, tuple[int, Single]]]] = {}
        """By length of the record, mask, and constant bytes (both as one number): number and reader of each form."""
        self.prologues: dict[int, Prologue] = {}
        """By length of the first record's data: the newest one that begins so."""
        self.cycles: dict[int, Cycle] = {}
        """By the number of its first form: the newest cycle that begins with it."""
        # Numbers from 1 on: memory of zeros costs nothing until it is used.
        self._slots = np.zeros(SLOTS + _PROBES, np.int64)
        self._first = np.zeros(MAX_FORMS, np.uint64)
        self._last = np.zeros(MAX_FORMS, np.uint64)
        self._middle = np.zeros(MAX_FORMS, np.uint64)
        self._size = np.zeros(MAX_FORMS, np.int64)
        self._step_bytes = np.zeros(MAX_FORMS, np.int64)
        self._is_form = np.zeros(MAX_FORMS + 1, bool)
        # Of forms with one value:
        self.is_single = np.zeros(MAX_FORMS, bool)
        self._value_at = np.zeros(MAX_FORMS, np.int64)
        self._is_wide = np.zeros(MAX_FORMS, bool)
        self._constant = np.zeros(MAX_FORMS, np.uint32)
        self._rest_count = np.zeros(MAX_FORMS, np.int64)
        self._rest_at = np.zeros((_MOST_REST, MAX_FORMS), np.int64)
        self._rest_word = np.zeros((_MOST_REST, MAX_FORMS), np.uint64)

    def match(self, block: Block, starts: Ints, sizes: Ints) -> Heads:
        """Find the forms of records, and learn those that come often.

        Args:
            block: where the records lie.
            starts: offset of each record, shape ``[n]``.
            sizes: its bytes, header and checksum included, shape ``[n]``.
        """
        self._make_room()
        step, kinds = kinds_of(block, starts, sizes)
        usual = (block.bytes[starts + 12] == 0x09) & (kinds.step_bytes <= MAX_STEP_BYTES) & (sizes <= MAX_FORM_BYTES)
        rows = np.flatnonzero(usual)
        number = np.full(len(starts), _UNKNOWN)
        for _ in range(_ROUNDS):
            number[rows] = self._look_up(kinds, rows)
            rows = rows[number[rows] == _UNKNOWN]
            if len(rows) < LIKES or not self._learn(block, starts, kinds, rows):
                break
        number[~self._is_form[number]] = _UNKNOWN
        return Heads(starts, sizes, step, kinds.step_bytes, number)

    def learn(self, block: Block, start: int, size: int) -> bool:
        """Learn the form of one record, whose checksum is right; returns whether it has one."""
        self._make_room()
        form = read_form(bytes(block.data[start : start + size]))
        if form is None:
            return False
        _, kinds = kinds_of(block, np.array([start]), np.array([size]))
        if self._look_up(kinds, np.array([0]))[0] == _UNKNOWN:
            self._add(form, kinds, 0)
        return True

    def cycle(self, numbers: list[int]) -> Cycle | None:
        """Return the cycle of some forms in a row, None if it cannot be read as one."""
        known = self.cycles.get(numbers[0])
        if known is not None and known.numbers == tuple(numbers):
            return known
        try:
            cycle = Cycle([form for number in numbers if (form := self.forms[number]) is not None], numbers)
        except ValueError:
            return None
        if len(self.cycles) >= MAX_CYCLES:
            self.cycles.pop(next(iter(self.cycles)))
        self.cycles[numbers[0]] = cycle
        return cycle

    def add_prologue(self, numbers: list[int]) -> None:
        """Note the forms of the records that a file had before its cycle; -1 stands for a record without a form."""
        if len(numbers) < LIKES or min(numbers) < 0:
            return
        forms = [form for number in numbers if (form := self.forms[number]) is not None]
        length = int.from_bytes(forms[0].constant[:8], "little")
        known = self.prologues.get(length)
        if known is None or known.numbers != tuple(numbers):
            with contextlib.suppress(ValueError):
                self.prologues[length] = Prologue(forms, numbers)

    def _make_room(self) -> None:
        if len(self.forms) > MAX_FORMS - _EXAMPLES * _ROUNDS:
            self.clear()

    def _look_up(self, kinds: Kinds, rows: Ints) -> Ints:
        """Return the number of the kind of each of the rows, -1 where it is new."""
        slot = kinds.slot[rows]
        number = self._slots[slot] - 1
        same = self._is_same(kinds, rows, number)
        for probe in range(1, _PROBES):
            # Another kind may sit in the slot of this one.
            left = np.flatnonzero(~same & (number != _UNKNOWN))
            if not len(left):
                break
            number[left] = self._slots[slot[left] + probe] - 1
            same[left] = self._is_same(kinds, rows[left], number[left])
        number[~same] = _UNKNOWN
        return number

    def _is_same(self, kinds: Kinds, rows: Ints, number: Ints) -> Bools:
        same: Bools = self._first[number] == kinds.first[rows]
        same &= self._last[number] == kinds.last[rows]
        same &= self._middle[number] == kinds.middle[rows]
        same &= self._size[number] == kinds.size[rows]
        same &= self._step_bytes[number] == kinds.step_bytes[rows]
        same &= number >= 0
        return same

    def _learn(self, block: Block, starts: Ints, kinds: Kinds, rows: Ints) -> bool:
        """Read the form of one record of each frequent new kind; returns whether any was learnt."""
        _, first_row, counts = np.unique(kinds.slot[rows], return_index=True, return_counts=True)
        known = len(self.forms)
        for row in rows[first_row[counts >= LIKES][:_EXAMPLES]].tolist():
            start, size = int(starts[row]), int(kinds.size[row])
            record = bytes(block.data[start : start + size])
            if masked_crc32c(record[12:-4]) == int.from_bytes(record[-4:], "little"):
                self._add(read_form(record), kinds, row)
        return len(self.forms) > known

    def _add(self, form: Form | None, kinds: Kinds, row: int) -> None:
        slot = int(kinds.slot[row])
        free = next((slot + probe for probe in range(_PROBES) if not self._slots[slot + probe]), None)
        if free is None:
            return
        number = len(self.forms)
        self._slots[free] = number + 1
        self.forms.append(form)
        self._first[number], self._last[number] = kinds.first[row], kinds.last[row]
        self._middle[number] = kinds.middle[row]
        size = int(kinds.size[row])
        self._size[number], self._step_bytes[number] = size, kinds.step_bytes[row]
        if form is None:
            return
        self._is_form[number] = True
        mask, constant = int.from_bytes(form.mask, "little"), int.from_bytes(form.constant, "little")
        by_constant = self.singles.setdefault(size, {}).setdefault(mask, {})
        by_constant[constant] = number, Single(form)
        rest = rest_of(form) if len(form.places) == 1 and len(form.constant) <= MAX_DISTANCE else None
        if rest is not None and len(rest) <= _MOST_REST:
            self.is_single[number] = True
            self._value_at[number] = form.places[0].offset
            self._is_wide[number] = form.places[0].wide
            self._constant[number] = form.checksum
            self._rest_count[number] = len(rest)
            for place, (at, word) in enumerate(rest):
                self._rest_at[place, number], self._rest_word[place, number] = at, word

    def read(self, block: Block, heads: Heads) -> Points:
        """Read the scalars of records whose forms are all single."""
        starts, sizes, number = heads.starts, heads.sizes, heads.form
        wall_time = block.words[starts + WALL_AT]
        value_at = self._value_at[number]
        raw = block.words[starts + value_at]
        wide = self._is_wide[number]
        value, value_bytes = _values(raw, wide)
        residue = block.halves[starts + sizes - 4] - np.uint32(MASK_DELTA)
        residue ^= self._constant[number]
        to_end = sizes - 5
        add_time_and_step(residue, wall_time, heads.step, to_end)
        add_bytes(residue, raw, value_bytes, to_end - value_at)
        intact = residue == 0
        self._compare_rest(block, heads, intact)
        return Points(varint_values(heads.step), wall_time.view(np.float64), value, intact)

    def _compare_rest(self, block: Block, heads: Heads, intact: Bools) -> None:
        """Set `intact` to False where a byte is not that of the form."""
        starts, form, count = heads.starts, heads.form, self._rest_count[heads.form]
        rows = None
        for place in range(int(count.max(initial=0))):
            more = count > place
            if not more.all():
                left = np.flatnonzero(more)
                rows = left if rows is None else rows[left]
                starts, form, count = starts[left], form[left], count[left]
            same = block.words[starts + self._rest_at[place][form]] == self._rest_word[place][form]
            if not same.all():
                intact[np.flatnonzero(~same) if rows is None else rows[~same]] = False


def _values(raw: Words, wide: Bools) -> tuple[Floats, int]:
    """Return the values that begin the words, and how many of their bytes count; those that do not are set to zero."""
    if wide.all():
        return raw.view(np.float64), 8
    if not wide.any():
        raw &= _KEPT_BITS[4]
        return widened(raw.astype(np.uint32).view(np.float32)), 4
    raw &= _KEPT_BITS[np.where(wide, 8, 4)]
    narrow = widened(raw.astype(np.uint32).view(np.float32))
    return np.where(wide, raw.view(np.float64), narrow), 8


FORMS: Final = FormTable()
"""The forms that this process has met."""
