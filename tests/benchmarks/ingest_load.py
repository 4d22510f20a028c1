"""One reader of event files loads one logdir, once, in a process of its own, and says what that took.

usage: python -m tests.benchmarks.ingest_load READER LOGDIR

READER is ``raftmon``, ``loader`` or ``accumulator`` (tensorboard's EventFileLoader, EventAccumulator) or ``tbparse``.
Prints a `Load` as one line of JSON. Imports are done before the clock starts.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

__all__ = ["Checksums", "Load", "Points", "checksums", "event_files", "main", "peak_in", "read_points"]

Columns: TypeAlias = tuple[Any, Any, Any]
"""Steps, wall times and values of consecutive points of one tag: int64, float64, float64."""
Points: TypeAlias = Mapping[tuple[int, str], Sequence[Columns]]
"""Number of a file and tag to all its points, in pieces."""


@dataclass(frozen=True, slots=True)
class Checksums:
    """What two readers of the same files must agree on, in whatever order they read; sums modulo 2**64."""

    scalars: int
    values: int
    """Of the bits of the values, as float64."""
    steps: int
    wall_times: int
    """Of the bits of the wall times, as float64."""
    mixed: int
    """Of value bits * (2 * step + 1): holds each value to its step."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one load took."""

    scalars: int | None
    """How many were found; None: the reader does not say."""
    cpu: float
    """Seconds of the process while it loaded, all threads."""
    wall: float
    """Seconds."""
    peak: int
    """Most memory the process had resident, bytes; 0: not measured."""
    checksums: Checksums | None = None
    """None: the reader does not hand out its points."""


def event_files(logdir: Path) -> list[Path]:
    """Return the event files of a logdir, in the order of their paths."""
    return sorted(path for path in logdir.rglob("*tfevents*") if path.is_file())


def peak_in(status: str) -> int:
    """Return the most memory that a process had resident, in bytes, from what `/proc/PID/status` says."""
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def read_points(paths: Iterable[Path]) -> Points:
    """Read files to their ends with raftmon's reader, and keep all their points in columns by tag."""
    from raftmon.events.tail import EventFile

    kept: dict[tuple[int, str], list[Columns]] = {}
    for number, path in enumerate(paths):
        file, more = EventFile(path), True
        while more:
            update = file.read()
            for batch in update.batches:
                for tag, step, wall_time, value in batch.by_tag():
                    kept.setdefault((number, tag), []).append((step, wall_time, value))
            more = update.more
    return kept


def checksums(points: Points) -> Checksums:
    """Return the sums over all points."""
    scalars, sums = 0, np.zeros(4, np.uint64)
    for pieces in points.values():
        for step, wall_time, value in pieces:
            bits, steps = (np.ascontiguousarray(column).view(np.uint64) for column in (value, step))
            walls = np.ascontiguousarray(wall_time).view(np.uint64)
            mixed = bits * (steps * np.uint64(2) + np.uint64(1))
            sums += np.array([column.sum(dtype=np.uint64) for column in (bits, steps, walls, mixed)])
            scalars += len(steps)
    return Checksums(scalars, *sums.tolist())


Work: TypeAlias = Callable[[Sequence[Path]], Any]


def _raftmon() -> tuple[Work, Callable[[Any], int]]:
    # Some are imported at their first use; for the other readers these are, too, before the clock starts.
    for module in ("event_pb2", "summary_pb2"):
        importlib.import_module(f"tensorboard.compat.proto.{module}")
    importlib.import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    importlib.import_module("raftmon.events.tail")

    return read_points, lambda points: sum(len(piece[0]) for pieces in points.values() for piece in pieces)


def _loader() -> tuple[Work, Callable[[Any], int]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.compat import tf
    from tensorboard.util import tensor_util

    tf.__version__  # noqa: B018 - it is imported at its first use

    def load(paths: Sequence[Path]) -> Mapping[tuple[int, str], list[tuple[int, float, float]]]:
        kept: dict[tuple[int, str], list[tuple[int, float, float]]] = {}
        scalar_tags: set[tuple[int, str]] = set()
        for number, path in enumerate(paths):
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    key = (number, value.tag)
                    # Only the first value of a tag still has its metadata.
                    if value.metadata.plugin_data.plugin_name == "scalars":
                        scalar_tags.add(key)
                    if key in scalar_tags:
                        point = (event.step, event.wall_time, tensor_util.make_ndarray(value.tensor).item())
                        kept.setdefault(key, []).append(point)
        return kept

    return load, lambda kept: sum(map(len, kept.values()))


def _accumulator() -> tuple[Work, Callable[[Any], int]]:
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator
    from tensorboard.compat import tf

    tf.__version__  # noqa: B018 - it is imported at its first use

    def load(paths: Sequence[Path]) -> list[Any]:
        loaded = [EventAccumulator(str(path), size_guidance={SCALARS: 0, TENSORS: 0}) for path in paths]
        return [accumulator.Reload() for accumulator in loaded]

    def count(loaded: list[Any]) -> int:
        scalars = sum(len(one.Scalars(tag)) for one in loaded for tag in one.Tags()[SCALARS])
        # Scalars that were written as tensors stay tensors.
        tensors = ((one, tag) for one in loaded for tag in one.Tags()[TENSORS])
        named = ((one, tag) for one, tag in tensors if one.SummaryMetadata(tag).plugin_data.plugin_name == "scalars")
        return scalars + sum(len(one.Tensors(tag)) for one, tag in named)

    return load, count


def _tbparse() -> tuple[Work, Callable[[Any], int]]:
    reader = importlib.import_module("tbparse").SummaryReader

    def load(paths: Sequence[Path]) -> list[Any]:
        loaded = [reader(str(path), extra_columns={"wall_time"}) for path in paths]
        # Scalars that were written as tensors stay tensors.
        return [frame for one in loaded for frame in (one.scalars, one.tensors)]

    return load, lambda frames: sum(len(frame) for frame in frames)


READERS: Final[Mapping[str, Callable[[], tuple[Work, Callable[[Any], int]]]]] = {
    "raftmon": _raftmon,
    "loader": _loader,
    "accumulator": _accumulator,
    "tbparse": _tbparse,
}


def main() -> None:
    """Load, and print what it took."""
    reader, logdir = sys.argv[1:]
    work, count = READERS[reader]()
    paths = event_files(Path(logdir))
    cpu, wall = time.process_time(), time.perf_counter()
    loaded = work(paths)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = peak_in(Path("/proc/self/status").read_text())
    sums = checksums(loaded) if reader == "raftmon" else None
    json.dump(asdict(Load(count(loaded), cpu, wall, peak, sums)), sys.stdout)


if __name__ == "__main__":
    main()
