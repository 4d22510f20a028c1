"""One run as the monitor follows it: its files, and a judge from the moment on at which there is something to judge."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raftmon.advice.judging import RunJudge
from raftmon.advice.rule import Rule
from raftmon.advice.weighing import Weighing
from raftmon.model import Problem, RunState, RunView
from raftmon.runs.beside import has_sidecars, sidecar_stamp
from raftmon.runs.logdir import Run, RunUpdate
from raftmon.runs.roles import RoleTable
from raftmon.signals.siblings import Standing

__all__ = ["LEAST_IDLE", "FollowedRun", "Judges"]

LEAST_IDLE: Final = 120.0
"""Seconds without a byte after which a run may be called idle."""
IDLE_INTERVALS: Final = 10.0
"""...but not before so many of its own intervals between two steps have passed."""
BESIDE_SECONDS: Final = 1.0
"""Seconds between two looks at the files beside a run that grows all the time; three of them cost as much as reading
what is new."""


class Judges:
    """Makes judges, and the view of a run that has nothing to be judged yet.

    Args:
        rules: all that are enabled, those on campaigns included.
        weighing: coefficients of the verdict.
        roles: what tags mean.
    """

    def __init__(self, rules: Sequence[Rule], weighing: Weighing, roles: RoleTable) -> None:
        self._rules = rules
        self._weighing = weighing
        self._roles = roles
        self._blank: dict[bool, RunView] = {}

    def judge(self, run: Run) -> RunJudge:
        """Return a judge for a run."""
        return RunJudge(run, self._rules, self._weighing, self._roles)

    def blank(self, in_campaign: bool) -> RunView:
        """Return the view of a run without a point and without a word on its configuration; all such are alike."""
        if in_campaign not in self._blank:
            judge = self.judge(Run(".", Path(os.devnull)))
            judge.follow(RunUpdate((), rewound=False, more=False, bytes_read=0), in_campaign=in_campaign)
            self._blank[in_campaign] = judge.view("empty", None, None)
        return self._blank[in_campaign]


class FollowedRun:
    """Follows one run.

    Args:
        run: its files.
        judges: makes its judge when the first points, or words on its configuration, have come.
        campaign: path of the campaign that it is a cycle of, or None.
        cycle: its number in there, or None.
        late: whether it came while the monitor was watching, so that its first points are growth.
    """

    def __init__(self, run: Run, judges: Judges, campaign: str | None, cycle: int | None, *, late: bool) -> None:
        self.run = run
        self.campaign = campaign
        self.cycle = cycle
        self.judge: RunJudge | None = None
        self._judges = judges
        self._told: tuple[object, ...] | None = None
        self._watched = late
        self._grew_at: float | None = None
        self._beside: object = None
        self._looked_beside_at = 0.0

    def take(self, update: RunUpdate, now: float) -> bool:
        """Take in what a poll of the run brought; returns whether anything can be seen of it.

        Args:
            update: what the poll brought.
            now: seconds since the epoch.
        """
        if not update.points or abs(now - self._looked_beside_at) >= BESIDE_SECONDS:
            self._looked_beside_at, self._beside = now, sidecar_stamp(self.run.path)
        told = self._words()
        # What was there before anybody watched has not grown just now, however many polls it takes to read it.
        grew, self._watched = bool(update.points) and self._watched, self._watched or not update.more
        if not update.points and not update.rewound and told == self._told:
            return False
        beside_changed = self._told is None or told[-1] != self._told[-1]
        self._told = told
        if grew:
            self._grew_at = now
        if self.judge is None and (update.points or update.rewound or self._has_words()):
            self.judge = self._judges.judge(self.run)
        if self.judge is not None:
            self.judge.follow(update, in_campaign=self.campaign is not None, look_beside=beside_changed)
        return True

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with its files and with what they say of its configuration."""
        return [*self.run.problems, *(self.judge.problems if self.judge is not None else ())]

    def view(self, now: float, campaign: str | None, siblings: Sequence[Standing]) -> RunView:
        """Return everything known about the run.

        Args:
            now: seconds since the epoch.
            campaign: name of its campaign.
            siblings: what the runs beside it show.
        """
        if self.judge is not None:
            return self.judge.view(self.state(now), campaign, self.cycle, siblings)
        blank, name, path = self._judges.blank(self.campaign is not None), self.run.name, str(self.run.path)
        return dataclasses.replace(blank, run=name, path=path, campaign=campaign, cycle=self.cycle)

    def state(self, now: float) -> RunState:
        """Tell whether it grows: by what was seen here, else by its files' and its points' own times."""
        run, judge, step = self.run, self.judge, self.run.last_step
        if judge is None or step is None or run.last_wall_time is None:
            return "empty"
        end = judge.roles.get("run_end")
        planned = judge.config.max_steps
        if (end is not None and int(run.series[end.tag].steps[-1]) >= step) or (planned and step >= planned):
            return "finished"
        points = max(series.count for series in run.series.values())
        interval = (run.last_wall_time - (run.first_wall_time or run.last_wall_time)) / max(1, points - 1)
        patience = max(LEAST_IDLE, IDLE_INTERVALS * interval)
        if self._grew_at is not None:
            return "live" if now - self._grew_at <= patience else "idle"
        modified = max((file.modified_at for file in run.files), default=0.0)
        return "live" if now - min(modified, run.last_wall_time) <= patience else "idle"

    def _words(self) -> tuple[object, ...]:
        """Return what the run has to say beside its points; what lies beside its files comes last."""
        run = self.run
        return tuple(run.problems), tuple(run.texts.items()), repr(run.hparams), self._beside

    def _has_words(self) -> bool:
        return bool(self.run.series or self.run.texts or self.run.hparams) or has_sidecars(self.run.path)
