"""One RAFT cycle of the closed loop: a process of its own that reads its config when it starts.

usage: python -m tests.benchmarks.loop_cycle CONFIG CAMPAIGN CYCLE START

Sample, verify, filter, one epoch of fine-tuning, ask held-out prompts. START is the checkpoint to begin with. Below
CAMPAIGN it leaves what `raftmon.runs.cycles` reads, the checkpoint ``cycle_N/policy.pt``, and the truth: the rate of
that checkpoint on the held-out prompts in two samples of their own, which nothing but the tables looks at.
"""

# mypy: no-warn-return-any

from __future__ import annotations

import functools
import json
import random
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from raftmon.torch import CycleProbe, Probe
from tests.benchmarks.loop_policy import Pair, Policy
from tests.benchmarks.loop_tasks import JUDGED
from tests.campaign_tasks import TASKS, Task

__all__ = ["BASE", "checkpoint", "main", "truth_of"]

TRAINING_PROMPTS: Final = 26
SAMPLES: Final = 24
"""Completions per training prompt and cycle."""
HELD_OUT_SAMPLES: Final = 64
"""Completions per held-out prompt, which raftmon sees; as many again in each half of the truth."""
KEPT: Final = 240
BATCH: Final = 8
MAX_GRAD_NORM: Final = 1.0
BASE: Final = 0
"""Number of the checkpoint that a campaign begins with."""


def checkpoint(campaign: Path, cycle: int) -> Path:
    """Return where the checkpoint of a cycle lies."""
    return campaign / f"cycle_{cycle}" / "policy.pt"


def truth_of(campaign: Path, cycle: int) -> tuple[float, float]:
    """Return the held-out rate of a checkpoint in the two samples that raftmon never sees."""
    first, second = json.loads((campaign / f"cycle_{cycle}" / "truth.json").read_text())
    return first, second


class Cycle:
    """One cycle, and what it asks of its policy."""

    def __init__(self, settings: dict[str, Any], campaign: Path, number: int, start: Path) -> None:
        self.settings = settings
        self.campaign = campaign
        self.number = number
        self.task: Task = {**TASKS, **JUDGED}[settings["task"]]()
        self.heat = float(settings["temperature"])
        # Everything but what the learning rate decides is the same for campaigns of one seed.
        seed = zlib.crc32(f"{settings['seed']} {number}".encode())
        torch.manual_seed(seed)
        self.rng = random.Random(seed)
        self.policy = Policy(int(settings["lora_r"]))
        self.policy.load_state_dict(torch.load(start), strict=False)
        shuffled = random.Random(settings["seed"]).sample(self.task.prompts, len(self.task.prompts))
        self.training, self.held_out = shuffled[:TRAINING_PROMPTS], shuffled[TRAINING_PROMPTS:]

    def ask(self, prompts: Sequence[str], samples: int) -> list[Pair]:
        """Sample completions."""
        return self.policy.sample([p for p in prompts for _ in range(samples)], self.heat, self.task.longest)

    def write_verdicts(self, name: str, pairs: Sequence[Pair]) -> list[Pair]:
        """Judge completions and write them down; returns those accepted."""
        lines, accepted = [], []
        for pair in pairs:
            success = self.task.judge(*pair)
            accepted += [pair] if success else []
            line = {"prompt": pair[0], "completion": pair[1], "reward": float(success), "success": success}
            lines.append(json.dumps(line))
        (self.campaign / name).write_text("\n".join(lines) + "\n")
        return accepted

    def measure(self, number: int) -> None:
        """Ask the held-out prompts for raftmon, and twice for the truth."""
        self.write_verdicts(f"cycle_{number}_heldout.jsonl", self.ask(self.held_out, HELD_OUT_SAMPLES))
        halves = [self.ask(self.held_out, HELD_OUT_SAMPLES) for _ in range(2)]
        rates = [sum(self.task.judge(*pair) for pair in half) / len(half) for half in halves]
        path = self.campaign / f"cycle_{number}" / "truth.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rates))

    def nll(self, pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
        """Score completions at the temperature that they were sampled at."""
        return self.policy.sums(pairs, self.heat)

    def run(self) -> None:
        """Do all of it."""
        if self.number == 1:
            self.measure(BASE)
        samples = self.ask(self.training, SAMPLES)
        accepted = self.write_verdicts(f"cycle_{self.number}_verified.jsonl", samples)
        kept = self.rng.sample(accepted, min(KEPT, len(accepted)))
        probe = CycleProbe(self.nll) if self.settings["probes"] else None
        with SummaryWriter(str(self.campaign / f"cycle_{self.number}" / "logs")) as writer:
            if probe is not None:
                own = self.ask(self.held_out, SAMPLES)
                probe.before(own, [pair for pair in own if self.task.judge(*pair)])
            steps = self.fine_tune(kept, writer)
            if probe is not None:
                probe.after(writer, steps)
        torch.save(self.policy.state_dict(), checkpoint(self.campaign, self.number))
        self.measure(self.number)

    def fine_tune(self, kept: list[Pair], writer: SummaryWriter) -> int:
        """Train one epoch with linear decay to 0 and a fresh optimiser, logged at every step; returns the steps."""
        peak = float(self.settings["learning_rate"])
        batches = [kept[at : at + BATCH] for at in range(0, len(kept), BATCH)]
        told = {**self.settings, "max_steps": len(batches), "logging_steps": 1, "max_grad_norm": MAX_GRAD_NORM}
        writer.add_text("args", json.dumps(told | {"lr_scheduler_type": "linear", "warmup_steps": 0}, indent=2))
        trained = [weight for weight in self.policy.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=peak, weight_decay=0.0)
        probe = None
        if self.settings["probes"]:
            probe = Probe(self.policy, optimizer, writer, steps=len(batches), rate_tag=None)
        for step, batch in enumerate(batches, start=1):
            rate = peak * (1 - (step - 1) / len(batches))
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss = self.policy.loss(batch)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, MAX_GRAD_NORM)
            if probe is None:
                optimizer.step()
            else:
                probe.step(functools.partial(self.policy.loss, batch))
            for tag, value in (("loss", loss.item()), ("grad_norm", norm.item()), ("learning_rate", rate)):
                writer.add_scalar(f"train/{tag}", value, step)
        return len(batches)


def main(config: Path, campaign: Path, number: int, start: Path) -> None:
    """Run one cycle."""
    torch.set_num_threads(1)
    Cycle(yaml.safe_load(config.read_text()), campaign, number, start).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
