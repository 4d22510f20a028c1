"""A group of findings in words: a title, a text of bounded length, and JSON for programs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from raftmon.daemon.grouping import Group, Line
from raftmon.happenings import Happening
from raftmon.model import SEVERITIES
from raftmon.plain import plain

__all__ = ["SCHEMA", "document", "encode", "finding_document", "text_of", "title_of"]

SCHEMA: Final = "raftmon/notification@1"
_TITLE_LENGTH: Final = 120
_NAME_LENGTH: Final = 80
_ADVICE_LENGTH: Final = 400
_NAMED: Final = 10
"""Findings that a text names; the others are in its table."""
_RULES: Final = 12
"""Rows of that table."""


def title_of(group: Group) -> str:
    """Return the gravest finding and its run in one line of at most 120 characters."""
    if not group.lines:
        return f"raftmon: {group.total} findings"
    first = group.lines[0].happening
    more = f" (+{group.total - 1:,} more)" if group.total > 1 else ""
    what = f"raftmon: {_state(first)}: {plain(first.title or first.subject)} · "
    room = max(8, _TITLE_LENGTH - len(what) - len(more))
    return _cut(what + _cut_left(plain(first.name), room), _TITLE_LENGTH - len(more)) + more


def text_of(group: Group, most: int = 4_000) -> str:
    """Return the gravest findings with their advice, and how many there are of which rule.

    Args:
        group: at least one finding.
        most: greatest length in characters.
    """
    table = list(_table(group)) if group.total > 1 else []
    end = []
    named = group.lines[:_NAMED]
    if group.total > len(named):
        end.append(f"... and {group.total - len(named):,} more; `raftmon history` has all of them.")
    if group.lost:
        end.append(f"{group.lost:,} earlier findings could not be delivered; `raftmon history` has them.")
    room = most - sum(len(line) + 1 for line in (*table, *end)) - 2
    lines: list[str] = []
    for line in named:
        told = _told(line)
        if len(told) + 1 > room and lines:
            break
        lines.append(_cut(told, max(room, 1)))
        room -= len(told) + 1
    return _cut("\n".join([*table, *([""] if table else []), *lines, *end]), most)


def document(group: Group) -> dict[str, Any]:
    """Return a group as JSON: its schema, its findings (at most `MAX_LINES`), and how many there are of which rule."""
    return {
        "schema": SCHEMA,
        "total": group.total,
        "left_out": group.total - len(group.lines),
        "lost": group.lost,
        "counts": [
            {"rule": rule, "severity": severity, "state": state, "findings": count}
            for (rule, severity, state), count in group.counts.items()
        ],
        "findings": [_finding(line) for line in group.lines],
    }


def finding_document(happening: Happening) -> dict[str, Any]:
    """Return one finding as JSON; what is not finite becomes null."""
    return {
        "rule": happening.subject,
        "title": happening.title,
        "state": happening.state,
        "severity": happening.severity,
        "run": happening.name,
        "path": happening.path,
        "since_step": happening.step,
        "at": happening.at,
        "text": happening.text,
        "readings": {
            signal: value if value is not None and math.isfinite(value) else None
            for signal, value in happening.readings.items()
        },
    }


def encode(message: dict[str, Any]) -> bytes:
    """Return JSON in ASCII: also a path that is no valid text comes through."""
    return json.dumps(message, allow_nan=False).encode("ascii")


def _finding(line: Line) -> dict[str, Any]:
    found = finding_document(line.happening)
    found["fired_at"] = line.fired.at if line.fired is not None else None
    found["changes"] = line.changes
    return found


def _told(line: Line) -> str:
    """Return one finding in one to two lines."""
    happening = line.happening
    step = f", step {happening.step:,}" if happening.step is not None else ""
    name = _cut_left(plain(happening.name), _NAME_LENGTH)
    parts = [f"[{_state(happening)}] {name}: {plain(happening.title or happening.subject)} ({happening.subject}{step})"]
    if line.fired is not None:
        parts[0] += f"; it fired for {_duration(happening.at - line.fired.at)}"
    if line.changes > 1:
        parts[0] += f"; it came and went {line.changes // 2 or 1} times since"
    advice = happening.text if happening.state in ("firing", "gone") else ""
    if advice:
        parts.append(f"  {_cut(plain(advice), _ADVICE_LENGTH)}")
    return "\n".join(parts)


def _table(group: Group) -> Iterator[str]:
    """Yield how many findings there are of which rule, gravest first."""
    firing = sum(count for (_, _, state), count in group.counts.items() if state == "firing")
    ended = group.total - firing
    yield ", ".join(part for part in (f"{firing:,} fire" * bool(firing), f"{ended:,} ended" * bool(ended)) if part)
    rows: Counter[tuple[bool, int, str]] = Counter()
    for (rule, severity, state), count in group.counts.items():
        rows[state != "firing", -SEVERITIES.index(severity), rule] += count
    for (over, rank, rule), count in sorted(rows.items())[:_RULES]:
        yield f"  {count:,} × {rule} ({'ended' if over else SEVERITIES[-rank]})"
    if len(rows) > _RULES:
        yield f"  and {len(rows) - _RULES} other rules"


def _state(happening: Happening) -> str:
    if happening.state == "firing":
        return (happening.severity or "finding").upper()
    return happening.state


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(0, most - 1)]}…"


def _cut_left(text: str, most: int) -> str:
    """Cut at the left: of a path the end tells more."""
    return text if len(text) <= most else f"…{text[len(text) - most + 1 :]}"
