"""The journal for people, programs and spreadsheets: written line by line, however long it is."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, TextIO

from raftmon.headless.document import encode
from raftmon.plain import plain
from raftmon.timeline import Line, line_document

__all__ = ["FORMATS", "SCHEMA", "write_csv", "write_json", "write_text"]

SCHEMA: Final = "raftmon/history@1"
_FORMULA: Final = ("=", "+", "-", "@")
"""What a spreadsheet would take for a formula and work out."""
_COLUMNS: Final = (
    "time",
    "kind",
    "state",
    "path",
    "name",
    "subject",
    "severity",
    "step",
    "value",
    "title",
    "text",
    "late",
    "config",
)


def write_json(lines: Iterable[Line], out: TextIO, place: str | None = None) -> int:  # noqa: ARG001 - as the others
    """Write one document of schema ``raftmon/history@1``; returns the number of lines."""
    count = 0
    out.write(f'{{"schema":"{SCHEMA}","events":[')
    for line in lines:
        out.write(",\n" if count else "\n")
        out.write(encode({"time": _utc(line.at), **line_document(line)}))
        count += 1
    out.write("\n]}\n")
    return count


def write_csv(lines: Iterable[Line], out: TextIO, place: str | None = None) -> int:  # noqa: ARG001 - as the others
    """Write a table with a head, whose cells steer neither spreadsheet nor terminal; returns the number of lines."""
    rows, count = csv.writer(out, lineterminator="\n"), 0
    rows.writerow(_COLUMNS)
    for line in lines:
        known = {"time": _utc(line.at), **line_document(line)}
        rows.writerow([_cell(known[column]) for column in _COLUMNS])
        count += 1
    return count


def write_text(lines: Iterable[Line], out: TextIO, place: str | None = None) -> int:
    """Write a line for each, in local time; returns their number.

    Args:
        lines: what to write.
        out: where.
        place: paths are written as they lie below it.
    """
    count = 0
    for line in lines:
        where = _below(line.path, place)
        told = f"{_local(line.at)}  {where}{'  ' if where else ''}{_words(line)}"
        out.write(f"{plain(' '.join(told.splitlines()))}\n")
        count += 1
    return count


FORMATS: Final[dict[str, Callable[[Iterable[Line], TextIO, str | None], int]]] = {
    "text": write_text,
    "json": write_json,
    "csv": write_csv,
}


def _words(line: Line) -> str:
    words = [line.kind, line.subject, line.state]
    if line.severity is not None:
        words.append(f"({line.severity})")
    if line.value is not None:
        words.append(f"{line.value:.0%}" if line.kind == "verdict" else f"{line.value:.3g}")
    if line.step is not None:
        unit = "cycle" if line.kind == "override" or line.subject == "next_cycle" else "step"
        words.append(f"{unit} {line.step}")
    if line.config is not None:
        words.append(f"in {PurePath(line.config).name}")
    told = " ".join(word for word in words if word)
    return f"{told}: {line.text}" if line.text else told


def _below(path: str, place: str | None) -> str:
    if place is None:
        return path
    return "." if path == place else path.removeprefix(f"{place.rstrip('/')}/")


def _cell(value: Any) -> str | float | int | None:
    if not isinstance(value, str):
        return value if value is None or isinstance(value, (int, float)) else str(value)
    text = plain(" ".join(value.splitlines()))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _utc(at: float) -> str | None:
    found = _moment(at)
    return None if found is None else found.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _local(at: float) -> str:
    found = _moment(at)
    return f"@{at:g}" if found is None else found.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _moment(at: float) -> datetime | None:
    """Return a time as a calendar knows it; None: it is beyond all of them."""
    try:
        return datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return None
