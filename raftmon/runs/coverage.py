"""Which of the followed directories the kernel tells of, and which must be polled, with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from raftmon.model import Problem
from raftmon.runs.mounts import file_system_of, is_remote
from raftmon.runs.tree import Identity

__all__ = ["CONFIRM_SECONDS", "RETRY_SECONDS", "Coverage"]

CONFIRM_SECONDS: Final = 1.0
"""Seconds that watchdog has for watching a new directory before its absence is told."""
RETRY_SECONDS: Final = 60.0
"""Seconds between two attempts to watch what could not be watched."""
_REMEDY: Final = "If watches are used up, raise fs.inotify.max_user_watches (sysctl) and start again."
_LONG_AGO: Final = -1e9
_SHARE: Final = 0.01
"""Share of a core that asking the kernel may take; its answer is long where there are many watches."""


class Coverage:
    """Compares the directories that are followed with those that the kernel watches.

    Args:
        watches: returns device and inode of what the kernel watches, None where it does not tell.
        mounts: what is mounted, in the format of ``/proc/self/mountinfo``.
        clock: seconds, from any moment on.
        seen: what is said to people of how soon new data is seen all the same.
    """

    def __init__(
        self,
        watches: Callable[[], frozenset[Identity] | None],
        mounts: Path,
        clock: Callable[[], float],
        seen: str,
    ) -> None:
        self.problems: list[Problem] = []
        """Directories that are polled, and why; one that lies behind a link is no trouble."""
        self.check_at: float | None = None
        """When to ask the kernel again; None: there is nothing to ask."""
        self._watches = watches
        self._mounts = mounts
        self._clock = clock
        self._seen = seen
        self._directories: dict[str, Identity] = {}
        self._new: set[str] = set()
        self._missing: dict[str, float] = {}
        self._remote_devices: dict[int, bool] = {}
        self._checked_at, self._took = _LONG_AGO, 0.0
        self._roots: dict[str, Identity] = {}

    @property
    def missing(self) -> Collection[str]:
        """Directories of whose files nobody tells."""
        return self._missing.keys()

    def begin(self, roots: Mapping[str, Identity]) -> None:
        """Forget what was confirmed: the watches were made anew.

        Args:
            roots: the watched logdirs; none: nothing is watched.
        """
        self._roots = dict(roots)
        self._new, self._missing, self.problems = set(self._directories), {}, []
        self._checked_at = _LONG_AGO
        self.check_at = self._clock() if roots and self._directories else None

    def renew(self) -> None:
        """Doubt every watch: after a loss of events watchdog makes them anew, and nobody tells of writes meanwhile."""
        if self._roots:
            self._new = set(self._directories)
            self.check_at = self._clock() + self._pause()

    def cover(self, directories: Mapping[str, Identity]) -> None:
        """Say which directories are followed."""
        self._new = (self._new | (directories.keys() - self._directories.keys())) & directories.keys()
        self._directories = dict(directories)
        self._missing = {path: since for path, since in self._missing.items() if path in directories}
        if self._roots:
            soon = max(self._clock(), self._checked_at + self._pause())
            self.check_at = soon if self.check_at is None else min(soon, self.check_at)

    def confirm(self) -> set[str]:
        """Ask the kernel, if it is time to; returns the directories that it has come to watch since.

        They must be looked at once more: something may have been written there between the first look and the watch.
        """
        now = self._clock()
        if self.check_at is None or now < self.check_at:
            return set()
        since = now if self._checked_at > _LONG_AGO else _LONG_AGO
        unwatched = self._unwatched(self._watches())
        confirmed = (self._new | self._missing.keys()) - unwatched
        self._missing = {path: self._missing.get(path, since) for path in unwatched}
        self._new.clear()
        told = [path for path, since in self._missing.items() if now - since >= CONFIRM_SECONDS]
        self.problems = self._describe(told)
        self._checked_at, self._took = now, self._clock() - now
        waiting = len(told) < len(self._missing)
        self.check_at = now + (self._pause() if waiting else RETRY_SECONDS) if self._missing else None
        return confirmed

    def _pause(self) -> float:
        """Return the least seconds between two questions to the kernel."""
        return max(CONFIRM_SECONDS, self._took / _SHARE)

    def _unwatched(self, watched: frozenset[Identity] | None) -> set[str]:
        directories = self._directories
        remote = {device: path for path, (device, _) in directories.items()}
        remote = {device: path for device, path in remote.items() if self._is_remote(device, path)}
        unseen = {path for path, (device, _) in directories.items() if device in remote} if remote else set()
        if watched is None:
            return unseen
        if not set(self._roots.values()) <= watched:
            # Some file systems (btrfs, overlays) show programs other numbers than the kernel's own: only count.
            return unseen if len(watched) >= len(set(directories.values())) else set(directories)
        return unseen | {path for path, identity in directories.items() if identity not in watched}

    def _is_remote(self, device: int, path: str) -> bool:
        if device not in self._remote_devices:
            self._remote_devices[device] = is_remote(Path(path), self._mounts)
        return self._remote_devices[device]

    def _describe(self, paths: Sequence[str]) -> list[Problem]:
        """Say why directories are polled; those behind a link, or in a logdir that is polled as a whole, apart."""
        roots = [os.path.realpath(root) for root in self._roots]
        inside = [path for path in paths if lies_below(path, self._roots) and lies_below(os.path.realpath(path), roots)]
        remote = [path for path in inside if self._remote_devices.get(self._directories[path][0])]
        problems = []
        if remote:
            kind = file_system_of(Path(remote[0]).resolve(), self._mounts)
            what = f"polled instead of watched with what is below: {kind} does not tell of writes by other machines"
            problems.append(Problem(min(remote), what, self._seen))
        if len(inside) > len(remote):
            count = f"{len(inside) - len(remote):,} of {len(self._directories):,} directories"
            what = f"{count} are polled instead of watched: there is no watch for them"
            problems.append(Problem(min(set(inside).difference(remote)), what, f"{_REMEDY} {self._seen}"))
        return problems


def lies_below(path: str, roots: Collection[str]) -> bool:
    """Tell whether a path lies in one of some trees."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)
