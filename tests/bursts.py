"""What trainers write in one go: long regular stretches of records, changes of pattern, and oddities between them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from tensorboard.compat.proto import summary_pb2, types_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.scripted import event, header_record, metadata, record, simple, tensor, text

TAGS = ("train/loss", "train/learning_rate", "train/grad_norm", "epoch", "eval/loss", "a", "größe/損失", "x" * 130)


def _tf2(tag: str, value: float) -> Any:
    return tensor(tag, dtype=types_pb2.DT_FLOAT, tensor_content=struct.pack("<f", value))


def _without_metadata(tag: str, value: float) -> Any:
    return tensor(tag, None, dtype=types_pb2.DT_FLOAT, tensor_content=struct.pack("<f", value))


def _new_style(tag: str, value: float) -> Any:
    return tensor(tag, dtype=types_pb2.DT_FLOAT, float_val=[value])


def _double(tag: str, value: float) -> Any:
    return tensor(tag, dtype=types_pb2.DT_DOUBLE, shape=(1,), double_val=[value])


ENCODINGS: dict[str, Callable[[str, float], Any]] = {
    "simple_value": simple,
    "tensor_content": _tf2,
    "no metadata": _without_metadata,
    "float_val": _new_style,
    "double_val": _double,
}


@dataclass(frozen=True)
class Burst:
    """A stretch of a log."""

    tags: tuple[str, ...]
    encoding: str
    records: int
    values_each: int
    """Values in each Summary."""
    stride: int
    """What the step grows by from one round of the tags to the next; may be 0."""
    odd_every: int
    """After so many records there is one of another kind; 0: never."""


bursts = st.builds(
    Burst,
    tags=st.lists(st.sampled_from(TAGS), min_size=1, max_size=5, unique=True).map(tuple),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    records=st.one_of(st.integers(1, 12), st.sampled_from([64, 129, 200, 300])),
    values_each=st.sampled_from([1, 1, 1, 2, 3]),
    stride=st.sampled_from([1, 1, 10, 0, 1000]),
    odd_every=st.sampled_from([0, 0, 7, 50]),
)


class Writer:
    """Makes records whose values are never the same twice, so that no two contents are alike by chance."""

    def __init__(self) -> None:
        self._count = 0
        self.clock = 1_700_000_000.0

    def number(self) -> float:
        """A new value that a 32-bit float holds exactly, now and then one that is not finite."""
        self._count += 1
        odd = {41: math.nan, 83: math.inf, 127: -math.inf, 167: -0.0}.get(self._count % 251)
        return float(self._count) / 64 if odd is None else odd

    def event(self, values: list[Any], step: int) -> bytes:
        """One framed record."""
        self.clock += 0.125
        return record(event(values, step=step, wall_time=self.clock))

    def records(self, burst: Burst, first_step: int) -> list[bytes]:
        """The framed records of a burst."""
        found, step = [], first_step
        encode = ENCODINGS[burst.encoding]
        for index in range(burst.records):
            place = index * burst.values_each
            tags = [burst.tags[(place + offset) % len(burst.tags)] for offset in range(burst.values_each)]
            step = min(first_step + burst.stride * (place // len(burst.tags)), 2**63 - 1)
            found.append(self.event([encode(tag, self.number()) for tag in tags], step))
            if burst.odd_every and index % burst.odd_every == burst.odd_every - 1:
                found.append(self.odd(index // burst.odd_every, step))
        return found

    def odd(self, kind: int, step: int) -> bytes:
        """A record that is no regular scalar."""
        number = self.number()
        makers: list[Callable[[], bytes]] = [
            lambda: self.event([text("args/text_summary", f'{{"seed": "{self._count}"}}')], step),
            lambda: self.event([simple("rare", number), simple("rare", 2.0)], step),
            lambda: self.event([session_hparams(learning_rate=float(self._count))], step),
            lambda: self.event([summary_pb2.Summary.Value(tag="w", histo=summary_pb2.HistogramProto(num=1.0))], step),
            lambda: record(b"\xff" + struct.pack("<I", self._count)),
            header_record,
            lambda: self.event([tensor("embedding", dtype=types_pb2.DT_FLOAT, shape=(2,), float_val=[1, 2])], step),
            lambda: self.event([text("sample", "y" * 3000 + str(self._count))], step),
        ]
        return makers[kind % len(makers)]()

    def picture(self, size: int, step: int) -> bytes:
        """A picture of so many bytes, no two the same."""
        content = struct.pack("<Q", self._count) * (size // 8)
        self._count += 1
        image = summary_pb2.Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=content)
        return self.event([summary_pb2.Summary.Value(tag="samples", image=image)], step)

    def stretches(self, burst: Burst, count: int, first_step: int) -> list[bytes]:
        """The records of a burst again and again, with two pictures behind each and two longer records among them."""
        found = []
        for number in range(count):
            step = first_step + number * burst.records * burst.stride
            records = self.records(burst, step)
            long_tag = self.event([simple("t" * 280, self.number())], step)
            many = self.event([simple(f"layer/{layer}/norm", self.number()) for layer in range(100)], step)
            half = len(records) // 2
            found += [long_tag, *records[:half], many, *records[half:]]
            found += [self.picture(3000, step), self.picture(2100, step)]
        return found

    def session_start(self, step: int) -> bytes:
        """The note of a restarted job."""
        self.clock += 0.125
        return record(event(step=step, wall_time=self.clock, session_log={"status": 1}))


def session_hparams(**values: float) -> Any:
    """Hyper-parameters as TensorBoard's plugin logs them."""
    data = plugin_data_pb2.HParamsPluginData()
    for name, value in values.items():
        data.session_start_info.hparams[name].number_value = value
    return summary_pb2.Summary.Value(
        tag="_hparams_/session_start_info", metadata=metadata("hparams", data.SerializeToString())
    )
