"""Notices that a logdir has changed: inotify through watchdog, and a poll of whatever inotify cannot see.

inotify sees only what this machine writes, so network file systems are polled; so is each directory for which the
kernel has no watch (they are used up, it lies behind a symbolic link), which `raftmon.runs.watches` finds out. The
others stay watched. What is polled, and why, is told in a `Problem` (a link alone is none).

No write is lost between a directory's birth and its watch: a new directory is looked at once more after the kernel has
confirmed its watch. Lost events (the kernel's queue overflowed) lead to a look at everything.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from raftmon.model import Problem
from raftmon.runs.coverage import RETRY_SECONDS, Coverage
from raftmon.runs.mounts import MOUNTS, file_system_of, is_remote
from raftmon.runs.tree import Identity
from raftmon.runs.watches import OverflowListener, kernel_watches, queue_limit
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

__all__ = ["POLL_SECONDS", "Changes", "Watcher", "is_remote"]

POLL_SECONDS: Final = 1.0
"""Seconds between two looks at what inotify cannot see."""
CLOSE_SECONDS: Final = 0.2
"""How long watchdog's thread is waited for at the end."""
BURST_SECONDS: Final = 1.0
"""A quarter of the kernel's queue within so many seconds: it may have overflowed, which watchdog 6 does not tell."""
_SEEN: Final = f"New data is seen within {POLL_SECONDS:g} s all the same."
_REMEDY: Final = "Raise fs.inotify.max_user_instances or max_user_watches (sysctl); it is tried again each minute."
_TELLING: Final = (".json", ".jsonl", ".yaml", ".yml")
"""Endings of files beside event files whose growth matters; checkpoints and their like are many and grow fast."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since the last look."""

    directories: frozenset[str]
    """Directories in which a file grew."""
    everything: bool
    """True: look at all of it."""
    unsure: frozenset[str] = frozenset()
    """Directories to be looked at: a name came or went, or nobody tells of them."""
    ages: Mapping[str, float] = field(default_factory=dict)
    """Directory to the seconds that have passed since its oldest change of these was told; where nobody tells, since
    the look before."""
    since: float | None = None
    """Seconds since the look before; None: this is the first."""


class Watcher:
    """Collects changes below some directories until somebody takes them.

    Args:
        roots: the logdirs; one that does not exist yet is polled for.
        force_polling: do without inotify.
        clock: seconds, from any moment on.
        watches: returns which directories the kernel watches, None where it does not tell.
        mounts: what is mounted, in the format of ``/proc/self/mountinfo``.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        force_polling: bool = False,
        clock: Callable[[], float] = time.monotonic,
        watches: Callable[[], frozenset[Identity] | None] = kernel_watches,
        mounts: Path = MOUNTS,
    ) -> None:
        self._roots = roots
        self._clock = clock
        self._mounts = mounts
        self._wake = threading.Event()
        self._called = threading.Event()
        self._lock = threading.Lock()
        self._directories: dict[str, float] = {}
        self._unsure: dict[str, float] = {}
        self._everything = True
        self._observer: BaseObserver | None = None
        self._listener: OverflowListener | None = None
        self._reasons: list[Problem] = []
        # A root that was deleted and made again may even have the same inode.
        self._lost = False
        self._overflowed = False
        self._most = max(1, queue_limit() // 4)
        self._burst, self._burst_since = 0, 0.0
        self._coverage = Coverage(watches, mounts, clock, _SEEN)
        self._polled_at = self._begun_at = self._taken_at = 0.0
        self._first = True
        self._refused = False
        self._follows = not force_polling
        self._identities = self._identify()
        if self._follows:
            self._begin()

    @property
    def problems(self) -> list[Problem]:
        """What is polled instead of watched, and why."""
        return [*self._reasons, *self._coverage.problems]

    @property
    def polling(self) -> bool:
        """Whether it does without inotify altogether."""
        return self._observer is None

    def wait(self, timeout: float) -> bool:
        """Block until something has changed, but not beyond the next look at what inotify cannot see.

        Returns:
            Whether a change was told; look after False, too.
        """
        return self._wake.wait(max(0.0, min(timeout, self._due_in())))

    @property
    def called(self) -> bool:
        """Whether somebody asked for a look at once, by `wake`."""
        return self._called.is_set()

    def rest(self, seconds: float) -> bool:
        """Block for some time, whatever changes; returns whether somebody asked for a look at once meanwhile."""
        return self._called.wait(seconds)

    def ripens_in(self, patience: float) -> float | None:
        """Return the seconds until something is handed over by `take`, 0 or less: now; None: nothing has changed."""
        with self._lock:
            if self._everything or self._unsure:
                return 0.0
            oldest = next(iter(self._directories.values()), None)
        return None if oldest is None else oldest + patience - self._clock()

    def take(self, patience: float = 0.0) -> Changes:
        """Hand over the collected changes.

        Args:
            patience: seconds that a file's growth waits here for more of it; names that come or go do not wait.
        """
        before, self._taken_at = self._taken_at, self._clock()
        now = self._taken_at
        if self._must_begin(now):
            self._stop()
            self._begin()
        if self._overflowed:
            self._overflowed = False
            self._coverage.renew()
        self._confirm()
        with self._lock:
            if self._coverage.missing and now - self._polled_at >= POLL_SECONDS:
                polled_before, self._polled_at = self._polled_at, now
                self._unsure = dict.fromkeys(self._coverage.missing, max(polled_before, self._begun_at)) | self._unsure
            everything = self._everything or self.polling
            since = None if self._first else now - before
            if everything or not patience:
                grown, self._directories = self._directories, {}
            else:
                grown = {directory: at for directory, at in self._directories.items() if at + patience <= now}
                for directory in grown:
                    del self._directories[directory]
            ages = {directory: now - at for directory, at in (self._unsure | grown).items()}
            changes = Changes(frozenset(grown), everything, frozenset(self._unsure), ages, since)
            self._unsure.clear()
            self._everything = self._first = False
            if not self._directories:
                self._wake.clear()
            self._called.clear()
        return changes

    def cover(self, directories: Mapping[str, Identity]) -> None:
        """Say which directories are followed; those without a watch are polled from now on.

        Args:
            directories: path to device and inode.
        """
        self._coverage.cover(directories)
        self._confirm()

    def wake(self) -> None:
        """End a `wait` or `rest` in another thread."""
        with self._lock:
            self._everything = True
        self._wake.set()
        self._called.set()

    def close(self) -> None:
        """Stop watching."""
        self._wake.set()
        self._called.set()
        self._stop(CLOSE_SECONDS)

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event of watchdog; called in its thread."""
        path = os.fsdecode(event.src_path)
        directory, _, name = path.rpartition("/")
        kind = event.event_type
        if kind == "modified" and "tfevents" not in name and not name.endswith(_TELLING):
            return
        with self._lock:
            now = self._count()
            if kind == "modified":
                self._directories.setdefault(directory, now)
            else:
                self._unsure.setdefault(directory, now)
                if kind == "moved":
                    self._unsure.setdefault(os.fsdecode(event.dest_path).rpartition("/")[0], now)
                if kind in ("deleted", "moved") and Path(path) in self._roots:
                    self._lost = True
        self._wake.set()

    def _overflow(self) -> None:
        """Note that events were lost; called in watchdog's thread."""
        self._overflowed = True
        with self._lock:
            self._everything = True
        self._wake.set()

    def _count(self) -> float:
        """Count an event, and return its time; at so many that the queue may have overflowed, look at everything."""
        now = self._clock()
        if now - self._burst_since > BURST_SECONDS:
            self._burst, self._burst_since = 0, now
        self._burst += 1
        if self._burst >= self._most:
            self._burst = 0
            self._everything = True
        return now

    def _due_in(self) -> float:
        """Return the seconds until somebody should look without having been told."""
        now = self._clock()
        took = now - self._taken_at
        # A look that takes long, on a slow file system, is followed by a pause of its own length.
        due = [max(POLL_SECONDS - took, took)] if self.polling else []
        due += [self._polled_at + POLL_SECONDS - now] if self._coverage.missing else []
        due += [self._coverage.check_at - now] if self._coverage.check_at is not None else []
        return min(due, default=threading.TIMEOUT_MAX)

    def _must_begin(self, now: float) -> bool:
        """Tell whether to begin again: the kernel watches what was there before, not what stands in its place now."""
        if self._lost:
            return True
        if self._refused and now - self._begun_at >= RETRY_SECONDS:
            return True
        return self._follows and self._identify() != self._identities

    def _identify(self) -> list[Identity | None]:
        """Return what each root is: device and inode, None where there is none."""
        identities: list[Identity | None] = []
        for root in self._roots:
            try:
                status = root.stat()
            except OSError:
                identities.append(None)
            else:
                identities.append((status.st_dev, status.st_ino))
        return identities

    def _stop(self, seconds: float = 2.0) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=seconds)
            self._observer = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _begin(self) -> None:
        """Watch what can be watched; say why not where it cannot."""
        self._reasons = []
        self._identities = self._identify()
        self._begun_at = self._clock()
        with self._lock:
            self._everything = True
            self._lost = False
        local = []
        for root in self._roots:
            reason = self._why_polling(root)
            if reason:
                self._reasons.append(Problem(str(root), f"polled instead of watched: {reason}", _SEEN))
            else:
                local.append(root)
        refusal = self._start_inotify(local) if local else ""
        self._refused = bool(refusal)
        if refusal:
            what = f"polled instead of watched: inotify refused ({refusal})"
            self._reasons.append(Problem(str(local[0]), what, f"{_REMEDY} {_SEEN}"))
        identities = zip(self._roots, self._identities, strict=True)
        watched = {str(root): identity for root, identity in identities if root in local and identity is not None}
        self._coverage.begin(watched if self._observer is not None else {})

    def _confirm(self) -> None:
        confirmed = self._coverage.confirm()
        if confirmed:
            now = self._clock()
            with self._lock:
                self._unsure = dict.fromkeys(confirmed, now) | self._unsure
            self._wake.set()

    def _why_polling(self, root: Path) -> str:
        """Return why inotify cannot serve a root, or an empty string."""
        if not root.is_dir():
            return f"{root} does not exist yet"
        if is_remote(root, self._mounts):
            kind = file_system_of(root.resolve(), self._mounts)
            return f"{kind} file systems do not tell of writes by other machines"
        return ""

    def _start_inotify(self, roots: Sequence[Path]) -> str:
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
        # It warns when nested directories appear at once; what it then misses, the second look at them makes up for.
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
        listener = OverflowListener(self._overflow)
        try:
            observer = Observer()
            for root in roots:
                # A FileSystemEventHandler is anything with `dispatch`.
                observer.schedule(self, str(root), recursive=True, event_filter=kinds)  # type: ignore[arg-type]
            observer.start()
        except OSError as error:
            listener.close()
            return error.strerror or str(error)
        self._observer, self._listener = observer, listener
        return ""
