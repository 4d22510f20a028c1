"""A compressed day of watching: what eight hours do to memory, and whether anything breaks.

The application runs headless with a real `Monitor` on real files, on a clock that goes on by a few seconds each turn.
A turn appends steps to all live runs; now and then a run appears, says that it is over, is begun anew in the same
directory, or is deleted. Keys are pressed between. All that was appended must have been read before the next turn.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from raftmon.monitor import Monitor
from raftmon.runs.watch import Watcher
from raftmon.tui.app import RaftmonApp
from raftmon.tui.source import SnapshotArrived
from tests.benchmarks.event_records import framed, opening
from tests.benchmarks.latency import Figure
from tests.benchmarks.tui_logdirs import END, TAGS, logged

__all__ = ["soaked"]

HOURS: Final = 8.0
LIVE: Final = 20
"""Runs that grow in each turn."""
STEPS: Final = 250
"""Steps that a live run gets in a turn."""
LIFE: Final = 10
"""Turns after which a run is over."""
KEPT: Final = 40
"""Runs in the logdir; the oldest that are over are deleted."""
WARM, WARM_TURNS = 0.25, 30
"""Share of the day, and turns at least, after which memory has to be flat."""
KEYS: Final = (
    *("j", "v", "question_mark", "escape", "right", "k", "y", "enter", "escape", "G", "p", "escape", "g"),
    *("3", "right", "plus", "x", "escape", "2", "j", "escape", "r", "escape", "w", "escape", "m", "3", "w", "escape"),
    *("slash", "1", "enter", "escape", "escape", "space", "space", "ctrl+p", "escape"),
)
PATIENCE: Final = 60.0
"""Seconds in which what was appended must be on the screen."""


class Day:
    """The files of the day."""

    def __init__(self, root: Path, began: float) -> None:
        self._root, self._began = root, began
        self._made = 0
        self._live: dict[Path, int] = {}
        self._over: list[Path] = []
        self.appended = 0
        """Scalar points written so far, the last word of a run that is over included."""
        self.happened = dict.fromkeys(("appeared", "finished", "restarted", "deleted"), 0)
        """How often what has happened."""

    def turn(self, number: int) -> None:
        """Let time go on."""
        while len(self._live) < LIVE:
            self._appear()
        for at, (run, age) in enumerate(list(self._live.items())):
            # All runs of the first turn would else be over in the same one.
            if age >= LIFE + (at % LIFE if number < 2 * LIFE else 0):
                self._finish(run)
            else:
                self._grow(run, age)
        if number % 7 == 6:
            self._restart(next(iter(self._live)))
        while len(self._over) + len(self._live) > KEPT:
            shutil.rmtree(self._over.pop(0))
            self.happened["deleted"] += 1

    def _appear(self) -> None:
        self._made += 1
        run = self._root / f"group_{self._made % 5}" / f"run_{self._made:05d}"
        run.mkdir(parents=True)
        (run / "events.out.tfevents.1700000000.host.1.0").write_bytes(framed(opening()))
        self._live[run] = 0
        self.happened["appeared"] += 1

    def _grow(self, run: Path, age: int) -> None:
        newest = max(run.iterdir(), key=lambda path: int(path.name.rpartition(".")[2]))
        with newest.open("ab", buffering=0) as file:
            file.write(logged(age * STEPS, STEPS, self._made, self._began))
        self._live[run] = age + 1
        self.appended += STEPS * len(TAGS)

    def _finish(self, run: Path) -> None:
        newest = max(run.iterdir(), key=lambda path: int(path.name.rpartition(".")[2]))
        with newest.open("ab", buffering=0) as file:
            file.write(END)
        del self._live[run]
        self._over.append(run)
        self.appended += 1
        self.happened["finished"] += 1

    def _restart(self, run: Path) -> None:
        """Begin anew from an earlier step, in a file of its own, as a trainer that resumes does."""
        files = len(list(run.iterdir()))
        (run / f"events.out.tfevents.17000000{files:02d}.host.1.{files}").write_bytes(framed(opening()))
        self._live[run] = max(0, self._live[run] - 2)
        self.happened["restarted"] += 1


class Watched(RaftmonApp):
    """Notes how much the newest snapshot has read."""

    events_read = 0

    def on_snapshot_arrived(self, message: SnapshotArrived) -> None:
        """Show it, and note it."""
        super().on_snapshot_arrived(message)
        self.events_read = message.snapshot.events_read


def _resident() -> float:
    """Megabytes (10^6 bytes) that are resident now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _play(events: int, root: Path) -> tuple[Day, list[float], float]:
    turns = max(2 * WARM_TURNS, events // (LIVE * STEPS * len(TAGS)))
    now = began = time.time()
    day, resident, keys = Day(root, began), [], cycle(KEYS)
    monitor = Monitor([root], watcher=Watcher([root]), clock=lambda: now)
    app = Watched(monitor, interval=0.002)
    begun = time.monotonic()
    async with app.run_test(size=(120, 30), notifications=True) as pilot:
        number = -1
        while number + 1 < turns or day.appended < events:
            number += 1
            now = began + HOURS * 3600.0 * number / turns
            day.turn(number)
            end = time.monotonic() + PATIENCE
            while app.events_read < day.appended:
                if time.monotonic() > end:
                    raise SystemExit(f"turn {number}: {app.events_read} of {day.appended} points came to the screen")
                await asyncio.sleep(0.002)
            await pilot.press(*islice(keys, 2))
            resident.append(_resident())
    return day, resident, time.monotonic() - begun


def soaked(events: int) -> Iterator[Figure]:
    """Play a day of so many appended points; what is raised in the application ends the benchmark."""
    with tempfile.TemporaryDirectory() as directory:
        day, resident, took = asyncio.run(_play(events, Path(directory)))
    first, span = max(int(WARM * len(resident)), WARM_TURNS), max(len(resident) // 10, 5)
    warm, last = resident[first : first + span], resident[-span:]
    what = ", ".join(f"{count} {name}" for name, count in day.happened.items())
    yield Figure(f"soak: points in {len(resident)} turns; runs: {what}", day.appended, "", None)
    yield Figure("soak: RSS after the first quarter of the day", max(warm), "MB", None)
    yield Figure("soak: growth of RSS from then to the end", 100.0 * (max(last) / max(warm) - 1.0), "%", 5.0)
    yield Figure("soak: time of all of it", took, "s", None)
