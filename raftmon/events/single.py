"""One record of a known form, without numpy and without the protobuf parser: a live job writes a few at a time."""

from __future__ import annotations

import struct
from array import array
from functools import cache
from typing import Final

from raftmon.events.crc import LONGEST_DISTANCE, MASK_DELTA, MAX_DISTANCE, byte_tables
from raftmon.events.wire import STEP_AT, WALL_AT, Form

__all__ = ["Single"]

_WALL: Final = struct.Struct("<d")
_ALL_ONES: Final = 0xFFFFFFFF


class Single:
    """Reads records of one form.

    Args:
        form: which.
        constant: checksum of such a record whose varying bytes are zero, see `forms.checksum_constant`.
    """

    __slots__ = ("_form", "_sum", "_terms", "_values")

    def __init__(self, form: Form, constant: int) -> None:
        self._form = form
        self._sum = constant
        end = len(form.constant) - 4
        varying = [at for at in range(12, end) if form.mask[at] != 0xFF]
        self._terms = [(at, _table(end - 1 - at)) for at in varying]
        self._values = [(place.tag, struct.Struct("<d" if place.wide else "<f"), place.offset) for place in form.places]

    def read(self, record: bytes) -> tuple[int, float, list[tuple[str, float]]] | None:
        """Return step, wall time, and tag and value of each scalar.

        Args:
            record: a whole record of this form.

        Returns:
            None if its checksum is wrong.
        """
        residue = self._sum
        for at, table in self._terms:
            residue ^= table[record[at]]
        if (residue + MASK_DELTA) & _ALL_ONES != int.from_bytes(record[-4:], "little"):
            return None
        step = shift = 0
        for byte in record[STEP_AT : STEP_AT + self._form.step_bytes]:
            step |= (byte & 0x7F) << shift
            shift += 7
        values = [(tag, value.unpack_from(record, at)[0]) for tag, value, at in self._values]
        return step, _WALL.unpack_from(record, WALL_AT)[0], values


@cache
def _table(distance: int) -> array[int]:
    """Return what each value of a byte adds to the checksum, by its distance from the last byte of the data."""
    tables = byte_tables() if distance < MAX_DISTANCE else byte_tables(LONGEST_DISTANCE)
    return array("I", tables[256 * distance : 256 * (distance + 1)].tobytes())
