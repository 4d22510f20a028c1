"""How soon a point is seen after the trainer's flush, and what watching costs while nothing happens.

usage: python -m tests.benchmarks.latency [--seconds N] [--only NAME]... [--runs N]

Prints each figure beside its target and ends with 1 when one is missed by more than 15 %. A writer in another process
appends logs of five records with one write each, to a hundred runs in turn that all have a history; it notes the
moment before each write. CPU time is that of this process, all its threads, in percent of one core.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from raftmon.monitor import Monitor
from raftmon.runs.logdir import Run, RunUpdate
from raftmon.runs.watch import POLL_SECONDS, Watcher
from tests.scripted import FIRST, event, header_record, record, scalar_record, simple

TOLERANCE: Final = 1.15
"""A figure that misses its target by a larger factor fails the benchmark."""
ACTIVE: Final = 100
LOGS_PER_SECOND: Final = 100
HISTORY: Final = 200
"""Steps that each active run has behind it."""
TAGS: Final = ("train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "train/entropy")
FILE: Final = "events.out.tfevents.1700000000.host.1.0"
FINISHED: Final = 300
"""Of the runs that are watched while nothing happens, so many have points; the others have headers alone."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str
    target: float | None
    """The most that it may be; None: only told."""

    @property
    def missed(self) -> bool:
        """Whether it is beyond its target and the tolerance."""
        return self.target is not None and self.value > self.target * TOLERANCE

    def __str__(self) -> str:
        line = f"{self.name:<62} {self.value:>9.3f} {self.unit:<4}"
        if self.target is None:
            return line
        verdict = "MISSED" if self.missed else "ok" if self.value <= self.target else "within 15 %"
        return f"{line} target {self.target:>8.3f}  {verdict}"


def log_record(step: int) -> bytes:
    """One log of a trainer: a record for each tag."""
    values = (2.0 - 0.001 * (step % 1000), 1.0, 1e-4, step / 100.0, 0.5)
    return b"".join(scalar_record(tag, value, step, FIRST + step) for tag, value in zip(TAGS, values, strict=True))


def make_runs(root: Path, count: int, content: Callable[[int], bytes]) -> None:
    """Make runs in groups of a hundred."""
    for number in range(count):
        directory = root / f"group_{number // 100:03d}" / f"run_{number:05d}"
        directory.mkdir(parents=True)
        (directory / FILE).write_bytes(content(number))


def write(root: Path, seconds: float) -> None:
    """Append logs at a steady rate, then print when each write began: seconds of the system's monotonic clock.

    The steps go on from one log to the next, whatever run it is in, so that each is known by its step.
    """
    logs = int(seconds * LOGS_PER_SECOND)
    prepared = [log_record(HISTORY + number) for number in range(logs)]
    files = [open(path, "ab", buffering=0) for path in sorted(root.glob(f"*/*/{FILE}"))]  # noqa: SIM115, PTH123
    flushed = np.empty(logs)
    begun = time.monotonic()
    for number, data in enumerate(prepared):
        time.sleep(max(0.0, begun + number / LOGS_PER_SECOND - time.monotonic()))
        # Before, not after: the reader may be at work before this process comes to look at its clock.
        flushed[number] = time.monotonic()
        files[number % len(files)].write(data)
    sys.stdout.buffer.write(flushed.tobytes())


class Arrivals:
    """When each step was decoded, and when it was in a Snapshot."""

    def __init__(self) -> None:
        self.decoded: dict[int, float] = {}
        self.published: dict[int, float] = {}
        self._unpublished: set[int] = set()
        poll = Run.poll

        def noted(run: Run, max_bytes: int) -> RunUpdate:
            update = poll(run, max_bytes)
            now = time.monotonic()
            for batch in update.batches:
                self.note(batch.step.tolist(), now)
            return update

        Run.poll = noted  # type: ignore[method-assign, assignment]

    def note(self, steps: Sequence[int], now: float) -> None:
        """Note steps that were decoded just now."""
        new = {step for step in steps if step >= HISTORY} - self.decoded.keys()
        self.decoded.update(dict.fromkeys(new, now))
        self._unpublished |= new

    def publish(self) -> None:
        """Note that what was decoded is in a Snapshot now."""
        self.published.update(dict.fromkeys(self._unpublished, time.monotonic()))
        self._unpublished.clear()


def settle(monitor: Monitor) -> None:
    """Poll until all is read and nothing more is told."""
    snapshot = monitor.poll()
    for _ in range(3):
        while snapshot.backfilling:
            snapshot = monitor.poll()
        monitor.wait(1.0)
        snapshot = monitor.poll()


def latencies(seconds: float, *, polling: bool) -> tuple[list[float], list[float], float]:
    """Return milliseconds from flush to decoded and to Snapshot for each log, sorted, and CPU in percent."""
    arrivals = Arrivals()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        history = header_record() + b"".join(map(log_record, range(HISTORY)))
        make_runs(root, ACTIVE, lambda _: history)
        monitor = Monitor([root], watcher=Watcher([root], force_polling=polling))
        settle(monitor)
        command = [sys.executable, "-m", "tests.benchmarks.latency", "--write", directory, "--seconds", str(seconds)]
        expected = int(seconds * LOGS_PER_SECOND)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            version, begun, cpu = -1, time.monotonic(), time.process_time()
            while len(arrivals.published) < expected and time.monotonic() - begun < 3 * seconds + 60:
                monitor.wait(1.0)
                if not arrivals.decoded:
                    begun, cpu = time.monotonic(), time.process_time()
                snapshot = monitor.poll()
                if snapshot.version != version:
                    version = snapshot.version
                    arrivals.publish()
            spent = 100.0 * (time.process_time() - cpu) / (time.monotonic() - begun)
            assert writer.stdout is not None
            flushed = np.frombuffer(writer.stdout.read())
        monitor.close()
    lost = expected - len(arrivals.published)
    if lost:
        raise SystemExit(f"{lost} of {expected} logs never arrived")
    both = (arrivals.decoded, arrivals.published)
    decoded, published = (
        sorted(1e3 * (times[HISTORY + number] - flushed[number]) for number in range(expected)) for times in both
    )
    return decoded, published, spent


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))]


def told(seconds: float) -> Iterator[Figure]:
    """Latency with inotify."""
    decoded, published, cpu = latencies(seconds, polling=False)
    yield Figure("inotify: flush to decoded point, median", statistics.median(decoded), "ms", 1.0)
    yield Figure("inotify: flush to decoded point, p99", quantile(decoded, 0.99), "ms", 10.0)
    yield Figure("inotify: flush to Snapshot, median", statistics.median(published), "ms", 15.0)
    yield Figure("inotify: flush to Snapshot, p99", quantile(published, 0.99), "ms", 50.0)
    yield Figure(f"inotify: CPU at {LOGS_PER_SECOND} logs/s into {ACTIVE} runs", cpu, "%", None)


def polled(seconds: float) -> Iterator[Figure]:
    """Latency when polling."""
    decoded, published, cpu = latencies(seconds, polling=True)
    yield Figure("polling: flush to decoded point, median", statistics.median(decoded), "ms", None)
    yield Figure("polling: flush to decoded point, p99", quantile(decoded, 0.99), "ms", 1e3 * POLL_SECONDS + 20.0)
    yield Figure("polling: flush to Snapshot, p99", quantile(published, 0.99), "ms", None)
    yield Figure(f"polling: CPU at {LOGS_PER_SECOND} logs/s into {ACTIVE} runs", cpu, "%", None)


def idle(seconds: float, runs: int, *, polling: bool) -> float:
    """Return the CPU in percent while nothing happens for so long."""
    end = record(event([simple("train/train_runtime", 60.0)], step=20, wall_time=FIRST + 20))
    done = header_record() + b"".join(map(log_record, range(1, 21))) + end
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        make_runs(root, runs, lambda number: done if number < FINISHED else header_record())
        time.sleep(2.0)  # a directory's time is trusted when it is that old
        monitor = Monitor([root], watcher=Watcher([root], force_polling=polling))
        settle(monitor)
        begun, cpu = time.monotonic(), time.process_time()
        while (left := begun + seconds - time.monotonic()) > 0:
            monitor.wait(min(1.0, left))
            monitor.poll()
        spent = 100.0 * (time.process_time() - cpu) / (time.monotonic() - begun)
        monitor.close()
    return spent


def watched_idle(seconds: float, runs: int) -> Iterator[Figure]:
    """Cost of watching with inotify; the safety sweep comes each 30 s."""
    seconds = max(60.0, seconds)
    value = idle(seconds, runs, polling=False)
    yield Figure(f"idle with inotify: CPU of {runs:,} runs over {seconds:.0f} s", value, "%", 0.15)


def polled_idle(seconds: float) -> Iterator[Figure]:
    """Cost of polling each second."""
    yield Figure(f"idle polling: CPU of 1,000 runs over {seconds:.0f} s", idle(seconds, 1000, polling=True), "%", 1.5)


def start(root: Path, born: float) -> None:
    """Start on a logdir as a program does and print seconds since its birth to the first and to the whole Snapshot."""
    monitor = Monitor([root], watcher=Watcher([root]))
    snapshot = monitor.poll()
    first, first_cpu = time.monotonic() - born, time.process_time()
    told_progress = snapshot.progress is not None or not snapshot.backfilling
    while snapshot.backfilling:
        snapshot = monitor.poll()
    whole, memory = time.monotonic() - born, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(first, first_cpu, whole, time.process_time(), memory, float(told_progress), len(snapshot.runs))
    monitor.close()


def started(runs: int) -> Iterator[Figure]:
    """Start-up, interpreter and imports included; the median of three."""
    with tempfile.TemporaryDirectory() as directory:
        make_runs(Path(directory), runs, lambda _: header_record())
        rows = []
        for _ in range(3):
            command = [sys.executable, "-m", "tests.benchmarks.latency", "--start", directory, str(time.monotonic())]
            rows.append([float(word) for word in subprocess.check_output(command).split()])
    first, first_cpu, whole, cpu, memory, progress, seen = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    yield Figure(f"start on {runs:,} runs: process to first Snapshot", first, "s", 3.0)
    yield Figure(f"start on {runs:,} runs: CPU to first Snapshot", first_cpu, "s", None)
    yield Figure(f"start on {runs:,} runs: progress missing in it (1: yes)", 1.0 - progress, "", 0.0)
    yield Figure(f"start on {runs:,} runs: process to all {seen:,.0f} runs", whole, "s", None)
    yield Figure(f"start on {runs:,} runs: CPU of all of it", cpu, "s", None)
    yield Figure(f"start on {runs:,} runs: peak memory", memory, "MB", None)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--runs", type=int, default=10_000, help="of the idle and the start measurement")
    names = ("inotify", "polling", "idle", "idle-polling", "start")
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write is not None:
        write(arguments.write, arguments.seconds)
        return 0
    if arguments.start is not None:
        start(Path(arguments.start[0]), float(arguments.start[1]))
        return 0
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "inotify": lambda: told(arguments.seconds),
        "polling": lambda: polled(arguments.seconds),
        "idle": lambda: watched_idle(arguments.seconds, arguments.runs),
        "idle-polling": lambda: polled_idle(arguments.seconds),
        "start": lambda: started(arguments.runs),
    }
    missed = False
    for name in arguments.only or names:
        for figure in parts[name]():
            print(figure, flush=True)
            missed = missed or figure.missed
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
