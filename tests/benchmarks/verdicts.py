"""How right is the verdict on trainings whose right answer is known?

The recordings in ``tests/sweeps`` are real trainings of 21 families, swept over learning rates from 1/100 to 100 times
the best one. Each is judged by coefficients that were fitted without its family; the families in `JUDGES` were not used
for choosing anything either. The product's own words are taken from event files that grow, looked at 20 times.

usage: python -m tests.benchmarks.verdicts [--write]

``--write`` fits on all families and puts the coefficients into ``rules/verdict.yaml``, figures into the rule files and
``measured.json``, which CI compares with. `python -m tests.benchmarks --write` puts the tables into the rule set.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import KINDS, Weighing
from raftmon.runs.roles import RoleTable
from tests.benchmarks import said
from tests.benchmarks.fitting import JUDGES, Looks, Reading, fit_families, weighings_without_each
from tests.benchmarks.replays import Replay, replay
from tests.benchmarks.sibling_runs import SAYS
from tests.benchmarks.sweeps import CONDITIONS, Condition, Training, trainings
from tests.benchmarks.writing import write_rule, write_weighing

MEASURED: Final = Path(__file__).with_name("measured.json")
REPLAYED: Final = (Condition(), Condition(every=10), Condition(without=frozenset()))
"""Conditions under which event files grow."""


def probabilities(cases: Sequence[Training], looks: Sequence[Reading], weighings: Mapping[str, Weighing]) -> said.Odds:
    """Return the odds of each kind for each run, by coefficients from other families."""
    rows = []
    for case, look in zip(cases, looks, strict=True):
        odds = weighings[case.family].model(look).probabilities(look)
        rows.append([odds[kind] for kind in KINDS])
    return np.array(rows)


def odds_by_condition(looks: Looks, weighings: Mapping[str, Weighing]) -> dict[Condition, said.Odds]:
    """Return the odds of each run under each condition."""
    return {condition: probabilities(looks.cases, looks[condition], weighings) for condition in CONDITIONS}


def figures(cases: Sequence[Training], odds: Mapping[Condition, said.Odds]) -> dict[str, dict[str, float]]:
    """Return, for each condition, the figures that CI compares with."""
    return {str(condition): said.scores(cases, odds[condition]) for condition in odds}


def weighing_table(cases: Sequence[Training], odds: Mapping[Condition, said.Odds]) -> Iterator[str]:
    """Yield the accuracy of the weighing alone, when it has to choose, by condition."""
    judged = [i for i, case in enumerate(cases) if case.family in JUDGES]
    yield "| logged | balanced accuracy | opposite | right when sure | judges: balanced accuracy | opposite | right |"
    yield "|---|---|---|---|---|---|---|"
    for condition in odds:
        every = said.scores(cases, odds[condition])
        judges = said.scores([cases[i] for i in judged], odds[condition][judged])
        cells = [str(condition)]
        for scores in (every, judges):
            cells += [f"{scores['balanced']:.3f}", f"{scores['opposite']:.1%}"]
            cells.append(f"{scores['right_when_sure']:.0%} of {scores['sure']:.0%}")
        yield f"| {' | '.join(cells)} |"


def distance_table(cases: Sequence[Training], odds: said.Odds) -> Iterator[str]:
    """Yield what is likeliest by the distance from the best learning rate."""
    yield "| × best | runs | too low | right | too high | correct |"
    yield "|---|---|---|---|---|---|"
    factors = np.array([round(2 * np.log10(case.factor)) for case in cases])
    kinds = np.array([KINDS.index(case.kind) for case in cases])
    likeliest = odds.argmax(axis=1)
    for half_decade in sorted(set(np.clip(factors, -4, 5).tolist())):
        chosen = np.clip(factors, -4, 5) == half_decade
        counts = np.bincount(likeliest[chosen], minlength=3)
        correct = (likeliest == kinds)[chosen].mean()
        edge = "≤ " if half_decade == -4 else "≥ " if half_decade == 5 else ""
        yield (
            f"| {edge}{10 ** (half_decade / 2):.3g} | {chosen.sum()} | {counts[0]} | {counts[1]} | {counts[2]} "
            f"| {correct:.0%} |"
        )


def family_table(cases: Sequence[Training], odds: Mapping[Condition, said.Odds]) -> Iterator[str]:
    """Yield the balanced accuracy of each family."""
    shown = [Condition(), Condition(every=10), Condition(without=frozenset())]
    yield "| family | runs | every step | every 10 steps | with rho |"
    yield "|---|---|---|---|---|"
    for family in sorted({case.family for case in cases}, key=lambda name: (name in JUDGES, name)):
        chosen = [i for i, case in enumerate(cases) if case.family == family]
        some = [cases[i] for i in chosen]
        cells = " | ".join(f"{said.scores(some, odds[condition][chosen])['balanced']:.2f}" for condition in shown)
        yield f"| {family}{' (judge)' if family in JUDGES else ''} | {len(some)} | {cells} |"


def replay_all(
    cases: Sequence[Training], condition: Condition, weighings: Mapping[str, Weighing], rules: Sequence[Rule]
) -> list[Replay]:
    """Let the event file of each run grow under one condition."""
    roles = RoleTable.load(SHIPPED_RULES, [])
    with tempfile.TemporaryDirectory() as directory:
        return [
            replay(case, condition, weighings[case.family], rules, roles, Path(directory) / str(number))
            for number, case in enumerate(cases)
        ]


def tables(
    looks: Looks, odds: Mapping[Condition, said.Odds], replays: Mapping[Condition, list[Replay]], rules: Sequence[Rule]
) -> Iterator[str]:
    """Yield everything that is measured, as Markdown."""
    cases = looks.cases
    settings = len({case.setting for case in cases})
    yield f"{len(cases)} trainings of {settings} settings in {len({case.family for case in cases})} families."
    yield from ("", "#### The weighing alone, when it has to choose", "", *weighing_table(cases, odds))
    yield from ("", "#### By distance from the best learning rate (every step, all series)", "")
    yield from distance_table(cases, odds[CONDITIONS[0]])
    yield from ("", "#### By family: balanced accuracy", "", *family_table(cases, odds))
    for condition, some in replays.items():
        yield from ("", f"#### What raftmon says of growing event files ({condition})", "", *said.spoken_lines(some))
    yield from ("", "#### The rules on the learning rate, one by one", "")
    alone = [rule for rule in rules if not rule.id.startswith(SAYS)]
    yield from said.rule_lines(alone, replays[REPLAYED[0]])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables; write coefficients and figures if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    looks = Looks(trainings())
    weighings = weighings_without_each(looks)
    odds = odds_by_condition(looks, weighings)
    rules = [rule for rule in load_rules() if rule.subject == "run"]
    replays = {condition: replay_all(looks.cases, condition, weighings, rules) for condition in REPLAYED}
    lines = list(tables(looks, odds, replays, rules))
    print("\n".join(lines))
    if not arguments.write:
        return
    MEASURED.write_text(json.dumps(figures(looks.cases, odds), indent=1) + "\n")
    families = frozenset(case.family for case in looks.cases)
    write_weighing(fit_families(looks, families), looks.cases, odds)
    for rule in rules:
        if rule.points_to in said.WANTED and not rule.id.startswith(SAYS):
            write_rule(rule, said.counts(rule, replays[REPLAYED[0]]), "recorded trainings")


if __name__ == "__main__":
    main()
