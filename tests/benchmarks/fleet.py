"""What a daemon costs beside a fleet of runs: its CPU, memory and lag, and whether it loses an event.

usage: python -m tests.benchmarks.fleet [--runs N] [--seconds S] [--only steady|finished|growth|burst|soak]...

Simulated trainers (`tests.benchmarks.fleet_writer`, real bytes) log one step a second in each run, five tags each; the
reader (`tests.benchmarks.fleet_reader`) is the daemon with its journal and its metrics, which are scraped every 15 s.
Both are processes of their own, and what is measured is measured from outside: CPU of the daemon with all its threads
from ``/proc``, in percent of one core; its memory likewise; the lag of each point from the moment before its write to
the moment at which a sink was handed a Snapshot that has it; lost events by counting at both ends, in total and run by
run.

Prints each figure beside its target and ends with 1 when one is missed by more than 15 %. The soak runs only when it is
asked for: ``--only soak --seconds 1800``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from raftmon.daemon.running import BREATH
from tests.benchmarks.fleet_parts import SCRAPE_SECONDS, Fleet, Measured, recovered
from tests.benchmarks.fleet_writer import HISTORY, TAGS, log_record
from tests.benchmarks.latency import Figure
from tests.scripted import header_record

CPU: Final = 35.0
"""Percent of one core that a thousand active runs may cost."""
LAG: Final = 2.0
"""Seconds from write to advice, 99 % of all points."""
MEMORY: Final = 400.0
"""MB that the reader may have held at its largest."""
FINISHED: Final = 10_000
OLD_STEPS: Final = 20
"""Steps of a finished run."""
BURST: Final = 10_000
"""Points that each run writes at once when it is restarted."""
RECOVERY: Final = 60.0
"""Seconds after which the lag must be what it was."""
WARM_UP: Final = 5.0
"""Seconds of steady writing before anything is measured."""
FLAT: Final = 5.0
"""Percent by which memory at the end of a soak may exceed that after five minutes."""
BYTES_A_SAMPLE: Final = 2.0
"""What Prometheus needs on a disk, by its documentation at most."""
HOSTS: Final = 100
"""Of the paper plan for a hundred thousand runs."""


@contextlib.contextmanager
def fleet(runs: int, finished: int = 0) -> Iterator[Fleet]:
    """Start trainers and a reader that has caught up with them; ends them."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:
        root = Path(directory) / "logs"
        make_finished(root, finished)
        one = Fleet(Path(directory), root, runs, finished * OLD_STEPS * len(TAGS))
        try:
            one.begin()
            one.steady(WARM_UP)
            yield one
        finally:
            one.end()


def make_finished(root: Path, count: int) -> None:
    """Make runs that ended long ago."""
    content = header_record() + b"".join(log_record(step, 0, 1_600_000_000.0 + step) for step in range(OLD_STEPS))
    for number in range(count):
        path = root / f"archive_{number // 100:03d}" / f"old_{number:05d}" / "events.out.tfevents.1600000000.host.1.0"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        os.utime(path, (1_600_000_000, 1_600_000_000))


def figures(name: str, measured: Measured, runs: int) -> list[Figure]:
    """Return what is to be held of a steady part; a share of the CPU is promised for up to a thousand runs."""
    held = runs <= 1000
    return [
        Figure(f"{name}: CPU of one core", measured.cpu, "%", CPU if held else None),
        Figure(f"{name}: lag, 99 % of {measured.points:,} steps", measured.p99, "s", LAG if held else None),
        Figure(f"{name}: lag, half of them", measured.median, "s", None),
        Figure(f"{name}: largest memory", measured.peak, "MB", MEMORY if held else None),
        Figure(f"{name}: events lost of {measured.scalars:,}", float(measured.lost), "", 0.0),
    ]


def steady(runs: int, seconds: float, finished: int = 0) -> Measured:
    """Measure a steady load."""
    with fleet(runs, finished) as one:
        return one.steady(seconds)


def growth(runs: int, seconds: float) -> tuple[list[Figure], list[tuple[int, int, Measured]]]:
    """Measure how the cost grows, up to `runs`, and what finished runs add."""
    sizes = sorted({max(1, runs // 100), max(1, runs // 10), runs})
    rows = [(size, 0, steady(size, seconds)) for size in sizes]
    print(f"\n{'active':>8} {'finished':>9} {'CPU %':>7} {'us a step':>10} {'lag p50':>8} {'lag p99':>8} {'MB':>6}")
    for size, finished, row in rows:
        print(table_row(size, finished, row))
    print()
    (few, _, small), (many, _, large) = rows[-2], rows[-1]
    ratio = (large.cpu / many) / (small.cpu / few) if small.cpu else 0.0
    return [Figure(f"cost of a run at {many} over that at {few}", ratio, "x", 1.15)], rows


def table_row(active: int, finished: int, row: Measured) -> str:
    """Return a row of the table of growth."""
    each = 1e4 * row.cpu / active
    return (
        f"{active:>8} {finished:>9} {row.cpu:>7.1f} {each:>10.0f} {row.median:>8.2f} {row.p99:>8.2f} {row.peak:>6.0f}"
    )


def beside_finished(runs: int, seconds: float) -> list[Figure]:
    """Measure what finished runs cost beside active ones: the same load, without and with them."""
    alone, beside = steady(runs, seconds), steady(runs, seconds, FINISHED)
    print(table_row(runs, 0, alone), table_row(runs, FINISHED, beside), sep="\n")
    more = beside.cpu / alone.cpu if alone.cpu else 0.0
    name = f"{runs} runs beside {FINISHED:,} finished ones"
    return [
        *figures(name, beside, runs),
        Figure(f"{name}: CPU more than without them", 100.0 * (more - 1.0), "%", 10.0),
    ]


def burst(runs: int, seconds: float) -> list[Figure]:
    """Restart all runs at once, and see when the lag is what it was."""
    with fleet(runs) as one:
        begun = time.monotonic()
        one.burst(BURST)
        print(f"burst: written after {time.monotonic() - begun:.0f} s")
        after = one.steady(max(seconds, RECOVERY + 20.0))
        calm = recovered(after, LAG) - begun
        print(f"burst: {runs * BURST:,} points, {one.burst_bytes / 1e6:,.0f} MB; memory at most {after.peak:.0f} MB")
        return [
            Figure(f"burst of {BURST:,} points in each of {runs} runs: lag calm after", max(0.0, calm), "s", RECOVERY),
            Figure("burst: largest memory", after.peak, "MB", MEMORY),
            Figure(f"burst: events lost of {after.scalars:,}", float(after.lost), "", 0.0),
        ]


def soak(runs: int, seconds: float) -> list[Figure]:
    """Write for long; memory minute by minute."""
    memory: list[float] = []
    worst: Measured | None = None
    cpu: list[float] = []
    lost = 0
    with fleet(runs) as one:
        for minute in range(max(1, round(seconds / 60))):
            part = one.steady(60.0)
            memory.append(part.now)
            cpu.append(part.cpu)
            lost = part.lost
            worst = part if worst is None or part.p99 > worst.p99 else worst
            print(
                f"minute {minute + 1:>3}: {part.now:6.1f} MB  CPU {part.cpu:5.1f} %  lag p99 {part.p99:.2f} s",
                flush=True,
            )
    assert worst is not None
    flat = memory[-1] / memory[min(4, len(memory) - 1)]
    return [
        Figure("soak: CPU of one core, mean", float(np.mean(cpu)), "%", CPU),
        Figure("soak: lag, 99 % in the worst minute", worst.p99, "s", LAG),
        Figure("soak: largest memory", worst.peak, "MB", MEMORY),
        Figure("soak: memory at the end more than after five minutes", 100.0 * (flat - 1.0), "%", FLAT),
        Figure(f"soak: events lost of {part.scalars:,}", float(lost), "", 0.0),
    ]


def plan(rows: list[tuple[int, int, Measured]]) -> None:
    """Print what a hundred thousand runs would take, from what each run was measured to cost."""
    (few, _, small), (many, _, large) = rows[0], rows[-1]
    cpu = (large.cpu - small.cpu) / (many - few)
    memory = (large.peak - small.peak) / (many - few)
    base = small.peak - memory * few
    runs = 100_000 // HOSTS
    print(f"each active run: {1e4 * cpu:.0f} us of CPU a second, {1000 * memory:.0f} kB; without runs {base:.0f} MB")
    print(
        f"100,000 runs on {HOSTS} hosts, a daemon on each: {runs:,} runs, {cpu * runs:.0f} % of a core and "
        f"{base + memory * runs:.0f} MB a host; {cpu * 1000:.0f} cores in all"
    )
    each, packed = large.samples / many, large.scraped / many
    series, rate = 100_000 * each, 100_000 * each / SCRAPE_SECONDS
    print(
        f"one Prometheus that scrapes them every {SCRAPE_SECONDS:g} s: {each:.1f} series a run, {series:,.0f} in all, "
        f"{rate:,.0f} samples/s, {100_000 * packed / SCRAPE_SECONDS / 1e6:.2f} MB/s compressed, "
        f"{rate * 86400 * BYTES_A_SAMPLE / 1e9:.1f} GB a day at {BYTES_A_SAMPLE:g} bytes a sample"
    )


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    runs: int
    seconds: float
    only: tuple[str, ...]


def read_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What a daemon costs beside a fleet of runs.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", action="append", choices=("steady", "finished", "growth", "burst", "soak"))
    given = parser.parse_args()
    return Options(given.runs, given.seconds, tuple(given.only or ("growth", "finished", "burst")))


def main() -> int:
    """Run the command line; returns the exit code."""
    options = read_options()
    runs, seconds = options.runs, options.seconds
    print(f"{runs} runs, {len(TAGS)} points a second each, {HISTORY} steps behind them; a breath of {BREATH:g} s")
    found: list[Figure] = []
    if "steady" in options.only:
        found += figures(f"{runs} runs", steady(runs, seconds), runs)
    if "growth" in options.only:
        more, rows = growth(runs, seconds)
        found += [*figures(f"{runs} runs", rows[-1][2], runs), *more]
        plan(rows)
    if "finished" in options.only:
        found += beside_finished(runs, seconds)
    if "burst" in options.only:
        found += burst(runs, seconds)
    if "soak" in options.only:
        found += soak(runs, seconds)
    print(*found, sep="\n")
    return int(any(figure.missed for figure in found))


if __name__ == "__main__":
    # What stops it is said by the part that stopped.
    with contextlib.suppress(KeyboardInterrupt, subprocess.SubprocessError):
        sys.exit(main())
    sys.exit(1)
