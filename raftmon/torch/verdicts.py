"""Writes what a verifier said of a cycle's samples where raftmon looks for it: ``cycle_N_heldout.jsonl``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from raftmon.errors import UsageError

__all__ = ["Kind", "Rates", "write_verdicts"]

Kind: TypeAlias = Literal["verified", "heldout"]
_REMEDY = 'Each sample is a mapping such as {"prompt": "2+2=", "completion": "4", "success": True}.'


@dataclass(frozen=True, slots=True)
class Rates:
    """What samples add up to."""

    rate: float
    """Share (0..1) that the verifier accepted."""
    verified: int
    """Samples that it judged."""
    unique_fraction: float | None
    """Distinct accepted completions over accepted ones; None: none is accepted, or completions were not given."""


def write_verdicts(directory: Path, cycle: int, kind: Kind, samples: Iterable[Mapping[str, Any]]) -> Rates:
    """Write a cycle's judged samples, whole or not at all; a file of that name is replaced.

    Args:
        directory: that of the campaign.
        cycle: its number; 0, for held-out samples: the base model.
        kind: samples of the model that *enters* the cycle (``verified``), or samples for prompts that are never
            trained on, of the model that *leaves* it (``heldout``).
        samples: each with ``success`` (bool), and ``prompt`` and ``completion`` where they are known: the one tells
            how alike a prompt's samples are, the other how diverse those that passed.

    Raises:
        UsageError: there is no sample, or one without a verdict, or these are no samples.
        OSError: the file cannot be written.
    """
    path = directory / f"cycle_{cycle}_{kind}.jsonl"
    if isinstance(samples, str | Mapping) or not isinstance(samples, Iterable):
        raise UsageError(str(path), f"a {type(samples).__name__} was given, no list of samples", _REMEDY)
    rows = [_judged(sample, number, path) for number, sample in enumerate(samples, start=1)]
    if not rows:
        raise UsageError(str(path), "no samples", _REMEDY)
    directory.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, default=str) + "\n")
    partial.replace(path)
    accepted = [row["completion"] for row in rows if row["success"] and row.get("completion") is not None]
    distinct = {json.dumps(completion, default=str) for completion in accepted}
    passed = sum(row["success"] for row in rows)
    return Rates(passed / len(rows), len(rows), len(distinct) / len(accepted) if accepted else None)


def _judged(sample: object, number: int, path: Path) -> dict[str, Any]:
    """Return a sample with a plain verdict; numpy's are taken, and 0 and 1."""
    if not isinstance(sample, Mapping):
        raise UsageError(str(path), f"sample {number} is a {type(sample).__name__}", _REMEDY)
    verdict = sample.get("success")
    if not (isinstance(verdict, bool | int | float) or getattr(verdict, "ndim", None) == 0) or verdict not in (0, 1):
        raise UsageError(str(path), f"sample {number} has no verdict", _REMEDY)
    return {**sample, "success": bool(verdict)}
