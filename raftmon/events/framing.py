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
    _Run: TypeAlias = tuple[Ints, Ints]

__all__ = [
    "HEADER_BYTES",
    "MAX_RECORD_BYTES",
    "OVERHEAD_BYTES",
    "Framer",
    "Frames",
    "HeaderFinder",
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
_FIRST_WINDOW: Final = 1 << 16
_LEAST_EXPECTED: Final = 16
_MOST_EXPECTED: Final = 4096
"""Records of a stretch that the next one is expected to have, too."""
_SEARCHED: Final = 1 << 16
"""Bytes in which a header is looked for at a time."""
_NO_OFFSETS: Final[Ints] = np.empty(0, np.int64)
_NO_WORDS: Final[Words] = np.empty((0, 2), np.uint64)


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


class Framer:
    """Frames the records of one file, and expects of the next ones what it saw of those before.

    Between pictures and histograms, whose inside it does not search, scalars often come in stretches that are alike.
    """

    def __init__(self) -> None:
        self._window = _FIRST_WINDOW
        # Of the newest stretch between long records: its bytes; the headers of its records, and where these begin and
        # end, counted from its begin.
        self._stretch = 0
        self._headers = _NO_WORDS
        self._begins = self._ends = _NO_OFFSETS

    def frame(self, block: Block, start: int, stop: int, size: int) -> Frames:
        """Find the records that begin between two offsets of a block, the first of which is expected at `start`.

        A truncated record at the end is no error, it is left for later. The data are not looked at.

        Args:
            block: the bytes.
            start: offset of the first record.
            stop: no record is wanted that begins here or later.
            size: bytes of content in the block; no record may end behind them.
        """
        kept, search = _Kept(), _Search(block, stop, size)
        at, short_from, longs = start, start, False
        while at < stop and at + HEADER_BYTES <= size:
            length = read_header(block.data, at)
            if length is None:
                return Frames(*kept.columns(), at, HEADER_BYTES, True)
            if at + length > size:
                return Frames(*kept.columns(), at, length, False)
            if length >= _LONG:
                if at > short_from:
                    self._learn(block, short_from, at, kept)
                kept.add(at, length)
                at += length
                short_from, longs = at, True
                continue
            run = search.known(at) or self._expected(block, at, stop, size)
            if run is None:
                run = search.ahead(at, length, self._window)
                if not longs:
                    self._window = min(2 * self._window, block.capacity)
            kept.add_run(*run)
            at = int(run[0][-1] + run[1][-1])
        return Frames(*kept.columns(), at, HEADER_BYTES, False)

    def _learn(self, block: Block, start: int, end: int, kept: _Kept) -> None:
        """Note a stretch of records that a long one ends."""
        # Searching the inside of a picture costs much and finds nothing.
        self._window = max(_LEAST_WINDOW, (end - start) * 5 // 4)
        if end - start == self._stretch:
            return
        starts, sizes = kept.columns()
        newest = slice(first := int(np.searchsorted(starts, start)), first + _MOST_EXPECTED)
        self._stretch, self._headers = end - start, _headers_at(block, starts[newest])
        self._begins = starts[newest] - start
        self._ends = self._begins + sizes[newest]

    def _expected(self, block: Block, at: int, stop: int, size: int) -> _Run | None:
        """Return the next records as far as their headers are those of the stretch before; None: hardly any are."""
        ended, begun = np.searchsorted(self._ends, size - at, "right"), np.searchsorted(self._begins, stop - at)
        count = int(min(ended, begun))
        if count < _LEAST_EXPECTED:
            return None
        starts, headers = self._begins[:count] + at, self._headers[:count]
        different = (_headers_at(block, starts) != headers).any(axis=1)
        if different.any():
            count = int(np.argmax(different))
            if count < _LEAST_EXPECTED:
                return None
        return starts[:count], headers[:count, 0].view(np.int64) + OVERHEAD_BYTES


class _Kept:
    """Start and size of records, some of which come in columns and some one by one."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
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

    def columns(self) -> _Run:
        """Return start and size of all of them."""
        self._flush()
        if len(self._runs) != 1:
            starts = np.concatenate([np.empty(0, np.int64), *(starts for starts, _ in self._runs)])
            self._runs = [(starts, np.concatenate([np.empty(0, np.int64), *(sizes for _, sizes in self._runs)]))]
        return self._runs[0]

    def _flush(self) -> None:
        if self._starts:
            self._runs.append((np.array(self._starts, np.int64), np.array(self._sizes, np.int64)))
            self._starts, self._sizes = [], []


class _Search:
    """Looks for headers in a block, all of a part at once."""

    def __init__(self, block: Block, stop: int, size: int) -> None:
        self._block = block
        self._stop = min(stop - 1 + HEADER_BYTES, size)
        self._size = size
        self._middling = False
        self._seen = 0
        self._starts = self._sizes = self._ends = self._last_of_run = _NO_OFFSETS

    def ahead(self, at: int, length: int, window: int) -> _Run:
        """Return the records from an offset on, at least the first of them, whose length is known."""
        if at + HEADER_BYTES > self._seen:
            self._middling = self._middling or length >= _MIDDLING
            self._seen = min(at + window, self._stop)
            self._starts, self._sizes = _candidates(self._block, at, self._seen, self._middling)
            self._ends = self._starts + self._sizes
            breaks = np.flatnonzero(self._ends[:-1] != self._starts[1:])
            self._last_of_run = np.append(breaks, len(self._starts) - 1)
        # One that was not found among the others has its length in two bytes, or lies at an odd place.
        self._middling = self._middling or length >= _MIDDLING
        return self.known(at) or (np.array([at]), np.array([length]))

    def known(self, at: int) -> _Run | None:
        """Return the records from an offset on, as far as one follows the other; None: none was seen there."""
        first = int(np.searchsorted(self._starts, at))
        if first == len(self._starts) or self._starts[first] != at:
            return None
        last = int(self._last_of_run[np.searchsorted(self._last_of_run, first)])
        last -= int(self._ends[last] > self._size)
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


class HeaderFinder:
    """Finds intact headers in the content of a block, whatever lies between them.

    Args:
        block: the bytes.
        size: bytes of content.
    """

    def __init__(self, block: Block, size: int) -> None:
        self._block = block
        self._stop = size - HEADER_BYTES + 1
        # What was searched last, and the offsets of the headers there.
        self._begin = self._end = 0
        self._found = _NO_OFFSETS

    def first(self, start: int) -> int | None:
        """Return the offset of the first one at or after `start`."""
        if not self._begin <= start < self._end:
            self._end = start
            self._found = _NO_OFFSETS
        while True:
            place = int(np.searchsorted(self._found, start))
            if place < len(self._found):
                return int(self._found[place])
            if self._end >= self._stop:
                return None
            self._begin, self._end = self._end, min(self._end + _SEARCHED, self._stop)
            self._found = _headers_between(self._block, self._begin, self._end)


def _headers_between(block: Block, begin: int, end: int) -> Ints:
    """Return the offsets of all intact headers that begin between two offsets of a block."""
    tables = byte_tables().reshape(-1, 256)
    places: Ints = begin + np.flatnonzero(block.words[begin:end] <= MAX_RECORD_BYTES)
    checksum = np.full(len(places), np.uint32(rotated(crc32c(bytes(8)))))
    for place in range(4):
        checksum ^= tables[7 - place].take(block.bytes[places + place])
    checksum += np.uint32(MASK_DELTA)
    found: Ints = places[checksum == block.halves[places + 8]]
    return found


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
        found, first = np.unique(np.concatenate([found, more]), return_index=True)
        lengths = np.concatenate([lengths, more_lengths])[first]
    return found, lengths.view(np.int64) + OVERHEAD_BYTES


def _intact_headers(block: Block, at: Ints) -> tuple[Ints, Words]:
    """Return those of some offsets at which the header of a record below 64 KB lies, and the lengths in them."""
    headers = _headers_at(block, at)
    lengths = headers[:, 0]
    short = lengths < _SHORT
    if not short.all():
        at, headers = at[short], headers[short]
        lengths = headers[:, 0]
    intact = length_checksums().take(lengths.astype(np.int64)) == headers[:, 1]
    return (at, lengths) if intact.all() else (at[intact], lengths[intact])


def _headers_at(block: Block, at: Ints) -> Words:
    """Return length and checksum at some offsets, shape ``[n, 2]``."""
    headers = block.gather(at, 2)
    headers[:, 1] &= np.uint64(0xFFFFFFFF)
    return headers


@lru_cache(maxsize=4096)
def _length_checksum(length: int) -> int:
    return masked_crc32c(length.to_bytes(8, "little"))
