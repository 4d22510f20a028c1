"""Inside the trainer: probes, schedules, and callbacks that follow raftmon's advice (the extra ``torch``).

Names are imported where they are first asked for: ``from raftmon.torch import next_learning_rate`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftmon.torch.base_rates import multiply_schedule, restart_at
    from raftmon.torch.cycle_probe import CycleProbe, CycleShift, completion_nll
    from raftmon.torch.groups import discriminative_groups, layer_depths, layerwise_groups
    from raftmon.torch.probe import Probe
    from raftmon.torch.scaling import batch_scale, warmup_length
    from raftmon.torch.schedules import (
        constant_late_decay,
        cosine_restarts,
        cycle_decay,
        plateau_decay,
        warmup_cosine,
        warmup_linear,
    )

__all__ = [
    "CycleProbe",
    "CycleShift",
    "Probe",
    "batch_scale",
    "completion_nll",
    "constant_late_decay",
    "cosine_restarts",
    "cycle_decay",
    "discriminative_groups",
    "layer_depths",
    "layerwise_groups",
    "multiply_schedule",
    "plateau_decay",
    "restart_at",
    "warmup_cosine",
    "warmup_length",
    "warmup_linear",
]

_HOMES: Final[dict[str, str]] = {
    **dict.fromkeys(("multiply_schedule", "restart_at"), "base_rates"),
    **dict.fromkeys(("CycleProbe", "CycleShift", "completion_nll"), "cycle_probe"),
    **dict.fromkeys(("discriminative_groups", "layer_depths", "layerwise_groups"), "groups"),
    "Probe": "probe",
    **dict.fromkeys(("batch_scale", "warmup_length"), "scaling"),
    **dict.fromkeys(("constant_late_decay", "cosine_restarts", "cycle_decay", "plateau_decay"), "schedules"),
    **dict.fromkeys(("warmup_cosine", "warmup_linear"), "schedules"),
}
"""Name to the module of this package that defines it."""


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
