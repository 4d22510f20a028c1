"""Arguments of what `raftmon.torch` offers, looked at before torch, a trainer or the campaign sees them."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from pathlib import Path
from typing import SupportsIndex, cast

from raftmon.errors import UsageError

__all__ = ["function", "number", "one_of", "path", "tag", "whole"]


def whole(call: str, name: str, value: object, least: int, most: int | None = None) -> int:
    """Return an argument that must be a whole number; numpy's are, ``True`` is not.

    Args:
        call: the function that was called.
        name: of the argument.
        value: what was given.
        least: smallest legal value.
        most: largest legal value, None: no limit.

    Raises:
        UsageError: it is something else.
    """
    legal = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    try:
        found = operator.index(cast("SupportsIndex", value))
    except TypeError:
        found = None
    if found is None or isinstance(value, bool) or found < least or (most is not None and found > most):
        raise UsageError(f"{call}({name})", f"{name} is {value!r}", f"Give {legal}.")
    return found


def number(call: str, name: str, value: object, legal: str) -> float:
    """Return an argument that must be a finite number within an interval.

    Args:
        call: the function that was called.
        name: of the argument.
        value: what was given.
        legal: the interval as mathematicians write it, ``[0, 1)``; ``inf`` has no end.

    Raises:
        UsageError: it is something else.
    """
    low, high = (float(end) for end in legal[1:-1].split(","))
    try:
        found = math.nan if isinstance(value, (bool, str)) else float(cast("float", value))
    except (TypeError, ValueError):
        found = math.nan
    above = low <= found if legal[0] == "[" else low < found
    below = found <= high if legal[-1] == "]" else found < high
    if not (math.isfinite(found) and above and below):
        begin = f"{'at least' if legal[0] == '[' else 'above'} {low:g}"
        end = "" if high == math.inf else f" and {'at most' if legal[-1] == ']' else 'below'} {high:g}"
        raise UsageError(f"{call}({name})", f"{name} is {value!r}", f"Give a number {begin}{end}.")
    return found


def one_of(call: str, name: str, value: object, legal: Collection[str]) -> str:
    """Return an argument that must be one of some words.

    Raises:
        UsageError: it is something else; the legal words are in the remedy.
    """
    if not isinstance(value, str) or value not in legal:
        raise UsageError(f"{call}({name})", f"{name} is {value!r}", f"Give one of {', '.join(legal)}.")
    return value


def function(call: str, name: str, value: object) -> None:
    """Look at an argument that must be a function, or something else that can be called.

    Raises:
        UsageError: it is something else.
    """
    if not callable(value):
        what = f"{name} is a {type(value).__name__}, which cannot be called"
        raise UsageError(f"{call}({name})", what, "Give a function.")


def path(call: str, name: str, value: object) -> None:
    """Look at an argument that must be a path: a str or a `pathlib.Path`.

    Raises:
        UsageError: it is something else, or empty.
    """
    if not isinstance(value, str | Path) or value == "":
        raise UsageError(f"{call}({name})", f"{name} is {value!r}", "Give a path, as str or pathlib.Path.")


def tag(call: str, name: str, value: object) -> None:
    """Look at an argument that must be a tag, or None.

    Raises:
        UsageError: it is something else, or empty.
    """
    if value is not None and (not isinstance(value, str) or not value):
        raise UsageError(f"{call}({name})", f"{name} is {value!r}", "Give a tag such as train/loss, or None for none.")
