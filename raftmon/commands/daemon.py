"""`raftmon daemon`: follow logdirs for months, with a journal, metrics, notifications and commands."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from raftmon.commands.shared import journal_option, settings_option
from raftmon.errors import UsageError
from raftmon.model import SEVERITIES
from raftmon.remote.address import Logdir, as_logdir

__all__ = ["daemon"]

_FILE: Final = click.Path(path_type=Path, dir_okay=False, exists=True)
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
    help="Directory of the rule set; else the shipped one.",
)
@journal_option
@click.option("--listen", metavar="HOST:PORT", help="Serve metrics for Prometheus there, such as 127.0.0.1:9464.")
@click.option("--listen-token", metavar="REF", help="Where the token is that the server asks for: env:NAME, file:PATH.")
@click.option("--listen-cert", type=_FILE, help="Certificate of the server, with which it speaks TLS.")
@click.option("--listen-key", type=_FILE, help="Its key, where it is not in the same file.")
@click.option("--listen-client-ca", type=_FILE, help="CA of the clients' certificates, which are then asked for.")
@click.option(
    "--notify",
    multiple=True,
    metavar="TARGET",
    help="Tell people what fires and what ended: env:NAME or file:PATH with apprise URLs, or a URL without a secret.",
)
@click.option("--notify-exec", metavar="CMD", help="Run a command with the same as JSON on its standard input.")
@click.option(
    "--notify-from",
    type=click.Choice(SEVERITIES),
    default="medium",
    show_default=True,
    help="Least severity that is told.",
)
@click.option(
    "--on-finding", multiple=True, metavar="RULE:CMD", help="Run a command when a rule (or `loss-*`) begins to fire."
)
@click.option("--dry-run", is_flag=True, help="With --on-finding: say what would be run, and run nothing.")
@click.option(
    "--cooldown",
    type=click.FloatRange(0.0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="With --on-finding: not again for the same finding of the same run within this time.",
)
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
    logdirs: tuple[Logdir, ...],
    listen_token: str | None,
    listen_cert: Path | None,
    listen_key: Path | None,
    listen_client_ca: Path | None,
    rules: Path | None,
    **asked: Any,
) -> None:
    """Follow LOGDIRs unattended: note what happens in a journal, serve metrics, notify, run commands.

    SIGTERM ends it, SIGHUP reads settings and rules anew. The log goes to stderr.
    """
    # Until it knows what to read anew, a hangup must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from raftmon.daemon.crew import Options
    from raftmon.daemon.running import run
    from raftmon.documents import SHIPPED_RULES

    _require_a_use(click.get_current_context(), asked["settings"] is not None)
    run(
        Options(
            logdirs,
            rules=rules if rules is not None else SHIPPED_RULES,
            token=listen_token,
            certificate=listen_cert,
            key=listen_key,
            client_ca=listen_client_ca,
            **asked,
        )
    )
    # All is closed and written. To take thousands of runs apart would only take time, and an end was asked for.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(0)


_USES: Final = {
    "listen_token": "listen",
    "listen_cert": "listen",
    "listen_key": "listen",
    "listen_client_ca": "listen",
    "dry_run": "on_finding",
    "cooldown": "on_finding",
}
"""Option to the one without which it means nothing; the settings may give that, too."""


def _require_a_use(context: click.Context, with_settings: bool) -> None:
    """Refuse options that would change nothing: whoever gives them believes in something that is not so."""
    for name, needed in _USES.items():
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and not context.params[needed] and not with_settings:
            option, other = (f"--{text.replace('_', '-')}" for text in (name, needed))
            raise UsageError(option, f"means nothing without {other}", f"Add {other}, or leave it out.")
