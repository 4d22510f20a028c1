"""The one door to everything below: `Monitor.poll` reads what is new and returns a `Snapshot`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from raftmon.advice.campaigns import CampaignJudge, NextRun
from raftmon.advice.judging import RunJudge
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.settings import Settings
from raftmon.advice.sweeps import Sweeps
from raftmon.advice.weighing import read_weighing
from raftmon.errors import DocumentErrors
from raftmon.model import CampaignView, Problem, RunState, RunView, Snapshot
from raftmon.runs.cycles import cycle_of, has_verdicts
from raftmon.runs.logdir import Run, run_key, walk
from raftmon.runs.roles import RoleTable
from raftmon.runs.sidecars import sidecar_stamp
from raftmon.runs.watch import Changes, Watcher

__all__ = ["Monitor"]

POLL_BYTES: Final = 32 << 20
"""Bytes read in one poll, so that a front end stays responsive while a large logdir is read for the first time."""
LEAST_IDLE: Final = 120.0
"""Seconds without a byte after which a run may be called idle."""
IDLE_INTERVALS: Final = 10.0
"""...but not before so many of its own intervals between two steps have passed."""
SWEEP_SECONDS: Final = 30.0
"""Seconds between two looks at everything: the kernel's queue of events may overflow."""
QUIET_SECONDS: Final = 1.5
"""Seconds without growth after which a watched file of verdicts counts as whole."""
RECHECK_SECONDS: Final = 2.0
"""Seconds between two looks at what changes without a byte being written."""


class Monitor:
    """Follows logdirs.

    Args:
        logdirs: directories that hold runs, at any depth.
        settings: the user's.
        rules: directory of the rule set.
        watcher: tells what has changed; without one, every poll looks at everything.
        clock: seconds since the epoch.
        coming: the training that is about to start, where its config is known.

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
    ) -> None:
        self._logdirs = [Path(logdir) for logdir in logdirs]
        self._settings = settings if settings is not None else Settings()
        self._rules = load_rules(rules, self._settings.rules)
        self._weighing = read_weighing(SHIPPED_RULES / "verdict.yaml")
        problems: list[Problem] = []
        self._roles = RoleTable.load(SHIPPED_RULES, problems, extra=self._settings.tags)
        if problems:
            raise DocumentErrors(tuple(problems))
        self._watcher = watcher
        self._clock = clock
        self._coming = coming
        self._runs: dict[Path, RunJudge] = {}
        self._campaigns: dict[Path, CampaignJudge] = {}
        self._campaign_of: dict[Path, tuple[Path, int]] = {}
        self._grew_at: dict[Path, float] = {}
        self._sweeps = Sweeps()
        self._pending: set[Path] = set()
        self._views: dict[Path, RunView] = {}
        self._told: dict[Path, tuple[object, ...]] = {}
        self._checked_at = self._swept_at = 0.0
        self._events = 0
        self._unlisted: list[Problem] = []
        self._links = False
        self._caught_up = False
        self._snapshot = Snapshot(tuple(str(path) for path in self._logdirs), (), (), (), version=0)

    def poll(self, max_bytes: int = POLL_BYTES) -> Snapshot:
        """Read what is new, within a budget, and return the state of everything.

        The same object is returned while nothing has changed.
        """
        now = self._clock()
        changes = self._watcher.take() if self._watcher is not None else Changes(frozenset(), everything=True)
        if now - self._swept_at >= (RECHECK_SECONDS if self._links else SWEEP_SECONDS):
            changes = Changes(changes.directories, everything=True)
        if changes.everything:
            self._swept_at = now
        if not changes.everything and not changes.directories and not self._is_behind():
            return self._recheck(now)
        found = changes.everything and self._discover()
        dirty = set(self._runs) if changes.everything else self._touched(changes)
        changed = self._read(sorted(dirty | self._pending), max_bytes, now)
        for path, campaign in self._campaigns.items():
            near = any(directory.is_relative_to(campaign.path) for directory in changes.directories)
            if campaign.more or changes.everything or near:
                found = self._follow_campaign(path) or found
        settled = self._snapshot.backfilling and not self._is_behind()
        if changed or found or settled or not self._snapshot.version:
            return self._publish(changed, now)
        return self._recheck(now)

    def wait(self, timeout: float) -> bool:
        """Block until something may have changed, or for `timeout` seconds; returns which of the two."""
        if self._watcher is None or self._snapshot.backfilling:
            return True
        return self._watcher.wait(timeout)

    def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.close()

    def _discover(self) -> bool:
        """Look for new directories and files; returns whether anything came."""
        found, problems, links = False, list[Problem](), list[str]()
        owners: dict[Path, Path] = {}
        for logdir in self._logdirs:
            directories = list(walk(logdir, problems, links))
            with_events = {directory.path for directory in directories if directory.event_files}
            for directory in directories:
                if directory.has_cycles:
                    found = self._add_campaign(logdir, directory.path, directory.path) or found
                if not directory.event_files:
                    continue
                path, prefix = run_key(directory.path, with_events)
                judge = self._runs.get(path) or self._add_run(logdir, path)
                for name in directory.event_files:
                    owners[directory.path / name] = path
                    found = judge.run.add_file(directory.path / name, prefix) or found
        for path, judge in self._runs.items():
            # Keras writes `validation` an epoch later: then `train` is no run of its own any more.
            found = judge.run.drop_files(file for file, owner in owners.items() if owner != path) or found
        found = found or problems != self._unlisted
        self._unlisted = problems
        roots = [os.path.realpath(logdir) for logdir in self._logdirs]
        # inotify does not follow symbolic links out of the trees that it watches.
        self._links = any(not _lies_below(os.path.realpath(link), roots) for link in links)
        return found

    def _add_run(self, logdir: Path, path: Path) -> RunJudge:
        name = path.relative_to(logdir).as_posix()
        judge = self._runs[path] = RunJudge(Run(name, path), self._rules, self._weighing, self._roles)
        cycle = cycle_of(name, lambda directory: has_verdicts(logdir / directory))
        if cycle is not None:
            campaign = logdir / cycle.campaign
            self._campaign_of[path] = (campaign, cycle.cycle)
            self._add_campaign(logdir, campaign, logdir / cycle.directory)
        return judge

    def _add_campaign(self, logdir: Path, path: Path, files: Path) -> bool:
        if path in self._campaigns:
            return False
        name = path.relative_to(logdir).as_posix()
        quiet = QUIET_SECONDS if self._watcher is not None else 0.0
        self._campaigns[path] = CampaignJudge(name, files, self._rules, self._settings, quiet, self._coming)
        return True

    def _follow_campaign(self, path: Path) -> bool:
        trained = [cycle for campaign, cycle in self._campaign_of.values() if campaign == path]
        return self._campaigns[path].follow(trained)

    def _touched(self, changes: Changes) -> set[Path]:
        """Return the runs whose files may have grown."""
        return {
            path
            for path, judge in self._runs.items()
            if any(file.path.parent in changes.directories for file in judge.run.files)
        }

    def _read(self, paths: Sequence[Path], max_bytes: int, now: float) -> set[Path]:
        """Read runs within a budget; returns those with something new."""
        changed, spent = set(), 0
        for path in paths:
            if spent >= max_bytes:
                self._pending.add(path)
                continue
            judge = self._runs[path]
            update = judge.run.poll(max_bytes - spent)
            spent += update.bytes_read
            (self._pending.add if update.more else self._pending.discard)(path)
            if not judge.run.files:
                changed.add(path)
                continue
            told = _told(judge)
            if not update.points and not update.rewound and told == self._told.get(path):
                continue
            self._told[path] = told
            if update.points and (path in self._views or self._caught_up):
                self._grew_at[path] = now
            self._events += update.points
            judge.follow(update, in_campaign=path in self._campaign_of)
            changed.add(path)
        return changed

    def _recheck(self, now: float) -> Snapshot:
        """Look for what changes without a byte: a live run falls silent, a file of verdicts has stopped growing."""
        if now - self._checked_at < RECHECK_SECONDS:
            return self._snapshot
        self._checked_at = now
        silent = {
            path for path, view in self._views.items() if view.state == "live" and self._state(path, now) != "live"
        }
        found = [path for path in self._campaigns if self._follow_campaign(path)]
        return self._publish(silent, now) if silent or found else self._snapshot

    def _publish(self, changed: set[Path], now: float) -> Snapshot:
        self._checked_at = now
        beside = self._sweeps.affected(changed) - changed
        for path in changed:
            if not self._runs[path].run.files:
                self._let_go(path)
                continue
            judge = self._runs[path]
            self._sweeps.note(path, judge.run.name, judge.standing(), judge.config)
        for path in (beside | self._sweeps.affected(changed)) & self._runs.keys():
            campaign, cycle = self._campaign_of.get(path, (None, None))
            name = self._campaigns[campaign].name if campaign is not None else None
            siblings = self._sweeps.beside(path)
            self._views[path] = self._runs[path].view(self._state(path, now), name, cycle, siblings)
        views = sorted(self._views.values(), key=lambda view: (view.state != "live", _natural(view.run)))
        total = sum(file.size for judge in self._runs.values() for file in judge.run.files)
        read = sum(file.offset for judge in self._runs.values() for file in judge.run.files)
        self._snapshot = Snapshot(
            logdirs=self._snapshot.logdirs,
            runs=tuple(views),
            campaigns=tuple(self._campaign_views()),
            problems=tuple(self._problems()),
            version=self._snapshot.version + 1,
            events_read=self._events,
            polled_at=now,
            backfilling=self._is_behind(),
            progress=read / total if self._pending and total else None,
        )
        self._caught_up = self._caught_up or not self._pending
        return self._snapshot

    def _is_behind(self) -> bool:
        """Tell whether the budget of a poll ended before all files did."""
        return bool(self._pending) or any(campaign.more for campaign in self._campaigns.values())

    def _let_go(self, path: Path) -> None:
        """Forget a run whose files are gone."""
        del self._runs[path]
        self._sweeps.forget(path)
        for kept in (self._views, self._told, self._campaign_of, self._grew_at):
            kept.pop(path, None)
        self._pending.discard(path)

    def _campaign_views(self) -> Iterator[CampaignView]:
        for path, campaign in sorted(self._campaigns.items()):
            runs: dict[int, RunView] = {}
            for run_path, (campaign_path, cycle) in self._campaign_of.items():
                view = self._views.get(run_path)
                if campaign_path != path or view is None:
                    continue
                best = runs.get(cycle)
                if best is None or _rank(view) >= _rank(best):
                    runs[cycle] = view
            # Files beside runs named `<name>_iter3` lie in the directory above the campaign's own.
            claimed = any(other is not campaign and other.path == campaign.path for other in self._campaigns.values())
            if runs or (campaign.has_cycles() and not claimed):
                yield campaign.view(runs)

    def _problems(self) -> Iterator[Problem]:
        for logdir in self._logdirs:
            if not os.path.isdir(logdir):  # noqa: PTH112 - `Path.is_dir` raises where it may not look
                yield Problem(str(logdir), "no such directory", "It is looked for again as long as this runs.")
        yield from self._unlisted
        if self._watcher is not None:
            yield from self._watcher.problems
        for _, judge in sorted(self._runs.items()):
            yield from judge.run.problems
            yield from judge.problems
        for _, campaign in sorted(self._campaigns.items()):
            yield from campaign.problems

    def _state(self, path: Path, now: float) -> RunState:
        """Tell whether a run grows: by what was seen here, else by its files' and its points' own times."""
        judge = self._runs[path]
        run, step = judge.run, judge.run.last_step
        if step is None or run.last_wall_time is None:
            return "empty"
        end = judge.roles.get("run_end")
        planned = judge.config.max_steps
        if (end is not None and int(run.series[end.tag].steps[-1]) >= step) or (planned and step >= planned):
            return "finished"
        points = max(series.count for series in run.series.values())
        interval = (run.last_wall_time - (run.first_wall_time or run.last_wall_time)) / max(1, points - 1)
        patience = max(LEAST_IDLE, IDLE_INTERVALS * interval)
        grew_at = self._grew_at.get(path)
        if grew_at is not None:
            return "live" if now - grew_at <= patience else "idle"
        modified = max((file.modified_at for file in run.files), default=0.0)
        return "live" if now - min(modified, run.last_wall_time) <= patience else "idle"


def _lies_below(path: str, roots: Sequence[str]) -> bool:
    """Tell whether a path lies in one of the watched trees."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _told(judge: RunJudge) -> tuple[object, ...]:
    """Return what a run has to say beside its points."""
    run = judge.run
    return tuple(run.problems), tuple(run.texts.items()), repr(run.hparams), sidecar_stamp(run.path)


def _rank(view: RunView) -> tuple[bool, bool, float, str]:
    """Rank the runs of one cycle: a training before what only stands beside it, then the newest."""
    return "loss" in view.series, "learning_rate" in view.series, view.last_wall_time or 0.0, view.run


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key in which ``cycle_10`` comes after ``cycle_9``."""
    parts, word = [], ""
    for char in name:
        if word and char.isdigit() != word[-1].isdigit():
            parts.append(word)
            word = ""
        word += char
    parts.append(word)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts)
