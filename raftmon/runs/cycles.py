"""RAFT campaigns: which runs are cycles, and what lies beside them.

A campaign is a directory whose children are cycles: ``cycle_3/logs`` below ``models/raft`` is cycle 3 of the campaign
``models/raft``. Beside the runs lie files of the verifier and of the trainer:

- ``cycle_N_verified.jsonl``: the samples of the model that *enters* cycle N, judged, before it is trained on them;
- ``cycle_N_heldout.jsonl``: the same format, for prompts that are never trained on and the model that *leaves* cycle N
  (0: the base model). It is the convention of this program; no trainer writes it by itself;
- reports of the trainers, see `raftmon.runs.evidence`.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from raftmon.model import Problem
from raftmon.runs.evidence import CycleEvidence, ReportFile, merge

if TYPE_CHECKING:
    from raftmon.runs.verified import VerifiedFile

__all__ = [
    "CampaignEvidence",
    "CampaignFiles",
    "CycleEvidence",
    "CycleName",
    "cycle_of",
    "has_verdicts",
    "is_campaign_file_name",
    "is_cycle_name",
    "is_report_name",
]

_WORD: Final = r"(?:cycle|iteration|iter|round)"
_WHOLE: Final = re.compile(rf"{_WORD}[_-]?(\d{{1,3}})", re.IGNORECASE)
_SUFFIX: Final = re.compile(rf"(.*[^_-])[_-]{_WORD}[_-]?(\d{{1,3}})", re.IGNORECASE)
_SWIFT: Final = re.compile(r"v(\d{1,3})-\d{8}-\d{6}")
_LIMITS: Final = frozenset({"max", "min", "n", "num", "per", "total", "every", "warmup", "one", "1", "super"})
"""Words before ``iter`` or ``cycle`` that make it a setting: ``ppo_max_iter100`` and ``one_cycle_2`` are no cycles."""
_ADD_SCALARS: Final = "cycle_reward_distribution"
"""Halo-forge's ``add_scalars`` makes a directory of each value, ``cycle_reward_distribution_1`` among them."""
_VERDICTS: Final = re.compile(rf"{_WORD}[_-]?(\d{{1,3}})[_-](verified|heldout)\.jsonl", re.IGNORECASE)
_REPORTS: Final = (
    "raft_statistics.json",
    "training_summary.json",
    "metrics.jsonl",
    "summary.json",
    "statistics.json",
)
"""Trainers' own words on their cycles, the surest first."""
_CYCLE_REPORT: Final = "metrics.json"
_BUDGET: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class CycleName:
    """The place of a run in a campaign."""

    campaign: str
    """Path of the campaign below the logdir, ``.`` for the logdir itself. For runs named ``<name>_iter3`` it is the
    path of ``<name>``, which need not exist."""
    cycle: int
    directory: str = "."
    """The directory, below the logdir, that holds the campaign's cycles and files: `campaign` itself, or its parent
    for runs named ``<name>_iter3``."""


def cycle_of(run: str, is_verified: Callable[[str], bool] | None = None) -> CycleName | None:
    """Tell which cycle of which campaign a run is.

    Cycles are called ``cycle_3``, ``iter3``, ``iteration_3``, ``round-2`` or ``<name>_iter3``; a run is one of them or
    lies below one, the innermost counts. Look-alikes are none: ``cycle_reward_distribution_ran`` (a child run of
    ``add_scalars``), ``cycle_3_final`` (the checkpoint of cycle 3, where no run is), ``version_3``, ``A2C_8``,
    ``trial_3``, ``run_3``, ``checkpoint-500``, ``max_iter100``.

    ms-swift calls every start of a training ``v<N>-<date>-<time>``. Most such neighbours are separate trainings, one
    started after the other was mended or broken off, and comparing them as cycles would invent a history. So they are
    cycles only where somebody verified between them, which `is_verified` must confirm.

    Args:
        run: path of the run below its logdir, ``.`` for the logdir itself.
        is_verified: tells of a directory, given by its path below the logdir, whether files of a verifier lie in it
            (see `has_verdicts`); None: nobody knows, so that ms-swift's names are no cycles.
    """
    parts = [part for part in run.split("/") if part not in ("", ".")]
    if any(part.startswith(_ADD_SCALARS) for part in parts):
        return None
    for index in reversed(range(len(parts))):
        whole = _WHOLE.fullmatch(parts[index])
        if whole:
            campaign = _join(parts[:index])
            return CycleName(campaign, int(whole[1]), campaign)
    for index in reversed(range(len(parts))):
        suffix = _SUFFIX.fullmatch(parts[index])
        if suffix and re.split(r"[_-]", suffix[1])[-1].lower() not in _LIMITS:
            return CycleName(_join([*parts[:index], suffix[1]]), int(suffix[2]), _join(parts[:index]))
    for index in reversed(range(len(parts))):
        swift, directory = _SWIFT.fullmatch(parts[index]), _join(parts[:index])
        if swift and is_verified is not None and is_verified(directory):
            return CycleName(directory, int(swift[1]), directory)
    return None


def _join(parts: list[str]) -> str:
    return "/".join(parts) or "."


def is_campaign_file_name(name: str) -> bool:
    """Tell whether only a RAFT campaign has a file of this name: verdicts, or halo-forge's ``raft_statistics.json``.

    The other reports have names that any program might choose.
    """
    return name == _REPORTS[0] or _VERDICTS.fullmatch(name) is not None


def is_report_name(name: str) -> bool:
    """Tell whether trainers call a report on their cycles so; any other program may do the same."""
    return name in _REPORTS or name == _CYCLE_REPORT


def is_cycle_name(name: str) -> bool:
    """Tell whether a directory is called like a cycle and nothing else: ``cycle_3``, ``iter3``."""
    return _WHOLE.fullmatch(name) is not None


def has_verdicts(directory: Path) -> bool:
    """Tell whether files of a verifier lie in a directory."""
    try:
        return any(_VERDICTS.fullmatch(name) for name in os.listdir(directory))  # noqa: PTH208 - no stat per entry
    except OSError:
        return False


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
        matches = {name: match for name in names if (match := _VERDICTS.fullmatch(name))}
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
        sources: list[tuple[str, int | None]] = [(name, None) for name in _REPORTS if name in there]
        sources += [(f"{name}/{_CYCLE_REPORT}", int(match[1])) for name in names if (match := _WHOLE.fullmatch(name))]
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
