"""What happens, written into the journal in batches by a thread; what a person muted, read from it.

A journal that cannot be written (a full disk, another process that holds it, a file system that became read-only)
costs memory for a while, nothing else: what happens waits, up to a bound, and is written when it can be. A broken one
is moved aside and a new one begun.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from raftmon.errors import Refused
from raftmon.happenings import Happening
from raftmon.history import History, Places
from raftmon.journal import Journal
from raftmon.journal_file import Damaged, Foreign
from raftmon.journal_rescue import begin_anew
from raftmon.model import Mute, Problem, Snapshot
from raftmon.plain import plain
from raftmon.remote.address import Logdir
from raftmon.slotted import dataclass

__all__ = ["Pace", "Recorder"]

BATCH: Final = 10_000
"""Happenings written in one transaction."""
STEADY: Final = 600.0
"""Seconds by which the clock may have jumped, since it was looked at last, for old lines to be forgotten by it."""
ASIDE_AGAIN: Final = 3600.0
"""Seconds in which one journal is moved aside: a broken disk would break the next, and the next."""
LAST_PAUSE: Final = 0.05
"""Seconds between attempts at the end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, and how much."""

    retries: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 60.0)
    """Seconds before each next attempt at a journal that cannot be written; the last for all that follow."""
    refresh: float = 5.0
    """Seconds between looks at the mutes, which other processes make."""
    forget: float = 3600.0
    """Seconds between looks for lines that are too old; the first comes after a sixth of it."""
    most: int = 100_000
    """Happenings that wait in memory at most; then the oldest are lost."""


class Recorder:
    """A sink that writes the journal.

    Args:
        path: the journal; None: the user's own.
        retention: seconds for which what happened is kept; None: for ever.
        clock: seconds since the epoch.
        steady: seconds that never jump.
        pace: how often, and how much.
    """

    def __init__(
        self,
        path: Path | None = None,
        retention: float | None = None,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
    ) -> None:
        self._places = Places()
        self.history = History(path, clock, self._places)
        self._journal = Journal(self.history.path, clock)
        self._retention, self._clock, self._steady = retention, clock, steady
        self._pace = pace if pace is not None else Pace()
        self._changed = threading.Condition()
        self._pending: deque[Happening] = deque()
        self._in_hand: list[Happening] = []
        self._lost = 0
        self._snapshot: Snapshot | None = None
        self._mutes: dict[str, dict[str, Mute]] = {}
        self._trouble: Problem | None = None
        self._aside: Problem | None = None
        self._aside_at = -ASIDE_AGAIN
        self._failures = 0
        self._next_refresh, self._next_forget = 0.0, 0.0
        self._seen = (0.0, 0.0)
        self._end: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        """How many happenings are in no journal because too many waited."""
        return self._lost

    @property
    def waiting(self) -> int:
        """How many happenings are not in the journal yet."""
        with self._changed:
            return len(self._pending) + len(self._in_hand)

    def open(self, logdirs: Iterable[Logdir | str] = ()) -> list[Happening]:
        """Look at the journal before anything is written, and return what an earlier process said last.

        One that is broken is moved aside, one that cannot be used now is a problem, and nothing is known then.

        Args:
            logdirs: what is followed; see `History.standing`.

        Raises:
            Refused: a database of another program or a newer raftmon: it will never be this one's.
        """
        logdirs = list(logdirs)
        now = self._steady()
        self._next_forget, self._seen = now + self._pace.forget / 6, (self._clock(), now)
        for _ in range(2):
            try:
                self.history.file.check()
                with self.history.file.writing():
                    pass
                standing = list(self.history.standing(logdirs))
                self._refresh()
            except Foreign:
                raise
            except Refused as error:
                if not self._failed(error):
                    break
            else:
                self._failures = 0
                return standing
        return []

    def told(self, state: str) -> dict[str, float]:
        """Return subject to when the daemon noted a state of it last, in seconds since the epoch."""
        try:
            return self.history.newest("daemon", state)
        except Refused:
            return {}  # what is wrong with the journal is told already

    def retain(self, seconds: float | None) -> None:
        """Keep what happened for so many seconds from now on, None: for ever; may be called from anywhere.

        What is then too old is deleted after a while, as after a start.
        """
        if seconds != self._retention:
            self._retention = seconds
            self._next_forget = min(self._next_forget, self._steady() + self._pace.forget / 6)

    def start(self) -> None:
        """Begin to write what is taken."""
        self._thread = threading.Thread(target=self._serve, name="raftmon-recorder", daemon=True)
        self._thread.start()

    def take(self, snapshot: Snapshot, news: Sequence[Happening]) -> None:
        """Take what is to be written."""
        self._snapshot = snapshot
        self.note(news)

    def note(self, news: Iterable[Happening]) -> None:
        """Take what is to be written and no snapshot tells: what was done about something. Never blocks."""
        with self._changed:
            self._pending.extend(news)
            self._drop()
            if self._pending:
                self._changed.notify_all()

    def problems(self) -> Sequence[Problem]:
        """Return what is wrong with the journal; a problem stays the same while nothing but its extent changes."""
        with self._changed:
            found = [problem for problem in (self._trouble, self._aside) if problem is not None]
            if self._lost:
                # A number that grows would be a new problem at each look.
                many = f"{self._lost:,}" if self._trouble is None else "some"
                what = f"{many} happenings are in no journal: more than {self._pace.most:,} waited for it"
                found.append(Problem(str(self.history.path), what, "Restart the daemon once the journal can be used."))
            return found

    def muted(self, path: str, rule: str, began: float | None = None) -> bool:
        """Tell whether a person muted a finding, as of a few seconds ago.

        Args:
            path: of the run or campaign, as a snapshot has it.
            rule: id of the rule.
            began: wall time of the run's first point; one that began after the mute is another run. None: not known.
        """
        places = self._mutes.get(rule)
        if not places:
            return False
        mute = places.get(path) or places.get(self._places.of(path))
        return mute is not None and not (mute.seen is not None and began is not None and began > mute.seen)

    def close(self, seconds: float) -> None:
        """Write what waits, for so many seconds at most, and end."""
        with self._changed:
            self._end = self._steady() + seconds
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def turn(self) -> bool:
        """Do what is due, once; returns False where the journal could not be used."""
        try:
            while self._write():
                pass
            now = self._steady()
            if now >= self._next_refresh:
                self._next_refresh = now + self._pace.refresh
                self._refresh()
            if now >= self._next_forget:
                self._next_forget = now + self._pace.forget
                self._forget(now)
        except Refused as error:
            self._failed(error)
            return False
        except Exception as error:  # whatever it is, the thread must live on
            defect = f"a defect of raftmon: {type(error).__name__}: {plain(str(error))}"
            self._failed(Refused(str(self.history.path), defect, "Please report it."))
            return False
        with self._changed:
            self._trouble, self._failures = None, 0
        return True

    def _serve(self) -> None:
        while True:
            with self._changed:
                if self._failures:
                    self._changed.wait_for(lambda: self._end is not None, self._pause())
                else:
                    self._changed.wait_for(lambda: self._pending or self._end is not None, self._pace.refresh)
            done = self.turn()
            with self._changed:
                if self._end is not None:
                    if (done and not self._pending) or self._steady() >= self._end:
                        return
                    if not done:
                        self._changed.wait(LAST_PAUSE)

    def _pause(self) -> float:
        return self._pace.retries[min(self._failures, len(self._pace.retries)) - 1]

    def _write(self) -> bool:
        """Write one batch; returns whether there was one."""
        with self._changed:
            self._in_hand = list(islice(self._pending, BATCH))
            for _ in self._in_hand:
                self._pending.popleft()
        written = False
        try:
            self.history.note(self._in_hand)
            written = True
        finally:
            with self._changed:
                batch, self._in_hand = self._in_hand, []
                if not written:
                    self._pending.extendleft(reversed(batch))
                    self._drop()
        return bool(batch)

    def _drop(self) -> None:
        while len(self._pending) + len(self._in_hand) > self._pace.most and self._pending:
            self._pending.popleft()
            self._lost += 1

    def _failed(self, error: Refused) -> bool:
        """Take note of trouble; returns whether it is over because a new journal was begun."""
        begun = False
        if isinstance(error, Damaged) and self._steady() - self._aside_at >= ASIDE_AGAIN:
            self._aside_at = self._steady()
            try:
                aside, kept = begin_anew(self.history.file, self._clock())
            except Refused as worse:
                error = worse
            else:
                what = f"the journal was damaged and a new one begun with {kept:,} lines of it"
                remedy = f"The damaged one is {aside}; delete it when nothing in it is missed."
                self._aside, begun = Problem(str(self.history.path), what, remedy), True
        with self._changed:
            self._failures += 1
            what = f"{error.what}; what happens waits in memory"
            self._trouble = None if begun else Problem(error.where, what, error.remedy)
        return begun

    def _refresh(self) -> None:
        found: dict[str, dict[str, Mute]] = {}
        for mute in self._journal.mutes():
            if mute.lifted_at is None:
                found.setdefault(mute.rule, {})[mute.path] = mute
        self._mutes = found

    def _forget(self, now: float) -> None:
        """Delete what is too old, unless the clock that says so has jumped."""
        wall = self._clock()
        before, self._seen = self._seen, (wall, now)
        newest, retention = self._snapshot, self._retention
        steady = abs((wall - before[0]) - (now - before[1])) <= STEADY
        if retention is not None and newest is not None and steady:
            present = [*(run.path for run in newest.runs), *(campaign.path for campaign in newest.campaigns)]
            self.history.forget(wall - retention, present)
