"""The recorded runs of ``tests/runs`` with their right answers: event files as a trainer left them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RUNS: Final = Path(__file__).parents[1] / "runs"
KIND_OF: Final = {"low": "too_low", "ok": "ok", "high": "too_high", "diverged": "too_high"}
ROLES: Final[Mapping[str, str]] = {
    "train/loss": "loss",
    "train/grad_norm": "grad_norm",
    "train/learning_rate": "learning_rate",
    "eval/loss": "eval_loss",
}


@dataclass(frozen=True)
class Recording:
    """A recorded run with its right answer."""

    family: str
    name: str
    kind: str
    """``too_low``, ``ok`` or ``too_high``."""
    factor: float
    """Learning rate over the best one."""

    @property
    def path(self) -> Path:
        """Directory of the event file."""
        return RUNS / self.family / self.name


def recordings() -> list[Recording]:
    """Return the labelled runs, controls left out."""
    return [
        Recording(entry["family"], entry["name"], KIND_OF[entry["label"]], entry["factor"])
        for entry in json.loads((RUNS / "labels.json").read_text())
        if entry["family"] != "control"
    ]
