"""How many samples a RAFT cycle can train on at most, from its prompts: what is kept is known only after it was judged.

halo-forge and malagent draw some samples per prompt, and keep a share of those that reach the reward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["MostSamples", "most_samples"]

_PROMPTS: Final = ("prompts", "data.prompts", "raft.prompts", "raft.prompts.path")
_PER_PROMPT: Final = ("raft.samples_per_prompt", "samples_per_prompt", "raft.generation.samples_per_prompt")
_KEEP: Final = ("raft.keep_top_percent", "keep_top_percent", "raft.filtering.keep_top_percent")
_LARGEST: Final = 64_000_000
"""Bytes: a larger file of prompts is left alone."""


class MostSamples(NamedTuple):
    """An upper bound, and where it comes from."""

    samples: int
    text: str
    """In words for people."""


def most_samples(flat: Mapping[str, str], path: Path) -> MostSamples | None:
    """Return the most samples that a cycle can keep, or None where the config or its file of prompts does not tell.

    Args:
        flat: the config, dotted key to text.
        path: the config; its prompts are looked for from the working directory, then beside it.
    """
    per_prompt, keep = _number(flat, _PER_PROMPT), _number(flat, _KEEP)
    written = next((flat[key] for key in _PROMPTS if key in flat), None)
    if per_prompt is None or keep is None or written is None:
        return None
    file = next((file for file in (Path(written), path.parent / written) if _is_readable(file)), None)
    prompts = sum(1 for _ in _lines(file)) if file is not None else 0
    if not prompts:
        return None
    share = min(keep, 1.0)
    samples = max(1, int(prompts * per_prompt * share))
    return MostSamples(samples, f"{prompts} prompts × {per_prompt:g} samples, of which at most {share:.3g} is kept")


def _number(flat: Mapping[str, str], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        try:
            number = float(flat[key])
        except (KeyError, ValueError):
            continue
        if 0.0 < number < 1e6:
            return number
    return None


def _is_readable(file: Path) -> bool:
    try:
        return file.suffix in (".jsonl", ".txt") and file.is_file() and file.stat().st_size <= _LARGEST
    except (OSError, ValueError):
        return False


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as lines:
            yield from (line for line in lines if line.strip())
    except OSError:
        return
