"""RAFT campaigns: which runs are cycles, and what the files beside them are called.

A campaign is a directory whose children are cycles: ``cycle_3/logs`` below ``models/raft`` is cycle 3 of the campaign
``models/raft``. Beside the runs lie files of the verifier and of the trainer:

- ``cycle_N_verified.jsonl``: the samples of the model that *enters* cycle N, judged, before it is trained on them;
- ``cycle_N_heldout.jsonl``: the same format, for prompts that are never trained on and the model that *leaves* cycle N
  (0: the base model). It is the convention of this program; no trainer writes it by itself;
- reports of the trainers, see `raftmon.runs.evidence`.

What the files say is read by `raftmon.runs.campaign_files`. Here are names alone, which every logdir is searched for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from raftmon.slotted import dataclass

__all__ = [
    "CYCLE",
    "CYCLE_REPORT",
    "REPORTS",
    "VERDICTS",
    "CycleName",
    "cycle_of",
    "has_verdicts",
    "is_campaign_file_name",
    "is_cycle_name",
    "is_report_name",
]

_WORD: Final = r"(?:cycle|iteration|iter|round)"
CYCLE: Final = re.compile(rf"{_WORD}[_-]?(\d{{1,3}})", re.IGNORECASE)
"""The whole name of a cycle's directory; its number is the group."""
_SUFFIX: Final = re.compile(rf"(.*[^_-])[_-]{_WORD}[_-]?(\d{{1,3}})", re.IGNORECASE)
_SWIFT: Final = re.compile(r"v(\d{1,3})-\d{8}-\d{6}")
_LIMITS: Final = frozenset({"max", "min", "n", "num", "per", "total", "every", "warmup", "one", "1", "super"})
"""Words before ``iter`` or ``cycle`` that make it a setting: ``ppo_max_iter100`` and ``one_cycle_2`` are no cycles."""
_ADD_SCALARS: Final = "cycle_reward_distribution"
"""Halo-forge's ``add_scalars`` makes a directory of each value, ``cycle_reward_distribution_1`` among them."""
VERDICTS: Final = re.compile(rf"{_WORD}[_-]?(\d{{1,3}})[_-](verified|heldout)\.jsonl", re.IGNORECASE)
"""The name of a file of verdicts: the cycle's number, and which samples it holds."""
REPORTS: Final = (
    "raft_statistics.json",
    "training_summary.json",
    "metrics.jsonl",
    "summary.json",
    "statistics.json",
)
"""Trainers' own words on their cycles, the surest first."""
CYCLE_REPORT: Final = "metrics.json"
"""A trainer's report in the directory of the cycle itself."""


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
        whole = CYCLE.fullmatch(parts[index])
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
    return name == REPORTS[0] or VERDICTS.fullmatch(name) is not None


def is_report_name(name: str) -> bool:
    """Tell whether trainers call a report on their cycles so; any other program may do the same."""
    return name in REPORTS or name == CYCLE_REPORT


def is_cycle_name(name: str) -> bool:
    """Tell whether a directory is called like a cycle and nothing else: ``cycle_3``, ``iter3``."""
    return CYCLE.fullmatch(name) is not None


def has_verdicts(directory: Path) -> bool:
    """Tell whether files of a verifier lie in a directory."""
    try:
        return any(VERDICTS.fullmatch(name) for name in os.listdir(directory))  # noqa: PTH208 - no stat per entry
    except OSError:
        return False
