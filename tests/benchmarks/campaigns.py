"""Do the rules on campaigns tell a collapse before it comes? Measured on the recorded campaigns of ``tests/campaigns``.

A campaign collapses late when its held-out rate, in a sample of its own that no rule sees, falls below 0.8 of its peak
from the fifth cycle on and stays there. Earlier falls are harm, not spent diversity: they are counted for precision,
not for recall. A campaign of which only the last cycle lies below is left out, for nobody can say what comes next.

The limits of `diversity-spent` and `collapse-near` are chosen on one task and judged on another, in both directions;
the shipped ones are those chosen on `letters`, so that `arithmetic` and `brackets` are what they are judged on. What
the rules look at was settled with all tasks in view: word pairs because of `brackets`, a gap relative to the rate and
one level for both measures because limits of their own did not carry over (chosen on `letters`, they caught 0.76 to
0.82 of the collapses of `arithmetic`, with no lead). So the figures are those of new limits, not of a new design.

usage: python -m tests.benchmarks.campaigns [--write]

`--write` puts the figures into the rule files, which earns the rules their status.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raftmon.advice.engine import RuleEngine
from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.signals.statistics import wilson_interval
from tests.benchmarks.probes import report_probes
from tests.benchmarks.single_cycles import report_single_cycles
from tests.benchmarks.writing import figures_line, put
from tests.recorded_campaigns import RecordedCampaign, recorded_campaigns

Readings = Sequence[Mapping[str, float | None]]
Alarm = Callable[[Readings], int | None]
"""Readings after each cycle to the index of the cycle in which it is raised first; None: never."""

TASKS: Final = ("arithmetic", "letters", "brackets")
LATE: Final = 4
"""Index of the cycle from which on a collapse is a late one."""
WARNED: Final = 2
"""Cycles of lead that leave time to act: the target."""
RECALL, PRECISION = 0.9, 0.5
"""Targets: what is chosen must reach them where it is chosen."""

LEVELS: Final = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
GAPS: Final = (-0.1, 0.0, 0.05, 0.1, 0.15, 0.2)
MEASURED_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "diversity-spent": ("arithmetic", "brackets"),
    "collapse-near": ("arithmetic", "brackets"),
    "cycle-harms-held-out": ("letters", "brackets"),
    "outputs-repetitive": TASKS,
    "held-out-gap": TASKS,
}
"""Rule to the tasks that its limits were not chosen on."""


@dataclass
class Score:
    """How one alarm did on some campaigns."""

    collapses: int = 0
    """Late ones."""
    caught: int = 0
    """Of them, told no later than in the cycle in which they begin."""
    leads: list[int] = field(default_factory=list)
    """Cycles from the alarm to the collapse."""
    right: int = 0
    """Alarms in campaigns that collapse, late or early."""
    false: int = 0
    """Alarms in campaigns that do not."""

    def add(self, campaign: RecordedCampaign, alarm: int | None) -> None:
        """Count one campaign."""
        collapse = campaign.collapse
        if campaign.is_open:
            return
        self.right += alarm is not None and collapse is not None
        self.false += alarm is not None and collapse is None
        if collapse is None or collapse < LATE:
            return
        self.collapses += 1
        if alarm is not None and alarm <= collapse:
            self.caught += 1
            self.leads.append(collapse - alarm)

    @property
    def recall(self) -> float:
        """Share of the late collapses that were told in time."""
        return self.caught / self.collapses if self.collapses else 0.0

    @property
    def precision(self) -> float:
        """Share of the alarms that were followed by a collapse."""
        return self.right / (self.right + self.false) if self.right + self.false else 0.0

    @property
    def lead(self) -> float:
        """Median lead of the caught collapses in cycles; -1 without any."""
        return statistics.median(self.leads) if self.leads else -1.0

    def cells(self) -> str:
        """Return the columns of a table."""
        early = sum(lead >= WARNED for lead in self.leads)
        return (
            f"{_share(self.caught, self.collapses)} | {_share(self.right, self.right + self.false)} | "
            f"{self.lead if self.leads else '–'} | {early} of {self.collapses}"
        )


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    low, high = wilson_interval(part, whole)
    return f"{part / whole:.2f} ({part}/{whole}; {low:.2f} to {high:.2f})"


def by_rule(rule: Rule) -> Alarm:
    """Let a rule raise the alarm, as a monitor would run it."""

    def alarm(readings: Readings) -> int | None:
        engine = RuleEngine([rule])
        for index, now in enumerate(readings):
            engine.tick(now, index + 1, index + 1)
            if engine.findings(now, index + 1, index + 1, {})[0].state == "firing":
                return index
        return None

    return alarm


def by_limits(level: float, gap: float) -> Alarm:
    """Raise the alarm where both measures of diversity lie below a level and the relative gap above a limit."""

    def alarm(readings: Readings) -> int | None:
        for index, now in enumerate(readings):
            unique, distinct = now["campaign.unique_left"], now["campaign.distinct_left"]
            relative = now["campaign.gap_of_rate"]
            if unique is None or distinct is None or relative is None:
                continue
            if max(unique, distinct) < level and relative > gap:
                return index
        return None

    return alarm


Seen = list[tuple[RecordedCampaign, Readings]]


def score(alarm: Alarm, seen: Seen, tasks: Sequence[str] = TASKS) -> Score:
    """Judge an alarm on the campaigns of some tasks."""
    found = Score()
    for campaign, readings in seen:
        if campaign.task in tasks:
            found.add(campaign, alarm(readings))
    return found


def _by_lead(found: Score) -> tuple[float, ...]:
    """Prefer the longest lead, then precision, among what reaches the targets for recall and precision."""
    return (found.recall >= RECALL and found.precision >= PRECISION, found.lead, found.precision)


def _by_precision(found: Score) -> tuple[float, ...]:
    """Prefer precision, then recall, among what reaches the target for recall."""
    return (found.recall >= RECALL, found.precision, found.recall)


CRITERIA: Final = {"diversity-spent": _by_lead, "collapse-near": _by_precision}


def choose(rule: str, seen: Seen, task: str) -> tuple[float, float]:
    """Choose level and gap on one task; of equally good ones the loosest, which misses least elsewhere."""
    scores = {pair: score(by_limits(*pair), seen, (task,)) for pair in itertools.product(LEVELS, GAPS)}
    return max(scores, key=lambda pair: (CRITERIA[rule](scores[pair]), pair[0], -pair[1]))


def report_choices(seen: Seen) -> None:
    """Print what is chosen on one task and how it does on another."""
    print("\nLimits chosen on one task, judged on another\n")
    print("| rule | chosen on | level, gap | judged on | recall | precision | median lead | lead of 2 or more |")
    print("|---|---|---|---|---|---|---|---|")
    for rule in CRITERIA:
        for task, other in (("letters", "arithmetic"), ("arithmetic", "letters")):
            level, gap = choose(rule, seen, task)
            for judged in (task, other, "brackets"):
                cells = score(by_limits(level, gap), seen, (judged,)).cells()
                print(f"| {rule} | {task} | {level:g}, {gap:g} | {judged} | {cells} |")


def report_rules(seen: Seen, rules: Mapping[str, Rule]) -> Iterator[tuple[str, str]]:
    """Print how the shipped rules do; yields each with its line of figures for its file."""
    print("\nShipped rules against late collapses\n")
    print("| rule | task | recall | precision | median lead | lead of 2 or more |\n|---|---|---|---|---|---|")
    for name in [*MEASURED_ON, "cycle-worse"]:
        for task in TASKS:
            print(f"| {name} | {task} | {score(by_rule(rules[name]), seen, (task,)).cells()} |")
        if name in MEASURED_ON:
            tasks = MEASURED_ON[name]
            found = score(by_rule(rules[name]), seen, tasks)
            runs = sum(campaign.task in tasks and not campaign.is_open for campaign, _ in seen)
            yield name, _measured(runs, found, tasks)


def _measured(runs: int, found: Score, tasks: Sequence[str]) -> str:
    words = "recorded campaigns" if tasks == TASKS else f"recorded campaigns ({' and '.join(tasks)})"
    return figures_line(
        runs,
        fired=found.right + found.false,
        precision=found.precision,
        recall=found.recall,
        wanted=found.collapses,
        on=words,
    )


def report_campaigns(seen: Seen) -> None:
    """Print what became of the campaigns."""
    print("| task | learning rate | campaigns | late collapses | earlier falls | only in the last cycle |")
    print("|---|---|---|---|---|---|")
    keys = sorted({(TASKS.index(c.task), c.learning_rate) for c, _ in seen})
    for task, rate in keys:
        group = [c for c, _ in seen if (TASKS.index(c.task), c.learning_rate) == (task, rate)]
        fallen = [c.collapse for c in group if c.collapse is not None]
        late, still_open = sum(at >= LATE for at in fallen), sum(c.is_open for c in group)
        print(f"| {TASKS[task]} | {rate:g} | {len(group)} | {late} | {len(fallen) - late} | {still_open} |")


def recorded() -> Seen:
    """Return the campaigns with what the signals say after each cycle."""
    return [(campaign, campaign.readings()) for campaign in recorded_campaigns()]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables; write the figures into the rule files if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    rules = {rule.id: rule for rule in load_rules()}
    seen = recorded()
    report_campaigns(seen)
    report_choices(seen)
    lines = dict(report_rules(seen, rules))
    lines |= dict(report_single_cycles(recorded_campaigns(), rules))
    report_probes(recorded_campaigns())
    for name, line in lines.items():
        if arguments.write:
            put(SHIPPED_RULES / f"{name}.yaml", line)


if __name__ == "__main__":
    main()
