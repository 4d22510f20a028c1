"""How right is the verdict on trainings whose right answer is known?

The recordings in ``tests/runs`` are real trainings of six families at 1/100 to 100 times their best learning rate. The
weights of the rules are counted on three families; the tables, and the figures in the rule files, are those of the
other three.

usage: python -m tests.benchmarks.verdicts [--write]

``--write`` puts the weights (from the families of `CHOSEN`) and the figures (from those of `JUDGED`) into the rules.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import load_rules
from raftmon.model import FindingState, RunView
from raftmon.monitor import Monitor

RUNS: Final = Path(__file__).parents[1] / "runs"
CHOSEN: Final = ("mlp", "charlm", "autoencoder")
JUDGED: Final = ("lora", "gru", "conv")
KINDS: Final = ("too_low", "ok", "too_high")
KIND_OF: Final = {"low": "too_low", "ok": "ok", "high": "too_high", "diverged": "too_high"}
LONG_AGO: Final = 4e9
"""A clock at which every recording has ended."""


@dataclass(frozen=True)
class Case:
    """A recorded run with its right answer."""

    family: str
    name: str
    kind: str
    """One of `KINDS`."""
    factor: float
    """Learning rate over the best one."""
    view: RunView

    def state_of(self, rule: str) -> FindingState:
        """What a rule says at the end of the run."""
        return next((f.state for f in self.view.findings if f.rule == rule), "unknown")


def judge(directory: Path) -> dict[str, RunView]:
    """Judge every run below a directory."""
    monitor = Monitor([directory], clock=lambda: LONG_AGO)
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return {run.run: run for run in snapshot.runs}


def read_cases(families: Sequence[str]) -> list[Case]:
    """Return the labelled runs of some families, controls left out."""
    views = judge(RUNS)
    return [
        Case(entry["family"], entry["name"], KIND_OF[entry["label"]], entry["factor"], views[key])
        for entry in json.loads((RUNS / "labels.json").read_text())
        if entry["family"] in families and (key := f"{entry['family']}/{entry['name']}") in views
    ]


def ratios(rule: str, cases: Sequence[Case], fires: bool) -> dict[str, float]:
    """Count how much oftener a rule fires (or is silent) in runs of a kind than in the mean of the kinds.

    One imagined run of each kind on either side keeps a rule that was never wrong from being certain.
    """
    shares = {}
    for kind in KINDS:
        states = [case.state_of(rule) for case in cases if case.kind == kind]
        known = [state for state in states if state != "unknown"]
        hits = sum((state == "firing") == fires for state in known)
        shares[kind] = (hits + 1) / (len(known) + 2)
    mean = sum(shares.values()) / len(KINDS)
    return {kind: share / mean for kind, share in shares.items()}


def precision_and_recall(rule: Rule, cases: Sequence[Case]) -> tuple[float | None, float | None]:
    """Return how often a firing rule pointed to the right kind, and how many runs of that kind it fired on."""
    wanted = {"lr_too_high": "too_high", "lr_too_low": "too_low", "lr_ok": "ok"}.get(rule.points_to)
    if wanted is None:
        return None, None
    fired = [case for case in cases if case.state_of(rule.id) == "firing"]
    of_kind = [case for case in cases if case.kind == wanted]
    right = sum(case.kind == wanted for case in fired)
    return (right / len(fired) if fired else None, right / len(of_kind) if of_kind else None)


def table(cases: Sequence[Case]) -> str:
    """Return the confusion table with its figures."""
    lines = [
        f"families {', '.join(dict.fromkeys(case.family for case in cases))}",
        "| really | runs | too low | ok | too high | undecided |",
        "|---|---|---|---|---|---|",
    ]
    recalls = []
    for kind in KINDS:
        said = Counter(case.view.verdict.learning_rate for case in cases if case.kind == kind)
        lines.append(f"| {kind} | {said.total()} | {' | '.join(str(said[k]) for k in (*KINDS, 'undecided'))} |")
        recalls.append(said[kind] / said.total() if said.total() else 0.0)
    spoken = [case for case in cases if case.view.verdict.learning_rate != "undecided"]
    right = sum(case.view.verdict.learning_rate == case.kind for case in spoken)
    opposite = sum({case.view.verdict.learning_rate, case.kind} == {"too_low", "too_high"} for case in cases)
    lines += [
        f"balanced accuracy {sum(recalls) / 3:.2f} with undecided counted as wrong (0.33: says the same of all)",
        f"speaks on {len(spoken) / len(cases):.0%} of the runs, right on {right / max(1, len(spoken)):.0%} of those",
        f"opposite errors {opposite} of {len(cases)}",
    ]
    return "\n".join(lines)


def by_distance(cases: Iterable[Case]) -> str:
    """Return the verdicts by distance from the best learning rate."""
    lines = ["| × best | " + " | ".join((*KINDS, "undecided")) + " |", "|---|---|---|---|---|"]
    factors: dict[float, Counter[str]] = {}
    for case in cases:
        factors.setdefault(case.factor, Counter())[case.view.verdict.learning_rate] += 1
    for factor, said in sorted(factors.items()):
        lines.append(f"| {factor:.2g} | {' | '.join(str(said[kind]) for kind in (*KINDS, 'undecided'))} |")
    return "\n".join(lines)


def write_rule(rule: Rule, chosen: Sequence[Case], judged: Sequence[Case]) -> None:
    """Put weights and figures into a rule file."""
    path = Path(rule.path)
    text = path.read_text()
    for word, fires in (("firing", True), ("silent", False)):
        numbers = ", ".join(f"{kind}: {ratio:.2f}" for kind, ratio in ratios(rule.id, chosen, fires).items())
        text = re.sub(rf"^  {word}: .*$", f"  {word}: {{{numbers}}}", text, flags=re.MULTILINE)
    precision, recall = precision_and_recall(rule, judged)
    figures = ", ".join(
        f"{name}: {'null' if value is None else f'{value:.2f}'}"
        for name, value in (("precision", precision), ("recall", recall))
    )
    on = f"recorded trainings ({', '.join(JUDGED)})"
    text = re.sub(
        r"^  measured: .*$", f'  measured: {{runs: {len(judged)}, {figures}, on: "{on}"}}', text, flags=re.MULTILINE
    )
    path.write_text(text)


def main() -> None:
    """Print the tables; write the figures into the rule files if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    weighing = [rule for rule in load_rules() if rule.firing_weights is not None]
    if arguments.write:
        for rule in weighing:
            write_rule(rule, read_cases(CHOSEN), read_cases(JUDGED))
        weighing = [rule for rule in load_rules() if rule.firing_weights is not None]
    for families in (CHOSEN, JUDGED):
        cases = read_cases(families)
        print(f"{table(cases)}\n\n{by_distance(cases)}\n")
    print("| rule | precision | recall | firing: low / ok / high |\n|---|---|---|---|")
    for rule in weighing:
        figures = [f"{value:.2f}" if value is not None else "–" for value in precision_and_recall(rule, cases)]
        weights = rule.firing_weights
        assert weights is not None
        print(f"| {rule.id} | {' | '.join(figures)} | {weights.too_low:g} / {weights.ok:g} / {weights.too_high:g} |")


if __name__ == "__main__":
    main()
