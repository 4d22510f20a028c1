"""Which of the known kinds each of thousands of records is of: found at once, and compared to the last byte.

A kind is looked for by what is read of every record: its length, that of its step, and the bytes around its first tag,
which is the lengths before it and its first two characters, and the eight bytes up to the one behind its last
character. Then all other constant bytes of the kind are compared (`rest_of`). Tags that are alike at both ends are told
apart by a hash of what is between, in a second search that most files never need.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.block import KEPT_BITS
from raftmon.events.wire import MAX_FORM_BYTES, MAX_STEP_BYTES, STEP_AT, WALL_AT, Form
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.events.block import Block, Ints, Words

    Bools: TypeAlias = NDArray[np.bool_]

__all__ = ["UNKNOWN", "KindTable", "Kinds", "kinds_of", "rest_of"]

UNKNOWN: Final = -1
"""The number that stands for no known kind."""
MOST_REST: Final = 64
"""Words that are compared beside those by which a kind is looked for."""
_SLOTS_LOG2: Final = 17
_PROBES: Final = 4
_U64: Final = {number: np.uint64(number) for number in (1, 7, 8, 32, 40, 0x10, 0x7F, 0xFF)}
_HASHED: Final = 1 << 32
"""What is added to the shape of kinds that are told by a hash, so that no other one equals them."""
_SECOND_BYTES: Final = (15, 31, 47)
"""Bits of the word with which a summary begins that say of a length that it goes on: summary, value, tag."""
_LONG_BITS: Final = np.uint64(sum(1 << bit for bit in _SECOND_BYTES))
_FACTORS: Final = np.frombuffer(os.urandom(MAX_FORM_BYTES), np.uint64) | np.uint64(1)
_MULTIPLIERS: Final = tuple(
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xBF58476D1CE4E5B9)
)


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """By what the kind of a record is looked for; each of shape ``[n]``."""

    starts: Ints
    """Offset of the record in its block."""
    shape: Ints
    """Its size and the bytes of its step in one number; less than 0: its step is too long for a form."""
    first: Words
    """What the summary begins with: lengths, and the first characters of its first tag."""
    last: Words
    """The last bytes of that tag, and the one behind it."""
    tag_at: Ints
    """Offset of the tag in the block."""
    tag_size: Ints
    """Its bytes; 0: none that may be looked at."""
    middle: Words | None = None
    """Hash of what is between both ends of the tag; None: not looked at."""

    def part(self, rows: Ints) -> Kinds:
        """Return some of the records."""
        middle = None if self.middle is None else self.middle[rows]
        ends = self.first[rows], self.last[rows]
        return Kinds(self.starts[rows], self.shape[rows], *ends, self.tag_at[rows], self.tag_size[rows], middle)

    def hashed(self, block: Block) -> Kinds:
        """Return them as they are told apart when the ends of their tags are alike."""
        middle = _middle_hash(block.words, self.tag_at, self.tag_size)
        return Kinds(self.starts, self.shape + _HASHED, self.first, self.last, self.tag_at, self.tag_size, middle)

    def groups(self) -> Ints:
        """Return a number for each record; those of one kind have the same, others hardly ever."""
        return _slot(self)


class KindTable:
    """Kinds by number.

    Args:
        capacity: numbers that there may be.
    """

    def __init__(self, capacity: int) -> None:
        # Numbers from 1 on: memory of zeros costs nothing until it is used.
        self._slots = np.zeros((1 << _SLOTS_LOG2) + _PROBES, np.int64)
        self._shape = np.zeros(capacity, np.int64)
        self._first = np.zeros(capacity, np.uint64)
        self._last = np.zeros(capacity, np.uint64)
        self._middle = np.zeros(capacity, np.uint64)
        self._rest_count = np.zeros(capacity, np.int64)
        self._rest_at = np.zeros((MOST_REST, capacity), np.int64)
        self._rest_word = np.zeros((MOST_REST, capacity), np.uint64)

    def find(self, block: Block, kinds: Kinds) -> Ints:
        """Return the number of the kind of each record, `UNKNOWN` where it is new."""
        number = self._probe(block, kinds)
        left = np.flatnonzero(number == UNKNOWN)
        if len(left):
            number[left] = self._probe(block, kinds.part(left).hashed(block))
        return number

    def _probe(self, block: Block, kinds: Kinds) -> Ints:
        slot = _slot(kinds)
        number = self._slots[slot] - 1
        same = self._is_same(block, kinds, number)
        for probe in range(1, _PROBES):
            if same.all():
                return number
            # Another kind may sit in the slot of this one.
            left = np.flatnonzero(~same & (number != UNKNOWN))
            if not len(left):
                break
            number[left] = self._slots[slot[left] + probe] - 1
            same[left] = self._is_same(block, kinds.part(left), number[left])
        number[~same] = UNKNOWN
        return number

    def _is_same(self, block: Block, kinds: Kinds, number: Ints) -> Bools:
        same: Bools = self._first[number] == kinds.first
        same &= self._last[number] == kinds.last
        same &= self._shape[number] == kinds.shape
        if kinds.middle is not None:
            same &= self._middle[number] == kinds.middle
        same &= number != UNKNOWN
        rows = None if same.all() else np.flatnonzero(same)
        starts = kinds.starts
        if rows is not None:
            starts, number = starts[rows], number[rows]
        count = self._rest_count[number]
        for place in range(int(count.max(initial=0))):
            more = count > place
            if not more.all():
                left = np.flatnonzero(more)
                rows = left if rows is None else rows[left]
                starts, number, count = starts[left], number[left], count[left]
            equal = block.words[starts + self._rest_at[place][number]] == self._rest_word[place][number]
            if not equal.all():
                same[np.flatnonzero(~equal) if rows is None else rows[~equal]] = False
        return same

    def add(self, block: Block, kinds: Kinds, number: int, rest: Sequence[tuple[int, int]] | None) -> bool:
        """Add a kind; returns False if there is no room among its likes.

        Args:
            block: where a record of this kind lies.
            kinds: the kind, of that one record.
            number: its number.
            rest: the constant bytes that `kinds` does not hold, see `rest_of`; None: they cannot be compared.
        """
        # Of kinds with the same ends the first one is found by these, as long as all of it is compared.
        if rest is None or self._has_like(kinds):
            kinds = kinds.hashed(block)
        slot = int(_slot(kinds)[0])
        free = next((slot + probe for probe in range(_PROBES) if not self._slots[slot + probe]), None)
        if free is None:
            return False
        self._slots[free] = number + 1
        self._shape[number], self._first[number], self._last[number] = kinds.shape[0], kinds.first[0], kinds.last[0]
        self._middle[number] = 0 if kinds.middle is None else kinds.middle[0]
        self._rest_count[number] = len(rest or ())
        for place, (at, word) in enumerate(rest or ()):
            self._rest_at[place, number], self._rest_word[place, number] = at, word
        return True

    def _has_like(self, kinds: Kinds) -> bool:
        slot = int(_slot(kinds)[0])
        near = self._slots[slot : slot + _PROBES]
        number = near[near > 0] - 1
        like = (self._shape[number] == kinds.shape) & (self._first[number] == kinds.first)
        return bool((like & (self._last[number] == kinds.last)).any())


def kinds_of(block: Block, starts: Ints, sizes: Ints) -> tuple[Words, Kinds]:
    """Return the bytes of the steps of records, and what their kinds are looked for by.

    Args:
        block: where the records lie.
        starts: offset of each, shape ``[n]``, n > 0.
        sizes: its bytes, at most `MAX_FORM_BYTES`.
    """
    after_wall = block.words[starts + (WALL_AT + 8)]
    step_bytes = _step_bytes(after_wall)
    step = after_wall >> _U64[8]
    step &= KEPT_BITS[step_bytes]
    at = starts + (WALL_AT + 8 + step_bytes + (step_bytes > 0))
    shape = sizes * 16 + step_bytes
    if step_bytes.max() > MAX_STEP_BYTES:
        shape[np.broadcast_to(step_bytes > MAX_STEP_BYTES, shape.shape)] = -1
    first = block.words[at]
    if (first & _LONG_BITS).any():
        first, at, size = _past_long_lengths(block.words, at, first, starts + sizes)
    else:
        size = ((first >> _U64[40]) & _U64[0xFF]).view(np.int64)
    last = block.words[at + (size - 1)]
    return step, Kinds(starts, shape, first, last, at + 6, size)


def _step_bytes(after_wall: Words) -> Ints:
    """Return how many bytes the step of each record takes; 0: it has none; 8: more than seven.

    Args:
        after_wall: the eight bytes behind the wall time: the key of the step, and the begin of its varint.

    Returns:
        Shape ``[n]``, or ``[1]`` if all have the same.
    """
    one = _varint_steps(after_wall[:1])
    count = int(one[0])
    if 0 < count < 8:
        # Nearly always all records that are read together have steps of one length.
        key_and_more = np.uint64(int.from_bytes(b"\xff" + b"\x80" * count, "little"))
        as_first = after_wall[0] & key_and_more
        if ((after_wall & key_and_more) == as_first).all():
            return one
    return _varint_steps(after_wall)


def _varint_steps(after_wall: Words) -> Ints:
    raw = after_wall >> _U64[8]
    more = (raw >> _U64[7]) & _U64[1]
    count = more + _U64[1]
    for place in range(1, 7):
        if not more.any():
            break
        more &= raw >> np.uint64(8 * place + 7)
        count += more
    count[(after_wall & _U64[0xFF]) != _U64[0x10]] = 0
    return count.view(np.int64)


def _past_long_lengths(words: Words, at: Ints, first: Words, end: Ints) -> tuple[Words, Ints, Ints]:
    """Step over the first byte of each length of two bytes: of the summary, then of the value, then of the tag.

    Args:
        words: see `Block`.
        at: where each summary begins.
        first: the word there.
        end: where its record ends.

    Returns:
        The word in which the second character of the tag is the last byte, its offset, and the bytes of the tag.
    """
    for bit in _SECOND_BYTES:
        long = (first >> np.uint64(bit)) & _U64[1]
        at = at + long.view(np.int64)
        first = words[at]
    length = (first >> _U64[40]) & _U64[0xFF]
    low = (first >> _U64[32]) & _U64[0x7F]
    size = np.where(long != 0, (length << _U64[7]) | low, length).view(np.int64)
    size[at + size > end] = 0
    return first, at, size


def _slot(kinds: Kinds) -> Ints:
    """Return where in the table the search begins."""
    mixed = kinds.first * _MULTIPLIERS[0]
    mixed += kinds.last * _MULTIPLIERS[1]
    mixed += kinds.shape.view(np.uint64) * _MULTIPLIERS[2]
    if kinds.middle is not None:
        mixed += kinds.middle * _MULTIPLIERS[3]
    mixed >>= np.uint64(64 - _SLOTS_LOG2)
    return mixed.view(np.int64)


def _middle_hash(words: Words, tag_at: Ints, tag_size: Ints) -> Words:
    """Return a hash of the bytes of tags from the third one up to the eighth from the end.

    Args:
        words: see `Block`.
        tag_at: offset of each tag.
        tag_size: its bytes.
    """
    hashed = np.zeros(len(tag_at), np.uint64)
    rows = np.flatnonzero(tag_size >= 10)
    if not len(rows):
        return hashed
    # One word after the other, of all tags.
    count = (tag_size[rows] - 2) // 8
    begin = np.cumsum(count) - count
    place = np.arange(int(begin[-1] + count[-1])) - np.repeat(begin, count)
    word = words[np.repeat(tag_at[rows] + 2, count) + 8 * place]
    word *= _FACTORS[place]
    word ^= word >> _U64[32]
    hashed[rows] = np.add.reduceat(word, begin)
    return hashed


def rest_of(form: Form) -> list[tuple[int, int]] | None:
    """Return the constant bytes of a form that neither its header nor `Kinds` shows.

    Returns:
        Offset and value of words that hold all of them, and none of the others; None if there are no such words.
    """
    data, mask, end = form.constant, form.mask, len(form.constant) - 4
    at = STEP_AT - 1 + form.step_bytes + (form.step_bytes > 0)
    for length_at in (1, 3, 5):
        at += data[at + length_at] >= 0x80
    tag_end = at + 6 + len(form.places[0].tag.encode())
    seen = {*range(WALL_AT), STEP_AT - 1, *range(at, at + 8), *range(tag_end - 7, tag_end + 1)}
    left = [place for place in range(WALL_AT, end) if mask[place] == 0xFF and place not in seen]
    words = []
    while left:
        # The word may reach back over bytes that are seen already, as long as they are constant.
        begin = next(
            (begin for begin in range(left[0], left[0] - 8, -1) if set(mask[begin : begin + 8]) == {0xFF}), None
        )
        if begin is None or begin + 8 > end:
            return None
        words.append((begin, int.from_bytes(data[begin : begin + 8], "little")))
        left = [place for place in left if place >= begin + 8]
    return words
