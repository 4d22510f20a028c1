"""What lies below a remote logdir, looked up at little cost.

An object store lists everything below a prefix, a thousand names a request; so it is asked for that. Any other file
system is walked, and not all of it each time: what is in a directory is known until its own time changes (its parent
tells, unasked) or, since a file may grow without that, for as long as its files keep growing. A directory whose files
have been still for `STILL_SECONDS` is listed again only every `STILL_EVERY_SECONDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from raftmon.runs.logdir import is_skipped_directory

__all__ = ["Entry", "Info", "Listing", "Tree", "entry_of", "newest_checkpoint"]

STILL_SECONDS: Final = 600.0
STILL_EVERY_SECONDS: Final = 60.0
DEEPEST: Final = 32
"""Levels below the logdir; deeper ones are a loop of links."""
_TIMES: Final = ("LastModified", "mtime", "updated", "last_modified", "modified", "created")
_TAGS: Final = ("ETag", "etag", "generation", "md5", "contentHash")
_CHECKPOINT: Final = re.compile(r"checkpoint-(\d+)")

Info: TypeAlias = Mapping[str, Any]
"""What fsspec tells of one file or directory: ``name``, ``size``, ``type``, and what else the file system knows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One remote file as it was listed."""

    size: int
    modified: float | None
    """Seconds since the epoch; None: the file system does not tell."""
    tag: str | None = None
    """Changes with the content (an object's ETag); None: the file system has no such thing."""

    def is_like(self, other: Entry) -> bool:
        """Tell whether the file surely has the same content as another state of it."""
        if self.size != other.size or (self.tag is None) != (other.tag is None):
            return False
        return self.tag == other.tag if self.tag is not None else self.modified == other.modified


Listing: TypeAlias = dict[str, Entry]
"""Path below the logdir to the file there."""


def entry_of(info: Info) -> Entry:
    """Return what fsspec tells of a file."""
    times = (_seconds(info[name]) for name in _TIMES if info.get(name) is not None)
    tag = next((str(info[name]) for name in _TAGS if info.get(name)), None)
    return Entry(int(info.get("size") or 0), next((time for time in times if time is not None), None), tag)


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()


def newest_checkpoint(names: Sequence[str]) -> str | None:
    """Return the ``checkpoint-N`` with the largest N among names, or None."""
    steps = {name: int(match[1]) for name in names if (match := _CHECKPOINT.fullmatch(name))}
    return max(steps, key=lambda name: steps[name], default=None)


@dataclass(slots=True)
class _Directory:
    files: dict[str, Entry]
    subdirectories: dict[str, float | None]
    """Name to modification time."""
    modified: float | None
    """Its own, before it was listed."""
    listed_at: float
    grew_at: float
    """When one of its files was seen to change; when it was first listed, before that."""


class Tree:
    """Walks a file system that has real directories.

    Args:
        ls: lists one directory, given by its path below the logdir (empty: the logdir itself).
        clock: seconds, monotonic.
    """

    def __init__(self, ls: Callable[[str], list[Info]], clock: Callable[[], float]) -> None:
        self._ls = ls
        self._clock = clock
        self._known: dict[str, _Directory] = {}
        self.calls = 0
        """Directories listed so far."""
        self.refused: list[str] = []
        """Directories that may not be listed, as the last walk found; what was known of them is kept."""

    def files(self) -> Listing:
        """Return all files below the logdir.

        Raises:
            Exception: what `ls` raised, unless a directory below the logdir has gone or may not be listed.
        """
        self.refused = []
        found: dict[str, _Directory] = {}
        listing: Listing = {}
        for path, directory in self._walk("", None, 0):
            found[path] = directory
            prefix = f"{path}/" if path else ""
            listing.update((prefix + name, entry) for name, entry in directory.files.items())
        self._known = found
        return listing

    def _walk(self, path: str, modified: float | None, depth: int) -> Iterator[tuple[str, _Directory]]:
        directory = self._look(path, modified)
        if directory is None:
            return
        yield path, directory
        newest = newest_checkpoint(list(directory.subdirectories))
        for name, time in sorted(directory.subdirectories.items()):
            is_old = _CHECKPOINT.fullmatch(name) is not None and name != newest
            if not is_old and depth < DEEPEST and not is_skipped_directory(name):
                yield from self._walk(f"{path}/{name}" if path else name, time, depth + 1)

    def _look(self, path: str, modified: float | None) -> _Directory | None:
        """Return a directory as it is, or as it was where that will do; None where it has gone meanwhile."""
        now, known = self._clock(), self._known.get(path)
        if known is not None and not known.subdirectories and modified is not None and known.modified == modified:
            still = now - known.grew_at >= STILL_SECONDS
            if still and now - known.listed_at < STILL_EVERY_SECONDS:
                return known
        try:
            self.calls += 1
            infos = self._ls(path)
        except (FileNotFoundError, NotADirectoryError):
            if not path:
                raise
            return None
        except PermissionError:
            if not path:
                raise
            self.refused.append(path)
            return known
        files, subdirectories = {}, {}
        for info in infos:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if info.get("type") == "directory":
                subdirectories[name] = entry_of(info).modified
            elif info.get("type") == "file":
                files[name] = entry_of(info)
        grew = known is None or known.files != files
        return _Directory(files, subdirectories, modified, now, now if grew or known is None else known.grew_at)
