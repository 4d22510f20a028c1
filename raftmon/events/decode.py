"""Event files -> columns of scalars, and the texts, hyper-parameters and session starts between them.

There are three ways through the bytes, and each gives the same. Where the forms of the records come in cycles, whole
cycles are read at once (`periods`). Elsewhere the records are framed and their forms looked up, all together
(`framing`, `forms`). The few records of a live job, and those of no known form, are read one by one: by their form
where it is known (`single`), else by the protobuf parser (`messages`). Whatever its form does not explain to the last
bit of its checksum ends up there, so that the fast ways can be left at any record.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.assemble import form_batch, mixed_batch
from raftmon.events.columns import ScalarBatch
from raftmon.events.crc import masked_crc32c_many
from raftmon.events.forms import FORMS, Heads
from raftmon.events.found import Collector, Decoded
from raftmon.events.framing import HEADER_BYTES, OVERHEAD_BYTES, Framer, HeaderFinder, read_header
from raftmon.events.messages import Message
from raftmon.events.periods import Cycle, find_cycle
from raftmon.events.records import UNCHECKED_BYTES, Records
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.events.block import Block
    from raftmon.events.columns import Ints

__all__ = ["Decoder", "Progress"]

_FEW_BYTES: Final = 4096
"""Below this the fixed cost of the array code is more than reading record by record."""
_HEAD_RECORDS: Final = 32
"""Records of a new file that are read one by one: its cycle may be known from another file."""
_DOUBTFUL_RECORDS: Final = 4
"""Records behind damage that are read one by one: what looked like a header may have been none."""
_LEAST_SLICE: Final = 1 << 16
_MOST_SLICE: Final = 1 << 20
"""Bytes that are framed at a time while a cycle is looked for; more each time that there is none."""
_WORTHWHILE: Final = 512
"""A cycle that ends after fewer points was not worth the attempt."""
_MOST_RETURNS: Final = 100
"""So often in one file is a damaged record searched for others inside; one could be made to want it for ever."""
_MOST_FAILURES: Final = 6
"""After so many such attempts in a row, only one in 2**6 slices is looked at for a cycle."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a decoder came."""

    end: int
    """Offset in the block from which to go on. Negative after damage that began before the block."""
    needed: int
    """Bytes from `end` on without which a further call finds nothing."""
    damaged: int | None = None
    """Offset of the last damaged header, or data of a record; None if there was none."""


class _Halt(enum.Enum):
    """Why a way through the bytes ended."""

    CHANGE = "another way goes on from here"
    WAIT = "bytes are missing"
    DAMAGE = "no record begins here"


_Walked: TypeAlias = tuple[int, int, _Halt]
"""Offset behind the last record that is done with, bytes that are needed from there on, why it ended."""


class Decoder:
    """Decodes one event file, in file order.

    Attributes:
        searching: whether the next intact record is being looked for.
    """

    def __init__(self) -> None:
        self.searching = False
        self._lost = 0
        self._returns = _MOST_RETURNS
        self._found = Collector()
        self._records = Records(self._found)
        self._forget_forms()
        self._head = _HEAD_RECORDS
        self._doubtful = 0
        self._begun: list[int] = []
        self._framer = Framer()

    def _forget_forms(self) -> None:
        self._generation = FORMS.generation
        self._records.forget_forms()
        self._begun = [-1]
        self._cycle: Cycle | None = None
        self._slice = _LEAST_SLICE
        self._failures = self._pause = 0

    @property
    def bad(self) -> int:
        """Damaged or invalid records so far; a stretch in which no record can be told counts as one."""
        return self._records.bad + self._lost

    def take(self) -> Decoded:
        """Hand over what was decoded since the last call."""
        return self._found.take()

    def feed(self, block: Block, size: int, *, last: bool) -> Progress:
        """Decode what is in a block.

        Args:
            block: its content begins where the last call said.
            size: bytes of content.
            last: whether there are no further bytes for now; else some may be left for the next block.
        """
        with FORMS.lock:
            if self._generation is not FORMS.generation:
                self._forget_forms()
            return self._feed(block, size, last)

    def _feed(self, block: Block, size: int, last: bool) -> Progress:
        self._records.damaged_at = None
        end, needed = self._read_on(block, size, last)
        return Progress(end, needed, self._records.damaged_at)

    def _read_on(self, block: Block, size: int, last: bool) -> tuple[int, int]:
        at, headers = 0, HeaderFinder(block, size)
        while True:
            if self.searching:
                found = headers.first(at)
                if found is None:
                    return max(at, size - HEADER_BYTES + 1), HEADER_BYTES
                at, self.searching, self._doubtful = found, False, _DOUBTFUL_RECORDS
            at, needed, halt = self._walk(block, at, size, last)
            if halt is _Halt.WAIT:
                return at, needed
            if halt is _Halt.DAMAGE:
                self._lost += 1
                self.searching, self._records.damaged_at = True, at
                at += 1
                if self._records.suspect and self._returns:
                    # Where bytes were lost, the record before it ends inside another one.
                    at -= self._records.suspect
                    self._returns -= 1
                self._records.suspect = 0
                if at < 0:
                    return at, HEADER_BYTES

    def _walk(self, block: Block, at: int, size: int, last: bool) -> _Walked:
        """Take the best way through the next bytes."""
        left = size - at
        if self._cycle is not None:
            if left >= self._cycle.size:
                return self._by_cycles(block, at, size, self._cycle)
            if not last and at:
                return at, HEADER_BYTES, _Halt.WAIT
        if self._head or self._doubtful or left < _FEW_BYTES:
            if not last and at and not self._head and not self._doubtful:
                return at, HEADER_BYTES, _Halt.WAIT
            return self._one_by_one(block, at, size)
        return self._in_columns(block, at, size)

    def _by_cycles(self, block: Block, at: int, size: int, cycle: Cycle) -> _Walked:
        rows = cycle.read(block, at, size)
        end = at if rows is None else rows.end
        if rows is not None:
            self._found.add_batch(ScalarBatch(cycle.tags, cycle.tag_id, rows.step, rows.wall_time, rows.value))
            self._records.suspect = 0
        if size - end < cycle.size:
            self._failures = 0
        else:
            self._cycle = None
            worthwhile = rows is not None and rows.value.size >= _WORTHWHILE
            self._failures = 0 if worthwhile else min(self._failures + 1, _MOST_FAILURES)
            self._pause = (1 << self._failures) - 1
            self._slice = _LEAST_SLICE if worthwhile else _MOST_SLICE
        return end, HEADER_BYTES, _Halt.CHANGE

    def _one_by_one(self, block: Block, at: int, size: int) -> _Walked:
        if self._head == _HEAD_RECORDS:
            at = self._by_prologue(block, at, size)
            if self._cycle is not None:
                return at, HEADER_BYTES, _Halt.CHANGE
        while at + HEADER_BYTES <= size:
            known = self._records.known(block, at, size)
            if known is not None and self._head and self._begins_cycle(known[0], block, at, size):
                return at, HEADER_BYTES, _Halt.CHANGE
            if known is not None and self._records.read(known[1], known[2]):
                at += len(known[2])
            else:
                header = read_header(block.data, at)
                if header is None:
                    return at, HEADER_BYTES, _Halt.DAMAGE
                if at + header > size:
                    return self._wait(block, at, header, size)
                self._records.parse(block, at, header)
                if self._generation is not FORMS.generation:
                    self._forget_forms()
                at += header
            if (self._head or self._doubtful) and self._count_down(-1 if known is None else known[0]):
                return at, HEADER_BYTES, _Halt.CHANGE
        return at, HEADER_BYTES, _Halt.WAIT

    def _count_down(self, form: int) -> bool:
        """Count a record that had to be read by itself; returns whether the next ones need not."""
        if self._doubtful:
            self._doubtful -= 1
        if self._head:
            self._begun.append(form)
            self._head -= 1
        return not self._head and not self._doubtful

    def _wait(self, block: Block, at: int, length: int, size: int) -> _Walked:
        """Leave an incomplete record for later, or pass over it."""
        if self._records.may_skip(block, at, length, size):
            return at + length, HEADER_BYTES, _Halt.WAIT
        return at, length, _Halt.WAIT

    def _by_prologue(self, block: Block, at: int, size: int) -> int:
        """Read the records with which another file of this make began, if they are the same; returns where they end."""
        prologue = FORMS.prologues.get(int.from_bytes(block.data[at : at + 8], "little"))
        if prologue is None or at + prologue.size > size:
            return at
        batch = prologue.read(block, at)
        if batch is None:
            return at
        if not prologue.is_plain and not all(
            self._records.admits(form, name_plugins=True) for form in prologue.numbers
        ):
            return at
        self._found.add_batch(batch)
        self._begun += prologue.numbers
        self._head -= len(prologue.numbers)
        at += prologue.size
        if prologue.cycle is not None and self._goes_on_with(prologue.cycle, block, at, size):
            self._cycle, self._head = prologue.cycle, 0
        return at

    def _begins_cycle(self, number: int, block: Block, at: int, size: int) -> bool:
        cycle = FORMS.cycles.get(number)
        if cycle is None or not self._goes_on_with(cycle, block, at, size):
            return False
        FORMS.add_prologue(self._begun, cycle)
        self._cycle, self._head = cycle, 0
        return True

    def _goes_on_with(self, cycle: Cycle, block: Block, at: int, size: int) -> bool:
        if size - at < _FEW_BYTES or not cycle.begins_at(block, at, size):
            return False
        return cycle.is_plain or all(self._records.admits(form, name_plugins=False) for form in cycle.numbers)

    def _in_columns(self, block: Block, at: int, size: int) -> _Walked:
        """Read the records of a slice together, and look whether their forms come in cycles."""
        frames = self._framer.frame(block, at, min(at + self._slice, size), size)
        ending = _Halt.DAMAGE if frames.damaged else _Halt.CHANGE
        if not len(frames.starts):
            if frames.damaged or frames.needed == HEADER_BYTES:
                return at, HEADER_BYTES, _Halt.DAMAGE if frames.damaged else _Halt.WAIT
            return self._wait(block, at, frames.needed, size)
        heads = FORMS.match(block, frames.starts, frames.sizes)
        if self._generation is not FORMS.generation:
            self._forget_forms()
        self._refuse(heads.form)
        begin = self._new_cycle(heads)
        if begin is not None and begin > 0:
            self._read_columns(block, heads.part(slice(begin)))
            return int(heads.starts[begin]), HEADER_BYTES, _Halt.CHANGE
        self._read_columns(block, heads)
        return frames.end, frames.needed, ending

    def _refuse(self, form: Ints) -> None:
        """Set the forms that are not (yet) known to be scalars in this file to -1."""
        for number in np.flatnonzero(np.bincount(form[form >= 0])).tolist():
            if not self._records.admits(number, name_plugins=False):
                form[form == number] = -1

    def _new_cycle(self, heads: Heads) -> int | None:
        """Look for a cycle; returns the index of a record that begins one."""
        if self._pause:
            self._pause -= 1
            return None
        found = find_cycle(heads.form, heads.step)
        if found is None:
            self._slice = min(2 * self._slice, _MOST_SLICE)
            return None
        length, begin = found
        last = len(heads.form) - length
        ring = np.concatenate([heads.form[begin:], heads.form[last:begin]]).tolist()
        self._cycle = FORMS.cycle(ring)
        return begin if self._cycle is not None else None

    def _read_columns(self, block: Block, heads: Heads) -> None:
        """Read records of any form."""
        single = FORMS.is_single[heads.form] & (heads.form >= 0)
        rows = np.flatnonzero(single)
        points = FORMS.read(block, heads if len(rows) == len(single) else heads.part(rows))
        if len(rows) == len(single) and points.intact.all():
            self._records.suspect = 0
            self._found.add_batch(form_batch(heads.form, points))
            return
        others = np.ones(len(single), bool)
        others[rows[points.intact]] = False
        messages = self._read_others(block, heads, np.flatnonzero(others))
        rows = rows[points.intact]
        scalars = 0
        for row, message in messages:
            self._found.add_message(message, before=int(np.searchsorted(rows, row)) + scalars)
            scalars += len(message.scalars)
        self._found.add_batch(mixed_batch(heads.form[rows], points.part(points.intact), rows, messages))

    def _read_others(self, block: Block, heads: Heads, rows: Ints) -> list[tuple[int, Message]]:
        """Parse some of the records; returns the row and the content of each that is intact."""
        starts, sizes = heads.starts[rows], heads.sizes[rows]
        short = np.flatnonzero(sizes <= UNCHECKED_BYTES)
        data, lengths = starts[short] + HEADER_BYTES, sizes[short] - OVERHEAD_BYTES
        right = masked_crc32c_many(block.bytes, data, lengths) == block.halves[data + lengths]
        intact: dict[int, bool] = dict(zip(short.tolist(), right.tolist(), strict=True))
        found = []
        for place, (row, start, size) in enumerate(zip(rows.tolist(), starts.tolist(), sizes.tolist(), strict=True)):
            message = self._records.read_message(block, start, size, intact.get(place))
            if message is not None:
                found.append((row, message))
        if not len(rows) or rows[-1] < len(heads.form) - 1:
            self._records.suspect = 0
        return found
