"""Notices that a logdir has changed: inotify through watchdog, or a poll where inotify cannot work.

inotify sees only what this machine writes, so network file systems are polled; so are logdirs with more directories
than the kernel still has watches for, because watchdog passes over the ones that it cannot watch without a word.
Which of the two is at work, and why, is told in a `Problem`.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from raftmon.model import Problem

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

__all__ = ["Changes", "Watcher", "is_remote"]

POLL_SECONDS: Final = 1.0
"""Seconds between two looks where inotify cannot work."""
_REMOTE_FILE_SYSTEMS: Final = (
    "nfs",
    "cifs",
    "smb",
    "fuse",
    "9p",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "afs",
    "glusterfs",
)
_MOUNTS: Final = Path("/proc/self/mountinfo")
_MAX_WATCHES: Final = Path("/proc/sys/fs/inotify/max_user_watches")


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since the last look."""

    directories: frozenset[Path]
    """Directories in which a file grew."""
    everything: bool
    """True: look at all of it (something came or went, or nobody knows)."""


class Watcher:
    """Collects changes below some directories until somebody takes them.

    Args:
        roots: the logdirs; one that does not exist yet is polled for.
        force_polling: do without inotify.
    """

    def __init__(self, roots: Sequence[Path], *, force_polling: bool = False) -> None:
        self.problems: list[Problem] = []
        self._roots = roots
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._directories: set[Path] = set()
        self._everything = True
        self._observer: BaseObserver | None = None
        self._awaits_directory = False
        # A root that was deleted and made again may even have the same inode.
        self._lost = False
        self._identities = self._identify()
        if not force_polling:
            self._begin()

    @property
    def polling(self) -> bool:
        """Whether it does without inotify."""
        return self._observer is None

    def wait(self, timeout: float) -> bool:
        """Block until something may have changed, or for `timeout` seconds.

        Returns:
            Whether something may have changed.
        """
        if self.polling:
            self._wake.wait(min(timeout, POLL_SECONDS))
            return timeout >= POLL_SECONDS or self._wake.is_set()
        return self._wake.wait(timeout)

    def take(self) -> Changes:
        """Hand over the collected changes."""
        if self._awaits_directory and all(root.is_dir() for root in self._roots):
            self._begin()
        elif self._lost or self._identify() != self._identities:
            # The kernel watches what was there before, not what stands in its place now.
            self._stop()
            self._begin()
        with self._lock:
            changes = Changes(frozenset(self._directories), self._everything or self.polling)
            self._directories.clear()
            self._everything = False
            self._wake.clear()
        return changes

    def wake(self) -> None:
        """End a `wait` in another thread."""
        with self._lock:
            self._everything = True
        self._wake.set()

    def close(self) -> None:
        """Stop watching."""
        self._wake.set()
        self._stop()

    def _identify(self) -> list[tuple[int, int] | None]:
        """Return what each root is: device and inode, None where there is none."""
        identities: list[tuple[int, int] | None] = []
        for root in self._roots:
            try:
                status = root.stat()
            except OSError:
                identities.append(None)
            else:
                identities.append((status.st_dev, status.st_ino))
        return identities

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=2.0)
            self._observer = None

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event of watchdog; called in its thread."""
        with self._lock:
            if event.event_type in ("deleted", "moved") and Path(str(event.src_path)) in self._roots:
                self._lost = True
            if event.event_type == "modified":
                self._directories.add(Path(str(event.src_path)).parent)
            else:
                self._everything = True
        self._wake.set()

    def _begin(self) -> None:
        """Watch if that is possible; say why not where it is not."""
        self.problems.clear()
        self._identities = self._identify()
        with self._lock:
            self._everything = True
            self._lost = False
        self._awaits_directory = not all(root.is_dir() for root in self._roots)
        reason = self._why_polling() or self._start_inotify()
        if reason:
            remedy = f"New data is seen within {POLL_SECONDS:g} s all the same."
            self.problems.append(Problem(str(self._roots[0]), f"polled instead of watched: {reason}", remedy))

    def _why_polling(self) -> str:
        """Return why inotify cannot serve these roots, or an empty string."""
        for root in self._roots:
            if not root.is_dir():
                return f"{root} does not exist yet"
            kind = file_system_of(root.resolve(), _MOUNTS)
            if kind.startswith(_REMOTE_FILE_SYSTEMS):
                return f"{kind} file systems do not tell of writes by other machines"
        limit = watch_limit(_MAX_WATCHES)
        directories = sum(1 for root in self._roots for _ in os.walk(root))
        if limit is not None and directories >= limit:
            return f"{directories} directories, but fs.inotify.max_user_watches is {limit}"
        return ""

    def _start_inotify(self) -> str:
        """Start watchdog; returns why it could not be done, or an empty string."""
        from watchdog.events import (
            DirCreatedEvent,
            DirDeletedEvent,
            DirMovedEvent,
            FileCreatedEvent,
            FileDeletedEvent,
            FileModifiedEvent,
            FileMovedEvent,
        )
        from watchdog.observers import Observer

        # watchdog says on stderr that it was stopped, when an event arrives at that moment.
        logging.getLogger("watchdog").addHandler(logging.NullHandler())
        # It warns when nested directories appear at once; what it then misses, their own event makes up for: all of
        # the tree is looked at.
        warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
        # watchdog's default mask reports its own directory scans and never comes to rest on large trees.
        kinds = [
            FileModifiedEvent,
            FileCreatedEvent,
            FileDeletedEvent,
            FileMovedEvent,
            DirCreatedEvent,
            DirDeletedEvent,
            DirMovedEvent,
        ]
        observer = Observer()
        try:
            for root in self._roots:
                # A FileSystemEventHandler is anything with `dispatch`.
                observer.schedule(self, str(root), recursive=True, event_filter=kinds)  # type: ignore[arg-type]
            observer.start()
        except OSError as error:
            return f"inotify refused ({error.strerror}); raise fs.inotify.max_user_instances or max_user_watches"
        self._observer = observer
        return ""


def is_remote(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Tell whether a path lies on a file system that other machines may change too."""
    return file_system_of(path.resolve(), mounts).startswith(_REMOTE_FILE_SYSTEMS)


def file_system_of(path: Path, mounts: Path) -> str:
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


def watch_limit(limit_file: Path) -> int | None:
    """Return how many directories a user may watch, None if the kernel does not tell."""
    try:
        return int(limit_file.read_text())
    except (OSError, ValueError):
        return None
