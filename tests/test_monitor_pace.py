"""The monitor's own pace: what it puts off, what it never does, and what nobody has told it of."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from raftmon import monitor as monitor_module
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import read_weighing
from raftmon.following import LEAST_IDLE, FollowedRun, Judges
from raftmon.model import RunView
from raftmon.monitor import BESIDE_SECONDS, SWEEP_SECONDS, Monitor
from raftmon.runs.logdir import Run
from raftmon.runs.pace import BUSY_SECONDS
from raftmon.runs.roles import RoleTable
from raftmon.runs.watch import Changes
from tests.scripted import FIRST, header_record, scalar_record
from tests.test_monitor import Clock, FakeWatcher, only, read_all, rows, write_run


def ticking(seconds: float) -> Callable[[], float]:
    """A timer that moves by so much whenever it is asked."""
    ticks = itertools.count()
    return lambda: next(ticks) * seconds


def told(*directories: Path) -> Changes:
    return Changes(frozenset(map(str, directories)), everything=False)


def test_the_first_snapshot_comes_soon_and_shows_progress(tmp_path: Path) -> None:
    for number in range(6):
        write_run(tmp_path / f"run_{number}" / "events.out.tfevents.1", [1.0] * 5)
    monitor = Monitor([tmp_path], watcher=FakeWatcher(), clock=Clock(), timer=ticking(0.1))

    snapshots = [monitor.poll()]
    while snapshots[-1].backfilling:
        snapshots.append(monitor.poll())

    counts = [len(snapshot.runs) for snapshot in snapshots]
    progress = [snapshot.progress for snapshot in snapshots]
    assert counts == [3, 6]
    assert progress == [0.5, None]


def test_what_grows_is_read_before_what_was_there(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name / "events.out.tfevents.1", [1.0] * 5) for name in ("a", "b", "c", "d")]
    watcher = FakeWatcher()
    monitor = Monitor([tmp_path], watcher=watcher, clock=Clock(), timer=ticking(0.3))
    assert [run.run for run in monitor.poll().runs] == ["a"]

    write_run(paths[-1], [0.5], "ab", first=6)
    watcher.changes = told(tmp_path / "d")

    assert {run.run: run.last_step for run in monitor.poll().runs} == {"a": 5, "d": 6}


def test_a_long_run_that_is_read_bit_by_bit_has_not_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "events.out.tfevents.1", [1.0] * 50)
    clock = Clock()
    clock.now += 100 * LEAST_IDLE
    monkeypatch.setattr(monitor_module, "SLICE_BYTES", 1000)

    assert only(read_all(Monitor([tmp_path], watcher=FakeWatcher(), clock=clock))).state == "idle"


def test_an_old_run_that_comes_while_others_are_watched_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_module, "SLICE_BYTES", 1000)
    clock, watcher, old = Clock(), FakeWatcher(), tmp_path / "old"
    clock.now += 100 * LEAST_IDLE
    monitor = Monitor([tmp_path], watcher=watcher, clock=clock)
    assert read_all(monitor).runs == ()
    path = write_run(old / "events.out.tfevents.1", [1.0] * 50)
    for first in (51, 101):
        watcher.changes = told(tmp_path, old)
        monitor.poll()
        assert only(read_all(monitor)).state == "idle"
        write_run(path, [1.0] * 50, "ab", first=first)
        clock.now += 2.0

    with path.open("ab") as file:
        file.write(scalar_record("train/loss", 1.0, 151, clock.now))
    watcher.changes = told(old)
    assert only(read_all(monitor)).state == "live"


def test_nothing_waits_for_a_run_that_is_gone(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run" / "events.out.tfevents.1", [1.0] * 5)
    watcher = FakeWatcher()
    monitor = Monitor([tmp_path], watcher=watcher, clock=Clock(), timer=lambda: 0.0)
    read_all(monitor)
    path.unlink()
    watcher.changes = Changes(frozenset({str(path.parent)}), everything=False, ages={str(path.parent): 0.5})
    gone = read_all(monitor)
    assert (gone.runs, gone.lags) == ((), ())


def test_what_nobody_tells_of_is_seen_by_the_next_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "SWEEP_DIRECTORIES", 2)
    paths = [write_run(tmp_path / name / "events.out.tfevents.1", [1.0] * 5) for name in ("a", "b", "c")]
    clock = Clock()
    monitor = Monitor([tmp_path], watcher=FakeWatcher(), clock=clock)
    first = read_all(monitor)
    write_run(paths[1], [0.5], "ab", first=6)
    write_run(tmp_path / "new" / "events.out.tfevents.1", [1.0])
    assert monitor.poll() is first

    for _ in range(3):  # four directories, two of them at a time; one round may have begun already
        clock.now += SWEEP_SECONDS
        snapshot = monitor.poll()

    assert {run.run: run.last_step for run in snapshot.runs} == {"a": 5, "b": 6, "c": 5, "new": 1}


def sweep_of_two(root: Path) -> None:
    for rate in ("1e-4", "1e-2"):
        path = root / f"lr-{rate}" / "events.out.tfevents.1"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(rows(step, 2.0 - 0.01 * step, float(rate)) for step in range(1, 31)))


def test_a_changed_run_is_shown_at_once_and_those_beside_it_a_little_later(tmp_path: Path) -> None:
    sweep_of_two(tmp_path)
    watcher, clock = FakeWatcher(), Clock()
    monitor = Monitor([tmp_path], watcher=watcher, clock=clock)
    before = {run.run: run for run in read_all(monitor).runs}

    def grow(step: int) -> dict[str, RunView]:
        write_run(tmp_path / "lr-1e-2" / "events.out.tfevents.1", [0.5], "ab", first=step)
        watcher.changes = told(tmp_path / "lr-1e-2")
        return {run.run: run for run in monitor.poll().runs}

    clock.now += BESIDE_SECONDS / 2
    at_once = grow(31)
    clock.now += BESIDE_SECONDS
    later = {run.run: run for run in monitor.poll().runs}

    assert at_once["lr-1e-2"].last_step == 31
    assert at_once["lr-1e-4"] is before["lr-1e-4"]
    assert later["lr-1e-4"] is not before["lr-1e-4"]


def test_the_working_directory_is_a_logdir_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep_of_two(tmp_path)
    monkeypatch.chdir(tmp_path)
    monitor = Monitor([Path()], clock=Clock())
    before = {run.run: run for run in read_all(monitor).runs}

    write_run(tmp_path / "lr-1e-2" / "events.out.tfevents.1", [0.5], "ab", first=31)
    after = {run.run: run for run in read_all(monitor).runs}

    assert {name: run.last_step for name, run in after.items()} == {"lr-1e-4": 30, "lr-1e-2": 31}
    assert after["lr-1e-4"] is not before["lr-1e-4"]
    assert {run.path for run in after.values()} == {"lr-1e-4", "lr-1e-2"}


def test_many_wake_ups_in_short_time_are_gathered(tmp_path: Path) -> None:
    class Woken(FakeWatcher):
        def wait(self, timeout: float) -> bool:
            return True

    pauses: list[float] = []
    monitor = Monitor([tmp_path], watcher=Woken(), clock=Clock(), timer=ticking(0.001), pause=pauses.append)
    monitor.poll()
    for _ in range(60):
        monitor.wait(1.0)

    assert 0 < len(pauses) < 60
    assert set(pauses) == {BUSY_SECONDS}


@pytest.mark.parametrize("campaign", [None, "/logs/models"])
def test_a_run_without_points_looks_as_its_judge_would_have_it(tmp_path: Path, campaign: str | None) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(header_record())
    roles = RoleTable.load(SHIPPED_RULES, [])
    judges = Judges(load_rules(), read_weighing(SHIPPED_RULES / "verdict.yaml"), roles)
    run = Run("models/cycle_2", tmp_path)
    run.add_file(tmp_path / "events.out.tfevents.1")
    followed = FollowedRun(run, judges, campaign, 2 if campaign else None, late=False)
    update = run.poll(1000)
    judge = judges.judge(run)
    judge.follow(update, in_campaign=campaign is not None)

    assert followed.take(update, FIRST)
    assert not followed.take(run.poll(1000), FIRST)

    assert followed.judge is None
    unknown = judges.stall_watch().look(None, None, None)
    shown, judged = followed.view(FIRST, campaign, []), judge.view("empty", campaign, followed.cycle, (), unknown)
    for name in RunView.__dataclass_fields__:
        assert getattr(shown, name) == getattr(judged, name), name


def test_a_run_is_judged_from_its_first_point_or_sidecar_on(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(header_record())
    monitor = Monitor([tmp_path], clock=Clock())
    assert only(read_all(monitor)).config.learning_rate is None

    (tmp_path / "hparams.yaml").write_text("learning_rate: 0.001\n")
    assert only(read_all(monitor)).config.learning_rate == 0.001

    write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5, "ab")
    assert only(read_all(monitor)).series["loss"].count == 5


def test_a_file_that_was_away_at_the_moment_of_reading_is_followed_again(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run" / "events.out.tfevents.1", [1.0] * 5)
    other = write_run(tmp_path / "run" / "events.out.tfevents.2", [1.0] * 5, first=6)
    watcher = FakeWatcher()
    monitor = Monitor([tmp_path], watcher=watcher, clock=Clock())
    assert only(read_all(monitor)).last_step == 10

    aside = other.rename(tmp_path / "aside")
    watcher.changes = told(path.parent)
    assert only(read_all(monitor)).last_step == 5
    aside.rename(other)
    watcher.changes = Changes(frozenset(), everything=False, unsure=frozenset({str(path.parent)}))

    assert only(read_all(monitor)).last_step == 10
