"""Inside the trainer: probes, schedules, and callbacks that follow raftmon's advice (the extra ``torch``).

Names are imported where they are first asked for: ``from raftmon.torch import next_learning_rate`` needs no torch. A
name whose package is not installed is not in ``__all__``, and raises `MissingExtra`, an ImportError, where it is asked
for all the same. (An AttributeError, which `hasattr` wants, would cost ``from raftmon.torch import ...`` the message
that says what to install.)
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from raftmon.errors import MissingExtra

if TYPE_CHECKING:
    from raftmon.torch.base_rates import multiply_schedule, restart_at
    from raftmon.torch.callbacks import RaftmonCallback
    from raftmon.torch.cycle_probe import CycleProbe, CycleShift, completion_nll
    from raftmon.torch.groups import discriminative_groups, layer_depths, layerwise_groups
    from raftmon.torch.lightning import RaftmonLightningCallback
    from raftmon.torch.next_rate import StopCampaign, next_learning_rate
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
    "RaftmonCallback",
    "RaftmonLightningCallback",
    "StopCampaign",
    "batch_scale",
    "completion_nll",
    "constant_late_decay",
    "cosine_restarts",
    "cycle_decay",
    "discriminative_groups",
    "layer_depths",
    "layerwise_groups",
    "multiply_schedule",
    "next_learning_rate",
    "plateau_decay",
    "restart_at",
    "warmup_cosine",
    "warmup_length",
    "warmup_linear",
]

_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "base_rates": ("multiply_schedule", "restart_at"),
    "callbacks": ("RaftmonCallback",),
    "cycle_probe": ("CycleProbe", "CycleShift", "completion_nll"),
    "groups": ("discriminative_groups", "layer_depths", "layerwise_groups"),
    "lightning": ("RaftmonLightningCallback",),
    "next_rate": ("StopCampaign", "next_learning_rate"),
    "probe": ("Probe",),
    "scaling": ("batch_scale", "warmup_length"),
    "schedules": (
        "constant_late_decay",
        "cosine_restarts",
        "cycle_decay",
        "plateau_decay",
        "warmup_cosine",
        "warmup_linear",
    ),
}
"""Module of this package to the public names that it defines."""
_HOMES: Final = {name: module for module, names in _MODULES.items() for name in names}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "callbacks": ("torch", "tensorboard", "transformers"),
    "lightning": ("torch", "lightning"),
    "next_rate": (),
    "scaling": (),
}
"""Module of this package to what must be installed for it; the others need torch."""


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:
        return True  # imported already, by unusual means


_MISSING: Final = {
    name
    for module, names in _MODULES.items()
    for name in names
    if not all(map(_is_installed, _NEEDED.get(module, ("torch",))))
}
__all__[:] = [name for name in __all__ if name not in _MISSING]


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        what = f"{name} needs torch, which is not installed"
        raise MissingExtra("raftmon.torch", what, 'pip install "raftmon[torch]"') from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
