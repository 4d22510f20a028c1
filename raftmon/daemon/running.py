"""From a command line to a running daemon: lock, journal, source, sinks, signals, and an orderly end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from raftmon.advice.settings import Settings, read_settings
from raftmon.daemon.collector import calm_collector
from raftmon.daemon.crew import Crew, Options
from raftmon.daemon.health import Health
from raftmon.daemon.lock import JournalLock
from raftmon.daemon.logs import Log
from raftmon.daemon.recorder import Recorder
from raftmon.daemon.service import Ended, Service, Source, signals
from raftmon.daemon.sink import Sink
from raftmon.happenings import Ledger
from raftmon.journal import default_path
from raftmon.mirrored import open_logdirs
from raftmon.model import Problem

__all__ = ["run"]

BREATH: Final = 1.1
"""Seconds that a write waits at most for the next ones of its run: of a thousand runs that write each second, two steps
are read and judged together, and the first of them less than two seconds after it was written."""
_DAY: Final = 86400.0


def run(options: Options) -> None:
    """Follow logdirs until a signal ends it.

    Raises:
        RaftmonError: it cannot begin: settings or rules have defects, a secret is not there, or another daemon has the
            journal.
    """
    calm_collector()
    journal = options.journal if options.journal is not None else default_path()
    with ExitStack() as stack:
        lock = JournalLock(journal)
        stack.callback(lock.release)
        settings = read_settings(options.settings)
        log = Log(sys.stderr, options.log_format)
        stack.callback(log.close, 0.2)
        service = _assembled(options, settings, journal, lock, log)
        with signals(service.reload):
            log.info("start", f"following {', '.join(map(str, options.logdirs))}; journal {journal}")
            try:
                service.run()
            except Ended:
                begun = time.monotonic()
                service.close()
                log.info("end", "ended by a signal", seconds=round(time.monotonic() - begun, 3))


def _assembled(options: Options, settings: Settings, journal: Path, lock: JournalLock, log: Log) -> Service:
    recorder = Recorder(journal, settings.retention * _DAY if settings.retention is not None else None)
    services: list[Service] = []

    def health() -> Health:
        return services[0].health() if services else Health(True, False, "the daemon starts")

    crew = Crew(options, recorder, log, health)
    ledger = Ledger(recorder.open(options.logdirs))
    source = _open(options, settings)
    try:
        sinks = crew.sinks(settings)
        problems = _unlocked(lock)
        services.append(Service(source, sinks, ledger, log, reopen=_reopener(options, crew), problems=problems))
    except BaseException:
        source.close()
        raise
    recorder.start()
    return services[0]


def _open(options: Options, settings: Settings) -> Source:
    return open_logdirs(options.logdirs, settings, watching=True, rules=options.rules, breath=BREATH)


def _reopener(options: Options, crew: Crew) -> Callable[[], tuple[Source, Sequence[Sink]]]:
    def reopen() -> tuple[Source, Sequence[Sink]]:
        settings = read_settings(options.settings)
        source = _open(options, settings)
        try:
            return source, crew.sinks(settings)
        except BaseException:
            source.close()
            raise

    return reopen


def _unlocked(lock: JournalLock) -> list[Problem]:
    if not lock.trouble:
        return []
    return [Problem(str(lock.path), f"cannot be locked: {lock.trouble}", "Take care that no second daemon uses it.")]
