"""From a command line to a running daemon: lock, settings, source, sinks, signals, and an orderly end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from raftmon.advice.settings import Settings, read_settings
from raftmon.daemon.lock import JournalLock
from raftmon.daemon.logs import Log, LogFormat
from raftmon.daemon.service import Ended, Service, Source, signals
from raftmon.daemon.sink import Sink
from raftmon.happenings import Ledger
from raftmon.journal import default_path
from raftmon.mirrored import open_logdirs
from raftmon.remote.address import Logdir
from raftmon.slotted import dataclass

__all__ = ["Options", "run"]

BREATH: Final = 1.0
"""Seconds between two looks at what changed: a thousand runs that write each second are read in batches, and what one
of them wrote is judged less than two seconds later."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for; the settings file adds what is not given here."""

    logdirs: Sequence[Logdir]
    settings: Path | None
    rules: Path
    """Directory of the rule set."""
    journal: Path | None
    """None: the user's own."""
    log_format: LogFormat = "text"


def run(options: Options) -> None:
    """Follow logdirs until a signal ends it.

    Raises:
        RaftmonError: it cannot begin: settings or rules have defects, or another daemon has the journal.
    """
    journal = options.journal if options.journal is not None else default_path()
    with ExitStack() as stack:
        lock = JournalLock(journal)
        stack.callback(lock.release)
        settings = read_settings(options.settings)
        source = _open(options, settings)
        log = Log(sys.stderr, options.log_format)
        stack.callback(log.close, 0.2)
        sinks: list[Sink] = []
        service = Service(source, sinks, Ledger(), log, reopen=_reopener(options))
        with signals(service.reload):
            log.info("start", f"following {', '.join(map(str, options.logdirs))}; journal {journal}")
            try:
                service.run()
            except Ended:
                begun = time.monotonic()
                service.close()
                log.info("end", "ended by a signal", seconds=round(time.monotonic() - begun, 3))


def _open(options: Options, settings: Settings) -> Source:
    return open_logdirs(options.logdirs, settings, watching=True, rules=options.rules, breath=BREATH)


def _reopener(options: Options) -> Callable[[], Source]:
    return lambda: _open(options, read_settings(options.settings))
