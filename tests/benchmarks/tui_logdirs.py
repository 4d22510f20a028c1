"""Logdirs to measure the screen on, and a process that lets one grow."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

import numpy as np

from tests.benchmarks.event_records import Rows, encode, framed, opening
from tests.benchmarks.event_sets import FILE_NAME
from tests.scripted import event, record, simple

__all__ = ["END", "TAGS", "growing", "grown", "logged", "make_finished", "make_large", "make_runs"]

TAGS: Final = ("train/loss", "train/grad_norm", "train/learning_rate", "train/entropy")
"""What each run logs: four charts."""
END: Final = record(event([simple("train/train_runtime", 60.0)], step=1, wall_time=1.7e9 + 1))
"""With this the trainer says that the run is over."""
MANY: Final = 250_000
"""Steps of a run with a million points."""
DIFFERENT: Final = 4
"""Contents that the large runs have in turn."""


def logged(first: int, steps: int, seed: int = 0, began: float = 1.7e9) -> bytes:
    """Return the records of some steps: four scalars each, a record for each scalar.

    Args:
        first: the first step.
        steps: how many.
        seed: of the noise.
        began: wall time of step 0, in seconds since the epoch; each step takes a second.
    """
    noise = np.random.default_rng((seed, first))
    step = np.arange(first, first + steps)
    loss = 2.0 / (1.0 + 0.001 * step) + noise.normal(0, 0.02, steps)
    norm = 1.0 + noise.normal(0, 0.1, steps)
    values = np.stack([loss, norm, np.full(steps, 1e-4), 0.5 + noise.normal(0, 0.01, steps)], axis=1)
    kind = np.tile(np.arange(len(TAGS)), steps)
    wall_time = np.repeat(began + step, len(TAGS)).astype(np.float64)
    return encode(Rows([(tag,) for tag in TAGS], kind, np.repeat(step, len(TAGS)), wall_time, values.reshape(-1, 1)))


def make_runs(root: Path, count: int, content: Callable[[int], bytes]) -> None:
    """Make runs with one event file each."""
    for number in range(count):
        directory = root / f"run_{number:04d}"
        directory.mkdir(parents=True)
        (directory / FILE_NAME).write_bytes(framed(opening()) + content(number))


def make_finished(root: Path, count: int, steps: int) -> None:
    """Make runs that are over, of so many steps."""
    make_runs(root, count, lambda number: logged(0, steps, number) + END)


def make_large(root: Path, count: int) -> int:
    """Make runs of a million points each and return the bytes of all their files.

    There are only a few different files, and each is in several runs under a hard link: for the reader they are files
    like any others, but they fit on the disk and into the page cache.
    """
    size = 0
    for number in range(count):
        file = root / f"run_{number:04d}" / FILE_NAME
        file.parent.mkdir(parents=True)
        if number < DIFFERENT:
            file.write_bytes(framed(opening()) + logged(0, MANY, number) + END)
        else:
            os.link(root / f"run_{number % DIFFERENT:04d}" / FILE_NAME, file)
        size += file.stat().st_size
    return size


@contextmanager
def growing(root: Path, first: int, seconds: float) -> Iterator[None]:
    """Let all runs grow by a step each second in a process of its own, spread over the second; until the end of it."""
    code = f"from pathlib import Path; from tests.benchmarks.tui_logdirs import grown; grown(Path({str(root)!r}), "
    with Popen([sys.executable, "-c", f"{code}{first}, {seconds})"], stdout=PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            yield
        finally:
            writer.kill()


def grown(root: Path, first: int, seconds: float) -> None:
    """Append a step to each run each second."""
    files = [path.open("ab", buffering=0) for path in sorted(root.glob(f"*/{FILE_NAME}"))]
    print("ready", flush=True)
    begun = time.monotonic()
    for number in range(int(seconds * len(files))):
        step, at = divmod(number, len(files))
        data = logged(first + step, 1, at, began=time.time() - first - step)
        time.sleep(max(0.0, begun + number / len(files) - time.monotonic()))
        files[at].write(data)
