"""Which run each directory's event files belong to, kept as directories come and go."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import field
from pathlib import Path

from raftmon.model import Problem
from raftmon.runs.logdir import PARTNERS, run_key
from raftmon.runs.mounts import has_idle_times
from raftmon.runs.tree import Identity, Tree
from raftmon.slotted import dataclass

__all__ = ["Places", "PlacesNews"]


@dataclass(slots=True)
class PlacesNews:
    """What a look at the directories has found."""

    runs: set[str] = field(default_factory=set)
    """Runs that are to be read."""
    arrived: list[tuple[str, str, str]] = field(default_factory=list)
    """Path of a run, path of a file that it has not had yet, what to put before its tags."""
    left: dict[str, list[str]] = field(default_factory=dict)
    """Path of a run to paths of files that belong to another one now."""
    campaigns: list[tuple[str, str]] = field(default_factory=list)
    """A logdir, and a directory below it in which sidecar files of a campaign have appeared."""
    moved: bool = False
    """Whether any directory came or went, one without event files included."""


class Places:
    """The directories below some logdirs and the runs in them.

    Args:
        logdirs: absolute paths.
    """

    def __init__(self, logdirs: Sequence[str]) -> None:
        self._trees = [Tree(path, trust_times=not has_idle_times(Path(path))) for path in logdirs]
        self._versions = [0] * len(logdirs)
        self._files: dict[str, dict[str, tuple[str, str]]] = {}
        self._directories: dict[str, set[str]] = {}
        self._campaigns: set[str] = set()
        self._logdir_of: dict[str, str] = {}

    def __contains__(self, directory: str) -> bool:
        return any(directory in tree for tree in self._trees)

    def look(self, paths: Collection[str] | None) -> PlacesNews:
        """Look at directories, None: all, and tell which files came, grew or changed hands."""
        news = PlacesNews()
        listed: dict[str, Tree] = {}
        for tree in self._trees:
            seen = tree.look(paths if paths is None else [path for path in paths if _is_below(path, tree.root)])
            for directory in seen.listed:
                listed.setdefault(directory, tree)
            for directory in seen.grown:
                news.runs.update(self.runs_in(directory))
        for directory, tree in listed.items():
            self._place(directory, tree, news)
        versions = [tree.version for tree in self._trees]
        news.moved, self._versions = versions != self._versions, versions
        return news

    def runs_in(self, directory: str) -> set[str]:
        """Return the runs to which what lies in a directory belongs."""
        directory = next(
            (tree.nearest(directory) for tree in self._trees if _is_below(directory, tree.root)), directory
        )
        runs = {run for run, _ in self._files.get(directory, {}).values()}
        return runs | {directory} if directory in self._directories else runs

    def logdir_of(self, run: str) -> str:
        """Return the logdir in which a run was found."""
        return self._logdir_of[run]

    def bytes_of(self, run: str) -> int:
        """Return the bytes of a run's files when they were last looked at."""
        directories = self._directories.get(run, ())
        return sum(max(tree.bytes_of(directory) for tree in self._trees) for directory in directories)

    def turn(self, count: int) -> list[str]:
        """Return the next directories of an endless round through all, at most so many in each tree."""
        return [path for tree in self._trees for path in tree.turn(count // len(self._trees))]

    def directories_of(self, run: str) -> set[str]:
        """Return the directories with the files of a run."""
        return self._directories.get(run, set())

    def doubt(self, run: str) -> None:
        """List the directories of a run at the next look: it has lost files."""
        for directory in self._directories.get(run, ()):
            self._files.pop(directory, None)
            for tree in self._trees:
                tree.doubt(directory)

    def forget(self, run: str) -> None:
        """Forget a run that was let go, unless it has files again."""
        directories = self._directories.get(run, ())
        if not any(owner == run for path in directories for owner, _ in self._files.get(path, {}).values()):
            self._directories.pop(run, None)
            self._logdir_of.pop(run, None)

    def identities(self) -> dict[str, Identity]:
        """Return each directory with its device and inode."""
        return {path: identity for tree in self._trees for path, identity in tree.identities().items()}

    def problems(self) -> list[Problem]:
        """Return which logdirs are not there, and which directories cannot be listed."""
        return [*self._missing(), *(problem for tree in self._trees for problem in tree.problems())]

    def _missing(self) -> Iterator[Problem]:
        for tree in self._trees:
            if not os.path.isdir(tree.root):  # noqa: PTH112 - `Path.is_dir` raises where it may not look
                yield Problem(tree.root, "no such directory", "It is looked for again as long as this runs.")

    def _place(self, directory: str, tree: Tree, news: PlacesNews) -> None:
        """Find out whose a directory's files are, and those of its neighbours, which decide with each other."""
        if tree.has_cycles(directory) and directory not in self._campaigns:
            self._campaigns.add(directory)
            news.campaigns.append((tree.root, directory))
        above, _, name = directory.rpartition("/")
        family: Iterable[str] = (directory,)
        if name == "train" or name in PARTNERS:
            family = {directory, *(f"{above}/{part}" for part in ("train", *PARTNERS))}
        for member in family:
            self._assign(member, tree, news)

    def _assign(self, directory: str, tree: Tree, news: PlacesNews) -> None:
        before, names = self._files.get(directory, {}), tree.event_files(directory)
        run, prefix = run_key(directory, lambda path: bool(tree.event_files(path)))
        now = dict.fromkeys(names, (run, prefix))
        for name, (owner, _) in before.items():
            news.runs.add(owner)  # whoever has lost a file finds out by reading
            if name in now and owner != run:
                news.left.setdefault(owner, []).append(f"{directory}/{name}")
        if not now:
            self._files.pop(directory, None)
            return
        self._files[directory] = now
        self._logdir_of.setdefault(run, tree.root)
        self._directories.setdefault(run, set()).add(directory)
        news.runs.add(run)
        news.arrived += [
            (run, f"{directory}/{name}", prefix) for name, place in now.items() if before.get(name) != place
        ]


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
