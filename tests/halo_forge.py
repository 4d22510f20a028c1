"""Campaigns as halo-forge leaves them on disk, with the numbers of its own repository, and its arithmetic.

Read in its source at commit c8f6548 (2026-01-29): `halo_forge/cli.py` and `halo_forge/rlvr/raft_trainer.py` for files,
keys and arithmetic; `results/benchmarks/*/summary.json` and `benchmarking.md` for the numbers. `used_rate` was compared
with that version's own command, its trainer taken out, in 5040 combinations of keys, flags and cycles: they agree.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.scripted import FIRST, event, header_record, record, simple, text

RATE, DECAY, FLOOR = 5e-5, 0.85, 1e-6
"""What halo-forge takes where nobody says otherwise."""
WARMUP: Final = 10
"""Steps; a cycle of these campaigns has one or two, so that it never gets to its learning rate."""


@dataclass(frozen=True)
class Cycle:
    """What is on record of one cycle."""

    verified: int
    passed: int
    kept: int
    loss: float
    """Mean over the cycle's steps."""
    steps: int
    seconds: float
    grad_norm: float | None = None
    """Before clipping."""


@dataclass(frozen=True)
class Experiment:
    """A campaign that was really run."""

    model: str
    prompts: int
    reward: float
    """Of an accepted sample: 0.5 where it had to compile, 1.0 where it had to pass tests."""
    cycles: tuple[Cycle, ...]
    baseline: int | None = None
    """Samples that the model passed before the first cycle; None: no ``summary.json`` was written."""


EXPERIMENTS: Final = {
    "0.5B": Experiment(
        model="Qwen/Qwen2.5-Coder-0.5B",
        prompts=16,
        reward=0.5,
        cycles=(Cycle(128, 41, 21, 0.44378, 1, 614.0), Cycle(128, 37, 19, 0.515725, 1, 631.3)),
        baseline=41,
    ),
    "1.5B": Experiment(
        model="Qwen/Qwen2.5-Coder-1.5B",
        prompts=16,
        reward=0.5,
        cycles=(Cycle(128, 85, 43, 0.603564, 2, 816.5), Cycle(128, 85, 43, 0.623738, 2, 835.0)),
        baseline=86,
    ),
    "3B": Experiment(
        model="Qwen/Qwen2.5-Coder-3B",
        prompts=16,
        reward=0.5,
        cycles=(Cycle(128, 125, 63, 0.87814, 2, 1301.5), Cycle(128, 123, 62, 0.751101, 2, 1316.3)),
        baseline=125,
    ),
    # Told as 21.2, 17.5 and 22.5 % with 17, 14 and 18 kept of 20 prompts: of 80 samples, each accepted one was kept.
    # Its steps are not told; with the default batch of 32 they are one.
    "HumanEval": Experiment(
        model="Qwen/Qwen2.5-Coder-3B",
        prompts=20,
        reward=1.0,
        cycles=(
            Cycle(80, 17, 17, 0.563, 1, 1080.0, 995.3),
            Cycle(80, 14, 14, 0.570, 1, 1080.0, 194.0),
            Cycle(80, 18, 18, 0.526, 1, 1080.0, 0.47),
        ),
    ),
}


def config_text(rate: str | None = "5e-5", *, training: str = "", top: str = "") -> str:
    """Return a config with the blocks of halo-forge's own, whose rate PyYAML reads as text unless it has a point.

    Args:
        rate: as it is to stand there; None: no such key.
        training: more lines of the block ``training``, without their indentation.
        top: more lines at the top level.
    """
    lines = ([f"learning_rate: {rate}  # lower than for SFT"] if rate is not None else []) + training.splitlines()
    return _CONFIG.format(training="\n".join(f"  {line}" for line in lines), top=top)


_CONFIG: Final = """\
# RAFT: generate, verify, keep the best, fine-tune on them
model:
  name: Qwen/Qwen2.5-Coder-0.5B
  trust_remote_code: true

output_dir: models/raft
prompts: data/prompts.jsonl
{top}
raft:
  num_cycles: 6
  samples_per_prompt: 8
  reward_threshold: 0.5
  keep_top_percent: 0.5

generation:
  max_new_tokens: 1024
  temperature: 0.7
  batch_size: 8

training:
  epochs: 1
  batch_size: 2
  gradient_accumulation_steps: 16  # effective batch: 32
{training}
  warmup_steps: 10
  max_grad_norm: 0.3
  weight_decay: 0.01
  dataloader_num_workers: 0
  dataloader_pin_memory: false

lora: {{r: 16, alpha: 32, dropout: 0.05}}

verifier:
  type: mbpp
  timeout: 30
"""


def used_rate(config: Path, cycle: int, *arguments: str) -> float:
    """Return the learning rate at which ``halo-forge raft train --config CONFIG`` trains a cycle.

    The flags for decay and floor have defaults of their own, which come before the file: its top-level
    ``lr_decay_per_cycle`` and ``min_lr`` are never in force. ``training.lr_decay_factor`` is, as long as the flag has
    its default. Nothing is converted, so that a rate which YAML reads as text goes into the product.

    Args:
        config: the YAML file.
        cycle: from 1.
        arguments: more of the command line: ``--learning-rate``, ``--lr-decay``, ``--min-lr``.

    Raises:
        TypeError: a number in the file is text, as it is for halo-forge.
    """
    flags = argparse.ArgumentParser()
    flags.add_argument("--learning-rate", type=float)
    flags.add_argument("--lr-decay", type=float, default=DECAY)
    flags.add_argument("--min-lr", type=float, default=FLOOR)
    given = flags.parse_args(arguments)
    document = yaml.safe_load(config.read_text())
    block = document.get("training")
    training: dict[str, Any] = block if isinstance(block, dict) else {}

    rate: Any = given.learning_rate
    if rate is None:
        # A rate of 0 counts as not given.
        rate = training.get("learning_rate") or training.get("base_learning_rate") or RATE
    decay: Any = given.lr_decay or document.get("lr_decay_per_cycle", DECAY)
    floor: Any = given.min_lr or document.get("min_lr", FLOOR)
    if decay == DECAY and training.get("lr_decay_factor") is not None:
        decay = training["lr_decay_factor"]
    used: float = max(rate * decay ** (cycle - 1), floor)
    return used


def build(
    directory: Path,
    name: str,
    *,
    cycles: int | None = None,
    rate: float = RATE,
    decay: float = DECAY,
    finished: bool = False,
    layout: str = "logs",
) -> Path:
    """Write the output directory of a campaign.

    It is what the trainer writes; ``summary.json`` is of the benchmark runner, which ran the campaigns that have one. A
    step's own loss is not on record, so each has the mean; a gradient norm is written where one is on record.

    Args:
        directory: to write into.
        name: of `EXPERIMENTS`.
        cycles: how many are done; None: all.
        rate: learning rate of the first cycle.
        decay: its factor per cycle.
        finished: whether the process ended by itself: only then the reports on all cycles are there.
        layout: where the event files lie in a cycle: ``logs`` with transformers 4; ``runs`` with 5, which takes no
            notice of the directory that it is given.
    """
    experiment, wall_time = EXPERIMENTS[name], FIRST
    done = experiment.cycles[:cycles]
    for number, cycle in enumerate(done, start=1):
        samples = list(_samples(experiment, cycle))
        _write_lines(directory / f"cycle_{number}_samples.jsonl", [_only(s, "prompt", "completion") for s in samples])
        _write_lines(directory / f"cycle_{number}_verified.jsonl", sorted(samples, key=lambda s: -s["reward"]))
        wall_time += cycle.seconds
        logs = "logs" if layout == "logs" else "runs/Jan29_10-00-00_strix"
        events = directory / f"cycle_{number}" / logs / f"events.out.tfevents.{wall_time:.0f}.strix.4711.{number - 1}"
        events.parent.mkdir(parents=True)
        events.write_bytes(b"".join(_events(cycle, max(rate * decay ** (number - 1), FLOOR), wall_time)))
        _write_checkpoint(directory / f"cycle_{number}_final")
    if finished:
        statistics = [_statistics(number, cycle, experiment) for number, cycle in enumerate(done, start=1)]
        _write(directory / "raft_statistics.json", json.dumps(statistics, indent=2))
        if experiment.baseline is not None:
            _write(directory / "summary.json", json.dumps(_summary(experiment), indent=2))
    return directory


def schedule(rate: float, steps: int) -> list[float]:
    """Return the learning rates of a cycle's steps: linear, up for `WARMUP` steps and then down to 0."""
    return [
        rate * (step / WARMUP if step < WARMUP else (steps - step) / max(1, steps - WARMUP)) for step in range(steps)
    ]


def _samples(experiment: Experiment, cycle: Cycle) -> Iterator[dict[str, Any]]:
    """Yield the samples prompt by prompt; which ones pass is not on record, so they are spread evenly."""
    each = cycle.verified // experiment.prompts
    for number in range(cycle.verified):
        success = (number + 1) * cycle.passed // cycle.verified > number * cycle.passed // cycle.verified
        yield {
            "prompt": f"Write a function for task {number // each}.",
            "completion": f"def task_{number // each}():\n    return {number % each}\n",
            "reward": experiment.reward if success else 0.0,
            "success": success,
            "details": "Compiled" if success else "Failed",
        }


def _events(cycle: Cycle, rate: float, wall_time: float) -> Iterator[bytes]:
    arguments = {
        "learning_rate": rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": WARMUP,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "optim": "adamw_torch",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 16,
        "num_train_epochs": 1,
        "logging_steps": 1,
    }
    yield header_record()
    yield record(event([text("args/text_summary", json.dumps(arguments, indent=2))], wall_time=wall_time))
    for step, now in enumerate(schedule(rate, cycle.steps), start=1):
        logged = {"loss": cycle.loss, "learning_rate": now, "epoch": step / cycle.steps}
        if cycle.grad_norm is not None:
            logged["grad_norm"] = cycle.grad_norm
        # HF writes an event per scalar.
        for tag, value in logged.items():
            yield record(event([simple(f"train/{tag}", value)], step=step, wall_time=wall_time + 10 * step))
    yield record(event([simple("train/train_loss", cycle.loss)], step=cycle.steps, wall_time=wall_time + 60))


def _statistics(number: int, cycle: Cycle, experiment: Experiment) -> dict[str, Any]:
    distribution = {"0.0": cycle.verified - cycle.passed, "0.5": 0, "0.7": 0, "1.0": 0}
    distribution[str(experiment.reward)] = cycle.passed
    return {
        "cycle": number,
        "elapsed_minutes": cycle.seconds / 60,
        "total_samples": cycle.verified,
        "above_threshold": cycle.passed,
        "kept": cycle.kept,
        "avg_reward": experiment.reward * cycle.passed / cycle.verified,
        "avg_kept_reward": experiment.reward,
        "success_rate": cycle.passed / cycle.verified,
        "reward_distribution": distribution,
        "threshold_adjusted": False,
        "effective_threshold": 0.5,
    }


def _summary(experiment: Experiment) -> dict[str, Any]:
    assert experiment.baseline is not None
    verified = experiment.cycles[0].verified
    baseline = {"total_samples": verified, "compiled": experiment.baseline}
    return {
        "model_name": experiment.model,
        "n_cycles": len(experiment.cycles),
        "total_time_sec": sum(cycle.seconds for cycle in experiment.cycles),
        "baseline": {**baseline, "compile_rate": round(experiment.baseline / verified, 4)},
        "cycles": [
            {
                "cycle": number,
                "generated": cycle.verified,
                "verified": cycle.verified,
                "kept": cycle.kept,
                "compile_rate": round(cycle.passed / cycle.verified, 4),
                "avg_reward": round(experiment.reward * cycle.passed / cycle.verified, 4),
                "training_loss": cycle.loss,
                "training_steps": cycle.steps,
                "cycle_time_sec": cycle.seconds,
            }
            for number, cycle in enumerate(experiment.cycles, start=1)
        ],
    }


def _write_checkpoint(directory: Path) -> None:
    """Write what a loader looks for first; the weights are none."""
    _write(directory / "adapter_config.json", json.dumps({"peft_type": "LORA", "r": 16, "lora_alpha": 32}))
    _write(directory / "adapter_model.safetensors", "")


def _only(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names}


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    _write(path, "".join(json.dumps(each) + "\n" for each in records))


def _write(path: Path, content: str) -> None:
    """Write a file that has rested since the campaign."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (FIRST, FIRST))
