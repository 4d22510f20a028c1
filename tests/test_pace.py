"""Changes that are read together, and how long they had waited when they were shown."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from raftmon.monitor import Monitor
from raftmon.runs.watch import Changes, Watcher
from tests.test_monitor import Clock, FakeWatcher, only, read_all, write_run


class Resting(FakeWatcher):
    """A watcher whose rests move a timer."""

    def __init__(self) -> None:
        super().__init__()
        self.timer = 100.0

    def rest(self, seconds: float) -> bool:
        self.timer += seconds
        return self.called

    def wait(self, timeout: float) -> bool:
        return bool(self.changes.directories)


def told(directory: Path, age: float) -> Changes:
    return Changes(frozenset({str(directory)}), everything=False, ages={str(directory): age}, since=age)


def test_with_a_breath_what_comes_in_between_is_read_together(tmp_path: Path) -> None:
    path = write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    watcher = Resting()
    monitor = Monitor([tmp_path], watcher=watcher, clock=Clock(), timer=lambda: watcher.timer, breath=1.25)
    first = read_all(monitor)
    assert first.bytes_read == path.stat().st_size
    assert first.lags == ()

    for step in (6, 7):
        write_run(path, [0.5], "ab", first=step)
        watcher.changes = told(tmp_path, 0.5)
        watcher.timer += 0.5
        assert monitor.poll() is first
    assert monitor.wait(1.0)  # of which it rests for a quarter of a second
    snapshot = monitor.poll()

    assert only(snapshot).last_step == 7
    assert snapshot.lags == pytest.approx((0.5,))
    assert snapshot.bytes_read == path.stat().st_size


def test_a_call_ends_the_rest(tmp_path: Path) -> None:
    path = write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    watcher = Watcher([tmp_path], force_polling=True)
    monitor = Monitor([tmp_path], watcher=watcher, clock=Clock(), breath=3600.0)
    first = read_all(monitor)
    write_run(path, [0.5], "ab", first=6)
    assert monitor.poll() is first

    caller = threading.Thread(target=watcher.wake)
    caller.start()
    assert monitor.wait(60.0)
    caller.join()
    snapshot = monitor.poll()

    assert only(snapshot).last_step == 6
    assert len(snapshot.lags) == 1  # nobody tells where it polls: it is counted from the look before


def test_the_lag_of_a_run_that_is_read_bit_by_bit_is_counted_from_the_first_notice(tmp_path: Path) -> None:
    path = write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    watcher = Resting()
    monitor = Monitor([tmp_path], watcher=watcher, clock=Clock(), timer=lambda: watcher.timer)
    read_all(monitor)

    write_run(path, [0.5] * 50_000, "ab", first=6)
    watcher.changes = told(tmp_path, 0.25)
    snapshot = monitor.poll(max_bytes=1 << 20)
    lags = [snapshot.lags]
    while snapshot.backfilling:
        watcher.timer += 1.0
        snapshot = monitor.poll(max_bytes=1 << 20)
        lags.append(snapshot.lags)

    assert len(lags) > 2
    (waited,) = [lag for lag in lags if lag]
    assert waited == pytest.approx((0.25 + len(lags) - 1,))
