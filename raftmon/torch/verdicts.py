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
        UsageError: there is no sample, or one without a verdict.
        OSError: the file cannot be written.
    """
    rows = [dict(sample) for sample in samples]
    path = directory / f"cycle_{cycle}_{kind}.jsonl"
    broken = next((number for number, row in enumerate(rows, start=1) if row.get("success") not in (True, False)), None)
    if not rows or broken is not None:
        raise UsageError(str(path), f"sample {broken} has no verdict" if broken else "no samples", _REMEDY)
    rows = [{**row, "success": bool(row["success"])} for row in rows]
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
