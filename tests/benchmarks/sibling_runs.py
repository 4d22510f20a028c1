"""How right are the rules that compare a run with the others of its sweep?

Every recorded training is compared with those of its setting and seed at other learning rates: with all of them, with
two and with one drawn at random; whole and cut short, densely and sparsely logged, with and without evaluation. The
thresholds of the rules are those of the labels (5 % of the progress) and of the grid (half a decade), not fitted.

usage: python -m tests.benchmarks.sibling_runs [--write]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from raftmon.advice.engine import RuleEngine
from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import load_rules
from raftmon.advice.weighing import KINDS
from raftmon.model import VerdictKind
from raftmon.signals.siblings import SiblingSignals, Standing, standing
from tests.benchmarks.said import WANTED, Counts
from tests.benchmarks.sweeps import LOSS_ALONE, Condition, Training, trainings
from tests.benchmarks.writing import write_rule

CONDITIONS: Final = (
    Condition(),
    Condition(share=0.5),
    Condition(share=0.25),
    Condition(every=10),
    Condition(without=LOSS_ALONE),
)
JUDGED_ON: Final = (Condition(), Condition(without=LOSS_ALONE))
"""What the rules' figures are counted over, with all siblings and with two: the labels are made of the held-out loss at
the end, so that half of the looks do without it."""
SIBLINGS: Final = (None, 2, 1)
"""How many: all, or so many drawn at random."""
SAYS: Final = "sweep-"
"""What the ids of the rules begin with."""


def standings(cases: Sequence[Training], condition: Condition) -> list[Standing | None]:
    """Return what each training shows its siblings under a condition."""
    shown = []
    for case in cases:
        series = case.series(condition)
        shown.append(standing(case.peak, series["loss"], series.get("eval_loss")))
    return shown


def fired(
    cases: Sequence[Training], condition: Condition, siblings: int | None, rules: Sequence[Rule]
) -> list[frozenset[str]]:
    """Return the rules that fire on each training."""
    generator = np.random.default_rng(0)
    shown = standings(cases, condition)
    groups: dict[tuple[str, int], list[int]] = {}
    for place, case in enumerate(cases):
        groups.setdefault((case.setting, case.seed), []).append(place)
    found = []
    for place, case in enumerate(cases):
        others = [other for other in groups[case.setting, case.seed] if other != place]
        if siblings is not None:
            others = generator.choice(others, siblings, replace=False).tolist()
        known = [standing for other in others if (standing := shown[other]) is not None]
        readings = {"run.ended": float(condition.share == 1.0), **SiblingSignals.readings(shown[place], known)}
        findings = RuleEngine(rules).findings(readings, 1, 1, {})
        found.append(frozenset(finding.rule for finding in findings if finding.state == "firing"))
    return found


def table(cases: Sequence[Training], rules: Sequence[Rule]) -> Iterator[str]:
    """Yield what the rules say under each condition."""
    by_id = {rule.id: rule for rule in rules}
    yield "| compared | siblings | says something | right | opposite | low, right, high: caught |"
    yield "|---|---|---|---|---|---|"
    for condition in CONDITIONS:
        for siblings in SIBLINGS:
            said = [_verdict(rule_ids, by_id) for rule_ids in fired(cases, condition, siblings, rules)]
            yield f"| {condition} | {siblings or 'all'} | {_cells(cases, said)} |"


def _verdict(rule_ids: frozenset[str], by_id: Mapping[str, Rule]) -> VerdictKind:
    kinds = {WANTED[by_id[rule].points_to] for rule in rule_ids}
    return kinds.pop() if len(kinds) == 1 else "undecided"


def _cells(cases: Sequence[Training], said: Sequence[VerdictKind]) -> str:
    pairs = Counter((case.kind, kind) for case, kind in zip(cases, said, strict=True))
    spoken = sum(count for (_, kind), count in pairs.items() if kind != "undecided")
    right = sum(pairs[kind, kind] for kind in KINDS)
    opposite = pairs["too_low", "too_high"] + pairs["too_high", "too_low"]
    totals = Counter(case.kind for case in cases)
    caught = ", ".join(f"{pairs[kind, kind] / totals[kind]:.0%}" for kind in KINDS)
    return f"{spoken / len(cases):.0%} | {right / max(1, spoken):.1%} | {opposite} | {caught}"


def counts(rule: Rule, cases: Sequence[Training], found: Sequence[frozenset[str]]) -> Counts:
    """Count how often a rule fired, rightly, and should have."""
    wanted = WANTED[rule.points_to]
    kinds = [case.kind for case in cases]
    hits = [kind for kind, rule_ids in zip(kinds, found, strict=True) if rule.id in rule_ids]
    return Counts(len(cases), len(hits), sum(kind == wanted for kind in hits), sum(kind == wanted for kind in kinds))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table; write the figures into the rule files if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    cases = trainings()
    rules = [rule for rule in load_rules() if rule.id.startswith(SAYS)]
    print("\n".join(table(cases, rules)))
    looks = [fired(cases, condition, siblings, rules) for condition in JUDGED_ON for siblings in (None, 2)]
    print("\n| rule | fired | precision | recall |\n|---|---|---|---|")
    for rule in rules:
        each = [counts(rule, cases, found) for found in looks]
        sums = (sum(getattr(one, name) for one in each) for name in ("runs", "fired", "right", "wanted"))
        counted = Counts(*sums)
        print(f"| {rule.id} | {counted.fired} of {counted.runs} | {counted.precision:.3f} | {counted.recall:.3f} |")
        if arguments.write:
            write_rule(rule, counted, "looks at recorded sweeps (half by the training loss alone)")


if __name__ == "__main__":
    main()
