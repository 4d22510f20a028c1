"""Every form of record met so far, and which one thousands of records have, worked out at once.

The form of a record is found by what its columns show (`kinds`), and its constant bytes are compared. Then the
checksum, computed from the constants of the form and the few bytes that vary, must be the one in the file. What fails
in any of this is looked at by the protobuf parser.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.block import KEPT_BITS, varint_values, widened
from raftmon.events.crc import CARRIED_AT, CARRIED_STEP_BYTES, MASK_DELTA, add_bytes, time_and_step
from raftmon.events.framing import HEADER_BYTES, is_intact
from raftmon.events.kinds import COMPARED_BYTES, NARROW_BYTES, UNKNOWN, Extract, KindTable, extract, tag_hash
from raftmon.events.periods import Cycle
from raftmon.events.prologue import Prologue
from raftmon.events.single import Single
from raftmon.events.wire import MAX_FORM_BYTES, MAX_STEP_BYTES, Form, read_form
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
"""Forms that there is room for; a form takes about three kilobytes. When it is nearly used up, all are forgotten and
learnt again."""
MAX_CYCLES: Final = 64
"""Cycles that are kept for other files; each takes three times its bytes."""
LIKES: Final = 4
"""So many records of a kind make it worth a form."""
_EXAMPLES: Final = 64
"""New kinds that are read in one round."""
_ROUNDS: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """What the columns of records say before their values are looked at; each of shape ``[n]``."""

    starts: Ints
    """Offset of each record in its block."""
    sizes: Ints
    """Its bytes, header and checksum included."""
    wall_time: Words
    """The bits of its wall time."""
    step: Words
    """The bytes of its step, as a little-endian word; 0: none, or a record that has no form."""
    ending: Words
    """Its last eight bytes: mostly a value, and the checksum."""
    form: Ints
    """Number of its form; -1: not known, or of no form."""

    def set(self, rows: Ints, heads: Heads) -> None:
        """Set some of the records."""
        for mine, other in (
            (self.wall_time, heads.wall_time),
            (self.step, heads.step),
            (self.ending, heads.ending),
            (self.form, heads.form),
        ):
            mine[rows] = other

    def part(self, rows: Ints | slice) -> Heads:
        """Return some of the records."""
        columns = self.wall_time[rows], self.step[rows], self.ending[rows]
        return Heads(self.starts[rows], self.sizes[rows], *columns, self.form[rows])


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
        self._kinds = KindTable(MAX_FORMS)
        self._has_form = np.zeros(MAX_FORMS + 1, bool)
        self._step_mask = np.zeros(MAX_FORMS + 1, np.uint64)
        # Of forms with one value:
        self.is_single = np.zeros(MAX_FORMS, bool)
        self._value_at = np.zeros(MAX_FORMS, np.int64)
        self._is_wide = np.zeros(MAX_FORMS, bool)
        self._constant = np.zeros(MAX_FORMS, np.uint32)

    def match(self, block: Block, starts: Ints, sizes: Ints) -> Heads:
        """Find the forms of records, and learn those that come often.

        Args:
            block: where the records lie.
            starts: offset of each record, shape ``[n]``.
            sizes: its bytes, header and checksum included, shape ``[n]``.
        """
        self._make_room()
        usual = (block.bytes[starts + 12] == 0x09) & (sizes <= MAX_FORM_BYTES)
        narrow = usual & (sizes <= NARROW_BYTES)
        if narrow.all():
            return self._match(block, starts, sizes)
        unknown = np.zeros(len(starts), np.uint64)
        heads = Heads(starts, sizes, unknown, unknown.copy(), unknown.copy(), np.full(len(starts), UNKNOWN))
        for group in (narrow, usual & ~narrow):
            rows = np.flatnonzero(group)
            if len(rows):
                heads.set(rows, self._match(block, starts[rows], sizes[rows]))
        return heads

    def _match(self, block: Block, starts: Ints, sizes: Ints) -> Heads:
        records = extract(block, starts, sizes)
        number = self._kinds.find(block, records)
        for _ in range(_ROUNDS):
            rows = np.flatnonzero(number == UNKNOWN)
            if len(rows) < LIKES or not self._learn(block, records, rows):
                break
            number[rows] = self._kinds.find(block, records.part(rows))
        number[~self._has_form[number]] = UNKNOWN
        step = records.front[:, 2] >> np.uint64(8)
        step &= self._step_mask[number]
        return Heads(starts, sizes, records.front[:, 1].copy(), step, records.tail[:, 1].copy(), number)

    def learn(self, block: Block, start: int, size: int) -> bool:
        """Learn the form of one record, whose checksum is right; returns whether it has one."""
        self._make_room()
        form = read_form(bytes(block.data[start : start + size]))
        if form is None:
            return False
        mask, constant = _as_numbers(form)
        if constant not in self.singles.get(size, {}).get(mask, {}):
            self._add(form, block, extract(block, np.array([start]), np.array([size])))
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

    def add_prologue(self, numbers: list[int], cycle: Cycle) -> None:
        """Note the forms of the records that a file had before a cycle; -1 stands for a record without a form."""
        if len(numbers) < LIKES or min(numbers) < 0:
            return
        first = self.forms[numbers[0]]
        length = int.from_bytes(first.constant[:8], "little") if first is not None else 0
        known = self.prologues.get(length)
        if known is None or known.numbers != tuple(numbers):
            forms = [form for number in numbers if (form := self.forms[number]) is not None]
            with contextlib.suppress(ValueError):
                known = self.prologues[length] = Prologue(forms, numbers)
        if known is not None and known.numbers == tuple(numbers):
            known.cycle = cycle

    def _make_room(self) -> None:
        if len(self.forms) > MAX_FORMS - _EXAMPLES * _ROUNDS:
            self.clear()

    def _learn(self, block: Block, records: Extract, rows: Ints) -> bool:
        """Read the form of one record of each frequent new kind; returns whether any was learnt."""
        kinds = tag_hash(block, records.part(rows))
        _, first_row, counts = np.unique(kinds, return_index=True, return_counts=True)
        known = len(self.forms)
        for row in rows[first_row[counts >= LIKES][:_EXAMPLES]].tolist():
            start, size = int(records.starts[row]), int(records.sizes[row])
            record = bytes(block.data[start : start + size])
            if is_intact(record):
                self._add(read_form(record), block, records.part(np.array([row])))
        return len(self.forms) > known

    def _add(self, form: Form | None, block: Block, record: Extract) -> None:
        number = len(self.forms)
        single = form is not None and len(form.places) == 1 and len(form.constant) <= COMPARED_BYTES
        if not self._kinds.add(block, record, number, form if single else None):
            return
        self.forms.append(form)
        if form is None:
            return
        self._has_form[number] = True
        self._step_mask[number] = (1 << (8 * form.step_bytes)) - 1
        mask, constant = _as_numbers(form)
        by_constant = self.singles.setdefault(len(form.constant), {}).setdefault(mask, {})
        by_constant[constant] = number, Single(form)
        if single:
            self.is_single[number] = True
            self._value_at[number] = form.places[0].offset
            self._is_wide[number] = form.places[0].wide
            self._constant[number] = form.checksum

    def read(self, block: Block, heads: Heads) -> Points:
        """Read the scalars of records whose forms are all single."""
        number, to_end = heads.form, heads.sizes - 5
        value_at = self._value_at[number]
        wide = self._is_wide[number]
        raw = heads.ending.copy()
        elsewhere = np.flatnonzero(value_at != heads.sizes - 8)
        if len(elsewhere):
            raw[elsewhere] = block.words[heads.starts[elsewhere] + value_at[elsewhere]]
        value, value_bytes = _values(raw, wide)
        residue = (heads.ending >> np.uint64(32)).astype(np.uint32)
        residue -= np.uint32(MASK_DELTA)
        residue ^= self._constant[number]
        carried_to_end = to_end - (HEADER_BYTES + CARRIED_AT)
        add_bytes(residue, time_and_step(heads.wall_time, heads.step), 4, carried_to_end)
        rest = heads.step >> np.uint64(8 * CARRIED_STEP_BYTES)
        if rest.any():
            add_bytes(residue, rest, MAX_STEP_BYTES - CARRIED_STEP_BYTES, carried_to_end)
        add_bytes(residue, raw, value_bytes, to_end - value_at)
        return Points(varint_values(heads.step), heads.wall_time.view(np.float64), value, residue == 0)


def _as_numbers(form: Form) -> tuple[int, int]:
    """Return the mask and the constant bytes of a form, each as one number."""
    return int.from_bytes(form.mask, "little"), int.from_bytes(form.constant, "little")


def _values(raw: Words, wide: Bools) -> tuple[Floats, int]:
    """Return the values that begin the words, and how many of their bytes count; those that do not are set to zero."""
    if wide.all():
        return raw.view(np.float64), 8
    if not wide.any():
        raw &= KEPT_BITS[4]
        return widened(raw.astype(np.uint32).view(np.float32)), 4
    raw &= KEPT_BITS[np.where(wide, 8, 4)]
    narrow = widened(raw.astype(np.uint32).view(np.float32))
    return np.where(wide, raw.view(np.float64), narrow), 8


FORMS: Final = FormTable()
"""The forms that this process has met."""
