"""Runs that stop writing, and what surrounds them: real processes, clocks that jump, other runs, copies, GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from raftmon.model import RunView
from raftmon.monitor import Monitor
from raftmon.runs.watch import Changes
from raftmon.runs.writers import LocalProcesses
from raftmon.surroundings import Surroundings
from tests.scripted import scalar_record
from tests.silent_job import TICK, World, kinds
from tests.test_monitor import Clock, FakeWatcher


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0, 3600.0, -3600.0])
def test_a_clock_that_jumps_stalls_nothing(tmp_path: Path, jump: float) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    world.clock.now += jump
    world._due = world.clock.now + 20.0
    world.look()
    world.pass_by(20.0)
    world.train(50)
    assert kinds(world) == [None]


def test_a_stalled_job_stays_so_when_the_clock_jumps(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    world.pass_by(900.0)
    for jump in (-7200.0, 7200.0):
        world.clock.now += jump
        assert world.pass_by(60.0).stalled is not None


def test_a_process_that_went_on_to_another_run_has_left_this_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    following = tmp_path / "next" / f"events.out.tfevents.{int(world.clock.now) + 5}.here.812.1"
    following.parent.mkdir()
    following.write_bytes(scalar_record("loss", 1.0, 1, world.clock.now))
    world.watcher.changes = Changes(frozenset({str(tmp_path), str(following.parent)}), everything=False)
    world.pass_by(3600.0)
    assert kinds(world) == [None]


def test_when_time_alone_changes_what_is_said_there_is_a_new_version(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    before = world.snapshot()
    world.process = "stopped"
    world.clock.now += 30.0
    assert world.snapshot().version > before.version
    settled = world.snapshot()
    world.clock.now += TICK
    assert world.snapshot() is settled


def test_gpus_are_wanted_while_a_run_is_live_and_their_news_make_a_version(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.busy = 0.5
    world.train(5)
    world.open()
    first = world.snapshot()
    assert first.gpus == world.views()
    assert world.snapshot() is first

    world.busy = 0.6
    second = world.snapshot()
    assert (second.version, second.gpus) == (first.version + 1, world.views())
    assert second.runs is first.runs


def test_without_a_live_run_no_gpu_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.busy = 0.5
    world.train(20)
    world.clock.now += 86_400.0
    world.open()
    assert world.snapshot().gpus == ()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait(10)


def until(process: subprocess.Popen[bytes], status: str) -> None:
    """Wait until the kernel has done what it was told."""
    while psutil.Process(process.pid).status() != status:
        os.sched_yield()


def test_a_real_process_is_stopped_goes_on_and_is_killed(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    processes, clock, watcher = LocalProcesses(), Clock(), FakeWatcher()
    clock.now = time.time()
    name = f"events.out.tfevents.{int(clock.now)}.{processes.host}.{sleeper.pid}.0"
    monitor = Monitor([tmp_path], watcher=watcher, clock=clock, around=Surroundings(processes))

    def after(seconds: float, step: int | None = None) -> RunView:
        for _ in range(round(seconds / TICK)):
            clock.now += TICK
            monitor.poll()
        if step is not None:
            with (tmp_path / name).open("ab") as file:
                file.write(scalar_record("loss", 1.0, step, clock.now))
            watcher.changes = Changes(frozenset({str(tmp_path)}), everything=False)
        return monitor.poll().runs[0]

    (tmp_path / name).write_bytes(scalar_record("loss", 1.0, 0, clock.now))
    assert [after(TICK, step).standstill for step in range(1, 8)] == [None] * 7

    sleeper.send_signal(signal.SIGSTOP)
    until(sleeper, psutil.STATUS_STOPPED)
    assert (
        after(20.0).stalled
        == f"its process (pid {sleeper.pid}) is stopped; nothing written for over 20 s, usually every 2 s"
    )

    sleeper.send_signal(signal.SIGCONT)
    until(sleeper, psutil.STATUS_SLEEPING)
    assert after(TICK, 8).standstill is None

    sleeper.kill()
    until(sleeper, psutil.STATUS_ZOMBIE)
    run = after(20.0)
    assert run.state == "idle"
    assert run.standstill is not None
    assert run.standstill.kind == "ended"


def test_old_files_that_are_copied_here_before_our_eyes_are_not_stalled(tmp_path: Path) -> None:
    world = World(tmp_path, host="there")
    world.train(50)
    data = world.path.read_bytes()
    world.path.unlink()
    world.clock.now += 86_400.0
    world.monitor = Monitor([tmp_path], watcher=world.watcher, clock=world.clock, around=Surroundings(world, world))
    world.monitor.poll()
    world.path.write_bytes(data)
    world.watcher.changes = Changes(frozenset(), everything=True)
    world.pass_by(1200.0)
    assert kinds(world) == [None]


def test_while_nothing_could_be_seen_no_silence_is_counted(tmp_path: Path) -> None:
    world, blind = World(tmp_path, host="there"), [False]
    around = Surroundings(blind=lambda: blind[0])
    world.monitor = Monitor([tmp_path], watcher=world.watcher, clock=world.clock, around=around)
    world.look()
    world.train(50)
    blind[0] = True
    world.pass_by(3600.0)
    blind[0] = False
    assert world.pass_by(200.0).standstill is None
    assert world.pass_by(200.0).stalled is not None


def test_steps_that_are_no_optimiser_steps_are_not_held_against_the_plan(tmp_path: Path) -> None:
    world = World(tmp_path, planned=1000)
    with world.path.open("ab") as file:  # only Keras writes this one; it counts epochs
        file.write(scalar_record("epoch_loss", 1.0, 0, world.clock.now))
    world.open()
    for epoch in range(1, 8):
        world.append(scalar_record("epoch_loss", 1.0, epoch, world.clock.now))
        world.watcher.changes = Changes(frozenset({str(world.path.parent)}), everything=False)
        world.pass_by(10.0)
    world.process = "gone"
    still = world.pass_by(60.0).standstill
    assert still is not None
    assert still.kind == "ended"
