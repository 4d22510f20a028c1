"""What one RAFT cycle tells by itself: a part of `tests.benchmarks.campaigns`.

Cycles 1, 6 and 12 of every recorded campaign are written as event files, as Hugging Face's Trainer would write them,
and judged as runs that nobody knows to be cycles: the loss of one cycle does not tell its learning rate, so that
``undecided`` is the right answer.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from raftmon.advice.engine import RuleEngine
from raftmon.advice.judging import RunJudge
from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import SHIPPED_RULES
from raftmon.advice.weighing import Weighing, read_weighing
from raftmon.runs.logdir import Run
from raftmon.runs.roles import RoleTable
from raftmon.signals.campaign import CampaignSignals, CycleFacts
from raftmon.signals.statistics import wilson_interval
from tests.benchmarks.recordings import RUNS, recordings
from tests.benchmarks.writing import figures_line
from tests.recorded_campaigns import RecordedCampaign, RecordedCycle

CYCLES: Final = (1, 6, 12)
BEGAN: Final = 1_795_305_600.0


def write_cycle(directory: Path, cycle: RecordedCycle) -> None:
    """Write one cycle as an event file: loss, gradient norm and learning rate of each step, linear decay to 0."""
    directory.mkdir(parents=True)
    with (directory / f"events.out.tfevents.{BEGAN:.0f}.host").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(event_pb2.Event(wall_time=BEGAN, file_version="brain.Event:2").SerializeToString())
        for step, (loss, norm) in enumerate(zip(cycle.loss, cycle.grad_norm, strict=True), start=1):
            rate = cycle.learning_rate * (1 - (step - 1) / len(cycle.loss))
            values = {"train/loss": loss, "train/grad_norm": norm, "train/learning_rate": rate}
            summary = summary_pb2.Summary(
                value=[summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            )
            event = event_pb2.Event(wall_time=BEGAN + step, step=step, summary=summary)
            writer.write(event.SerializeToString())


def verdict_on(directory: Path, rules: Sequence[Rule], weighing: Weighing, roles: RoleTable, in_campaign: bool) -> str:
    """Judge an event file as a run, as the cycle of a campaign or not."""
    run = Run("cycle", directory)
    for file in directory.iterdir():
        run.add_file(file)
    judging = RunJudge(run, rules, weighing, roles)
    judging.follow(run.poll(1 << 30), in_campaign=in_campaign)
    return judging.view("finished", None, None).verdict.learning_rate


def verdicts_on_cycles(
    campaigns: Sequence[RecordedCampaign], rules: Sequence[Rule], *, in_campaign: bool = False
) -> Counter[tuple[float, str]]:
    """Judge single cycles as if they were runs; counts by learning rate and verdict."""
    weighing, roles = read_weighing(SHIPPED_RULES / "verdict.yaml"), RoleTable.load(SHIPPED_RULES, [])
    said: Counter[tuple[float, str]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for number, campaign in enumerate(campaigns):
            for place in CYCLES:
                cycle, directory = campaign.cycles[place - 1], Path(scratch) / f"{number}-{place}"
                write_cycle(directory, cycle)
                said[campaign.learning_rate, verdict_on(directory, rules, weighing, roles, in_campaign)] += 1
    return said


def report_single_cycles(campaigns: Sequence[RecordedCampaign], rules: Mapping[str, Rule]) -> Iterator[tuple[str, str]]:
    """Print what is said of single cycles; yields rules with their lines of figures."""
    said = verdicts_on_cycles(campaigns, list(rules.values()))
    before = verdicts_on_cycles(campaigns, [rule for name, rule in rules.items() if name != "too-few-steps"])
    total, undecided = said.total(), count_undecided(said)
    low, high = wilson_interval(undecided, total)
    print(f"\nSingle cycles as event files, not known to be cycles; without too-few-steps {count_undecided(before)} of")
    print(f"{total} are undecided\n")
    print("| learning rate | cycles | undecided | too low | right | too high |\n|---|---|---|---|---|---|")
    for rate in sorted({rate for rate, _ in said}):
        counts = [said[rate, verdict] for verdict in ("undecided", "too_low", "ok", "too_high")]
        print(f"| {rate:g} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    print(f"\nundecided {undecided / total:.1%} of {total} ({low:.1%} to {high:.1%})")
    known = count_undecided(verdicts_on_cycles(campaigns, list(rules.values()), in_campaign=True))
    print(f"as cycles of a campaign: {known / total:.1%}")
    report_loss(campaigns)
    yield "cycle-not-finite", not_finite(rules["cycle-not-finite"])


def count_undecided(said: Counter[tuple[float, str]]) -> int:
    """Return how many cycles got no verdict."""
    return sum(count for (_, verdict), count in said.items() if verdict == "undecided")


def report_loss(campaigns: Sequence[RecordedCampaign]) -> None:
    """Print how often the loss of a cycle falls by less than filtering one's own samples makes attainable."""
    print("\nCycles whose loss falls by less than log(1/acceptance)/length\n")
    print("| task | " + " | ".join(f"{rate:g}" for rate in sorted({c.learning_rate for c in campaigns})) + " |")
    print("|---" * (1 + len({c.learning_rate for c in campaigns})) + "|")
    for task in dict.fromkeys(campaign.task for campaign in campaigns):
        cells = []
        for rate in sorted({campaign.learning_rate for campaign in campaigns}):
            excess = [
                value
                for campaign in campaigns
                if (campaign.task, campaign.learning_rate) == (task, rate)
                for readings in campaign.readings()
                if (value := readings["campaign.loss_unexplained"]) is not None
            ]
            cells.append(f"{sum(value < 0.0 for value in excess) / len(excess):.0%}")
        print(f"| {task} | {' | '.join(cells)} |")


def not_finite(rule: Rule) -> str:
    """Let `cycle-not-finite` look at the recorded trainings as if each were a cycle; returns its line of figures."""
    paths = [case.path for case in recordings()] + sorted((RUNS / "control").iterdir())
    fired = {path.name for path in paths if _fires(rule, path)}
    right = len(fired & BROKEN)
    print(
        f"\ncycle-not-finite fires on {len(fired)} of {len(paths)} recorded trainings, on {right} of the 2 that break"
    )
    precision, recall = right / max(1, len(fired)), right / len(BROKEN)
    return figures_line(
        len(paths),
        fired=len(fired),
        precision=precision,
        recall=recall,
        wanted=len(BROKEN),
        on="recorded trainings",
    )


def _fires(rule: Rule, path: Path) -> bool:
    run = Run(path.name, path)
    for file in sorted(path.iterdir()):
        run.add_file(file)
    run.poll(1 << 30)
    values = [value for tag in ("train/loss", "train/grad_norm") for value in run.series[tag].values.tolist()]
    signals = CampaignSignals()
    signals.update(CycleFacts(1, None, None, broken=sum(not math.isfinite(value) for value in values)))
    return RuleEngine([rule]).findings(signals.readings(), 1, 1, {})[0].state == "firing"


BROKEN: Final = frozenset({"log-of-zero", "blow-up"})
"""Controls whose numbers break, by the labels of the recorded trainings."""
