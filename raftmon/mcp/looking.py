"""A thread that keeps looking at the logdirs, so that a question is answered from what is known already.

It looks also while nobody asks: whether a job stands still is told by how it wrote while it was watched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from raftmon.errors import RaftmonError, Refused
from raftmon.model import Snapshot

__all__ = ["Looker", "Source"]

TICK: Final = 1.0
"""Seconds between two looks where nothing tells of a change."""
BREATH: Final = 0.1
"""Seconds between a change and the look at it."""
PATIENCE: Final = 60.0
"""Seconds for which a question waits until the logdirs were read once."""


class Source(Protocol):
    """What is looked at; `raftmon.monitor.Monitor` is one."""

    def poll(self) -> Snapshot:
        """Return the newest state."""

    def wait(self, timeout: float) -> bool:
        """Block until something may have changed, or for `timeout` seconds."""

    def close(self) -> None:
        """Give back what was taken."""


class Looker:
    """Polls a source in a thread of its own.

    Args:
        open_source: called once, in that thread, which alone touches the source.
        patience: seconds for which the first snapshot is waited for.
    """

    def __init__(self, open_source: Callable[[], Source], patience: float = PATIENCE) -> None:
        self._open = open_source
        self._patience = patience
        self._latest: Snapshot | None = None
        self._error: RaftmonError | None = None
        self._ready = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, name="raftmon-mcp", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; a poll under way is waited for a moment."""
        self._ends.set()
        self._thread.join(2.0 * TICK)

    def snapshot(self) -> Snapshot:
        """Return the newest state of logdirs that were all read to their ends once. May block.

        Raises:
            RaftmonError: why there is none.
        """
        if not self._ready.wait(self._patience):
            remedy = "Ask again later: it goes on meanwhile."
            raise Refused("the logdirs", f"not read to their ends after {self._patience:g} s", remedy)
        if self._error is not None:
            raise self._error
        assert self._latest is not None
        return self._latest

    def _look(self) -> None:
        try:
            source = self._open()
            try:
                while not self._ends.is_set():
                    snapshot = source.poll()
                    if snapshot.backfilling:
                        # It does not wait where there is more to read at once, only where that has yet to be fetched.
                        source.wait(BREATH)
                        continue
                    self._latest = snapshot
                    self._ready.set()
                    if source.wait(TICK):
                        self._ends.wait(BREATH)
            finally:
                source.close()
        except RaftmonError as error:
            self._error = error
        except Exception as error:
            remedy = "Start the server anew; report it if it comes again."
            self._error = Refused("the logdirs", f"raftmon failed ({type(error).__name__}: {error})", remedy)
        self._ready.set()
