"""Replaces a file by another of the same name: at every moment either the old one or the new one is there, whole.

The new bytes go to a temporary file in the same directory, are flushed to the disk and take the old name in one step
(``rename``). The temporary file is also the lock against a second writer: it has one name, and whoever holds its
``flock`` writes. A killed writer loses its lock with its life, and the next one takes what it left behind; a lock file
beside the config is not needed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from raftmon.errors import Refused

__all__ = ["System", "read_whole", "replace_file"]

_ATTEMPTS: Final = 3
_LONGEST_NAME: Final = 200
"""Bytes of a name to which more can be added below the 255 that file systems take."""
_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
"""What a file system without locks answers: Lustre without `flock`, some network mounts."""
_REMEDIES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "Free some space on that disk; the config is as it was.",
    errno.EDQUOT: "Free some of your quota on that disk; the config is as it was.",
    errno.EROFS: "The file system is read-only: copy the config elsewhere, or pass the learning rate as a flag.",
    errno.EACCES: "Make the directory writable for this user, or pass the learning rate as a flag.",
    errno.EBUSY: "It is mounted as a single file, as containers do: mount its directory instead, or pass a flag.",
    errno.EPERM: "Run as the owner of the file, or pass the learning rate as a flag.",
}
_OTHERWISE: Final = "The config is as it was. Try again, or pass the learning rate as a flag."


class System:
    """The system calls that a replacement makes. Tests hand over one that fails."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    lstat = staticmethod(os.lstat)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    ftruncate = staticmethod(os.ftruncate)
    fchmod = staticmethod(os.fchmod)
    fchown = staticmethod(os.fchown)
    fsync = staticmethod(os.fsync)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    listxattr = staticmethod(getattr(os, "listxattr", lambda _: []))
    getxattr = staticmethod(getattr(os, "getxattr", lambda *_: b""))
    setxattr = staticmethod(getattr(os, "setxattr", lambda *_: None))
    flock = staticmethod(fcntl.flock)


def read_whole(path: Path, limit: int, system: System | None = None) -> bytes:
    """Read a file of a bearable size.

    Args:
        path: the file; symbolic links are followed.
        limit: bytes; a larger file is refused.
        system: for tests.

    Raises:
        Refused: it cannot be read, or is no regular file.
    """
    calls = system or System()
    try:
        descriptor = calls.open(os.path.realpath(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused(str(path), f"cannot be read: {error.strerror}", "Check the path and its permissions.") from None
    try:
        if not stat.S_ISREG(calls.fstat(descriptor).st_mode):
            raise Refused(str(path), "not a regular file", "Give the file itself.")
        data = _read_all(calls, descriptor, limit + 1)
    except OSError as error:
        raise Refused(str(path), f"cannot be read: {error.strerror}", "Check the file and its disk.") from None
    finally:
        calls.close(descriptor)
    if len(data) > limit:
        raise Refused(str(path), f"larger than {limit // 1_000_000} MB", "Give the config itself.")
    return data


def replace_file(path: Path, old: bytes, new: bytes, system: System | None = None) -> None:
    """Replace a file's content; mode, owner, access lists and a symbolic link to it stay.

    Args:
        path: the file, or a symbolic link to it.
        old: what it must hold; anything else means that somebody changed it meanwhile, unless it is `new` already.
        new: what it shall hold.
        system: for tests.

    Raises:
        Refused: the file is as it was, and the reason is told.
    """
    calls = system or System()
    target = os.path.realpath(path)
    temporary = _temporary(target)
    try:
        before = calls.lstat(target)
        _require_replaceable(path, before)
        with _locked(calls, temporary, path) as descriptor:
            try:
                if _is_new_already(calls, target, old, new, path):
                    calls.unlink(temporary)
                    return
                seen = calls.lstat(target)
                _fill(calls, descriptor, new, seen, target)
                if _stamp(calls.lstat(target)) != _stamp(seen):
                    raise _changed(path)
                calls.rename(temporary, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    calls.unlink(temporary)
                raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _OTHERWISE)
        raise Refused(str(path), f"cannot be written: {error.strerror or error}", remedy) from None
    _flush_directory(calls, os.path.dirname(target))  # noqa: PTH120 - a resolved string


def _require_replaceable(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(str(path), "not a regular file", "Give the file itself.")
    if status.st_nlink > 1:
        what = f"has {status.st_nlink} names (hard links), and the others would keep the old content"
        raise Refused(str(path), what, "Make it a file of its own: cp it to a new name and mv that over it.")


def _is_new_already(calls: System, target: str, old: bytes, new: bytes, path: Path) -> bool:
    """Tell whether another writer has done it meanwhile; anything but the old and the new content is refused."""
    descriptor = calls.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        content = _read_all(calls, descriptor, max(len(old), len(new)) + 1)
    finally:
        calls.close(descriptor)
    if content not in (old, new):
        raise _changed(path)
    return content == new != old


def _changed(path: Path) -> Refused:
    return Refused(str(path), "changed while it was being worked on", "Look at it and run the command again.")


@contextmanager
def _locked(calls: System, temporary: str, path: Path) -> Iterator[int]:
    """Open the temporary file, and hold its lock while the block runs."""
    for _ in range(_ATTEMPTS):
        opened = _open_temporary(calls, temporary)
        if opened is None:
            continue
        descriptor, is_new = opened
        try:
            if _holds_lock(calls, descriptor, temporary, is_new, path):
                yield descriptor
                return
        finally:
            calls.close(descriptor)
    raise _busy(path)


def _open_temporary(calls: System, temporary: str) -> tuple[int, bool] | None:
    """Make the temporary file, or open the one that is there; None where it went away, or had to."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileExistsError):
        return calls.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o600), True
    try:
        return calls.open(temporary, flags | os.O_NONBLOCK), False
    except FileNotFoundError:
        return None
    except OSError:
        # A link, or a file of somebody else: none that a killed writer of this user left behind.
        calls.unlink(temporary)
        return None


def _holds_lock(calls: System, descriptor: int, temporary: str, is_new: bool, path: Path) -> bool:
    """Take the lock; False where the file has become the config meanwhile, or was not left by a killed writer."""
    try:
        calls.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(path) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if not is_new:
            remedy = f"If no raftmon is running on any machine, remove {temporary}."
            raise Refused(str(path), "another writer is at it, or was killed", remedy) from None
    try:
        there = calls.lstat(temporary)
    except FileNotFoundError:
        return False
    mine = calls.fstat(descriptor)
    if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
        return False
    if is_new or (stat.S_ISREG(mine.st_mode) and mine.st_nlink == 1 and mine.st_uid == os.geteuid()):
        return True
    # Whatever it is, it has another name or owner, who would be written to or could read along.
    calls.unlink(temporary)
    return False


def _busy(path: Path) -> Refused:
    return Refused(str(path), "another raftmon is writing it right now", "Run the command again when that has ended.")


def _fill(calls: System, descriptor: int, new: bytes, like: os.stat_result, target: str) -> None:
    calls.fchmod(descriptor, 0o600)
    calls.ftruncate(descriptor, 0)
    left = memoryview(new)
    while left:
        left = left[calls.write(descriptor, left) :]
    own = calls.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        calls.fchown(descriptor, like.st_uid, like.st_gid)
    # After the owner: changing that takes set-user-id bits away.
    calls.fchmod(descriptor, stat.S_IMODE(like.st_mode))
    _copy_attributes(calls, target, descriptor)
    calls.fsync(descriptor)


def _copy_attributes(calls: System, target: str, descriptor: int) -> None:
    """Copy what file systems keep beside the mode, access lists among them; security labels are the system's own."""
    try:
        names = [name for name in calls.listxattr(target) if not name.startswith(("security.", "trusted."))]
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA):
            return
        raise
    for name in names:
        try:
            calls.setxattr(descriptor, name, calls.getxattr(target, name))
        except OSError:
            if name.startswith("system.posix_acl"):
                raise  # who may read the file is no ornament


def _flush_directory(calls: System, directory: str) -> None:
    """Make the new name outlive a loss of power; the file is replaced already, so that a failure is none of it."""
    with contextlib.suppress(OSError):
        descriptor = calls.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            calls.fsync(descriptor)
        finally:
            calls.close(descriptor)


def _read_all(calls: System, descriptor: int, limit: int) -> bytes:
    parts, left = [], limit
    while left and (part := calls.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _temporary(target: str) -> str:
    directory, name = os.path.split(target)
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return os.path.join(directory, f".{name}.raftmon")  # noqa: PTH118 - a resolved string
