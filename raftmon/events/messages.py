"""One event at a time, by the protobuf parser: scalars in rare encodings, texts, hyper-parameters, session starts.

Three encodings of a scalar are in use: ``simple_value`` (PyTorch, TensorFlow 1), a tensor of one element with the
plugin ``scalars`` in ``tensor_content`` (TensorFlow 2), and the same in a ``*_val`` field (PyTorch's ``new_style``).
The plugin of a tag may be named in its first event only, therefore the plugins of a file are kept beside it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from raftmon.events.wire import varint
from raftmon.slotted import dataclass

__all__ = ["MAX_TEXT_BYTES", "Message", "TextSummary", "is_media", "read_message"]

MAX_TEXT_BYTES: Final = 1_000_000
"""Longer texts are cut: configurations take some kilobytes."""

_HPARAMS_TAG: Final = "_hparams_/session_start_info"

_READ_PLUGINS: Final = frozenset({"scalars", "text", "hparams"})
# Keys of protobuf fields with a length. In an event: graph_def, tagged_run_metadata, meta_graph_def, summary. In a
# value of a summary: image, histo, audio, tensor, metadata.
_GRAPHS: Final = frozenset({0x22, 0x42, 0x4A})
_SUMMARY: Final = 0x2A
_MEDIA: Final = frozenset({0x22, 0x2A, 0x32})
_TENSOR: Final = 0x42
_METADATA: Final = 0x4A

_DT_BFLOAT16: Final = 14
_DT_HALF: Final = 19

# DataType of tensorflow/core/framework/types.proto: the name of the repeated field that holds its values, and the
# format of one little-endian element in tensor_content.
_ELEMENTS: Final[Mapping[int, tuple[str, struct.Struct]]] = {
    1: ("float_val", struct.Struct("<f")),
    2: ("double_val", struct.Struct("<d")),
    3: ("int_val", struct.Struct("<i")),
    4: ("int_val", struct.Struct("<B")),
    5: ("int_val", struct.Struct("<h")),
    6: ("int_val", struct.Struct("<b")),
    9: ("int64_val", struct.Struct("<q")),
    10: ("bool_val", struct.Struct("<?")),
    _DT_BFLOAT16: ("half_val", struct.Struct("<H")),
    17: ("int_val", struct.Struct("<H")),
    _DT_HALF: ("half_val", struct.Struct("<H")),
    22: ("uint32_val", struct.Struct("<I")),
    23: ("uint64_val", struct.Struct("<Q")),
}


@dataclass(frozen=True, slots=True)
class TextSummary:
    """A text that a trainer wrote, for example its configuration."""

    tag: str
    """As written: ``args/text_summary``, ``model_config/text_summary``..."""
    step: int
    wall_time: float
    """Seconds since the epoch."""
    text: str
    """The elements of the text tensor, joined by line ends and cut after `MAX_TEXT_BYTES`."""


@dataclass(slots=True)
class Message:
    """What an event says."""

    step: int = 0
    wall_time: float = 0.0
    """Seconds since the epoch."""
    scalars: list[tuple[str, float]] = field(default_factory=list)
    """Tag and value."""
    texts: list[TextSummary] = field(default_factory=list)
    hparams: dict[str, object] = field(default_factory=dict)
    """Name to number, text, bool or None."""
    starts_session: bool = False
    """Whether it is the note of a (re)started job that it goes on from this step."""
    invalid: bool = False
    """Whether it, or the hyper-parameters in it, are no valid protobuf."""


def is_media(record: bytes | bytearray, size: int, plugins: Mapping[str, str]) -> bool:
    """Tell whether a record is known, by how it begins, to hold nothing but a graph, a picture, a sound, a histogram.

    Args:
        record: its begin, header included.
        size: bytes of the whole record, header and checksum included.
        plugins: the plugin of each tag of the file so far.
    """
    end = size - 4
    try:
        if record[12] != 0x09:
            return False
        at = 21
        if record[at] == 0x10:
            _, at = varint(record, at + 1, len(record))
        key, (length, at) = record[at], varint(record, at + 1, len(record))
        if at + length != end or key != _SUMMARY:
            return at + length == end and key in _GRAPHS
        length, begin = varint(record, at + 1, len(record))
        if record[at] != 0x0A or begin + length != end or record[begin] != 0x0A:
            return False
        length, at = varint(record, begin + 1, len(record))
        tag, at = record[at : at + length].decode(), at + length
        key, (length, at) = record[at], varint(record, at + 1, len(record))
    except (IndexError, ValueError):
        return False
    if key == _TENSOR and plugins.get(tag, "text") not in _READ_PLUGINS:
        return at + length == end or _is_last_metadata(record, at + length, end)
    return key in _MEDIA and at + length == end


def _is_last_metadata(record: bytes | bytearray, at: int, end: int) -> bool:
    """Tell whether the metadata of a value begin at an offset, and end where its record does."""
    try:
        length, begin = varint(record, at + 1, len(record))
        return record[at] == _METADATA and begin + length == end
    except (IndexError, ValueError):
        return False


def read_message(data: bytes, plugins: dict[str, str]) -> Message:
    """Parse an event.

    Args:
        data: its bytes.
        plugins: the plugin of each tag of the file so far; what the event names is added.
    """
    # Imported here because files of nothing but plain scalars are read without protobuf.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto import event_pb2

    message = Message()
    try:
        event = event_pb2.Event.FromString(data)
    except DecodeError:
        message.invalid = True
        return message
    message.step, message.wall_time = event.step, event.wall_time
    values = event.summary.value
    for value in values:
        if value.HasField("simple_value"):
            message.scalars.append((value.tag, value.simple_value))
        else:
            _read_plugin_value(message, value, plugins)
    message.starts_session = not values and event.session_log.status == event_pb2.SessionLog.START
    return message


def _read_plugin_value(message: Message, value: Any, plugins: dict[str, str]) -> None:
    tag = value.tag
    # As in TensorBoard, the first plugin that a tag is given stays.
    plugin = plugins.get(tag)
    if plugin is None:
        plugin = value.metadata.plugin_data.plugin_name
        if plugin:
            plugins[tag] = plugin
    if plugin == "scalars" and value.HasField("tensor"):
        number = _element(value.tensor)
        if number is not None:
            message.scalars.append((tag, number))
    elif plugin == "text" and value.HasField("tensor"):
        text = b"\n".join(value.tensor.string_val)[:MAX_TEXT_BYTES].decode("utf-8", "replace")
        message.texts.append(TextSummary(tag, message.step, message.wall_time, text))
    elif plugin == "hparams" and tag == _HPARAMS_TAG:
        _read_hparams(message, value.metadata.plugin_data.content)


def _read_hparams(message: Message, content: bytes) -> None:
    # Imported here because few files have hyper-parameters.
    from google.protobuf.message import DecodeError
    from tensorboard.plugins.hparams import plugin_data_pb2

    try:
        start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    except DecodeError:
        message.invalid = True
    else:
        message.hparams.update({name: _plain(value) for name, value in start.hparams.items()})


def _element(tensor: Any) -> float | None:
    """Return the only element of a numeric tensor, or None if it has no or several elements or is no number."""
    kind = tensor.dtype
    dims = tensor.tensor_shape.dim
    if kind not in _ELEMENTS or (dims and any(dim.size != 1 for dim in dims)):
        return None
    field, element = _ELEMENTS[kind]
    content = tensor.tensor_content
    if content:
        if len(content) != element.size:
            return None
        number = element.unpack(content)[0]
    else:
        values = getattr(tensor, field)
        if len(values) > 1:
            return None
        # TensorFlow leaves the values of an all-zero tensor out.
        number = values[0] if values else 0
    if kind == _DT_HALF:
        return _reinterpret("<e", (number & 0xFFFF).to_bytes(2, "little"))
    if kind == _DT_BFLOAT16:
        return _reinterpret("<f", b"\0\0" + (number & 0xFFFF).to_bytes(2, "little"))
    return float(number)


def _reinterpret(code: str, content: bytes) -> float:
    return float(struct.unpack(code, content)[0])


def _plain(value: Any) -> object:
    kind = value.WhichOneof("kind")
    return None if kind in (None, "null_value") else getattr(value, kind)
