"""TFRecord framing: where the records of an event file begin and end, and which of them are intact.

A record is its length (unsigned, 8 bytes, little-endian), the masked CRC-32C of these 8 bytes, the data, and the
masked CRC-32C of the data (``tensorflow/core/lib/io/record_writer.h``).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from raftmon.events.crc import masked_crc32c, masked_crc32c_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["HEADER_BYTES", "MAX_RECORD_BYTES", "OVERHEAD_BYTES", "Frames", "scan"]

HEADER_BYTES: Final = 12
"""Length and its checksum."""

OVERHEAD_BYTES: Final = 16
"""What a record takes beyond its data: header and checksum of the data."""

MAX_RECORD_BYTES: Final = 64 << 20
"""Longest data of a record that is read. Scalars take some 50 bytes, graphs and images a few megabytes; a longer
record ends its file, so that no file can make a reader allocate more than this."""

_HEADER: Final = struct.Struct("<QI")


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The complete records of a buffer, in columns."""

    starts: Ints
    """Offset in the buffer of the data of each intact record, in file order."""
    lengths: Ints
    """Bytes of its data."""
    end: int
    """Offset in the buffer where the complete records end, damaged ones included: the place to go on from."""
    needed: int
    """Bytes from `end` on without which nothing more can be framed: the whole next record, or its header as long as
    that is not complete. Always more than the buffer holds, unless `broken`."""
    bad: int
    """Complete records whose data do not match their checksum; they are left out."""
    broken: str | None
    """Why nothing after `end` can be framed, in words for people; None: more bytes may follow."""


def scan(buffer: bytes) -> Frames:
    """Find the records in a buffer that begins at a record.

    A truncated record at the end is no error, it is left for a later buffer. Data that do not match their checksum
    cost that record. A length that does not match its own checksum, or beyond `MAX_RECORD_BYTES`, ends the framing:
    where the next record begins is unknown.

    Args:
        buffer: bytes of an event file.

    Returns:
        The intact records, where to go on, and what was wrong.
    """
    starts: list[int] = []
    ends: list[int] = []
    broken = None
    needed = HEADER_BYTES
    at, size = 0, len(buffer)
    while at + HEADER_BYTES <= size:
        length, checksum = _HEADER.unpack_from(buffer, at)
        if _length_checksum(length) != checksum:
            broken = "the length of a record does not match its checksum"
            break
        if length > MAX_RECORD_BYTES:
            broken = f"a record of {length:,} bytes is beyond the limit of {MAX_RECORD_BYTES:,}"
            break
        following = at + OVERHEAD_BYTES + length
        if following > size:
            needed = OVERHEAD_BYTES + length
            break
        starts.append(at + HEADER_BYTES)
        ends.append(at + HEADER_BYTES + length)
        at = following
    return _intact(buffer, np.array(starts, np.int64), np.array(ends, np.int64), (at, needed, broken))


def _intact(buffer: bytes, starts: Ints, ends: Ints, rest: tuple[int, int, str | None]) -> Frames:
    lengths = ends - starts
    bad = 0
    if len(starts):
        # One 32-bit word at each byte of the buffer, so that unaligned checksums are gathered at once.
        words = np.ndarray((len(buffer) - 3,), "<u4", buffer, strides=(1,))
        good = masked_crc32c_many(np.frombuffer(buffer, np.uint8), starts, lengths) == words[ends]
        if not good.all():
            bad = int(len(good) - np.count_nonzero(good))
            starts, lengths = starts[good], lengths[good]
    end, needed, broken = rest
    return Frames(starts, lengths, end, needed, bad, broken)


@lru_cache(maxsize=4096)
def _length_checksum(length: int) -> int:
    return masked_crc32c(length.to_bytes(8, "little"))
