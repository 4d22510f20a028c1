"""By what the kind of a record is told: its length, the length of its step, and the bytes around its first tag.

These are read for thousands of records at once. What they leave open is listed for each form by `rest_of`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import numpy as np

from raftmon.events.wire import MAX_FORM_BYTES, STEP_AT, WALL_AT, Form
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.events.block import Block, Ints, Words

__all__ = ["SLOTS", "Kinds", "kinds_of", "rest_of"]

_SLOTS_LOG2: Final = 17
SLOTS: Final = 1 << _SLOTS_LOG2
"""Number of different `Kinds.slot`."""
_U64: Final = {number: np.uint64(number) for number in (1, 7, 8, 32, 40, 0x10, 0x7F, 0xFF)}
_SECOND_BYTES: Final = (15, 31, 47)
"""Bits of the word with which a summary begins that say of a length that it goes on: summary, value, tag."""
_LOW_KEYS: Final = np.frombuffer(os.urandom(MAX_FORM_BYTES // 2), np.uint32).astype(np.uint64)
_HIGH_KEYS: Final = np.frombuffer(os.urandom(MAX_FORM_BYTES // 2), np.uint32).astype(np.uint64)
"""What is added to the halves of each word of a tag when it is hashed."""
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_KEPT_BITS: Final = np.array([(1 << (8 * count)) - 1 for count in range(8)] + [(1 << 64) - 1], np.uint64)
"""Masks that keep the lowest 0 to 8 bytes of a word."""


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """By what the kind of a record is told; each of shape ``[n]``."""

    first: Words
    """What the summary begins with: lengths, and the first characters of its first tag."""
    last: Words
    """The last bytes of that tag, and the one behind it."""
    middle: Words
    """What is between the two, by a hash that differs from process to process: 0 where nothing is."""
    size: Ints
    step_bytes: Ints
    slot: Ints
    """Where the kind is looked for."""


def kinds_of(block: Block, starts: Ints, sizes: Ints) -> tuple[Words, Kinds]:
    """Return the bytes of the steps of records, and what their kinds are told by."""
    after_wall = block.words[starts + (WALL_AT + 8)]
    step = after_wall >> _U64[8]
    step_bytes = _varint_bytes(step)
    step_bytes[(after_wall & _U64[0xFF]) != _U64[0x10]] = 0
    step &= _KEPT_BITS[step_bytes]
    at = starts + (WALL_AT + 8) + step_bytes + (step_bytes > 0)
    first, last, middle = _around_tag(block.words, at, np.where(sizes <= MAX_FORM_BYTES, starts + sizes, 0))
    slot = _hash(first, last, middle, sizes * 8 + step_bytes)
    return step, Kinds(first, last, middle, sizes, step_bytes, slot)


def _varint_bytes(raw: Words) -> Ints:
    """Return how long the varints at the begin of words are, as far as seven bytes tell: at most 8."""
    more = (raw >> _U64[7]) & _U64[1]
    count = more + _U64[1]
    for place in range(1, 7):
        if not more.any():
            break
        more &= raw >> np.uint64(8 * place + 7)
        count += more
    return count.view(np.int64)


def _around_tag(words: Words, at: Ints, end: Ints) -> tuple[Words, Words, Words]:
    """Return how a summary begins, up to the second character of its first tag, how this ends, and a hash between.

    Args:
        words: see `Block`.
        at: where each summary begins.
        end: where its record ends; 0 if it is too long for a form.
    """
    first = words[at]
    long = np.zeros(1, np.uint64)
    # Lengths from 128 on take two bytes: of the summary, then of the value, then of the tag.
    for bit in _SECOND_BYTES:
        long = (first >> np.uint64(bit)) & _U64[1]
        if long.any():
            at = at + long.view(np.int64)
            first = words[at]
    length = (first >> _U64[40]) & _U64[0xFF]
    if long.any():
        low = (first >> _U64[32]) & _U64[0x7F]
        length = np.where(long != 0, (length << _U64[7]) | low, length)
    size = length.view(np.int64)
    size[at + size > end] = 0
    return first, words[at + np.maximum(size, 2) - 1], _hash_between(words, at + 8, size)


def _hash_between(words: Words, at: Ints, length: Ints) -> Words:
    """Return a hash of the bytes of tags from the third one up to the eighth from the end.

    This is NH (Black et al., UMAC: Fast and Secure Message Authentication, 1999, section 4): whatever two tags are, and
    whatever damage made one of the other, one in 2**32 keys at most gives both the same hash. Even then their
    checksums tell two tags apart.

    Args:
        words: see `Block`.
        at: where the third byte of each tag lies.
        length: bytes of each tag.
    """
    hashed = np.zeros(len(at), np.uint64)
    rows = np.flatnonzero(length >= 10)
    if not len(rows):
        return hashed
    # One word after the other, of all tags.
    count = (length[rows] - 2) // 8
    begin = np.cumsum(count) - count
    place = np.arange(int(begin[-1] + count[-1])) - np.repeat(begin, count)
    word = words[np.repeat(at[rows], count) + 8 * place]
    high = word >> _U64[32]
    high += _HIGH_KEYS[place]
    word &= _LOW_HALF
    word += _LOW_KEYS[place]
    word *= high
    hashed[rows] = np.add.reduceat(word, begin)
    return hashed


def rest_of(form: Form) -> list[tuple[int, int]] | None:
    """Return the constant bytes of a form that `_around_tag` and the header do not show.

    Returns:
        Offset and value of words that hold all of them, and none of the others; None if there are no such words.
    """
    data, mask, end = form.constant, form.mask, len(form.constant) - 4
    at = STEP_AT - 1 + form.step_bytes + (form.step_bytes > 0)
    for length_at in (1, 3, 5):
        at += data[at + length_at] >= 0x80
    tag_end = at + 6 + len(form.places[0].tag.encode())
    seen = {*range(WALL_AT), STEP_AT - 1, *range(at, max(at + 8, tag_end + 1))}
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


def _hash(first: Words, last: Words, middle: Words, size: Ints) -> Ints:
    mixed = first * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= last * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= middle
    mixed ^= size.view(np.uint64) * np.uint64(0x165667B19E3779F9)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(64 - _SLOTS_LOG2)).view(np.int64)
