"""Event files to measure readers on: seven sets of a million scalars, the same bytes each time they are made.

====  ==================================================================================================
a     one run, 8 tags in a fixed cycle, ``simple_value``, as Hugging Face's Trainer writes through PyTorch
b     the same as rank-0 tensors with the metadata of the plugin ``scalars``, as TensorFlow 2 writes
c     a thousand runs of a thousand events
d     a tenth of the scalars, with 1,000 histograms of 512 buckets and 125 images of 100 to 150 kB between
e     4 training tags every 10 steps, 6 evaluation tags every 500
f     40 tags of different length in random order
g     8 values in each Summary, as TensorFlow 1 merged them
====  ==================================================================================================

Sets are made once and kept in a directory, under names that tell their size.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from tensorboard.compat.proto import event_pb2

from tests.benchmarks.event_records import BEGAN, Encoding, Rows, encode, framed, opening

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.floating[Any]]

__all__ = ["FILE_NAME", "SETS", "TAGS", "Content", "EventSet", "Part", "cycle", "prepare"]

FILE_NAME: Final = "events.out.tfevents.1700000000.host.1234.0"
TAGS: Final = (
    "train/loss",
    "train/grad_norm",
    "train/learning_rate",
    "train/epoch",
    "train/num_input_tokens_seen",
    "eval/loss",
    "eval/runtime",
    "eval/samples_per_second",
)
TRAIN_TAGS: Final = TAGS[:4]
EVAL_TAGS: Final = (
    "eval/loss",
    "eval/accuracy",
    "eval/runtime",
    "eval/samples_per_second",
    "eval/steps_per_second",
    "train/epoch",
)

_VERSION: Final = 1
"""Part of the name of a made set: raise it when the content of a set changes."""

Part: TypeAlias = Rows | bytes
"""A piece of a file: scalars, or the event of a record of another kind."""
Content: TypeAlias = Iterator[tuple[str, Iterator[Part]]]
"""Name of a run, and what its event file holds after the record with the version."""


def _in_turn(
    steps: Ints, step_times: Floats, tags: Sequence[str], values: Floats, encoding: Encoding = "simple_value"
) -> Rows:
    """Return rows in which each step gives each tag one value; `values` is (steps, tags)."""
    count = len(tags)
    wall_time = step_times[:, None] + np.arange(count) * 1e-4
    kinds = [(tag,) for tag in tags]
    kind = np.tile(np.arange(count), len(steps))
    return Rows(kinds, kind, np.repeat(steps, count), wall_time.ravel(), values.reshape(-1, 1), encoding)


def cycle(steps: int, seed: int = 0, encoding: Encoding = "simple_value", tags: Sequence[str] = TAGS) -> Rows:
    """Return rows of a run that logs all its tags at each step."""
    noise = np.random.default_rng(seed)
    values = noise.normal(1, 0.1, (steps, len(tags))).astype("f4").astype(np.float64)
    step = np.arange(steps)
    return _in_turn(step, BEGAN + step * 0.37 + noise.random(steps) * 0.1, tags, values, encoding)


def _one_cycle(scalars: int) -> Content:
    yield "run", iter([cycle(scalars // len(TAGS))])


def _tensors(scalars: int) -> Content:
    yield "run", iter([cycle(scalars // len(TAGS), encoding="tensor")])


def _many_runs(scalars: int) -> Content:
    each = 1000
    for number in range(scalars // each):
        yield f"run{number:04d}", iter([cycle(each // len(TAGS), seed=number)])


def _media(scalars: int) -> Content:
    yield "run", _media_parts(scalars // len(TAGS))


def _media_parts(steps: int) -> Iterator[Part]:
    noise = np.random.default_rng(0)
    step = np.arange(steps)
    falling = np.repeat(1.0 / (step + 1), len(TAGS)).reshape(steps, len(TAGS))
    rows = _in_turn(step, BEGAN + step, TAGS, falling)
    ends = [(at + 1) * len(TAGS) for at in range(0, steps, 50)]
    yield rows.slice(0, ends[0])
    for at, (end, next_end) in zip(range(0, steps, 50), pairwise([*ends, steps * len(TAGS)]), strict=True):
        for layer in range(4):
            yield _histogram(at, f"weights/layer{layer}", noise.normal(size=2000))
        if at % 100 == 0:
            yield _image(at, noise.bytes(100_000 + int(noise.integers(50_000))))
        yield rows.slice(end, next_end)


def _histogram(step: int, tag: str, values: Floats) -> bytes:
    counts, limits = np.histogram(values, bins=512)
    event = event_pb2.Event(wall_time=BEGAN + step, step=step)
    histogram = event.summary.value.add(tag=tag).histo
    histogram.min, histogram.max = float(values.min()), float(values.max())
    histogram.num, histogram.sum = len(values), float(values.sum())
    histogram.sum_squares = float((values**2).sum())
    histogram.bucket_limit.extend(limits[1:].tolist())
    histogram.bucket.extend(counts.astype(float).tolist())
    return bytes(event.SerializeToString())


def _image(step: int, data: bytes) -> bytes:
    event = event_pb2.Event(wall_time=BEGAN + step, step=step)
    image = event.summary.value.add(tag="samples").image
    image.height, image.width, image.colorspace, image.encoded_image_string = 256, 256, 3, data
    return bytes(event.SerializeToString())


def _train_and_eval(scalars: int) -> Content:
    tags = tuple(dict.fromkeys(TRAIN_TAGS + EVAL_TAGS))
    train, held_out = ([tags.index(tag) for tag in group] for group in (TRAIN_TAGS, EVAL_TAGS))
    # 50 logged steps are 200 training values and 6 of an evaluation.
    logged = np.arange(1, scalars // 4 + 2)
    enough = int(np.searchsorted(4 * logged + 6 * (logged // 50), scalars)) + 1
    logged = logged[:enough]
    evaluated = logged[logged % 50 == 0]
    order = np.concatenate([np.repeat(logged, 4) * 2, np.repeat(evaluated, 6) * 2 + 1])
    kind = np.concatenate([np.tile(train, len(logged)), np.tile(held_out, len(evaluated))])
    place = np.concatenate([np.tile(np.arange(4), len(logged)), np.tile(np.arange(6), len(evaluated))])
    sorting = np.argsort(order, kind="stable")
    step = (order[sorting] >> 1) * 10
    wall_time = (BEGAN + step * 0.1) + place[sorting] * 1e-4
    rows = Rows([(tag,) for tag in tags], kind[sorting], step, wall_time, (1.0 / (step + 1)).reshape(-1, 1))
    yield "run", iter([rows])


def _random_order(scalars: int) -> Content:
    draw = random.Random(1)
    kinds = [("m/" + "x" * draw.randrange(1, 60) + str(number),) for number in range(40)]
    drawn = [(draw.randrange(40), draw.random()) for _ in range(scalars)]
    kind, values = np.array([row[0] for row in drawn]), np.array([row[1] for row in drawn]).reshape(-1, 1)
    number = np.arange(scalars)
    yield "run", iter([Rows(kinds, kind, number // 40, BEGAN + number * 0.01, values)])


def _merged(scalars: int) -> Content:
    step = np.arange(scalars // len(TAGS))
    values = np.repeat(step * 0.5, len(TAGS)).reshape(-1, len(TAGS))
    yield "run", iter([Rows([TAGS], np.zeros(len(step), np.int64), step, BEGAN + step, values)])


@dataclass(frozen=True, slots=True)
class EventSet:
    """One of the sets."""

    name: str
    what: str
    """What it holds, in the words of the table."""
    scalars: int
    """Scalars that its full size is made of (set e has up to 9 more)."""
    content: Callable[[int], Content]
    """What its files hold, for a number of scalars."""


SETS: Final[Mapping[str, EventSet]] = {
    made.name: made
    for made in (
        EventSet("a", "one run, 8 tags in a fixed cycle, `simple_value`", 1_000_000, _one_cycle),
        EventSet("b", "the same as TF2 tensors with plugin metadata", 1_000_000, _tensors),
        EventSet("c", "1,000 runs x 1,000 events", 1_000_000, _many_runs),
        EventSet("d", "scalars between histograms and 100 kB images", 100_000, _media),
        EventSet("e", "HF-like, train rows with eval rows between", 1_000_000, _train_and_eval),
        EventSet("f", "40 tags of different length in random order", 1_000_000, _random_order),
        EventSet("g", "8 values in each Summary", 1_000_000, _merged),
    )
}


def prepare(made: EventSet, cache_directory: Path, scalars: int | None = None) -> Path:
    """Return the logdir of a set; it is made unless it is there.

    Args:
        made: the set.
        cache_directory: where sets lie; created.
        scalars: size; None: the full one.
    """
    scalars = scalars or made.scalars
    logdir = cache_directory / f"{made.name}-{scalars}-v{_VERSION}"
    if logdir.is_dir():
        return logdir
    cache_directory.mkdir(parents=True, exist_ok=True)
    # A directory is renamed at once: under its final name a set is complete.
    partial = Path(tempfile.mkdtemp(prefix=f".{logdir.name}-", dir=cache_directory))
    try:
        for run, parts in made.content(scalars):
            (partial / run).mkdir()
            with (partial / run / FILE_NAME).open("wb") as file:
                file.write(framed(opening()))
                for part in parts:
                    file.write(framed(part) if isinstance(part, bytes) else encode(part))
        try:
            os.rename(partial, logdir)  # noqa: PTH104 - must not move it into a directory that came up meanwhile
        except OSError:
            if not logdir.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return logdir
