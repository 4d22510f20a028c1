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

ROUND_SECONDS: Final = 0.2
"""The longest wait for something to read. The system may give a signal to any thread, and then it is handled here when
the wait is over."""
PROGRESS_SECONDS: Final = 10.0
"""Seconds between two words on how far the first reading is."""
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
        self._coming: Source | None = None
        self._own: list[Happening] = []
        self._said_progress_at = timer()
        self._progress: float | None = None
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
        if self._coming is not None:
            self._follow_coming(self._coming)
        else:
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
            share = f", {self._progress:.0%} of their bytes so far" if self._progress is not None else ""
            return Health(True, False, f"the logdirs are being read for the first time{share}")
        return Health(True, True, "")

    def close(self) -> None:
        """End the source and all sinks, each in its share of the time that is left."""
        self._notify.say("STOPPING=1")
        end = self._timer() + CLOSE_SECONDS
        for place, sink in enumerate(self._sinks):
            left = max(0.0, end - self._timer())
            sink.close(left / 2 if place + 1 < len(self._sinks) else left)
        for source in (self._source, self._coming):
            if source is not None:
                source.close()

    def _end_if_told(self) -> None:
        """Raise `Ended` where a signal came that raised nothing, or where what it raised was lost in a finaliser."""
        if self._ending:
            raise Ended

    def _look(self, snapshot: Snapshot) -> None:
        """Hand on what is new in a snapshot."""
        problems = (*self._lasting, *self._trouble, *(problem for sink in self._sinks for problem in sink.problems()))
        seen = snapshot.version, problems
        now = self._timer()
        if seen == self._seen and not self._own and now - self._looked_at < LOOK_SECONDS:
            return
        self._seen, self._looked_at = seen, now
        if problems:
            snapshot = dataclasses.replace(snapshot, problems=(*snapshot.problems, *problems))
        if not self._caught_up and snapshot.backfilling:
            self._tell_progress(snapshot, now)
        elif not self._caught_up:
            self._caught_up = True
            self._log.info("ready", _caught_up(snapshot), runs=len(snapshot.runs), events=snapshot.events_read)
        news: Sequence[Happening] = self._ledger.take(snapshot, self._clock(), now)
        news, self._own = (*self._own, *news), []
        for happening in news:
            self._tell(happening)
        for sink in self._sinks:
            sink.take(snapshot, news)

    def _tell(self, happening: Happening) -> None:
        """Log a happening."""
        grave = happening.kind == "finding" and happening.state == "firing"
        broken = (happening.kind, happening.state) in (("problem", "begun"), ("daemon", "refused"))
        if happening.late:
            return  # the journal has it
        say = self._log.warning if grave or broken else self._log.info
        event = happening.subject if happening.kind == "daemon" else happening.kind
        say(event, _line(happening), **fields_of(happening))

    def _tell_progress(self, snapshot: Snapshot, now: float) -> None:
        """Say now and then how far the first reading is."""
        self._progress = snapshot.progress
        if now - self._said_progress_at >= PROGRESS_SECONDS and snapshot.progress is not None:
            self._said_progress_at = now
            text = f"{len(snapshot.runs)} runs so far, {snapshot.progress:.0%} of the known bytes read"
            self._log.info("reading", text, runs=len(snapshot.runs), progress=round(snapshot.progress, 3))

    def _read_anew(self) -> None:
        """Begin to take settings and rules as they are now; with defects, those that were in force stay.

        What is followed is judged by the old ones until all of it has been read anew.
        """
        if self._reopen is None:
            return
        self._notify.say("RELOADING=1")
        try:
            source, sinks = self._reopen()
        except RaftmonError as error:
            problem = Problem(error.where, f"not read anew: {error.what}", f"{error.remedy} The old ones are in force.")
            self._trouble = (problem,)
            what = f"settings and rules as they were stay in force: {error.where}: {error.what}. {error.remedy}"
            self._note("reload", "refused", what)
            self._notify.say("READY=1")
            return
        if self._coming is not None:
            self._coming.close()
        self._coming, self._trouble = source, ()
        for sink in self._sinks:
            if sink not in sinks:
                # It may have something to tell yet, and the loop does not wait for it.
                threading.Thread(target=sink.close, args=(LEAVING_SECONDS,), daemon=True).start()
        self._sinks = sinks

    def _follow_coming(self, coming: Source) -> None:
        """Read on what is read anew; once it is whole, it is what is followed."""
        if coming.poll().backfilling:
            return
        self._source.close()
        self._source, self._coming, self._seen = coming, None, None
        self._note("reload", "done", "settings and rules were read anew")
        self._notify.say("READY=1")

    def _note(self, subject: str, state: str, text: str) -> None:
        """Let the log and all sinks know what the daemon did itself."""
        self._own.append(Happening(self._clock(), "daemon", "", "", subject, state, text))


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
    if happening.kind == "daemon":
        return happening.text
    if happening.kind == "problem":
        return f"problem {happening.state}: {happening.path}: {happening.subject}. {happening.text}"
    at = f" step {happening.step}" if happening.step is not None else ""
    kind = "" if happening.kind == "finding" else f"{happening.kind} "
    return f"{happening.name}{at}: {kind}{what}" + (f": {happening.text}" if happening.text else "")
