"""What the screen costs and how soon it answers, measured on the real `raftmon watch` in a pseudo-terminal.

usage: python -m tests.benchmarks.tui [--only paint,live,idle,chart,key,memory,soak] [--rounds N] [--markdown]

Prints each figure beside its target and ends with 1 when one is missed by more than 15 %. CPU time is that of the
process that draws, all its threads, in percent of one core, as the kernel's scheduler counts it. `memory` reads 200
million points (some 3 minutes) and `soak` plays a compressed day; both are left out unless they are named.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from raftmon.model import RunView, SeriesView
from tests import snapshots
from tests.benchmarks.ingest_table import machine
from tests.benchmarks.latency import Figure
from tests.benchmarks.tui_logdirs import growing, logged, make_finished, make_large, make_runs
from tests.benchmarks.tui_soak import soaked
from tests.benchmarks.tui_terminal import BARE, Terminal, watch_command
from tests.tui_session import LARGE, running

__all__ = ["main"]

LIVE, CHARTS, LIVE_SECONDS = 50, 4, 30.0
IDLE_SECONDS: Final = 20.0
ROUNDED: Final = 0.05
"""Percent that are 0.0 when they are told with one decimal."""
WIDE: Final = (200, 50)
"""Columns and lines of the terminal where that makes the work greater."""
ANYTHING: Final = rb"(?:\x1b\[[0-9;]*[A-Za-z]|\s)*"
"""What may stand between two words on the screen: blanks, and changes of colour."""
SELECTED: Final = rb"ADVICE" + ANYTHING + rb"(run_\d+)"
"""The heading that names the selected run."""


def paint(rounds: int) -> Iterator[Figure]:
    """First paint of fresh processes, in turn with an empty application of Textual's."""
    rows: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as directory:
        make_finished(Path(directory), 50, 300)
        for _ in range(rounds + 1):
            with Terminal(watch_command(Path(directory))) as ours:
                frame, cpu = ours.until(rb"ADVICE")[0] - ours.born, ours.cpu()
                runs = ours.until(rb"run_00\d\d")[0] - ours.born
            with Terminal([sys.executable, "-c", BARE]) as bare:
                empty, bare_cpu = bare.until(rb"bare-app")[0] - bare.born, bare.cpu()
            rows.append((frame, runs, empty, frame / empty, runs / empty, cpu, bare_cpu))
    first, whole, empty, ratio, whole_ratio, cpu, bare_cpu = (
        statistics.median(column)
        for column in zip(*rows[1:], strict=True)  # the first has to compile
    )
    yield Figure("paint: process to first frame, 50 runs", first, "s", 1.0)
    yield Figure("paint: process to the frame with the runs", whole, "s", 1.0)
    yield Figure("paint: an empty application of Textual's", empty, "s", None)
    yield Figure("paint: first frame against the empty application", ratio, "x", 2.0)
    yield Figure("paint: frame with the runs against the empty application", whole_ratio, "x", None)
    yield Figure("paint: CPU to first frame", cpu, "s", None)
    yield Figure("paint: CPU of the empty application", bare_cpu, "s", None)


def live(_rounds: int) -> Iterator[Figure]:
    """Cost of runs that all grow."""
    with tempfile.TemporaryDirectory() as directory:
        root, steps = Path(directory), 600
        began = time.time() - steps
        make_runs(root, LIVE, lambda number: logged(0, steps, number, began))
        with Terminal(watch_command(root)) as ours:
            ours.until(rb"run_00\d\d")
            ours.settle()
            with growing(root, steps, LIVE_SECONDS + 10):
                ours.follow(3.0)
                cpu, begun, written = ours.cpu(), time.monotonic(), ours.written
                ours.follow(LIVE_SECONDS)
                took = time.monotonic() - begun
                spent, said = 100.0 * (ours.cpu() - cpu) / took, (ours.written - written) / took / 1e3
    yield Figure(f"live: CPU of {LIVE} runs x {CHARTS} charts, a step a second each", spent, "%", 5.0)
    yield Figure("live: written to the terminal", said, "kB/s", None)


def idle(_rounds: int) -> Iterator[Figure]:
    """Cost of runs that are over."""
    with tempfile.TemporaryDirectory() as directory:
        make_finished(Path(directory), 50, 300)
        commands = {"raftmon": watch_command(Path(directory)), "bare": [sys.executable, "-c", BARE]}
        spent, ticks = {}, {}
        for name, command in commands.items():
            with Terminal(command) as ours:
                ours.until(rb"run_00\d\d" if name == "raftmon" else rb"bare-app")
                ours.settle(2.0)
                cpu, before, written, begun = ours.cpu(), ours.ticks(), ours.written, time.monotonic()
                ours.follow(IDLE_SECONDS)
                spent[name] = 100.0 * (ours.cpu() - cpu) / (time.monotonic() - begun)
                ticks[name] = ours.ticks() - before
                said = ours.written - written
    yield Figure(f"idle: CPU over {IDLE_SECONDS:.0f} s, 50 runs that are over", spent["raftmon"], "%", ROUNDED)
    yield Figure("idle: the same of an empty application of Textual's", spent["bare"], "%", None)
    yield Figure("idle: ticks of 10 ms", ticks["raftmon"], "", None)
    yield Figure("idle: ticks of the empty application", ticks["bare"], "", None)
    yield Figure("idle: bytes written", said, "B", 0.0)


def chart(rounds: int) -> Iterator[Figure]:
    """Redraw of a chart of 10,000 points: new data to strips, and to the terminal."""
    yield from asyncio.run(_redrawn(max(5 * rounds, 15)))


def with_points(count: int) -> RunView:
    """Return a run whose series have so many points."""
    run = snapshots.make_run()
    steps = np.arange(count)
    values = 2.0 / (1.0 + 0.001 * steps) + np.random.default_rng(count).normal(0, 0.1, count)
    named = {"loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate"}
    return replace(run, series={role: SeriesView(role, tag, steps, values, count) for role, tag in named.items()})


async def _redrawn(rounds: int) -> list[Figure]:
    one: list[float] = []
    whole: list[float] = []
    async with running(snapshots.snapshot([with_points(10_000)]), LARGE) as session:
        for count in range(10_001, 10_001 + rounds):
            state = replace(snapshots.snapshot([with_points(count)]), version=count)
            begun = time.process_time()
            await session.push(state)
            whole.append(1e3 * (time.process_time() - begun))
            plot = session.charts.plots[0]
            assert plot.chart is not None
            assert len(plot.chart.curves[0].x) == count
            plot.notify_style_update()  # forgets what was drawn
            drawn, begun = plot.drawings, time.process_time()
            plot.render_line(0)
            one.append(1e3 * (time.process_time() - begun))
            assert plot.drawings == drawn + 1
            size = plot.size
        count = len(session.charts.plots)
    return [
        Figure(f"chart: redraw of 10,000 points in {size.width} x {size.height} cells", _median(one), "ms", 10.0),
        Figure(f"chart: all of a snapshot with {count} such charts, painting included", _median(whole), "ms", None),
    ]


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def key(rounds: int) -> Iterator[Figure]:
    """How soon a key shows while a thousand runs are read; in a pseudo-terminal, as a person's terminal sees it."""
    moves: list[float] = []
    sheets: list[float] = []
    busy = 0
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        make_finished(root, 1000, 5000)
        for _ in range(max(1, rounds // 2)):
            with Terminal(watch_command(root), WIDE) as ours:
                ours.until(rb"reading" + ANYTHING + rb"\d+%")
                ours.press(b"j")
                ours.until(SELECTED)
                for _ in range(5):
                    was = ours.press(b"j")
                    moves.append(1e3 * (ours.until(SELECTED)[0] - was))
                    was = ours.press(b"?")
                    sheets.append(1e3 * (ours.until(rb"HELP")[0] - was))
                    was = ours.press(b"\x1b")
                    ours.until(rb"ADVICE")
                    ours.follow(0.2)
                # While it still reads, the share is written anew again and again.
                ours.until(rb"reading" + ANYTHING + rb"\d+%", 10.0)
                busy += 1
    yield Figure(
        f"key: selection to screen while 1,000 runs are read, median of {len(moves)}", _median(moves), "ms", 50.0
    )
    yield Figure("key: selection to screen, slowest", max(moves), "ms", None)
    yield Figure("key: help sheet to screen, median", _median(sheets), "ms", 50.0)
    yield Figure("key: help sheet to screen, slowest", max(sheets), "ms", None)


def memory(_rounds: int) -> Iterator[Figure]:
    """Resident memory with 200 runs of a million points."""
    with tempfile.TemporaryDirectory() as directory:
        size = make_large(Path(directory), 200)
        with Terminal(watch_command(Path(directory))) as ours:
            ours.until(rb"reading" + ANYTHING + rb"\d+%")
            begun = time.monotonic()
            ours.until(rb"200 runs" + ANYTHING + rb"none live", 900.0)
            ours.settle(3.0)
            took = time.monotonic() - begun - 3.0
            now, most = ours.memory()
            cpu = ours.cpu()
    yield Figure("memory: RSS with 200 runs of 1M points", now, "MB", 120.0)
    yield Figure("memory: the most while they were read", most, "MB", 120.0)
    yield Figure(f"memory: reading the {size / 1e9:.1f} GB", took, "s", None)
    yield Figure("memory: CPU of all of it", cpu, "s", None)


PARTS: Final[dict[str, Callable[[int], Iterator[Figure]]]] = {
    "paint": paint,
    "live": live,
    "idle": idle,
    "chart": chart,
    "key": key,
    "memory": memory,
}


def markdown(figures: Sequence[Figure]) -> str:
    """Return the table of the README."""
    lines = ["| | measured | target |", "|---|---|---|"]
    for figure in figures:
        target = f"{figure.target:g} {figure.unit}" if figure.target is not None else "-"
        value = f"{figure.value:.3g} {figure.unit}"
        lines.append(f"| {figure.name} | {f'_{value}_' if figure.missed else value} | {target.strip()} |")
    where = machine()
    return "\n".join([*lines, "", f"{where['date']}, {where['machine']}, Python {where['python']}."])


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="paint,live,idle,chart,key", help="parts, with commas between")
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes of each kind")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the soak; the whole day has 10,000,000")
    parser.add_argument("--markdown", action="store_true", help="print the table of the README at the end")
    arguments = parser.parse_args()
    parts = {**PARTS, "soak": lambda _: soaked(arguments.events)}
    names = arguments.only.split(",")
    if unknown := set(names) - parts.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    figures = []
    for name in names:
        for figure in parts[name](arguments.rounds):
            print(figure, flush=True)
            figures.append(figure)
    if arguments.markdown:
        print(f"\n{markdown(figures)}")
    return 1 if any(figure.missed for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
