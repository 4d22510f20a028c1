"""What do series, signals and rules cost: per wake-up, per event of a back-fill, per publication, and in memory?

A run logs loss, gradient norm, learning rate, epoch and an entropy at every step and an evaluation at every fiftieth.
"One wake-up" is a step's five values put into their series, taken in by the signals, and a look at the rules where one
is due: at each of the first 200 points, later after each half per cent. Reading the bytes is not in it. The back-fill
takes in a million scalar events in one go, and as many in runs of a thousand events each.

usage: python -m tests.benchmarks.cost [--events N]
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from raftmon.advice.judging import RunJudge
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import read_weighing
from raftmon.events.columns import ScalarBatch
from raftmon.runs.logdir import Run, RunUpdate
from raftmon.runs.roles import RoleTable
from raftmon.runs.series import Series

if TYPE_CHECKING:
    from raftmon.model import Floats, Ints

RULES: Final = load_rules()
WEIGHING: Final = read_weighing(SHIPPED_RULES / "verdict.yaml")
ROLES: Final = RoleTable.load(SHIPPED_RULES, [])
HPARAMS: Final = {"learning_rate": 1e-3, "max_grad_norm": 1.0, "max_steps": 10_000, "warmup_steps": 100}
TAGS: Final = ("train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "train/entropy")
EVALUATION: Final = "eval/loss"
TOGETHER: Final = 50
"""Wake-ups that are timed together: the clock has a price of its own."""
SHORT: Final = 1_000
"""Events of each of many runs."""


def values_at(step: int, noise: random.Random) -> list[float]:
    """Return what a healthy run logs at a step; the evaluation comes last, where there is one."""
    loss = 1.0 + 3.0 * 0.99**step + noise.gauss(0.0, 0.05)
    values = [loss, 0.5 + noise.random(), 1e-3 * (1.0 - step / 1e7), step / 100.0, 2.0 + math.exp(-step / 500.0)]
    return values + ([loss + 0.1] if step % 50 == 0 else [])


def batches(steps: int, together: int) -> Iterator[ScalarBatch]:
    """Yield the rows of so many steps, some steps at a time."""
    noise = random.Random(0)
    tags = (*TAGS, EVALUATION)
    for begin in range(1, steps + 1, together):
        rows = [
            (place, step, value)
            for step in range(begin, min(begin + together, steps + 1))
            for place, value in enumerate(values_at(step, noise))
        ]
        places, at, values = (np.array(column) for column in zip(*rows, strict=True))
        yield ScalarBatch(tags, places.astype(np.int32), at.astype(np.int64), at / 2.0, values.astype(np.float64))


class Followed:
    """A run whose points come from here, and its judge."""

    def __init__(self, directory: Path) -> None:
        self.run = Run("run", directory)
        self.run.hparams.update(HPARAMS)
        self.judge = RunJudge(self.run, RULES, WEIGHING, ROLES)

    def take(self, batches: Sequence[ScalarBatch]) -> float:
        """Take in batches, each as one wake-up brings it, and return the CPU seconds that they cost together."""
        brought = [(_by_tag(batch), RunUpdate((batch,), False, False, 0)) for batch in batches]
        begun = time.process_time()
        for points, update in brought:
            for tag, steps, values in points:
                series = self.run.series.get(tag)
                if series is None:
                    series = self.run.series[tag] = Series()
                series.append(steps, values)
            self.judge.follow(update, in_campaign=False)
        return time.process_time() - begun


def _by_tag(batch: ScalarBatch) -> list[tuple[str, Ints, Floats]]:
    columns = [(batch.tags[place], batch.tag_id == place) for place in np.unique(batch.tag_id)]
    return [(tag, batch.step[rows], batch.value[rows]) for tag, rows in columns]


def per_wake_up(steps: int, directory: Path) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of a wake-up, as the mean of each 50 steps, and of a view after them."""
    followed, spent, looking = Followed(directory), [], []
    every = list(batches(steps, 1))
    for begin in range(0, steps, TOGETHER):
        spent.append(followed.take(every[begin : begin + TOGETHER]) / TOGETHER)
        begun = time.process_time()
        followed.judge.standing()
        followed.judge.view("live", None, None)
        looking.append(time.process_time() - begun)
    return spent, looking


def memory(steps: int, directory: Path, runs: int = 10) -> float:
    """Return the bytes that signals and rule states of one run hold: what all runs share, and the series, left out."""
    Followed(directory).take(list(batches(300, 1)))
    every = list(batches(steps, 1_000))
    kept = []
    gc.collect()
    tracemalloc.start()
    for _ in range(runs):
        followed = Followed(directory)
        followed.take(every)
        followed.run.series.clear()
        kept.append(followed.judge)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held / len(kept)


def back_fill(events: int, per_run: int, directory: Path) -> float:
    """Return the CPU seconds of so many events in runs of equal length."""
    steps = per_run * 50 // (50 * len(TAGS) + 1)
    every = list(batches(steps, 8_000))
    spent = 0.0
    for _ in range(max(1, round(events / per_run))):
        followed = Followed(directory)
        spent += followed.take(every)
    return spent


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        runs = [per_wake_up(5_000, directory) for _ in range(3)]
        spent, looking = ([min(times) for times in zip(*kind, strict=True)] for kind in zip(*runs, strict=True))
        first, later = spent[: 200 // TOGETHER], spent[1_000 // TOGETHER :]
        print(f"one wake-up (5 values) of the first 200: {1e6 * statistics.fmean(first):.1f} us")
        print(f"one wake-up (5 values) from the 1,000th to the 5,000th: {1e6 * statistics.fmean(later):.1f} us")
        print(f"standing and view of that run: median {1e6 * statistics.median(looking):.0f} us")
        print(f"memory of signals and rules, a run of 10,000 steps: {memory(10_000, directory) / 1024:.1f} kB")
        print(f"memory of signals and rules, a run of 200 steps: {memory(200, directory) / 1024:.1f} kB")
        print(f"memory of signals and rules, a run without points: {memory(0, directory) / 1024:.1f} kB")
        for words, per_run in (("one run", arguments.events), ("runs of 1,000 events", SHORT)):
            seconds = back_fill(arguments.events, per_run, directory)
            print(
                f"back-fill of {arguments.events:,} events, {words}: {1e6 * seconds / arguments.events:.2f} us an event"
            )


if __name__ == "__main__":
    main()
