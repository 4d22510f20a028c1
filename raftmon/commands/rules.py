"""`raftmon rules`: look at the rule set and test it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["rules"]


@click.group()
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
