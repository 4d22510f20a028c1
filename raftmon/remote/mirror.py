"""A remote logdir as a local directory: what raftmon reads of it, and only the new bytes of that.

Whatever reads the mirror sees states that the remote had, but for event files that end early, which readers know how
to take. So configs, reports and verdicts are put in place whole, by a rename; an event file grows in place, but one
that was replaced is fetched whole beside the old one first; and within a directory no event file begins before the
older ones are there, because a run's files are read in that order.

An object store knows no appending: each flush of a trainer replaces the object. Whether the new object merely goes on
where the old one ended is seen by reading a few bytes more than are needed: those before the place where the mirror
ends must be the ones that are there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftmon.model import Problem
from raftmon.remote.faults import Backoff, Failed, Fault, fault_of
from raftmon.remote.files import Copy, Replaced
from raftmon.remote.listing import Entry
from raftmon.remote.selection import is_appended_to, is_safe, select
from raftmon.remote.store import Range, Store
from raftmon.runs.logdir import is_event_file_name

__all__ = ["Mirror", "Pace"]

BUDGET: Final = 32 << 20
"""Bytes fetched in one call of `Mirror.sync`."""
BATCH_FILES: Final = 64
"""Files read at the same time, where the store can."""
LARGEST_PIECE: Final = 8 << 20
LEAST_PIECE: Final = 64 << 10
"""Bytes of one batch: halved when a batch takes too long, doubled when it does not."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a logdir is listed: no oftener than costs little time and little money."""

    least: float = 2.0
    """Seconds between the end of one listing and the next."""
    most: float = 600.0
    load: float = 20.0
    """...but so many times the seconds that a listing takes..."""
    request: float = 5.0
    """...and so many seconds for each request that somebody pays for: 17,000 a day, some 9 cents at S3's prices."""

    def after(self, seconds: float, requests: int) -> float:
        """Return the seconds until the next listing, after one that took so long and needed so many requests."""
        return min(self.most, max(self.least, self.load * seconds, self.request * requests))


class Mirror:
    """Keeps a local directory like a remote one.

    Args:
        store: the remote directory.
        root: the local one; exists, is empty, and belongs to the mirror alone.
        parts: another one on the same file system, for what is not whole yet.
        clock: seconds, monotonic.
        random: a number in [0, 1), for the back-off.
        pace: how often it is listed.

    Attributes:
        fault: why the newest attempt failed; None: it worked.
        synced: whether all of it has been here once.
        bytes_read: fetched so far.
        reads: ranges asked for so far.
        progress: share (0..1) of the bytes that is here; None: nothing is known to be missing.
    """

    def __init__(
        self,
        store: Store,
        root: Path,
        parts: Path,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = lambda: 0.5,
        pace: Pace | None = None,
    ) -> None:
        self.fault: Fault | None = None
        self.synced = False
        self.bytes_read = 0
        self.reads = 0
        self.progress: float | None = None
        self._store = store
        self._root = root
        self._parts = parts
        self._clock = clock
        self._pace = pace if pace is not None else Pace()
        self._backoff = Backoff(random)
        self._copies: dict[str, Copy] = {}
        self._pending: dict[str, Entry] = {}
        self._refused: dict[str, Fault] = {}
        self._cut_short = False
        self._unsafe = 0
        self._due = 0.0
        self._total = 0
        self._piece = LARGEST_PIECE

    @property
    def failures(self) -> int:
        """Attempts that failed, in a row."""
        return self._backoff.failures

    @property
    def lacks_something(self) -> bool:
        """Whether the newest attempt did not bring all that there is."""
        return self.fault is not None or bool(self._refused or self._store.refused)

    def wait(self) -> float:
        """Return the seconds until `sync` has something to do."""
        if self._pending and self.fault is None:
            return 0.0
        return max(0.0, self._due - self._clock())

    def sync(self, budget: int = BUDGET) -> bool:
        """List if that is due, and fetch what is new; never raises for what the network does.

        Args:
            budget: bytes to fetch at most, but for one batch.

        Returns:
            Whether there is more to fetch at once.
        """
        is_due = self._clock() >= self._due
        if self.fault is not None and not is_due:
            return False  # The pause is not over: nothing is known to work again.
        try:
            if is_due:
                self._list()
            while self._pending and budget > 0:
                budget -= self._fetch()
            if self._cut_short and not self._pending:
                raise Failed(Fault("passing", "a file ends before the size it is listed with", "Nothing to do."))
        except Exception as error:
            # Whatever a foreign library raises is a fault of the connection: the program that watches must live on.
            self._note(fault_of(error))
            return False
        self.fault = None
        self._backoff.worked()
        self.synced = self.synced or not self._pending
        return bool(self._pending)

    def problems(self, where: str, again: str = "") -> Iterator[Problem]:
        """Yield what is wrong; one passing fault that the next attempt mends is none.

        Args:
            where: what the logdir is called.
            again: added to what to do about a fault of the network.
        """
        fault = self.fault
        if fault is not None and (self._backoff.failures > 1 or fault.kind != "passing"):
            yield fault.problem(where, again)
            return  # Anything else was so at an earlier look.
        refused = self._refused
        if refused:
            path, fault = next(iter(refused.items()))
            others = f" (and {len(refused) - 1} more files)" if len(refused) > 1 else ""
            yield Problem(f"{where}/{path}", fault.what + others, fault.remedy)
        for path in self._store.refused[:1]:
            remedy = "Check the permissions of the directory."
            yield Problem(f"{where}/{path}", "cannot be listed: access denied", remedy)
        if self._unsafe:
            what = f"{self._unsafe} files whose names no local file can have are left out"
            yield Problem(where, what, "Rename them: no empty part, no `..`, at most 250 bytes a part.")

    def _note(self, fault: Fault) -> None:
        delay = self._backoff.failed()
        self.fault = fault
        self._due = self._clock() + delay
        if fault.kind == "unanswered":
            self._piece = max(LEAST_PIECE, self._piece // 2)
        if fault.kind != "local":
            self._store.reconnect()

    def _list(self) -> None:
        """Look up what is there, drop what has gone, and note what is to be fetched."""
        began, requests = self._clock(), self._store.requests
        listing = select(self._store.files())
        took = self._clock() - began
        self._due = self._clock() + self._pace.after(took, self._store.requests - requests)
        safe = {path: entry for path, entry in listing.items() if is_safe(path)}
        self._unsafe = len(listing) - len(safe)
        self._refused, self._cut_short = {}, False
        for path in self._copies.keys() - safe.keys():
            self._copies.pop(path).remove()
        self._total = sum(entry.size for entry in safe.values())
        self._pending = {path: entry for path, entry in safe.items() if not self._is_current(path, entry)}

    def _is_current(self, path: str, entry: Entry) -> bool:
        copy = self._copies.get(path)
        if copy is None:
            growing = is_event_file_name(path.rpartition("/")[2])
            copy = self._copies[path] = Copy(self._root, self._parts, path, growing, is_appended_to(path))
        try:
            return copy.expect(entry)
        except OSError as error:
            self._refuse(path, _local(error))
            return True

    def _fetch(self) -> int:
        """Fetch one batch; returns the bytes that came."""
        batch = dict(self._batch())
        ranges = [Range(path, *wanted) for path, wanted in batch.items()]
        answers = self._store.read(ranges)
        self.reads += len(ranges)
        came, failed = 0, None
        for wanted, answer in zip(ranges, answers, strict=True):
            if isinstance(answer, bytes):
                came += len(answer)
                self._take(wanted, answer)
                continue
            fault = fault_of(answer)
            if fault.kind in ("absent", "denied"):
                # The next listing tells whether it is there, or may be read, at all.
                self._pending.pop(wanted.path, None)
                if fault.kind == "denied":
                    self._refuse(wanted.path, fault)
            else:
                failed = fault
        self.bytes_read += came
        if failed is not None:
            raise Failed(failed)
        self._piece = min(LARGEST_PIECE, self._piece * 2)
        missing = sum(max(0, entry.size - self._copies[path].reached) for path, entry in self._pending.items())
        self.progress = 1.0 - min(1.0, missing / max(1, self._total)) if self._pending else None
        return max(came, 1)

    def _batch(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield what to read next: path, first byte and the byte behind the last."""
        left, count = self._piece, 0
        blocked: set[str] = set()
        for path in self._pending:
            directory, _, name = path.rpartition("/")
            in_order = is_event_file_name(name)
            if in_order and directory in blocked:
                continue
            if in_order:
                blocked.add(directory)
            start, end = self._copies[path].wanted(left)
            yield path, (start, end)
            left, count = left - (end - start), count + 1
            if left <= 0 or count >= BATCH_FILES:
                return

    def _take(self, wanted: Range, data: bytes) -> None:
        """Add bytes to a copy."""
        path, length = wanted.path, wanted.end - wanted.start
        if len(data) > length:
            # Some servers do not know ranges and send all of the file.
            data = data[wanted.start : wanted.end] if len(data) >= wanted.end else data[:length]
        try:
            if self._copies[path].take(data):
                self._pending.pop(path)
        except Replaced:
            pass  # It is read anew from its first byte.
        except EOFError:
            self._put_off(path)  # It is shorter than it was listed: the next listing tells.
        except OSError as error:
            self._pending.pop(path)
            self._refuse(path, _local(error))

    def _put_off(self, path: str) -> None:
        """Leave a file to the next listing, and with it the event files that may not begin before it is whole."""
        directory, in_order = path.rpartition("/")[0], is_event_file_name(path.rpartition("/")[2])
        self._cut_short = True
        del self._pending[path]
        for other in list(self._pending) if in_order else ():
            if other.rpartition("/")[0] == directory:
                del self._pending[other]

    def _refuse(self, path: str, fault: Fault) -> None:
        self._refused = {**self._refused, path: fault}


def _local(error: OSError) -> Fault:
    """Say why a file of the mirror cannot be written."""
    if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError):
        return Fault("local", "a file and a directory have the same name", "Rename one of them.")
    remedy = "Let TMPDIR name a directory with more room, and begin again."
    return Fault("local", f"cannot be copied to this machine: {error.strerror}", remedy)
