"""Event protobufs -> columns of scalars, and the texts, hyper-parameters and session starts between them.

Three encodings of a scalar are in use: ``simple_value`` (PyTorch, TensorFlow 1), a tensor of one element with the
plugin ``scalars`` in ``tensor_content`` (TensorFlow 2), and the same in a ``*_val`` field (PyTorch's ``new_style``).
The plugin of a tag may be named in its first event only, therefore a `Decoder` belongs to one file and remembers it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboard.compat.proto import event_pb2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids: TypeAlias = NDArray[np.int32]
    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["MAX_TEXT_BYTES", "Decoded", "Decoder", "ScalarBatch", "SessionStart", "TextSummary"]

MAX_TEXT_BYTES: Final = 1_000_000
"""Longer texts are cut: configurations take some kilobytes."""

_HPARAMS_TAG: Final = "_hparams_/session_start_info"

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


@dataclass(frozen=True, slots=True, eq=False)
class ScalarBatch:
    """Scalar points in columns, in file order. The columns are read-only."""

    tags: tuple[str, ...]
    """The tags that occur in this batch, in the order in which the file first had them."""
    tag_id: Ids
    """Index into `tags`, int32."""
    step: Ints
    """Step as the trainer wrote it, int64; may be negative, repeated or go back."""
    wall_time: Floats
    """Seconds since the epoch, float64."""
    value: Floats
    """Float64; NaN and infinities are kept. Integers beyond 2**53 are rounded."""

    def __len__(self) -> int:
        return len(self.step)


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


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A writer's note that a (re)started job goes on from a step: later points at or after it are void."""

    before: int
    """Index in the batch of the first scalar written after the note; the batch's length if there is none yet."""
    step: int
    """The step from which the job goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What a `Decoder` found since it was last asked."""

    scalars: ScalarBatch
    texts: tuple[TextSummary, ...]
    hparams: Mapping[str, object]
    """Name to number, text, bool or None, as logged for TensorBoard's hparams plugin; empty: nothing new."""
    session_starts: tuple[SessionStart, ...]


class Decoder:
    """Decodes the records of one event file, in file order."""

    def __init__(self) -> None:
        self._plugins: dict[str, str] = {}
        self._ids: dict[str, int] = {}
        self._bad = 0
        self._clear()

    def _clear(self) -> None:
        self._tag_id = array("i")
        self._step = array("q")
        self._wall_time = array("d")
        self._value = array("d")
        self._texts: list[TextSummary] = []
        self._hparams: dict[str, object] = {}
        self._session_starts: list[SessionStart] = []

    def feed(self, buffer: bytes, starts: Ints, lengths: Ints) -> int:
        """Decode records whose checksums are right.

        Args:
            buffer: the bytes in which they lie.
            starts: offset of the data of each record.
            lengths: its bytes.

        Returns:
            How many of them are no valid events. Where only the hyper-parameters inside are invalid, the rest counts.
        """
        parse = event_pb2.Event.FromString
        self._bad = 0
        for start, end in zip(starts.tolist(), (starts + lengths).tolist(), strict=True):
            try:
                event = parse(buffer[start:end])
            except DecodeError:
                self._bad += 1
            else:
                self._event(event)
        return self._bad

    def take(self) -> Decoded:
        """Hand over what was decoded since the last call."""
        decoded = Decoded(
            scalars=self._batch(),
            texts=tuple(self._texts),
            hparams=self._hparams,
            session_starts=tuple(self._session_starts),
        )
        self._clear()
        return decoded

    def _batch(self) -> ScalarBatch:
        ids = np.asarray(self._tag_id, np.int32)
        used = np.flatnonzero(np.bincount(ids, minlength=len(self._ids)))
        names = tuple(self._ids)
        if len(used) < len(names):
            new_ids = np.zeros(len(names), np.int32)
            new_ids[used] = np.arange(len(used), dtype=np.int32)
            ids = new_ids[ids]
            names = tuple(names[index] for index in used.tolist())
        columns = (
            ids,
            np.asarray(self._step, np.int64),
            np.asarray(self._wall_time, np.float64),
            np.asarray(self._value, np.float64),
        )
        for column in columns:
            column.flags.writeable = False
        return ScalarBatch(names, *columns)

    def _event(self, event: Any) -> None:
        values = event.summary.value
        if values:
            step, wall_time = event.step, event.wall_time
            for value in values:
                if value.HasField("simple_value"):
                    self._scalar(value.tag, step, wall_time, value.simple_value)
                else:
                    self._plugin_value(value, step, wall_time)
        elif event.session_log.status == event_pb2.SessionLog.START:
            self._session_starts.append(SessionStart(len(self._step), event.step))

    def _scalar(self, tag: str, step: int, wall_time: float, value: float) -> None:
        self._tag_id.append(self._ids.setdefault(tag, len(self._ids)))
        self._step.append(step)
        self._wall_time.append(wall_time)
        self._value.append(value)

    def _plugin_value(self, value: Any, step: int, wall_time: float) -> None:
        tag = value.tag
        # As in TensorBoard, the first plugin that a tag is given stays.
        plugin = self._plugins.get(tag)
        if plugin is None:
            plugin = value.metadata.plugin_data.plugin_name
            if plugin:
                self._plugins[tag] = plugin
        if plugin == "scalars" and value.HasField("tensor"):
            number = _element(value.tensor)
            if number is not None:
                self._scalar(tag, step, wall_time, number)
        elif plugin == "text" and value.HasField("tensor"):
            text = b"\n".join(value.tensor.string_val)[:MAX_TEXT_BYTES].decode("utf-8", "replace")
            self._texts.append(TextSummary(tag, step, wall_time, text))
        elif plugin == "hparams" and tag == _HPARAMS_TAG:
            self._session_hparams(value.metadata.plugin_data.content)

    def _session_hparams(self, content: bytes) -> None:
        # Imported here because few files have hyper-parameters.
        from tensorboard.plugins.hparams import plugin_data_pb2

        try:
            start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        except DecodeError:
            self._bad += 1
        else:
            self._hparams.update({name: _plain(value) for name, value in start.hparams.items()})


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
