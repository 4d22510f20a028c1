"""The one door to everything below: `Monitor.poll` reads what is new and returns a `Snapshot`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.settings import Settings
from raftmon.advice.sweeps import Sweeps
from raftmon.advice.weighing import read_weighing
from raftmon.board import Board
from raftmon.errors import DocumentErrors
from raftmon.followed_campaigns import FollowedCampaigns
from raftmon.following import FollowedRun, Judges
from raftmon.model import Problem, Snapshot
from raftmon.runs.cycles import cycle_of, has_verdicts
from raftmon.runs.logdir import Run
from raftmon.runs.pace import Pace
from raftmon.runs.places import Places
from raftmon.runs.roles import RoleTable
from raftmon.runs.tag_limits import TagLimits
from raftmon.runs.watch import Changes, Watcher
from raftmon.signals.references import load_references
from raftmon.surroundings import Surroundings

if TYPE_CHECKING:
    from raftmon.advice.campaigns import NextRun

__all__ = ["Monitor"]

POLL_BYTES: Final = 32 << 20
"""Bytes read in one poll, so that a front end stays responsive while a large logdir is read for the first time."""
SLICE_SECONDS: Final = 0.25
"""A poll beside a watcher ends its reading after so long, for the same reason."""
SLICE_BYTES: Final = 8 << 20
"""Bytes that one run gets in such a poll before it is the next one's turn."""
SWEEP_SECONDS: Final = 30.0
"""Seconds between two looks at what nobody told of."""
SWEEP_DIRECTORIES: Final = 2_500
"""Directories of one such look beside those of live runs; larger trees are gone through in several."""
RECHECK_SECONDS: Final = 2.0
"""Seconds between two looks at what changes without a byte being written."""
BESIDE_SECONDS: Final = 1.0
"""Least seconds between two judgements of runs beside a changed one; the changed one itself never waits."""


class Monitor:
    """Follows logdirs.

    Args:
        logdirs: directories that hold runs, at any depth.
        settings: the user's.
        rules: directory of the rule set.
        watcher: tells what has changed; without one, every poll looks at everything.
        clock: seconds since the epoch.
        coming: the training that is about to start, where its config is known.
        timer: seconds, from any moment on, by which a poll's own time is measured.
        pause: sleeps.
        around: the processes and GPUs of this host, where they may be those of the runs; None: not known.
        breath: seconds that a write waits at most, when many runs are live, for the next ones of its run, with which
            it is read; 0: each change is read at once.

    Raises:
        DocumentErrors: when a rule file, the tag table or the settings have a defect.
    """

    def __init__(
        self,
        logdirs: Sequence[Path],
        *,
        settings: Settings | None = None,
        rules: Path = SHIPPED_RULES,
        watcher: Watcher | None = None,
        clock: Callable[[], float] = time.time,
        coming: NextRun | None = None,
        timer: Callable[[], float] = time.perf_counter,
        pause: Callable[[float], None] = time.sleep,
        around: Surroundings | None = None,
        breath: float = 0.0,
    ) -> None:
        self._logdirs = [str(Path(logdir)) for logdir in logdirs]
        settings = settings if settings is not None else Settings()
        known = load_rules(rules, settings.rules, tested=False)
        problems: list[Problem] = []
        roles = RoleTable.load(SHIPPED_RULES, problems, extra=settings.tags)
        if problems:
            raise DocumentErrors(tuple(problems))
        self._limits = TagLimits(roles.plays_role)
        self._judges = Judges(known, read_weighing(SHIPPED_RULES / "verdict.yaml"), roles)
        if watcher is not None:
            load_references()  # the rule set may be replaced while this runs
        self._watcher = watcher
        self._clock = clock
        self._timer = timer
        self._pace = Pace(watcher, breath, timer, pause)
        self._around = around if around is not None else Surroundings()
        self._attended: set[str] = set()
        self._places = Places(self._logdirs)
        self._runs: dict[str, FollowedRun] = {}
        self._key_of: dict[Path, str] = {}
        self._campaigns = FollowedCampaigns(known, settings, coming, watching=watcher is not None)
        self._board = Board()
        self._sweeps = Sweeps()
        self._beside: set[str] = set()
        self._pending: dict[str, bool] = {}
        """What is not read to its end, in the order of its turns, and whether it was told of: that goes first."""
        self._troubled: set[str] = set()
        self._bytes: dict[str, tuple[int, int]] = {}
        self._checked_at = self._swept_at = self._judged_beside_at = 0.0
        self._events = self._bytes_read = 0
        self._unlisted: list[Problem] = []
        self._caught_up = False
        self._snapshot = Snapshot(tuple(self._logdirs), (), (), (), version=0)

    def poll(self, max_bytes: int = POLL_BYTES) -> Snapshot:
        """Read what is new, within a budget, and return the state of everything.

        The same object is returned while nothing has changed.
        """
        now = self._clock()
        self._around.advance(now)
        snapshot = self._poll(max_bytes, now)
        gpus = self._around.gpus(bool(self._board.live))
        if gpus != snapshot.gpus:
            self._snapshot = replace(snapshot, gpus=gpus, version=snapshot.version + 1, polled_at=now)
        return self._snapshot

    def _poll(self, max_bytes: int, now: float) -> Snapshot:
        self._pace.live = len(self._board.live)
        changes = self._pace.take()
        swept = self._sweep(now, changes.everything)
        if not (changes.everything or changes.directories or changes.unsure or swept or self._is_behind()):
            return self._recheck(now)
        dirty, found = self._look(changes, swept)
        self._queue(dirty, told=not changes.everything)
        changed = self._read(max_bytes, now)
        near = None if changes.everything else changes.directories | changes.unsure
        found = self._campaigns.follow(near, swept, now) or found
        settled = self._snapshot.backfilling and not self._is_behind()
        if changed or found or settled or not self._snapshot.version:
            return self._publish(changed, now)
        return self._recheck(now)

    def wait(self, timeout: float) -> bool:
        """Block until something has changed, or for `timeout` seconds at most; returns whether a change was told."""
        if self._snapshot.backfilling:
            return True
        if self._beside:
            timeout = min(timeout, max(0.0, self._judged_beside_at + BESIDE_SECONDS - self._clock()))
        return self._pace.wait(timeout)

    def close(self) -> None:
        """Stop watching."""
        self._around.close()
        if self._watcher is not None:
            self._watcher.close()

    def _sweep(self, now: float, everything: bool) -> list[str]:
        """Return the directories that are due to be looked at without having been told of."""
        if everything:
            self._swept_at = now
        elif abs(now - self._swept_at) >= SWEEP_SECONDS:
            self._swept_at = now
            live = {directory for run in self._board.live for directory in self._places.directories_of(run)}
            return [*live, *self._places.turn(SWEEP_DIRECTORIES)]
        return []

    def _look(self, changes: Changes, swept: Iterable[str]) -> tuple[set[str], bool]:
        """Look at the directories in question; returns the runs to be read and whether anything came or went."""
        unsure = {*changes.unsure, *swept}
        # A write in a directory that is not known yet shows where to look.
        unsure |= {directory for directory in changes.directories if directory not in self._places}
        news = self._places.look(None if changes.everything else unsure)
        for logdir, directory in news.campaigns:
            self._campaigns.add(logdir, directory, directory)
        for run, file, prefix in news.arrived:
            self._run(run).run.add_file(Path(file), prefix)
            if run not in self._bytes:
                self._bytes[run] = self._places.bytes_of(run), 0
        for run, files in news.left.items():
            if run in self._runs:
                self._runs[run].run.drop_files(map(Path, files))
        unlisted = self._places.problems()
        found = bool(news.arrived or news.campaigns or news.left) or unlisted != self._unlisted
        self._unlisted = unlisted
        if self._watcher is not None and news.moved:
            self._watcher.cover(self._places.identities())
        dirty = news.runs | {run for directory in changes.directories for run in self._places.runs_in(directory)}
        self._pace.notice(self._waits(changes, dirty))
        dirty |= self._troubled if changes.everything or swept else set()
        return dirty & self._runs.keys(), found

    def _waits(self, changes: Changes, dirty: set[str]) -> Iterator[tuple[str, float]]:
        """Yield the runs that were told of, or that were looked at with all others, and for how long they waited."""
        for directory, age in changes.ages.items():
            for run in self._places.runs_in(directory):
                if run in dirty:
                    yield run, age
        if changes.everything and changes.since is not None:
            for run in dirty:
                yield run, changes.since

    def _run(self, path: str) -> FollowedRun:
        """Return a run, which is followed from now on."""
        if path not in self._runs:
            logdir = self._places.logdir_of(path)
            # A `Path` is spelt in its own way: below the logdir `.` it drops the dot.
            run = Run(path[len(logdir) :].strip("/") or ".", Path(path), limits=self._limits)
            cycle = cycle_of(run.name, lambda directory: has_verdicts(Path(logdir, directory)))
            campaign, number = (str(Path(logdir, cycle.campaign)), cycle.cycle) if cycle is not None else (None, None)
            self._key_of[run.path] = path
            self._runs[path] = FollowedRun(
                run, self._judges, campaign, number, late=self._caught_up, around=self._around
            )
            if cycle is not None and campaign is not None:
                self._campaigns.add(logdir, campaign, str(Path(logdir, cycle.directory)))
                self._campaigns.enter(path, campaign, cycle.cycle)
        return self._runs[path]

    def _queue(self, runs: set[str], *, told: bool) -> None:
        """Give runs a turn; one that waits already keeps its own."""
        for path in sorted(runs):
            if told and self._pending.get(path) is False:
                del self._pending[path]
            self._pending.setdefault(path, told)

    def _read(self, max_bytes: int, now: float) -> set[str]:
        """Read runs within a budget, those first that were told of; returns those with something new."""
        changed, spent, begun = set(), 0, self._timer()
        most, seconds = (max_bytes, None) if self._watcher is None else (SLICE_BYTES, SLICE_SECONDS)
        for path in sorted(self._pending, key=self._pending.__getitem__, reverse=True):
            if spent >= max_bytes:
                break
            told, followed = self._pending.pop(path), self._runs[path]
            before = len(followed.run.files)
            update = followed.run.poll(min(most, max_bytes - spent))
            spent += update.bytes_read
            self._bytes_read += update.bytes_read
            if update.more:
                self._pending[path] = told
            files = followed.run.files
            self._bytes[path] = sum(file.size for file in files), sum(file.offset for file in files)
            if len(files) < before:
                self._places.doubt(path)
            if not files:
                changed.add(path)
            elif followed.take(update, now):
                self._events += update.points
                changed.add(path)
            elif not update.more:
                self._pace.forget(path)
            if seconds is not None and self._timer() - begun >= seconds:
                break
        return changed

    def _recheck(self, now: float) -> Snapshot:
        """Look for what changes without a byte: a run falls silent, its process ends, verdicts have stopped growing."""
        beside = self._beside and abs(now - self._judged_beside_at) >= BESIDE_SECONDS
        if abs(now - self._checked_at) < RECHECK_SECONDS:
            return self._publish(set(), now) if beside else self._snapshot
        self._checked_at = now
        silent = {path for path in self._attended if self._runs[path].is_moved(now)}
        self._attended = {path for path in self._attended if self._runs[path].is_attended(now)} | silent
        found = self._campaigns.settle(now)
        return self._publish(silent, now) if silent or found or beside else self._snapshot

    def _publish(self, changed: set[str], now: float) -> Snapshot:
        self._checked_at = now
        for path in self._to_view(changed, now):
            self._view(path, now)
        watched = self._watcher.problems if self._watcher is not None else ()
        self._snapshot = Snapshot(
            logdirs=self._snapshot.logdirs,
            runs=self._board.views(),
            campaigns=self._campaigns.views(self._board),
            problems=(*self._unlisted, *watched, *self._board.problems(), *self._campaigns.problems()),
            version=self._snapshot.version + 1,
            events_read=self._events,
            unread=frozenset(self._pending),
            bytes_read=self._bytes_read,
            lags=self._pace.shown(changed - self._pending.keys()),
            polled_at=now,
            backfilling=self._is_behind(),
            progress=self._progress(),
            gpus=self._snapshot.gpus,
        )
        self._caught_up = self._caught_up or not self._pending
        return self._snapshot

    def _to_view(self, changed: set[str], now: float) -> set[str]:
        """Return the runs that are to be judged anew: what changed, and now and then what stands beside it."""
        paths = {self._runs[path].run.path for path in changed}
        beside = self._sweeps.affected(paths)
        for path in changed:
            followed = self._runs[path]
            if not followed.run.files:
                self._let_go(path)
            elif followed.judge is not None:
                judge = followed.judge
                self._sweeps.note(followed.run.path, followed.run.name, judge.standing(), judge.config)
        beside |= self._sweeps.affected(paths)
        self._beside |= {self._key_of[path] for path in beside if path in self._key_of}
        if self._watcher is not None and abs(now - self._judged_beside_at) < BESIDE_SECONDS:
            return changed & self._runs.keys()
        due, self._beside = (self._beside | changed) & self._runs.keys(), set()
        self._judged_beside_at = now
        return due

    def _view(self, path: str, now: float) -> None:
        followed = self._runs[path]
        self._beside.discard(path)
        name = self._campaigns.name_of(followed.campaign)
        view = followed.view(now, name, self._sweeps.beside(followed.run.path))
        problems = followed.problems
        (self._troubled.add if problems else self._troubled.discard)(path)
        self._board.put(path, view, problems)
        (self._attended.add if followed.is_attended(now) else self._attended.discard)(path)
        if followed.campaign is not None:
            self._campaigns.touch(followed.campaign)

    def _progress(self) -> float | None:
        """Return which share of the known bytes is read; None when nothing is pending."""
        if not self._pending:
            return None
        total = sum(size for size, _ in self._bytes.values())
        return min(1.0, sum(read for _, read in self._bytes.values()) / total) if total else None

    def _is_behind(self) -> bool:
        """Tell whether the budget of a poll ended before all files did."""
        return bool(self._pending) or self._campaigns.more

    def _let_go(self, path: str) -> None:
        """Forget a run whose files are gone."""
        self._runs[path].run.let_go()
        self._sweeps.forget(self._runs[path].run.path)
        self._campaigns.leave(path, self._runs[path].campaign)
        self._board.drop(path)
        self._places.forget(path)
        del self._key_of[self._runs[path].run.path], self._runs[path], self._bytes[path]
        self._pending.pop(path, None)
        for kept in (self._troubled, self._beside, self._attended):
            kept.discard(path)
        self._pace.forget(path)
