"""Points in the order of the file -> columns by role, and the places at which a run is judged.

A run is judged at each of the first 200 points of its clock, later after each half per cent. What lies between two such
places is handed to the signals role by role.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from raftmon.signals.registry import Column

if TYPE_CHECKING:
    from raftmon.events.columns import ScalarBatch
    from raftmon.model import Floats, Ints

__all__ = ["EVERY_POINT", "by_role", "by_step", "is_due", "next_due", "pieces"]

EVERY_POINT: Final = 200
"""So many points are judged one by one; beyond, one in n/200."""


def is_due(point: int) -> bool:
    """Tell whether a run is judged after so many points of its clock."""
    return point <= EVERY_POINT or point % (point // EVERY_POINT) == 0


def next_due(point: int) -> int:
    """Return the first place after a point at which a run is judged."""
    if point < EVERY_POINT:
        return point + 1
    every = point // EVERY_POINT
    return min((point // every + 1) * every, (every + 1) * EVERY_POINT)


def by_role(batch: ScalarBatch, role_of: Mapping[str, tuple[str, float]]) -> dict[str, Column]:
    """Return the columns of a batch that have a role.

    Args:
        batch: points in the order of the file.
        role_of: tag to its role and the factor on its values.
    """
    columns: dict[str, Column] = {}
    for number, tag in enumerate(batch.tags):
        if tag in role_of:
            role, scale = role_of[tag]
            places = np.flatnonzero(batch.tag_id == number)
            scaled = batch.value[places] * scale
            columns[role] = Column(places.tolist(), batch.step[places].tolist(), scaled.tolist())
    return {role: column for role, column in columns.items() if column.rows}


def by_step(series: Mapping[str, tuple[Ints, Floats]]) -> dict[str, Column]:
    """Return the columns of whole series (role to steps and values), their rows in the order of the steps."""
    if not series:
        return {}
    order = np.argsort(np.concatenate([steps for steps, _ in series.values()]), kind="stable")
    row_of = np.empty(len(order), dtype=np.int64)
    row_of[order] = np.arange(len(order))
    columns, begin = {}, 0
    for role, (steps, values) in series.items():
        rows = row_of[begin : begin + len(steps)]
        begin += len(steps)
        inside = np.argsort(rows)
        columns[role] = Column(rows[inside].tolist(), steps[inside].tolist(), values[inside].tolist())
    return columns


def pieces(columns: Mapping[str, Column], primary: str, points: int) -> Iterator[tuple[dict[str, Column], bool]]:
    """Cut columns at the places at which a run is judged: just before the clock's next point.

    Args:
        columns: of a batch.
        primary: the role that is the run's clock.
        points: points of the clock before.

    Yields:
        A piece (role to points), and whether the run is to be judged after it.
    """
    ends = _ends(columns[primary].rows, points) if primary in columns else []
    begins = dict.fromkeys(columns, 0)
    for end in ends:
        piece = {}
        for role, column in columns.items():
            begin = begins[role]
            stop = begins[role] = bisect_left(column.rows, end, begin)
            if stop > begin:
                piece[role] = column.part(begin, stop)
        yield piece, True
    rest = {role: column.part(begins[role]) if begins[role] else column for role, column in columns.items()}
    yield {role: column for role, column in rest.items() if column.rows}, False


def _ends(rows: Sequence[int], points: int) -> list[int]:
    """Return the rows of the clock before which a run is judged, after so many points of the clock."""
    ends = [rows[0]] if points and is_due(points) else []
    place = next_due(points) - points
    while place < len(rows):
        ends.append(rows[place])
        place = next_due(points + place) - points
    return ends
