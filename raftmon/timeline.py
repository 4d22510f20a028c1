"""The journal in the order of time: what happened, what was written into configs and taken back, what was muted."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from operator import attrgetter
from typing import Any, Final

from raftmon.happenings import KINDS
from raftmon.journal_file import JournalFile
from raftmon.slotted import dataclass

__all__ = ["LINE_KINDS", "Line", "lies_at", "line_document", "timeline"]

LINE_KINDS: Final[tuple[str, ...]] = (*KINDS, "override", "mute")
"""What a line can be about."""
_OVERRIDES_SINCE, _MUTES_SINCE, _HAPPENINGS_SINCE = 1, 2, 3
"""Schema in which each table came."""
PAGE: Final = 2_000
"""Lines asked for at once: while a reader thinks, nothing holds the writer back."""
_HAPPENINGS: Final = """
    SELECT id, at, kind, state, place, name, subject, text, severity, step, value, readings, title, late
    FROM happenings INDEXED BY happenings_by_time WHERE (at, id) > (?, ?) AND at < ?
"""
_BELOW: Final = " AND (place = ? OR place >= ? AND place < ?)"
_OVERRIDES: Final = """
    SELECT at, state, config, campaign, key, cycle, learning_rate, undone_at, document FROM overrides
    WHERE at < ? AND (at >= ? OR undone_at >= ?) ORDER BY id
"""
_MUTES: Final = """
    SELECT at, path, rule, lifted_at FROM mutes WHERE at < ? AND (at >= ? OR lifted_at >= ?) ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the journal."""

    at: float
    """Seconds since the epoch."""
    kind: str
    """One of `LINE_KINDS`."""
    state: str
    """As of a `Happening`; of an override ``written``, ``undone``, ``failed`` or ``intended`` (nobody knows what became
    of it); of a mute ``muted`` or ``lifted``."""
    path: str
    """Directory of the run or campaign without symbolic links, or its URL without secrets; of a problem its place."""
    name: str
    """The run or campaign as people call it; empty: not known."""
    subject: str
    """A finding's or mute's rule, an advice's parameter, an override's key; else empty."""
    text: str
    severity: str | None = None
    """Of a finding."""
    step: int | None = None
    """At which it happened; a cycle for a campaign and an override."""
    value: float | None = None
    """A learning rate, or the confidence of a verdict."""
    title: str = ""
    """Of a finding's rule."""
    readings: Mapping[str, float | None] = field(default_factory=dict)
    """What a finding rests on."""
    late: bool = False
    """Whether it had happened before anybody watched."""
    config: str | None = None
    """File that an override was written into."""


def timeline(
    file: JournalFile,
    place: str | None = None,
    since: float | None = None,
    until: float | None = None,
    kinds: Collection[str] = (),
) -> Iterator[Line]:
    """Yield the lines of a journal, the oldest first, a page at a time; none where there is no journal.

    Args:
        file: the journal; others may write it meanwhile.
        place: only what is about this directory or URL, or what lies below it (`raftmon.journal.place_of`).
        since: seconds since the epoch, included.
        until: the same, not included.
        kinds: only these; none means all.

    Raises:
        Refused: the journal cannot be used, and why.
    """
    first, end = -math.inf if since is None else since, math.inf if until is None else until
    noted = [
        line for line in [*_overrides(file, place, first, end), *_mutes(file, first, end)] if first <= line.at < end
    ]
    noted = [line for line in noted if place is None or line.kind == "override" or lies_at(line.path, place)]
    both = heapq.merge(_happenings(file, place, first, end), sorted(noted, key=attrgetter("at")), key=attrgetter("at"))
    return (line for line in both if not kinds or line.kind in kinds)


def lies_at(place: str, root: str) -> bool:
    """Tell whether a place is another one or lies below it."""
    return place == root or place.startswith(root if root.endswith("/") else f"{root}/")


def line_document(line: Line) -> dict[str, Any]:
    """Return a line as a plain mapping; ``at`` is in seconds since the epoch."""
    return {
        "at": line.at,
        "kind": line.kind,
        "state": line.state,
        "path": line.path,
        "name": line.name,
        "subject": line.subject,
        "severity": line.severity,
        "step": line.step,
        "value": line.value,
        "title": line.title,
        "text": line.text,
        "readings": dict(line.readings),
        "late": line.late,
        "config": line.config,
    }


def _happenings(file: JournalFile, place: str | None, first: float, end: float) -> Iterator[Line]:
    query = _HAPPENINGS
    values: tuple[str, ...] = ()
    if place is not None:
        below = place if place.endswith("/") else f"{place}/"
        # What begins with the one lies before what begins with the character after the slash.
        query, values = query + _BELOW, (place, below, below[:-1] + chr(ord("/") + 1))
    # No line is before the first number, so that the first page begins at the time itself.
    at, number = first, 0
    while True:
        with file.reading(_HAPPENINGS_SINCE) as connection:
            if connection is None:
                return
            rows = connection.execute(f"{query} ORDER BY at, id LIMIT {PAGE}", (at, number, end, *values)).fetchall()
        yield from map(_line, rows)
        if len(rows) < PAGE:
            return
        number, at = rows[-1][:2]


def _line(row: tuple[Any, ...]) -> Line:
    _, at, kind, state, path, name, subject, text, severity, step, value, readings, title, late = row
    known = json.loads(readings) if readings is not None else {}
    return Line(at, kind, state, path, name, subject, text, severity, step, value, title, known, bool(late))


def _overrides(file: JournalFile, place: str | None, first: float, end: float) -> Iterator[Line]:
    for at, state, config, campaign, key, cycle, rate, undone_at, document in _rows(
        file, _OVERRIDES_SINCE, _OVERRIDES, (end, first, first)
    ):
        if place is None or any(lies_at(known, place) for known in (campaign, config)):
            told = json.loads(document)
            text = told.get("text") if isinstance(told, dict) else None
            about = (campaign, "", key)
            yield Line(at, "override", state, *about, text or "", step=cycle, value=rate, config=config)
            if undone_at is not None:
                yield Line(undone_at, "override", "undone", *about, "", step=cycle, value=rate, config=config)


def _mutes(file: JournalFile, first: float, end: float) -> Iterator[Line]:
    for at, path, rule, lifted_at in _rows(file, _MUTES_SINCE, _MUTES, (end, first, first)):
        yield Line(at, "mute", "muted", path, "", rule, "")
        if lifted_at is not None:
            yield Line(lifted_at, "mute", "lifted", path, "", rule, "")


def _rows(file: JournalFile, since: int, query: str, values: tuple[float, ...]) -> list[tuple[Any, ...]]:
    with file.reading(since) as connection:
        return [] if connection is None else connection.execute(query, values).fetchall()
