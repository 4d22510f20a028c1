"""The same recorded points in the forms that other tools read, at every step or thinned as a trainer would log them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from raftmon.model import VerdictKind
from raftmon.runs.logdir import Run
from tests.benchmarks.looks import ROLES, recordings

BEGAN: Final = 1_795_305_600
"""Wall time of the first event of a thinned file: that of the recordings."""
SECONDS_PER_STEP: Final = 0.5


@dataclass(frozen=True)
class LabelledRun:
    """A directory with event files of one run whose right answer is known."""

    directory: Path
    family: str
    """Runs of one family share model and data; raftmon is judged by coefficients fitted on the others."""
    kind: VerdictKind
    """``too_low``, ``ok`` or ``too_high``."""
    factor: float
    """Learning rate over the best one."""


@dataclass(frozen=True)
class Point:
    """What one event holds."""

    step: int
    tag: str
    value: float


def labelled_runs() -> list[LabelledRun]:
    """Return the runs that the tools are compared on: the one place that knows where they come from."""
    return [LabelledRun(case.path, case.family, _kind(case.kind), case.factor) for case in recordings()]


def _kind(name: str) -> VerdictKind:
    kinds: dict[str, VerdictKind] = {"too_low": "too_low", "ok": "ok", "too_high": "too_high"}
    return kinds[name]


def open_run(directory: Path) -> Run:
    """Return a run with all event files of a directory, read to their ends."""
    run = unread_run(directory)
    run.poll(1 << 30)
    return run


def unread_run(directory: Path) -> Run:
    """Return a run with all event files of a directory, not read yet."""
    run = Run(directory.name, directory)
    for file in sorted(directory.glob("*tfevents*")):
        run.add_file(file)
    return run


def points(run: Run, every: int = 1) -> Iterator[Point]:
    """Yield the points of a run as if it logged every so many steps, in the order of the steps.

    A loss is then the mean since the last log, as the Hugging Face Trainer logs it; other values are those of the step.
    """
    kept = []
    for tag, role in ROLES.items():
        if tag not in run.series:
            continue
        steps, values = run.series[tag].steps, run.series[tag].values
        spacing = 1 if role == "eval_loss" else every
        for index in range(spacing - 1, len(steps), spacing):
            value = np.mean(values[index - spacing + 1 : index + 1]) if role == "loss" else values[index]
            kept.append(Point(int(steps[index]), tag, float(value)))
    yield from sorted(kept, key=lambda point: point.step)


def trainer_state(run: Run, every: int) -> dict[str, Any]:
    """Return a ``trainer_state.json`` with the same points."""
    rows: dict[tuple[int, str], dict[str, float]] = {}
    for point in points(run, every):
        kind = point.tag.partition("/")[0]
        rows.setdefault((point.step, kind), {})[ROLES[point.tag]] = point.value
    # A trainer logs the step before it evaluates.
    ordered = sorted(rows.items(), key=lambda item: (item[0][0], item[0][1] == "eval"))
    last = max(step for step, _ in rows)
    return {
        "global_step": last,
        "max_steps": last,
        "log_history": [{**values, "step": step} for (step, _), values in ordered],
    }


def write_events(run: Run, path: Path, every: int) -> None:
    """Write an event file with the thinned points and the run's texts."""
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for tag, text in run.texts.items():
            arguments = text.replace('"logging_steps": 1,', f'"logging_steps": {every},')
            tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[arguments.encode()])
            tensor.tensor_shape.dim.add(size=1)
            metadata = summary_pb2.SummaryMetadata(plugin_data={"plugin_name": "text"})
            value = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
            writer.write(_event(0, value))
        for point in points(run, every):
            writer.write(_event(point.step, summary_pb2.Summary.Value(tag=point.tag, simple_value=point.value)))


def _event(step: int, value: Any) -> bytes:
    summary = summary_pb2.Summary(value=[value])
    event = event_pb2.Event(wall_time=BEGAN + step * SECONDS_PER_STEP, step=step, summary=summary)
    return bytes(event.SerializeToString())


def prepare(run: LabelledRun, directory: Path, every: int) -> LabelledRun:
    """Make the inputs of one run below a directory, and return the run as its event files lie there.

    Unthinned event files are copied as they are. The state lies in a directory of its own, as the tools that read event
    files would read it, too.
    """
    opened = open_run(run.directory)
    (directory / "state").mkdir(parents=True)
    (directory / "state" / "trainer_state.json").write_text(json.dumps(trainer_state(opened, every)))
    events = directory / "events"
    events.mkdir()
    if every == 1:
        for file in sorted(run.directory.glob("*tfevents*")):
            shutil.copy(file, events)
    else:
        write_events(opened, events / f"events.out.tfevents.{BEGAN}.thinned.1.0", every)
    return replace(run, directory=events)
