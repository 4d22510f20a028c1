"""Runs that stop writing, in simulated time: what is said of each, when, and never too early."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftmon.model import Standstill
from raftmon.monitor import Monitor
from raftmon.runs.watch import Changes
from raftmon.runs.writers import ProcessState
from tests.scripted import FIRST, scalar_record
from tests.silent_job import World, kinds
from tests.test_monitor import Clock, FakeWatcher, read_all


def test_a_steady_job_is_live(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    assert world.train(300).state == "live"
    assert kinds(world) == [None]


@pytest.mark.parametrize("step_seconds", [2.0, 30.0])
def test_a_slow_evaluation_is_no_stall_neither_the_first_nor_a_later_one(tmp_path: Path, step_seconds: float) -> None:
    world = World(tmp_path, step_seconds=step_seconds)
    world.open()
    run = world.train(1100, lambda step: 20.0 * step_seconds if step % 500 == 0 else 0.0)
    assert run.state == "live"
    assert kinds(world) == [None]


def test_a_very_slow_evaluation_is_taken_for_a_stall_once_at_most(tmp_path: Path) -> None:
    world = World(tmp_path, step_seconds=2.0)
    world.open()
    world.train(700, lambda step: 600.0 if step % 100 == 0 else 0.0)
    assert kinds(world) == [None, "stalled", None]


def test_a_slow_evaluation_that_lies_in_the_history_is_known(tmp_path: Path) -> None:
    world = World(tmp_path, step_seconds=2.0)
    world.train(150, lambda step: 600.0 if step == 100 else 0.0)
    world.open()
    world.train(100, lambda step: 600.0 if step == 200 else 0.0)
    assert kinds(world) == [None]


def test_a_paused_process_is_told_soon_and_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    world.process = "stopped"
    run = world.pass_by(30.0)
    assert run.stalled is not None
    assert run.stalled.startswith("its process (pid 812) is stopped")

    world.process = "running"
    assert world.train(20).state == "live"
    assert kinds(world)[-1] is None


def test_a_job_that_hangs_is_told_and_the_text_changes_seldom(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    assert world.pass_by(280.0).standstill is None
    run = world.pass_by(3600.0)
    assert run.stalled == ("nothing written for over 1 h, usually every 6 s; its process (pid 812) is still there")
    assert len(world.told) <= 10
    assert world.snapshot().runs[0].run == "run"


def test_a_stalled_run_is_one_of_the_first(tmp_path: Path) -> None:
    world = World(tmp_path)
    other = tmp_path / "a-old" / "events.out.tfevents.1"
    other.parent.mkdir()
    other.write_bytes(scalar_record("loss", 1.0, 1))
    world.open()
    world.train(50)
    world.pass_by(900.0)
    assert [run.run for run in world.snapshot().runs] == ["run", "a-old"]


def test_a_gpu_that_worked_and_idles_tells_it_sooner(tmp_path: Path) -> None:
    world = World(tmp_path, step_seconds=2.0)
    world.busy = 0.95
    world.open()
    world.train(50)
    world.busy, world.idle_since = 0.0, world.clock.now
    assert world.pass_by(170.0).standstill is None
    run = world.pass_by(40.0)
    assert run.stalled == "nothing written for over 3 min, usually every 2 s; no GPU has worked for over 3 min"


def test_a_gpu_that_idles_beside_a_job_that_writes_tells_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, step_seconds=10.0)
    world.busy, world.idle_since = 0.0, FIRST - 1e6
    world.open()
    world.train(100)
    assert kinds(world) == [None]


def test_a_finished_job_with_a_mark_is_done(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    world.append(scalar_record("train/train_runtime", 250.0, 50, world.clock.now))
    world.watcher.changes = Changes(frozenset({str(world.path.parent)}), everything=False)
    world.process = "gone"
    assert world.pass_by(7200.0).state == "finished"
    assert kinds(world) == [None]


@pytest.mark.parametrize("planned", [50, 54])
def test_a_finished_job_without_a_mark_has_reached_its_plan(tmp_path: Path, planned: int) -> None:
    world = World(tmp_path, planned=planned)
    world.step_seconds = 5.0
    world.open()
    while world.step < 50:  # every fifth step is logged
        world.step += 4
        world.write()
        world.pass_by(6.0)
    run = world.pass_by(7200.0)
    assert run.state == ("finished" if planned == 50 else "idle")
    assert kinds(world) == [None]


def test_a_rate_that_has_decayed_tells_the_end(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.rate = lambda step: 1e-3 * (1.0 - step / 100)
    world.open()
    world.train(100)
    assert world.pass_by(7200.0).state == "idle"
    assert kinds(world) == [None]


def test_whole_epochs_tell_the_end(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.path.parent / "hparams.yaml").write_text("num_train_epochs: 3\n")
    world.open()
    for epoch in (0, 1, 2):
        world.append(scalar_record("epoch", float(epoch), world.step, world.clock.now))
        world.train(30)
    assert world.pass_by(7200.0).config.epochs == 3
    assert kinds(world) == [None]


@pytest.mark.parametrize(("planned", "kind"), [(None, "ended"), (1000, "cut_off")])
def test_a_crashed_job_is_not_live(tmp_path: Path, planned: int | None, kind: str) -> None:
    world = World(tmp_path, planned=planned)
    world.open()
    world.train(50)
    world.process = "gone"
    run = world.pass_by(20.0)
    assert run.state == "idle"
    assert world.pass_by(7200.0).standstill is not None
    assert kinds(world) == [None, kind]


def test_a_job_that_was_resumed_after_its_crash_is_live_again(tmp_path: Path) -> None:
    world = World(tmp_path, planned=1000)
    world.open()
    world.train(50)
    world.process = "gone"
    world.pass_by(600.0)
    world.process = "running"
    world.path = world.path.with_name(f"events.out.tfevents.{int(world.clock.now)}.here.999.0")
    assert world.train(30).state == "live"
    assert kinds(world) == [None, "cut_off", None]


@pytest.mark.parametrize("process", ["running", "gone", None])
def test_an_old_logdir_is_not_stalled(tmp_path: Path, process: ProcessState | None) -> None:
    world = World(tmp_path)
    world.train(200)
    world.process = process
    world.clock.now += 86_400.0
    assert world.open().state == "idle"
    world.pass_by(600.0)
    assert kinds(world) == [None]


def test_a_job_that_hung_before_anybody_looked_is_told_while_its_process_lives(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.train(200)
    world.clock.now += 1500.0
    assert world.open().stalled is not None
    assert world.pass_by(7200.0).stalled == (
        "nothing written for over 2 h, usually every 6 s; its process (pid 812) is still there"
    )

    world.process = "gone"
    assert world.pass_by(60.0).standstill == Standstill(
        "ended", "its process (pid 812) has ended; whether it was done is not known"
    )


def test_a_job_that_ended_before_anybody_looked_is_idle(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.train(200)
    world.process = "gone"
    world.clock.now += 1500.0
    assert world.open().state == "idle"
    world.pass_by(600.0)
    assert kinds(world) == [None]


def test_of_another_host_only_the_silence_is_known(tmp_path: Path) -> None:
    world = World(tmp_path, host="there")
    world.process = "gone"  # a process of ours has the same number, or none has
    world.busy, world.idle_since = 0.0, FIRST - 1e6
    world.open()
    world.train(50)
    assert world.pass_by(280.0).standstill is None
    assert world.pass_by(120.0).stalled == "nothing written for over 5 min, usually every 6 s"


def test_a_job_of_another_host_that_was_silent_before_is_not_stalled(tmp_path: Path) -> None:
    world = World(tmp_path, host="there")
    world.train(50)
    world.clock.now += 1200.0
    world.open()
    world.pass_by(600.0)
    assert kinds(world) == [None]


@pytest.mark.parametrize(("pace", "state"), [(1.0, "live"), (50.0, "idle"), (0.0, "idle")])
def test_a_trainer_with_a_wrong_clock_is_live_and_an_old_log_that_is_copied_is_not(
    tmp_path: Path, pace: float, state: str
) -> None:
    clock, watcher = Clock(), FakeWatcher()
    path = tmp_path / "run" / "events.out.tfevents.1"
    path.parent.mkdir()
    path.write_bytes(scalar_record("loss", 1.0, 0, FIRST - 1e6))
    monitor = Monitor([tmp_path], watcher=watcher, clock=clock)
    read_all(monitor)
    for step in range(1, 30):
        clock.now += 5.0
        with path.open("ab") as file:
            file.write(scalar_record("loss", 1.0, step, FIRST - 1e6 + 5.0 * pace * step))
        watcher.changes = Changes(frozenset({str(path.parent)}), everything=False)
        snapshot = monitor.poll()
    assert snapshot.runs[0].state == state
