"""Following one event file: what is new since the last look, without ever holding it open.

A file that is being written may end inside a record, be replaced by another one, shrink, vanish, come back, or be no
event file at all. `EventFile` keeps the offset behind the last complete record, and a few bytes in front of it by
which it knows the file again (an inode number alone is reused at once after a deletion). Damage costs the records that
it hit: reading goes on at the next intact one.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from raftmon.events.block import Block
from raftmon.events.columns import ScalarBatch, join
from raftmon.events.decode import Decoder
from raftmon.events.found import SessionStart
from raftmon.events.framing import HEADER_BYTES
from raftmon.events.messages import TextSummary
from raftmon.model import Problem
from raftmon.slotted import dataclass

__all__ = ["EventFile", "FileUpdate", "Opener"]

CHUNK_BYTES: Final = 1 << 20
"""What is read and decoded at a time; only a longer record makes a larger buffer."""

_MUCH_BYTES: Final = 1 << 14
"""An incomplete record of so many bytes is told; writers that buffer leave less behind."""
_ANCHOR_BYTES: Final = 16
"""Bytes before the offset by which a file is known again: they hold the last record's checksum."""


Opener: TypeAlias = Callable[[Path], BinaryIO]
"""Opens a file for reading bytes; raises `OSError`."""


@dataclass(frozen=True, slots=True, eq=False)
class FileUpdate:
    """What one call of `EventFile.read` found."""

    batches: tuple[ScalarBatch, ...]
    """The new points in the order of the file; no batch is empty."""
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

    def in_order(self) -> Iterator[ScalarBatch | SessionStart]:
        """Yield points and session starts in the order of the file; no batch is empty."""
        done = 0
        sessions = list(reversed(self.session_starts))
        for batch in self.batches:
            begin = 0
            while sessions and sessions[-1].before < done + len(batch):
                session = sessions.pop()
                if session.before > done + begin:
                    yield batch.part(begin, session.before - done)
                    begin = session.before - done
                yield session
            yield batch.part(begin, len(batch)) if begin else batch
            done += len(batch)
        yield from reversed(sessions)

    @property
    def scalars(self) -> ScalarBatch:
        """The new points in one batch; costs a copy where there are several."""
        return join(self.batches)


class EventFile:
    """One event file that may still grow.

    Args:
        path: the file; need not exist yet.
        opener: opens it for each read.
        stat: looks at it without opening it.

    Attributes:
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
        self._stat = stat or os.stat
        self._identity: tuple[int, int] | None = None
        self._refusal: Problem | None = None
        self._forget()

    def _forget(self) -> None:
        self.offset = 0
        self._hopeless: Problem | None = None
        self._scar: tuple[int, bytes] | None = None
        self._decoder = Decoder()
        self._needed = HEADER_BYTES
        self._anchor = b""
        self._anchor_at = 0
        self._seen: tuple[int, int] | None = None
        self._more = False

    @property
    def bad_records(self) -> int:
        """Records skipped because they are damaged; a stretch in which no record can be told counts as one."""
        return self._decoder.bad if self._hopeless is None else 0

    @property
    def dead(self) -> bool:
        """Whether it is no event file, see `problem`. Only other content in its place revives it."""
        return self._hopeless is not None

    @property
    def problem(self) -> Problem | None:
        """Why the file, or the rest of it, cannot be read; None when all is well. Skipped records are no problem."""
        return self._refusal or self._hopeless or self._wound()

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
            found.batches,
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
        if self._more or self._refusal is not None:
            return True
        # Where only a part of the next record was added, what was read may have been replaced all the same.
        changed = (status.st_size, status.st_mtime_ns) != self._seen
        return changed and (bool(self._anchor) or status.st_size >= self.offset + self._needed)

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
                    if bytes_read and max_bytes - bytes_read < CHUNK_BYTES // 2:
                        self._more = True
                        break
                    needed = self._needed
                    count = self._take_in(file, max_bytes - bytes_read)
                    bytes_read += count
                    if count < needed:
                        break  # It shrank after it was looked at: the next look will tell.
        except OSError as error:
            self._note(error)
        else:
            self._refusal = None
            self._seen = (status.st_size, status.st_mtime_ns)
        return bytes_read, rewritten

    def _is_known(self, file: BinaryIO) -> bool:
        """Tell whether what was read is still there, and what was damaged is so still."""
        marks = [(self._anchor_at, self._anchor)] if self._anchor else []
        marks += [self._scar] if self._scar is not None else []
        return all(_read_at(file, at, len(mark)) == mark for at, mark in marks)

    def _take_in(self, file: BinaryIO, budget: int) -> int:
        """Read on at `offset`, and decode; returns the bytes read."""
        wanted = min(max(min(CHUNK_BYTES, budget), self._needed), self.size - self.offset)
        block = _borrow(wanted)
        try:
            count = _read_into(file, self.offset, memoryview(block.data)[:wanted])
            if count >= self._needed:
                self._decode(block, count)
        finally:
            _give_back(block)
        return count

    def _decode(self, block: Block, count: int) -> None:
        """Decode the first bytes of a block, which begins at `offset`."""
        progress = self._decoder.feed(block, count, last=self.offset + count >= self.size)
        if progress.damaged is not None:
            header = bytes(block.data[progress.damaged : min(progress.damaged + HEADER_BYTES, count)])
            self._scar = self.offset + progress.damaged, header
        if self._decoder.searching and self._scar is not None and self._scar[0] == 0:
            self._give_up(bytes(block.data[: min(256, count)]) if self.offset == 0 else b"", self.offset + progress.end)
        if progress.end != 0:
            self._anchor_at = self.offset + max(0, progress.end - _ANCHOR_BYTES)
            self._anchor = bytes(block.data[max(0, progress.end - _ANCHOR_BYTES) : max(0, min(progress.end, count))])
        self.offset += progress.end
        self._needed = progress.needed

    def _give_up(self, head: bytes, searched: int) -> None:
        """Stop if this is no event file: nothing in it was one so far."""
        lookalike = _lookalike(head) if head else None
        if lookalike is not None:
            self._hopeless = Problem(str(self.path), *lookalike)
        elif searched >= CHUNK_BYTES // 2:
            self._hopeless = self._unknown()

    def _unknown(self) -> Problem:
        what = "is no event file, or damaged from its first byte on"
        return Problem(str(self.path), what, "Copy it again from where it was written, or move it out of the logdir.")

    def _wound(self) -> Problem | None:
        if not self._decoder.searching or self._scar is None:
            return self._long_wait()
        if self._scar[0] == 0:
            return self._unknown()
        return Problem(
            str(self.path),
            f"damaged at byte {self._scar[0]:,}; no intact record was found behind it so far",
            "Copy the file again from where it was written. The records before the damage are used.",
        )

    def _long_wait(self) -> Problem | None:
        """Say so when much is there that cannot be used yet; it is nothing unusual while a large record is written."""
        waiting = self.size - self.offset
        if self._more or waiting < _MUCH_BYTES or waiting >= self._needed:
            return None
        return Problem(
            str(self.path),
            f"{waiting:,} bytes from byte {self.offset:,} on wait for the end of a record of {self._needed:,} bytes",
            "Nothing, while it is being written. If it no longer grows, it is torn: copy it again from where it was "
            "written.",
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
    return open(path, "rb", buffering=0)  # noqa: PTH123 - `Path.open` costs more than reading what is new


def _read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Read `count` bytes, or what there is up to the end of the file."""
    buffer = bytearray(count)
    return bytes(buffer[: _read_into(file, offset, memoryview(buffer))])


def _read_into(file: BinaryIO, offset: int, buffer: memoryview) -> int:
    """Fill a buffer from an offset on; returns the bytes that there were up to the end of the file."""
    file.seek(offset)
    filled = 0
    while filled < len(buffer) and (count := file.readinto(buffer[filled:])):  # type: ignore[attr-defined]
        filled += count
    return filled


_blocks: Final[list[Block]] = []
"""Blocks that nobody uses just now: one for each thread that has read."""


def _borrow(size: int) -> Block:
    if size > CHUNK_BYTES:
        return Block(size)
    try:
        return _blocks.pop()
    except IndexError:
        return Block(CHUNK_BYTES)


def _give_back(block: Block) -> None:
    if block.capacity == CHUNK_BYTES:
        _blocks.append(block)


def _lookalike(head: bytes) -> tuple[str, str] | None:
    """Return what a file that begins like this is instead of an event file, and the remedy; None: unknown."""
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, the event file itself was not downloaded", "Run `git lfs pull`."
    if head.startswith(b"\x1f\x8b"):
        return "is compressed with gzip", "Decompress it."
    if not any((byte < 0x20 and byte not in b"\t\n\f\r") or byte == 0x7F for byte in head):
        return "is a text file, no event file", "Rename it, or move it out of the logdir."
    return None
