"""A trainer's config file as the next cycle sees it: the learning rate it gives, and the bytes that would give another.

Some trainers do arithmetic of their own between the file and the optimiser. halo-forge multiplies by its decay once a
cycle, so that what must be written is not what is meant to be used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftmon.errors import Refused
from raftmon.run_config import RunConfig
from raftmon.runs.config_keys import canonical, run_config
from raftmon.runs.trainer_marks import cycle_decay
from raftmon.trainers.dialects import RateKey, find_rate, scalars_of
from raftmon.trainers.rewrite import Edit, Written, apply_edits, insertion, rate_text, read_written, replacement
from raftmon.trainers.tree import ConfigTree, Form, parse_config

__all__ = ["SCHEDULES", "Decay", "TrainerConfig", "form_of", "read_config", "schedule_in"]

HALO_FORGE: Final = "halo-forge"
_HALO_FLOOR: Final = 1e-6
SCHEDULES: Final = (
    "training.learning_rate_schedule",
    "learning_rate_schedule",
    "raft.training.learning_rate_schedule",
)
_CYCLE: Final = re.compile(r"cycle_([1-9][0-9]{0,2})")
_LEAST_SCALE: Final = 1e-3
"""A number to write that is a thousand times the rate meant is none that a person would understand."""
_CLOSE: Final = 1e-4
"""Six digits are written; rates that differ by a smaller share are the same."""


@dataclass(frozen=True, slots=True)
class Decay:
    """What a trainer makes of the learning rate in its file: ``max(rate * factor**(cycle - 1), floor)``."""

    factor: float
    floor: float

    def used(self, written: float, cycle: int) -> float:
        """Return the learning rate that a cycle trains at."""
        return max(written * self.factor ** (cycle - 1), self.floor)

    def to_write(self, used: float, cycle: int) -> float:
        """Return what must stand in the file for a cycle to train at a learning rate."""
        return used / self.factor ** (cycle - 1)


@dataclass(frozen=True, slots=True, eq=False)
class TrainerConfig:
    """One trainer's config."""

    tree: ConfigTree
    rate_key: RateKey
    written: Written
    """What stands there; without a rate where the key is missing or empty."""
    values: Mapping[str, str]
    """Dotted key to text of the document that holds the learning rate."""
    decay: Decay | None
    """The trainer's own arithmetic; None: it uses the number as it is."""
    trouble: Refused | None = None
    """Why the learning rate that stands there cannot be replaced."""

    @property
    def rate(self) -> float | None:
        """The number in the file, else the trainer's default; None: neither is known."""
        if self.written.rate is not None or self.rate_key.trainer is None or self.trouble is not None:
            return self.written.rate
        return self.rate_key.trainer.default

    @property
    def run_config(self) -> RunConfig:
        """What the file says of the training as a whole."""
        return run_config(canonical(self.values), Path(self.tree.path).name)

    def used(self, cycle: int, written: float | None = None) -> float | None:
        """Return the learning rate that a cycle trains at with this file, or with another number in it."""
        rate = written if written is not None else self.rate
        if rate is None or self.decay is None:
            return rate
        return self.decay.used(rate, cycle)

    def how_used(self, cycle: int, written: float | None = None) -> str:
        """Return where that rate comes from, in words."""
        rate = written if written is not None else self.rate
        if rate is None:
            return "config"
        begin = f"config {rate_text(rate)}"
        if self.written.rate is None and written is None:
            begin = f"{self.rate_key.title} by default {rate_text(rate)}"
        if self.decay is None or self.decay.factor == 1.0:
            return begin
        return (
            f"{begin} × {self.decay.factor:g}^{cycle - 1} (the trainer's own decay) = {self.used(cycle, written):.3g}"
        )

    def flag(self, value: float) -> str | None:
        """Return the trainer's own command-line override for a number; None: it has none, or is not known."""
        trainer = self.rate_key.trainer
        if trainer is None:
            return None
        form = f"{self.written.prefix}{{value}}"
        flag = trainer.flag if not self.written.prefix else trainer.forms.get(form)
        return flag.replace("{value}", rate_text(value)).replace("{key}", self.rate_key.key) if flag else None

    def to_write(self, used: float, cycle: int) -> float:
        """Return the number to write so that a cycle trains at a learning rate.

        Raises:
            Refused: the trainer would not go there.
        """
        if self.decay is None:
            return used
        if used < self.decay.floor * (1.0 - _CLOSE):
            low = f"{self.decay.floor:g}"
            what = f"{self.rate_key.title} trains at no less than its --min-lr {low}, and {used:.3g} is meant"
            raise Refused(self.tree.path, what, "Start it with a smaller --min-lr and a --learning-rate.")
        if self.decay.factor ** (cycle - 1) < _LEAST_SCALE:
            what = f"{self.rate_key.title} decays its rate {self.decay.factor:g}-fold each of {cycle - 1} cycles"
            raise Refused(
                self.tree.path, what, "Write `lr_decay_factor: 1.0` below `training:`, then no decay is in the way."
            )
        return self.decay.to_write(used, cycle)

    def with_rate(self, value: float) -> bytes:
        """Return the bytes of the file with another number in it and nothing else changed.

        Raises:
            Refused: that cannot be done, or would change something else.
        """
        if self.trouble is not None:
            raise self.trouble
        place = self.rate_key.place
        is_same = self.written.rate is not None and math.isclose(self.written.rate, value, rel_tol=_CLOSE)
        if is_same and not self.written.is_text:
            return self.tree.data
        if place is not None and not place.inherited:
            edit = replacement(self.tree, place, value, self.written.prefix)
        else:
            edit = self._added(value)
        after = apply_edits(self.tree, [edit])
        self._require(after, value)
        return after.data

    def _added(self, value: float) -> Edit:
        """Return the edit that adds the key, where this trainer would read it."""
        key, place = self.rate_key, self.rate_key.place
        trainer, beside = key.trainer, key.trainer.beside if key.trainer is not None else ()
        if trainer is not None and trainer.insert == "never" and place is None:
            remedy = f"Add `{key.key}` yourself, if {trainer.title} takes it from this file."
            raise Refused(self.tree.path, f"`{key.key}` is not in this file", remedy)
        path = place.path if place is not None else tuple(key.key.split("."))
        may_add_block = trainer is not None and trainer.insert == "block"
        return insertion(self.tree, path, rate_text(value), beside, key.document, may_add_block)

    def _require(self, after: ConfigTree, value: float) -> None:
        """Look at the changed file as the trainer will, and see the number that was meant."""
        found = [p for p in after.everywhere if p.key == self.rate_key.key and p.document == self.rate_key.document]
        written = read_written(after, found[0]) if len(found) == 1 else None
        if written is None or written.rate is None or written.is_text:
            raise Refused(self.tree.path, f"`{self.rate_key.key}` could not be read back", "Write it by hand.")
        if not math.isclose(written.rate, value, rel_tol=_CLOSE):
            raise Refused(self.tree.path, f"`{self.rate_key.key}` reads back as {written.rate}", "Write it by hand.")


def form_of(path: str) -> Form:
    """Tell by its name which language a config is in."""
    return "json" if path.lower().endswith(".json") else "yaml"


def read_config(data: bytes, path: str, key: str | None = None) -> TrainerConfig:
    """Find the learning rate of a trainer's config.

    Args:
        data: the bytes of the file.
        path: the file, for its language and for places.
        key: dotted key that a person gave: its value is the learning rate itself, whatever the trainer's arithmetic.

    Raises:
        Refused: the file cannot be read, or is ambiguous. A learning rate that is no number of its own is `trouble`.
    """
    tree = parse_config(data, path, form_of(path))
    twice = tree.duplicate()
    if twice is not None:
        what = f"`{twice[0]}` is given twice; PyYAML silently takes the last"
        raise Refused(tree.where(twice[1]), what, "Keep one of the two.")
    rate_key = find_rate(tree, key)
    place, written, trouble = rate_key.place, Written(None, "", False), None
    try:
        if place is not None:
            written = read_written(tree, place) if not place.inherited else _inherited(tree, rate_key)
    except Refused as error:
        trouble = error
    values = scalars_of(tree, rate_key.document)
    return TrainerConfig(tree, rate_key, written, values, _decay_of(rate_key, values), trouble)


def schedule_in(values: Mapping[str, str], path: str) -> dict[int, float]:
    """Return the manual schedule of a config (``learning_rate_schedule: {cycle_1: ...}``): cycle to rate.

    Args:
        values: dotted key to text.
        path: the file, for places.

    Raises:
        Refused: an entry is none.
    """
    found: dict[int, float] = {}
    for key, text in values.items():
        block, _, name = key.rpartition(".")
        number = _CYCLE.fullmatch(name)
        if block not in SCHEDULES:
            continue
        try:
            rate = float(text)
        except ValueError:
            rate = math.nan
        if number is None or not 0.0 < rate < math.inf:
            raise Refused(f"{path}: {key}", f"`{text}` is no entry of a schedule", "For example `cycle_3: 3.0e-5`.")
        found[int(number[1])] = rate
    return found


def _inherited(tree: ConfigTree, rate_key: RateKey) -> Written:
    """Read a rate that a merge key brings: it stays where it is, and the key is added beside the merge."""
    text = rate_key.place.scalar if rate_key.place is not None else None
    try:
        rate = float(text or "")
    except ValueError:
        where = tree.where(rate_key.place.node) if rate_key.place is not None else tree.path
        raise Refused(where, f"`{rate_key.key}` is no plain number", "Write the number out.") from None
    return Written(rate, "", False)


def _decay_of(rate_key: RateKey, values: Mapping[str, str]) -> Decay | None:
    """Return halo-forge's decay per cycle and its floor, as its RAFT command takes them from a file.

    Source: halo_forge/cli.py 706-744, 2459-2461 and raft_trainer.py 123-136 at commit c8f6548. Its flags have defaults,
    so that the file's top-level ``lr_decay_per_cycle`` and ``min_lr`` never count; ``training.lr_decay_factor`` does.
    """
    if rate_key.trainer is None or rate_key.trainer.name != HALO_FORGE:
        return None
    return Decay(cycle_decay(values) or 1.0, _HALO_FLOOR)
