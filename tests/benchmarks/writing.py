"""Puts what was measured into the rule set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import SHIPPED_RULES
from raftmon.advice.weighing import Model, Weighing
from raftmon.model import VerdictKind
from tests.benchmarks.fitting import JUDGES, LIMITS, RIDGE, SPECIFICATIONS
from tests.benchmarks.said import Counts, Odds, scores
from tests.benchmarks.sweeps import Condition, Training


def figures_line(runs: int, *, fired: int, precision: float | None, recall: float | None, wanted: int, on: str) -> str:
    """Return the line of a rule file that says how right the rule is.

    Args:
        runs: with a known answer.
        fired: on how many of them the rule fired.
        precision: None: it never fired.
        recall: None: it never should have.
        wanted: on how many it should have fired.
        on: what the runs were.
    """
    shares = f"precision: {_number(precision)}, recall: {_number(recall)}"
    return f"  measured: {{runs: {runs}, fired: {fired}, wanted: {wanted}, {shares}, on: {on}}}"


def put(path: Path, line: str) -> None:
    """Put such a line in the place of the old one."""
    text, found = re.subn(r"^  measured: .*$", line, path.read_text(), flags=re.MULTILINE)
    if found != 1:
        raise ValueError(f"{path}: {found} lines `measured:`, expected one")
    path.write_text(text)


def write_rule(rule: Rule, counts: Counts, on: str) -> None:
    """Put a rule's figures into its file."""
    line = figures_line(
        counts.runs,
        fired=counts.fired,
        precision=counts.precision,
        recall=counts.recall,
        wanted=counts.wanted,
        on=on,
    )
    put(Path(rule.path), line)


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.2f}"


def write_weighing(weighing: Weighing, cases: Sequence[Training], odds: Mapping[Condition, Odds]) -> None:
    """Write ``rules/verdict.yaml``."""
    lines = [
        "# How the signals are weighed into the verdict; see raftmon/advice/weighing.py. Written by the benchmark",
        "# `python -m tests.benchmarks.verdicts --write`; do not edit. Logits, by standard deviations from the mean.",
        "schema: raftmon/verdict@2",
        f"origin: softmax regressions, ridge {RIDGE:g}, on several looks at each of {len(cases)} recorded trainings",
        "limits:",
        *(
            f'  {name}: {{value: {value:g}, unit: {unit}, origin: "{origin}"}}'
            for name, (value, unit, origin) in LIMITS.items()
        ),
        "models:",
    ]
    judged = [i for i, case in enumerate(cases) if case.family in JUDGES]
    for model, specification in zip(weighing.models, SPECIFICATIONS, strict=True):
        condition = specification.conditions[0]
        every = scores(cases, odds[condition])
        judges = scores([cases[i] for i in judged], odds[condition][judged])
        measured = (
            f"{len(cases)} whole runs of left-out families: balanced accuracy {every['balanced']:.2f}, opposite errors "
            f"{every['opposite']:.1%}; of six families that nothing was chosen on: {judges['balanced']:.2f}, "
            f"{judges['opposite']:.1%}"
        )
        lines += _model_lines(model, measured)
    (SHIPPED_RULES / "verdict.yaml").write_text("\n".join(lines) + "\n")


def _model_lines(model: Model, measured: str) -> list[str]:
    lines = [
        f"  - name: {model.name}",
        f"    title: {model.title}",
        f"    needs: [{', '.join(model.needs)}]",
        f'    measured: "{measured}"',
        f"    intercept: {_flow(model.intercept)}",
        "    features:",
    ]
    for feature in model.features:
        lines += [
            f"      - signal: {feature.signal}",
            f"        scale: {feature.scale}",
            f"        least: {feature.least:g}",
            f"        most: {feature.most:g}",
            f"        mean: {feature.mean:.4f}",
            f"        deviation: {feature.deviation:.4f}",
            f"        weights: {_flow(feature.weights)}",
            f"        absent: {_flow(feature.absent)}",
            f'        text: "{feature.text}"',
        ]
        lines += [f'        absent_text: "{feature.absent_text}"'] if feature.absent_text else []
    return lines


def _flow(numbers: Mapping[VerdictKind, float]) -> str:
    return "{" + ", ".join(f"{kind}: {value:g}" for kind, value in numbers.items()) + "}"
