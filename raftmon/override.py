"""What the hook between two cycles hands on: the learning rate of the next cycle, and what was done about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from raftmon.model import Step
from raftmon.run_config import RunConfig

__all__ = ["Override", "Undone", "difference", "override_document"]

SCHEMA: Final = "raftmon/override@1"
_CONTEXT: Final = 2
_HUNK: Final = re.compile(r"^@@ -([0-9]+)(,[0-9]+)? \+([0-9]+)(,[0-9]+)? @@")


@dataclass(frozen=True, slots=True)
class Override:
    """What the next cycle should train at, and what was done about it."""

    config: str
    """The file as it was given."""
    key: str | None
    """Dotted key of the learning rate; None: not found, see `refused`."""
    trainer: str | None
    """Whose config it is; None: not known, or the key was given."""
    cycle: int | None
    current: float | None
    """The number in the file before; None: none is there."""
    learning_rate: float | None
    """What the cycle should train at; None: nothing is known to start from."""
    written: float | None
    """The number that the file must hold for that: another one where the trainer does arithmetic of its own."""
    applied: bool
    """Whether the file now holds it because it was asked for."""
    changed: bool
    """Whether the file differs, or would, from what it was."""
    roll_back_to: int | None
    """Start from the checkpoint that this cycle saved (0: the base model); None: go on from the newest."""
    stop: bool
    """End the campaign and ship the best checkpoint; nothing is written."""
    best_cycle: int | None
    authority: str
    """Least status of a rule that may act."""
    because: tuple[Step, ...]
    """The arithmetic, in order."""
    held_back: tuple[Step, ...]
    """What rules ask for that may not act with this authority."""
    text: str
    """The advice for people."""
    flag: str | None
    """The trainer's command-line override that does the same; None: it has none, or is not known."""
    diff: str
    """What changes in the file; empty where nothing does."""
    refused: str | None
    """Why nothing was, or would be, written."""
    remedy: str | None
    remarks: tuple[str, ...] = ()
    """What else to know."""
    evidence_factor: float = 1.0
    """What rules and changes of the configuration made of the strategy's rate."""
    acted: tuple[tuple[str, int], ...] = ()
    """(rule, cycle whose evidence it rests on) of what moved the number here."""
    reference: RunConfig | None = None
    """The configuration that the rate is meant for."""
    noted: bool = False
    """Whether the journal holds the number for a caller that trains at it without a word in the file."""


@dataclass(frozen=True, slots=True)
class Undone:
    """An override that was taken back."""

    config: str
    key: str
    cycle: int | None
    diff: str


def override_document(override: Override) -> dict[str, Any]:
    """Return an override as plain mappings and lists, schema ``raftmon/override@1``."""
    return {
        "schema": SCHEMA,
        **asdict(override),
        "because": [asdict(step) for step in override.because],
        "held_back": [asdict(step) for step in override.held_back],
        "remarks": list(override.remarks),
        "acted": [list(item) for item in override.acted],
    }


def difference(before: bytes, after: bytes, path: str) -> str:
    """Return what changed between two states of a file, as a unified diff; empty where nothing did."""
    old = before.decode(errors="replace").splitlines(keepends=True)
    new = after.decode(errors="replace").splitlines(keepends=True)
    # Few lines differ, so that what is alike at both ends need not be compared line by line.
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    first = max(0, head - _CONTEXT)
    last_old, last_new = (len(lines) - max(0, tail - _CONTEXT) for lines in (old, new))
    lines = difflib.unified_diff(old[first:last_old], new[first:last_new], path, path, n=_CONTEXT)
    shown = [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
    return "".join(_HUNK.sub(lambda found: _moved(found, first), line) for line in shown)


def _moved(hunk: re.Match[str], by: int) -> str:
    """Return the head of a hunk with the line numbers of the whole file."""
    return f"@@ -{int(hunk[1]) + by}{hunk[2] or ''} +{int(hunk[3]) + by}{hunk[4] or ''} @@"


def _alike(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the equal lines at the beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(first), len(second)))
