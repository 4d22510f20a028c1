"""A piece of an event file in memory, and the views through which thousands of records are looked at at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes: TypeAlias = NDArray[np.uint8]
    Words: TypeAlias = NDArray[np.uint64]
    HalfWords: TypeAlias = NDArray[np.uint32]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["KEPT_BITS", "SLACK", "Block", "varint_values", "widened"]

SLACK: Final = 1024
"""Bytes behind the content that may be looked at without harm, so that no gather has to be guarded."""
_KEPT_FREE: Final = 4 << 20
"""See `_keep_freed_memory`."""
KEPT_BITS: Final = np.array([(1 << (8 * count)) - 1 for count in range(8)] + [(1 << 64) - 1], np.uint64)
"""Masks that keep the lowest 0 to 8 bytes of a word."""


class Block:
    """A buffer that is used again and again: fresh memory costs more than decoding what is read into it.

    Args:
        capacity: bytes of content that it can hold.

    Attributes:
        data: the buffer, `SLACK` bytes longer.
        bytes: the same as uint8.
        words: the eight bytes from each offset on, as a little-endian uint64.
        halves: the four bytes from each offset on, as a little-endian uint32.
        aligned: the four bytes from each multiple of four on, as a little-endian uint32.
        scratch: room for as many bytes, for intermediate results.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray(capacity + SLACK)
        self.bytes: Bytes = np.frombuffer(self.data, np.uint8)
        self.words: Words = np.ndarray((len(self.data) - 7,), "<u8", self.data, strides=(1,))
        self.halves: HalfWords = np.ndarray((len(self.data) - 3,), "<u4", self.data, strides=(1,))
        self.aligned: HalfWords = self.bytes[: len(self.data) & ~3].view("<u4")
        self.scratch: Bytes = np.empty(capacity, np.uint8)
        _keep_freed_memory()

    def gather(self, at: Ints, count: int) -> Words:
        """Return so many words from each offset on, shape ``[n, count]``.

        All must lie in `data`. To copy eight words from one place takes hardly longer than to copy one.
        """
        pieces = np.ndarray((len(self.data) - 8 * count + 1,), f"V{8 * count}", self.data, strides=(1,))
        found: Words = pieces[at].view(np.uint64).reshape(len(at), count)
        return found


def _keep_freed_memory() -> None:
    """Have memory that is freed used again, which saves 3 to 8 % of reading.

    What decoding a block takes for intermediate results is freed behind it. By default glibc hands such pieces back to
    the system at once, and to get them anew costs as much as the computation. It keeps pieces up to the size of the
    largest that was freed so far (`mallopt(3)`, M_MMAP_THRESHOLD): this one, of which one page is touched. The whole
    process keeps up to twice as much free memory from then on. With other C libraries, or where MALLOC_ variables of
    the environment say otherwise, it does nothing.
    """
    np.empty(_KEPT_FREE, np.uint8)


def varint_values(raw: Words) -> Ints:
    """Return the numbers that varints of up to seven bytes mean.

    Args:
        raw: the bytes of each in a word, zeros behind them; of any shape.
    """
    value = raw & np.uint64(0x7F)
    longest = int(raw.max(initial=0)).bit_length()
    for place in range(1, (longest + 7) // 8):
        value |= (raw >> np.uint64(place)) & np.uint64(0x7F << (7 * place))
    return value.view(np.int64)


def widened(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return floats as doubles. A signalling NaN becomes a quiet one, as in every processor; it is no error."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)
