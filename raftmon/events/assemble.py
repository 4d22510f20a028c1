"""Points that were read in different ways, put together in the order of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from raftmon.events.columns import ScalarBatch
from raftmon.events.forms import FORMS, Points
from raftmon.events.messages import Message

if TYPE_CHECKING:
    from raftmon.events.columns import Ids, Ints

__all__ = ["form_batch", "mixed_batch"]


def form_batch(form: Ints, points: Points) -> ScalarBatch:
    """Return points whose forms are known as a batch.

    Args:
        form: number of the form of each point, shape ``[n]``.
        points: likewise.
    """
    numbers: dict[str, int] = {}
    tag_id = _tags_of(form, numbers)
    return ScalarBatch(*_in_order_of_appearance(tag_id, numbers), points.step, points.wall_time, points.value)


def mixed_batch(form: Ints, points: Points, rows: Ints, messages: Sequence[tuple[int, Message]]) -> ScalarBatch:
    """Return points whose forms are known, and those of parsed events, as a batch.

    Args:
        form: number of the form of each known point, shape ``[n]``.
        points: likewise.
        rows: place in the file of each known point, increasing, shape ``[n]``.
        messages: place in the file, and content, of each parsed event.
    """
    numbers: dict[str, int] = {}
    tag_id = _tags_of(form, numbers)
    others = [
        (row, numbers.setdefault(tag, len(numbers)), message.step, message.wall_time, value)
        for row, message in messages
        for tag, value in message.scalars
    ]
    step, wall_time, value = points.step, points.wall_time, points.value
    if others:
        other_rows, other_ids, other_steps, other_times, other_values = zip(*others, strict=True)
        order = np.argsort(np.concatenate([rows, np.array(other_rows)]), kind="stable")
        tag_id = np.concatenate([tag_id, np.array(other_ids, np.int32)])[order]
        step = np.concatenate([step, np.array(other_steps, np.int64)])[order]
        wall_time = np.concatenate([wall_time, np.array(other_times)])[order]
        value = np.concatenate([value, np.array(other_values)])[order]
    return ScalarBatch(*_in_order_of_appearance(tag_id, numbers), step, wall_time, value)


def _tags_of(form: Ints, numbers: dict[str, int]) -> Ids:
    """Return the number of each point's tag; new tags are added to `numbers`."""
    number_of = np.zeros(len(FORMS.forms), np.int32)
    for known in np.flatnonzero(np.bincount(form)).tolist():
        places = FORMS.forms[known]
        if places is not None and places.places:
            number_of[known] = numbers.setdefault(places.places[0].tag, len(numbers))
    return number_of[form]


def _in_order_of_appearance(tag_id: Ids, numbers: dict[str, int]) -> tuple[tuple[str, ...], Ids]:
    """Number the tags in the order in which they come, whatever their numbers were."""
    tags = tuple(numbers)
    if len(tags) < 2:
        return tags, tag_id
    first = np.empty(len(tags), np.int64)
    # Of several values for one place, the last one stays.
    first[tag_id[::-1]] = np.arange(len(tag_id) - 1, -1, -1)
    order = np.argsort(first)
    new = np.empty(len(tags), np.int32)
    new[order] = np.arange(len(tags), dtype=np.int32)
    return tuple(tags[number] for number in order.tolist()), new[tag_id]
