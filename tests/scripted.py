"""Event files made by hand, and a fake file that grows, shrinks, fails and vanishes on command."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from raftmon.events.block import Block
from raftmon.events.tail import EventFile, FileUpdate

FIRST = 1_700_000_000.0
"""Wall time of the events, unless told otherwise."""


def record(data: bytes) -> bytes:
    """Frame bytes as a TFRecord; the checksums are computed by TensorBoard's own code."""
    return length_header(len(data)) + data + struct.pack("<I", masked_crc32c(data))


def length_header(length: int) -> bytes:
    """The twelve bytes before the data of a TFRecord."""
    encoded = struct.pack("<Q", length)
    return encoded + struct.pack("<I", masked_crc32c(encoded))


def event(values: Iterable[Any] = (), *, step: int = 0, wall_time: float = FIRST, **fields: Any) -> bytes:
    """An event with summary values, or with other fields (``file_version=...``), as bytes without frame."""
    message = event_pb2.Event(step=step, wall_time=wall_time, **fields)
    values = list(values)
    if values:
        message.summary.value.extend(values)
    return bytes(message.SerializeToString())


def simple(tag: str, value: float) -> Any:
    """A summary value as PyTorch's ``add_scalar`` writes it."""
    return summary_pb2.Summary.Value(tag=tag, simple_value=value)


def metadata(plugin: str, content: bytes = b"") -> Any:
    """Summary metadata that name a plugin."""
    return summary_pb2.SummaryMetadata(plugin_data={"plugin_name": plugin, "content": content})


def tensor(tag: str, plugin: str | None = "scalars", *, shape: Iterable[int] = (), **fields: Any) -> Any:
    """A summary value with a tensor; `plugin` None leaves the metadata out, as later events of TensorFlow 1 do."""
    value = summary_pb2.Summary.Value(tag=tag, tensor=tensor_pb2.TensorProto(**fields))
    value.tensor.tensor_shape.SetInParent()
    for size in shape:
        value.tensor.tensor_shape.dim.add(size=size)
    if plugin is not None:
        value.metadata.CopyFrom(metadata(plugin))
    return value


def text(tag: str, *lines: str, plugin: str | None = "text") -> Any:
    """A summary value as PyTorch's ``add_text`` writes it."""
    encoded = [line.encode() for line in lines]
    return tensor(tag, plugin, dtype=types_pb2.DT_STRING, shape=(len(lines),), string_val=encoded)


def scalar_record(tag: str, value: float, step: int = 0, wall_time: float = FIRST) -> bytes:
    """One point in one framed record."""
    return record(event([simple(tag, value)], step=step, wall_time=wall_time))


def block_of(data: bytes) -> Block:
    """A block that holds some bytes."""
    block = Block(max(1, len(data)))
    block.data[: len(data)] = data
    return block


def header_record() -> bytes:
    """The record with which most event files begin."""
    return record(event(file_version="brain.Event:2"))


def losses(*numbers: float, first_step: int = 0) -> bytes:
    """Points of the tag ``loss`` at successive steps, a framed record each."""
    return b"".join(scalar_record("loss", number, first_step + step) for step, number in enumerate(numbers))


@dataclass
class ScriptedFile:
    """A file in memory whose `opener` and `stat` are handed to a reader.

    Opening takes the content as it is at that moment; each change of the content moves `mtime_ns`.
    """

    data: bytes = b""
    path: Path = Path("run/events.out.tfevents.1700000000.host.1.0")
    inode: int = 7
    mode: int = stat.S_IFREG | 0o644
    mtime_ns: int = 1
    exists: bool = True
    stat_error: OSError | None = None
    open_error: OSError | None = None
    read_error: OSError | None = None
    """Raised by every read after the first `good_reads` ones."""
    good_reads: int = 0
    longest_read: int | None = None
    """At most so many bytes come back from one read."""
    opened: int = 0
    """How often the file was opened."""
    reads: list[tuple[int, int]] = field(default_factory=list)
    """Offset and size of each read that was asked for."""
    handles: list[BinaryIO] = field(default_factory=list)

    def append(self, data: bytes) -> None:
        """Grow, as a writer makes it grow."""
        self.rewrite(self.data + data)

    def rewrite(self, data: bytes) -> None:
        """Change the content in place: the inode stays."""
        self.data = data
        self.mtime_ns += 1

    def replace(self, data: bytes) -> None:
        """Put another file in its place."""
        self.inode += 1
        self.rewrite(data)

    def stat(self, path: Path) -> os.stat_result:
        """Stand in for `Path.stat`."""
        self._check(path, self.stat_error)
        fields = (self.mode, self.inode, 1, 1, 0, 0, len(self.data), 0, 0, 0)
        return os.stat_result(fields, {"st_mtime_ns": self.mtime_ns})

    def opener(self, path: Path) -> BinaryIO:
        """Stand in for opening the file."""
        self.opened += 1
        self._check(path, self.open_error)
        handle = _Handle(self)
        self.handles.append(handle)
        return handle

    def _check(self, path: Path, error: OSError | None) -> None:
        assert path == self.path
        if not self.exists:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if error is not None:
            raise error


class _Handle(io.BytesIO):
    def __init__(self, file: ScriptedFile) -> None:
        super().__init__(file.data)
        self._file = file

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        count = len(self._file.data) if size is None or size < 0 else size
        self._file.reads.append((self.tell(), count))
        if self._file.read_error is not None:
            if self._file.good_reads == 0:
                raise self._file.read_error
            self._file.good_reads -= 1
        return super().read(count if self._file.longest_read is None else min(count, self._file.longest_read))


def permission_denied() -> PermissionError:
    """What opening a file of somebody else raises."""
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES))


FINE = (False, False, False)
"""The `state` of a file without trouble."""


def state(events: EventFile) -> tuple[bool, bool, bool]:
    """Whether a file is dead, gone, has a problem."""
    return events.dead, events.gone, events.problem is not None


def follow(file: ScriptedFile) -> EventFile:
    """A reader of a scripted file."""
    return EventFile(file.path, opener=file.opener, stat=file.stat)


def drain(events: EventFile, max_bytes: int = 8 << 20) -> list[FileUpdate]:
    """Read until there is no more."""
    updates = [events.read(max_bytes)]
    while updates[-1].more:
        updates.append(events.read(max_bytes))
        assert len(updates) < 10_000
    return updates


def values(*updates: FileUpdate) -> list[float]:
    """The values of all points, in order."""
    return [value for update in updates for value in update.scalars.value.tolist()]
