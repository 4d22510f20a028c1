"""`raftmon lint`: static advice on a trainer's config."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftmon.commands.shared import names_of, open_monitor, read_all, require_something, settings_option
from raftmon.errors import DocumentErrors, NothingToRead
from raftmon.model import SEVERITIES, Problem
from raftmon.remote.address import Logdir, as_logdir

if TYPE_CHECKING:
    from raftmon.advice.lint import Earlier

__all__ = ["lint"]


@click.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CONFIG...")
@click.option("--logdir", type=as_logdir, metavar="DIR", help="Compare with the newest run below this directory.")
@settings_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
@click.option("--fail-on", type=click.Choice(SEVERITIES), help="Exit with 1 on a remark this grave, or graver.")
def lint(
    configs: tuple[Path, ...], logdir: Logdir | None, settings: Path | None, form: str, fail_on: str | None
) -> None:
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
        raise NothingToRead(names_of(configs), "no value under a key of any known trainer", remedy)
    severities = [remark.severity for report in reports for remark in report.remarks]
    if fail_on is not None and any(SEVERITIES.index(found) >= SEVERITIES.index(fail_on) for found in severities):
        sys.exit(1)


def _earlier(logdir: Logdir, settings: Path | None) -> Earlier:
    """Return the newest run below a directory."""
    from raftmon.advice.lint import earlier_run

    snapshot = read_all(open_monitor([logdir], settings, watching=False))
    require_something(snapshot, [logdir], None)
    earlier = earlier_run(snapshot.runs, [cycle for campaign in snapshot.campaigns for cycle in campaign.cycles])
    if earlier is None:
        raise NothingToRead(str(logdir), "no run with points", "Leave --logdir out until the first run has begun.")
    return earlier
