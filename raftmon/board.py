"""What a `Snapshot` is made of, in its order, kept between two of them: a change costs what changed, not all of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TypeAlias

from raftmon.model import Problem, RunView

__all__ = ["Board", "in_order"]

_Rank: TypeAlias = "tuple[bool, tuple[tuple[int, int | str], ...], str]"


class Board:
    """The newest view of each run, and what is wrong with it, by the path of its directory."""

    def __init__(self) -> None:
        self._views: dict[str, RunView] = {}
        self._ranks: list[_Rank] = []
        self._ranked: list[RunView] = []
        self._names: dict[str, tuple[tuple[int, int | str], ...]] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._live: set[str] = set()

    def get(self, path: str) -> RunView | None:
        """Return the view of a run; None before its first one."""
        return self._views.get(path)

    @property
    def live(self) -> frozenset[str]:
        """The runs that grow, or should."""
        return frozenset(self._live)

    def put(self, path: str, view: RunView, problems: Iterable[Problem]) -> None:
        """Take in a new view of a run and what is wrong with its files."""
        self._note(path, tuple(problems))
        before = self._views.get(path)
        if before is not None and is_on(before) == is_on(view):
            self._ranked[bisect_left(self._ranks, self._rank(path, view))] = view
        else:
            self._take_out(path)
            self._names[path] = _natural(view.run)
            rank = self._rank(path, view)
            place = bisect_left(self._ranks, rank)
            self._ranks.insert(place, rank)
            self._ranked.insert(place, view)
        self._views[path] = view
        (self._live.add if is_on(view) else self._live.discard)(path)

    def drop(self, path: str) -> None:
        """Forget a run."""
        self._take_out(path)
        self._note(path, ())
        self._views.pop(path, None)
        self._names.pop(path, None)
        self._live.discard(path)

    def views(self) -> tuple[RunView, ...]:
        """Return all views, live and stalled ones first, then by name with numbers in their order."""
        return tuple(self._ranked)

    def problems(self) -> list[Problem]:
        """Return what is wrong with the runs, in the order of their paths."""
        return [problem for path in in_order(self._problems) for problem in self._problems[path]]

    def _note(self, path: str, problems: tuple[Problem, ...]) -> None:
        if problems:
            self._problems[path] = problems
        else:
            self._problems.pop(path, None)

    def _rank(self, path: str, view: RunView) -> _Rank:
        return not is_on(view), self._names[path], path

    def _take_out(self, path: str) -> None:
        view = self._views.get(path)
        if view is not None:
            place = bisect_left(self._ranks, self._rank(path, view))
            del self._ranks[place], self._ranked[place]


def is_on(view: RunView) -> bool:
    """Tell whether a run grows, or should."""
    return view.state == "live" or view.stalled is not None


def in_order(paths: Iterable[str]) -> list[str]:
    """Return paths so that each is followed by what lies below it."""
    return sorted(paths, key=lambda path: path.split("/"))


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key in which ``cycle_10`` comes after ``cycle_9``."""
    parts, word = [], ""
    for char in name:
        if word and char.isdecimal() != word[-1].isdecimal():
            parts.append(word)
            word = ""
        word += char
    parts.append(word)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)
