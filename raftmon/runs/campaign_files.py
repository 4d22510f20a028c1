"""The files of one RAFT campaign, read as they grow; `raftmon.runs.cycles` says what they are called."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from raftmon.model import Problem
from raftmon.runs.cycles import CYCLE, CYCLE_REPORT, REPORTS, VERDICTS
from raftmon.runs.evidence import CycleEvidence, ReportFile, merge
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.runs.verified import VerifiedFile

__all__ = ["CampaignEvidence", "CampaignFiles", "CycleEvidence"]

_BUDGET: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class CampaignEvidence:
    """What the files of a campaign say, at one moment."""

    cycles: Mapping[int, CycleEvidence] = field(default_factory=dict)
    """By cycle, ascending: the samples for training prompts, judged before the cycle trained on them."""
    held_out: Mapping[int, CycleEvidence] = field(default_factory=dict)
    """By cycle, ascending: the samples for held-out prompts, judged after the cycle. Kept apart because the two
    differ in model and prompts; whoever needs one rate a cycle should prefer these."""
    more: bool = False
    """Whether the budget of the poll ended before the files did; poll again for the rest."""


class CampaignFiles:
    """The verifier's and the trainer's files of one campaign, read as they grow.

    Args:
        path: the campaign's directory; it need not exist yet.
        opener: opens a file for reading bytes.
        clock: seconds since the epoch.
        budget: bytes read per poll, at least the longest line (16 MiB).
        quiet: seconds without growth after which a file of verdicts counts as whole. A rate of half a file can be
            far off: halo-forge writes the best samples first. 0 where nothing is being written.
    """

    def __init__(
        self,
        path: Path,
        opener: Callable[[Path], BinaryIO] = lambda path: path.open("rb"),
        clock: Callable[[], float] = time.time,
        budget: int = _BUDGET,
        quiet: float = 0.0,
    ) -> None:
        self.path = path
        self._opener = opener
        self._clock = clock
        self._budget = budget
        self._quiet = quiet
        self._verdicts: dict[str, tuple[VerifiedFile, int, bool]] = {}
        self._reports: dict[str, ReportFile] = {}

    def poll(self, problems: list[Problem], trained: Collection[int] = ()) -> CampaignEvidence:
        """Read what is new; a file whose size and time are unchanged is not opened.

        Args:
            problems: every standing problem is noted here, unless it is there already.
            trained: cycles whose training has begun, so that their samples are all judged.
        """
        cycles: dict[int, CycleEvidence] = {}
        held_out: dict[int, CycleEvidence] = {}
        more = False
        names = self._names(problems)
        for evidence, is_held_out, is_behind in self._poll_verdicts(names, problems, trained):
            (held_out if is_held_out else cycles).setdefault(evidence.cycle, evidence)
            more = more or is_behind
        for evidence in self._poll_reports(names, problems):
            best = cycles.get(evidence.cycle)
            cycles[evidence.cycle] = evidence if best is None else merge(best, evidence)
        return CampaignEvidence(dict(sorted(cycles.items())), dict(sorted(held_out.items())), more)

    def _names(self, problems: list[Problem]) -> list[str]:
        """Return the names in the directory in order; none while it does not exist."""
        try:
            return sorted(os.listdir(self.path))  # noqa: PTH208 - no stat per entry
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            _note(Problem(str(self.path), f"cannot be listed: {error.strerror}", "Check its permissions."), problems)
            return []

    def _poll_verdicts(
        self, names: list[str], problems: list[Problem], trained: Collection[int]
    ) -> Iterator[tuple[CycleEvidence, bool, bool]]:
        """Yield what each file of verdicts says, whether it is held out, and whether more of it is to be read."""
        matches = {name: match for name in names if (match := VERDICTS.fullmatch(name))}
        self._verdicts = {name: known for name, known in self._verdicts.items() if name in matches}
        left, now = self._budget, self._clock()
        newest = max((int(match[1]) for match in matches.values()), default=0)
        for name, match in matches.items():
            status = _status(self.path / name)
            if status is None:
                continue
            if name not in self._verdicts:
                # Costs 27 ms to import, which most logdirs never need.
                from raftmon.runs.verified import VerifiedFile

                is_held_out = match[2].lower() == "heldout"
                self._verdicts[name] = VerifiedFile(self.path / name, self._opener), int(match[1]), is_held_out
            file, cycle, is_held_out = self._verdicts[name]
            left -= file.read(status, left)
            _note(file.problem, problems)
            done = cycle < newest or (cycle in trained and not is_held_out)
            quiet = 0.0 if done else self._quiet
            yield _evidence(file, name, cycle, is_held_out, file.settled(now, quiet)), is_held_out, file.more

    def _poll_reports(self, names: list[str], problems: list[Problem]) -> Iterator[CycleEvidence]:
        """Yield what the trainers' reports say, the surest report first."""
        there = set(names)
        sources: list[tuple[str, int | None]] = [(name, None) for name in REPORTS if name in there]
        sources += [(f"{name}/{CYCLE_REPORT}", int(match[1])) for name in names if (match := CYCLE.fullmatch(name))]
        for source, cycle in sources:
            status = _status(self.path / source)
            if status is None:
                self._reports.pop(source, None)
                continue
            if source not in self._reports:
                self._reports[source] = ReportFile(self.path / source, source, self._opener, cycle)
            report = self._reports[source]
            report.read(status)
            _note(report.problem, problems)
            yield from report.evidence


def _evidence(file: VerifiedFile, name: str, cycle: int, held_out: bool, settled: bool) -> CycleEvidence:
    measures: Literal["before", "after"] = "after" if held_out else "before"
    tally = file.tally
    if not settled or not tally.judged:
        return CycleEvidence(cycle, measures=measures, held_out=held_out, source=name)
    return CycleEvidence(
        cycle=cycle,
        rate=tally.passed / tally.judged,
        verified=tally.judged,
        passed=tally.passed,
        measures=measures,
        held_out=held_out,
        unique_fraction=tally.unique_fraction,
        mean_length=tally.mean_length,
        length_variation=tally.length_variation,
        outputs=tally.accepted.multiplicities,
        distinct=tally.sample.distinct,
        prompts=tally.prompts.digest,
        prompt_count=round(tally.prompts.count) or None,
        clustering=tally.prompts.clustering,
        source=name,
    )


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a file, or None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _note(problem: Problem | None, problems: list[Problem]) -> None:
    if problem is not None and problem not in problems:
        problems.append(problem)
