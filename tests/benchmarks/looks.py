"""Recorded trainings as a monitor may see them: whole or cut short, densely or sparsely logged, with fewer tags."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from raftmon.model import RunConfig
from raftmon.runs.logdir import Run
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import RunSignals

RUNS: Final = Path(__file__).parents[1] / "runs"
KIND_OF: Final = {"low": "too_low", "ok": "ok", "high": "too_high", "diverged": "too_high"}
ROLES: Final = {
    "train/loss": "loss",
    "train/grad_norm": "grad_norm",
    "train/learning_rate": "learning_rate",
    "eval/loss": "eval_loss",
}


@dataclass(frozen=True)
class Condition:
    """What is left of a recording."""

    every: int = 1
    """Every so many steps are logged; a loss is then the mean of them, as the Hugging Face Trainer logs it."""
    share: float = 1.0
    """Share of the run that has passed."""
    grad_norm: bool = True

    def __str__(self) -> str:
        words = ["whole run" if self.share == 1.0 else f"first {self.share:.0%}"]
        words += [f"every {self.every} steps"] if self.every > 1 else []
        words += [] if self.grad_norm else ["loss alone"]
        return ", ".join(words)


CONDITIONS: Final = tuple(
    Condition(every, share, grad_norm)
    for grad_norm in (True, False)
    for every, share in ((1, 1.0), (1, 0.5), (1, 0.25), (5, 1.0))
)


@dataclass(frozen=True)
class Recording:
    """A recorded run with its right answer."""

    family: str
    name: str
    kind: str
    """``too_low``, ``ok`` or ``too_high``."""
    factor: float
    """Learning rate over the best one."""
    max_grad_norm: float | None

    @property
    def path(self) -> Path:
        """Directory of the event file."""
        return RUNS / self.family / self.name

    def open(self) -> Run:
        """Return the run with all its files, not read yet."""
        run = Run(f"{self.family}/{self.name}", self.path)
        for file in sorted(self.path.iterdir()):
            run.add_file(file)
        return run

    def readings(self, condition: Condition) -> Mapping[str, float | None]:
        """Return what the signals say under a condition, at its end."""
        run = self.open()
        run.poll(1 << 30)
        end = max(int(series.steps[-1]) for series in run.series.values()) * condition.share
        config = RunConfig(max_grad_norm=self.max_grad_norm)
        signals = RunSignals(config)
        for tag, role in ROLES.items():
            if tag in run.series and (condition.grad_norm or role != "grad_norm"):
                for step, value in _points(run, tag, role, condition, end):
                    signals.update(role, step, value)
        return signals.readings(RunFacts(config, ended=True, steps=int(end)))


def _points(run: Run, tag: str, role: str, condition: Condition, end: float) -> Iterator[tuple[int, float]]:
    steps, values = run.series[tag].steps, run.series[tag].values
    every = 1 if role == "eval_loss" else condition.every
    for index in range(every - 1, len(steps), every):
        if steps[index] > end:
            return
        value = np.mean(values[index - every + 1 : index + 1]) if role == "loss" else values[index]
        yield int(steps[index]), float(value)


def recordings() -> list[Recording]:
    """Return the labelled runs, controls left out."""
    return [
        Recording(e["family"], e["name"], KIND_OF[e["label"]], e["factor"], e["max_grad_norm"])
        for e in json.loads((RUNS / "labels.json").read_text())
        if e["family"] != "control"
    ]
