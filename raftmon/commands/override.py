"""`raftmon pre-cycle` and `undo`: between two cycles, and back."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftmon.commands.shared import end_orderly, journal_option, settings_option, strategy_options
from raftmon.errors import Refused, UsageError
from raftmon.grounds import STATUSES
from raftmon.plain import plain_lines
from raftmon.remote.address import Logdir, as_logdir

if TYPE_CHECKING:
    from raftmon.advice.settings import StrategyKind
    from raftmon.override import Override

__all__ = ["pre_cycle", "undo"]


@click.command("pre-cycle")
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")
@click.option("--logdir", type=as_logdir, metavar="DIR", required=True, help="Directory of the campaign's runs.")
@click.option("--cycle", type=click.IntRange(1, 9_999), help="Number of the cycle that comes; else found by itself.")
@click.option("--apply", is_flag=True, help="Write the learning rate into CONFIG; `raftmon undo` takes it back.")
@click.option(
    "--authority",
    type=click.Choice(list(STATUSES)),
    default="stable",
    show_default=True,
    help="Least status of a rule that may move the number.",
)
@click.option("--key", metavar="A.B.C", help="Key of the learning rate; else found by the file's own keys.")
@settings_option
@strategy_options
@journal_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "value", "flag"]),
    default="text",
    help="value: the bare number; flag: the trainer's own command-line override.",
)
def pre_cycle(
    config: Path,
    logdir: Logdir,
    cycle: int | None,
    apply: bool,
    authority: str,
    key: str | None,
    settings: Path | None,
    strategy: str | None,
    base_lr: float | None,
    decay: float | None,
    min_lr: float | None,
    journal: Path | None,
    form: str,
) -> None:
    """Work out the next cycle's learning rate for a trainer's CONFIG, and write it there with --apply.

    Exit codes: 0 done, 2 wrong usage or settings, 3 no campaign below --logdir, 4 not written, and why.
    """
    from typing import cast

    from raftmon.advice.settings import read_settings
    from raftmon.commands.strategies import chosen_strategy
    from raftmon.grounds import Status
    from raftmon.hook import pre_cycle as hook

    if key is not None and not key.strip("."):
        raise UsageError(f"--key '{key}'", "no key", "Give a dotted path, for example optimizer.lr.")
    known = read_settings(settings)
    kind = cast("StrategyKind | None", strategy)
    known = replace(known, strategy=chosen_strategy(known.strategy, kind, base_lr, decay, min_lr))
    end_orderly([logdir])
    override = hook(
        config, logdir, cycle, apply, settings=known, key=key, authority=cast(Status, authority), journal=journal
    )
    _print(override, apply, form)
    if override.refused is not None and (apply or form in ("text", "json")):
        sys.exit(Refused.exit_code)


@click.command()
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")
@journal_option
def undo(config: Path, journal: Path | None) -> None:
    """Put back what the last override changed in CONFIG; refused if it was edited since."""
    from raftmon.headless.override import print_undone
    from raftmon.hook import undo as hook

    print_undone(hook(config, journal))


def _print(override: Override, asked: bool, form: str) -> None:
    if form == "json":
        from raftmon.headless.document import encode
        from raftmon.override import override_document

        click.echo(encode(override_document(override)))
    elif form == "text":
        from raftmon.headless.override import print_override

        print_override(override, asked)
    else:
        # On a stop nothing is printed: a loop that needs a number ends there.
        if override.stop:
            click.echo(f"raftmon: {plain_lines(override.text)}", err=True)
        else:
            click.echo(plain_lines(_bare(override, form)))
        if override.refused is not None:
            told = plain_lines(f"raftmon: not written: {override.refused}\n  {override.remedy}")
            click.echo(told, err=True)


def _bare(override: Override, form: str) -> str:
    """Return the number, or the flag, alone."""
    from raftmon.trainers.rewrite import rate_text

    if override.learning_rate is None:
        raise Refused(override.config, "no learning rate is known", override.remedy or "Give --base-lr.")
    if form == "value":
        return rate_text(override.learning_rate)
    if override.flag is None:
        whose = f"{override.trainer} has" if override.trainer else "the trainer is not known, or it has"
        raise UsageError("--format flag", f"{whose} no command-line flag for it", "Use --format value.")
    return override.flag
