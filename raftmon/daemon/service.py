"""The daemon's loop: poll, compare with what was said, hand on.

One thread does all of it; whatever may block lies in the threads of the sinks. The source takes a breath between two
looks, so that a fleet is read in batches.

A signal to end raises `Ended` in this thread where it reads or waits: nothing that it holds there has to be put in
order. While it hands on, the signal is remembered, as one to reload always is: a lock of a sink must not stay held.
"""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

from raftmon.daemon.health import Health
from raftmon.daemon.logs import Log, fields_of
from raftmon.daemon.sink import Sink
from raftmon.daemon.systemd import Notify
from raftmon.errors import RaftmonError
from raftmon.happenings import Happening, Ledger
from raftmon.model import Problem, Snapshot

__all__ = ["Ended", "Service", "Source", "signals"]

ROUND_SECONDS: Final = 1.0
"""The longest wait for something to read."""
LOOK_SECONDS: Final = 30.0
"""Seconds after which time alone may be news."""
STUCK_SECONDS: Final = 60.0
"""Without a round for so long, the daemon is not alive."""
ALIVE_SECONDS: Final = 10.0
"""Seconds between two words to a supervisor."""
LEAVING_SECONDS: Final = 20.0
"""For a sink that the settings no longer ask for, to finish what it can."""
CLOSE_SECONDS: Final = 0.7
"""For all sinks together to finish what they can; a supervisor is promised an end within a second."""


class Source(Protocol):
    """What is followed; `raftmon.monitor.Monitor` is one."""

    def poll(self) -> Snapshot:
        """Return the newest state."""

    def wait(self, timeout: float) -> bool:
        """Block until something may have changed, or for `timeout` seconds."""

    def close(self) -> None:
        """Stop watching."""


class Ended(BaseException):
    """Raised by the signal that ends the daemon."""


class Service:
    """Follows a source until it is told to end.

    Args:
        source: what is followed.
        sinks: what is told of it, in the order in which they are closed.
        ledger: what was said before.
        log: takes a line for each happening.
        reopen: opens source and sinks anew, by the settings and rules as they are now; a sink that is not among them
            any more is closed. Raises `RaftmonError` where they have defects; None: nothing can be read anew.
        problems: what is wrong with the daemon itself from the start on.
        clock: seconds since the epoch.
        timer: seconds, from any moment on.
        notify: tells a supervisor.
    """

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        ledger: Ledger,
        log: Log,
        *,
        reopen: Callable[[], tuple[Source, Sequence[Sink]]] | None = None,
        problems: Sequence[Problem] = (),
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        notify: Notify | None = None,
    ) -> None:
        self._source = source
        self._sinks = sinks
        self._ledger = ledger
        self._log = log
        self._reopen = reopen
        self._clock = clock
        self._timer = timer
        self._notify = notify if notify is not None else Notify()
        self._reload = threading.Event()
        self._ending = self._handing_on = False
        self._lasting = tuple(problems)
        self._trouble: tuple[Problem, ...] = ()
        self._caught_up = False
        self._seen: tuple[int, tuple[Problem, ...]] | None = None
        self._looked_at = 0.0
        self._round_at = timer()
        self._said_alive_at = self._round_at

    def run(self) -> None:
        """Go round until `Ended` is raised, or any other error."""
        self._notify.say("READY=1")
        while True:
            self.round()

    def round(self) -> None:
        """Poll once, hand on what is new, and wait for more.

        Raises:
            Ended: it was told to end.
        """
        self._end_if_told()
        if self._reload.is_set():
            self._reload.clear()
            self._read_anew()
        begun = self._round_at = self._timer()
        if begun - self._said_alive_at >= ALIVE_SECONDS:
            self._said_alive_at = begun
            self._notify.say("WATCHDOG=1")
        snapshot = self._source.poll()
        self._handing_on = True
        try:
            self._look(snapshot)
        finally:
            self._handing_on = False
        self._end_if_told()
        self._source.wait(ROUND_SECONDS)

    def reload(self) -> None:
        """Read settings and rules anew in the next round; may be called from anywhere."""
        self._reload.set()

    def end(self) -> None:
        """End as soon as nothing is half done; for signal handlers of this thread.

        Raises:
            Ended: that is now, and it was not told before.
        """
        told, self._ending = self._ending, True
        if not told and not self._handing_on:
            raise Ended

    def health(self) -> Health:
        """Tell how it is; may be called from any thread."""
        silent = self._timer() - self._round_at
        if silent > STUCK_SECONDS:
            return Health(False, False, f"its loop has not gone round for {silent:.0f} s")
        if not self._caught_up:
            return Health(True, False, "the logdirs are being read for the first time")
        return Health(True, True, "")

    def close(self) -> None:
        """End the source and all sinks, each in its share of the time that is left."""
        self._notify.say("STOPPING=1")
        end = self._timer() + CLOSE_SECONDS
        for place, sink in enumerate(self._sinks):
            left = max(0.0, end - self._timer())
            sink.close(left / 2 if place + 1 < len(self._sinks) else left)
        self._source.close()

    def _end_if_told(self) -> None:
        """Raise `Ended` where a signal came that raised nothing, or where what it raised was lost in a finaliser."""
        if self._ending:
            raise Ended

    def _look(self, snapshot: Snapshot) -> None:
        """Hand on what is new in a snapshot."""
        problems = (*self._lasting, *self._trouble, *(problem for sink in self._sinks for problem in sink.problems()))
        seen = snapshot.version, problems
        now = self._timer()
        if seen == self._seen and now - self._looked_at < LOOK_SECONDS:
            return
        self._seen, self._looked_at = seen, now
        if problems:
            snapshot = dataclasses.replace(snapshot, problems=(*snapshot.problems, *problems))
        if not self._caught_up and snapshot.backfilling:
            # What a half read file shows is no news; who looks from outside sees how far it is.
            news: Sequence[Happening] = ()
        else:
            if not self._caught_up:
                self._caught_up = True
                self._log.info("ready", _caught_up(snapshot), runs=len(snapshot.runs), events=snapshot.events_read)
            news = self._ledger.take(snapshot, self._clock())
        for happening in news:
            self._tell(happening)
        for sink in self._sinks:
            sink.take(snapshot, news)

    def _tell(self, happening: Happening) -> None:
        """Log a happening."""
        grave = happening.kind == "finding" and happening.state == "firing"
        broken = happening.kind == "problem" and happening.state == "begun"
        if happening.late:
            return  # the journal has it
        say = self._log.warning if grave or broken else self._log.info
        say(happening.kind, _line(happening), **fields_of(happening))

    def _read_anew(self) -> None:
        """Take settings and rules as they are now; with defects, those that were in force stay."""
        if self._reopen is None:
            return
        self._notify.say("RELOADING=1")
        try:
            source, sinks = self._reopen()
        except RaftmonError as error:
            problem = Problem(error.where, f"not read anew: {error.what}", f"{error.remedy} The old ones are in force.")
            self._trouble = (problem,)
            self._log.error("reload", f"settings and rules as they were stay in force: {error}")
        else:
            self._source.close()
            for sink in self._sinks:
                if sink not in sinks:
                    # It may have something to tell yet, and the loop does not wait for it.
                    threading.Thread(target=sink.close, args=(LEAVING_SECONDS,), daemon=True).start()
            self._source, self._sinks = source, sinks
            self._trouble, self._caught_up, self._seen = (), False, None
            self._log.info("reload", "settings and rules were read anew")
        self._notify.say("READY=1")


@contextmanager
def signals(end: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT end what runs in the block, and SIGHUP reload."""
    asked = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reload}

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        asked[signal.Signals(number)]()

    before = {number: signal.signal(number, handle) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _caught_up(snapshot: Snapshot) -> str:
    live = sum(run.state == "live" for run in snapshot.runs)
    return f"{len(snapshot.runs)} runs read ({live} live), {snapshot.events_read} points"


def _line(happening: Happening) -> str:
    """Return a happening in a line for people."""
    what = " ".join(part for part in (happening.severity, happening.subject, happening.state) if part)
    if happening.kind == "problem":
        return f"problem {happening.state}: {happening.path}: {happening.subject}. {happening.text}"
    at = f" step {happening.step}" if happening.step is not None else ""
    kind = "" if happening.kind == "finding" else f"{happening.kind} "
    return f"{happening.name}{at}: {kind}{what}" + (f": {happening.text}" if happening.text else "")
