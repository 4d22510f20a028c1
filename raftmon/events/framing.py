"""TFRecord framing: which bytes of a buffer are which record, and where the next intact one begins after damage.

A record is its length (8 bytes, little-endian), the masked CRC-32C of these 8 bytes, the data, and the
masked CRC-32C of the data (``tensorflow/core/lib/io/record_writer.h``)::

    0                    8          12            12+L       16+L
    | length L           | crc of L | data        | crc of the data |
      l0 l1 0 0 0 0 0 0

Most records are shorter than 64 KB, so that six bytes of the length are zero. Where a buffer has four zero bytes in a
row at an offset that is a multiple of four, a header may lie: those whose length matches its checksum are found for all
of the buffer at once, and where each begins at the end of the one before, they are the records. What this does not
find (longer ones, a few by their alignment) is looked at one by one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.crc import MASK_DELTA, byte_tables, crc32c, length_checksums, masked_crc32c, rotated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.events.block import Block

    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["HEADER_BYTES", "MAX_RECORD_BYTES", "OVERHEAD_BYTES", "Frames", "find_header", "frame", "read_header"]

HEADER_BYTES: Final = 12
"""Length and its checksum."""
OVERHEAD_BYTES: Final = 16
"""What a record takes beyond its data: header and checksum of the data."""
MAX_RECORD_BYTES: Final = 64 << 20
"""Longest data of a record. Scalars take some 50 bytes, graphs and images a few megabytes; a header that announces more
counts as damaged, so that no file can make a reader allocate more than this."""

_HEADER: Final = struct.Struct("<QI")
_SHORT: Final = 1 << 16
_SEARCHED: Final = 1 << 16
"""Bytes in which a header is looked for at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The complete records of a part of a block, in columns."""

    starts: Ints
    """Offset of each record in the block, in file order."""
    sizes: Ints
    """Its bytes, header and checksums included."""
    end: int
    """Offset where the complete records end: the place to go on from."""
    needed: int
    """Bytes from `end` on without which nothing more can be framed: the whole next record, or its header as long as
    that is not complete."""
    damaged: bool
    """Whether a header is expected at `end`, is there, and is not intact."""


def frame(block: Block, start: int, stop: int, size: int) -> Frames:
    """Find the records that begin between two offsets of a block, the first of which is expected at `start`.

    A truncated record at the end is no error, it is left for later. The data are not looked at.

    Args:
        block: the bytes.
        start: offset of the first record.
        stop: no record is wanted that begins here or later.
        size: bytes of content in the block; no record may end behind them.
    """
    starts, sizes = _candidates(block, start, min(stop + HEADER_BYTES, size))
    ends = starts + sizes
    breaks = np.flatnonzero(ends[:-1] != starts[1:])
    last_of_run = np.append(breaks, len(starts) - 1)
    kept: list[tuple[Ints, Ints]] = []
    at, needed, damaged = start, HEADER_BYTES, False
    while at < stop and at + HEADER_BYTES <= size:
        first = int(np.searchsorted(starts, at))
        if first < len(starts) and starts[first] == at:
            last = int(last_of_run[np.searchsorted(last_of_run, first)])
            last -= int(ends[last] > size)
            if last >= first:
                kept.append((starts[first : last + 1], sizes[first : last + 1]))
                at = int(ends[last])
                continue
        length = read_header(block.data, at)
        if length is None:
            damaged = True
            break
        if at + length > size:
            needed = length
            break
        kept.append((np.array([at]), np.array([length])))
        at += length
    if len(kept) == 1:
        return Frames(*kept[0], at, needed, damaged)
    empty = np.empty(0, np.int64)
    return Frames(
        np.concatenate([empty, *(part for part, _ in kept)]),
        np.concatenate([empty, *(part for _, part in kept)]),
        at,
        needed,
        damaged,
    )


def read_header(data: bytes | bytearray, at: int) -> int | None:
    """Return how many bytes the record at an offset takes, its header included; None: its header is damaged.

    All of the header must lie in `data`.
    """
    length, checksum = _HEADER.unpack_from(data, at)
    if length > MAX_RECORD_BYTES or _length_checksum(length) != checksum:
        return None
    return int(length) + OVERHEAD_BYTES


def find_header(block: Block, start: int, stop: int) -> int | None:
    """Return the offset of the first intact header that begins at or after `start` and ends before `stop`."""
    tables = byte_tables().reshape(-1, 256)
    zeros = np.uint32(rotated(crc32c(bytes(8))))
    for begin in range(start, stop - HEADER_BYTES + 1, _SEARCHED):
        end = min(begin + _SEARCHED, stop - HEADER_BYTES + 1)
        places = begin + np.flatnonzero(block.words[begin:end] <= MAX_RECORD_BYTES)
        checksum = np.full(len(places), zeros)
        for place in range(4):
            checksum ^= tables[7 - place].take(block.bytes[places + place])
        checksum += np.uint32(MASK_DELTA)
        found = places[checksum == block.halves[places + 8]]
        if len(found):
            return int(found[0])
    return None


def _candidates(block: Block, start: int, stop: int) -> tuple[Ints, Ints]:
    """Return offset and size of what looks like a record and has an intact header, in the order of the offsets."""
    aligned = (start + 3) & ~3
    zeros = np.flatnonzero(block.bytes[aligned : aligned + ((stop - aligned) & ~3)].view(np.uint32) == 0)
    at = zeros * 4 + (aligned - 1)
    for _ in range(3):
        at -= block.bytes[at] == 0
    at = at[(at >= start) & (at + HEADER_BYTES <= stop)]
    # Lengths from 256 on have another byte before the last one that is not zero.
    one, two = _intact_headers(block, at), None
    if len(one) < len(at):
        two = _intact_headers(block, at[at > start] - 1)
    at = one if two is None or not len(two) else np.sort(np.concatenate([one, two]))
    return at, block.words[at].view(np.int64) + OVERHEAD_BYTES


def _intact_headers(block: Block, at: Ints) -> Ints:
    """Return those of some offsets at which the header of a record below 64 KB lies."""
    lengths = block.words[at]
    short = lengths < _SHORT
    if not short.all():
        at, lengths = at[short], lengths[short]
    found: Ints = at[length_checksums()[lengths.view(np.int64)] == block.halves[at + 8]]
    return found


@lru_cache(maxsize=4096)
def _length_checksum(length: int) -> int:
    return masked_crc32c(length.to_bytes(8, "little"))
