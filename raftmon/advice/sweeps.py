"""Which runs belong to one sweep: those that are known to differ in their learning rate alone.

A sweep over learning rates is the best evidence there is, and runs that differ in more are none at all. So two runs are
compared when they lie below one logdir, their names differ in numbers alone, what both say of their configuration
agrees, and either each number that differs is the learning rate of its run (``lr-1e-3``), or both say enough of their
configuration to tell (``version_8``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from raftmon.run_config import RunConfig
from raftmon.signals.siblings import Standing

__all__ = ["Sweeps"]

MOST: Final = 32
"""Runs that one is compared with, the nearest by learning rate; larger sweeps are not judged anew as a whole."""
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)
ENOUGH: Final = 4
"""Fields of their configuration that both runs must know where their names do not tell the learning rate."""
_SAME: Final = (
    "optimizer",
    "weight_decay",
    "lora_alpha",
    "method",
    "stage",
    "model_parameters",
    "train_samples",
    "epochs",
    "temperature",
    "max_grad_norm",
    "warmup_steps",
    "max_steps",
    "batch_size",
    "gradient_accumulation",
    "scheduler",
    "lora_rank",
)
"""Fields of `RunConfig` that siblings agree in, where both know them."""


_configured: Final = attrgetter(*_SAME)


class _Member(NamedTuple):
    """A run as it is compared with others: each pair of a sweep is, at each change."""

    standing: Standing
    config: RunConfig
    numbers: list[float]
    """In its name, in their order."""
    configured: tuple[object, ...]
    """Its fields `_SAME`."""


class Sweeps:
    """The runs that have a learning rate, by sweep."""

    def __init__(self) -> None:
        self._standings: dict[Path, _Member] = {}
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
        # The same name below another logdir is another experiment.
        logdir = str(path).removesuffix(name) if name != "." else str(path)
        key = self._key_of.setdefault(path, f"{logdir}:{_NUMBER.sub('#', name)}")
        self._members.setdefault(key, set()).add(path)
        before = self._standings.get(path)
        numbers = before.numbers if before is not None else [float(number) for number in _NUMBER.findall(name)]
        configured = before.configured if before is not None and before.config is config else _configured(config)
        self._standings[path] = _Member(standing, config, numbers, configured)

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
        own = self._standings[path]
        others = [self._standings[other] for other in self._members[self._key_of[path]] if other != path]
        alike = [other.standing for other in others if _are_one_sweep(own, other)]
        return sorted(alike, key=lambda other: abs(math.log(other.learning_rate / own.standing.learning_rate)))[:MOST]


def _are_one_sweep(first: _Member, second: _Member) -> bool:
    known = 0
    for ours, theirs in zip(first.configured, second.configured, strict=True):
        if ours is not None and theirs is not None:
            if ours != theirs:
                return False
            known += 1
    rates = first.standing.learning_rate, second.standing.learning_rate
    named = all(
        math.isclose(abs(number), rate, rel_tol=0.02)
        for pair in zip(first.numbers, second.numbers, strict=True)
        if pair[0] != pair[1]
        for number, rate in zip(pair, rates, strict=True)
    )
    return named or known >= ENOUGH
