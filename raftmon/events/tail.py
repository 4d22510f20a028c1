"""Following one event file: what is new since the last look, without ever holding it open.

A file that is being written may end inside a record, be replaced by another one, shrink, vanish, come back, or be no
event file at all. `EventFile` keeps the offset behind the last complete record, and a few bytes in front of it by
which it knows the file again (an inode number alone is reused at once after a deletion).
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from raftmon.events.decode import Decoder, ScalarBatch, SessionStart, TextSummary
from raftmon.events.framing import HEADER_BYTES, scan
from raftmon.model import Problem

__all__ = ["EventFile", "FileUpdate", "Opener"]

CHUNK_BYTES: Final = 1 << 20
"""What is read and decoded at a time; only a longer record makes a larger buffer."""

_ANCHOR_BYTES: Final = 16
"""Bytes before the offset by which a file is known again: they hold the last record's checksum."""


Opener: TypeAlias = Callable[[Path], BinaryIO]
"""Opens a file for reading bytes; raises `OSError`."""


@dataclass(frozen=True, slots=True, eq=False)
class FileUpdate:
    """What one call of `EventFile.read` found."""

    scalars: ScalarBatch
    texts: tuple[TextSummary, ...]
    hparams: Mapping[str, object]
    """Name to number, text, bool or None; empty: none in this part of the file."""
    session_starts: tuple[SessionStart, ...]
    reset: bool
    """True: the file was replaced, rewritten or shrank. Everything received from it earlier is void, this update
    begins at its first byte again."""
    bytes_read: int
    """Bytes read from the file in this call, an incomplete last record included."""
    more: bool
    """True: the budget was spent before the end of the file was reached."""


class EventFile:
    """One event file that may still grow.

    Args:
        path: the file; need not exist yet.
        opener: opens it for each read.
        stat: looks at it without opening it.

    Attributes:
        bad_records: records skipped because their data do not match their checksum or are no valid event.
        offset: bytes of the file that are done with.
        size: bytes of the file when last looked at.
        gone: there was no such file at the last look.
        modified_at: modification time at the last look, in seconds since the epoch; 0 before the first.
    """

    def __init__(
        self, path: Path, *, opener: Opener | None = None, stat: Callable[[Path], os.stat_result] | None = None
    ) -> None:
        self.path = path
        self.size = 0
        self.gone = False
        self.modified_at = 0.0
        self._opener = opener or _open
        self._stat = stat or Path.stat
        self._identity: tuple[int, int] | None = None
        self._refusal: Problem | None = None
        self._forget()

    def _forget(self) -> None:
        self.offset = 0
        self.bad_records = 0
        self._damage: Problem | None = None
        self._decoder = Decoder()
        self._needed = HEADER_BYTES
        self._anchor = b""
        self._anchor_at = 0
        self._seen: tuple[int, int] | None = None
        self._more = False

    @property
    def dead(self) -> bool:
        """Whether nothing after `offset` can be read, see `problem`. Only other content in its place revives it."""
        return self._damage is not None

    @property
    def problem(self) -> Problem | None:
        """Why the file, or the rest of it, cannot be read; None when all is well. Skipped records are no problem."""
        return self._refusal or self._damage

    def read(self, max_bytes: int = 8 << 20) -> FileUpdate:
        """Read what was appended since the last call.

        Costs one `stat` when nothing changed. Never raises for the state of the file: see `problem` and `gone`.

        Args:
            max_bytes: budget of this call in bytes. At most one record more is read, so that calls always get ahead.

        Returns:
            The new points; `FileUpdate.more` tells whether to call again at once.
        """
        bytes_read, reset = 0, False
        status = self._look()
        if status is not None:
            reset = self._is_another(status)
            if reset:
                self._forget()
            self.size = status.st_size
            self.modified_at = status.st_mtime
            if self._has_news(status):
                bytes_read, rewritten = self._visit(status, max(1, max_bytes))
                reset = reset or rewritten
        found = self._decoder.take()
        return FileUpdate(
            found.scalars,
            found.texts,
            found.hparams,
            found.session_starts,
            reset=reset,
            bytes_read=bytes_read,
            # What cannot be read just now is no reason to call again at once.
            more=self._more and bytes_read > 0,
        )

    def _look(self) -> os.stat_result | None:
        """Return the file's status, or None with the reason noted if there is nothing that could be opened."""
        try:
            status = self._stat(self.path)
        except OSError as error:
            self._note(error)
            return None
        self.gone = False
        if not stat_module.S_ISREG(status.st_mode):
            # Opening a named pipe would wait for its writer.
            what = "is a directory" if stat_module.S_ISDIR(status.st_mode) else "is no regular file"
            self._refusal = Problem(str(self.path), what, "Rename it, or move it out of the logdir.")
            self.gone = self.offset > 0
            return None
        return status

    def _is_another(self, status: os.stat_result) -> bool:
        before, self._identity = self._identity, (status.st_dev, status.st_ino)
        return before is not None and (before != self._identity or status.st_size < self.size)

    def _has_news(self, status: os.stat_result) -> bool:
        if self._more or self._refusal:
            return True
        if (status.st_size, status.st_mtime_ns) == self._seen:
            return False
        grown = self._seen is None or status.st_size > self._seen[0]
        return not grown or status.st_size >= self.offset + self._needed

    def _visit(self, status: os.stat_result, max_bytes: int) -> tuple[int, bool]:
        """Open the file and read on; return the bytes read and whether its old content proved to be rewritten."""
        bytes_read, rewritten = 0, False
        try:
            with self._opener(self.path) as file:
                if not self._is_known(file):
                    self._forget()
                    rewritten = True
                self._more = False
                while not self.dead and self.offset + self._needed <= self.size:
                    if bytes_read >= max_bytes:
                        self._more = True
                        break
                    chunk = self._next_chunk(file, max_bytes - bytes_read)
                    bytes_read += len(chunk)
                    if len(chunk) < self._needed:
                        break  # It shrank after it was looked at: the next look will tell.
                    self._take_in(chunk)
        except OSError as error:
            self._note(error)
        else:
            self._refusal = None
            self._seen = (status.st_size, status.st_mtime_ns)
        return bytes_read, rewritten

    def _is_known(self, file: BinaryIO) -> bool:
        return not self._anchor or _read_at(file, self._anchor_at, len(self._anchor)) == self._anchor

    def _next_chunk(self, file: BinaryIO, budget: int) -> bytes:
        wanted = max(min(CHUNK_BYTES, budget), self._needed)
        return _read_at(file, self.offset, min(wanted, self.size - self.offset))

    def _take_in(self, chunk: bytes) -> None:
        """Decode a chunk that begins at `offset`."""
        frames = scan(chunk)
        self.bad_records += frames.bad + self._decoder.feed(chunk, frames.starts, frames.lengths)
        if frames.broken is not None:
            self._damage = self._describe(frames.broken, self.offset + frames.end, chunk)
        # A damaged header is part of what the file is known by: when it gets mended, reading starts again.
        stop = frames.end + (HEADER_BYTES if self.dead else 0)
        if stop:
            start = max(0, frames.end - _ANCHOR_BYTES)
            self._anchor, self._anchor_at = chunk[start:stop], self.offset + start
        self.offset += frames.end
        self._needed = frames.needed

    def _describe(self, broken: str, offset: int, chunk: bytes) -> Problem:
        if offset == 0 and (lookalike := _lookalike(chunk[:256])):
            return Problem(str(self.path), *lookalike)
        if offset == 0:
            what = f"is no event file, or its first record is damaged ({broken})"
            return Problem(
                str(self.path), what, "Copy it again from where it was written, or move it out of the logdir."
            )
        return Problem(
            str(self.path),
            f"damaged at byte {offset:,}: {broken}; what comes after is not read",
            "Copy the file again from where it was written. The records before the damage are used.",
        )

    def _note(self, error: OSError) -> None:
        self.gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
        if self.gone:
            self._refusal = None
            return
        denied = isinstance(error, PermissionError)
        remedy = "Make it readable for this user" if denied else "Check the file system"
        self._refusal = Problem(
            str(self.path), f"cannot be read: {error.strerror or error}", f"{remedy}; it is tried again."
        )


def _open(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)


def _read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Read `count` bytes, or what there is up to the end of the file."""
    file.seek(offset)
    parts = []
    while count > 0 and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _lookalike(head: bytes) -> tuple[str, str] | None:
    """Return what a file that begins like this is instead of an event file, and the remedy; None: unknown."""
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, the event file itself was not downloaded", "Run `git lfs pull`."
    if head.startswith(b"\x1f\x8b"):
        return "is compressed with gzip", "Decompress it."
    if not head.strip(b"\0"):
        return "begins with zero bytes instead of a record", "Copy the file again from where it was written."
    if not any((byte < 0x20 and byte not in b"\t\n\f\r") or byte == 0x7F for byte in head):
        return "is a text file, no event file", "Rename it, or move it out of the logdir."
    return None
