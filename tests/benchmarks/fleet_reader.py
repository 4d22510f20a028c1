"""The daemon with its journal and its metrics, and one sink more, which notes when which step was shown.

usage: python -m tests.benchmarks.fleet_reader JOURNAL PORT LOGDIR...

Prints a line of JSON when everything is read for the first time. Each line on stdin is the path of a file, into which
it then writes what was shown since the last one: an array of shape ``[n, 3]`` with the moment (seconds of the system's
monotonic clock), the number of the run and its newest step; it answers with a line of JSON that has the scalars read.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raftmon.daemon.crew import Options
from raftmon.daemon.running import run
from raftmon.documents import SHIPPED_RULES
from raftmon.happenings import Happening
from raftmon.model import Problem, RunView, Snapshot


class Notes:
    """A sink that notes when which step was shown."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self._lock = threading.Lock()
        self._shown: dict[str, RunView] = {}
        self._notes = array("d")
        self._read = self._said = 0
        self._reported: tuple[float, ...] = ()

    def take(self, snapshot: Snapshot, news: Sequence[Happening]) -> None:
        """Note what is shown for the first time."""
        now = time.monotonic()
        with self._lock:
            for view in snapshot.runs:
                if view.state == "live" and self._shown.get(view.path) is not view:
                    self._shown[view.path] = view
                    self._notes.extend((now, float(view.run.rpartition("_")[2]), float(view.last_step or 0)))
            self._read, self._said = snapshot.events_read, self._said + len(news)
            self._reported += snapshot.lags
        if not snapshot.backfilling:
            self.ready.set()

    def problems(self) -> Sequence[Problem]:
        """Return nothing: it has none."""
        return ()

    def close(self, seconds: float) -> None:
        """Do nothing."""

    def report(self, path: Path) -> dict[str, Any]:
        """Write the notes down, and begin anew."""
        with self._lock:
            notes, self._notes = self._notes, array("d")
            kept = [sum(series.count for series in view.series.values()) for view in self._shown.values()]
            reported, self._reported = self._reported, ()
        np.save(path, np.frombuffer(notes).reshape(-1, 3))
        p99 = float(np.percentile(reported, 99)) if reported else None
        return {"scalars": self._read, "kept": kept, "happenings": self._said, "lag_said": p99}


def obey(notes: Notes) -> None:
    """Answer what stdin asks."""
    notes.ready.wait()
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(notes.report(Path(line.strip()))), flush=True)
    # Who asked is gone.
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the command line."""
    notes = Notes()
    journal, port, *logdirs = sys.argv[1:]
    threading.Thread(target=obey, args=(notes,), daemon=True).start()
    options = Options(
        [Path(path) for path in logdirs], None, SHIPPED_RULES, Path(journal), "json", listen=f"127.0.0.1:{port}"
    )
    run(options, beside=[notes])


if __name__ == "__main__":
    main()
