"""A directory that only this user may enter, and that goes when the program does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Final

__all__ = ["PrivateDirectory"]

_PREFIX: Final = "raftmon-mirror-"
_LOCK: Final = "lock"
_ATTEMPTS: Final = 5


class PrivateDirectory:
    """A temporary directory with mode 0700, deleted by `close`, or else at the exit of the program.

    A lock in it, held as long as the program lives, tells it from one that a killed program left behind: those are
    deleted when the next one is made.

    Args:
        parent: where it is made; None: where temporary files go (``TMPDIR``).

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent if parent is not None else Path(tempfile.gettempdir())
        _clear(parent)
        for _ in range(_ATTEMPTS):
            self.path = Path(os.path.realpath(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)))
            (self.path / _LOCK).touch(0o600)
            with contextlib.suppress(OSError):
                # Another program that clears up may have taken it for a deserted one at this very moment.
                lock = _lock(self.path / _LOCK)
                self._delete = weakref.finalize(self, _remove, self.path, lock)
                return
        raise OSError(f"no directory of its own in {parent}")

    def close(self) -> None:
        """Delete it; what a program that ends meanwhile has not deleted yet, the next one does."""
        self._delete()


def _clear(parent: Path) -> None:
    """Delete what killed programs of this user left behind."""
    for left in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if left.lstat().st_uid == os.getuid() and not left.is_symlink():
                _remove(left, _lock(left / _LOCK))


def _remove(path: Path, lock: int) -> None:
    with contextlib.suppress(OSError):
        # The lock goes last: without one, nobody would know that what is left is nobody's.
        for entry in list(path.iterdir()):
            if entry.name != _LOCK:
                shutil.rmtree(entry, ignore_errors=True)
        if [entry.name for entry in path.iterdir()] == [_LOCK]:
            (path / _LOCK).unlink()
            path.rmdir()
    os.close(lock)


def _lock(path: Path) -> int:
    """Lock a file and return its descriptor; raises `OSError` where another process has it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
