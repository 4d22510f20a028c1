"""How often Python's collector of cycles looks at the objects of a daemon."""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["calm_collector"]

THRESHOLDS: Final = 20_000, 20, 50
"""New objects before the youngest are looked at, and how many of those looks come before one at older ones."""


def calm_collector() -> None:
    """Let the collector look seldom.

    With a thousand runs followed, a third of the CPU went into looking at objects that live until the next look at
    their run, and make no cycles; by default the youngest are looked at after each 700.
    """
    gc.set_threshold(*THRESHOLDS)
