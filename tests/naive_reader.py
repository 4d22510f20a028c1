"""The simplest possible reader of event files, against which the real one is compared.

It looks at one byte string at a time, with TensorBoard's own checksum code and protobuf classes, and knows nothing of
blocks, columns, templates or caches. What it says is what the bytes say.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.hparams import plugin_data_pb2

from raftmon.events.tail import EventFile, FileUpdate
from tests.scripted import ScriptedFile

LONGEST: Final = 64 << 20
"""Data of a record in bytes beyond which its header counts as damaged."""


@lru_cache(maxsize=1 << 16)
def _checksum(data: bytes) -> int:
    return int(masked_crc32c(data))


def header_at(data: bytes, at: int) -> int | None:
    """The length that a header at this offset gives, None when there is no intact header."""
    if len(data) - at < 12:
        return None
    length, checksum = struct.unpack_from("<QI", data, at)
    if length > LONGEST or _checksum(data[at : at + 8]) != checksum:
        return None
    return int(length)


def record_at(data: bytes, at: int) -> bytes | None:
    """The data of the complete and intact record that begins at this offset, None when there is none."""
    length = header_at(data, at)
    if length is None or at + 16 + length > len(data):
        return None
    content = data[at + 12 : at + 12 + length]
    (checksum,) = struct.unpack_from("<I", data, at + 12 + length)
    return content if _checksum(content) == checksum else None


@dataclass
class Scan:
    """What the frames of a file are."""

    records: list[bytes] = field(default_factory=list)
    """The data of the intact records, in file order."""
    damaged: int = 0
    """Records and stretches that are lost."""
    end: int = 0
    """Where a torn last record begins, or the stretch after which nothing intact has come yet; else the size."""
    sure: int = 0
    """From where on what is appended may change the picture: before `end` when a damaged record is the last one."""
    open: bool = False
    """Whether the file ends inside a damaged stretch."""


def scan(data: bytes, at: int = 0) -> Scan:
    """Read the frames of a file that may be damaged, from an offset on.

    A torn record at the end waits. At a bad header the next offset counts at which a complete and intact record
    begins. A record whose data are damaged is passed over; when the place behind it is no header, its length was
    wrong, too, or bytes are missing: then the search begins inside it.
    """
    found = Scan()
    doubtful = (at, -1)
    while len(data) - at >= 12:
        length = header_at(data, at)
        if length is not None:
            behind = at + 16 + length
            if behind > len(data):
                break
            content = record_at(data, at)
            if content is not None:
                found.records.append(content)
                at = behind
                continue
            if len(data) - behind < 12 or header_at(data, behind) is not None:
                found.damaged += 1
                doubtful = (at, behind)
                at = behind
                continue
        found.damaged += 1
        following = _next_record(data, at + 1)
        if following is None:
            found.open = True
            break
        at = following
    found.end = at
    # What stands behind the last record, when it comes, may send the search into it.
    found.sure = doubtful[0] if doubtful[1] == at else at
    return found


def _next_record(data: bytes, at: int) -> int | None:
    for place in range(at, len(data) - 15):
        # Cheap first: the four high bytes of an admissible length are zero.
        if data[place + 4 : place + 8] == b"\0\0\0\0" and record_at(data, place) is not None:
            return place
    return None


@dataclass(frozen=True)
class Point:
    """One scalar; numbers are kept as bits, so that NaN equals itself and -0.0 differs from 0.0."""

    tag: str
    step: int
    wall_time: bytes
    value: bytes


@dataclass(frozen=True)
class Text:
    """One text."""

    tag: str
    step: int
    text: str


@dataclass(frozen=True)
class Start:
    """A session start."""

    step: int


@dataclass(frozen=True)
class HParams:
    """Hyper-parameters, as sorted pairs of name and representation."""

    values: tuple[tuple[str, str], ...]


Item = Point | Text | Start | HParams


def bits(number: float) -> bytes:
    """The eight bytes of a float."""
    return struct.pack("<d", number)


# DataType of types.proto -> numpy type of one element, field of the values that are not in tensor_content.
_TYPES: Final = {
    1: ("<f4", "float_val"),
    2: ("<f8", "double_val"),
    3: ("<i4", "int_val"),
    4: ("u1", "int_val"),
    5: ("<i2", "int_val"),
    6: ("i1", "int_val"),
    9: ("<i8", "int64_val"),
    10: ("?", "bool_val"),
    14: ("bfloat16", "half_val"),
    17: ("<u2", "int_val"),
    19: ("<f2", "half_val"),
    22: ("<u4", "uint32_val"),
    23: ("<u8", "uint64_val"),
}


def tensor_number(tensor: Any) -> float | None:
    """The only element of a numeric tensor, None when it has another number of elements or is not numeric."""
    if tensor.dtype not in _TYPES or any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    kind, name = _TYPES[tensor.dtype]
    numbers = getattr(tensor, name)
    width = 2 if kind == "bfloat16" else np.dtype(kind).itemsize
    if tensor.tensor_content:
        raw = tensor.tensor_content
        if len(raw) != width:
            return None
    elif name == "half_val":
        raw = (numbers[0] & 0xFFFF if numbers else 0).to_bytes(2, "little")
    elif len(numbers) <= 1:
        return float(numbers[0]) if numbers else 0.0
    if len(numbers) > 1:
        return None
    if kind == "bfloat16":
        raw, kind = b"\0\0" + raw, "<f4"
    if kind == "<f2":
        return float(struct.unpack("<e", raw)[0])
    if kind == "?":
        return float(raw != b"\0")
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return float(np.frombuffer(raw, kind)[0].astype(np.float64))


class Events:
    """Takes the records of one file, in order, and gives what they say."""

    def __init__(self) -> None:
        self.bad = 0
        self._plugins: dict[str, str] = {}

    def read(self, data: bytes) -> Iterator[Item]:
        """Give the items of one record; one that is no event is counted in `bad`."""
        try:
            event = event_pb2.Event.FromString(data)
        except DecodeError:
            self.bad += 1
            return
        if event.session_log.status == event_pb2.SessionLog.START:
            yield Start(event.step)
        for value in event.summary.value:
            yield from self._value(event, value)

    def _value(self, event: Any, value: Any) -> Iterator[Item]:
        if value.HasField("simple_value"):
            yield Point(value.tag, event.step, bits(event.wall_time), bits(value.simple_value))
            return
        plugin = self._plugins.get(value.tag) or value.metadata.plugin_data.plugin_name
        if plugin:
            self._plugins[value.tag] = plugin
        if plugin == "scalars" and value.HasField("tensor"):
            number = tensor_number(value.tensor)
            if number is not None:
                yield Point(value.tag, event.step, bits(event.wall_time), bits(number))
        elif plugin == "text" and value.HasField("tensor"):
            yield Text(value.tag, event.step, b"\n".join(value.tensor.string_val)[:1_000_000].decode(errors="replace"))
        elif plugin == "hparams" and value.tag == "_hparams_/session_start_info":
            yield from self._hparams(value.metadata.plugin_data.content)

    def _hparams(self, content: bytes) -> Iterator[Item]:
        try:
            info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        except DecodeError:
            self.bad += 1
            return
        kinds = {name: value.WhichOneof("kind") for name, value in info.hparams.items()}
        plain = {n: None if k in (None, "null_value") else getattr(info.hparams[n], k) for n, k in kinds.items()}
        yield HParams(tuple(sorted((name, repr(value)) for name, value in plain.items())))


def read_naively(data: bytes) -> tuple[list[Item], int]:
    """What a whole file says, and how many records or stretches of it are lost."""
    frames, events = scan(data), Events()
    items = [item for content in frames.records for item in events.read(content)]
    return items, frames.damaged + events.bad


def items_of(update: FileUpdate) -> list[Item]:
    """What the reader found, in the same form: points with session starts at their places, then the texts."""
    batch = update.scalars
    columns = (batch.tag_id.tolist(), batch.step.tolist(), batch.wall_time.tolist(), batch.value.tolist())
    items: list[Item] = [
        Point(batch.tags[tag_id], step, bits(wall_time), bits(value))
        for tag_id, step, wall_time, value in zip(*columns, strict=True)
    ]
    for start in reversed(update.session_starts):
        items.insert(start.before, Start(start.step))
    return items + [Text(found.tag, found.step, found.text) for found in update.texts]


def points(items: list[Item]) -> list[Item]:
    """Points and session starts alone."""
    return [item for item in items if isinstance(item, Point | Start)]


def texts(items: list[Item]) -> list[Item]:
    """Texts alone."""
    return [item for item in items if isinstance(item, Text)]


def read_all(events: EventFile, max_bytes: int = 8 << 20) -> list[Item]:
    """Read to the end; the file must not be reset meanwhile."""
    items: list[Item] = []
    for _ in range(100_000):
        update = events.read(max_bytes)
        assert not update.reset
        items += items_of(update)
        if not update.more:
            return items
    raise AssertionError("the reader never comes to the end")


def differences(content: bytes, budget: int = 8 << 20) -> list[str]:
    """Say in what the reader differs from the naive one, and whether it is silent about a loss; nothing: they agree."""
    expected, lost = read_naively(content)
    file = ScriptedFile(content)
    reader = EventFile(file.path, opener=file.opener, stat=file.stat)
    found = read_all(reader, budget)
    pairs = [(points(found), points(expected)), (texts(found), texts(expected))]
    told = [_first_difference(has, should) for has, should in pairs if has != should]
    if bool(reader.bad_records) != bool(lost):
        told.append(f"{reader.bad_records} damaged places instead of {lost}")
    return told


def _first_difference(has: list[Item], should: list[Item]) -> str:
    place = next((n for n, pair in enumerate(zip(has, should, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(has), len(should)) if place is None else place
    return (
        f"{len(has)} instead of {len(should)}, from the {at}th on {has[at : at + 2]} instead of {should[at : at + 2]}"
    )
