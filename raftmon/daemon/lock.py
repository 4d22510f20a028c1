"""One daemon a journal: a lock beside it that the kernel takes back when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Final

from raftmon.errors import UsageError

__all__ = ["JournalLock"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOLCK, errno.EOPNOTSUPP)
"""Trouble of a disk that may end by itself; a daemon that is needed runs without a lock meanwhile."""


class JournalLock:
    """Holds the lock of a journal until it is released or the process ends.

    Args:
        journal: path of the journal; need not exist.

    Raises:
        UsageError: another daemon has it, or its directory cannot be used.
    """

    def __init__(self, journal: Path) -> None:
        journal = Path(os.path.realpath(journal))
        self.path = journal.with_name(journal.name + ".lock")
        self.trouble = ""
        """Why it is not held although nobody else has it; empty: it is held."""
        self._file: int | None = None
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise OSError(errno.EINVAL, "is no regular file")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = self._owner()
            self.release()
            remedy = "Stop that one, or give this one a journal of its own with --journal PATH."
            raise UsageError(str(journal), f"another daemon uses this journal: {owner}", remedy) from None
        except OSError as error:
            self.release()
            if error.errno not in _FULL:
                remedy = "Give a journal with --journal PATH in a directory that can be written to."
                raise UsageError(str(self.path), error.strerror or str(error), remedy) from None
            self.trouble = error.strerror or str(error)
        else:
            self._sign()

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _sign(self) -> None:
        """Write who has it; for people alone, so that a full disk does not matter."""
        assert self._file is not None
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)

    def _owner(self) -> str:
        try:
            pid, _, host = self.path.read_text(errors="replace").strip().partition(" ")
        except OSError:
            pid = host = ""
        if not pid:
            return "its pid is not known"
        return f"pid {pid}" if host in ("", socket.gethostname()) else f"pid {pid} on {host}"
