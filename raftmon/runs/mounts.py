"""On what kind of file system a path lies, as far as it decides how changes are noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["file_system_of", "has_idle_times", "is_remote"]

_REMOTE: Final = ("nfs", "cifs", "smb", "fuse", "9p", "lustre", "gpfs", "beegfs", "ceph", "afs", "glusterfs")
_IDLE_TIMES: Final = ("fuse", "9p")
MOUNTS: Final = Path("/proc/self/mountinfo")


def is_remote(path: Path, mounts: Path = MOUNTS) -> bool:
    """Tell whether a path lies on a file system that other machines may change too."""
    return file_system_of(path.resolve(), mounts).startswith(_REMOTE)


def has_idle_times(path: Path, mounts: Path = MOUNTS) -> bool:
    """Tell whether a directory's time may stand still there while names come and go: object stores have none."""
    return file_system_of(path.resolve(), mounts).startswith(_IDLE_TIMES)


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that a path lies on, empty if unknown.

    Args:
        path: absolute and without symbolic links.
        mounts: a file in the format of ``/proc/self/mountinfo``.
    """
    best, kind = -1, ""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mount_point = before.split()[4].replace("\\040", " ")
        if path.is_relative_to(mount_point) and len(mount_point) > best:
            best, kind = len(mount_point), after.split()[0]
    return kind
