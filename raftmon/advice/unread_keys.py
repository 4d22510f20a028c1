"""Keys that a trainer's config may hold and its trainer does not read: they look in force and are not.

Known for halo-forge's RAFT command, read in its source (commit c8f6548, 2026-01-29), and for Ultralytics (8.4.190).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from raftmon.advice.yaml_slips import Founded, Slip, entries
from raftmon.runs.trainer_marks import is_halo_forge

__all__ = ["unread_keys"]

_DROP: Final = "Remove the line: it changes nothing."
_DECAY: Final = (
    "its flag --lr-decay has a default, 0.85, which comes first",
    "Write `lr_decay_factor` below `training:`, or start it with `--lr-decay`.",
)
_FLOOR: Final = (
    "its flag --min-lr has a default, 1e-6, which comes first",
    "Start it with `--min-lr`.",
)
_DEFAULTS: Final = {"lr_decay_per_cycle": 0.85, "min_lr": 1e-6}
"""Keys that change nothing and say what is in force."""
_HALO_FORGE: Final[Mapping[str, tuple[str, str]]] = {
    "training.max_grad_norm": ("the gradient is clipped at 1.0, the default of Hugging Face", _DROP),
    "training.weight_decay": ("no weight decay is in force", _DROP),
    "training.lr_scheduler_type": ("the schedule within a cycle is linear", _DROP),
    "training.epochs": ("a cycle trains for 1 epoch", _DROP),
    "training.learning_rate_schedule": (
        "the rate of a cycle is learning_rate × lr_decay_factor^(cycle−1)",
        "Let `raftmon pre-cycle` write each cycle's rate, or start each cycle with `--learning-rate`.",
    ),
    "training.lr_decay_per_cycle": _DECAY,
    "lr_decay_per_cycle": _DECAY,
    "training.min_lr": _FLOOR,
    "min_lr": _FLOOR,
    "raft.temperature": (
        "the temperature is read from generation.temperature (default 0.7)",
        "Move the line under `generation:`.",
    ),
}
_WARMUP: Final = "training.warmup_steps"
_FOUNDED: Final = Founded("observed", "B", "read in halo-forge's source: halo_forge/cli.py of commit c8f6548")
_ULTRALYTICS: Final = Founded("observed", "B", "read in Ultralytics 8.4.190, engine/trainer.py; ultralytics#8400")


def unread_keys(top: yaml.MappingNode, path: Path) -> list[Slip]:
    """Return the keys of a config that do not mean what they say to its trainer, in the order of the file.

    Args:
        top: the document.
        path: the file, for places.
    """
    found = [(name, node) for name, key, node in entries(top) if key is None]
    places = dict(sorted(found, key=lambda entry: (entry[1].start_mark.line, entry[1].start_mark.column)))
    slips = [*_ultralytics(places, path), *(_halo_forge(places, path) if is_halo_forge(places) else ())]
    return sorted(slips, key=lambda slip: tuple(map(int, slip.where.rsplit(":", 2)[1:])))


def _ultralytics(places: Mapping[str, yaml.Node], path: Path) -> Iterator[Slip]:
    optimizer, rate = places.get("optimizer"), places.get("lr0")
    if optimizer is not None and rate is not None and str(optimizer.value) == "auto":
        text = "With `optimizer: auto` Ultralytics chooses the learning rate itself and does not read `lr0`."
        fix = "Name the optimiser, for example `optimizer: SGD`."
        yield _slip("A key that its trainer does not read", text, fix, rate, path, _ULTRALYTICS)


def _halo_forge(places: Mapping[str, yaml.Node], path: Path) -> Iterator[Slip]:
    said: set[str] = set()
    for name, node in places.items():
        known = next((key for key in _HALO_FORGE if name == key or name.startswith(f"{key}.")), None)
        if known is not None and known not in said and not _says_what_is_in_force(name, node):
            said.add(known)
            instead, fix = _HALO_FORGE[known]
            text = f"halo-forge does not read `{known}` for RAFT: {instead}."
            yield _slip("A key that its trainer does not read", text, fix, node, path)
    warmup = places.get(_WARMUP)
    if warmup is not None and str(warmup.value) == "0":
        text = f"halo-forge reads `{_WARMUP}: 0` as not given and warms up for 10 steps."
        yield _slip("A warm-up of 0 means 10 here", text, "Write 1.", warmup, path)
    rate = places.get("training.learning_rate") or places.get("training.base_learning_rate")
    if rate is not None and not {"lr_decay_per_cycle", "training.lr_decay_factor"} & places.keys():
        text = "The rate falls to 0.85 of itself each cycle: the default of `training.lr_decay_factor`."
        fix = "Write `lr_decay_factor: 1.0` below `training:` for a constant rate, or 0.85 to show what happens."
        yield _slip("The rate decays although no decay is written", text, fix, rate, path)


def _says_what_is_in_force(name: str, node: yaml.Node) -> bool:
    try:
        return float(str(node.value)) == _DEFAULTS.get(name.rpartition(".")[2])
    except ValueError:
        return False


def _slip(title: str, text: str, fix: str, node: yaml.Node, path: Path, founded: Founded = _FOUNDED) -> Slip:
    where = f"{path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    return Slip(where, "key-not-read", title, "low", text, fix, founded)
