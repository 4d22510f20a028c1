"""Records of event files, thousands of a kind at a time.

A record is made from a template: an event that the protobuf classes serialised, with marks where wall time, step and
values lie. All records of one template are then filled in at once. The checksums are raftmon's own; a test holds the
bytes against tensorboard's writer.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from tensorboard.compat.proto import event_pb2, types_pb2

from raftmon.events.crc import masked_crc32c, masked_crc32c_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes: TypeAlias = NDArray[np.uint8]
    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.floating[Any]]

__all__ = ["BEGAN", "Encoding", "Rows", "encode", "framed", "opening", "scalar_event"]

BEGAN: Final = 1.7e9
"""Wall time at which all files begin, in seconds since the epoch."""

Encoding = Literal["simple_value", "tensor"]

_BLOCK: Final = 1 << 15
"""Records that are encoded at a time."""

# Marks in a template: no other bytes of it are alike.
_WALL_MARK: Final = struct.unpack("<d", b"\xf1\xf2\xf3\xf4\xf5\xf6\xf7\x41")[0]
_VALUE_MARK: Final = struct.unpack("<f", b"\xe1\xe2\xe3\x41")[0]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Records with scalars in columns, in file order; n of them."""

    kinds: Sequence[tuple[str, ...]]
    """The tags of each kind of record: one, or all those of its Summary (equally many in each kind)."""
    kind: Ints
    """(n,) index into `kinds`."""
    step: Ints
    """(n,), at least 0."""
    wall_time: Floats
    """(n,) seconds since the epoch; never 0, which protobuf leaves out."""
    values: Floats
    """(n, tags of a kind), written as float32."""
    encoding: Encoding = "simple_value"

    def slice(self, start: int, end: int) -> Rows:
        """Return some of the records."""
        part = slice(start, end)
        return Rows(
            self.kinds, self.kind[part], self.step[part], self.wall_time[part], self.values[part], self.encoding
        )


def framed(event: bytes) -> bytes:
    """Return an event as the record of a file."""
    length = struct.pack("<Q", len(event))
    return b"".join((length, struct.pack("<I", masked_crc32c(length)), event, struct.pack("<I", masked_crc32c(event))))


def opening() -> bytes:
    """Return the event that every file begins with."""
    event = event_pb2.Event(wall_time=BEGAN, file_version="brain.Event:2")
    event.source_metadata.writer = "tensorboard.summary.writer.event_file_writer"
    return bytes(event.SerializeToString())


def scalar_event(
    tags: Sequence[str], step: int, wall_time: float, values: Sequence[float], encoding: Encoding
) -> bytes:
    """Return one event with scalars, serialised by the protobuf classes."""
    event = event_pb2.Event(wall_time=wall_time, step=step)
    for tag, number in zip(tags, values, strict=True):
        value = event.summary.value.add(tag=tag)
        if encoding == "simple_value":
            value.simple_value = number
        else:
            value.tensor.dtype = types_pb2.DT_FLOAT
            value.tensor.tensor_shape.SetInParent()
            value.tensor.tensor_content = struct.pack("<f", number)
            value.metadata.plugin_data.plugin_name = "scalars"
    return bytes(event.SerializeToString())


@dataclass(frozen=True, slots=True, eq=False)
class _Template:
    """A record with marks for what differs between the records of its kind."""

    record: Bytes
    """The frame included; the checksum of the event is empty."""
    wall_time: int
    """Offset of its 8 bytes."""
    step: int
    """Offset of its varint."""
    step_bytes: int
    """Length of that; 0: the step is 0, and left out."""
    values: tuple[int, ...]
    """Offset of the 4 bytes of each value."""


@cache
def _template(tags: tuple[str, ...], encoding: Encoding, step_bytes: int) -> _Template:
    step = 1 << (7 * (step_bytes - 1)) if step_bytes else 0
    event = scalar_event(tags, step, _WALL_MARK, [_VALUE_MARK] * len(tags), encoding)
    record = framed(event)[:-4] + bytes(4)
    wall_time, mark = record.index(struct.pack("<d", _WALL_MARK)), struct.pack("<f", _VALUE_MARK)
    values = [record.index(mark)]
    while len(values) < len(tags):
        values.append(record.index(mark, values[-1] + 4))
    # The step is the next field after the wall time: one byte of key, then the number.
    return _Template(np.frombuffer(record, np.uint8), wall_time, wall_time + 9, step_bytes, tuple(values))


def _varint_bytes(numbers: Ints) -> Ints:
    """Bytes of each number as a varint; 0 for the number 0."""
    limits = np.array([0] + [(1 << (7 * size)) - 1 for size in range(1, 9)])
    return np.searchsorted(limits, numbers, side="left")


def _filled(template: _Template, rows: Rows, chosen: Ints) -> Bytes:
    """Return the records (m, bytes of the template) of the chosen rows."""
    records = np.repeat(template.record[None, :], len(chosen), axis=0)

    def put(offset: int, column: Any) -> None:
        records[:, offset : offset + column.dtype.itemsize] = np.ascontiguousarray(column)[:, None].view(np.uint8)

    put(template.wall_time, rows.wall_time[chosen].astype("<f8"))
    for place in range(template.step_bytes):
        goes_on = 0x80 if place < template.step_bytes - 1 else 0
        put(template.step + place, ((rows.step[chosen] >> (7 * place)) & 0x7F | goes_on).astype(np.uint8))
    for number, offset in enumerate(template.values):
        put(offset, rows.values[chosen, number].astype("<f4"))
    size = records.shape[1]
    starts = np.arange(len(chosen)) * size + 12
    put(size - 4, masked_crc32c_many(records.ravel(), starts, np.full(len(chosen), size - 16)).astype("<u4"))
    return records


def encode(rows: Rows) -> bytes:
    """Return the records of some rows, as they stand in a file."""
    return b"".join(_encoded(rows.slice(start, start + _BLOCK)) for start in range(0, len(rows.step), _BLOCK))


def _encoded(rows: Rows) -> bytes:
    layout = rows.kind * 16 + _varint_bytes(rows.step)
    found, which = np.unique(layout, return_inverse=True)
    templates = [_template(rows.kinds[code >> 4], rows.encoding, code & 15) for code in found.tolist()]
    sizes = np.array([len(template.record) for template in templates])[which]
    offsets = np.cumsum(sizes) - sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    for number, template in enumerate(templates):
        chosen = np.flatnonzero(which == number)
        places = offsets[chosen][:, None] + np.arange(len(template.record))
        out[places] = _filled(template, rows, chosen)
    return out.tobytes()
