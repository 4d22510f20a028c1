"""A monitor whose logdirs may be URLs: `open_logdirs` gives either kind."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raftmon.documents import SHIPPED_RULES
from raftmon.model import Problem, Snapshot
from raftmon.monitor import Monitor
from raftmon.remote.address import Address, Logdir
from raftmon.surroundings import Surroundings

if TYPE_CHECKING:
    from raftmon.advice.campaigns import NextRun
    from raftmon.advice.settings import Settings
    from raftmon.remote.keeper import Keeper

__all__ = ["Mirrored", "open_logdirs"]


def open_logdirs(
    logdirs: Sequence[Logdir],
    settings: Settings | None = None,
    *,
    watching: bool = False,
    coming: NextRun | None = None,
    whole: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    rules: Path = SHIPPED_RULES,
    breath: float = 0.0,
) -> Monitor | Mirrored:
    """Return a monitor of logdirs; of remote ones it fetches what there is, or begins to when `watching`.

    Args:
        logdirs: directories that hold runs.
        settings: the user's.
        watching: whether it is told of changes.
        coming: the training that is about to start.
        whole: whether a part of a remote logdir is not enough.
        tell: is told now and then how far the fetching is, and an empty text at its end.
        rules: directory of the rule set.
        breath: seconds that a write waits at most, as for `Monitor`.

    Raises:
        UsageError: a URL cannot be opened at all.
        NothingToRead: not watching, and nothing could be fetched.
        Refused: `whole`, and only a part could be fetched.
        DocumentErrors: rules or settings have defects.
    """
    addresses = [logdir for logdir in logdirs if isinstance(logdir, Address)]
    if not addresses:
        local = [_absolute(logdir) for logdir in logdirs if isinstance(logdir, Path)]
        return _monitor(local, settings, watching, coming, rules, _surroundings(watching), breath)
    from raftmon.remote.keeper import Keeper

    keeper = Keeper(addresses)
    try:
        roots = iter(keeper.roots)
        local = [next(roots) if isinstance(logdir, Address) else _absolute(logdir) for logdir in logdirs]
        around = Surroundings(blind=lambda: any(True for _ in keeper.problems()))
        monitor = _monitor(local, settings, watching, _under_urls(coming, keeper), rules, around, breath)
        if not watching:
            keeper.fetch(alone=len(addresses) == len(logdirs), whole=whole, tell=tell)
            tell("")
    except BaseException:
        keeper.close()
        raise
    if watching:
        keeper.start()
    return Mirrored(monitor, keeper)


class Mirrored:
    """A monitor of mirrors that shows everything under the URLs of the logdirs.

    Args:
        monitor: of the mirrors.
        keeper: keeps them.
    """

    def __init__(self, monitor: Monitor, keeper: Keeper) -> None:
        self._monitor = monitor
        self._keeper = keeper
        self._seen: tuple[object, ...] | None = None
        self._snapshot: Snapshot | None = None

    def poll(self) -> Snapshot:
        """Return the state of everything; the same object while nothing has changed."""
        inner = self._monitor.poll()
        progress = self._keeper.progress
        share = int(100 * progress) if progress is not None else None
        problems = tuple(self._keeper.problems())
        seen = inner.version, share, problems
        if self._snapshot is None or seen != self._seen:
            version = self._snapshot.version + 1 if self._snapshot is not None else inner.version
            self._seen = seen
            self._snapshot = self._rename(inner, problems, version, progress)
        return self._snapshot

    def wait(self, timeout: float) -> bool:
        """Block until something may have changed, or for `timeout` seconds; returns which of the two."""
        return self._monitor.wait(timeout)

    def close(self) -> None:
        """Stop watching, and delete the mirrors."""
        self._keeper.stop()
        self._monitor.close()
        self._keeper.close()

    def _rename(self, inner: Snapshot, problems: tuple[Problem, ...], version: int, progress: float | None) -> Snapshot:
        """Return a snapshot as if the mirrors were the remote directories."""
        shown = self._keeper.shown
        unread = set(inner.unread)
        if progress is not None:
            # A mirror that is not whole yet may lack the end of any of its runs.
            unread |= {run.path for run in inner.runs if shown(run.path) != run.path}
        local = (Problem(shown(problem.where), shown(problem.what), problem.remedy) for problem in inner.problems)
        return dataclasses.replace(
            inner,
            logdirs=tuple(shown(logdir) for logdir in inner.logdirs),
            runs=tuple(dataclasses.replace(run, path=shown(run.path)) for run in inner.runs),
            campaigns=tuple(dataclasses.replace(one, path=shown(one.path)) for one in inner.campaigns),
            problems=(*problems, *local),
            unread=frozenset(map(shown, unread)),
            version=version,
            backfilling=inner.backfilling or progress is not None,
            progress=inner.progress if progress is None else progress,
        )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - it also takes `..` out


def _monitor(
    logdirs: Sequence[Path],
    settings: Settings | None,
    watching: bool,
    coming: NextRun | None,
    rules: Path,
    around: Surroundings | None = None,
    breath: float = 0.0,
) -> Monitor:
    from raftmon.runs.watch import Watcher

    watcher = Watcher(logdirs) if watching else None
    return Monitor(
        logdirs, settings=settings, rules=rules, watcher=watcher, coming=coming, around=around, breath=breath
    )


def _surroundings(watching: bool) -> Surroundings:
    """Return this host, which may be the one that writes local logdirs; its GPUs are of interest when watching."""
    from raftmon.gpus.watch import watch_gpus
    from raftmon.runs.writers import LocalProcesses

    return Surroundings(LocalProcesses(), watch_gpus() if watching else None)


def _under_urls(coming: NextRun | None, keeper: Keeper) -> NextRun | None:
    """Let the journal know a campaign by its URL: its mirror lies elsewhere each time."""
    if coming is None:
        return None
    start = coming.start
    return dataclasses.replace(
        coming, start=lambda number, place, began, newest: start(number, keeper.shown(place), began, newest)
    )
