"""Faults of the world around the files: what is read stays right, and nothing is read twice."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftmon.events import tail
from raftmon.model import RunView, Snapshot
from raftmon.monitor import SWEEP_SECONDS, Monitor
from raftmon.runs.watch import Changes
from raftmon.signals import references
from tests.test_monitor import Clock, FakeWatcher, only, read_all, write_run


def test_a_logdir_that_is_unmounted_and_comes_back_is_shown_as_it_was(tmp_path: Path) -> None:
    logdir = tmp_path / "logs"
    path = write_run(logdir / "run" / "events.out.tfevents.1", [1.0] * 20)
    clock = Clock()
    monitor = Monitor([logdir], clock=clock)
    before = only(read_all(monitor))

    away = logdir.rename(tmp_path / "away")
    clock.now += SWEEP_SECONDS
    gone = read_all(monitor)
    logdir.mkdir()  # the mount point
    clock.now += SWEEP_SECONDS
    empty = read_all(monitor)
    logdir.rmdir()
    away.rename(logdir)
    write_run(path, [0.5], "ab", first=21)
    clock.now += SWEEP_SECONDS
    back = only(read_all(monitor))

    assert [problem.what for problem in gone.problems] == ["no such directory"]
    assert (gone.runs, empty.runs, empty.problems) == ((), (), ())
    assert back.last_step == 21
    assert {role: series.count for role, series in back.series.items()} == dict.fromkeys(before.series, 21)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_after_a_jump_of_the_clock_what_grows_is_read_and_live(tmp_path: Path, jump: float) -> None:
    path = write_run(tmp_path / "events.out.tfevents.1", [1.0] * 20)
    clock, watcher = Clock(), FakeWatcher()
    monitor = Monitor([tmp_path], clock=clock, watcher=watcher)
    read_all(monitor)

    def after(step: int) -> Snapshot:
        write_run(path, [0.5], "ab", first=step)
        watcher.changes = type(watcher.changes)(frozenset({str(tmp_path)}), everything=False, ages={str(tmp_path): 0.0})
        return read_all(monitor)

    before = only(after(21))  # it was seen to grow
    clock.now += jump
    snapshot = after(22)

    assert (only(snapshot).state, only(snapshot).last_step) == ("live", 22)
    assert [lag >= 0.0 and lag < 60.0 for lag in snapshot.lags] == [True]
    assert {finding.rule for finding in only(snapshot).firing} == {finding.rule for finding in before.firing}


def test_all_that_a_watching_monitor_needs_of_the_rule_set_is_read_at_its_start(tmp_path: Path) -> None:
    references.load_references.cache_clear()

    Monitor([tmp_path], clock=Clock(), watcher=FakeWatcher())

    assert references.load_references.cache_info().currsize == 1


class Closed:
    """Takes the permission to read a place and all below it, and gives it back; root, who may all, may not either.

    Args:
        place: a file or a directory.
    """

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = str(place)
        self.now = False
        for where, name in ((tail, "_open"), (os, "scandir"), (os, "stat")):
            monkeypatch.setattr(where, name, self._guard(getattr(where, name), only_below=name == "stat"))

    def _guard(self, call: Callable[..., Any], only_below: bool) -> Callable[..., Any]:
        def guarded(path: Any, *more: Any, **named: Any) -> Any:
            below = str(path).startswith(f"{self.place}/")
            if self.now and (below or (str(path) == self.place and not only_below)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return call(path, *more, **named)

        return guarded


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("place", ["", "run", "run/events.out.tfevents.1"])
def test_permission_that_is_lost_and_comes_back_costs_no_point_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, watched: bool
) -> None:
    path = write_run(tmp_path / "run" / "events.out.tfevents.1", [1.0] * 20)
    closed = Closed(tmp_path / place, monkeypatch)
    clock, watcher = Clock(), FakeWatcher() if watched else None
    monitor = Monitor([tmp_path], clock=clock, watcher=watcher)

    def look() -> Snapshot:
        clock.now += SWEEP_SECONDS
        if watcher is not None:
            near = frozenset({str(path.parent)})
            watcher.changes = Changes(near, everything=False, unsure=near, ages={str(path.parent): 0.0})
        return read_all(monitor)

    before = look()
    write_run(path, [0.5] * 3, "ab", first=21)
    closed.now = True
    meanwhile = [look(), look()]
    closed.now = False
    back = look()

    assert (before.problems, back.problems) == ((), ())
    for snapshot in meanwhile:
        assert snapshot.problems
        assert all("Permission denied" in problem.what for problem in snapshot.problems)
        assert snapshot.events_read == before.events_read == 60
        assert only(snapshot).firing == only(before).firing, "what was said is not taken back"
    undisturbed = only(read_all(Monitor([tmp_path], clock=clock)))
    assert told_of(only(back)) == told_of(undisturbed)
    assert only(back).last_step == 23


def told_of(run: RunView) -> tuple[dict[str, int], dict[str, int | None]]:
    return (
        {role: series.count for role, series in run.series.items()},
        {finding.rule: finding.since_step for finding in run.firing},
    )
