"""Inside the trainer: probes, schedules, and callbacks that follow raftmon's advice (the extra ``torch``).

Names are imported where they are first asked for: ``from raftmon.torch import next_learning_rate`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftmon.torch.cycle_probe import CycleProbe, CycleShift, completion_nll
    from raftmon.torch.probe import Probe

__all__ = [
    "CycleProbe",
    "CycleShift",
    "Probe",
    "completion_nll",
]

_HOMES: Final[dict[str, str]] = {
    "CycleProbe": "cycle_probe",
    "CycleShift": "cycle_probe",
    "Probe": "probe",
    "completion_nll": "cycle_probe",
}
"""Name to the module of this package that defines it."""


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
