"""Runs that stop writing, in simulated time: what is said of each, when, and never too early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from raftmon.model import GpuView, RunView, Snapshot, Standstill
from raftmon.monitor import Monitor
from raftmon.runs.watch import Changes
from raftmon.runs.writers import LocalProcesses, ProcessState, Writer
from raftmon.surroundings import Surroundings
from tests.scripted import FIRST, event, record, scalar_record, text
from tests.test_monitor import Clock, FakeWatcher

TICK = 2.0


class World:
    """A host with one job, its files, and a monitor that is polled every two seconds."""

    host = "here"

    def __init__(
        self, logdir: Path, *, host: str = "here", step_seconds: float = 5.0, planned: int | None = None
    ) -> None:
        self.clock = Clock()
        self.logdir = logdir
        self.step_seconds = step_seconds
        self.step = 0
        self.rate: Callable[[int], float] = lambda _: 1e-3
        self.process: ProcessState | None = "running"
        self.busy: float | None = None
        """Utilisation of the one GPU; None: there is none."""
        self.idle_since = FIRST
        self.path = logdir / "run" / f"events.out.tfevents.{int(FIRST)}.{host}.812.0"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        plan = {"learning_rate": 1e-3, **({"max_steps": planned} if planned else {})}
        self.append(record(event([text("args/text_summary", json.dumps(plan))], wall_time=FIRST)))
        self.watcher = FakeWatcher()
        self.monitor: Monitor | None = None
        self.told: list[Standstill | None] = []
        self._due = self.clock.now

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        os.utime(self.path, (self.clock.now, self.clock.now))

    def state(self, writer: Writer) -> ProcessState | None:
        return self.process

    def want(self, wanted: bool) -> None:
        pass

    def views(self) -> tuple[GpuView, ...]:
        return () if self.busy is None else (GpuView(0, "GPU", utilisation=self.busy),)

    def idle_for(self) -> float | None:
        if self.busy is None:
            return None
        return self.clock.now - self.idle_since if self.busy < 0.03 else 0.0

    def close(self) -> None:
        pass

    def open(self) -> RunView:
        """Begin to watch."""
        self.monitor = Monitor(
            [self.logdir], watcher=self.watcher, clock=self.clock, around=Surroundings(processes=self, gpus=self)
        )
        return self.look()

    def snapshot(self) -> Snapshot:
        assert self.monitor is not None
        snapshot = self.monitor.poll()
        while snapshot.backfilling:
            snapshot = self.monitor.poll()
        return snapshot

    def look(self) -> RunView:
        """Poll, and keep what is said of the job."""
        run = next(run for run in self.snapshot().runs if run.run == "run")
        if not self.told or run.standstill != self.told[-1]:
            self.told.append(run.standstill)
        return run

    def write(self) -> None:
        """Log one step."""
        self.step += 1
        rows = (("train/loss", 2.0 - 1e-4 * self.step), ("train/learning_rate", self.rate(self.step)))
        self.append(b"".join(scalar_record(tag, y, self.step, self.clock.now) for tag, y in rows))
        self.watcher.changes = Changes(frozenset({str(self.path.parent)}), everything=False)

    def train(self, steps: int, pause: Callable[[int], float] = lambda _: 0.0) -> RunView:
        """Let the job take steps, with a pause in seconds after some of them, and be looked at all the while."""
        end, run = self.step + steps, None
        while self.step < end:
            if self.clock.now >= self._due:
                self.write()
                self._due = self.clock.now + self.step_seconds + pause(self.step)
            run = self.pass_by(TICK)
        assert run is not None
        return run

    def pass_by(self, seconds: float) -> RunView:
        """Let time pass without a step."""
        run = None
        for _ in range(round(seconds / TICK)):
            self.clock.now += TICK
            run = self.look() if self.monitor is not None else None
        return run if run is not None else self.look() if self.monitor is not None else _nobody()


def _nobody() -> RunView:
    from tests.views import make_run

    return make_run()


def kinds(world: World) -> list[str | None]:
    """What was said of the job, one after the other."""
    return [still.kind if still is not None else None for still in world.told]


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
