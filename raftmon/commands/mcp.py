"""`raftmon mcp`: read-only tools for agents, over stdin and stdout."""

from __future__ import annotations

import heapq
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raftmon.commands.shared import journal_option, logdirs_argument, settings_option
from raftmon.errors import NothingToRead, UsageError
from raftmon.remote.address import Address, Logdir, as_logdir

if TYPE_CHECKING:
    from raftmon.advice.settings import Settings
    from raftmon.mcp.asked import NextCycle, Tool
    from raftmon.mcp.looking import Looker
    from raftmon.mcp.server import Handler
    from raftmon.mirrored import Mirrored
    from raftmon.monitor import Monitor
    from raftmon.override import Override

__all__ = ["mcp"]


@click.command()
@logdirs_argument
@click.option(
    "--config",
    "configs",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="TRAINER.yaml",
    help="Offer the dry run of the next cycle's learning rate for this config; may be given again.",
)
@settings_option
@journal_option
def mcp(logdirs: tuple[Logdir, ...], configs: tuple[Path, ...], settings: Path | None, journal: Path | None) -> None:
    """Serve agents: read-only tools of the Model Context Protocol over stdin and stdout.

    Agents can ask for the runs in LOGDIR..., for the grounds of a verdict, for what happened when, and for what
    pre-cycle would write. They reach nothing that is not named here, and can change nothing.
    """
    from raftmon.advice.settings import read_settings
    from raftmon.headless.document import campaign_document, rule_document, run_document
    from raftmon.mcp.answers import Answers, Encoders
    from raftmon.mcp.looking import Looker
    from raftmon.mcp.server import require_mcp, serve, server_of
    from raftmon.mcp.tools import EXPLAIN_RUN, HISTORY, LIST_RUNS, NEXT_CYCLE

    require_mcp()
    known = read_settings(settings)
    for config in configs:
        if not config.is_file():
            raise UsageError(str(config), "no such file", "Give the trainer's config, or leave --config out.")
    places = {str(logdir): logdir for logdir in logdirs}
    files = {str(config): config for config in configs}
    looker = Looker(partial(_open, logdirs, known))
    happened = partial(_happened, places, journal)
    dry_run = partial(_dry_run, places, files, known, journal)
    encoders = Encoders(run_document, campaign_document, rule_document)
    answers = Answers(looker.snapshot, encoders, tuple(files), tuple(places), happened, dry_run)
    tools: dict[Tool, Handler] = {
        LIST_RUNS: answers.list_runs,
        EXPLAIN_RUN: answers.explain_run,
        HISTORY: answers.history,
    }
    if files:
        tools[NEXT_CYCLE] = answers.next_cycle
    _end_on_signals(looker, remote=any(isinstance(logdir, Address) for logdir in logdirs))
    looker.start()
    try:
        serve(server_of(tools))
    finally:
        looker.close()


def _end_on_signals(looker: Looker, *, remote: bool) -> None:
    """End when told to, although a thread waits for what a client says next, which nothing can interrupt.

    Args:
        looker: what looks at the logdirs.
        remote: whether a mirror on this machine has to be deleted first.
    """

    def end(number: int, frame: object) -> None:  # noqa: ARG001 - a handler's
        if remote:
            looker.close()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def _open(logdirs: tuple[Logdir, ...], settings: Settings) -> Monitor | Mirrored:
    from raftmon.mirrored import open_logdirs

    return open_logdirs(logdirs, settings, watching=True)


def _happened(
    logdirs: Mapping[str, Logdir], journal: Path | None, paths: Sequence[str], since: str | None, until: str | None
) -> Iterator[dict[str, Any]]:
    """Yield what the journal holds of logdirs, or of a run or campaign below one, the oldest first."""
    from raftmon.headless.history import event_document
    from raftmon.history import History
    from raftmon.journal import place_of
    from raftmon.moments import read_moment
    from raftmon.timeline import lies_at

    now, noted = time.time(), History(journal)
    first = read_moment(since, now, "since") if since is not None else None
    end = read_moment(until, now, "until") if until is not None else None
    if not noted.path.exists():
        raise NothingToRead(
            str(noted.path), "no journal", "`raftmon daemon LOGDIR` keeps one; nothing is known before."
        )
    known = (logdirs.get(path) or as_logdir(path) for path in paths)
    places = {place_of(way.expanduser() if isinstance(way, Path) else way) for way in known}
    # One of two logdirs may lie in the other.
    outer = [place for place in places if not any(place != other and lies_at(place, other) for other in places)]
    lines = heapq.merge(*(noted.lines(place, first, end) for place in outer), key=attrgetter("at"))
    return map(event_document, lines)


def _dry_run(
    places: dict[str, Logdir],
    files: dict[str, Path],
    settings: Settings,
    journal: Path | None,
    config: str,
    logdir: str,
    asked: NextCycle,
) -> Override:
    from raftmon.hook import pre_cycle

    file, place = files[config], places[logdir]
    return pre_cycle(file, place, asked.cycle, False, settings=settings, authority=asked.authority, journal=journal)
