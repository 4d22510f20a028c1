"""The directories below a logdir, kept between two looks: a look asks for times and sizes and lists what changed.

Listing ten thousand directories costs half a second, asking for their times a twentieth of that. A directory's own time
moves when a name comes or goes in it, a file's when it grows, so that nothing else needs to be opened.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from itertools import islice
from typing import Final, TypeAlias

from raftmon.model import Problem
from raftmon.runs.beside import is_sidecar_name
from raftmon.runs.cycles import is_campaign_file_name
from raftmon.runs.logdir import is_event_file_name, is_skipped_directory
from raftmon.slotted import dataclass

__all__ = ["Identity", "News", "Tree"]

Identity: TypeAlias = tuple[int, int]
"""Device and inode."""
Stamp: TypeAlias = tuple[int, int, int, int]
"""Inode, bytes, and the times of the last write and the last change of status in nanoseconds."""
FRESH_SECONDS: Final = 2.0
"""A directory that changed so recently may change again without its time moving: file systems have coarse clocks."""
_UNKNOWN: Final = -1


@dataclass(slots=True)
class News:
    """What a look has found."""

    listed: list[str] = field(default_factory=list)
    """Directories that were listed anew, and those that are gone."""
    grown: set[str] = field(default_factory=set)
    """Directories in which a known file is not what it was."""


@dataclass(slots=True)
class _Node:
    """One directory as it was when it was listed."""

    identity: Identity
    changed_ns: int
    """Its modification time; `_UNKNOWN`: to be listed at the next look, whatever its time says."""
    children: tuple[str, ...] = ()
    """Paths of its subdirectories, sorted."""
    event_files: tuple[str, ...] = ()
    stamps: dict[str, Stamp] = field(default_factory=dict)
    """Name to stamp of each file whose growth matters: event files, and what says something of their run."""
    has_cycles: bool = False


class Tree:
    """What lies below one logdir, symbolic links included, each directory once.

    Args:
        root: absolute path; need not exist yet.
        trust_times: whether a directory's time moves with what is in it.
        now_ns: nanoseconds since the epoch.
    """

    def __init__(self, root: str, *, trust_times: bool = True, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.root = root
        self._trust_times = trust_times
        self._now_ns = now_ns
        self._nodes: dict[str, _Node] = {}
        self._path_of: dict[Identity, str] = {}
        self._aliases: dict[str, str] = {}
        self._problems: dict[str, Problem] = {}
        self._round: Iterator[str] = iter(())
        self.version = 0
        """Moves when a directory comes or goes."""

    def __contains__(self, path: str) -> bool:
        return path in self._nodes

    def identities(self) -> dict[str, Identity]:
        """Return each directory with its device and inode."""
        return {path: node.identity for path, node in self._nodes.items()}

    def event_files(self, path: str) -> tuple[str, ...]:
        """Return the names of a directory's event files in the order of reading; none if it is gone."""
        node = self._nodes.get(path)
        return node.event_files if node is not None else ()

    def has_cycles(self, path: str) -> bool:
        """Tell whether a directory holds sidecar files of a campaign, such as ``cycle_1_verified.jsonl``."""
        node = self._nodes.get(path)
        return node is not None and node.has_cycles

    def bytes_of(self, path: str) -> int:
        """Return the bytes of a directory's event files when they were last looked at."""
        node = self._nodes.get(path)
        return sum(node.stamps[name][1] for name in node.event_files if name in node.stamps) if node is not None else 0

    def problems(self) -> list[Problem]:
        """Return which directories cannot be listed."""
        return [self._problems[path] for path in sorted(self._problems)]

    def nearest(self, path: str) -> str:
        """Return the directory under which a path is known here: its own, the one it links to, or the closest above."""
        below = ""
        while path not in self._nodes and path not in self._aliases and len(path) > len(self.root):
            path, _, name = path.rpartition("/")
            below = f"/{name}{below}"
        if path in self._aliases:
            return self.nearest(self._aliases[path] + below)
        return path if path in self._nodes else self.root

    def doubt(self, path: str) -> None:
        """List a directory at the next look, whatever its time says."""
        if path in self._nodes:
            self._nodes[path].changed_ns = _UNKNOWN

    def look(self, paths: Iterable[str] | None = None) -> News:
        """Look at directories and their known files.

        Args:
            paths: which; None: all. One that is not known yet is found from the nearest known one above it.
        """
        news = News()
        for path in dict.fromkeys(map(self.nearest, paths)) if paths is not None else list(self._nodes) or [self.root]:
            self._check(path, news)
        return news

    def turn(self, count: int) -> list[str]:
        """Return the next directories of an endless round through all of them, at most so many."""
        chosen = list(islice(self._round, count))
        if len(chosen) < count:
            self._round = iter(list(self._nodes) or [self.root])
        return chosen or list(islice(self._round, count))

    def _check(self, path: str, news: News) -> None:
        node = self._nodes.get(path)
        if node is None:
            if path == self.root:
                self._explore(path, news)
            return
        status = _status(path)
        if status is None or (status.st_dev, status.st_ino) != node.identity:
            self._drop(path, news)
            above = self.root if path == self.root else self.nearest(path)
            self.doubt(above)
            self._check(above, news)
            return
        if status.st_mtime_ns != node.changed_ns:
            self._list(path, status, news)
            return
        for name, before in node.stamps.items():
            stamp = _stamp(f"{path}/{name}")
            if stamp != before:
                node.stamps[name] = stamp
                news.grown.add(path)
                if stamp == _GONE:
                    node.changed_ns = _UNKNOWN

    def _explore(self, path: str, news: News) -> None:
        """Take in a directory and all below it, those with smaller names first."""
        todo = [path]
        while todo:
            path = todo.pop()
            status = _status(path)
            if status is None or not stat.S_ISDIR(status.st_mode):
                continue
            identity = status.st_dev, status.st_ino
            known = self._path_of.get(identity)
            if known is not None and known != path:
                there = _status(known)
                if there is not None and (there.st_dev, there.st_ino) == identity:
                    self._aliases[path] = known
                    continue
                self._drop(known, news)  # it was moved
            self._path_of[identity] = path
            self.version += 1
            self._nodes[path] = _Node(identity, _UNKNOWN)
            todo += reversed(self._read(path, status, news))

    def _list(self, path: str, status: os.stat_result, news: News) -> None:
        """List a known directory again."""
        before = self._nodes[path].children
        now = set(self._read(path, status, news))
        for child in before:
            if child not in now:
                self._drop(child, news)
        for child in self._nodes[path].children:
            if child not in self._nodes and child not in self._aliases:
                self._explore(child, news)

    def _read(self, path: str, status: os.stat_result, news: News) -> tuple[str, ...]:
        """Read the names in a directory; returns the paths of its subdirectories."""
        node = self._nodes[path]
        age = (self._now_ns() - status.st_mtime_ns) / 1e9
        node.changed_ns = status.st_mtime_ns if self._trust_times and age > FRESH_SECONDS else _UNKNOWN
        children, files, before = list[str](), list[str](), (node.event_files, node.has_cycles, node.stamps)
        node.stamps = {}
        self._problems.pop(path, None)
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if _is_directory(entry):
                        if not is_skipped_directory(entry.name):
                            children.append(entry.path)
                    else:
                        files.append(entry.name)
                        if is_event_file_name(entry.name) or is_sidecar_name(entry.name):
                            node.stamps[entry.name] = _stamp(entry)
        except FileNotFoundError:
            pass
        except OSError as error:
            what = f"cannot be listed: {error.strerror}"
            self._problems[path] = Problem(path, what, "Check the permissions of the directory.")
            node.changed_ns = _UNKNOWN
        node.children = tuple(sorted(children))
        node.event_files = tuple(sorted(name for name in files if is_event_file_name(name)))
        node.has_cycles = any(map(is_campaign_file_name, files))
        if node.event_files or node.has_cycles or before[0] or before[1]:
            news.listed.append(path)
        if node.stamps != before[2]:
            news.grown.add(path)
        return node.children

    def _drop(self, path: str, news: News) -> None:
        """Forget a directory and all below it."""
        self._aliases.pop(path, None)
        todo, freed = [path], list[str]()
        while todo:
            path = todo.pop()
            node = self._nodes.pop(path, None)
            if node is None:
                continue
            self._path_of.pop(node.identity, None)
            self._problems.pop(path, None)
            self.version += 1
            news.listed.append(path)
            todo += node.children
            freed += [alias for alias, target in self._aliases.items() if target == path]
        for alias in freed:
            del self._aliases[alias]
            self._explore(alias, news)


_GONE: Final[Stamp] = (0, 0, 0, 0)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - a `Path` costs more than the call
    except OSError:
        return None


def _stamp(file: str | os.DirEntry[str]) -> Stamp:
    """Return by what a change of a file is known; all zero where there is none."""
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()  # noqa: PTH116
    except OSError:
        return _GONE
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
