"""What several commands share: options, and the reading of logdirs."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

from raftmon.errors import NothingToRead, UsageError
from raftmon.plain import plain
from raftmon.remote.address import Address, Logdir, as_logdir

if TYPE_CHECKING:
    from raftmon.mirrored import Mirrored
    from raftmon.model import Snapshot
    from raftmon.monitor import Monitor

__all__ = [
    "WEB_ADDRESS",
    "end_orderly",
    "journal_option",
    "logdirs_argument",
    "look_options",
    "names_of",
    "open_monitor",
    "read_all",
    "require_something",
    "settings_option",
    "strategy_options",
    "web_options",
]

P = ParamSpec("P")
R = TypeVar("R")


logdirs_argument = click.argument("logdirs", nargs=-1, required=True, type=as_logdir, metavar="LOGDIR...")
settings_option = click.option(
    "--settings", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (raftmon.yaml)."
)

journal_option = click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Journal of what happened, overrides and mutes; else the user's own.",
)

WEB_ADDRESS: Final = "127.0.0.1:8765"
"""Where browsers are served, unless told."""


def strategy_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add the flags of a strategy to a command: --strategy, --base-lr, --decay, --min-lr."""
    kinds = click.Choice(["constant", "exponential", "manual"])
    for option in (
        click.option("--min-lr", type=float, help="Floor of an exponential strategy."),
        click.option("--decay", type=float, help="Factor per cycle of an exponential strategy, for example 0.85."),
        click.option("--base-lr", type=float, help="Learning rate of cycle 1."),
        click.option("--strategy", type=kinds, help="How the rate goes from cycle to cycle; else as the settings say."),
    ):
        command = option(command)
    return command


def web_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add the flags of a server for browsers to a command: --web, --listen."""
    at = f"With --web: where; else {WEB_ADDRESS}, this machine alone. Port 0 is any free one."
    for option in (
        click.option("--listen", metavar="HOST:PORT", help=at),
        click.option("--web", is_flag=True, help="Show it in a browser, at an address that is printed (raftmon[web])."),
    ):
        command = option(command)
    return command


def open_monitor(
    logdirs: Sequence[Logdir],
    settings: Path | None,
    *,
    watching: bool,
    config: Path | None = None,
    journal: Path | None = None,
    usable: bool = True,
) -> Monitor | Mirrored:
    """Return a monitor of logdirs; of remote ones it has fetched what there is, unless it is `watching`.

    Args:
        logdirs: directories that hold runs, or URLs of some.
        settings: the user's settings file.
        watching: whether the kernel tells of changes.
        config: of the trainer, where the next cycle's rate is to begin with what it says.
        journal: where overrides of the config are noted; None: the user's own.
        usable: whether a config that cannot be used is an error; else it is told when it is used.
    """
    from raftmon.advice.settings import read_settings
    from raftmon.mirrored import open_logdirs

    known, coming = read_settings(settings), None
    if config is not None:
        from raftmon.coming import next_run_anew, open_config, with_schedule
        from raftmon.journal import Journal

        notes = Journal(journal)
        file = open_config(config, known.config_key, notes)
        if file.trouble is not None and usable:
            raise UsageError(file.trouble.where, file.trouble.what, file.trouble.remedy)
        known, coming = with_schedule(known, file), next_run_anew(config, known.config_key, notes)
    end_orderly(logdirs)
    monitor = open_logdirs(logdirs, known, watching=watching, coming=coming, tell=tell_progress)
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(monitor.close)
    return monitor


def end_orderly(logdirs: Iterable[Logdir]) -> None:
    """End by an exception when told to terminate, where a mirror on this machine has to be deleted first."""
    if any(isinstance(logdir, Address) for logdir in logdirs):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def tell_progress(text: str) -> None:
    """Say on the last line of a terminal how far something is; nothing where nobody looks."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{plain(text)}\r", err=True, nl=False)


def read_all(monitor: Monitor | Mirrored) -> Snapshot:
    """Poll until all files are read to their ends."""
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return snapshot


def require_something(snapshot: Snapshot, logdirs: Sequence[Logdir], glob: str | None) -> None:
    """Raise `NothingToRead` with the reason where nothing was found."""
    if snapshot.runs or snapshot.campaigns:
        return
    where = names_of(logdirs)
    local = [logdir for logdir in logdirs if isinstance(logdir, Path)]
    if any(path.is_file() for path in local):
        raise NothingToRead(where, "a file, not a directory", "Give the directory that the file lies in.")
    listed = next((problem for problem in snapshot.problems if "cannot be listed" in problem.what), None)
    if listed is not None:
        raise NothingToRead(listed.where, listed.what, listed.remedy)
    if len(local) == len(logdirs) and not any(path.is_dir() for path in local):
        raise NothingToRead(where, "no such directory", "Give the directory that your trainer logs to.")
    if glob is not None:
        raise NothingToRead(where, f"no run matches `{glob}`", "Leave --run out to see the names of all runs.")
    what = "no event files (names with `tfevents`) at any depth"
    raise NothingToRead(where, what, "Give the logging directory, or turn TensorBoard logging on in the trainer.")


def names_of(logdirs: Sequence[Logdir]) -> str:
    """Return paths, and URLs without their secrets, in one line."""
    return ", ".join(str(path) for path in logdirs)


def look_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the flags of a terminal's looks to a command, which gets them as one `Look`: --theme, --ascii, --quiet."""

    @click.option("--theme", metavar="NAME", help="Colours: raftmon-dark, raftmon-light, ansi-dark, nord...")
    @click.option("--ascii", is_flag=True, help="Print ASCII only, for poor terminals and fonts.")
    @click.option("--quiet", is_flag=True, help="No notices and no bell when a finding fires or ends.")
    @functools.wraps(command)
    def with_look(*arguments: object, theme: str | None, ascii: bool, quiet: bool, **options: object) -> R:  # noqa: A002
        from raftmon.tui.look import Look, theme_names

        if theme is not None and theme not in theme_names():
            names = ", ".join(theme_names())
            raise click.BadParameter(f"{theme!r} is none; there are {names}", param_hint="'--theme'")
        return command(*arguments, look=Look(theme, ascii, quiet), **options)

    return with_look
