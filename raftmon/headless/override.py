"""Prints what the hook between two cycles decided, and plans, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raftmon.advice.learning_rate import format_rate
from raftmon.advice.plans import PlannedRates
from raftmon.headless.report import make_console, print_parts
from raftmon.override import Override, Undone
from raftmon.plain import plain
from raftmon.trainers.rewrite import rate_text

__all__ = ["plan_document", "print_override", "print_plan", "print_undone", "print_written"]

PLAN_SCHEMA: Final = "raftmon/plan@1"


def print_override(override: Override, asked: bool, console: Console | None = None) -> None:
    """Print what the next cycle should do, why, and what was written or would be.

    Args:
        override: as the hook returns it.
        asked: whether writing was asked for.
        console: where to; None: stdout.
    """
    print_parts(console or make_console(), list(_lines(override, asked)))


def print_undone(undone: Undone, console: Console | None = None) -> None:
    """Print what was taken back."""
    cycle = f" of cycle {undone.cycle}" if undone.cycle is not None else ""
    head = Text(f"{plain(undone.config)}: the override{cycle} is taken back", style="bold")
    print_parts(console or make_console(), [head, *_diff(undone.diff)])


def print_plan(plans: Sequence[PlannedRates], console: Console | None = None) -> None:
    """Print strategies side by side, one row each."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("strategy")
    for cycle in range(1, len(plans[0].rates) + 1):
        table.add_column(f"cycle {cycle}", justify="right")
    for plan in plans:
        style = "bold magenta" if plan.chosen else ""
        table.add_row(plan.name, *(format_rate(rate) for rate in plan.rates), style=style)
    print_parts(console or make_console(), [table])


def print_written(path: str, key: str, diff: str, console: Console | None = None) -> None:
    """Print a schedule that was put into a config."""
    what = "holds the schedule already" if not diff else "written; `raftmon undo` takes it back"
    head = Text(f"{plain(path)}: {key} {what}", style="bold green")
    print_parts(console or make_console(), [Text(), head, *_diff(diff)])


def plan_document(plans: Sequence[PlannedRates], base: float) -> dict[str, Any]:
    """Return plans as plain mappings and lists, schema ``raftmon/plan@1``."""
    return {
        "schema": PLAN_SCHEMA,
        "base_learning_rate": base,
        "strategies": [
            {
                "name": plan.name,
                "kind": plan.strategy.kind,
                "decay": plan.strategy.decay if plan.strategy.kind == "exponential" else None,
                "min": plan.strategy.least if plan.strategy.kind == "exponential" else None,
                "chosen": plan.chosen,
                "cycles": [{"cycle": n, "learning_rate": rate} for n, rate in enumerate(plan.rates, 1)],
            }
            for plan in plans
        ],
    }


def _lines(override: Override, asked: bool) -> Iterator[RenderableType]:
    yield _head(override)
    if override.text:
        yield _indented(Text(plain(override.text)))
    for step in override.because:
        yield _indented(Text(plain(step.text), style="cyan"))
    if override.written is not None and override.learning_rate is not None and _differs(override):
        words = (
            f"to write: {rate_text(override.written)}, of which the trainer makes {format_rate(override.learning_rate)}"
        )
        yield _indented(Text(words, style="cyan"))
    for step in override.held_back:
        yield _indented(Text(f"not heeded: {plain(step.text)}", style="yellow"))
    yield from _diff(override.diff)
    for remark in override.remarks:
        yield _indented(Text(plain(remark), style="dim"))
    yield from _outcome(override, asked)


def _head(override: Override) -> Text:
    cycle = f"cycle {override.cycle}" if override.cycle is not None else "next cycle"
    head = Text.assemble((f"{cycle}  ", "bold"))
    if override.stop:
        head.append("stop", style="bold red")
    elif override.learning_rate is not None:
        head.append(f"learning rate {format_rate(override.learning_rate)}", style="bold magenta")
    else:
        head.append("no learning rate", style="bold")
    if override.roll_back_to is not None and not override.stop:
        start = f"checkpoint of cycle {override.roll_back_to}" if override.roll_back_to else "base model"
        head.append(f", from the {start}", style="bold")
    where = f"  {override.config}" + (f": {override.key}" if override.key is not None else "")
    head.append(plain(where), style="dim")
    return head


def _differs(override: Override) -> bool:
    return abs((override.written or 0.0) / (override.learning_rate or 1.0) - 1.0) > 1e-3


def _outcome(override: Override, asked: bool) -> Iterator[RenderableType]:
    if override.refused is not None:
        yield Text(f"{'refused' if asked else 'would be refused'}: {plain(override.refused)}", style="bold red")
        if override.remedy:
            yield _indented(Text(plain(override.remedy)))
    elif override.stop:
        yield Text("nothing is written: the campaign should end here", style="bold")
    elif not override.changed:
        yield Text("the config is right as it is", style="green")
    elif override.applied:
        yield Text("written; `raftmon undo` takes it back", style="bold green")
    else:
        yield Text("nothing is written yet: add --apply", style="bold")


def _diff(diff: str) -> Iterator[RenderableType]:
    styles = {"+": "green", "-": "red", "@": "dim"}
    for line in diff.split("\n")[2:-1]:
        yield _indented(Text(plain(line.rstrip("\r").expandtabs()), style=styles.get(line[:1], ""), overflow="fold"))


def _indented(content: RenderableType) -> Padding:
    return Padding(content, (0, 0, 0, 2))
