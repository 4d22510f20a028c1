"""`raftmon plan`: strategies side by side, before anything has run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from raftmon.commands.shared import journal_option, settings_option, strategy_options
from raftmon.errors import UsageError

__all__ = ["plan"]


@click.command()
@click.option("--cycles", type=click.IntRange(1, 100), default=6, show_default=True, help="How many.")
@strategy_options
@settings_option
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    metavar="CONFIG",
    help="Put the chosen schedule into a trainer's config, for `raftmon pre-cycle`.",
)
@journal_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
def plan(
    cycles: int,
    strategy: str | None,
    base_lr: float | None,
    decay: float | None,
    min_lr: float | None,
    settings: Path | None,
    write: Path | None,
    journal: Path | None,
    form: str,
) -> None:
    """Compare what the strategies mean for each cycle; with --write put the chosen one into a config."""
    from raftmon.advice.plans import compare_strategies
    from raftmon.advice.settings import StrategyKind, read_settings
    from raftmon.commands.strategies import chosen_strategy
    from raftmon.headless.document import encode
    from raftmon.headless.override import plan_document, print_plan, print_written

    known = read_settings(settings).strategy
    chosen = chosen_strategy(known, cast("StrategyKind | None", strategy), base_lr, decay, min_lr)
    base = chosen.base if chosen.base is not None else chosen.schedule.get(1)
    if base is None:
        raise UsageError("plan", "no learning rate to start from", "Give --base-lr, for example --base-lr 5e-5.")
    if chosen.kind == "manual" and not chosen.schedule:
        raise UsageError("--strategy manual", "no schedule", "Write one into the settings, and give --settings.")
    plans = compare_strategies(chosen, base, cycles)
    if form == "json":
        click.echo(encode(plan_document(plans, base)))
    else:
        print_plan(plans)
    if write is not None:
        from raftmon.advice.learning_rate import rounded
        from raftmon.journal import Journal
        from raftmon.schedule import write_schedule

        rates = {n: rounded(rate) for n, rate in enumerate(next(p.rates for p in plans if p.chosen), 1)}
        key, diff = write_schedule(write, rates, Journal(journal))
        if form == "text":
            print_written(str(write), key, diff)
