"""Which runs belong to one sweep: those whose names differ in numbers alone and whose configurations agree otherwise.

A sweep over learning rates is the best evidence there is. But runs that differ in more than the learning rate must not
be compared, so that what both runs say of their configuration has to agree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from raftmon.model import RunConfig
from raftmon.signals.siblings import Standing

__all__ = ["Sweeps"]

MOST: Final = 32
"""Runs that one is compared with, the nearest by learning rate; larger sweeps are not judged anew as a whole."""
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)
_SAME: Final = (
    "max_grad_norm",
    "warmup_steps",
    "max_steps",
    "batch_size",
    "gradient_accumulation",
    "scheduler",
    "lora_rank",
)
"""Fields of `RunConfig` that siblings agree in, where both know them."""


class Sweeps:
    """The runs that have a learning rate, by sweep."""

    def __init__(self) -> None:
        self._standings: dict[Path, tuple[Standing, RunConfig]] = {}
        self._members: dict[str, set[Path]] = {}
        self._key_of: dict[Path, str] = {}

    def note(self, path: Path, name: str, standing: Standing | None, config: RunConfig) -> None:
        """Keep what a run shows now.

        Args:
            path: of the run.
            name: the run's path below its logdir.
            standing: None takes it out.
            config: what is known of its configuration.
        """
        if standing is None:
            self.forget(path)
            return
        key = self._key_of.setdefault(path, _NUMBER.sub("#", name))
        self._members.setdefault(key, set()).add(path)
        self._standings[path] = standing, config

    def forget(self, path: Path) -> None:
        """Take a run out."""
        self._standings.pop(path, None)
        key = self._key_of.pop(path, None)
        if key is not None:
            self._members[key].discard(path)

    def affected(self, changed: Collection[Path]) -> set[Path]:
        """Return the runs that are judged otherwise when some have changed; those themselves included."""
        affected = set(changed)
        for key in {self._key_of[path] for path in changed if path in self._key_of}:
            members = self._members[key]
            if 1 < len(members) <= MOST:
                affected |= members
        return affected

    def beside(self, path: Path) -> list[Standing]:
        """Return what the siblings of a run show, those with the nearest learning rates first."""
        if path not in self._standings:
            return []
        own, config = self._standings[path]
        others = [self._standings[other] for other in self._members[self._key_of[path]] if other != path]
        alike = [standing for standing, other in others if _agree(config, other)]
        return sorted(alike, key=lambda other: abs(math.log(other.learning_rate / own.learning_rate)))[:MOST]


def _agree(first: RunConfig, second: RunConfig) -> bool:
    known: list[Mapping[str, object]] = [{name: getattr(config, name) for name in _SAME} for config in (first, second)]
    return all(known[0][name] == known[1][name] for name in _SAME if None not in (known[0][name], known[1][name]))
