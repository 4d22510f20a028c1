"""`raftmon history`: what the journal holds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from raftmon.commands.shared import journal_option
from raftmon.errors import NothingToRead
from raftmon.remote.address import Logdir, as_logdir

__all__ = ["KINDS", "history"]

KINDS = ("finding", "verdict", "advice", "run", "problem", "action", "daemon", "override", "mute")
"""As `raftmon.timeline.LINE_KINDS`, which a help text need not import."""


@click.command()
@click.argument("logdir", required=False, type=as_logdir)
@journal_option
@click.option("--since", metavar="TIME", help="From then on: 2h, 3d, 2026-11-22, 2026-11-22T14:30, @SECONDS.")
@click.option("--until", metavar="TIME", help="Only what was before.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these lines; may be repeated.")
@click.option("--format", "form", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True)
def history(
    logdir: Logdir | None,
    journal: Path | None,
    since: str | None,
    until: str | None,
    kinds: tuple[str, ...],
    form: str,
) -> None:
    """Print what was found, advised, written into configs and muted, in the order of time.

    A daemon (`raftmon daemon`) notes what it finds; `pre-cycle --apply`, `plan --write` and the mutes of `watch` are
    noted without one. With a LOGDIR only what is about it, or runs and campaigns below it.

    Exit codes: 0 done, 2 wrong usage, 3 no journal, 4 the journal cannot be used, and why.
    """
    from raftmon.headless.history import FORMATS
    from raftmon.history import History
    from raftmon.journal import place_of
    from raftmon.moments import read_moment

    now = time.time()
    first = read_moment(since, now, "--since") if since is not None else None
    end = read_moment(until, now, "--until") if until is not None else None
    noted = History(journal)
    if not noted.path.exists():
        remedy = "Start `raftmon daemon LOGDIR`, which keeps one, or give another with --journal PATH."
        raise NothingToRead(str(noted.path), "no journal", remedy)
    place = place_of(logdir.expanduser() if isinstance(logdir, Path) else logdir) if logdir is not None else None
    count = FORMATS[form](noted.lines(place, first, end, kinds), sys.stdout, place)
    if not count and form == "text":
        click.echo("raftmon: the journal has no such line", err=True)
