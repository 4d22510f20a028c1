"""`raftmon daemon`: follow logdirs for months, with a journal, metrics, notifications and commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from raftmon.commands.shared import journal_option, settings_option
from raftmon.documents import SHIPPED_RULES
from raftmon.remote.address import Logdir, as_logdir

if TYPE_CHECKING:
    from raftmon.daemon.logs import LogFormat

__all__ = ["daemon"]

_DEPLOY: Final = Path(__file__).resolve().parent.parent / "deploy"
FILES: Final = {
    "systemd": "systemd/raftmon.service",
    "prometheus-rules": "prometheus/raftmon.rules.yml",
    "prometheus-scrape": "prometheus/scrape.yml",
    "alertmanager": "alertmanager/alertmanager.yml",
    "grafana": "grafana/raftmon.json",
}
"""What `--print` prints: files that were shipped for others to read."""


def _print(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None and not context.resilient_parsing:
        click.echo((_DEPLOY / FILES[name]).read_text(), nl=False)
        context.exit()


@click.command()
@click.argument("logdirs", nargs=-1, required=True, type=as_logdir, metavar="LOGDIR...")
@settings_option
@click.option(
    "--rules",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=SHIPPED_RULES,
    show_default="the shipped ones",
    help="Directory of the rule set.",
)
@journal_option
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
@click.option(
    "--print",
    type=click.Choice(list(FILES)),
    is_eager=True,
    expose_value=False,
    callback=_print,
    help="Print a file for systemd, Prometheus, Alertmanager or Grafana, and end.",
)
def daemon(
    logdirs: tuple[Logdir, ...], settings: Path | None, rules: Path, journal: Path | None, log_format: LogFormat
) -> None:
    """Follow LOGDIRs unattended: note what happens in a journal, serve metrics, notify, run commands.

    SIGTERM ends it, SIGHUP reads settings and rules anew. The log goes to stderr.
    """
    from raftmon.daemon.running import Options, run

    run(Options(logdirs, settings, rules, journal, log_format))
