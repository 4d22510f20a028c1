"""Prints the rule set: the catalogue, and one rule with all that is known about it."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raftmon.advice.rule import All, Any, Comparison, Condition, Rule, Weights
from raftmon.advice.rulebook import load_rules
from raftmon.errors import UsageError
from raftmon.headless.report import make_console, print_parts
from raftmon.signals.registry import SIGNALS

__all__ = ["print_catalogue", "print_rule"]

_POINTS_TO = {
    "lr_too_high": "LR too high",
    "lr_too_low": "LR too low",
    "lr_ok": "LR right",
    "schedule": "the schedule",
    "data": "the data or the logging",
    "collapse": "a collapse",
    "health": "the run's health",
}


def print_catalogue(console: Console | None = None) -> None:
    """Print one line a rule."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("rule", "severity", "status", "title"):
        table.add_column(title, no_wrap=title != "title", overflow="fold")
    for rule in load_rules():
        table.add_row(rule.id, rule.severity, rule.status, rule.title)
    print_parts(console or make_console(), [table])


def print_rule(rule_id: str, console: Console | None = None) -> None:
    """Print everything about one rule.

    Raises:
        UsageError: if there is no such rule.
    """
    known = {rule.id: rule for rule in load_rules()}
    if rule_id not in known:
        raise UsageError(f"rule `{rule_id}`", "there is no such rule", f"Rules: {', '.join(known)}.")
    rule = known[rule_id]
    head = Text.assemble((rule.title, "bold"), (f"  {rule.id}", "dim"))
    facts = [_POINTS_TO[rule.points_to], f"severity {rule.severity}", f"status {rule.status}"]
    about = Text("points to " + ", ".join(facts), style="dim")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, content in _details(rule):
        grid.add_row(label, content)
    print_parts(console or make_console(), [head, about, Text(), Padding(Text(rule.description), 0), Text(), grid])


def _details(rule: Rule) -> list[tuple[str, RenderableType]]:
    details: list[tuple[str, RenderableType]] = [("when", Text("\n".join(_lines(rule.when))))]
    details.append(("for", Text(f"{rule.hold}, then until it has not held for {rule.keep}")))
    signals = dict.fromkeys(comparison.signal for comparison in rule.when.comparisons())
    details.append(("signals", Text("\n".join(f"{name}: {SIGNALS[name].description}" for name in signals))))
    parameters = [f"{n} = {p.value:g} {p.unit}".rstrip() + f" ({p.origin})" for n, p in rule.parameters.items()]
    details.append(("numbers", Text("\n".join(parameters))))
    details.append(("advice", Text(rule.text)))
    if rule.multiply is not None:
        details.append(("", Text(f"learning rate × {rule.multiply:g}")))
    details.append(("else", Text("\n".join(rule.false_positives) or "no false positive known")))
    details.append(("evidence", Text(f"{rule.evidence_level}; " + "; ".join(ref for _, ref in rule.sources))))
    claims = ", ".join(claim for claim, _ in rule.sources if claim)
    if claims:
        details.append(("claims", Text(claims)))
    measured = rule.measured
    figures = (
        f"{measured.runs} runs, precision {_share(measured.precision)}, recall {_share(measured.recall)}"
        if measured.runs
        else "not measured by raftmon yet"
    )
    details.append(("measured", Text(figures)))
    if rule.firing_weights is not None:
        weights = (
            f"firing {_weights(rule.firing_weights)}; silent {_weights(rule.silent_weights)} ({rule.weights_origin})"
        )
        details.append(("weighs", Text(weights)))
    return details


def _lines(condition: Condition, indent: str = "") -> list[str]:
    if isinstance(condition, Comparison):
        word, clear = ("above", "clears below") if condition.above else ("below", "clears above")
        hysteresis = f" ({clear} {condition.clear:g})" if condition.clear != condition.limit else ""
        return [f"{indent}{condition.signal} {word} {condition.limit:g}{hysteresis}"]
    kind = {All: "all of", Any: "any of"}[type(condition)]
    return [f"{indent}{kind}", *(line for part in condition.parts for line in _lines(part, indent + "  "))]


def _weights(weights: Weights) -> str:
    return f"low ×{weights.too_low:g}, right ×{weights.ok:g}, high ×{weights.too_high:g}"


def _share(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else "–"
