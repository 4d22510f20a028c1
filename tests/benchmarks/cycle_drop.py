"""How often do `cycle-worse` and `cycle-much-worse` cry wolf, and what do they miss? Simulated, with a known answer.

A campaign has 10 cycles of 374 prompts x 8 samples. Prompts differ in difficulty (beta distributed, intraclass
correlation 0.3) and are the same in every cycle. In half of the campaigns nothing happens that the rule should tell
(for `cycle-much-worse` that includes a fall by 15 % of the rate); in the other half the rate falls at a cycle between 3
and 9 and stays there. The rate itself is drawn from 0.2 to 0.6.

A second part asks for the family-wise error of `cycle-worse` over 10 cycles in which nothing happens, and for its power
against a fall by 3 points, in four cells: prompts that are alike or not, the same prompts in each cycle or fresh ones.

usage: python -m tests.benchmarks.cycle_drop [--write]

`--write` puts the figures into the rule files, which earns the rules their status.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raftmon.advice.engine import RuleEngine
from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.runs.diversity import intraclass_correlation
from raftmon.signals.campaign import CampaignSignals, CycleFacts
from raftmon.signals.statistics import wilson_interval
from tests.benchmarks.writing import figures_line, put

CYCLES, PROMPTS, SAMPLES, CORRELATION = 10, 374, 8, 0.3
CAMPAIGNS = 3000


@dataclass(frozen=True)
class Question:
    """What a rule is asked."""

    rule: str
    harmless: tuple[float, ...]
    """Falls that it must not tell."""
    falls: tuple[float, ...]
    """Falls that it must tell."""
    relative: bool
    """Whether falls are shares of the rate, or points (0..1)."""


QUESTIONS = (
    Question("cycle-worse", (0.0,), (0.03, 0.05, 0.10), relative=False),
    Question("cycle-much-worse", (0.0, 0.15), (0.4, 0.5, 0.7), relative=True),
)


@dataclass
class Tally:
    """What the rule said of the campaigns of one kind."""

    campaigns: int = 0
    false_alarms: int = 0
    """It fired in a cycle in which nothing had happened yet."""
    caught: int = 0
    delays: list[int] = field(default_factory=list)
    """Cycles from the drop to the alarm."""


@dataclass(frozen=True)
class Cell:
    """One way in which prompts may be drawn."""

    correlation: float
    """Intraclass correlation of the verdicts on one prompt."""
    fresh: bool
    """Whether each cycle draws prompts of its own."""


CELLS = tuple(Cell(correlation, fresh) for correlation in (0.0, CORRELATION) for fresh in (False, True))
CELL_RATE, CELL_FALL = 0.467, 0.03
"""The rate at which the power is told, and the fall, both as shares of the samples."""


def prompt_rates(generator: np.random.Generator, rate: float, correlation: float = CORRELATION) -> NDArray[np.float64]:
    """Draw the success probability of each prompt."""
    if correlation == 0.0:
        return np.full(PROMPTS, rate)
    size = 1.0 / correlation - 1.0
    return generator.beta(rate * size, (1.0 - rate) * size, PROMPTS)


def first_alarm(
    rates: list[NDArray[np.float64]], generator: np.random.Generator, rule: Rule, fresh: bool = False
) -> int | None:
    """Sample a campaign and return the cycle in which the rule fired first."""
    engine, signals = RuleEngine([rule]), CampaignSignals()
    for cycle, probabilities in enumerate(rates, start=1):
        hits = generator.binomial(SAMPLES, probabilities)
        likeness = intraclass_correlation(Counter((SAMPLES, hit) for hit in hits.tolist()))
        verified, digest = PROMPTS * SAMPLES, str(cycle) if fresh else "same"
        facts = CycleFacts(cycle, float(hits.sum()) / verified, verified, digest, PROMPTS, likeness)
        signals.update(facts)
        readings = signals.readings()
        engine.tick(readings, cycle, cycle)
        if engine.findings(readings, cycle, cycle, {})[0].state == "firing":
            return cycle
    return None


def measure_cell(cell: Cell, campaigns: int, seed: int = 0) -> tuple[float, float]:
    """Return the family-wise error over 10 null cycles and the power against `CELL_FALL`, as shares of campaigns."""
    (rule,) = load_rules(SHIPPED_RULES / "cycle-worse.yaml")
    generator = np.random.default_rng(seed)
    alarms = caught = 0
    for number in range(2 * campaigns):
        at = int(generator.integers(3, 10)) if number % 2 else CYCLES + 1
        drawn = [prompt_rates(generator, CELL_RATE, cell.correlation) for _ in range(CYCLES if cell.fresh else 1)]
        rates = [drawn[c % len(drawn)] * (1.0 if c < at else 1.0 - CELL_FALL / CELL_RATE) for c in range(1, CYCLES + 1)]
        alarm = first_alarm(rates, generator, rule, cell.fresh)
        alarms += at > CYCLES and alarm is not None
        caught += at <= CYCLES and alarm is not None and alarm >= at
    return alarms / campaigns, caught / campaigns


def report_cells(campaigns: int) -> None:
    """Print the table of the four cells."""
    print(f"\ncycle-worse, {campaigns} campaigns without a change and {campaigns} that fall by 3 points from 46.7 %\n")
    print("| prompts | intraclass correlation | family-wise error | power |\n|---|---|---|---|")
    for cell in CELLS:
        error, power = measure_cell(cell, campaigns)
        intervals = [wilson_interval(share * campaigns, campaigns) for share in (error, power)]
        told = [f"{s:.1%} ({i[0]:.1%} to {i[1]:.1%})" for s, i in zip((error, power), intervals, strict=True)]
        print(f"| {'fresh' if cell.fresh else 'the same'} | {cell.correlation:g} | {told[0]} | {told[1]} |")


def simulate(question: Question, campaigns: int, seed: int = 0) -> dict[float, Tally]:
    """Run the simulation; the key is the size of the fall, 0 for none."""
    (rule,) = load_rules(SHIPPED_RULES / f"{question.rule}.yaml")
    generator = np.random.default_rng(seed)
    tallies = {fall: Tally() for fall in (*question.harmless, *question.falls)}
    for number in range(campaigns):
        kinds = question.harmless if number % 2 else question.falls
        fall = kinds[(number // 2) % len(kinds)]
        rate, at = float(generator.uniform(0.2, 0.6)), int(generator.integers(3, 10))
        before = prompt_rates(generator, rate)
        after = before * (1.0 - (fall if question.relative else fall / rate))
        alarm = first_alarm([before if c < at else after for c in range(1, CYCLES + 1)], generator, rule)
        tally = tallies[fall]
        tally.campaigns += 1
        if alarm is not None and (fall in question.harmless or alarm < at):
            tally.false_alarms += 1
        elif alarm is not None:
            tally.caught += 1
            tally.delays.append(alarm - at)
    return tallies


def report(question: Question, tallies: dict[float, Tally], campaigns: int) -> str:
    """Print the table; returns the rule file's line of figures."""
    print(f"\n{question.rule}\n\n| fall | campaigns | false alarms | caught | of them in the cycle itself |")
    print("|---|---|---|---|---|")
    for fall, tally in tallies.items():
        unit = "of the rate" if question.relative else "points"
        at_once = f"{np.mean([delay == 0 for delay in tally.delays]):.0%}" if tally.delays else "–"
        caught = f"{tally.caught / tally.campaigns:.1%}" if fall in question.falls else "–"
        size = f"{fall:.0%} {unit}" if question.relative else f"{100 * fall:.0f} {unit}"
        print(f"| {size} | {tally.campaigns} | {tally.false_alarms / tally.campaigns:.1%} | {caught} | {at_once} |")
    hits, false = sum(t.caught for t in tallies.values()), sum(t.false_alarms for t in tallies.values())
    precision = hits / (hits + false)
    wanted = sum(tallies[fall].campaigns for fall in question.falls)
    recall = hits / wanted
    print(f"\nprecision {precision:.3f}, recall {recall:.3f} over {campaigns} campaigns")
    return figures_line(
        campaigns, fired=hits + false, precision=precision, recall=recall, wanted=wanted, on="simulated campaigns"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables; write the figures into the rule files if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--campaigns", type=int, default=CAMPAIGNS)
    arguments = parser.parse_args(argv)
    report_cells(arguments.campaigns // 3)
    for question in QUESTIONS:
        line = report(question, simulate(question, arguments.campaigns), arguments.campaigns)
        if arguments.write:
            put(SHIPPED_RULES / f"{question.rule}.yaml", line)


if __name__ == "__main__":
    main()
