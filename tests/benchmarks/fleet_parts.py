"""The processes of the fleet benchmark, and what is measured of them from outside."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCRAPE_SECONDS", "Fleet", "Measured", "recovered"]

TICKS: Final = os.sysconf("SC_CLK_TCK")
WINDOW: Final = 5.0
"""Seconds of writing of which one share of the lag is taken after a burst."""
SCRAPE_SECONDS: Final = 15.0
"""Between two scrapes of the metrics."""
DRAIN: Final = 120.0
"""Seconds after the last write that the reader has for the rest."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One part of steady writing."""

    cpu: float
    """Percent of one core, all threads of the reader."""
    lags: NDArray[np.float64]
    """Of each step of each run, in seconds, shape ``[steps, runs]``; NaN: never shown."""
    written: NDArray[np.float64]
    """When each of those was written, seconds of the system's monotonic clock."""
    peak: float
    """Largest memory so far, MB."""
    now: float
    """Memory, MB."""
    scalars: int
    """Points written since the start."""
    lost: int
    """Of all that were written, those that the reader did not read or does not show; doubled ones count, too."""
    samples: int
    """Of the newest scrape."""
    scraped: int
    """Bytes of it, compressed."""

    @property
    def points(self) -> int:
        """Steps whose lag is known."""
        return int(np.isfinite(self.lags).sum())

    @property
    def p99(self) -> float:
        """Lag that 99 % of the steps do not exceed, in seconds."""
        return float(np.nanpercentile(self.lags, 99))

    @property
    def median(self) -> float:
        """Lag that half of the steps do not exceed, in seconds."""
        return float(np.nanpercentile(self.lags, 50))


class Fleet:
    """Trainers and a reader.

    Args:
        directory: takes notes.
        root: the logdir.
        runs: active ones.
        finished: points of the finished ones that lie there already.
    """

    def __init__(self, directory: Path, root: Path, runs: int, finished: int) -> None:
        self._finished = finished
        self._directory = directory
        self._root = root
        self._runs = runs
        self._trainers: subprocess.Popen[str] | None = None
        self._reader: subprocess.Popen[str] | None = None
        self._over = threading.Event()
        self.scraped = (0, 0)
        """Samples of the newest scrape, and its bytes as they were sent."""
        self.burst_bytes = 0

    def begin(self) -> None:
        """Start both, and wait until the reader has read what there is."""
        self._trainers = _start("tests.benchmarks.fleet_writer", str(self._root), str(self._runs))
        _answer(self._trainers)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        journal = self._directory / "journal.sqlite3"
        self._reader = _start("tests.benchmarks.fleet_reader", str(journal), str(port), str(self._root))
        _answer(self._reader)
        threading.Thread(target=self._scrape, args=(f"http://127.0.0.1:{port}/metrics",), daemon=True).start()

    def end(self) -> None:
        """End both."""
        self._over.set()
        for process in (self._trainers, self._reader):
            if process is not None:
                process.kill()
                process.communicate()

    def burst(self, events: int) -> None:
        """Restart all runs and let each write so many points at once."""
        before = _bytes_below(self._root)
        _ask(self._trainers, f"burst {events}")
        self.burst_bytes = _bytes_below(self._root) - before

    def steady(self, seconds: float) -> Measured:
        """Let each run log a step a second, and measure."""
        assert self._reader is not None
        begun, spent = time.monotonic(), _cpu_seconds(self._reader.pid)
        answer = _ask(self._trainers, f"steady {seconds:g}")
        took, spent = time.monotonic() - begun, _cpu_seconds(self._reader.pid) - spent
        peak, now = (_memory(self._reader.pid, field) for field in ("VmHWM", "VmRSS"))
        written = np.load(answer["written"])
        shown, report = self._drain(answer)
        lags = lags_of(written, shown, int(answer["first"]))
        wrong = [abs(kept - answer["kept"]) for kept in report["kept"]]
        wrong += [answer["kept"]] * (self._runs - len(wrong))
        read = int(report["scalars"]) - self._finished
        # What a restart takes back is read all the same.
        lost = max(sum(wrong), abs(int(answer["scalars"]) - read), int(np.isnan(lags).sum()))
        scalars = int(answer["scalars"])
        return Measured(100.0 * spent / took, lags, written, peak, now, scalars, lost, *self.scraped)

    def _scrape(self, url: str) -> None:
        """Ask as Prometheus does by default."""
        asked = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
        while not self._over.wait(SCRAPE_SECONDS):
            with contextlib.suppress(OSError), urllib.request.urlopen(asked, timeout=10.0) as answer:
                packed = answer.read()
                lines = gzip.decompress(packed).splitlines()
                self.scraped = sum(not line.startswith(b"#") for line in lines), len(packed)

    def _drain(self, answer: dict[str, Any]) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Collect what was shown until every run is where its trainer is, or for as long as it may take."""
        notes, until = [], time.monotonic() + DRAIN
        path = self._directory / "shown.npy"
        while True:
            time.sleep(1.0)
            report = _ask(self._reader, str(path))
            notes.append(np.load(path))
            whole = len(report["kept"]) == self._runs and set(report["kept"]) == {answer["kept"]}
            if whole or time.monotonic() > until:
                return np.concatenate(notes), report


def lags_of(written: NDArray[np.float64], shown: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """Return for each step of each run how long after its write it was shown.

    Args:
        written: shape ``[steps, runs]``.
        shown: moment, run and newest step of each view, shape ``[n, 3]``.
        first: step of the first row.
    """
    lags = np.full(written.shape, np.nan)
    steps = np.arange(first, first + len(written))
    order = np.lexsort((shown[:, 0], shown[:, 1]))
    shown = shown[order]
    bounds = np.searchsorted(shown[:, 1], np.arange(written.shape[1] + 1))
    for run in range(written.shape[1]):
        mine = shown[bounds[run] : bounds[run + 1]]
        mine = mine[mine[:, 2] >= first]
        at = np.searchsorted(np.maximum.accumulate(mine[:, 2]), steps)
        seen = at < len(mine)
        lags[seen, run] = mine[at[seen], 0] - written[seen, run]
    return lags


def recovered(after: Measured, limit: float) -> float:
    """Return from which moment of writing on 99 % of the steps are shown within a limit; infinite: never."""
    begun, calm = float(after.written.min()), float("inf")
    windows = ((after.written - begun) // WINDOW).astype(int)
    for window in range(int(windows.max()), -1, -1):
        lags = after.lags[windows == window]
        if np.isnan(lags).any() or np.percentile(lags, 99) > limit:
            break
        calm = begun + window * WINDOW
    return calm


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _ask(process: subprocess.Popen[str] | None, line: str) -> dict[str, Any]:
    assert process is not None
    stdin: IO[str] | None = process.stdin
    assert stdin is not None
    stdin.write(f"{line}\n")
    stdin.flush()
    return _answer(process)


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise subprocess.SubprocessError(f"{process.args!r} ended")
    found: dict[str, Any] = json.loads(line)
    return found


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory(pid: int, field: str) -> float:
    """Return a field of a process's status, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def _bytes_below(root: Path) -> int:
    return sum(path.stat().st_size for path in root.glob("group_*/*/events*"))
