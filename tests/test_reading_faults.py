"""Faults of the world around the files: what is read stays right, and nothing is read twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftmon.model import Snapshot
from raftmon.monitor import SWEEP_SECONDS, Monitor
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
