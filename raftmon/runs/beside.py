"""The files beside a run that say how it is configured: what they are called, and whether they are there.

What they say is read by `raftmon.runs.sidecars`, which many a run never needs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = [
    "ADAPTER",
    "CHECKPOINT_FILES",
    "SIDECARS",
    "has_sidecars",
    "is_sidecar_name",
    "output_of",
    "sidecar_stamp",
]

SIDECARS: Final = ("hparams.yaml", "config.yaml", "args.yaml")
CHECKPOINT_FILES: Final = ("trainer_state.json", "adapter_config.json")
"""What is read of the newest checkpoint of Hugging Face; the second one also beside the checkpoints."""
ADAPTER: Final = CHECKPOINT_FILES[1]
_LOG_DIRECTORIES: Final = ("runs", "logs", "tensorboard")


def is_sidecar_name(name: str) -> bool:
    """Tell whether a file of this name in a run's directory says how the run is configured."""
    return name in SIDECARS


def sidecar_stamp(run_dir: Path) -> tuple[int, ...]:
    """Return what changes whenever a sidecar file appears or is written anew (Lightning writes its own late)."""
    stamps = []
    for name in SIDECARS:
        try:
            # 0 stands for no file, and is the time of a file out of some archives.
            stamps.append(os.stat(f"{run_dir}/{name}").st_mtime_ns or 1)  # noqa: PTH116 - a third of a Path's cost
        except OSError:
            stamps.append(0)
    return tuple(stamps)


def has_sidecars(run_dir: Path) -> bool:
    """Tell whether anything beside a run's event files may say how it is configured."""
    if any(sidecar_stamp(run_dir)):
        return True
    output = output_of(run_dir)
    try:
        names = os.listdir(output)  # noqa: PTH208 - names are enough
    except OSError:
        return False
    beside = any(name == ADAPTER or name.startswith("checkpoint-") for name in names)
    return beside or os.path.exists(f"{output}_final/{ADAPTER}")  # noqa: PTH110


def output_of(run_dir: Path) -> Path:
    """Return the directory in which a trainer that logs to here saves its checkpoints."""
    above = run_dir.parent
    if run_dir.name in _LOG_DIRECTORIES:
        return above
    return above.parent if above.name in _LOG_DIRECTORIES else run_dir
