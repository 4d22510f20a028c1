"""One run as the monitor follows it: its files, and a judge from the moment on at which there is something to judge."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raftmon.advice.judging import RunJudge
from raftmon.advice.rule import Rule
from raftmon.advice.stalls import StallWatch
from raftmon.advice.weighing import Weighing
from raftmon.model import Problem, RunState, RunView, Standstill
from raftmon.runs.beside import has_sidecars, sidecar_stamp
from raftmon.runs.logdir import Run, RunUpdate
from raftmon.runs.roles import RoleTable
from raftmon.runs.standstill import RECENT_SECONDS, STOPPED_SECONDS, Pulse, is_given_up, standstill
from raftmon.runs.writers import Writer, newest_writer
from raftmon.signals.siblings import Standing
from raftmon.surroundings import Surroundings

__all__ = ["LEAST_IDLE", "FollowedRun", "Judges", "may_be_done"]

LEAST_IDLE: Final = 120.0
"""Seconds without a byte after which a run may be called idle."""
IDLE_INTERVALS: Final = 10.0
"""...but not before so many of its own intervals between two steps have passed."""
IDLE_PAUSES: Final = 2.0
"""...nor before so many of its own longest pauses."""
MOST_EXTRA: Final = 1800.0
"""Seconds on top of the longest pause that are enough, however long that was."""
DECAYED: Final = 0.02
"""A learning rate at this share of its peak, or below, has come to the end of its schedule."""
REST_SHARE: Final = 0.02
"""Share of its silence for which a run is left alone."""
MOST_REST: Final = 30.0
"""Seconds that it is left alone at most."""
SURE_SECONDS: Final = 60.0
"""Seconds after which the times of a trainer show whether they go on as fast as ours."""
LEAST_RATES: Final = 5
"""Points of the learning rate without which its schedule tells nothing."""
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
        self._timed = tuple(rule for rule in rules if rule.is_timed)

    def judge(self, run: Run) -> RunJudge:
        """Return a judge for a run."""
        return RunJudge(run, self._rules, self._weighing, self._roles)

    def stall_watch(self) -> StallWatch:
        """Return what looks for the standstill of a run."""
        return StallWatch(self._timed)

    def blank(self, in_campaign: bool) -> RunView:
        """Return the view of a run without a point and without a word on its configuration; all such are alike."""
        if in_campaign not in self._blank:
            judge = self.judge(Run(".", Path(os.devnull)))
            judge.follow(RunUpdate((), rewound=False, more=False, bytes_read=0), in_campaign=in_campaign)
            self._blank[in_campaign] = judge.view("empty", None, None, (), self.stall_watch().look(None, None, None))
        return self._blank[in_campaign]


class FollowedRun:
    """Follows one run.

    Args:
        run: its files.
        judges: makes its judge when the first points, or words on its configuration, have come.
        campaign: path of the campaign that it is a cycle of, or None.
        cycle: its number in there, or None.
        late: whether it came while the monitor was watching, so that its first points are growth.
        around: what surrounds it; None: nothing is known of that.
    """

    def __init__(
        self,
        run: Run,
        judges: Judges,
        campaign: str | None,
        cycle: int | None,
        *,
        late: bool,
        around: Surroundings | None = None,
    ) -> None:
        self.run = run
        self.campaign = campaign
        self.cycle = cycle
        self.judge: RunJudge | None = None
        self._judges = judges
        self._stalls = judges.stall_watch()
        self._told: tuple[object, ...] | None = None
        self._watched = late
        self._grew_at: float | None = None
        self._around = around if around is not None else Surroundings()
        self._grew_steady = self._around.steady
        self._witnessed = False
        self._grew_first: tuple[float, float] | None = None
        """Wall time of its newest point, and steady seconds, when it first grew with times that are not of now."""
        self._named: tuple[str, ...] = ()
        self._wrote: Writer | None = None
        self._process = self._around.watch_writer()
        self._near_end: bool | None = None
        self._look_at = 0.0
        self._shown: tuple[RunState, Standstill | None] | None = None
        self._can_tell = self._given_up = False
        self._still: tuple[RunView, RunView] | None = None
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
        if grew and (self._witnessed or self._is_written_now(now)):
            if self._witnessed:
                self.run.rhythm.note_arrival(self._around.steady - self._grew_steady)
            self._grew_at, self._grew_steady, self._witnessed = now, self._around.steady, True
        self._follow_writer()
        if self.judge is None and (update.points or update.rewound or self._has_words()):
            self.judge = self._judges.judge(self.run)
        if self.judge is not None:
            self.judge.follow(update, in_campaign=self.campaign is not None, look_beside=beside_changed)
            # Before anybody is shown what a view and the runs beside it would keep alive.
            if not update.more and self._by_rhythm(now) != "live":
                self.run.settle()
        return True

    def _is_written_now(self, now: float) -> bool:
        """Tell whether what has grown is written by a trainer just now: old files that are copied or fetched grow, too.

        A trainer whose clock is wrong is known by its times, which go on as fast as ours.
        """
        last = self.run.last_wall_time
        if last is None or abs(now - last) <= RECENT_SECONDS:
            return last is not None
        if self._grew_first is None:
            self._grew_first = last, self._around.steady
        written, passed = last - self._grew_first[0], self._around.steady - self._grew_first[1]
        return passed >= SURE_SECONDS and 0.5 * passed <= written <= 2.0 * passed

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
            state, still = self._shown = self.standing(now)
            if state != "live":
                self.run.settle()
            reading = self._standing_still(now)
            stalls = self._stalls.look(reading, still, self.run.last_step, given_up=self._given_up)
            view = self.judge.view(state, campaign, self.cycle, siblings, stalls)
            if still is None:
                return view
            if self._still is None or self._still[0] is not view or self._still[1].standstill != still:
                self._still = view, dataclasses.replace(view, standstill=still)
            return self._still[1]
        blank, name, path = self._judges.blank(self.campaign is not None), self.run.name, str(self.run.path)
        return dataclasses.replace(blank, run=name, path=path, campaign=campaign, cycle=self.cycle)

    def standing(self, now: float) -> tuple[RunState, Standstill | None]:
        """Tell whether it grows, and if not, what is known of the reason.

        Args:
            now: seconds since the epoch.
        """
        state = self._by_rhythm(now)
        if state in ("empty", "finished"):
            return state, None
        pulse = self._pulse(now)
        self._can_tell = pulse.usual is not None and pulse.process != "shared"
        self._given_up = is_given_up(pulse)
        still = standstill(pulse)
        return "idle" if still is not None and still.kind != "stalled" else state, still

    def _standing_still(self, now: float) -> float | None:
        """Return 1 where it should go on and does not, 0 where it goes on or is done, None where nobody can tell."""
        state, still = self._shown or ("empty", None)
        if still is not None and still.kind != "ended":
            return 1.0
        if state in ("live", "finished") or (state == "idle" and self._is_near_end()):
            return 0.0
        if still is None and self._can_tell and self.is_attended(now):
            return 0.0
        # A process that hung and was then ended does not hang any more; nor does one that nobody waits for.
        return 0.0 if (still is not None or self._given_up) and self._stalls.is_firing else None

    def is_moved(self, now: float) -> bool:
        """Tell whether time alone has changed what the last view said; looked at the less often the longer it rests."""
        steady = self._around.steady
        if self.judge is None or steady < self._look_at:
            return False
        self._look_at = steady + min(REST_SHARE * self._silence(now), MOST_REST)
        return self.standing(now) != self._shown

    def is_attended(self, now: float) -> bool:
        """Tell whether time alone may yet change what the last view said."""
        state, still = self._shown or ("empty", None)
        if still is not None:
            return still.kind == "stalled"
        if state != "idle":
            return state == "live"
        if self._is_near_end() or self._given_up:
            return False
        return self._witnessed or (self._process.writer is not None and self._silence(now) <= RECENT_SECONDS)

    def _by_rhythm(self, now: float) -> RunState:
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
        pause = min(IDLE_PAUSES * run.rhythm.pause, run.rhythm.pause + MOST_EXTRA)
        patience = max(LEAST_IDLE, IDLE_INTERVALS * interval, pause)
        since = self._grew_at if self._grew_at is not None else self._last_sign()
        return "live" if now - since <= patience else "idle"

    def _last_sign(self) -> float:
        """Return when a run that has not grown here was written last, in seconds since the epoch."""
        modified = max((file.modified_at for file in self.run.files), default=0.0)
        return min(modified, self.run.last_wall_time or modified)

    def _silence(self, now: float) -> float:
        """Return the seconds since it last grew; what was seen here is counted without the jumps of the clock."""
        if self._witnessed:
            return self._around.steady - self._grew_steady
        return max(0.0, now - self._last_sign())

    def _pulse(self, now: float) -> Pulse:
        silent, rhythm = self._silence(now), self.run.rhythm
        # What was called stalled is not taken back only because time goes on.
        said = self._shown[1] if self._shown is not None else None
        watched = self._witnessed or (said is not None and said.kind == "stalled")
        # A process is looked at once while its run grows, so that it is known, and then only when the run is late.
        known = self._process.seen or not self._around.steady
        late = silent >= max(STOPPED_SECONDS, 2.0 * (rhythm.usual or 0.0))
        look = late if known else watched or silent <= RECENT_SECONDS
        look = look and (watched or self._process.seen or silent <= RECENT_SECONDS)
        writer = self._process.writer
        return Pulse(
            silent,
            watched,
            rhythm.usual,
            rhythm.pause,
            over=self._is_near_end(),
            process=self._process.state(self._around.steady) if look else None,
            pid=writer.pid if writer is not None else None,
            gpu_idle=self._around.gpu_idle if writer is not None and late else None,
            step=self.run.last_step,
            planned=self._planned_steps(),
        )

    def _planned_steps(self) -> int | None:
        """Return how many steps it is to log; None: not known, or its steps are no optimiser steps."""
        judge = self.judge
        return judge.config.max_steps if judge is not None and judge.step_axis == "optimizer_step" else None

    def _follow_writer(self) -> None:
        self._near_end = None
        names = tuple(file.path.name for file in self.run.files)
        if names != self._named:
            self._named, self._wrote = names, newest_writer(names)
            self._process.follow(self._wrote)
        if self.run.series:
            self._around.note(self._wrote, self.campaign, self.cycle)

    def _is_near_end(self) -> bool:
        """Tell whether it may be done, although it did not say so."""
        if self._near_end is None:
            self._near_end = self.judge is not None and may_be_done(self.run, self.judge)
        return self._near_end or self._around.is_succeeded(self._wrote, self.campaign, self.cycle)

    def _words(self) -> tuple[object, ...]:
        """Return what the run has to say beside its points; what lies beside its files comes last."""
        run = self.run
        return tuple(run.problems), tuple(run.texts.items()), repr(run.hparams), self._beside

    def _has_words(self) -> bool:
        return bool(self.run.series or self.run.texts or self.run.hparams) or has_sidecars(self.run.path)


def may_be_done(run: Run, judge: RunJudge) -> bool:
    """Tell whether a run's last logged step may be that of its end: by its plan, or by the end of its schedule."""
    config, step, stride = judge.config, run.last_step, run.rhythm.stride
    if config.max_steps and step is not None and step + stride > config.max_steps:
        return True
    epoch = judge.roles.get("epoch")
    if config.epochs and epoch is not None:
        epochs = run.series[epoch.tag].values
        last = float(epochs[-1]) if len(epochs) else 0.0
        before = float(epochs[-2]) if len(epochs) > 1 else last
        # Whole epochs are counted from 0, or written at their begin.
        if last + max(last - before, 1.0 if last.is_integer() else 0.0) > config.epochs - 1e-6:
            return True
    rate = judge.roles.get("learning_rate")
    if rate is None or len(rates := run.series[rate.tag].values) < LEAST_RATES:
        return False
    peak, last = float(rates.max()), float(rates[-1])
    return peak > 0.0 and last <= peak * max(DECAYED, 1.5 / len(rates))
