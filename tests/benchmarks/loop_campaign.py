"""One campaign of the closed loop: cycle after cycle, and between them somebody who decides how to go on.

The trainer is a stranger to raftmon: each cycle is a process of its own that reads its YAML
(`tests.benchmarks.loop_cycle`), and raftmon is its command line, `raftmon pre-cycle --apply --format json`, a process
of its own, too. What that document says is obeyed: the rate stands in the file then, `roll_back_to` is where the next
cycle begins, `stop` ends the campaign, and `best_cycle` is the checkpoint that is shipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from tests.benchmarks.loop_cycle import BASE, checkpoint, truth_of

__all__ = ["Arm", "Campaign", "Outcome", "run_campaign"]

Arm: TypeAlias = Literal["constant", "decay", "literal", "raftmon", "raftmon-probes"]
"""Who decides: nobody; x 0.85 a cycle; the seed's literal rule, which halves on any drop of the held-out rate; raftmon,
from verification rates and event files alone; raftmon, where the trainer logs its probes, too."""
DECAY: Final = 0.85
CONFIG: Final = """\
# RAFT, one process a cycle
task: {task}
seed: {seed}
temperature: {temperature}
learning_rate: {rate:.6e}   # of the coming cycle
lora_r: {rank}
lora_alpha: {alpha}
per_device_train_batch_size: 8
gradient_accumulation_steps: 1
num_train_epochs: 1
optim: adamw_torch
probes: {probes}
"""


@dataclass(frozen=True)
class Campaign:
    """What tells one campaign from another."""

    task: str
    seed: int
    arm: Arm
    rate: float
    """Learning rate of the first cycle."""
    cycles: int = 8
    temperature: float = 1.0
    rank: int = 0
    """Of LoRA adapters; 0: every weight is trained."""

    @property
    def name(self) -> str:
        """A name for its directory."""
        kind = f"r{self.rank}" if self.rank else "full"
        return f"{self.task}-{kind}-T{self.temperature:g}-c{self.cycles}-s{self.seed}-{self.arm}-{self.rate:.2e}"


@dataclass
class Outcome:
    """What became of a campaign."""

    rates: list[float] = field(default_factory=list)
    """Learning rate of each cycle that was trained."""
    truth: list[tuple[float, float]] = field(default_factory=list)
    """Held-out rate of each checkpoint, the base model first, in two samples that nobody saw."""
    starts: list[int] = field(default_factory=list)
    """Checkpoint that each cycle began with."""
    shipped: int = BASE
    """Checkpoint that is shipped."""
    best: int = BASE
    """Checkpoint with the best rate among those seen; what a person without raftmon could ship, too."""
    stopped: int | None = None
    """Cycle after which raftmon stopped; None: it went on to the end."""
    wasted: int = 0
    """Cycles whose checkpoint was given up, by going back or by shipping an earlier one after a stop."""
    fired: list[list[str]] = field(default_factory=list)
    """Rules on the campaign that fired after each cycle; of constant campaigns, which nobody intervenes in."""
    because: list[list[str]] = field(default_factory=list)
    """Raftmon's reasons, asked after each cycle."""


Way: TypeAlias = Callable[[str, Sequence[str]], str]
"""Runs a module with arguments as a process of its own and returns what it printed."""


def as_new_process(module: str, arguments: Sequence[str]) -> str:
    """Run ``python -m module``."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def as_fork(module: str, arguments: Sequence[str]) -> str:
    """Run the same code in a fork, which has its imports already: two seconds less for each cycle."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            os.dup2(write, 1)
            code = _run(module, arguments)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor
        printed = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 4):
        raise RuntimeError(f"{module} {' '.join(arguments)}: exit code {code}")
    return printed


def _run(module: str, arguments: Sequence[str]) -> int:
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the pipe
    if module == "raftmon.cli":
        from raftmon import cli

        try:
            cli.main(arguments)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
    from tests.benchmarks import loop_cycle

    config, campaign, number, start = arguments
    loop_cycle.main(Path(config), Path(campaign), int(number), Path(start))
    return 0


def run_campaign(campaign: Campaign, base: Path, directory: Path, way: Way = as_fork) -> Outcome:
    """Run a campaign and return its outcome; its files are removed.

    Args:
        campaign: what to run.
        base: checkpoint of the base model.
        directory: where campaigns lie while they run; outcomes stay there, and are not made anew.
        way: how processes are started.
    """
    kept = directory / f"{campaign.name}.json"
    if kept.is_file():
        read = Outcome(**json.loads(kept.read_text()))
        read.truth = [(first, second) for first, second in read.truth]
        return read
    place = directory / campaign.name
    shutil.rmtree(place, ignore_errors=True)
    runner = _Runner(campaign, base, place, way)
    runner.run()
    partial = kept.with_suffix(".part")
    partial.write_text(json.dumps(runner.outcome.__dict__))
    partial.rename(kept)
    shutil.rmtree(place)
    return runner.outcome


class _Runner:
    """A campaign on its way."""

    def __init__(self, campaign: Campaign, base: Path, place: Path, way: Way) -> None:
        self.campaign, self.way = campaign, way
        self.logs, self.config = place / "raft", place / "raft.yaml"
        self.journal = place / "journal.sqlite3"
        self.logs.mkdir(parents=True)
        shutil.copy(base, place / "base.pt")
        self.base = place / "base.pt"
        self.outcome = Outcome()
        self.seen: list[float] = []
        rank = campaign.rank
        self.write_config(
            CONFIG.format(
                task=campaign.task,
                seed=campaign.seed,
                temperature=campaign.temperature,
                rate=campaign.rate,
                rank=rank,
                alpha=2 * rank,
                probes=str(campaign.arm == "raftmon-probes").lower(),
            )
        )

    def write_config(self, text: str) -> None:
        self.config.write_text(text)

    def rate(self) -> float:
        """Return the learning rate that the config says."""
        line = next(line for line in self.config.read_text().splitlines() if line.startswith("learning_rate:"))
        return float(line.split()[1])

    def set_rate(self, rate: float) -> None:
        """Write a learning rate, as a script of the user's own would."""
        old = next(line for line in self.config.read_text().splitlines() if line.startswith("learning_rate:"))
        self.write_config(self.config.read_text().replace(old, f"learning_rate: {rate:.6e}"))

    def run(self) -> None:
        """Train until the last cycle, or until raftmon stops."""
        outcome, start = self.outcome, BASE
        for number in range(1, self.campaign.cycles + 1):
            outcome.rates.append(self.rate())
            outcome.starts.append(start)
            begin = str(self.base if start == BASE else checkpoint(self.logs, start))
            self.way("tests.benchmarks.loop_cycle", [str(self.config), str(self.logs), str(number), begin])
            self.look(number)
            start = outcome.shipped = number
            if self.campaign.arm in ("raftmon", "raftmon-probes"):
                back, stop = self.ask_raftmon(number)
                if stop:
                    outcome.stopped = number
                    return
                if back is not None:
                    start = back
            else:
                self.decide(number)
            if self.campaign.arm == "constant":
                told = json.loads(self.way("raftmon.cli", ["advise", str(self.logs), "--format", "json"]))
                outcome.fired.append(
                    [f["rule"] for c in told["campaigns"] for f in c["findings"] if f["state"] == "firing"]
                )

    def look(self, number: int) -> None:
        """Read the rate that everybody may see, and the truth."""
        for cycle in (BASE, number) if number == 1 else (number,):
            lines = (self.logs / f"cycle_{cycle}_heldout.jsonl").read_text().splitlines()
            self.seen.append(sum(json.loads(line)["success"] for line in lines) / len(lines))
            self.outcome.truth.append(truth_of(self.logs, cycle))
        self.outcome.best = max(range(len(self.seen)), key=self.seen.__getitem__)

    def decide(self, number: int) -> None:
        """Go on as one does without raftmon."""
        if self.campaign.arm == "decay":
            self.set_rate(self.campaign.rate * DECAY**number)
        elif self.campaign.arm == "literal" and self.seen[-1] < self.seen[-2]:
            self.set_rate(self.rate() / 2)

    def ask_raftmon(self, number: int) -> tuple[int | None, bool]:
        """Have raftmon write the next rate; returns the checkpoint to go back to and whether to stop."""
        arguments = ["pre-cycle", str(self.config), "--logdir", str(self.logs), "--journal", str(self.journal)]
        arguments += ["--authority", "test", "--apply", "--format", "json"]
        told: dict[str, Any] = json.loads(self.way("raftmon.cli", arguments))
        if told["refused"] is not None:
            raise RuntimeError(f"{self.campaign.name}, cycle {number}: {told['refused']} {told['remedy']}")
        outcome, back = self.outcome, told["roll_back_to"]
        outcome.because.append([step["text"] for step in told["because"]])
        best = told["best_cycle"]
        outcome.shipped = number if best is None else best
        goes_on_from = outcome.shipped if told["stop"] else back
        if goes_on_from is not None and (told["stop"] or number < self.campaign.cycles):
            outcome.wasted += len(self.lineage(number) - self.lineage(goes_on_from))
        return back, bool(told["stop"])

    def lineage(self, checkpoint: int) -> set[int]:
        """Return the cycles that made a checkpoint, itself included."""
        line = set[int]()
        while checkpoint != BASE:
            line.add(checkpoint)
            checkpoint = self.outcome.starts[checkpoint - 1]
        return line
