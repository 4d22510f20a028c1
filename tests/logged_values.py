"""What a training left behind, read without raftmon; and judged samples to give to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

__all__ = ["judged", "logged_values"]


def logged_values(directory: Path, tag: str) -> list[float]:
    """Return a tag's values from all event files below a directory, as TensorBoard's own reader finds them."""
    found = []
    for file in sorted(directory.rglob("*tfevents*")):
        accumulator = EventAccumulator(str(file), size_guidance={"scalars": 0})
        accumulator.Reload()
        if tag in accumulator.Tags()["scalars"]:
            found += [point.value for point in accumulator.Scalars(tag)]
    return found


def judged(passed: int, of: int = 400) -> list[dict[str, Any]]:
    """Return samples for forty prompts, so many of which pass."""
    return [{"prompt": f"p{n % 40}", "completion": f"c{n}", "success": n < passed} for n in range(of)]
