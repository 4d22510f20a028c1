"""The records with which files of one make begin: at step 0, which is not written, they are shorter than later ones.

A logdir of a thousand short runs has a thousand such beginnings. They are the same but for wall times and values, and
are read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from raftmon.events.block import widened
from raftmon.events.columns import ScalarBatch
from raftmon.events.crc import LONGEST_DISTANCE, MASK_DELTA, MAX_DISTANCE, byte_tables
from raftmon.events.wire import WALL_AT, Form

if TYPE_CHECKING:
    from raftmon.events.block import Block
    from raftmon.events.periods import Cycle

__all__ = ["Prologue"]


class Prologue:
    """Some records in a row, without steps and with at most one float each.

    Args:
        forms: theirs.
        numbers: of the forms, in the table of forms.

    Raises:
        ValueError: one of the forms has a step, a double or several values.

    Attributes:
        numbers: as given.
        size: bytes of all of them.
        cycle: what came behind them in the file that was read last; None: not known.
        is_plain: whether all are scalars in any file, whatever that says of their tags.
    """

    def __init__(self, forms: Sequence[Form], numbers: Sequence[int]) -> None:
        if any(form.step_bytes or len(form.places) > 1 or any(place.wide for place in form.places) for form in forms):
            raise ValueError("a record of another make")
        self.numbers = tuple(numbers)
        sizes = np.array([len(form.constant) for form in forms])
        starts = np.cumsum(sizes) - sizes
        self.size = int(sizes.sum())
        constant, mask = (b"".join(part) for part in zip(*((form.constant, form.mask) for form in forms), strict=True))
        self._constant, self._mask = int.from_bytes(constant, "little"), int.from_bytes(mask, "little")
        self._tables = byte_tables() if sizes.max() <= MAX_DISTANCE else byte_tables(LONGEST_DISTANCE)
        self._checksum_at = starts + sizes - 4
        self._checksum = np.array([form.checksum for form in forms], np.uint32)
        # The varying bytes but for the checksums, of one record after the other.
        ends = np.repeat(self._checksum_at, sizes)
        varying = np.flatnonzero((np.frombuffer(mask, np.uint8) == 0) & (np.arange(self.size) < ends))
        self._varying = varying
        self._table_at = (ends[varying] - 1 - varying) * 256
        self._first_varying = np.searchsorted(varying, starts)
        with_value = np.array([bool(form.places) for form in forms])
        self._wall_at = starts[with_value] + WALL_AT
        places = [place for form in forms for place in form.places]
        self._value_at = starts[with_value] + np.array([place.offset for place in places], np.int64)
        numbering: dict[str, int] = {}
        self._tag_id = np.array([numbering.setdefault(place.tag, len(numbering)) for place in places], np.int32)
        self._tags = tuple(numbering)
        self.cycle: Cycle | None = None
        self.is_plain = all(place.plugin is None for place in places)

    def read(self, block: Block, start: int) -> ScalarBatch | None:
        """Read them; None if something else lies there, or a checksum is wrong. All of them must lie in the block."""
        if int.from_bytes(block.data[start : start + self.size], "little") & self._mask != self._constant:
            return None
        parts = self._tables.take(block.bytes[self._varying + start] + self._table_at)
        residue = np.bitwise_xor.reduceat(parts, self._first_varying) ^ self._checksum
        if (residue + np.uint32(MASK_DELTA) != block.halves[self._checksum_at + start]).any():
            return None
        wall_time = block.words[self._wall_at + start].view(np.float64)
        value = widened(block.halves[self._value_at + start].view(np.float32))
        return ScalarBatch(self._tags, self._tag_id, np.zeros(len(value), np.int64), wall_time, value)
