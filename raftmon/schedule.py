"""Puts a schedule of learning rates into a trainer's config: ``learning_rate_schedule: {cycle_1: ...}``.

No trainer reads that key; ``raftmon pre-cycle`` does, and writes each cycle's rate where the trainer takes it from. So
it is written only where the trainer is known to bear keys that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from raftmon.errors import Refused, UsageError
from raftmon.journal import Entry, Journal, plain_path
from raftmon.override import difference
from raftmon.trainers.config import SCHEDULES, TrainerConfig, read_config
from raftmon.trainers.replace import read_whole, replace_file
from raftmon.trainers.rewrite import Edit, apply_edits, insertion, rate_text, read_written, replacement
from raftmon.trainers.tree import MOST_BYTES

__all__ = ["write_schedule"]

_KEY: Final = "learning_rate_schedule"


def write_schedule(path: Path, rates: Mapping[int, float], journal: Journal) -> tuple[str, str]:
    """Write a schedule into a config; ``raftmon undo`` takes it back.

    Args:
        path: the config.
        rates: cycle to learning rate.
        journal: where it is noted.

    Returns:
        The dotted key of the schedule, and what changed in the file.

    Raises:
        UsageError: there is no such file.
        Refused: the file is not written, and why.
    """
    try:
        data = read_whole(path, MOST_BYTES)
    except Refused as error:
        raise UsageError(error.where, error.what, error.remedy) from None
    config = read_config(data, str(path))
    key, edits = _edits(config, rates)
    after = apply_edits(config.tree, edits).data
    if after != data:
        with journal.noting(
            Entry(0.0, "plan", "intended", plain_path(path), "", key, None, None, None, data, after, {})
        ):
            replace_file(path, data, after)
    return key, difference(data, after, str(path))


def _edits(config: TrainerConfig, rates: Mapping[int, float]) -> tuple[str, list[Edit]]:
    """Return where the schedule stands, and the edits that make it the one that is meant."""
    tree, document = config.tree, config.rate_key.document
    texts = {f"cycle_{cycle}": rate_text(rate) for cycle, rate in rates.items()}
    for key in SCHEDULES:
        there = {p.path[-1]: p for p in tree.everywhere if p.document == document and p.key.rpartition(".")[0] == key}
        block = next((p for p in tree.everywhere if p.document == document and p.key == key), None)
        if block is None:
            continue
        if not there or not isinstance(block.node, yaml.MappingNode):
            raise Refused(tree.where(block.node), f"`{key}` holds no cycles", "Remove it, or write `cycle_1: 5.0e-5`.")
        stale = [place.path[-1] for name, place in there.items() if name not in texts]
        if stale:
            what = f"`{key}` has {', '.join(stale)} too, which would stay in force"
            raise Refused(tree.where(block.node), what, "Plan for as many --cycles, or remove those lines.")
        for place in there.values():
            read_written(tree, place)
        edits = [replacement(tree, there[f"cycle_{n}"], rate) for n, rate in rates.items() if f"cycle_{n}" in there]
        missing = {name: text for name, text in texts.items() if name not in there}
        last = list(there)[-1]
        added = [insertion(tree, (*block.path, name), text, (last,), document) for name, text in missing.items()]
        # At one place the edit that is made last stands first.
        return key, [*edits, *reversed(added)]
    return _new_block(config, texts, document)


def _new_block(config: TrainerConfig, texts: Mapping[str, str], document: int) -> tuple[str, list[Edit]]:
    rate_key = config.rate_key
    if rate_key.trainer is None or rate_key.trainer.extra_keys != "ignored":
        line = ", ".join(f"{name}: {text}" for name, text in texts.items())
        what = f"{rate_key.title} may fail at a key that it does not know"
        remedy = f"Write it into raftmon.yaml: `strategy: {{kind: manual, schedule: {{{line}}}}}`."
        raise Refused(config.tree.path, what, remedy)
    block = tuple(rate_key.key.split("."))[:-1]
    beside = (rate_key.key, *rate_key.trainer.beside)
    edit = insertion(config.tree, (*block, _KEY), texts, beside, document)
    return ".".join(edit.path), [edit]
