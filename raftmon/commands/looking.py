"""`raftmon watch`, `advise` and `demo`: look at runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftmon.commands.shared import (
    journal_option,
    logdirs_argument,
    look_options,
    open_monitor,
    read_all,
    require_something,
    settings_option,
    web_options,
)
from raftmon.errors import NothingToRead, UsageError
from raftmon.grounds import STATUSES
from raftmon.model import SEVERITIES
from raftmon.plain import plain
from raftmon.remote.address import Address, Logdir

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftmon.mirrored import Mirrored
    from raftmon.model import Snapshot
    from raftmon.monitor import Monitor
    from raftmon.tui.changer import Changer
    from raftmon.tui.look import Look

__all__ = ["advise", "demo", "watch"]


@click.command()
@logdirs_argument
@settings_option
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="CONFIG",
    help="The trainer's config of the next cycle, with which its rate begins.",
)
@click.option(
    "--apply", is_flag=True, help="Let key `a` write the next cycle's learning rate into CONFIG, when you confirm it."
)
@click.option("--authority", type=click.Choice(list(STATUSES)), help="With --apply: as for `raftmon pre-cycle`.")
@journal_option
@web_options
@look_options
def watch(
    logdirs: tuple[Logdir, ...],
    settings: Path | None,
    config: Path | None,
    apply: bool,
    authority: str | None,
    journal: Path | None,
    web: bool,
    listen: str | None,
    look: Look,
) -> None:
    """Show runs live in the terminal, advice first; with --apply, write the next cycle's learning rate."""
    from raftmon.tui.app import RaftmonApp
    from raftmon.tui.mutes import JournalMutes
    from raftmon.tui.source import LateSource
    from raftmon.tui.state import StateFile, default_file

    if apply and config is None:
        raise UsageError("--apply", "there is no config to write into", "Add --config CONFIG.")
    changer = _changer(logdirs, settings, config if apply else None, authority, journal)
    keymap = _keymap(settings)
    if web:
        from raftmon.commands.serving import serve_watch

        serve_watch(click.get_current_context(), logdirs, settings, config, listen, writes=apply)
        return
    if listen is not None:
        raise UsageError("--listen", "nothing is served without --web", "Add --web, or leave it out.")
    source: Monitor | Mirrored | LateSource = LateSource(
        lambda: open_monitor(logdirs, settings, watching=True, config=config, journal=journal, usable=False)
    )
    if any(isinstance(logdir, Address) for logdir in logdirs):
        # What is said while a server is asked, and the signals that a mirror needs, are for the main thread.
        source = open_monitor(logdirs, settings, watching=True, config=config, journal=journal, usable=False)
    # What is armed is in sight.
    title = f"raftmon --apply {plain(config.name)}" if changer is not None and config is not None else "raftmon"
    state = StateFile(default_file(logdirs))
    app = RaftmonApp(source, title=title, look=look, state=state, changer=changer, mutes=JournalMutes(journal))
    app.set_keymap(keymap)
    sys.exit(app.run_in_terminal())


@click.command()
@logdirs_argument
@settings_option
@click.option(
    "--config", type=click.Path(path_type=Path), help="The trainer's config, with which the next cycle's rate begins."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
@click.option("--follow", is_flag=True, help="Go on: a line (or a JSON document a line) for each change.")
@click.option("--fail-on", type=click.Choice(SEVERITIES), help="Exit with 1 when a finding this grave fires.")
@click.option("--run", "glob", metavar="GLOB", help="Only runs whose name matches, for example 'cycle_*'.")
def advise(
    logdirs: tuple[Logdir, ...],
    settings: Path | None,
    config: Path | None,
    form: str,
    follow: bool,
    fail_on: str | None,
    glob: str | None,
) -> None:
    """Judge every run below LOGDIR, say why, and what to do."""
    from raftmon.headless.follow import worst_firing

    monitor = open_monitor(logdirs, settings, watching=follow, config=config)
    if follow:
        snapshot = _follow(monitor, form, fail_on, glob)
    else:
        snapshot = _only(read_all(monitor), glob)
        require_something(snapshot, logdirs, glob)
        _print(snapshot, form)
        if snapshot.problems and not snapshot.campaigns and all(run.state == "empty" for run in snapshot.runs):
            sys.exit(NothingToRead.exit_code)
    worst = worst_firing(snapshot)
    if fail_on is not None and worst is not None and SEVERITIES.index(worst) >= SEVERITIES.index(fail_on):
        sys.exit(1)


@click.command()
@click.option("--headless", is_flag=True, help="Print the story as text instead of opening the TUI.")
@click.option("--train", is_flag=True, help="Really train the campaign on this machine (needs the torch extra).")
@click.option("--seconds", type=click.FloatRange(1.0, 3600.0), default=30.0, help="Length of the replay.")
def demo(headless: bool, train: bool, seconds: float) -> None:
    """Replay a recorded RAFT campaign, live: curves move, a finding fires, a learning rate is proposed."""
    from raftmon.demo.show import show

    sys.exit(show(headless=headless, train=train, seconds=seconds))


def _keymap(settings: Path | None) -> Mapping[str, str]:
    """Return the keys that settings change; without any, what knows all keys is not imported."""
    from raftmon.advice.settings import read_settings

    if not read_settings(settings).keymap:
        return {}
    from raftmon.tui.keymap import read_keymap

    return read_keymap(settings)


def _changer(
    logdirs: tuple[Logdir, ...], settings: Path | None, config: Path | None, authority: str | None, journal: Path | None
) -> Changer | None:
    """Return what may write; None without --apply."""
    from typing import cast

    from raftmon.advice.settings import read_settings
    from raftmon.grounds import Status
    from raftmon.tui.changer import ConfigChanger

    if config is None:
        if authority is not None:
            remedy = "Add --apply and --config, or leave it out."
            raise UsageError("--authority", "nothing is written without --apply", remedy)
        return None
    if len(logdirs) != 1:
        raise UsageError("--apply", f"{len(logdirs)} logdirs, and a config is of one campaign", "Give one LOGDIR.")
    status = cast(Status, authority or "stable")
    return ConfigChanger(config, logdirs[0], read_settings(settings), status, journal)


def _only(snapshot: Snapshot, glob: str | None) -> Snapshot:
    """Leave out the runs (and campaigns without a run left) that a glob does not match."""
    import dataclasses
    from fnmatch import fnmatchcase

    if glob is None:
        return snapshot
    runs = tuple(run for run in snapshot.runs if fnmatchcase(run.run, glob))
    names = {run.campaign for run in runs}
    campaigns = tuple(campaign for campaign in snapshot.campaigns if campaign.name in names)
    return dataclasses.replace(snapshot, runs=runs, campaigns=campaigns)


def _print(snapshot: Snapshot, form: str) -> None:
    if form == "json":
        from raftmon.headless.document import encode, snapshot_document

        click.echo(encode(snapshot_document(snapshot)))
        return
    from raftmon.headless.report import make_console, print_report

    print_report(snapshot, make_console())


def _follow(monitor: Monitor | Mirrored, form: str, fail_on: str | None, glob: str | None) -> Snapshot:
    """Print changes until a finding ends it, or the user does."""
    from raftmon.headless.document import encode, snapshot_document
    from raftmon.headless.follow import changes, follow, worst_firing

    def is_over(snapshot: Snapshot) -> bool:
        worst = worst_firing(_only(snapshot, glob))
        return fail_on is not None and worst is not None and SEVERITIES.index(worst) >= SEVERITIES.index(fail_on)

    before: Snapshot | None = None
    try:
        for snapshot in follow(monitor, is_over):
            now = _only(snapshot, glob)
            lines = [encode(snapshot_document(now))] if form == "json" else list(changes(before, now))
            for line in lines:
                print(line, flush=True)
            before = now
    except KeyboardInterrupt:
        pass
    finally:
        monitor.close()
    return before if before is not None else monitor.poll()
