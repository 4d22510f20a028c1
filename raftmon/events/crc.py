"""Masked CRC-32C, the checksum of TFRecord files: of one byte string, or of thousands of records at once.

CRC-32C is the Castagnoli polynomial (RFC 3720, section 12.1). Without its initial value and final complement it is
linear over GF(2), from which all of this follows:

- the checksum of a row is the XOR of one table entry for each byte, chosen by the byte and its distance from the end;
- a long record is cut into rows, each row's checksum is moved past the bytes after it, and the results are XORed;
- the initial value is one more summand, which depends on the length alone.

The mask (rotate right by 15, add a constant) is TensorFlow's, see ``tensorflow/core/lib/hash/crc32c.h``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes: TypeAlias = NDArray[np.uint8]
    Checksums: TypeAlias = NDArray[np.uint32]
    Ints: TypeAlias = NDArray[np.int64]
    Words: TypeAlias = NDArray[np.uint64]

__all__ = [
    "CARRIED_AT",
    "CARRIED_STEP_BYTES",
    "LONGEST_DISTANCE",
    "MASK_DELTA",
    "MAX_DISTANCE",
    "add_bytes",
    "byte_tables",
    "crc32c",
    "length_checksums",
    "masked_crc32c",
    "masked_crc32c_many",
    "rotated",
    "summed_bytes",
    "time_and_step",
]

_POLYNOMIAL: Final = 0x82F63B78
MASK_DELTA: Final = 0xA282EAD8
"""What the mask adds to a rotated checksum."""
_ALL_ONES: Final = 0xFFFFFFFF

_ROW: Final = 256
"""Longest row in bytes: the table of a row (256 KB) still fits the second-level cache."""

MAX_DISTANCE: Final = 512
"""`byte_tables` reach so far from the end of the data in bytes, unless told otherwise."""
LONGEST_DISTANCE: Final = 4096
"""...and this is as far as anybody asks for."""

CARRIED_STEP_BYTES: Final = 4
"""Bytes of a step that `time_and_step` takes in."""
CARRIED_AT: Final = 14
"""Offset in the data of an event at which the four bytes stand that carry this checksum on."""

_BLOCK: Final = 1 << 15
"""Bytes that are looked up at a time; the temporary arrays are twelve times as large."""

_FEW_BYTES: Final = 2048
"""Below this a loop over the bytes beats the fixed cost of the array code."""


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        entries.append(crc)
    return tuple(entries)


_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of a byte string."""
    if len(data) > _FEW_BYTES:
        whole = np.array([0]), np.array([len(data)])
        return int(_crc32c_many(np.frombuffer(data, np.uint8), *whole)[0])
    table = _TABLE
    crc = _ALL_ONES
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _ALL_ONES


def masked_crc32c(data: bytes) -> int:
    """Return the checksum which a TFRecord file stores for a byte string."""
    return (rotated(crc32c(data)) + MASK_DELTA) & _ALL_ONES


def rotated(crc: int) -> int:
    """Return a checksum as the mask rotates it. A stored checksum less `MASK_DELTA` (modulo 2**32) is just that."""
    return ((crc >> 15) | (crc << 17)) & _ALL_ONES


@cache
def byte_tables(reach: int = MAX_DISTANCE) -> Checksums:
    """Return what each byte adds to the `rotated` checksum: entry ``256 * distance from the last byte + byte``.

    The checksum of some bytes is that of as many zeros, XOR one entry for each byte that is not zero: this is how the
    few bytes that differ between two records are checked without another look at those that do not.

    Args:
        reach: distances that are needed.

    Returns:
        Shape ``[256 * reach]``.
    """
    table = _distance_table(reach)
    high: Checksums = table >> np.uint32(15)
    return high | (table << np.uint32(17))


def add_bytes(residue: Checksums, words: Words | Checksums, count: int, distance: Ints) -> None:
    """Add to rotated checksums what some of their bytes contribute.

    Args:
        residue: the checksums, shape ``[n]``; changed in place.
        words: the bytes, in the order of memory of contiguous numbers, shape ``[n]``.
        count: how many of each number count; the others may be zero instead.
        distance: of each number's first byte from the last byte of the data, shape ``[n]``.
    """
    tables = byte_tables() if distance.max(initial=0) < MAX_DISTANCE else byte_tables(LONGEST_DISTANCE)
    columns = words.view(np.uint8).reshape(len(words), words.itemsize)
    last = (distance - (count - 1)) * 256
    for place in range(count):
        residue ^= tables[(count - 1 - place) * 256 :].take(last + columns[:, place])


def summed_bytes(words: Checksums, entries: Ints) -> Checksums:
    """Return what all bytes of some rows contribute to rotated checksums.

    Args:
        words: the bytes, an even count of numbers in each row, shape ``[cycles, rows, count]``.
        entries: ``256 * distance from the last byte of the data`` of each byte of a cycle, ``[rows * count * 4]``.

    Returns:
        One checksum a row, shape ``[cycles, rows]``.
    """
    tables = byte_tables() if entries.max(initial=0) < 256 * MAX_DISTANCE else byte_tables(LONGEST_DISTANCE)
    cycles, rows, count = words.shape
    found = tables.take(words.view(np.uint8).reshape(cycles, rows * count * 4) + entries)
    # Two at a time.
    pairs = found.view(np.uint64).reshape(cycles, rows, 2 * count)
    both = pairs[:, :, 0] ^ pairs[:, :, 1]
    for place in range(2, 2 * count):
        both ^= pairs[:, :, place]
    both ^= both >> np.uint64(32)
    return both.astype(np.uint32)


def time_and_step(wall_time: Words, step: Words) -> Checksums:
    """Return the checksums of wall times and steps, as if the data ended with the fourth byte of the step.

    These lie at the same offsets in every event, and are looked up two bytes at a time. What follows them has a length
    that differs from form to form: to go on with zeros from a checksum is the same as to have its four bytes in front
    of them, at `CARRIED_AT`.

    Args:
        wall_time: the eight bytes at offset 1 of the data, contiguous, of any shape.
        step: the bytes from offset 10 on, zeros behind them, likewise.

    Returns:
        Not rotated, in the same shape.
    """
    pairs = wall_time.view(np.uint16).reshape(*wall_time.shape, 4)
    checksum = _pair_table(12).take(pairs[..., 0])
    for place in (1, 2, 3):
        checksum ^= _pair_table(12 - 2 * place).take(pairs[..., place])
    pairs = step.view(np.uint16).reshape(*step.shape, 4)
    checksum ^= _pair_table(3).take(pairs[..., 0])
    if int(step.max(initial=0)) >= 1 << 16:
        checksum ^= _pair_table(1).take(pairs[..., 1])
    return checksum


@cache
def _pair_table(distance: int) -> Checksums:
    """Return what two bytes contribute, the first of which has this distance from the last byte; not rotated."""
    tables = _distance_table(_ROW).reshape(-1, 256)
    first, second = tables[distance], tables[distance - 1]
    pairs: Checksums = (second[:, None] ^ first[None, :]).ravel()
    return pairs


@cache
def length_checksums() -> Checksums:
    """Return the masked checksum of each length below 2**16, as it stands in the header of a record."""
    high, low = byte_tables()[6 * 256 : 7 * 256], byte_tables()[7 * 256 : 8 * 256]
    table: Checksums = (high[:, None] ^ low[None, :]).ravel()
    table ^= np.uint32(rotated(crc32c(bytes(8))))
    table += np.uint32(MASK_DELTA)
    return table


def masked_crc32c_many(buffer: Bytes, starts: Ints, lengths: Ints) -> Checksums:
    """Return the TFRecord checksums of many slices of one buffer.

    Args:
        buffer: the bytes, one dimension, contiguous.
        starts: offset of each slice.
        lengths: its length in bytes; the slices must lie inside the buffer, and may overlap.

    Returns:
        One checksum a slice, in the same order.

    Raises:
        ValueError: a slice does not lie inside the buffer.
    """
    if len(starts) == 0:
        return np.empty(0, np.uint32)
    if starts.min() < 0 or lengths.min() < 0 or (starts + lengths).max() > len(buffer):
        raise ValueError("a slice reaches beyond the buffer")
    if lengths.sum() <= _FEW_BYTES:
        slices = zip(starts.tolist(), lengths.tolist(), strict=True)
        return np.array(
            [masked_crc32c(buffer[start : start + length].tobytes()) for start, length in slices], np.uint32
        )
    crc = _crc32c_many(buffer, starts, lengths)
    masked: Checksums = np.add((crc >> 15) | (crc << 17), np.uint32(MASK_DELTA), dtype=np.uint32)
    return masked


def _crc32c_many(buffer: Bytes, starts: Ints, lengths: Ints) -> Checksums:
    short = np.minimum(lengths, _ROW)
    seeds = _shift(_seeds().take(short), lengths - short)
    return _linear(buffer, starts, lengths) ^ seeds ^ np.uint32(_ALL_ONES)


def _linear(buffer: Bytes, starts: Ints, lengths: Ints) -> Checksums:
    """Checksums without initial value and complement, for slices of any length."""
    rows = np.maximum((lengths + (_ROW - 1)) // _ROW, 1)
    total = int(rows.sum())
    if total == len(rows):
        return _rows(buffer, starts, lengths)
    first = np.cumsum(rows) - rows
    owner = np.repeat(np.arange(len(rows)), rows)
    bytes_after = (rows[owner] - 1 - (np.arange(total) - first[owner])) * _ROW
    ends = (starts + lengths)[owner] - bytes_after
    # The first row takes what is left over, so that every other one is full and the shifts are multiples of a row.
    row_lengths = np.minimum(ends - starts[owner], _ROW)
    crc = _shift(_rows(buffer, ends - row_lengths, row_lengths), bytes_after)
    return np.bitwise_xor.reduceat(crc, first)


def _rows(buffer: Bytes, starts: Ints, lengths: Ints) -> Checksums:
    """Checksums without initial value and complement, for slices of at most `_ROW` bytes."""
    result = np.zeros(len(starts), np.uint32)
    table = _distance_table(_ROW)
    order = np.argsort(lengths.astype(np.uint16), kind="stable")
    ordered = lengths[order]
    for group in np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1):
        length = int(lengths[group[0]])
        if length == 0:
            continue
        windows = np.lib.stride_tricks.as_strided(buffer, (len(buffer) - length + 1, length), (1, 1), writeable=False)
        distance = np.arange(length - 1, -1, -1) * 256
        step = max(1, _BLOCK // length)
        for at in range(0, len(group), step):
            block = group[at : at + step]
            entries = table.take(windows[starts[block]] + distance)
            result[block] = np.bitwise_xor.reduce(entries, axis=1)
    return result


def _shift(crc: Checksums, zeros: Ints) -> Checksums:
    """Move each linear checksum past its own number of zero bytes."""
    crc = crc.copy()
    for bit in range(int(zeros.max()).bit_length()):
        chosen = np.flatnonzero((zeros >> bit) & 1)
        crc[chosen] = _apply(_zeros_operator(bit), crc[chosen])
    return crc


def _apply(operator: Checksums, crc: Checksums) -> Checksums:
    """Apply a linear operator, given as its values on each byte at each of the four places (4 x 256)."""
    result: Checksums = operator[0].take(crc & 0xFF)
    for place in (1, 2, 3):
        result ^= operator[place].take((crc >> (8 * place)) & 0xFF)
    return result


@cache
def _zeros_operator(power: int) -> Checksums:
    """The operator that moves a checksum past ``2 ** power`` zero bytes."""
    if power:
        half = _zeros_operator(power - 1)
        return _apply(half, half.ravel()).reshape(4, 256)
    values = np.arange(256, dtype=np.uint32)
    return np.stack([np.array(_TABLE, np.uint32), values, values << 8, values << 16])


@cache
def _distance_table(reach: int) -> Checksums:
    """What a byte adds to the checksum of its row: entry ``256 * distance from the last byte + byte``.

    Args:
        reach: distances that are needed, at least four.
    """
    table = np.empty((reach, 256), np.uint32)
    table[0] = _TABLE
    for distance in range(1, 4):
        table[distance] = table[0].take(table[distance - 1] & 0xFF) ^ (table[distance - 1] >> 8)
    known = 4
    while known < reach:
        # `known` zeros behind a checksum do what they do behind its four bytes.
        near = table[: min(known, reach - known)]
        far = table[known - 1].take(near & 0xFF)
        for place in (1, 2, 3):
            far ^= table[known - 1 - place].take((near >> (8 * place)) & 0xFF)
        table[known : known + len(near)] = far
        known += len(near)
    return table.ravel()


@cache
def _seeds() -> Checksums:
    """What the initial value adds to the checksum of a slice of 0 to `_ROW` bytes."""
    seeds = [_ALL_ONES]
    for _ in range(_ROW):
        seeds.append(_TABLE[seeds[-1] & 0xFF] ^ (seeds[-1] >> 8))
    return np.array(seeds, np.uint32)
