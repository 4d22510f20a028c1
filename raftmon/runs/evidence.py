"""What is known of one RAFT cycle, and the reports of trainers that tell it.

RAFT trainers write summaries of their cycles as JSON. They differ in names and nesting, not in content, so that one
reader takes them all:

- halo-forge ``raft_statistics.json``: a list of ``{cycle, total_samples, kept, success_rate, ...}``; no rate where the
  verification came from its cache;
- halo-forge ``training_summary.json`` and ``metrics.jsonl`` (metrics tracker, and the newer trainers):
  ``cycles[]`` with ``learning_rate``, ``kept_samples`` or ``samples_kept``, ``success_rate`` or ``accuracy`` or
  ``yield_diagnostics.rates.verification_rate``; the tracker writes 0 for whatever it was not told;
- halo-forge benchmark ``summary.json``: ``cycles[]`` with ``generated, verified, kept, compile_rate``;
- malagent ``cycle_N/metrics.json``: ``{cycle, generated, compiled, compile_rate, filtered}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias

from raftmon.model import Problem
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from os import stat_result

__all__ = ["CycleEvidence", "ReportFile", "evidence_in", "merge"]

Json: TypeAlias = Any
"""A decoded JSON value of whatever shape its writer chose."""

LARGEST_REPORT: Final = 16_000_000
"""Larger files are no reports of cycles."""
_RATE: Final = ("success_rate", "verification_rate", "compile_rate", "pass_rate")
_VERIFIED: Final = ("verified", "total_samples", "samples_seen", "generated", "total_completions")
_KEPT: Final = ("kept", "kept_samples", "samples_kept", "filtered", "filtered_completions")


@dataclass(frozen=True, slots=True)
class CycleEvidence:
    """What the verifier said in one cycle."""

    cycle: int
    rate: float | None = None
    """Share (0..1) of the judged samples that the verifier accepted."""
    verified: int | None = None
    """Samples judged: the n behind the rate."""
    passed: int | None = None
    """Samples accepted."""
    kept: int | None = None
    """Samples trained on."""
    learning_rate: float | None = None
    """As the trainer reports it for the cycle."""
    measures: Literal["before", "after"] = "before"
    """Whether the samples came from the model that entered the cycle, or from the one that left it."""
    held_out: bool = False
    """Whether the prompts are never trained on."""
    unique_fraction: float | None = None
    """Distinct accepted completions over accepted ones; an estimate, a percent off, beyond 8192 distinct ones."""
    mean_length: float | None = None
    """Mean length of the accepted completions in characters."""
    length_variation: float | None = None
    """Standard deviation of those lengths over their mean."""
    outputs: tuple[tuple[int, int], ...] = ()
    """How many distinct accepted completions came how often: (times, completions), ascending; empty if unknown."""
    distinct: float | None = None
    """Distinct pairs of neighbouring tokens over all pairs, in a sample of 64 accepted completions."""
    prompts: str | None = None
    """Digest of the set of prompts: equal digests mean that two cycles were asked the same."""
    prompt_count: int | None = None
    """Distinct prompts; an estimate beyond 8192."""
    clustering: float | None = None
    """Intraclass correlation of the verdicts on one prompt, None if unknown."""
    source: str = ""
    """Name, below the campaign, of the file that the rate comes from (that anything comes from, without a rate)."""


def merge(best: CycleEvidence, other: CycleEvidence) -> CycleEvidence:
    """Fill what the better source does not know.

    Rate and counts belong together and are taken from one of the two, whole.
    """
    filled = replace(
        best,
        kept=best.kept if best.kept is not None else other.kept,
        learning_rate=best.learning_rate if best.learning_rate is not None else other.learning_rate,
    )
    if best.rate is not None or other.rate is None:
        return filled
    return replace(filled, rate=other.rate, verified=other.verified, passed=other.passed, source=other.source)


def evidence_in(document: Json, source: str, cycle: int | None = None) -> Iterator[CycleEvidence]:
    """Yield what a trainer's report says of its cycles.

    Args:
        document: the decoded JSON: one record, a list of them, or a mapping with the list under ``cycles``.
        source: name of the file.
        cycle: number of the cycle where the file lies in the cycle's own directory.

    Raises:
        ValueError: a rate lies outside 0..1; the message says which.
    """
    records = document.get("cycles") if isinstance(document, dict) else document
    if not isinstance(records, list):
        records = [document]
    for record in records:
        if isinstance(record, dict) and not record.get("skipped"):
            found = _from_record(record, source, cycle)
            if found is not None:
                yield found


def _from_record(record: Mapping[str, Json], source: str, cycle: int | None) -> CycleEvidence | None:
    number = _count(record, ("cycle",))
    number = cycle if number is None else number
    rate, verified = _rate(record), _count(record, _VERIFIED) or None
    compiled = _count(record, ("compiled",))
    if rate is None and compiled is not None and verified:
        rate = compiled / verified
    if number is None:
        return None
    if rate is not None and not 0 <= rate <= 1:
        raise ValueError(f"cycle {number} has the rate {rate:g}; a rate lies between 0 and 1")
    if rate == 0 and verified is None:
        rate = None  # the tracker's 0 for "not told": no cycle judges no samples
    return CycleEvidence(
        cycle=number,
        rate=rate,
        verified=verified if rate is not None else None,
        passed=round(rate * verified) if rate is not None and verified else None,
        kept=_count(record, _KEPT),
        learning_rate=_finite(record.get("learning_rate")) or None,
        source=source,
    )


def _rate(record: Mapping[str, Json]) -> float | None:
    diagnostics = record.get("yield_diagnostics")
    rates = diagnostics.get("rates") if isinstance(diagnostics, dict) else None
    for holder in (record, rates if isinstance(rates, dict) else {}):
        for name in _RATE:
            value = _finite(holder.get(name))
            if value is not None:
                return value
    # By itself the word means a classifier's accuracy more often than a verifier's.
    return _finite(record.get("accuracy")) if "total_completions" in record else None


def _count(record: Mapping[str, Json], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = _finite(record.get(name))
        if value is not None and value >= 0 and value == int(value):
            return int(value)
    return None


def _finite(value: Json) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


class ReportFile:
    """One report of a trainer, read again whenever it changed.

    Args:
        path: the file: JSON, or JSON lines where its name ends in ``.jsonl``.
        source: its name below the campaign.
        opener: opens it for reading bytes.
        cycle: number of the cycle where the file lies in the cycle's own directory.
    """

    def __init__(self, path: Path, source: str, opener: Callable[[Path], BinaryIO], cycle: int | None = None) -> None:
        self.path = path
        self.evidence: tuple[CycleEvidence, ...] = ()
        """What it says; while the file is broken, what it said last."""
        self.problem: Problem | None = None
        self._source = source
        self._opener = opener
        self._cycle = cycle
        self._seen: tuple[int, ...] | None = None

    def read(self, status: stat_result) -> None:
        """Read the file if it is not the one that was read last.

        Args:
            status: of the file, as it is now.
        """
        seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if seen == self._seen:
            return
        self._seen = seen
        if status.st_size > LARGEST_REPORT:
            self.problem = Problem(str(self.path), "larger than 16 MB, not read", "Is it a report of cycles?")
            return
        try:
            with self._opener(self.path) as file:
                content = file.read()
            # A cycle that was run again is told again; its last word counts.
            self.evidence = tuple({evidence.cycle: evidence for evidence in self._parse(content)}.values())
            self.problem = None
        except OSError as error:
            # Another mode or owner leaves size and time as they are: look again at the next poll.
            self._seen = None
            reason = error.strerror or str(error)
            self.problem = Problem(str(self.path), f"cannot be read: {reason}", "Check the file's permissions.")
        except (ValueError, RecursionError) as error:
            remedy = "Nothing to do while it is being written; otherwise mend the file."
            self.problem = Problem(str(self.path), f"not usable: {error}", remedy)

    def _parse(self, content: bytes) -> Iterator[CycleEvidence]:
        if self.path.suffix != ".jsonl":
            yield from evidence_in(json.loads(content), self._source, self._cycle)
            return
        # What follows the last line end is still being written.
        for line in content.split(b"\n")[:-1]:
            if line.strip():
                yield from evidence_in(json.loads(line), self._source, self._cycle)
