"""Does following raftmon give a better model? Real RAFT campaigns in miniature, whose advice is obeyed.

A small transformer is pre-trained on data with mistakes in it, then sampled, verified, filtered and fine-tuned cycle
after cycle. Between two cycles somebody decides how to go on (`tests.benchmarks.loop_campaign`): nobody, a decay, the
literal rule of the seeds, or raftmon's command line. The best constant rate in hindsight is what is aimed at; campaigns
start at that rate, above it and below. What counts is the true held-out rate of the checkpoint that is shipped, in a
sample that nobody saw. Constant, decay and the literal rule ship their last checkpoint.

The policy and the rules were chosen on the tasks of `tests.campaign_tasks` (``--choose`` shows how they do there). The
table is that of other tasks and other seeds (`tests.benchmarks.loop_tasks`).

usage: python -m tests.benchmarks.closed_loop [--choose] [--seeds N] [--keep DIRECTORY] [--only late|main] [--write]
       python -m tests.benchmarks.closed_loop --recorded
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import math
import pkgutil
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import torch

import raftmon
from raftmon.advice.rulebook import SHIPPED_RULES
from tests.benchmarks.loop_campaign import Arm, Campaign, Outcome, run_campaign
from tests.benchmarks.loop_policy import base_policy
from tests.benchmarks.loop_records import RECORDED, Recorded, Source, write_records
from tests.benchmarks.loop_table import Setting, late_table, main_tables, true_rate
from tests.benchmarks.loop_tasks import JUDGED
from tests.benchmarks.writing import figures_line, put
from tests.campaign_tasks import TASKS

JOBS: Final = 2
SEEDS: Final = 5
CHOOSING_SEED: Final = 101
"""First seed of the campaigns to choose on."""
RANK: Final = 8
CHOOSING: Final = (Setting("arithmetic"), Setting("letters"), Setting("letters", RANK))
JUDGING: Final = (Setting("walks"), Setting("bits"), Setting("coins"), Setting("coins", RANK))
GRID: Final = range(-8, -3)
"""Half decades from 1e-4 to 1e-2, among which the best constant rate is looked for; ten times that for LoRA. Where the
best is the first or the last, the grid grows."""
STARTS: Final = {"10x high": 10.0, "3x high": 10**0.5, "right": 1.0, "10x low": 0.1, "100x low": 0.01}
DECIDING: Final[tuple[Arm, ...]] = ("decay", "literal", "raftmon", "raftmon-probes")
STANDSTILL: Final = "cycles-gain-nothing"
LATE_CYCLES, LATE_HEAT = 12, 0.7
LATE_ARMS: Final[tuple[Arm, ...]] = ("constant", "raftmon", "raftmon-probes")
LATE_STARTS: Final = ("3x high", "right")
LATE_SETTINGS: Final = 2
"""So many of the settings that train every weight, the last ones, for the half hour that all may take."""
FAR: Final = "100x low"
"""A start at which only raftmon and the constant rate are tried: a decay only goes further down."""


@dataclass
class Runs:
    """Trains campaigns, each once, on all cores."""

    pool: ProcessPoolExecutor
    directory: Path

    def __post_init__(self) -> None:
        self._found: dict[Campaign, Future[Outcome]] = {}

    def ask(self, campaign: Campaign) -> Future[Outcome]:
        """Begin a campaign that was not asked for yet."""
        if campaign not in self._found:
            base = self.directory / f"base-{campaign.task}.pt"
            self._found[campaign] = self.pool.submit(run_campaign, campaign, base, self.directory)
        return self._found[campaign]

    def done(self) -> Iterator[tuple[Campaign, Outcome]]:
        """Yield every campaign that was asked for."""
        for campaign, outcome in self._found.items():
            yield campaign, outcome.result()


def fingerprint() -> str:
    """Return a digest of all that outcomes depend on."""
    digest = hashlib.sha256(torch.__version__.encode())
    code = [path for path in Path(raftmon.__file__).parent.rglob("*.py") if "tui" not in path.parts]
    loop = [path for path in Path(__file__).parent.glob("loop_*.py") if path.stem != "loop_table"]
    rules = [path for path in SHIPPED_RULES.glob("*.yaml") if not path.name.endswith(".test.yaml")]
    for path in sorted([*code, *loop, *rules]):
        lines = (line for line in path.read_bytes().splitlines() if not line.startswith(b"  measured:"))
        digest.update(path.name.encode() + b"\n".join(lines))
    return digest.hexdigest()[:12]


def prepare() -> None:
    """Import once, in the process that is forked, what every cycle and every call of raftmon needs."""
    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    (weight * weight).sum().backward()
    optimizer.step()
    apart = ("tui", "demo", "remote", "gpus", "torch")
    for module in pkgutil.walk_packages(raftmon.__path__, "raftmon."):
        if not any(part in module.name.split(".") for part in apart):
            importlib.import_module(module.name)
    importlib.import_module("tests.benchmarks.loop_cycle")


def constant(setting: Setting, seeds: Sequence[int], half: int) -> list[Campaign]:
    """Return the constant campaigns at a rate, given in half decades."""
    rate = 10 ** (half / 2) * setting.scale
    return [Campaign(setting.task, seed, "constant", rate, rank=setting.rank) for seed in seeds]


def outcomes(source: Source, campaigns: Sequence[Campaign]) -> list[Outcome]:
    """Wait for the outcomes of some campaigns."""
    return [future.result() for future in [source.ask(campaign) for campaign in campaigns]]


def best_rate(setting: Setting, seeds: Sequence[int], source: Source) -> float:
    """Return the constant rate whose campaigns end best on average."""
    ends: dict[int, float] = {}
    wanted = set(GRID)
    while wanted:
        for half in sorted(wanted):
            ends[half] = statistics.mean(
                true_rate(outcome, -1) for outcome in outcomes(source, constant(setting, seeds, half))
            )
        best = max(ends, key=ends.__getitem__)
        wanted = {best - 1, best + 1} - set(ends)
    rates = ", ".join(f"{10 ** (half / 2) * setting.scale:.3g}: {ends[half]:.3f}" for half in sorted(ends))
    print(f"{setting}: where constant rates end: {rates}", flush=True)
    return constant(setting, seeds, best)[0].rate


def main_campaigns(setting: Setting, best: float, seeds: Sequence[int]) -> dict[tuple[str, str], list[Campaign]]:
    """Return the campaigns of 8 cycles, by start and arm."""
    arms: tuple[Arm, ...] = ("constant", *DECIDING)
    return {
        (start, arm): [Campaign(setting.task, seed, arm, best * factor, rank=setting.rank) for seed in seeds]
        for (start, factor), arm in itertools.product(STARTS.items(), arms)
        if start != FAR or arm not in ("decay", "literal")
    }


def late_campaigns(setting: Setting, best: float, seeds: Sequence[int]) -> dict[tuple[str, str], list[Campaign]]:
    """Return the campaigns of 12 cycles at a low temperature, by start and arm."""
    return {
        (start, arm): [
            Campaign(setting.task, seed, arm, best * STARTS[start], LATE_CYCLES, LATE_HEAT, setting.rank)
            for seed in seeds
        ]
        for start, arm in itertools.product(LATE_STARTS, LATE_ARMS)
    }


def report_standstill(best: Mapping[Setting, float], source: Source) -> str:
    """Print on which constant campaigns the rule that raises fires; wanted are those at a third of the best or less.

    Returns:
        The line of the rule's file that says so.
    """
    counts: dict[int, list[bool]] = {}
    for campaign, outcome in source.done():
        rate = best.get(Setting(campaign.task, campaign.rank))
        if rate is not None and campaign.arm == "constant" and campaign.temperature == 1.0:
            fired = any(STANDSTILL in rules for rules in outcome.fired)
            counts.setdefault(round(2 * math.log10(campaign.rate / rate)), []).append(fired)
    print(f"\n{STANDSTILL}, on campaigns at a constant rate\n\n| x the best | campaigns | fired |\n|---|---|---|")
    for half, group in sorted(counts.items()):
        print(f"| {10 ** (half / 2):.3g} | {len(group)} | {sum(group)} |")
    wanted = [fired for half, group in counts.items() for fired in group if half < 0]
    every = [fired for group in counts.values() for fired in group]
    line = figures_line(
        len(every),
        fired=sum(every),
        precision=sum(wanted) / sum(every) if any(every) else None,
        recall=sum(wanted) / len(wanted),
        wanted=len(wanted),
        on="campaigns of the closed loop at constant rates",
    )
    print(f"\n{line.strip()}")
    return line


def report(settings: Sequence[Setting], seeds: Sequence[int], source: Source, only: str | None = None) -> str | None:
    """Print all tables; returns what `report_standstill` does, None where only the late campaigns were wanted."""
    for setting in settings:
        for half in GRID:
            for campaign in constant(setting, seeds, half):
                source.ask(campaign)
    best = {setting: best_rate(setting, seeds, source) for setting in settings}
    asked = {setting: main_campaigns(setting, best[setting], seeds) for setting in settings if only != "late"}
    whole = [setting for setting in settings if not setting.rank][-LATE_SETTINGS:]
    late = {s: late_campaigns(s, best[s], seeds) for s in whole if only != "main"}
    for campaigns in itertools.chain(asked.values(), late.values()):
        for campaign in itertools.chain.from_iterable(campaigns.values()):
            source.ask(campaign)
    line = None
    if asked:
        oracle = {s: outcomes(source, asked[s]["right", "constant"]) for s in settings}
        main_tables(oracle, {s: {key: outcomes(source, group) for key, group in asked[s].items()} for s in settings})
        line = report_standstill(best, source)
    if late:
        late_table({s: {key: outcomes(source, group) for key, group in late[s].items()} for s in late})
    return line


def train(settings: Sequence[Setting], seeds: Sequence[int], directory: Path, only: str | None, write: bool) -> None:
    """Run all campaigns, print the tables, and write down what was found if told to."""
    tasks = {**TASKS, **JUDGED}
    with ProcessPoolExecutor(JOBS, get_context("fork"), prepare) as pool:
        names = dict.fromkeys(setting.task for setting in settings)
        bases = [pool.submit(base_policy, tasks[name](), directory / f"base-{name}.pt") for name in names]
        for base in bases:
            base.result()
        runs = Runs(pool, directory)
        line = report(settings, seeds, runs, only)
        if write and line is not None:
            put(SHIPPED_RULES / f"{STANDSTILL}.yaml", line)
            write_records(RECORDED, runs.done())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="the tasks that the policy was chosen on")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument(
        "--keep", type=Path, help="directory that keeps base models and outcomes; what is there is used"
    )
    parser.add_argument("--only", choices=("late", "main"))
    parser.add_argument("--write", action="store_true", help="put the outcomes and the rule's figures into their files")
    parser.add_argument("--recorded", action="store_true", help="print the tables of the recorded outcomes, untrained")
    asked = parser.parse_args(arguments)
    first = CHOOSING_SEED if asked.choose else 1
    seeds, settings = range(first, first + asked.seeds), CHOOSING if asked.choose else JUDGING
    if asked.recorded:
        report(JUDGING, range(1, SEEDS + 1), Recorded())
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        # What is kept is good for the same rules, the same raftmon and the same loop alone.
        directory = asked.keep / fingerprint() if asked.keep else Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        train(settings, seeds, directory, asked.only, asked.write)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = (used.ru_utime + used.ru_stime) / 60
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes with {JOBS} processes, {cores:.0f} of one core")


if __name__ == "__main__":
    main()
