"""From the monitor to the screen: the one worker thread, and the messages it posts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from textual.message import Message

from raftmon.errors import RaftmonError
from raftmon.model import Snapshot
from raftmon.plain import plain

__all__ = ["Follower", "LateSource", "SnapshotArrived", "SnapshotFailed", "SnapshotSource", "SourceRefused"]

BUSY_SHARE: Final = 0.035
"""Share of one core that following may cost while data streams in; what comes faster than that is taken together."""
MOST_PAUSE: Final = 4.0
"""Intervals that news wait at most for that reason."""


class SnapshotSource(Protocol):
    """Where snapshots come from: `raftmon.monitor.Monitor`, or a script of them in a test."""

    def poll(self) -> Snapshot:
        """Read what is new and return the state of everything; may block; its `version` tells of any change."""

    def wait(self, timeout: float) -> bool:
        """Block until something may have changed (True), or for `timeout` seconds (False)."""

    def close(self) -> None:
        """End a `wait` in progress and give everything back.

        Called once, from the user interface's thread, also while another thread is in `poll` or `wait`.
        """


class LateSource:
    """A source that its first poll opens: that takes longer than the first paint has time for.

    Args:
        open_source: may raise `RaftmonError`; called in the thread that polls.
    """

    def __init__(self, open_source: Callable[[], SnapshotSource]) -> None:
        self._open = open_source
        self._source: SnapshotSource | None = None
        self._closed = False
        self._lock = threading.Lock()

    def poll(self) -> Snapshot:
        """Poll the source, which is opened the first time."""
        if self._source is None:
            source = self._open()
            with self._lock:
                self._source, closed = source, self._closed
            if closed:  # while it was being opened
                source.close()
        return self._source.poll()

    def wait(self, timeout: float) -> bool:
        """Wait for the source; what is not open has not changed."""
        return self._source is not None and self._source.wait(timeout)

    def close(self) -> None:
        """Close the source, also one that is being opened."""
        with self._lock:
            self._closed, source = True, self._source
        if source is not None:
            source.close()


class SnapshotArrived(Message):
    """There is a snapshot with a new version; a newer one in the queue replaces it."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Let only the newest of several queued snapshots be drawn."""
        return isinstance(message, SnapshotArrived)


class SnapshotFailed(Message):
    """The source raised an error; it is asked again after the usual interval."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class SourceRefused(Message):
    """There never was a snapshot, and there will be none: the source cannot be opened as it was asked for."""

    def __init__(self, error: RaftmonError) -> None:
        super().__init__()
        self.error = error


class Follower:
    """Polls a source in a thread of its own and posts what is new.

    The thread is a daemon: a poll that hangs on a dead file system must not keep the program from ending.

    The first news after a quiet while is shown at once. Fifty runs that log in turn would have all of the screen made
    anew fifty times a second, though: after each snapshot the thread rests in proportion to what it has cost.

    Args:
        source: polled and waited for in the thread only.
        post: takes messages from any thread.
        interval: seconds of a wait in which nothing changes, and between attempts after an error.
        spent: seconds of CPU time of the whole process, polling and painting, from any moment on.
        stopping: set to end the thread; waited for wherever it pauses.
    """

    def __init__(
        self,
        source: SnapshotSource,
        post: Callable[[Message], bool],
        interval: float,
        *,
        spent: Callable[[], float] = time.process_time,
        stopping: threading.Event | None = None,
    ) -> None:
        self._source = source
        self._post = post
        self._interval = interval
        self._spent = spent
        self._stopping = stopping if stopping is not None else threading.Event()
        self._thread = threading.Thread(target=self.follow, name="raftmon-poll", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, without waiting for a poll in progress, and close the source."""
        self._stopping.set()
        self._source.close()

    def follow(self) -> None:
        """Poll and post until stopped or refused: what the thread does."""
        version: int | None = None
        woken, begun, before = False, False, self._spent()
        while not self._stopping.is_set():
            try:
                snapshot = self._source.poll()
                begun = True
                changed, first = snapshot.version != version, version is None
                version = snapshot.version
                if changed:
                    self._send(SnapshotArrived(snapshot))
                elif woken:
                    # A source that is woken by what it does not show must not keep a core busy.
                    self._stopping.wait(self._interval)
                behind = changed and snapshot.backfilling
                spent = self._spent()
                if changed and not first and not behind:
                    self._stopping.wait(min((spent - before) / BUSY_SHARE, MOST_PAUSE * self._interval))
                # What the snapshot costs to paint comes after this, and counts for the next pause.
                before = spent
                if not behind:
                    woken = self._source.wait(self._interval)
            except RaftmonError as error:
                if not begun:
                    self._send(SourceRefused(error))
                    return
                version = None
                self._fail(error)
            except Exception as error:  # whatever it is, the screen must say it and live on
                version = None
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._send(SnapshotFailed(plain(f"{type(error).__name__}: {error}")))
        self._stopping.wait(self._interval)

    def _send(self, message: Message) -> None:
        if not self._stopping.is_set():
            self._post(message)
