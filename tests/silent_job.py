"""A job in simulated time that writes, pauses and ends as it is told, and a monitor that looks every two seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from raftmon.model import GpuView, RunView, Snapshot, Standstill
from raftmon.monitor import Monitor
from raftmon.runs.watch import Changes
from raftmon.runs.writers import ProcessState, Writer
from raftmon.surroundings import Surroundings
from tests.scripted import FIRST, event, record, scalar_record, text
from tests.test_monitor import Clock, FakeWatcher
from tests.views import make_run

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
        """Let time pass without a step; what comes back is of no use while nobody watches."""
        run = None
        for _ in range(round(seconds / TICK)):
            self.clock.now += TICK
            run = self.look() if self.monitor is not None else None
        return run if run is not None else make_run()


def kinds(world: World) -> list[str | None]:
    """What was said of the job, one after the other."""
    return [still.kind if still is not None else None for still in world.told]
