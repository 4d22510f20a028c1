"""The local copy of one remote file, while it grows, is replaced or vanishes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

from raftmon.remote.listing import Entry

__all__ = ["Copy", "Replaced"]

ANCHOR_BYTES: Final = 256
"""Bytes before the end of a copy by which the remote file is known again: some records of an event file, with their
checksums and times."""
MOST_RESTARTS: Final = 3
"""Times that a file is begun again because it changed while it was read, between two listings."""


class Replaced(Exception):
    """The remote file is no longer the one that was copied: the copy begins again."""


class Copy:
    """A copy of one file.

    Args:
        root: the mirror.
        parts: directory for what is not whole yet.
        path: of the file below the remote logdir; a safe one.
        growing: whether readers know how to take a file that ends early; else it is only put in place whole.
        appended: whether it grows at its end; else it is fetched whole whenever it changes.
    """

    def __init__(self, root: Path, parts: Path, path: str, growing: bool, appended: bool) -> None:
        self.reached = 0
        """Bytes that are here, of the state that is being fetched."""
        self._root = root
        self._target = root / path
        self._part = parts / hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        self._growing = growing
        self._appended = appended
        self._entry: Entry | None = None
        self._wanted: Entry | None = None
        self._writing = self._target
        self._anchor = b""
        self._here = 0
        self._restarts = 0

    def expect(self, entry: Entry) -> bool:
        """Begin to fetch a state of the file.

        Returns:
            Whether the copy is like it already.

        Raises:
            OSError: the copy cannot be written.
        """
        if self._here and not self._target.exists():
            # Whatever cleans up temporary directories may take what nobody touched for days.
            self._entry = self._wanted = None
            self._here = 0
        before, self._restarts = self._wanted, 0
        self._wanted = entry
        if before is not None and before.is_like(entry):
            if before.modified != entry.modified and self._here:
                self._set_time()
            if self._entry is before:
                self._entry = entry
            return self._entry is entry  # Else some of it is here already: go on.
        goes_on = self._appended and entry.size >= self._here > 0
        surely_another = entry.size == self._here and entry.tag is not None
        if goes_on and not surely_another:
            self._go_on()
        else:
            self._begin_again()
        if not entry.size:
            self._make_empty()
            self._finish(entry)
        return not entry.size

    def wanted(self, most: int) -> tuple[int, int]:
        """Return the bytes to read next: the first one, and the one behind the last; at least one."""
        assert self._wanted is not None
        start = self.reached - len(self._anchor)
        return start, max(start + 1, min(self._wanted.size, self.reached + max(1, most)))

    def take(self, data: bytes) -> bool:
        """Add what was read.

        Args:
            data: from where `wanted` began; may be less than was asked for.

        Returns:
            Whether the file is whole.

        Raises:
            Replaced: what should be known of it is not; ask `wanted` anew.
            EOFError: it ends before it should, or does not stay the same for long enough to be read.
            OSError: the copy cannot be written.
        """
        assert self._wanted is not None
        anchor, fresh = data[: len(self._anchor)], data[len(self._anchor) :]
        if len(anchor) < len(self._anchor) and self._anchor.startswith(anchor):
            raise EOFError
        if anchor != self._anchor:
            self._restarts += 1
            self._begin_again()
            if self._restarts > MOST_RESTARTS:
                raise EOFError
            raise Replaced
        if not fresh and self.reached < self._wanted.size:
            raise EOFError
        if fresh:
            self._write(fresh)
        if self.reached < self._wanted.size:
            return False
        self._finish(self._wanted)
        return True

    def remove(self) -> None:
        """Delete the copy, and the directories that are empty without it."""
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)
            self._target.unlink(missing_ok=True)
            for directory in self._target.parents:
                if directory == self._root:
                    break
                directory.rmdir()

    def _go_on(self) -> None:
        """Add to what is here: in place, or to a duplicate that takes its place when it is whole."""
        self.reached = self._here
        self._writing = self._target
        if not self._growing:
            shutil.copyfile(self._target, self._part)
            self._writing = self._part
        with self._target.open("rb") as file:
            file.seek(max(0, self._here - ANCHOR_BYTES))
            self._anchor = file.read(ANCHOR_BYTES)

    def _begin_again(self) -> None:
        self.reached, self._anchor = 0, b""
        in_place = self._growing and not self._here
        self._writing = self._target if in_place else self._part
        self._part.unlink(missing_ok=True)
        if in_place:
            self._target.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        if self._writing == self._target:
            self._make_directories()
        with self._writing.open("r+b" if self.reached else "wb") as file:
            file.seek(self.reached)
            file.write(data)
        self.reached += len(data)
        self._anchor = (self._anchor + data)[-ANCHOR_BYTES:]
        if self._writing == self._target:
            self._here = self.reached
            self._set_time()

    def _finish(self, entry: Entry) -> None:
        """Put a whole file in place, with the time at which the remote one was written."""
        if self._writing != self._target:
            self._make_directories()
            self._writing.replace(self._target)
            self._writing = self._target
        self._here = self.reached = entry.size
        self._entry = self._wanted = entry
        self._set_time()

    def _make_empty(self) -> None:
        """Make an empty file, to be put in place or in place already."""
        if self._writing == self._target:
            self._make_directories()
        self._writing.touch()

    def _make_directories(self) -> None:
        """Make the directories above the copy, but never the root: it is deleted while this runs, at the end."""
        for directory in reversed(self._target.parents):
            if directory != self._root and directory.is_relative_to(self._root):
                directory.mkdir(exist_ok=True)

    def _set_time(self) -> None:
        modified = self._wanted.modified if self._wanted is not None else None
        if modified is not None:
            os.utime(self._target, (modified, modified))
