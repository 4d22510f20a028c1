"""Answers that are no larger than a model can read, of text that nothing obeys.

Names, tags and texts in event files and configs were written by others. What is not printable (escape sequences,
marks that change the direction of writing, invisible characters) is replaced, and what is long is cut, which is said.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from raftmon.plain import plain

__all__ = ["LONGEST_TEXT", "MOST_ITEMS", "bounded", "clean"]

LONGEST_TEXT: Final = 4_000
"""Characters of a text."""
MOST_ITEMS: Final = 200
"""Entries of a list, and of a mapping."""
_IN_LINES: Final = frozenset({"diff"})
"""Keys whose texts have lines."""
_IN_TIME: Final = frozenset({"cycles"})
"""Keys of lists whose last entries tell most."""
MOST_TOLD: Final = 20
"""Entries of `left_out`."""


def clean(text: str) -> str:
    """Return text of one line that nothing obeys."""
    return plain(text.encode(errors="surrogatepass").decode(errors="replace"))


def bounded(document: dict[str, Any]) -> dict[str, Any]:
    """Return plain data with every text made harmless, and what is too long cut; ``left_out`` says what was.

    Args:
        document: what JSON can hold; texts may hold anything.
    """
    left_out: list[str] = []
    found = {clean(key): _part(value, clean(key), left_out) for key, value in document.items()}
    # Through JSON, in which a number that is not finite is null.
    whole: dict[str, Any] = msgspec.json.decode(msgspec.json.encode({**found, "left_out": left_out[:MOST_TOLD]}))
    return whole


def _part(value: Any, where: str, left_out: list[str]) -> Any:
    if isinstance(value, str):
        lines = value.split("\n") if where.rpartition(".")[2] in _IN_LINES else [value]
        text = "\n".join(map(clean, lines))
        if len(text) > LONGEST_TEXT:
            left_out.append(f"{where}: the first {LONGEST_TEXT} of {len(text)} characters")
        return text[:LONGEST_TEXT]
    if isinstance(value, dict):
        if len(value) > MOST_ITEMS:
            left_out.append(f"{where}: {MOST_ITEMS} of {len(value)} entries")
        items = list(value.items())[:MOST_ITEMS]
        return {clean(str(key))[:500]: _part(item, f"{where}.{clean(str(key))[:80]}", left_out) for key, item in items}
    if isinstance(value, list | tuple):
        if len(value) > MOST_ITEMS:
            left_out.append(f"{where}: {MOST_ITEMS} of {len(value)}")
        newest = where.rpartition(".")[2] in _IN_TIME
        kept = list(value)[-MOST_ITEMS:] if newest else list(value)[:MOST_ITEMS]
        return [_part(item, where, left_out) for item in kept]
    return value
