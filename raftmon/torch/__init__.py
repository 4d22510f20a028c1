"""Inside the trainer: probes, schedules, and callbacks that follow raftmon's advice (the extra ``torch``).

Names are imported where they are first asked for: ``from raftmon.torch import next_learning_rate`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftmon.torch.callbacks import RaftmonCallback
    from raftmon.torch.lightning import RaftmonLightningCallback
    from raftmon.torch.next_rate import StopCampaign, next_learning_rate

__all__ = ["RaftmonCallback", "RaftmonLightningCallback", "StopCampaign", "next_learning_rate"]

_HOMES: Final[dict[str, str]] = {
    "RaftmonCallback": "callbacks",
    "RaftmonLightningCallback": "lightning",
    "StopCampaign": "next_rate",
    "next_learning_rate": "next_rate",
}
"""Name to the module of this package that defines it."""


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
