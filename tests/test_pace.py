"""Changes that are read together, and how long they had waited when they were shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from watchdog.events import FileCreatedEvent, FileModifiedEvent

from raftmon.monitor import Monitor
from raftmon.runs.pace import Pace
from raftmon.runs.watch import Changes, Watcher
from tests.test_monitor import Clock, FakeWatcher, only, read_all, write_run


class Resting(FakeWatcher):
    """A watcher whose rests move a timer."""

    def __init__(self) -> None:
        super().__init__()
        self.timer = 100.0
        self.asked: list[float] = []
        """For how long what it tells had to wait."""

    def take(self, patience: float = 0.0) -> Changes:
        self.asked.append(patience)
        return super().take()

    def ripens_in(self, patience: float) -> float | None:
        if not self.changes.directories:
            return None
        return patience - max(self.changes.ages.values(), default=0.0)

    def rest(self, seconds: float) -> bool:
        self.timer += seconds
        return self.called

    def wait(self, timeout: float) -> bool:
        return bool(self.changes.directories)


def told(directory: Path, age: float) -> Changes:
    return Changes(frozenset({str(directory)}), everything=False, ages={str(directory): age}, since=age)


def live_pace(watcher: Watcher, breath: float, live: int, timer: Callable[[], float]) -> Pace:
    pace = Pace(watcher, breath, timer, lambda _: None)
    pace.live = live
    return pace


@pytest.mark.parametrize(("live", "patience"), [(1, 0.005), (100, 0.5), (1000, 1.1), (100_000, 1.1)])
def test_a_write_waits_by_the_number_of_runs_and_a_breath_at_most(live: int, patience: float) -> None:
    watcher = Resting()
    live_pace(watcher, 1.1, live, lambda: watcher.timer).take()
    assert watcher.asked == [pytest.approx(patience)]


def test_it_rests_until_the_oldest_write_has_waited_enough(tmp_path: Path) -> None:
    watcher = Resting()
    pace = live_pace(watcher, 1.1, 1000, lambda: watcher.timer)
    watcher.changes = told(tmp_path, 0.25)
    assert not pace.wait(0.5)
    assert watcher.timer == pytest.approx(100.5)
    assert pace.wait(1.0)
    assert watcher.timer == pytest.approx(101.35)


def test_looks_are_a_tick_apart(tmp_path: Path) -> None:
    watcher = Resting()
    pace = live_pace(watcher, 1.1, 1, lambda: watcher.timer)
    pace.take()
    watcher.changes = told(tmp_path, 5.0)
    assert pace.wait(1.0)
    assert watcher.timer == pytest.approx(100.2)


def test_a_watcher_keeps_back_what_has_not_waited_enough_in_the_order_of_its_coming(tmp_path: Path) -> None:
    clock = Clock()
    watcher = Watcher([tmp_path], clock=clock)
    try:
        watcher.take()
        for name in ("a", "b"):
            watcher.dispatch(FileModifiedEvent(str(tmp_path / name / "events.out.tfevents.1")))
            clock.now += 1.0
        assert watcher.ripens_in(1.5) == pytest.approx(-0.5)
        assert watcher.take(1.5).directories == {str(tmp_path / "a")}
        assert watcher.ripens_in(1.5) == pytest.approx(0.5)
        assert watcher.take(1.5).directories == frozenset()
        clock.now += 0.5
        ripe = watcher.take(1.5)
        assert ripe.directories == {str(tmp_path / "b")}
        assert ripe.ages[str(tmp_path / "b")] == pytest.approx(1.5)
        assert watcher.ripens_in(1.5) is None
    finally:
        watcher.close()


def test_names_that_come_or_go_do_not_wait(tmp_path: Path) -> None:
    watcher = Watcher([tmp_path], clock=Clock())
    try:
        watcher.take()
        watcher.dispatch(FileCreatedEvent(str(tmp_path / "a" / "events.out.tfevents.1")))
        assert watcher.ripens_in(1.5) == 0.0
        assert watcher.take(1.5).unsure == {str(tmp_path / "a")}
    finally:
        watcher.close()


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
    snapshot = monitor.poll()

    assert only(snapshot).last_step == 7
    assert snapshot.lags == pytest.approx((0.5,))
    assert snapshot.bytes_read == path.stat().st_size


def test_a_call_ends_the_rest(tmp_path: Path) -> None:
    watcher = Watcher([tmp_path], force_polling=True)
    pace = live_pace(watcher, 3600.0, 1_000_000, time.monotonic)
    pace.take()
    watcher.dispatch(FileModifiedEvent(str(tmp_path / "events.out.tfevents.1")))
    caller = threading.Thread(target=watcher.wake)
    caller.start()
    assert pace.wait(60.0)
    caller.join()
    assert pace.take().everything


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
