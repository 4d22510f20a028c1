"""Which of the known kinds each of thousands of records is of: looked up at once, and compared to the last byte.

To look at one word of each record costs ten times what it costs to compute with it, so the words are copied out in two
pieces: the front of the record, from where the wall time falls on a whole word, and its last sixteen bytes::

    0        5     8     12 13        21 22    22+k              n-16             n-8    n-4
    length   |     crc   09 | wall    | 10 step | 2a S 0a V 0a T | tag... 15      | f    | crc     simple_value
             front[0]      [1]       [2]       [3]...             tail[0]          tail[1]

What is the same in all records of a kind is compared in the front, which reaches to the end of the longest of them, up
to `COMPARED_BYTES`. A kind is looked for by its size and by two words that are the same in nearly all kinds of scalars:
``front[3]`` and ``tail[0]``. Where they are not, or two tags differ only elsewhere, a hash of the whole tag tells.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.block import KEPT_BITS
from raftmon.events.wire import MAX_FORM_BYTES, STEP_AT, WALL_AT, Form
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.events.block import Block, Ints, Words

    Bools: TypeAlias = NDArray[np.bool_]

__all__ = ["COMPARED_BYTES", "NARROW_BYTES", "UNKNOWN", "Extract", "KindTable", "extract", "tag_hash"]

UNKNOWN: Final = -1
"""The number that stands for no known kind."""

_FRONT_AT: Final = WALL_AT - 8
_KEY_AT: Final = _FRONT_AT + 3 * 8
_TAIL_BYTES: Final = 16
_CHECKSUM_BYTES: Final = 4
_LEAST_WORDS: Final = 4
_NARROW_WORDS: Final = 16
_WIDE_WORDS: Final = 63
NARROW_BYTES: Final = _FRONT_AT + 8 * _NARROW_WORDS + _CHECKSUM_BYTES
"""Longer records are better looked at apart from others, as all fronts are as long as the longest one."""
COMPARED_BYTES: Final = _FRONT_AT + 8 * _WIDE_WORDS + _CHECKSUM_BYTES
"""Longer records, as those of several values, are told by the hash of their tag alone: enough to see a cycle in them,
too little to read them in columns."""

_TOGETHER: Final = 1 << 15
"""Words that are compared at a time: no more than the caches hold."""
_SLOTS_LOG2: Final = 17
_PROBES: Final = 4
_SECOND_BYTES: Final = (15, 31, 47)
"""Bits of the word with which a summary begins that say of a length that it goes on: summary, value, tag."""
_FACTORS: Final = np.frombuffer(os.urandom(MAX_FORM_BYTES), np.uint64) | np.uint64(1)
_SIZE_FACTOR, _KEY_FACTOR, _TAIL_FACTOR = (
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)


@dataclass(frozen=True, slots=True, eq=False)
class Extract:
    """Words of some records."""

    starts: Ints
    """Offset of each record in its block, shape ``[n]``."""
    sizes: Ints
    """Its bytes, header and checksum included."""
    front: Words
    """Shape ``[n, words]``: the words from its fifth byte on, see the picture; behind its end is anything."""
    tail: Words
    """Shape ``[n, 2]``: its last sixteen bytes."""

    def part(self, rows: Ints) -> Extract:
        """Return some of the records."""
        return Extract(self.starts[rows], self.sizes[rows], self.front[rows], self.tail[rows])


def extract(block: Block, starts: Ints, sizes: Ints) -> Extract:
    """Copy out what the kinds of records are told by.

    Args:
        block: where the records lie.
        starts: offset of each, shape ``[n]``, n > 0.
        sizes: its bytes, at least 16. Of those beyond `COMPARED_BYTES` not all is copied.
    """
    words = -(-(int(sizes.max()) - _FRONT_AT - _CHECKSUM_BYTES) // 8)
    front = block.gather(starts + _FRONT_AT, min(max(words, _LEAST_WORDS), _WIDE_WORDS))
    return Extract(starts, sizes, front, block.gather(starts + sizes - _TAIL_BYTES, _TAIL_BYTES // 8))


class KindTable:
    """Kinds by number.

    Args:
        capacity: numbers that there may be.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Numbers from 1 on: memory of zeros costs nothing until it is used.
        self._slots = np.zeros((1 << _SLOTS_LOG2) + _PROBES, np.int64)
        self._key = np.zeros(capacity, np.uint64)
        # By words of the widest kind in them: what is the same in all records of a kind, and where.
        self._constants = {_NARROW_WORDS: self._room(_NARROW_WORDS)}

    def find(self, block: Block, records: Extract) -> Ints:
        """Return the number of the kind of each record, `UNKNOWN` where it is new."""
        number = self._probe(records, _key(records), None)
        left = np.flatnonzero(number == UNKNOWN)
        if len(left):
            part = records.part(left)
            key = tag_hash(block, part)
            number[left] = self._probe(part, key, key)
        return number

    def add(self, block: Block, record: Extract, number: int, form: Form | None) -> bool:
        """Add a kind; returns False if there is no room among its likes.

        Args:
            block: where a record of this kind lies.
            record: that one.
            number: its number.
            form: what is compared; None: nothing, the hash of the tag tells the kind.
        """
        key = _key(record)
        slot = _slot(key)[0]
        near = self._slots[slot : slot + _PROBES]
        by_words = form is not None and _has_key(form) and not (self._key[near[near > 0] - 1] == key).any()
        if not by_words:
            key = tag_hash(block, record)
            slot = _slot(key)[0]
        free = next((slot + probe for probe in range(_PROBES) if not self._slots[slot + probe]), None)
        if free is None:
            return False
        self._slots[free] = number + 1
        self._key[number] = key[0]
        if form is not None:
            words = _WIDE_WORDS if len(form.constant) > NARROW_BYTES else _NARROW_WORDS
            for kept, source in zip(self._room_for(words), (form.constant, form.mask), strict=True):
                data = source[_FRONT_AT : len(source) - _CHECKSUM_BYTES]
                kept[number] = np.frombuffer(data.ljust(8 * words, b"\0"), np.uint64)
        return True

    def _room(self, words: int) -> tuple[Words, Words]:
        return np.zeros((self._capacity, words), np.uint64), np.zeros((self._capacity, words), np.uint64)

    def _room_for(self, words: int) -> tuple[Words, Words]:
        if words not in self._constants:
            self._constants[words] = self._room(words)
        return self._constants[words]

    def _probe(self, records: Extract, key: Words, hashed: Words | None) -> Ints:
        """Look at some slots in a row for each record.

        Args:
            records: which.
            key: by which the first slot is told.
            hashed: what the key of a kind must be, too; None: its words are compared in any case.
        """
        slot = _slot(key)
        number = self._slots[slot] - 1
        same = self._is_same(records, number, hashed)
        for probe in range(1, _PROBES):
            if same.all():
                return number
            # Another kind may sit in the slot of this one.
            left = np.flatnonzero(~same & (number != UNKNOWN))
            if not len(left):
                break
            number[left] = self._slots[slot[left] + probe] - 1
            same[left] = self._is_same(records.part(left), number[left], None if hashed is None else hashed[left])
        number[~same] = UNKNOWN
        return number

    def _is_same(self, records: Extract, number: Ints, hashed: Words | None) -> Bools:
        """Tell which records have the constant words of the kinds with these numbers."""
        same: Bools = number != UNKNOWN
        if hashed is not None:
            same &= self._key[number] == hashed
        words = records.front.shape[1]
        room = self._constants.get(_NARROW_WORDS if words <= _NARROW_WORDS else _WIDE_WORDS)
        if room is None:
            return same if hashed is not None else np.zeros(len(same), bool)
        together = _TOGETHER // words
        for begin in range(0, len(number), together):
            rows = slice(begin, begin + together)
            constant, mask = (_rows(table, number[rows], words) for table in room)
            constant ^= records.front[rows]
            constant &= mask
            if np.bitwise_or.reduce(constant.ravel()):
                same[rows] &= ~constant.any(axis=1)
            if hashed is None:
                # A kind that is not compared has no words here.
                same[rows] &= mask[:, 0] != 0
        return same


def _rows(table: Words, number: Ints, words: int) -> Words:
    """Return the first words of some rows of a table, shape ``[n, words]``."""
    items = np.ndarray(len(table), f"V{8 * words}", table, strides=table.strides[:1])
    return items[number].view(np.uint64).reshape(len(number), words)


def _has_key(form: Form) -> bool:
    """Tell whether the words by which a kind is looked for first are constant in a form."""
    size = len(form.constant)
    key = form.mask[_KEY_AT : min(_KEY_AT + 8, size - 8)] + form.mask[size - _TAIL_BYTES : size - 8]
    return set(key) == {0xFF}


def _key(records: Extract) -> Words:
    """Return what a kind is looked for by at first."""
    word = records.front[:, 3]
    if records.sizes.min() < _KEY_AT + 16:
        # Behind the last eight bytes, which hold the value, the next record begins.
        word = word & KEPT_BITS[np.clip(records.sizes - (_KEY_AT + 8), 0, 8)]
    key = word * _KEY_FACTOR
    key += records.tail[:, 0] * _TAIL_FACTOR
    key += records.front[:, 0] * _SIZE_FACTOR
    return key


def _slot(key: Words) -> Ints:
    """Return where in the table the search begins."""
    return (key >> np.uint64(64 - _SLOTS_LOG2)).view(np.int64)


def tag_hash(block: Block, records: Extract) -> Words:
    """Return a hash of the size of each record, of its first tag, and of what lengths stand right before that.

    Args:
        block: where the records lie.
        records: which; for one that is no scalar, the hash is one of other bytes.
    """
    at, size = _tags(block, records)
    count = (size + 7) // 8
    begin = np.cumsum(count) - count
    place = np.arange(int(begin[-1] + count[-1])) - np.repeat(begin, count)
    # The last word ends with the tag.
    offset = np.minimum(8 * place, np.repeat(size, count) - 8)
    word = block.words[np.repeat(at, count) + offset]
    word *= _FACTORS[place]
    word ^= word >> np.uint64(32)
    hashed: Words = np.add.reduceat(word, begin)
    hashed += records.front[:, 0]
    # The highest bits tell the slot.
    hashed *= _SIZE_FACTOR
    return hashed


def _tags(block: Block, records: Extract) -> tuple[Ints, Ints]:
    """Return the offset of the lengths before each tag, and how many bytes from there to the one behind the tag."""
    after_wall = records.front[:, 2]
    step_bytes = _varint_bytes(after_wall >> np.uint64(8))
    at = records.starts + np.where(after_wall & np.uint64(0xFF) == 0x10, STEP_AT + step_bytes, STEP_AT - 1)
    first = block.words[at]
    long = np.zeros(1, np.uint64)
    # Lengths from 128 on take two bytes: of the summary, then of the value, then of the tag.
    for bit in _SECOND_BYTES:
        long = (first >> np.uint64(bit)) & np.uint64(1)
        at = at + long.view(np.int64)
        first = block.words[at]
    length = (first >> np.uint64(40)) & np.uint64(0xFF)
    low = (first >> np.uint64(32)) & np.uint64(0x7F)
    size = np.where(long != 0, (length << np.uint64(7)) | low, length).view(np.int64) + 7
    within = (size >= 8) & (at + size <= records.starts + records.sizes)
    return at, np.where(within, size, 8)


def _varint_bytes(raw: Words) -> Ints:
    """Return how long the varints at the begin of words are, as far as seven bytes tell: at most 8."""
    more = (raw >> np.uint64(7)) & np.uint64(1)
    count = more + np.uint64(1)
    for place in range(1, 7):
        more &= raw >> np.uint64(8 * place + 7)
        count += more
    return count.view(np.int64)
