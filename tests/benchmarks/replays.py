"""What raftmon says while a recorded training goes on: event files that grow, judged as the monitor judges them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from raftmon.advice.judging import RunJudge
from raftmon.advice.rule import Rule
from raftmon.advice.weighing import Weighing
from raftmon.model import RunView, Severity, VerdictKind
from raftmon.runs.logdir import Run
from raftmon.runs.roles import RoleTable
from tests.benchmarks.sweeps import Condition, Training

TAGS: Final[Mapping[str, str]] = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "eval_loss": "eval/loss",
    "rho": "raftmon/rho",
    "update_ratio": "raftmon/update_ratio",
}
BEGAN: Final = 1_795_305_600.0
LOOKS: Final = 20
"""Places at which a replay stops, evenly over the run."""
FILE_NAME: Final = f"events.out.tfevents.{BEGAN:.0f}.toy.1.0"


def event_bytes(training: Training, condition: Condition, pieces: int = 1) -> list[bytes]:
    """Return the event file of a training, as Hugging Face's Trainer writes it, cut into pieces of equal steps."""
    buffer, ends = io.BytesIO(), list[int]()
    writer = RecordWriter(buffer)
    writer.write(event_pb2.Event(file_version="brain.Event:2", wall_time=BEGAN).SerializeToString())
    writer.write(_arguments(training, condition).SerializeToString())
    last = int(training.steps * condition.share)
    places = [last * number // pieces for number in range(1, pieces + 1)]
    for role, step, value in training.rows(condition):
        while step > places[len(ends)]:
            ends.append(buffer.tell())
        writer.write(_scalar(TAGS[role], step, value).SerializeToString())
    # Only the Trainer writes this: it tells that a logged loss is a mean.
    writer.write(_scalar("train/train_runtime", last, last / 2.0).SerializeToString())
    ends += [buffer.tell()] * (pieces - len(ends))
    everything = buffer.getvalue()
    return [everything[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _scalar(tag: str, step: int, value: float) -> event_pb2.Event:
    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])
    return event_pb2.Event(wall_time=BEGAN + step / 2.0, step=step, summary=summary)


def _arguments(training: Training, condition: Condition) -> event_pb2.Event:
    arguments = {
        "learning_rate": training.peak,
        "lr_scheduler_type": training.scheduler,
        "warmup_steps": training.warmup,
        "max_steps": training.steps,
        "max_grad_norm": training.max_grad_norm or 0.0,
        "optim": f"{training.optimizer}_torch",
        "logging_steps": condition.every,
        "seed": training.seed,
    }
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[json.dumps(arguments).encode()])
    tensor.tensor_shape.dim.add(size=1)
    metadata = summary_pb2.SummaryMetadata(plugin_data={"plugin_name": "text"})
    value = summary_pb2.Summary.Value(tag="args/text_summary", tensor=tensor, metadata=metadata)
    return event_pb2.Event(wall_time=BEGAN, summary=summary_pb2.Summary(value=[value]))


@dataclass(frozen=True)
class Replay:
    """What was said of one training."""

    training: Training
    said: tuple[VerdictKind, ...]
    """The verdict at each of `LOOKS` places."""
    alarms: Mapping[str, int]
    """Rule id to how often it began to fire."""
    severities: Mapping[str, Severity]
    """Rule id to severity, for those in `alarms`."""
    about_rate: frozenset[str]
    """Those of them that point to the learning rate."""
    view: RunView
    """At the end."""


def replay(
    training: Training,
    condition: Condition,
    weighing: Weighing,
    rules: Sequence[Rule],
    roles: RoleTable,
    directory: Path,
    looks: int = LOOKS,
) -> Replay:
    """Let an event file grow and judge it at each step of its growth.

    Args:
        training: the recording.
        condition: what of it is logged.
        weighing: coefficients that were not fitted on its family.
        rules: those on runs.
        roles: what tags mean.
        directory: an empty one for the file.
        looks: how many times it is looked at.
    """
    directory.mkdir(parents=True)
    path = directory / FILE_NAME
    path.touch()
    run = Run(directory.name, directory)
    run.add_file(path)
    judge = RunJudge(run, rules, weighing, roles)
    said: list[VerdictKind] = []
    firing: set[str] = set()
    alarms: dict[str, int] = {}
    by_id = {rule.id: rule for rule in rules}
    pieces = event_bytes(training, condition, looks)
    for number, piece in enumerate(pieces, start=1):
        with path.open("ab") as file:
            file.write(piece)
        judge.follow(run.poll(1 << 30), in_campaign=False)
        view = judge.view("finished" if number == len(pieces) else "live", None, None)
        said.append(view.verdict.learning_rate)
        now = {finding.rule for finding in view.firing}
        for rule in now - firing:
            alarms[rule] = alarms.get(rule, 0) + 1
        firing = now
    severities = {rule: by_id[rule].severity for rule in alarms}
    about_rate = frozenset(rule for rule in alarms if by_id[rule].points_to in ("lr_too_high", "lr_too_low"))
    return Replay(training, tuple(said), alarms, severities, about_rate, view)
