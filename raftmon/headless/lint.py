"""Prints what `raftmon lint` found, for people and for programs (schema ``raftmon/lint@1``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raftmon.advice.interactions import Interaction
from raftmon.advice.learning_rate import format_rate
from raftmon.advice.lint import Evidence, LintReport, Remark, RunComparison
from raftmon.headless.report import SEVERITY_STYLES, make_console, print_parts
from raftmon.model import Problem
from raftmon.plain import plain
from raftmon.run_config import RunConfig

__all__ = ["SCHEMA", "lint_document", "print_lint"]

SCHEMA: Final = "raftmon/lint@1"
_SHOWN: Final = (
    ("learning rate", "learning_rate"),
    ("stage", "stage"),
    ("method", "method"),
    ("optimiser", "optimizer"),
    ("batch", "effective_batch"),
    ("steps", "max_steps"),
    ("epochs", "epochs"),
    ("warm-up", "warmup_steps"),
    ("schedule", "scheduler"),
    ("LoRA rank", "lora_rank"),
    ("alpha", "lora_alpha"),
    ("clip", "max_grad_norm"),
    ("decay", "weight_decay"),
    ("temperature", "temperature"),
)


def print_lint(reports: Sequence[LintReport], console: Console | None = None) -> None:
    """Print the reports, one block a config."""
    out = console or make_console()
    for index, report in enumerate(reports):
        print_parts(out, [*([Text()] if index else []), *_block(report)])


def lint_document(reports: Sequence[LintReport], problems: Sequence[Problem]) -> dict[str, Any]:
    """Return the reports as plain mappings and lists; a value that is not known is null."""
    return {
        "schema": SCHEMA,
        "configs": [_config_document(report) for report in reports],
        "problems": [dataclasses.asdict(problem) for problem in problems],
    }


def _block(report: LintReport) -> list[RenderableType]:
    known = [f"{words} {_value(report.config, name)}" for words, name in _SHOWN if _is_known(report.config, name)]
    lines: list[RenderableType] = [Text(plain(report.path), style="bold")]
    lines.append(_indented(Text(", ".join(known) or "nothing that raftmon knows", style="dim")))
    if report.reference is not None:
        ref = report.reference
        words = f"usual for {ref.method} {ref.stage}: {format_rate(ref.low)} to {format_rate(ref.high)}"
        lines.append(_indented(Text(f"{words} (grade {ref.grade}: {ref.source})", style="dim")))
    if report.taken:
        lines.append(_indented(Text(f"taken from the earlier run: {', '.join(report.taken)}", style="dim")))
    if report.at_most:
        lines.append(_indented(Text(plain(f"steps at most: {report.at_most}"), style="dim")))
    lines += [_indented(_remark(remark)) for remark in report.remarks]
    if not report.remarks:
        lines.append(_indented(Text("nothing to remark", style="green")))
    if report.unanswered:
        lines.append(_indented(Text(f"not judged: {_unanswered(report.unanswered)}", style="dim")))
    return [*lines, *(_comparison(report.against, report.config) if report.against is not None else [])]


def _indented(content: RenderableType) -> Padding:
    return Padding(content, (0, 0, 0, 2))


def _is_known(config: RunConfig, name: str) -> bool:
    return getattr(config, name) is not None


def _value(config: RunConfig, name: str) -> str:
    value = getattr(config, name)
    if name == "learning_rate":
        return format_rate(value)
    return f"{value:g}" if isinstance(value, float) else plain(str(value))


def _remark(remark: Remark) -> RenderableType:
    head = Text.assemble(f"{plain(remark.where)}: ", (remark.severity, SEVERITY_STYLES[remark.severity]))
    head.append(f" {remark.title}").append(f"  {remark.rule}", style="dim")
    grid = Table.grid()
    grid.add_row(head)
    grid.add_row(Padding(Text(plain(remark.text)), (0, 0, 0, 2)))
    grid.add_row(Padding(Text(f"fix: {plain(remark.fix)}", style="green"), (0, 0, 0, 2)))
    founded = f"evidence ({remark.level}, grade {remark.grade}): {_sources(remark.evidence)}"
    grid.add_row(Padding(Text(founded, style="dim"), (0, 0, 0, 2)))
    if remark.would_change:
        minds = "; ".join(entry.rstrip(".") for entry in remark.would_change)
        grid.add_row(Padding(Text(f"would change this: {minds}.", style="dim"), (0, 0, 0, 2)))
    return grid


def _sources(evidence: Sequence[Evidence]) -> str:
    """Return sources in one line, claims with the same source together."""
    claims: dict[tuple[str, str], list[str]] = {}
    for source in evidence:
        claims.setdefault((source.grade, source.ref), []).append(source.claim)
    parts = []
    for (grade, ref), ids in claims.items():
        named = ", ".join(id_ for id_ in ids if id_)
        parts.append(f"{ref} (claim {named}{f', grade {grade}' if grade else ''})" if named else ref)
    return "; ".join(parts)


def _unanswered(unanswered: Mapping[str, tuple[str, ...]]) -> str:
    """Return what was not judged, rules that want the same thing together."""
    by_missing: dict[tuple[str, ...], list[str]] = {}
    for rule, missing in unanswered.items():
        by_missing.setdefault(missing, []).append(rule)
    return "; ".join(f"{', '.join(rules)} (no {', '.join(missing)})" for missing, rules in by_missing.items())


def _comparison(against: RunComparison, config: RunConfig) -> list[RenderableType]:
    rate = against.earlier.learning_rate
    head = f"against {plain(against.earlier.run)}" + (f", which ran at {format_rate(rate)}" if rate else "")
    lines: list[RenderableType] = [_indented(Text(head, style="bold"))]
    lines += [_indented(_indented(_change(item))) for item in against.changes.found]
    if not against.changes.found:
        lines.append(_indented(_indented(Text("nothing changed that is known to move the learning rate"))))
    if against.learning_rate is not None and rate is not None:
        here = f"; this config has {format_rate(config.learning_rate)}" if config.learning_rate is not None else ""
        total = f"{format_rate(rate)} × {against.changes.factor:.3g} = {format_rate(against.learning_rate)}{here}"
        lines.append(_indented(_indented(Text(total, style="bold magenta"))))
    elif any(item.refused for item in against.changes.found):
        lines.append(_indented(_indented(Text("no total: a change with an unknown effect holds the learning rate"))))
    return lines


def _change(item: Interaction) -> Text:
    factor = "refused" if item.refused else "comment" if item.factor is None else f"× {item.factor:.3g}"
    line = Text.assemble((f"{factor}  ", "red" if item.refused else "cyan"), plain(item.text))
    line.append(f"  claims {', '.join(item.claims)}, grade {item.grade}", style="dim")
    return line


def _config_document(report: LintReport) -> dict[str, Any]:
    reference, against = report.reference, report.against
    return {
        "config": report.path,
        "known": {**dataclasses.asdict(report.config), "effective_batch": report.config.effective_batch},
        "taken_from_run": list(report.taken),
        "steps_at_most": report.at_most or None,
        "reference": dataclasses.asdict(reference) if reference is not None else None,
        "findings": [
            {
                "where": remark.where,
                "rule": remark.rule,
                "title": remark.title,
                "severity": remark.severity,
                "text": remark.text,
                "fix": remark.fix,
                "evidence_level": remark.level,
                "grade": remark.grade,
                "evidence": [dataclasses.asdict(source) for source in remark.evidence],
                "would_change": list(remark.would_change),
            }
            for remark in report.remarks
        ],
        "not_judged": {rule: list(missing) for rule, missing in report.unanswered.items()},
        "against": None if against is None else _against_document(against),
    }


def _against_document(against: RunComparison) -> dict[str, Any]:
    return {
        "run": against.earlier.run,
        "learning_rate": against.earlier.learning_rate,
        "factor": against.changes.factor,
        "suggested": against.learning_rate,
        "changes": [dataclasses.asdict(item) for item in against.changes.found],
    }
