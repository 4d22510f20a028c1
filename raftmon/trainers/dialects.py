"""Finds out whose config a file is and where its learning rate stands, by the file's own keys.

Nothing is guessed: where two trainers or two keys are possible, all candidates are told and the person chooses with
``--key``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from raftmon.errors import Refused
from raftmon.runs.key_table import KEYS
from raftmon.runs.signature import pattern_of
from raftmon.trainers.table import Select, Trainer, load_trainers
from raftmon.trainers.tree import ConfigTree, Place

__all__ = ["RateKey", "find_rate", "scalars_of"]

_CANDIDATES: Final = frozenset({"learning_rate", "lr", "lr0", "base_lr", "base_learning_rate", "warmup_max_lr"})
"""Last parts of keys that are told as candidates where no trainer is recognised."""
_SHOWN: Final = 8
_CHOOSE: Final = "Choose with --key, for example --key {key}."


@dataclass(frozen=True, slots=True, eq=False)
class RateKey:
    """Where a config has its learning rate, or should have it."""

    key: str
    """Dotted."""
    trainer: Trainer | None
    """None: not known, or the key was given by a person."""
    place: Place | None
    """None: the key is missing and would have to be inserted."""
    document: int
    """Which document of the file, from 0."""

    @property
    def title(self) -> str:
        """The trainer for people."""
        return self.trainer.title if self.trainer is not None else "a trainer that raftmon does not know"


def find_rate(tree: ConfigTree, key: str | None = None) -> RateKey:
    """Find the learning rate of a config.

    Args:
        tree: the config.
        key: dotted key that a person gave; what the trainer is then does not matter.

    Raises:
        Refused: there is none, or more than one candidate.
    """
    if key is not None:
        return _given(tree, key)
    found = list(_by_trainers(tree))
    if not found:
        return _unknown(tree)
    places = {(rate.document, rate.key) for rate in found}
    if len(places) > 1:
        there = [rate for rate in found if rate.place is not None]
        if len({(rate.document, rate.key) for rate in there}) == 1:
            return there[0]
        raise _ambiguous(tree, there or found)
    if found[0].place is None:
        _require_no_other(tree, found[0])
    return found[0]


def _require_no_other(tree: ConfigTree, missing: RateKey) -> None:
    """Refuse to add a key where another one may be the learning rate: the file may be of another trainer."""
    trainer = missing.trainer
    own = (
        {*trainer.keys, *(trainer.select.by_value.values() if trainer.select is not None else ())} if trainer else set()
    )
    own |= {trainer.select.otherwise} if trainer is not None and trainer.select is not None else set()
    others = [place for place in tree.everywhere if place.key in KEYS["learning_rate"] and place.key not in own]
    if others:
        found = [RateKey(place.key, None, place, place.document) for place in others]
        raise _ambiguous(tree, [*found, missing])


def scalars_of(tree: ConfigTree, document: int = 0) -> dict[str, str]:
    """Return dotted key to text of every value of a document that is not empty."""
    return {
        place.key: str(place.node.value)
        for place in tree.everywhere
        if place.document == document
        and isinstance(place.node, yaml.ScalarNode)
        and not str(place.node.tag).endswith(":null")
    }


def _given(tree: ConfigTree, key: str) -> RateKey:
    found = [place for place in tree.everywhere if place.key == key]
    if len(found) > 1:
        places = ", ".join(tree.where(place.node) for place in found[:_SHOWN])
        raise Refused(tree.path, f"`{key}` stands in {len(found)} places ({places})", "Give a file with one of them.")
    if found:
        return RateKey(key, None, found[0], found[0].document)
    near = [place.key for place in tree.everywhere if place.key.rpartition(".")[2] in _CANDIDATES]
    remedy = f"Keys that look like a learning rate: {_listed(near)}." if near else "Give the dotted path of a key."
    raise Refused(tree.path, f"no key `{key}`", remedy)


def _by_trainers(tree: ConfigTree) -> Iterator[RateKey]:
    """Yield what each trainer whose signature fits would read, in each document."""
    for document in range(len(tree.documents)):
        here = [place for place in tree.everywhere if place.document == document]
        places = {place.key: place for place in here}
        known = {place.key for place in here if not any(step.isdecimal() for step in place.path)}
        for trainer in load_trainers():
            if any(signature.fits(known) for signature in trainer.signatures):
                yield from _read_by(trainer, places, tree, document)


def _read_by(trainer: Trainer, places: dict[str, Place], tree: ConfigTree, document: int) -> Iterator[RateKey]:
    keys, choose = trainer.keys, trainer.choose
    if trainer.select is not None:
        keys, choose = (_selected(trainer.select, places, tree),), "first"
    there = [key for name in keys for key in _matching(name, places)]
    for key in there[:1] if choose == "first" else there:
        yield RateKey(key, trainer, places[key], document)
    if not there and "*" not in keys[0]:
        yield RateKey(keys[0], trainer, None, document)
    elif not there:
        remedy = f"Write the key, or give another with --key; {trainer.title} reads {_listed(keys)}."
        raise Refused(tree.path, "no learning rate in this config", remedy)


def _selected(select: Select, places: dict[str, Place], tree: ConfigTree) -> str:
    """Return the key that another key decides for."""
    decider = places.get(select.key)
    if decider is None and "defaults" in places:
        what = (
            f"`{select.key}`, which decides where the learning rate is read, stands in a file that this one builds on"
        )
        raise Refused(tree.where(places["defaults"].node), what, f"Write `{select.key}` here, or choose with --key.")
    value = (decider.scalar or "").lower() if decider is not None else ""
    return select.by_value.get(value, select.otherwise)


def _matching(name: str, places: dict[str, Place]) -> list[str]:
    if "*" not in name:
        return [name] if name in places else []
    pattern = pattern_of((name,))
    return [key for key in places if pattern.fullmatch(key)]


def _unknown(tree: ConfigTree) -> RateKey:
    """Take the one key of the common table that is there."""
    common = [place for place in tree.everywhere if place.key in KEYS["learning_rate"]]
    if len(common) == 1:
        return RateKey(common[0].key, None, common[0], common[0].document)
    near = common or [place for place in tree.everywhere if place.key.rpartition(".")[2] in _CANDIDATES]
    if not near:
        what = "no key of a learning rate that raftmon knows"
        raise Refused(tree.path, what, "Give its dotted path with --key, for example --key optimizer.lr.")
    raise _ambiguous(tree, [RateKey(place.key, None, place, place.document) for place in near])


def _ambiguous(tree: ConfigTree, found: Sequence[RateKey]) -> Refused:
    listed = []
    for rate in found:
        place = rate.place
        line = f" (line {place.node.start_mark.line + 1})" if place is not None else " (missing)"
        listed.append(f"{rate.key}{line}")
    unique = list(dict.fromkeys(listed))
    what = f"{len(unique)} keys could be the learning rate: {_listed(unique)}"
    if len({rate.key for rate in found}) == 1:
        return Refused(tree.path, what, "Give a file with one of the documents.")
    return Refused(tree.path, what, _CHOOSE.format(key=found[0].key))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
