"""Where the scalars lie in the bytes of one event record: read once, so that its likes need not be parsed.

Trainers write the same event again and again: between two records of a tag nothing differs but wall time, step, value
and checksum. `read_form` takes one record apart and returns its `Form`: which bytes are the same in all of them, and
where the others lie. It takes the order of fields that all known writers use, and refuses everything else, which is
then left to the protobuf parser::

    0        8     12  13        21  22    22+k                          end-4
    length   crc   09  wall      10  step  2a S  0a V  0a T tag  15 f    crc      simple_value
                                                         ... tag  42 ...          a tensor of one float or double

S, V and T are the lengths of summary, value and tag; a record may hold several values. Events at step 0 lack the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from raftmon.events.crc import LONGEST_DISTANCE, crc32c, rotated
from raftmon.slotted import dataclass

__all__ = ["MAX_FORM_BYTES", "STEP_AT", "WALL_AT", "Form", "Place", "read_form", "varint"]

WALL_AT: Final = 13
"""Offset in a record of the wall time, a double."""
STEP_AT: Final = 22
"""Offset in a record of the step, a varint."""
MAX_STEP_BYTES: Final = 7
"""Longest step that is read in columns: 49 bits. Negative steps take ten bytes."""
MAX_FORM_BYTES: Final = LONGEST_DISTANCE
"""Longest record that is worth a form."""

_MOST_KEY_BYTES: Final = 5
"""Longest key, and longest length of a field, that protobuf takes."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DT_FLOAT, _DT_DOUBLE = 1, 2


@dataclass(frozen=True, slots=True)
class Place:
    """One scalar in a record."""

    tag: str
    offset: int
    """Of the value's first byte in the record."""
    wide: bool
    """Whether the value is a double; else a float. Both are little-endian."""
    plugin: str | None
    """Plugin that the record names for the tag; empty: a tensor without one; None: it needs none (`simple_value`)."""


@dataclass(frozen=True, slots=True)
class Form:
    """What all records of one kind have in common."""

    constant: bytes
    """The whole record, header and checksum included; the bytes that vary are zero."""
    mask: bytes
    """As long: 255 where a byte is always the same, 128 where its highest bit is (a step), 0 where it varies."""
    step_bytes: int
    """Length of the step; 0: there is none, which means step 0."""
    places: tuple[Place, ...]
    """Its scalars in the order of the file; none in the record with which a file begins."""
    checksum: int
    """The rotated checksum of such a record whose varying bytes (all of the step's) are zero."""


def read_form(record: bytes) -> Form | None:
    """Take one record apart.

    Args:
        record: a whole record, header and checksum included; both are taken to be right.

    Returns:
        Its form, or None if it is not of a form that can be read in columns.
    """
    end = len(record) - 4
    if not STEP_AT < end <= MAX_FORM_BYTES or record[12] != 0x09:
        return None
    try:
        at = WALL_AT + 8
        step_bytes = 0
        if record[at] == 0x10:
            _, at = varint(record, STEP_AT, end)
            step_bytes = at - STEP_AT
        places = () if _is_version(record, at, end) else _summary(record, at, end)
    except (ValueError, IndexError, KeyError):  # a UnicodeDecodeError is a ValueError
        return None
    if step_bytes > MAX_STEP_BYTES:
        return None
    mask = bytearray(b"\xff" * len(record))
    mask[WALL_AT : WALL_AT + 8] = bytes(8)
    mask[STEP_AT : STEP_AT + step_bytes] = b"\x80" * step_bytes
    for place in places:
        size = 8 if place.wide else 4
        mask[place.offset : place.offset + size] = bytes(size)
    mask[end:] = bytes(4)
    constant = (int.from_bytes(record, "little") & int.from_bytes(mask, "little")).to_bytes(len(record), "little")
    data = bytearray(constant[12:end])
    data[STEP_AT - 12 : STEP_AT - 12 + step_bytes] = bytes(step_bytes)
    return Form(constant, bytes(mask), step_bytes, places, rotated(crc32c(bytes(data))))


def _is_version(record: bytes, at: int, end: int) -> bool:
    """Tell whether an event says the version of the file, and at most who wrote it."""
    fields = {number: (kind, begin, stop) for number, kind, begin, stop in _fields(record, at, end, once=True)}
    if 3 not in fields or not fields.keys() <= {3, 10} or any(kind != _BYTES for kind, _, _ in fields.values()):
        return False
    _, begin, stop = fields[3]
    record[begin:stop].decode()
    _, begin, stop = fields.get(10, (_BYTES, 0, 0))
    for number, kind, first, last in _fields(record, begin, stop):
        if (number, kind) != (1, _BYTES):
            raise ValueError("an unknown field")
        record[first:last].decode()
    return True


def _summary(record: bytes, at: int, end: int) -> tuple[Place, ...]:
    """Read the values of a summary, which must be the last field of the event."""
    places = []
    ((number, kind, first, last),) = _fields(record, at, end)
    if (number, kind) != (5, _BYTES) or first == last:
        raise ValueError("no summary, or an empty one")
    for number, kind, begin, stop in _fields(record, first, last):
        if (number, kind) != (1, _BYTES):
            raise ValueError("an unknown field")
        places.append(_value(record, begin, stop))
    return tuple(places)


def _value(record: bytes, at: int, end: int) -> Place:
    found = {number: (kind, begin, stop) for number, kind, begin, stop in _fields(record, at, end, once=True)}
    kind, begin, stop = found.pop(1)
    if kind != _BYTES or begin == stop:
        raise ValueError("no tag")
    tag = record[begin:stop].decode()
    if found.keys() == {2}:
        kind, begin, _ = found[2]
        if kind != _FIXED32:
            raise ValueError("no float")
        return Place(tag, begin, False, None)
    if 8 not in found or not found.keys() <= {8, 9} or any(kind != _BYTES for kind, _, _ in found.values()):
        raise ValueError("no scalar")
    _, begin, stop = found.get(9, (_BYTES, 0, 0))
    plugin = _plugin(record[begin:stop])
    _, begin, stop = found[8]
    return _tensor(record, begin, stop, tag, plugin)


def _plugin(metadata: bytes) -> str:
    """Return the plugin that a scalar in a tensor names."""
    # Imported here because files of nothing but plain scalars are read without protobuf.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto import summary_pb2

    try:
        return str(summary_pb2.SummaryMetadata.FromString(metadata).plugin_data.plugin_name)
    except DecodeError as error:
        raise ValueError("no metadata") from error


def _tensor(record: bytes, at: int, end: int, tag: str, plugin: str) -> Place:
    """Read a tensor that holds one float or double."""
    fields = {number: (kind, begin, stop) for number, kind, begin, stop in _fields(record, at, end, once=True)}
    kind, begin, stop = fields.pop(1)
    dtype = varint(record, begin, stop)[0] if kind == _VARINT else 0
    kind, begin, stop = fields.pop(2, (_BYTES, 0, 0))
    if kind != _BYTES or not _is_one_element(record, begin, stop) or dtype not in (_DT_FLOAT, _DT_DOUBLE):
        raise ValueError("no scalar")
    # tensor_content, or else float_val or double_val, packed or not
    ((number, (kind, begin, stop)),) = fields.items()
    wide = dtype == _DT_DOUBLE
    single = _FIXED64 if wide else _FIXED32
    own = 6 if wide else 5
    if stop - begin != (8 if wide else 4) or (number, kind) not in {(4, _BYTES), (own, _BYTES), (own, single)}:
        raise ValueError("no scalar")
    return Place(tag, begin, wide, plugin)


def _is_one_element(record: bytes, at: int, end: int) -> bool:
    for number, kind, begin, stop in _fields(record, at, end):
        if (number, kind) != (2, _BYTES):
            return False
        sizes = [
            varint(record, begin, stop)[0]
            for number, kind, begin, stop in _fields(record, begin, stop)
            if (number, kind) == (1, _VARINT)
        ]
        if sizes != [1] or stop - begin != 2:
            return False
    return True


def _fields(record: bytes, at: int, end: int, *, once: bool = False) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, begin and end of each field between two offsets.

    Args:
        record: the bytes.
        at: where the first field begins.
        end: where the last one ends.
        once: refuse a field that comes twice.

    Raises:
        ValueError: the bytes are no fields, or a field comes twice.
    """
    seen = set()
    while at < end:
        key, at = varint(record, at, min(end, at + _MOST_KEY_BYTES))
        number, kind = key >> 3, key & 7
        if number in seen and once:
            raise ValueError("a field twice")
        seen.add(number)
        begin = at
        if kind == _VARINT:
            _, at = varint(record, at, end)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        elif kind == _BYTES:
            size, begin = varint(record, at, min(end, at + _MOST_KEY_BYTES))
            at = begin + size
        else:
            raise ValueError("an unknown wire type")
        if at > end:
            raise ValueError("a field beyond its message")
        yield number, kind, begin, at


def varint(record: bytes | bytearray, at: int, end: int) -> tuple[int, int]:
    """Return the varint at an offset, and where it ends.

    Raises:
        ValueError: it does not end within ten bytes, or before `end`.
    """
    value = 0
    for place in range(min(10, end - at)):
        byte = record[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("an unfinished varint")
