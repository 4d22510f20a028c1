"""Which runs belong to one sweep: those that are known to differ in their learning rate alone.

A sweep over learning rates is the best evidence there is, and runs that differ in more are none at all. So two runs are
compared when they lie below one logdir, their names differ in numbers alone, what both say of their configuration
agrees, and either each number that differs is the learning rate of its run (``lr-1e-3``), or both say enough of their
configuration to tell (``version_8``).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from raftmon.run_config import RunConfig
from raftmon.signals.siblings import Standing

__all__ = ["Sweeps"]

MOST: Final = 32
"""Runs that one is compared with, the nearest by learning rate; larger sweeps are not judged anew as a whole."""
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)
ENOUGH: Final = 4
"""Fields of their configuration that both runs must know where their names do not tell the learning rate."""
MOST_RATES: Final = 6
"""Numbers of one name that may be its run's learning rate; of more, the rest must agree."""
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
_Fields: TypeAlias = "tuple[object, ...]"
_Place: TypeAlias = tuple[float, str, Path]
"""The logarithm of a learning rate, whose it is, and the same again as a path."""
_Name: TypeAlias = "tuple[tuple[int, ...], tuple[float, ...]]"
"""Which numbers of a name are left out because they are the learning rate, by place, and those that are left."""


class _Member(NamedTuple):
    """A run as it is compared with others."""

    standing: Standing
    config: RunConfig
    numbers: tuple[float, ...]
    """In its name, in their order."""
    configured: _Fields
    """Its fields `_SAME`."""
    place: _Place
    names: tuple[_Name, ...]
    """Its name, with each choice of the numbers that are its learning rate left out."""


class Sweeps:
    """The runs that have a learning rate, by sweep."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
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
        key = self._key_of.get(path)
        if key is None:
            # The same name below another logdir is another experiment.
            logdir = str(path).removesuffix(name) if name != "." else str(path)
            key = self._key_of[path] = f"{logdir}:{_NUMBER.sub('#', name)}"
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group()
        group.put(path, _member(path, name, standing, config, group.members.get(path)))

    def forget(self, path: Path) -> None:
        """Take a run out."""
        key = self._key_of.pop(path, None)
        if key is not None:
            self._groups[key].take_out(path)
            if not self._groups[key].members:
                del self._groups[key]

    def affected(self, changed: Collection[Path]) -> set[Path]:
        """Return the runs that are judged otherwise when some have changed; those themselves included."""
        affected = set(changed)
        for key in {self._key_of[path] for path in changed if path in self._key_of}:
            members = self._groups[key].members
            if 1 < len(members) <= MOST:
                affected |= members.keys()
        return affected

    def beside(self, path: Path) -> list[Standing]:
        """Return what the siblings of a run show, those with the nearest learning rates first."""
        key = self._key_of.get(path)
        return self._groups[key].beside(path) if key is not None else []


class _Group:
    """Runs below one logdir whose names differ in numbers alone.

    A thousand jobs may be called so and have nothing else to do with each other: who is compared with whom is looked up
    by what must agree, never by going through them all.
    """

    def __init__(self) -> None:
        self.members: dict[Path, _Member] = {}
        self._by_name: dict[tuple[_Fields, _Name], list[_Place]] = {}
        self._by_fields: dict[_Fields, list[_Place]] = {}
        self._alike: dict[_Fields, dict[_Fields, bool]] = {}
        """For each configuration here those that do not contradict it, and whether both say enough to need no name."""

    def put(self, path: Path, member: _Member) -> None:
        """Take in what a run shows."""
        before = self.members.get(path)
        if before is None or before.place != member.place or before.configured != member.configured:
            self.take_out(path)
            for places in self._shelves(member):
                insort(places, member.place)
        self.members[path] = member

    def take_out(self, path: Path) -> None:
        """Forget a run."""
        member = self.members.pop(path, None)
        if member is None:
            return
        for places in self._shelves(member):
            del places[bisect_left(places, member.place)]
        for name in member.names:
            if not self._by_name[member.configured, name]:
                del self._by_name[member.configured, name]
        if not self._by_fields[member.configured]:
            del self._by_fields[member.configured]
            for other in self._alike.pop(member.configured):
                if other in self._alike:
                    del self._alike[other][member.configured]

    def beside(self, path: Path) -> list[Standing]:
        """Return what the siblings of a run show, those with the nearest learning rates first."""
        own = self.members[path]
        near = {place for places in self._comparable(own) for place in _nearest(places, own.place)}
        near.discard(own.place)
        found = sorted(near, key=lambda place: (abs(place[0] - own.place[0]), place))
        return [self.members[other].standing for _, _, other in found[:MOST]]

    def _comparable(self, own: _Member) -> Iterator[list[_Place]]:
        """Yield the learning rates of those that a run is compared with; one may be in several lists."""
        for fields, enough in self._alike[own.configured].items():
            if enough:
                yield self._by_fields[fields]
                continue
            for name in own.names:
                places = self._by_name.get((fields, name))
                if places is not None:
                    yield places

    def _shelves(self, member: _Member) -> Iterator[list[_Place]]:
        """Yield the lists that a run belongs into, made where there are none."""
        if member.configured not in self._by_fields:
            self._learn(member.configured)
        yield self._by_fields.setdefault(member.configured, [])
        for name in member.names:
            yield self._by_name.setdefault((member.configured, name), [])

    def _learn(self, fields: _Fields) -> None:
        """Compare a configuration with those that are known."""
        alike = self._alike[fields] = {}
        for other in (*self._by_fields, fields):
            known = _agreeing(fields, other)
            if known is not None:
                alike[other] = self._alike[other][fields] = known >= ENOUGH


def _member(path: Path, name: str, standing: Standing, config: RunConfig, before: _Member | None) -> _Member:
    """Return a run as it is compared; what has not changed is taken from what it was before."""
    if before is not None and before.config is config and before.standing.learning_rate == standing.learning_rate:
        return before._replace(standing=standing)
    numbers = before.numbers if before is not None else tuple(float(number) for number in _NUMBER.findall(name))
    configured = before.configured if before is not None and before.config is config else _configured(config)
    rate = standing.learning_rate
    place = math.log(rate), str(path), path
    return _Member(standing, config, numbers, configured, place, tuple(_names(numbers, rate)))


def _names(numbers: tuple[float, ...], rate: float) -> Iterator[_Name]:
    """Yield a name's numbers with each choice of those that are the learning rate left out, the empty one included.

    Of two names that differ in their learning rates alone there is one choice after which nothing differs.
    """
    rates = [at for at, number in enumerate(numbers) if math.isclose(abs(number), rate, rel_tol=0.02)][:MOST_RATES]
    for count in range(len(rates) + 1):
        for left_out in combinations(rates, count):
            yield left_out, tuple(number for at, number in enumerate(numbers) if at not in left_out)


def _nearest(places: Sequence[_Place], own: _Place) -> Sequence[_Place]:
    """Return those among which the `MOST` learning rates nearest to one are; of some that are equal, any."""
    at = bisect_left(places, own)
    return places[max(0, at - MOST) : at + MOST + 1]


def _agreeing(first: _Fields, second: _Fields) -> int | None:
    """Return in how many fields that both know they agree; None: they contradict each other."""
    known = 0
    for ours, theirs in zip(first, second, strict=True):
        if ours is not None and theirs is not None:
            if ours != theirs:
                return None
            known += 1
    return known
