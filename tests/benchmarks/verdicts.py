"""How right is the verdict on trainings whose right answer is known?

The recordings in ``tests/runs`` are real trainings of six families at 1/100 to 100 times their best learning rate. Each
is looked at whole and cut short, densely and sparsely logged, with and without gradient norms. All figures are of
families that the coefficients were not fitted on (leave one family out).

usage: python -m tests.benchmarks.verdicts [--write]

``--write`` fits on all families and puts the coefficients into ``rules/verdict.yaml``, the figures into the rule files.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raftmon.advice.judging import RunJudge
from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import KINDS, Feature, Limits, Weighing
from raftmon.model import RunView, VerdictKind
from raftmon.runs.roles import RoleTable
from tests.benchmarks.looks import CONDITIONS, Condition, Recording, recordings

RIDGE: Final = 8.0
"""Strength of the pull of all weights to 0; one of two values tried, for the calibration of what is said above 0.75."""
FEATURES: Final = (
    Feature("loss.drawup_peak", "log1p", 0.0, 20.0, "largest rise back {value:.1f} times the progress"),
    Feature(
        "loss.half_time",
        "linear",
        0.0,
        1.0,
        "half of the progress made in {value:.0%} of the run",
        absent_text="no clear progress",
    ),
    Feature("loss.noise", "log", 0.01, 10.0, "noise of a point {value:.0%} of the progress"),
    Feature("loss.progress", "linear", -1.0, 1.0, "loss down by {value:.0%}"),
    Feature("gradient.trend", "log", 0.05, 20.0, "gradient norm {value:.2g} times its first"),
    Feature("gradient.dispersion", "linear", 0.0, 2.0, "gradient norm spread by {value:.0%}"),
)
"""The six scale-free features of the study that the rules cite (section 4.2)."""

LIMITS: Final = {
    "points": (30, "points", "what most of the signals need"),
    "speak_above": (0.7, "probability", "right in 9 of 10 verdicts on left-out families; 0.6 was right in 8"),
    "most_confident": (0.95, "probability", "84 trainings cannot show more"),
    "diverged": (0.8, "probability", "until the rule is measured"),
    "early": (0.5, "share of the run", "at 35 % of it, 3 of 18 right runs of left-out families still looked too low"),
}
"""Name to value, unit and origin: when the verdict speaks."""
SURE: Final = 0.8
"""A second level of confidence for the tables."""

SPEAK_ABOVE_TRIED: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
"""What the nested check may choose `speak_above` from."""
RIGHT_ENOUGH: Final = 0.85
"""The nested check takes the lowest of these that is right in this share of what is said of whole runs."""

Looks = Mapping[Condition, Sequence[Mapping[str, float | None]]]
Array = NDArray[np.float64]


def fit(features: Sequence[Feature], looks: Sequence[Mapping[str, float | None]], kinds: Sequence[str]) -> Weighing:
    """Fit a ridge-penalised softmax regression in which each kind counts the same."""
    fitted, columns = [], []
    for feature in features:
        scaled = [feature.scaled(look.get(feature.signal)) for look in looks]
        known = [value for value in scaled if value is not None]
        mean, deviation = float(np.mean(known)), float(np.std(known)) + 1e-9
        columns.append([0.0 if value is None else (value - mean) / deviation for value in scaled])
        columns.append([float(value is None) for value in scaled])
        fitted.append(dataclasses.replace(feature, mean=mean, deviation=deviation))
    design = np.column_stack([*columns, np.ones(len(looks))])
    target = np.array([[kind == wanted for wanted in KINDS] for kind in kinds], dtype=float)
    weights = _softmax_regression(design, target)
    return Weighing(
        tuple(
            dataclasses.replace(feature, weights=_by_kind(weights[2 * i]), absent=_by_kind(weights[2 * i + 1]))
            for i, feature in enumerate(fitted)
        ),
        _by_kind(weights[-1]),
        Limits(**{name: value for name, (value, _, _) in LIMITS.items()}),
    )


def _softmax_regression(design: Array, target: Array) -> Array:
    """Minimise by plain gradient descent: the problem is convex and small."""
    balance = (target / target.sum(axis=0)).sum(axis=1) * len(target) / target.shape[1]
    pull = np.full((design.shape[1], 1), RIDGE / len(design))
    pull[-1] = 0.0
    weights = np.zeros((design.shape[1], target.shape[1]))
    for _ in range(4000):
        logits = design @ weights
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (odds / odds.sum(axis=1, keepdims=True) - target) * balance[:, None]
        weights -= 0.3 * (design.T @ error / len(design) + pull * weights)
    return weights


def _by_kind(row: Array) -> dict[VerdictKind, float]:
    return {kind: round(float(value), 4) for kind, value in zip(KINDS, row, strict=True)}


def fit_families(cases: Sequence[Recording], looks: Looks, families: Sequence[str]) -> Weighing:
    """Fit on all looks at the runs of some families."""
    chosen = [i for i, case in enumerate(cases) if case.family in families]
    seen = [looks[condition][i] for condition in CONDITIONS for i in chosen]
    return fit(FEATURES, seen, [cases[i].kind for _ in CONDITIONS for i in chosen])


def weighings_without(cases: Sequence[Recording], looks: Looks) -> dict[str, Weighing]:
    """Return, for each family, coefficients that were fitted on the others."""
    families = list(dict.fromkeys(case.family for case in cases))
    return {left: fit_families(cases, looks, [f for f in families if f != left]) for left in families}


def accuracy_line(name: str, said: Sequence[tuple[str, float]], kinds: Sequence[str]) -> str:
    """Return a row: balanced accuracy when forced to speak, opposite errors, and what is said with confidence."""
    right = np.array([kind == really for (kind, _), really in zip(said, kinds, strict=True)])
    sure = np.array([confidence for _, confidence in said])
    balanced = np.mean([right[[really == kind for really in kinds]].mean() for kind in KINDS])
    opposite = np.mean(
        [{kind, really} == {"too_low", "too_high"} for (kind, _), really in zip(said, kinds, strict=True)]
    )
    cells = [name, f"{balanced:.2f}", f"{opposite:.1%}"]
    for limit in (LIMITS["speak_above"][0], SURE):
        spoken = sure >= limit
        cells.append(f"{right[spoken].mean():.0%} of {spoken.mean():.0%}" if spoken.any() else "–")
    return f"| {' | '.join(cells)} |"


def weighing_table(cases: Sequence[Recording], looks: Looks, weighings: Mapping[str, Weighing]) -> str:
    """Return the accuracy of the weighing alone, on left-out families, by condition."""
    speak_above = LIMITS["speak_above"][0]
    lines = [
        f"| seen | balanced accuracy | opposite errors | right at >= {speak_above:g} | right at >= {SURE:g} |",
        "|---|---|---|---|---|",
    ]
    for condition in CONDITIONS:
        said = []
        for case, look in zip(cases, looks[condition], strict=True):
            odds = weighings[case.family].probabilities(look)
            kind = max(KINDS, key=lambda k: odds[k])
            said.append((kind, odds[kind]))
        lines.append(accuracy_line(str(condition), said, [case.kind for case in cases]))
    return "\n".join(lines)


def judge(cases: Sequence[Recording], weighings: Mapping[str, Weighing], rules: Sequence[Rule]) -> list[RunView]:
    """Judge each whole run as the monitor does, with coefficients from the other families."""
    roles = RoleTable.load(SHIPPED_RULES, [])
    views = []
    for case in cases:
        run = case.open()
        judging = RunJudge(run, rules, weighings[case.family], roles)
        judging.follow(run.poll(1 << 30), in_campaign=False)
        views.append(judging.view("finished", None, None))
    return views


def verdict_table(cases: Sequence[Recording], views: Sequence[RunView]) -> str:
    """Return what raftmon says, by the distance from the best learning rate."""
    lines = ["| × best | runs | too low | right | too high | undecided |", "|---|---|---|---|---|---|"]
    said: dict[float, Counter[str]] = {}
    for case, view in zip(cases, views, strict=True):
        said.setdefault(case.factor, Counter())[view.verdict.learning_rate] += 1
    for factor, counts in sorted(said.items()):
        cells = [f"{factor:.2g}", str(counts.total()), *(str(counts[k]) for k in (*KINDS, "undecided"))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spoken_line(cases: Sequence[Recording], views: Sequence[RunView]) -> str:
    """Return how often raftmon speaks, is right, and says the opposite of what is right."""
    spoken = [
        (c.kind, v.verdict.learning_rate) for c, v in zip(cases, views, strict=True) if v.verdict.learning_rate in KINDS
    ]
    right = sum(really == kind for really, kind in spoken)
    opposite = sum({really, kind} == {"too_low", "too_high"} for really, kind in spoken)
    return f"speaks on {len(spoken)} of {len(cases)} runs, right on {right}, the opposite of right on {opposite}"


def nested_weighings(
    cases: Sequence[Recording], looks: Looks, weighings: Mapping[str, Weighing]
) -> dict[str, Weighing]:
    """Choose `speak_above`, too, without the family that it judges.

    For each family, the other five are judged by coefficients fitted on four of them; the lowest limit at which that is
    right often enough is the family's.
    """
    nested = {}
    for outer, weighing in weighings.items():
        said: list[tuple[bool, float]] = []
        for inner in weighings.keys() - {outer}:
            fitted = fit_families(cases, looks, [f for f in weighings if f not in (outer, inner)])
            for case, look in zip(cases, looks[CONDITIONS[0]], strict=True):
                if case.family == inner:
                    odds = fitted.probabilities(look)
                    kind = max(KINDS, key=lambda k: odds[k])
                    said.append((kind == case.kind, odds[kind]))
        limit = next((x for x in SPEAK_ABOVE_TRIED if _right_above(said, x) >= RIGHT_ENOUGH), SPEAK_ABOVE_TRIED[-1])
        nested[outer] = dataclasses.replace(weighing, limits=dataclasses.replace(weighing.limits, speak_above=limit))
    return nested


def _right_above(said: Sequence[tuple[bool, float]], limit: float) -> float:
    spoken = [right for right, confidence in said if confidence >= limit]
    return float(np.mean(spoken)) if spoken else 0.0


def rule_figures(rule: Rule, cases: Sequence[Recording], views: Sequence[RunView]) -> tuple[float | None, float | None]:
    """Return how often a firing rule pointed to the right kind, and how many runs of that kind it fired on."""
    wanted = {"lr_too_high": "too_high", "lr_too_low": "too_low", "lr_ok": "ok"}.get(rule.points_to)
    fired = [c.kind for c, v in zip(cases, views, strict=True) if any(f.rule == rule.id for f in v.firing)]
    of_kind = sum(case.kind == wanted for case in cases)
    right = sum(kind == wanted for kind in fired)
    return (right / len(fired) if fired else None, right / of_kind if of_kind else None)


def write_rule(rule: Rule, runs: int, precision: float | None, recall: float | None) -> None:
    """Put a rule's figures into its file."""
    figures = f"precision: {_number(precision)}, recall: {_number(recall)}"
    line = f"  measured: {{runs: {runs}, {figures}, on: recorded trainings}}"
    path = Path(rule.path)
    path.write_text(re.sub(r"^  measured: .*$", line, path.read_text(), flags=re.MULTILINE))


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.2f}"


def write_weighing(weighing: Weighing, runs: int, measured: str) -> None:
    """Write ``rules/verdict.yaml``."""

    def flow(numbers: Mapping[VerdictKind, float]) -> str:
        return "{" + ", ".join(f"{kind}: {value:g}" for kind, value in numbers.items()) + "}"

    lines = [
        "# How the signals are weighed into the verdict; see raftmon/advice/weighing.py. Written by the benchmark",
        "# `python -m tests.benchmarks.verdicts --write`; do not edit. Logits, by standard deviations from the mean.",
        "schema: raftmon/verdict@1",
        f"origin: softmax regression, ridge {RIDGE:g}, on {len(CONDITIONS)} looks at each of {runs} recorded trainings",
        f'measured: "{measured}"',
        "limits:",
        *(
            f'  {name}: {{value: {v:g}, unit: {unit}, origin: "{origin}"}}'
            for name, (v, unit, origin) in LIMITS.items()
        ),
        f"intercept: {flow(weighing.intercept)}",
        "features:",
    ]
    for feature in weighing.features:
        lines += [
            f"  - signal: {feature.signal}",
            f"    scale: {feature.scale}",
            f"    least: {feature.least:g}",
            f"    most: {feature.most:g}",
            f"    mean: {feature.mean:.4f}",
            f"    deviation: {feature.deviation:.4f}",
            f"    weights: {flow(feature.weights)}",
            f"    absent: {flow(feature.absent)}",
            f'    text: "{feature.text}"',
        ]
        lines += [f'    absent_text: "{feature.absent_text}"'] if feature.absent_text else []
    (SHIPPED_RULES / "verdict.yaml").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Print the tables; write coefficients and figures if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    cases = recordings()
    looks = {condition: [case.readings(condition) for case in cases] for condition in CONDITIONS}
    weighings = weighings_without(cases, looks)
    table = weighing_table(cases, looks, weighings)
    print(f"{len(cases)} runs, each judged by coefficients from the other families\n\n{table}\n")
    rules = [rule for rule in load_rules() if rule.subject == "run"]
    views = judge(cases, weighings, rules)
    print(f"what raftmon says of the whole runs\n\n{verdict_table(cases, views)}\n\n{spoken_line(cases, views)}\n")
    nested = nested_weighings(cases, looks, weighings)
    limits = ", ".join(f"{family} {weighing.limits.speak_above:g}" for family, weighing in nested.items())
    print(f"with `speak_above` chosen on the other families, too ({limits}):")
    print(f"{spoken_line(cases, judge(cases, nested, rules))}\n")
    print("| rule | precision | recall |\n|---|---|---|")
    for rule in rules:
        if rule.points_to in ("lr_too_high", "lr_too_low", "lr_ok"):
            precision, recall = rule_figures(rule, cases, views)
            print(f"| {rule.id} | {_number(precision)} | {_number(recall)} |")
            if arguments.write:
                write_rule(rule, len(cases), precision, recall)
    if arguments.write:
        families = list(weighings)
        whole = table.splitlines()[2].split("|")
        measured = f"left-out families, whole runs: accuracy {whole[2].strip()}, opposite errors {whole[3].strip()}"
        write_weighing(fit_families(cases, looks, families), len(cases), measured)


if __name__ == "__main__":
    main()
