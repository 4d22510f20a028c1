"""From a command line to a running daemon: lock, journal, source, sinks, signals, and an orderly end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from raftmon.advice.settings import Settings, read_settings
from raftmon.daemon.collector import calm_collector
from raftmon.daemon.crew import TOLD, Crew, Options
from raftmon.daemon.health import Health
from raftmon.daemon.lock import JournalLock
from raftmon.daemon.logs import Log
from raftmon.daemon.recorder import Recorder
from raftmon.daemon.service import Ended, Service, Source, signals
from raftmon.daemon.sink import Sink
from raftmon.errors import UsageError
from raftmon.happenings import Happening, Ledger
from raftmon.journal import default_path
from raftmon.mirrored import open_logdirs
from raftmon.model import Problem
from raftmon.remote.address import Address, Logdir

__all__ = ["run"]

BREATH: Final = 1.1
"""Seconds that a write waits at most for the next ones of its run: of a thousand runs that write each second, two steps
are read and judged together, and the first of them less than two seconds after it was written."""
_DAY: Final = 86400.0


def run(options: Options, beside: Sequence[Sink] = ()) -> None:
    """Follow logdirs until a signal ends it.

    Args:
        options: what a person asked for.
        beside: sinks beside those that are asked for: what measures the daemon from within.

    Raises:
        RaftmonError: it cannot begin: settings or rules have defects, a secret is not there, or another daemon has the
            journal.
    """
    calm_collector()
    # A lock, or what a damaged journal is moved to, lies beside the file itself, not beside a link to it.
    journal = Path(os.path.realpath(options.journal if options.journal is not None else default_path()))
    with ExitStack() as stack:
        lock = JournalLock(journal)
        stack.callback(lock.release)
        settings = read_settings(options.settings)
        log = Log(sys.stderr, options.log_format)
        stack.callback(log.close, 0.2)
        recorder = Recorder(journal, _seconds(settings.retention))
        service = _assembled(options, settings, recorder, lock, log, beside)
        with signals(service.end, service.reload):
            _warn(options.logdirs, log)
            _say(recorder, log, "start", f"following {', '.join(map(str, options.logdirs))}; journal {journal}")
            try:
                service.run()
            except Ended:
                _say(recorder, log, "end", "ended by a signal")
            except BaseException as error:
                log.error("end", f"a defect of raftmon: {type(error).__name__}: {error}")
                raise
            finally:
                service.close()


def _warn(logdirs: Sequence[Logdir], log: Log) -> None:
    """Say what everybody on this machine can see."""
    for logdir in logdirs:
        if isinstance(logdir, Address) and logdir.url != logdir.shown:
            what = "this URL holds a secret, and `ps` shows it to everybody on this machine"
            log.warning("start", f"{logdir}: {what}; use the environment, a profile or a key instead")


def _say(recorder: Recorder, log: Log, event: str, text: str) -> None:
    """Note and log what the daemon itself does."""
    recorder.note((Happening(time.time(), "daemon", "", "", event, event, text),))
    log.info(event, text)


def _assembled(
    options: Options, settings: Settings, recorder: Recorder, lock: JournalLock, log: Log, beside: Sequence[Sink]
) -> Service:
    services: list[Service] = []

    def health() -> Health:
        return services[0].health() if services else Health(True, False, "the daemon starts")

    crew = Crew(options, recorder, log, health)
    standing = recorder.open(options.logdirs)
    source = _open(options, settings)
    try:
        sinks = crew.sinks(settings)
    except BaseException:
        source.close()
        raise
    crew.resume(list({(one.name, one.subject): one for one in standing}.values()), recorder.told(TOLD), time.time())
    reopen = _reopener(options, crew, recorder, beside)
    service = Service(source, (*beside, *sinks), Ledger(standing), log, reopen=reopen, problems=_unlocked(lock))
    services.append(service)
    recorder.start()
    return service


def _open(options: Options, settings: Settings) -> Source:
    return open_logdirs(options.logdirs, settings, watching=True, rules=options.rules, breath=BREATH)


def _reopener(
    options: Options, crew: Crew, recorder: Recorder, beside: Sequence[Sink]
) -> Callable[[], tuple[Source, Sequence[Sink]]]:
    def reopen() -> tuple[Source, Sequence[Sink]]:
        settings = _settings_anew(options.settings)
        source = _open(options, settings)
        try:
            sinks = crew.sinks(settings)
        except BaseException:
            source.close()
            raise
        recorder.retain(_seconds(settings.retention))
        return source, (*beside, *sinks)

    return reopen


def _settings_anew(path: Path | None) -> Settings:
    """Return the settings as they are now; the loop must not wait for whoever writes into a pipe."""
    if path is not None and path.exists() and not path.is_file():
        raise UsageError(str(path), "is no regular file", "Write the settings into a file.")
    return read_settings(path)


def _seconds(days: float | None) -> float | None:
    return days * _DAY if days is not None else None


def _unlocked(lock: JournalLock) -> list[Problem]:
    if not lock.trouble:
        return []
    return [Problem(str(lock.path), f"cannot be locked: {lock.trouble}", "Take care that no second daemon uses it.")]
