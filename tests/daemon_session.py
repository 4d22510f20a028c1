"""A real `raftmon daemon`, as a process of its own, whose log is read line by line."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.scripted import scalar_record

__all__ = ["DaemonSession", "LiveRun"]

PATIENCE: Final = 60.0
"""Seconds that a line is waited for; machines that test are busy."""


class DaemonSession:
    """A daemon and its log.

    Args:
        logdir: what it follows.
        journal: its journal.
        arguments: more of its command line.
        environment: added to that of the tests.
    """

    def __init__(self, logdir: Path, journal: Path, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "raftmon.cli", "daemon", str(logdir), "--journal", str(journal)]
        self.process = subprocess.Popen(
            [*command, "--log-format", "json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[dict[str, Any]] = []
        self.other: list[str] = []
        """What it said that is no line of the log."""
        self._queue: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> DaemonSession:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def await_line(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next line of the log that matches."""
        end = time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0.0:
            try:
                text = self._queue.get(timeout=left)
            except queue.Empty:
                break
            if text is None:
                raise AssertionError(f"the daemon ended with {self.process.wait(10)}: {self.lines[-5:]} {self.other}")
            try:
                line = json.loads(text)
            except ValueError:
                self.other.append(text)
                continue
            self.lines.append(line)
            if matches(line):
                return dict(line)
        raise AssertionError(f"no such line within {PATIENCE:g} s; the newest: {self.lines[-5:]} {self.other}")

    def await_event(self, event: str) -> dict[str, Any]:
        """Return the next line of a kind."""
        return self.await_line(lambda line: line["event"] == event)

    def end(self, number: int) -> float:
        """Send a signal; returns the seconds until the process was gone."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return time.monotonic() - begun

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._queue.put(line)
        self._queue.put(None)


class LiveRun:
    """A run that a test writes, by the clock of this machine.

    Args:
        directory: of its event file.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "events.out.tfevents.1700000000.elsewhere.1.0"
        self.step = 0

    def write(self, *losses: float) -> None:
        """Write some steps."""
        rows = []
        for loss in losses:
            self.step += 1
            now = time.time()
            rows.append(scalar_record("train/loss", loss, self.step, now))
            rows.append(scalar_record("train/learning_rate", 1e-4, self.step, now))
        with self.path.open("ab") as file:
            file.write(b"".join(rows))

    def write_healthy(self, count: int = 60) -> None:
        """Write a loss that falls."""
        self.write(*(3.0 - 0.02 * place + 0.05 * (place % 3) for place in range(count)))

    def write_broken(self, count: int = 10) -> None:
        """Write losses that are no numbers."""
        self.write(*[float("nan")] * count)
