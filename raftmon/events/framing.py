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
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.crc import MASK_DELTA, byte_tables, crc32c, length_checksums, masked_crc32c, rotated
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raftmon.events.block import Block

    Ints: TypeAlias = NDArray[np.int64]
    Words: TypeAlias = NDArray[np.uint64]

__all__ = [
    "HEADER_BYTES",
    "MAX_RECORD_BYTES",
    "OVERHEAD_BYTES",
    "Frames",
    "find_header",
    "frame",
    "is_intact",
    "read_header",
]

HEADER_BYTES: Final = 12
"""Length and its checksum."""
OVERHEAD_BYTES: Final = 16
"""What a record takes beyond its data: header and checksum of the data."""
MAX_RECORD_BYTES: Final = 64 << 20
"""Longest data of a record. Scalars take some 50 bytes, graphs and images a few megabytes; a header that announces more
counts as damaged, so that no file can make a reader allocate more than this."""

_HEADER: Final = struct.Struct("<QI")
_SHORT: Final = 1 << 16
_MIDDLING: Final = 256 + OVERHEAD_BYTES
"""From this size on, two bytes of a length are not zero. Few files have such records."""
_LONG: Final = 2048
"""A record from this size on is no scalar but a picture or the like, and often followed by another one."""
_LEAST_WINDOW: Final = 1 << 13
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
    window: int
    """Bytes in which it is best to look for headers at a time, next time."""


def frame(block: Block, start: int, stop: int, size: int, window: int = 1 << 20) -> Frames:
    """Find the records that begin between two offsets of a block, the first of which is expected at `start`.

    A truncated record at the end is no error, it is left for later. The data are not looked at.

    Args:
        block: the bytes.
        start: offset of the first record.
        stop: no record is wanted that begins here or later.
        size: bytes of content in the block; no record may end behind them.
        window: bytes in which headers are looked for at a time, `Frames.window` of the call before.
    """
    kept = _Kept()
    at, needed, damaged = start, HEADER_BYTES, False
    seen: _Headers | None = None
    short_from, longs, middling = start, False, False
    while at < stop and at + HEADER_BYTES <= size:
        run = seen.run_from(at, size) if seen is not None else None
        if run is not None:
            kept.add_run(*run)
            at = int(run[0][-1] + run[1][-1])
            continue
        length = read_header(block.data, at)
        if length is None:
            damaged = True
            break
        if at + length > size:
            needed = length
            break
        if length < _LONG and (seen is None or at + HEADER_BYTES > seen.end):
            middling = middling or length >= _MIDDLING
            seen = _Headers(block, at, min(at + window, stop + HEADER_BYTES, size), middling)
            window = window if longs else 2 * window
            continue
        kept.add(at, length)
        middling = middling or _MIDDLING <= length < _LONG
        if length >= _LONG:
            # Searching the inside of pictures costs much and finds nothing: look as far as short ones came in a row.
            if at > short_from:
                window = max(_LEAST_WINDOW, (at - short_from) * 5 // 4)
            short_from, longs, seen = at + length, True, None
        at += length
    window = min(window, block.capacity)
    return Frames(*kept.columns(), at, needed, damaged, window)


class _Kept:
    """Start and size of records, some of which come in columns and some one by one."""

    def __init__(self) -> None:
        self._runs: list[tuple[Ints, Ints]] = []
        self._starts: list[int] = []
        self._sizes: list[int] = []

    def add(self, start: int, size: int) -> None:
        """Take in one record."""
        self._starts.append(start)
        self._sizes.append(size)

    def add_run(self, starts: Ints, sizes: Ints) -> None:
        """Take in some records that follow each other."""
        self._flush()
        self._runs.append((starts, sizes))

    def columns(self) -> tuple[Ints, Ints]:
        """Return start and size of all of them."""
        self._flush()
        if len(self._runs) == 1:
            return self._runs[0]
        empty = np.empty(0, np.int64)
        starts = np.concatenate([empty, *(starts for starts, _ in self._runs)])
        return starts, np.concatenate([empty, *(sizes for _, sizes in self._runs)])

    def _flush(self) -> None:
        if self._starts:
            self._runs.append((np.array(self._starts, np.int64), np.array(self._sizes, np.int64)))
            self._starts, self._sizes = [], []


class _Headers:
    """The headers that were found in a part of a block, and which of them follow each other."""

    def __init__(self, block: Block, start: int, end: int, middling: bool) -> None:
        self.end = end
        self._starts, self._sizes = _candidates(block, start, end, middling)
        self._ends = self._starts + self._sizes
        breaks = np.flatnonzero(self._ends[:-1] != self._starts[1:])
        self._last_of_run = np.append(breaks, len(self._starts) - 1)

    def run_from(self, at: int, size: int) -> tuple[Ints, Ints] | None:
        """Return start and size of the records from an offset on, as far as one follows the other; None: none."""
        first = int(np.searchsorted(self._starts, at))
        if first == len(self._starts) or self._starts[first] != at:
            return None
        last = int(self._last_of_run[np.searchsorted(self._last_of_run, first)])
        last -= int(self._ends[last] > size)
        return (self._starts[first : last + 1], self._sizes[first : last + 1]) if last >= first else None


def read_header(data: bytes | bytearray, at: int) -> int | None:
    """Return how many bytes the record at an offset takes, its header included; None: its header is damaged.

    All of the header must lie in `data`.
    """
    length, checksum = _HEADER.unpack_from(data, at)
    if length > MAX_RECORD_BYTES or _length_checksum(length) != checksum:
        return None
    return int(length) + OVERHEAD_BYTES


def is_intact(record: bytes) -> bool:
    """Tell whether the checksum of a record's data is right. Its header is not looked at."""
    return masked_crc32c(record[HEADER_BYTES:-4]) == int.from_bytes(record[-4:], "little")


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


def _candidates(block: Block, start: int, stop: int, middling: bool) -> tuple[Ints, Ints]:
    """Return offset and size of what looks like a record and has an intact header, in the order of the offsets.

    Args:
        block: the bytes.
        start: where the first may begin.
        stop: where the last header must end.
        middling: whether to look for lengths from 256 on, too.
    """
    words = block.aligned[(start + 3) >> 2 : stop >> 2]
    at = np.flatnonzero(words == 0)
    # The header begins at the last byte before that is not zero: one of four.
    before = block.aligned[at + (((start + 3) >> 2) - 1)]
    at *= 4
    at += ((start + 3) & ~3) - 4
    back = (before >= 1 << 8).view(np.uint8)
    for bits in (16, 24):
        back += before >= 1 << bits
    at += back
    at = at[np.searchsorted(at, start) : np.searchsorted(at, stop - HEADER_BYTES, "right")]
    found, lengths = _intact_headers(block, at)
    if middling and len(found) < len(at):
        # Such a length has another byte before the last one that is not zero.
        more, more_lengths = _intact_headers(block, at[at > start] - 1)
        found = np.concatenate([found, more])
        order = np.argsort(found)
        found, lengths = found[order], np.concatenate([lengths, more_lengths])[order]
    return found, lengths.view(np.int64) + OVERHEAD_BYTES


def _intact_headers(block: Block, at: Ints) -> tuple[Ints, Words]:
    """Return those of some offsets at which the header of a record below 64 KB lies, and the lengths in them."""
    headers = block.gather(at, 2)
    lengths = headers[:, 0]
    checksums = (headers[:, 1] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    short = lengths < _SHORT
    if not short.all():
        at, lengths, checksums = at[short], lengths[short], checksums[short]
    intact = length_checksums().take(lengths.astype(np.int64)) == checksums
    return (at, lengths) if intact.all() else (at[intact], lengths[intact])


@lru_cache(maxsize=4096)
def _length_checksum(length: int) -> int:
    return masked_crc32c(length.to_bytes(8, "little"))
