"""A campaign that the real Trainer of transformers trains with the callback, for its tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

from raftmon.model import RunView
from raftmon.monitor import Monitor
from raftmon.torch import RaftmonCallback
from tests.e2e import tiny
from tests.e2e.hf_cycle import examples
from tests.logged_values import logged_values

__all__ = ["CONFIG", "DATA", "STEPS", "Campaign", "falling"]

STEPS: Final = 10
CONFIG: Final = """\
# RAFT, all cycles in one process
learning_rate: 5.0e-04
max_steps: 10
per_device_train_batch_size: 8
"""
DATA: Final = examples([sample for sample in tiny.generate_and_verify(1) if sample.success])


class Campaign:
    """A directory, a config and a journal."""

    def __init__(self, directory: Path) -> None:
        self.logdir = directory / "campaign"
        self.config = directory / "raft.yaml"
        if not self.config.exists():
            self.config.write_text(CONFIG)
        self.journal = directory / "journal.sqlite3"
        self.model = tiny.model(Path("none"))

    def callback(self, cycle: int | None = None, **options: Any) -> RaftmonCallback:
        options = {"config": self.config, "journal": self.journal, "authority": "test", **options}
        return RaftmonCallback(self.logdir, options.pop("config"), cycle, **options)

    def trainer(
        self, callback: TrainerCallback | None, cycle: int = 1, report_to: str = "tensorboard", **options: Any
    ) -> Any:
        options = {
            "output_dir": str(self.logdir / f"cycle_{cycle}"),
            "learning_rate": 5e-4,
            "max_steps": STEPS,
            "per_device_train_batch_size": 8,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            **options,
        }
        return Trainer(
            model=self.model,
            args=TrainingArguments(report_to=report_to, **options),
            train_dataset=DATA,
            data_collator=default_data_collator,
            callbacks=[callback] if callback is not None else [],
        )

    def runs(self) -> list[RunView]:
        return list(Monitor([self.logdir]).poll().runs)

    def cycle(self, number: int) -> RunView:
        """Return the newest run of a cycle: one that resumes in another second has a directory of its own."""
        runs = [run for run in self.runs() if run.cycle == number]
        return max(runs, key=lambda run: run.first_wall_time or 0.0)

    def logged(self, number: int, tag: str) -> list[float]:
        """Return a tag's values from all event files of a cycle, as TensorBoard's own reader finds them."""
        return logged_values(self.logdir / f"cycle_{number}", tag)


def falling(rate: float, steps: int = STEPS) -> Any:
    return pytest.approx([rate * (1 - step / steps) for step in range(steps)], rel=1e-5)
