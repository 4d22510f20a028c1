"""The command line: parse, call, print, exit code. Whatever a command needs is imported when it runs.

Exit codes: 0 done; 1 a finding at or above ``--fail-on`` fires; 2 usage, settings or rule error; 3 nothing to read.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from raftmon import __version__
from raftmon.errors import DocumentErrors, NothingToRead, RaftmonError
from raftmon.model import SEVERITIES, Problem
from raftmon.plain import plain_lines

if TYPE_CHECKING:
    from raftmon.advice.lint import Earlier
    from raftmon.model import Snapshot
    from raftmon.monitor import Monitor

__all__ = ["main"]

INTERNAL_ERROR: Final = 70
"""EX_SOFTWARE of sysexits.h: a defect of raftmon itself."""

_logdirs = click.argument(
    "logdirs", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False), metavar="LOGDIR..."
)
_settings = click.option(
    "--settings", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (raftmon.yaml)."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="raftmon %(version)s")
def cli() -> None:
    """Watches training runs and says whether the learning rate is right, and why.

    Start with `raftmon demo`, then point `raftmon watch` at the directory that your trainer logs to.
    """
    # OpenBLAS starts threads that spin at import; nothing here is large enough for them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@cli.command()
@_logdirs
@_settings
def watch(logdirs: tuple[Path, ...], settings: Path | None) -> None:
    """Show runs live in the terminal, advice first."""
    from raftmon.advice.settings import read_settings
    from raftmon.tui.app import RaftmonApp

    app = RaftmonApp(_monitor(logdirs, settings, watching=True))
    app.set_keymap(read_settings(settings).keymap)
    sys.exit(app.run() or 0)


@cli.command()
@_logdirs
@_settings
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
@click.option("--follow", is_flag=True, help="Go on: a line (or a JSON document a line) for each change.")
@click.option("--fail-on", type=click.Choice(SEVERITIES), help="Exit with 1 when a finding this grave fires.")
@click.option("--run", "glob", metavar="GLOB", help="Only runs whose name matches, for example 'cycle_*'.")
def advise(
    logdirs: tuple[Path, ...], settings: Path | None, form: str, follow: bool, fail_on: str | None, glob: str | None
) -> None:
    """Judge every run below LOGDIR, say why, and what to do."""
    from raftmon.headless.follow import worst_firing

    monitor = _monitor(logdirs, settings, watching=follow)
    if follow:
        snapshot = _follow(monitor, form, fail_on, glob)
    else:
        snapshot = _only(_read_all(monitor), glob)
        _require_something(snapshot, logdirs, glob)
        _print(snapshot, form)
        if snapshot.problems and not snapshot.campaigns and all(run.state == "empty" for run in snapshot.runs):
            sys.exit(NothingToRead.exit_code)
    worst = worst_firing(snapshot)
    if fail_on is not None and worst is not None and SEVERITIES.index(worst) >= SEVERITIES.index(fail_on):
        sys.exit(1)


@cli.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CONFIG...")
@click.option("--logdir", type=click.Path(path_type=Path), help="Compare with the newest run below this directory.")
@_settings
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
def lint(configs: tuple[Path, ...], logdir: Path | None, settings: Path | None, form: str) -> None:
    """Say what a trainer's CONFIG (YAML or JSON) means for the learning rate, before anything has run."""
    from raftmon.advice.claims import load_claims
    from raftmon.advice.lint import lint_config
    from raftmon.advice.rulebook import load_rules
    from raftmon.advice.settings import read_settings
    from raftmon.headless.document import encode
    from raftmon.headless.lint import lint_document, print_lint

    problems: list[Problem] = []
    rules = load_rules(overrides=read_settings(settings).rules)
    claims = load_claims({rule.id for rule in load_rules()})
    earlier = _earlier(logdir, settings) if logdir is not None else None
    found = [lint_config(path, rules, claims, problems, earlier) for path in configs]
    reports = [report for report in found if report is not None]
    if form == "json":
        click.echo(encode(lint_document(reports, problems)))
    else:
        print_lint(reports)
    if problems:
        raise DocumentErrors(tuple(problems))
    if not any(report.config.is_known for report in reports):
        remedy = "Give the file that holds the learning rate; CONTRIBUTING.md says how to add the keys of a trainer."
        raise NothingToRead(_names(configs), "no value under a key of any known trainer", remedy)


@cli.command()
@click.option("--headless", is_flag=True, help="Print the story as text instead of opening the TUI.")
@click.option("--train", is_flag=True, help="Really train the campaign on this machine (needs the torch extra).")
@click.option("--seconds", type=click.FloatRange(1.0, 3600.0), default=30.0, help="Length of the replay.")
def demo(headless: bool, train: bool, seconds: float) -> None:
    """Replay a recorded RAFT campaign, live: curves move, a finding fires, a learning rate is proposed."""
    from raftmon.demo.show import show

    sys.exit(show(headless=headless, train=train, seconds=seconds))


@cli.group()
def rules() -> None:
    """Look at the rule set and test it."""


@rules.command("list")
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown"]), default="text", help="markdown: rules/README.md."
)
def list_rules(form: str) -> None:
    """List every rule: id, severity, status, title."""
    from raftmon.headless.rules import catalogue_markdown, print_catalogue

    if form == "markdown":
        click.echo(catalogue_markdown(), nl=False)
    else:
        print_catalogue()


@rules.command()
@click.argument("rule_id", metavar="ID")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
def show(rule_id: str, form: str) -> None:
    """Explain one rule: what it means, when it fires, what else it could be, how right it was.

    ID `verdict` explains how the verdict on the learning rate is weighed.
    """
    from raftmon.headless.rules import print_explanation

    print_explanation(rule_id, form)


@rules.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
def check(path: Path | None) -> None:
    """Check rule files (the shipped ones by default): every defect with file, line and column."""
    from raftmon.advice.rulebook import SHIPPED_RULES, load_rules

    found = load_rules(path or SHIPPED_RULES)
    click.echo(f"{len(found)} rule{'s' if len(found) != 1 else ''}, no defects")


@rules.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
def test(path: Path | None) -> None:
    """Run the test cases beside the rule files."""
    from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
    from raftmon.advice.ruletests import run_test

    found = load_rules(path or SHIPPED_RULES)
    cases = [(rule, case) for rule in found for case in rule.tests]
    failures = [failure for rule, case in cases for failure in run_test(case, rule)]
    for failure in failures:
        click.echo(failure)
    click.echo(f"{len(found)} rules, {len(cases)} cases, {len(failures)} failed")
    if failures:
        sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a person never sees a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows ASCII alone gets question marks for what it cannot show, not a crash.
            stream.reconfigure(errors="replace")
    try:
        # click's own `main` turns a closed pipe into exit code 1.
        with cli.make_context("raftmon", list(sys.argv[1:] if arguments is None else arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
        sys.exit(0)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except RaftmonError as error:
        click.echo(f"raftmon: {plain_lines(str(error))}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has gone, as under `| head`: nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("RAFTMON_DEBUG"):
            raise
        remedy = "Please report it with the output of the same command under RAFTMON_DEBUG=1."
        click.echo(f"raftmon: a defect of raftmon: {type(error).__name__}: {error}\n  {remedy}", err=True)
        sys.exit(INTERNAL_ERROR)


def _monitor(logdirs: Sequence[Path], settings: Path | None, *, watching: bool) -> Monitor:
    from raftmon.advice.settings import read_settings
    from raftmon.monitor import Monitor
    from raftmon.runs.watch import Watcher

    absolute = [Path(os.path.abspath(path.expanduser())) for path in logdirs]  # noqa: PTH100 - it also takes `..` out
    watcher = Watcher(absolute) if watching else None
    return Monitor(absolute, settings=read_settings(settings), watcher=watcher)


def _read_all(monitor: Monitor) -> Snapshot:
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return snapshot


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


def _require_something(snapshot: Snapshot, logdirs: Sequence[Path], glob: str | None) -> None:
    if snapshot.runs or snapshot.campaigns:
        return
    where = _names(logdirs)
    if any(path.is_file() for path in logdirs):
        raise NothingToRead(where, "a file, not a directory", "Give the directory that the file lies in.")
    listed = next((problem for problem in snapshot.problems if "cannot be listed" in problem.what), None)
    if listed is not None:
        raise NothingToRead(listed.where, listed.what, listed.remedy)
    if not any(path.is_dir() for path in logdirs):
        raise NothingToRead(where, "no such directory", "Give the directory that your trainer logs to.")
    if glob is not None:
        raise NothingToRead(where, f"no run matches `{glob}`", "Leave --run out to see the names of all runs.")
    what = "no event files (names with `tfevents`) at any depth"
    raise NothingToRead(where, what, "Give the logging directory, or turn TensorBoard logging on in the trainer.")


def _print(snapshot: Snapshot, form: str) -> None:
    if form == "json":
        from raftmon.headless.document import encode, snapshot_document

        click.echo(encode(snapshot_document(snapshot)))
        return
    from raftmon.headless.report import make_console, print_report

    print_report(snapshot, make_console())


def _follow(monitor: Monitor, form: str, fail_on: str | None, glob: str | None) -> Snapshot:
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


def _earlier(logdir: Path, settings: Path | None) -> Earlier:
    """Return the newest run below a directory."""
    from raftmon.advice.lint import earlier_run

    snapshot = _read_all(_monitor([logdir], settings, watching=False))
    _require_something(snapshot, [logdir], None)
    earlier = earlier_run(snapshot.runs, [cycle for campaign in snapshot.campaigns for cycle in campaign.cycles])
    if earlier is None:
        raise NothingToRead(str(logdir), "no run with points", "Leave --logdir out until the first run has begun.")
    return earlier


def _names(logdirs: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in logdirs)


if __name__ == "__main__":
    main()
