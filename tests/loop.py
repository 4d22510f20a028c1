"""Campaigns in the shape of a training loop: cycles with event files, verdicts and a config beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from tests.scripted import FIRST, event, record, scalar_record, text

__all__ = ["BEGAN", "CONFIG", "Loop"]

BEGAN: Final = FIRST
"""Wall time of the first event of cycle 1; cycle n begins n - 1 hours later."""
CONFIG: Final = """\
# RAFT, one process a cycle
model_name_or_path: tiny
learning_rate: 5.0e-05   # of every cycle
per_device_train_batch_size: 4
gradient_accumulation_steps: 4
num_train_epochs: 1
optim: adamw_torch
output_dir: out
"""
HOUR: Final = 3600.0


class Loop:
    """A campaign directory and the config of its trainer."""

    def __init__(self, directory: Path, config: str = CONFIG, name: str = "raft.yaml") -> None:
        self.campaign = directory / "campaign"
        self.config = directory / name
        self.journal = directory / "journal.sqlite3"
        directory.mkdir(parents=True, exist_ok=True)
        self.config.write_bytes(config.encode())
        # Written before the first cycle began.
        os.utime(self.config, (BEGAN - HOUR, BEGAN - HOUR))

    def train(
        self,
        cycle: int,
        rate: float = 5e-5,
        passed: int = 400,
        of: int = 1000,
        arguments: dict[str, object] | None = None,
    ) -> None:
        """Write what a cycle leaves behind: a linear schedule in 16 steps, and the verdicts that came before it."""
        run = self.campaign / f"cycle_{cycle}" / "logs"
        run.mkdir(parents=True, exist_ok=True)
        begin = BEGAN + HOUR * (cycle - 1)
        told = json.dumps({"learning_rate": rate, "max_steps": 16, "optim": "adamw_torch", **(arguments or {})})
        rows = [record(event([text("args/text_summary", told)], wall_time=begin))]
        for step in range(1, 17):
            for tag, value in (("loss", 1.0), ("grad_norm", 0.5), ("learning_rate", rate * (17 - step) / 16)):
                rows.append(scalar_record(f"train/{tag}", value, step, begin + step))
        path = run / "events.out.tfevents.1"
        path.write_bytes(b"".join(rows))
        os.utime(path, (begin + 20, begin + 20))
        verdicts = [
            json.dumps(
                {"prompt": f"p{n % 50}", "completion": f"c{n}", "reward": float(n < passed), "success": n < passed}
            )
            for n in range(of)
        ]
        (self.campaign / f"cycle_{cycle}_verified.jsonl").write_text("\n".join(verdicts) + "\n")

    def written_at(self, cycle: int) -> None:
        """Pretend that the config was last written just before a cycle began."""
        begin = BEGAN + HOUR * (cycle - 1) - 60
        os.utime(self.config, (begin, begin))
