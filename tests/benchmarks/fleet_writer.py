"""Simulated trainers: runs that log a step a second, in a process of their own, with real bytes.

usage: python -m tests.benchmarks.fleet_writer ROOT RUNS

Takes commands on stdin, a line each, and answers each with a line of JSON:

* ``steady SECONDS``: each run logs one step a second, all tags in one write, the runs spread evenly over the second.
  Answers with the moment of each write in a file of its own, shape ``[steps, runs]``, seconds of the system's
  monotonic clock, and with the step of its first row.
* ``burst EVENTS``: each run is restarted a few steps back, in a new file, and writes so many points at once.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from tests.scripted import header_record, scalar_record

TAGS: Final = ("train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "train/entropy")
HISTORY: Final = 3_000
"""Steps that each run has behind it."""
KINDS: Final = 8
"""Different trainings; as many runs of each."""
BACK: Final = 20
"""Steps that a restarted run goes back."""


def log_record(step: int, kind: int, wall_time: float) -> bytes:
    """One log of one trainer: a record for each tag. The noise is a fixed one, so that the bytes are made once."""
    noise = math.sin(12.9898 * step + 78.233 * kind) * 43758.5453 % 1.0
    loss = 0.5 + 2.0 * math.exp(-step / (100.0 * (1 + kind))) + 0.1 * noise
    norm = 1.0 + noise * (10.0 if kind == 5 and step % 97 == 0 else 0.3)
    values = (loss, norm, 10.0 ** -(3 + kind % 3), step / 100.0, 1.5 + 0.1 * noise)
    return b"".join(scalar_record(tag, value, step, wall_time) for tag, value in zip(TAGS, values, strict=True))


class Trainers:
    """The runs below a directory.

    Args:
        root: the logdir; made.
        runs: how many.
    """

    def __init__(self, root: Path, runs: int) -> None:
        self._root = root
        self._zero = time.time() - HISTORY
        self._next = HISTORY
        self._logs: dict[tuple[int, int], bytes] = {}
        self._began = int(time.time())
        self._files: list[BinaryIO] = []
        self.scalars = 0
        """Written so far."""
        self._open_files(runs)
        for number, file in enumerate(self._files):
            self._write(file, b"".join(self._log(step, number) for step in range(HISTORY)))
        self.scalars = runs * HISTORY * len(TAGS)

    @property
    def kept(self) -> int:
        """Points of one run that its restarts have not taken back."""
        return self._next * len(TAGS)

    def steady(self, seconds: float) -> dict[str, Any]:
        """Log a step a second in each run."""
        first, steps, runs = self._next, max(1, round(seconds)), len(self._files)
        for step in range(first, first + steps):
            for kind in range(KINDS):
                self._log(step, kind)
        written = np.empty((steps, runs))
        begun = time.monotonic()
        for step in range(steps):
            for run, file in enumerate(self._files):
                ahead = begun + step + run / runs - time.monotonic()
                if ahead > 0.0:
                    time.sleep(max(ahead, 0.002))
                # Before, not after: the reader may be at work before this process comes to look at its clock.
                written[step, run] = time.monotonic()
                self._write(file, self._log(first + step, run))
            self._logs = {key: data for key, data in self._logs.items() if key[0] > first + step}
        self._next += steps
        self.scalars += steps * runs * len(TAGS)
        path = self._root.parent / f"written_{first}.npy"
        np.save(path, written)
        return {"first": first, "written": str(path)}

    def burst(self, events: int) -> dict[str, Any]:
        """Restart every run and write so many points of each at once."""
        first, steps, runs = self._next - BACK, events // len(TAGS), len(self._files)
        # The steps of the past came a second apart; those that are written at once, too.
        self._zero -= steps - BACK
        bodies = [b"".join(self._log(first + step, kind) for step in range(steps)) for kind in range(KINDS)]
        self._logs.clear()
        begun = time.monotonic()
        self._open_files(runs)
        for run, file in enumerate(self._files):
            self._write(file, bodies[run % KINDS])
        self._next = first + steps
        self.scalars += steps * runs * len(TAGS)
        return {"begun": begun, "took": time.monotonic() - begun}

    def _log(self, step: int, run: int) -> bytes:
        key = step, run % KINDS
        if key not in self._logs:
            self._logs[key] = log_record(*key, self._zero + step)
        return self._logs[key]

    def _open_files(self, runs: int) -> None:
        for file in self._files:
            file.close()
        self._files = []
        for number in range(runs):
            path = self._root / f"group_{number // 100:03d}" / f"job_{number:05d}"
            path.mkdir(parents=True, exist_ok=True)
            # The reader is on the same host, and looks at the process.
            name = f"events.out.tfevents.{self._began}.{socket.gethostname()}.{os.getpid()}.0"
            file = open(path / name, "ab", buffering=0)  # noqa: SIM115, PTH123
            self._files.append(file)
            self._write(self._files[-1], header_record())
        self._began += 1

    @staticmethod
    def _write(file: BinaryIO, data: bytes) -> None:
        if file.write(data) != len(data):
            raise OSError("the disk is full")


def answers(trainers: Trainers) -> Iterator[dict[str, Any]]:
    """Do what stdin says, and yield what to answer."""
    yield {}
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        yield trainers.steady(float(argument)) if command == "steady" else trainers.burst(int(argument))


def main() -> None:
    """Run the command line."""
    trainers = Trainers(Path(sys.argv[1]), int(sys.argv[2]))
    for answer in answers(trainers):
        print(json.dumps(answer | {"scalars": trainers.scalars, "kept": trainers.kept}), flush=True)


if __name__ == "__main__":
    main()
