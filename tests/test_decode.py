"""Decoding: every encoding of a scalar, what is no scalar, texts, hyper-parameters, and bytes that are no event."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from raftmon.events.columns import ScalarBatch, join
from raftmon.events.decode import Decoder
from raftmon.events.found import Decoded, SessionStart
from raftmon.events.messages import MAX_TEXT_BYTES, TextSummary
from tests.scripted import FIRST, block_of, event, metadata, record, simple, tensor, text


def feed(decoder: Decoder, *events: bytes) -> int:
    buffer = b"".join(record(data) for data in events)
    before = decoder.bad
    assert decoder.feed(block_of(buffer), len(buffer), last=True).end == len(buffer)
    return decoder.bad - before


def decode(*events: bytes, bad: int = 0) -> Decoded:
    decoder = Decoder()
    assert feed(decoder, *events) == bad
    return decoder.take()


def scalars(decoded: Decoded) -> ScalarBatch:
    return join(decoded.batches)


def points(decoded: Decoded) -> list[tuple[str, int, float]]:
    batch = scalars(decoded)
    tags = [batch.tags[index] for index in batch.tag_id.tolist()]
    return list(zip(tags, batch.step.tolist(), batch.value.tolist(), strict=True))


def session_start_info(**values: Any) -> Any:
    data = plugin_data_pb2.HParamsPluginData()
    data.session_start_info.SetInParent()
    for name, value in values.items():
        slot = data.session_start_info.hparams[name]
        if value is None:
            slot.null_value = 0
        elif isinstance(value, bool):
            slot.bool_value = value
        elif isinstance(value, str):
            slot.string_value = value
        else:
            slot.number_value = value
    return summary_pb2.Summary.Value(
        tag="_hparams_/session_start_info", metadata=metadata("hparams", data.SerializeToString())
    )


def test_columns_in_file_order() -> None:
    decoded = decode(
        event(file_version="brain.Event:2"),
        event([simple("loss", 2.5), simple("lr", 0.5)], step=1, wall_time=10.25),
        event([simple("loss", 1.5)], step=2, wall_time=11.5),
    )
    batch = scalars(decoded)
    assert batch.tags == ("loss", "lr")
    assert len(batch) == 3
    assert points(decoded) == [("loss", 1, 2.5), ("lr", 1, 0.5), ("loss", 2, 1.5)]
    assert batch.wall_time.tolist() == [10.25, 10.25, 11.5]
    dtypes = [column.dtype for column in (batch.tag_id, batch.step, batch.wall_time, batch.value)]
    assert dtypes == [np.int32, np.int64, np.float64, np.float64]
    assert not any(column.flags.writeable for column in (batch.tag_id, batch.step, batch.wall_time, batch.value))


def test_a_batch_names_only_the_tags_that_occur_in_it() -> None:
    decoder = Decoder()
    feed(decoder, event([simple("loss", 1.0), simple("lr", 2.0), simple("epoch", 3.0)]))
    assert scalars(decoder.take()).tags == ("loss", "lr", "epoch")
    feed(decoder, event([simple("epoch", 4.0), simple("loss", 5.0)]))
    later = decoder.take()
    assert scalars(later).tags == ("epoch", "loss")
    assert points(later) == [("epoch", 0, 4.0), ("loss", 0, 5.0)]
    assert scalars(decoder.take()).tags == ()


def test_a_tag_repeated_in_one_summary_gives_two_points() -> None:
    assert points(decode(event([simple("a", 1.0), simple("a", 2.0)]))) == [("a", 0, 1.0), ("a", 0, 2.0)]


@pytest.mark.parametrize("step", [0, 1, 127, 128, 2**31, 2**56 + 1, 2**63 - 1, -1, -5, -(2**63)])
def test_steps_keep_their_sign_and_size(step: int) -> None:
    assert scalars(decode(event([simple("a", 1.0)], step=step))).step.tolist() == [step]


def test_a_negative_zero_and_extreme_values_stay() -> None:
    values = [0.0, -0.0, math.inf, -math.inf, 2.0**-149, 3.4028234663852886e38]
    decoded = decode(*(event([simple("a", value)]) for value in values))
    assert scalars(decoded).value.tobytes() == np.array(values).tobytes()


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FC12345])
def test_nan_keeps_its_bits(bits: int) -> None:
    data = event([simple("a", 1.0)]).replace(struct.pack("<f", 1.0), struct.pack("<I", bits))
    expected = np.array([bits], np.uint32).view(np.float32).astype(np.float64)
    assert scalars(decode(data)).value.tobytes() == expected.tobytes()


ELEMENTS = [
    (types_pb2.DT_FLOAT, {"tensor_content": struct.pack("<f", 0.1)}, float(np.float32(0.1))),
    (types_pb2.DT_FLOAT, {"float_val": [0.1]}, float(np.float32(0.1))),
    (types_pb2.DT_FLOAT, {"float_val": [math.inf]}, math.inf),
    (types_pb2.DT_DOUBLE, {"tensor_content": struct.pack("<d", 0.1)}, 0.1),
    (types_pb2.DT_DOUBLE, {"double_val": [0.1]}, 0.1),
    (types_pb2.DT_HALF, {"tensor_content": struct.pack("<e", 1.5)}, 1.5),
    (types_pb2.DT_HALF, {"half_val": [0x3E00]}, 1.5),
    (types_pb2.DT_HALF, {"half_val": [0xBE00]}, -1.5),
    (types_pb2.DT_BFLOAT16, {"tensor_content": b"\xc0\xbf"}, -1.5),
    (types_pb2.DT_BFLOAT16, {"half_val": [0x3FC0]}, 1.5),
    (types_pb2.DT_INT8, {"tensor_content": b"\xfe"}, -2.0),
    (types_pb2.DT_UINT8, {"tensor_content": b"\xfe"}, 254.0),
    (types_pb2.DT_INT16, {"int_val": [-300]}, -300.0),
    (types_pb2.DT_UINT16, {"tensor_content": b"\xff\xff"}, 65535.0),
    (types_pb2.DT_INT32, {"tensor_content": struct.pack("<i", -7)}, -7.0),
    (types_pb2.DT_INT32, {"int_val": [-7]}, -7.0),
    (types_pb2.DT_UINT32, {"uint32_val": [4294967295]}, 4294967295.0),
    (types_pb2.DT_INT64, {"int64_val": [-(2**40)]}, -(2.0**40)),
    (types_pb2.DT_INT64, {"tensor_content": struct.pack("<q", 2**40)}, 2.0**40),
    (types_pb2.DT_UINT64, {"uint64_val": [2**63]}, 2.0**63),
    (types_pb2.DT_BOOL, {"bool_val": [True]}, 1.0),
    # An all-zero tensor may come without values.
    (types_pb2.DT_FLOAT, {}, 0.0),
]


@pytest.mark.parametrize(("dtype", "fields", "expected"), ELEMENTS)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_tensors_of_one_element(dtype: int, fields: dict[str, Any], expected: float, shape: tuple[int, ...]) -> None:
    value = tensor("a", dtype=dtype, shape=shape, **fields)
    assert points(decode(event([value], step=3))) == [("a", 3, expected)]


@pytest.mark.parametrize(
    "value",
    [
        tensor("a", dtype=types_pb2.DT_FLOAT, shape=(2,), float_val=[1.0, 2.0]),
        tensor("a", dtype=types_pb2.DT_FLOAT, shape=(0,)),
        tensor("a", dtype=types_pb2.DT_FLOAT, float_val=[1.0, 2.0]),
        tensor("a", dtype=types_pb2.DT_FLOAT, tensor_content=b"\0\0\0"),
        tensor("a", dtype=types_pb2.DT_STRING, string_val=[b"1.0"]),
        tensor("a", dtype=types_pb2.DT_COMPLEX64, scomplex_val=[1.0, 0.0]),
        tensor("a", dtype=types_pb2.DT_INVALID),
        tensor("a", "histograms", dtype=types_pb2.DT_DOUBLE, double_val=[1.0]),
        tensor("a", "images", dtype=types_pb2.DT_STRING, string_val=[b"1", b"1", b"png"]),
        tensor("a", None, dtype=types_pb2.DT_FLOAT, float_val=[1.0]),
        summary_pb2.Summary.Value(tag="a", metadata=metadata("scalars")),
        summary_pb2.Summary.Value(tag="a", histo=summary_pb2.HistogramProto(num=1.0)),
        summary_pb2.Summary.Value(tag="a", image=summary_pb2.Summary.Image(width=1)),
    ],
)
def test_what_is_no_scalar(value: Any) -> None:
    assert points(decode(event([value, simple("b", 1.0)]))) == [("b", 0, 1.0)]


def test_the_plugin_is_remembered_from_the_first_event_of_a_tag() -> None:
    decoder = Decoder()
    feed(decoder, event([tensor("a", dtype=types_pb2.DT_FLOAT, float_val=[1.0])], step=1))
    decoder.take()
    feed(decoder, event([tensor("a", None, dtype=types_pb2.DT_FLOAT, float_val=[2.0])], step=2))
    assert points(decoder.take()) == [("a", 2, 2.0)]


def test_the_first_plugin_of_a_tag_stays() -> None:
    one = {"dtype": types_pb2.DT_FLOAT, "float_val": [1.0]}
    assert points(decode(event([tensor("a", "histograms", **one)]), event([tensor("a", "scalars", **one)]))) == []


def test_a_simple_value_behind_a_tensor_counts() -> None:
    # Of the two, protobuf keeps the one that comes last.
    both = tensor("a", "histograms", dtype=types_pb2.DT_FLOAT, float_val=[1.0] * 3).SerializeToString()
    both += simple("", 2.0).SerializeToString()
    value = b"\x0a" + bytes([len(both)]) + both
    data = b"\x09" + struct.pack("<d", FIRST) + b"\x2a" + bytes([len(value)]) + value
    first = event([tensor("a", "histograms", dtype=types_pb2.DT_DOUBLE, double_val=[1.0, 2.0])])
    assert points(decode(first, data)) == [("a", 0, 2.0)]


def test_texts() -> None:
    decoded = decode(
        event([text("args/text_summary", '{"learning_rate": 5e-05}')], step=4),
        event([text("notes", "one", "two", plugin="text")]),
        event([text("notes", "three", plugin=None)]),
        event([text("unknown", "four", plugin=None)]),
    )
    assert decoded.texts == (
        TextSummary("args/text_summary", 4, FIRST, '{"learning_rate": 5e-05}'),
        TextSummary("notes", 0, FIRST, "one\ntwo"),
        TextSummary("notes", 0, FIRST, "three"),
    )
    assert len(scalars(decoded)) == 0


def test_a_long_text_is_cut_and_invalid_utf8_replaced() -> None:
    long = tensor("a", "text", dtype=types_pb2.DT_STRING, string_val=[b"\xff" + b"x" * (MAX_TEXT_BYTES + 9)])
    (found,) = decode(event([long])).texts
    assert found.text == "\ufffd" + "x" * (MAX_TEXT_BYTES - 1)


def test_hparams() -> None:
    first = session_start_info(lr=5e-5, optimizer="adam", bf16=True, seed=None)
    decoded = decode(event([first]), event([session_start_info(lr=1e-4)]))
    assert decoded.hparams == {"lr": 1e-4, "optimizer": "adam", "bf16": True, "seed": None}


def test_hparams_are_handed_over_once() -> None:
    decoder = Decoder()
    feed(decoder, event([session_start_info(lr=1.0)]))
    assert decoder.take().hparams == {"lr": 1.0}
    assert decoder.take().hparams == {}


def test_broken_hparams_are_counted_and_cost_nothing_else() -> None:
    broken = summary_pb2.Summary.Value(tag="_hparams_/session_start_info", metadata=metadata("hparams", b"\xff"))
    decoded = decode(event([simple("a", 1.0), broken, simple("a", 2.0)]), bad=1)
    assert points(decoded) == [("a", 0, 1.0), ("a", 0, 2.0)]


def test_session_starts_know_their_place_among_the_scalars() -> None:
    start = event(step=7, session_log={"status": event_pb2.SessionLog.START})
    stop = event(step=9, session_log={"status": event_pb2.SessionLog.STOP})
    decoded = decode(start, event([simple("a", 1.0), simple("b", 1.0)]), stop, start)
    assert decoded.session_starts == (SessionStart(0, 7), SessionStart(2, 7))


@pytest.mark.parametrize("data", [b"\xff", b"\x2a\x05ab", bytes(40), b"version https://git-lfs"])
def test_bytes_that_are_no_event_are_counted(data: bytes) -> None:
    decoded = decode(event([simple("a", 1.0)]), data, event([simple("a", 2.0)]), bad=1)
    assert points(decoded) == [("a", 0, 1.0), ("a", 0, 2.0)]


def test_an_invalid_utf8_tag_costs_its_record_only() -> None:
    data = event([simple("ab", 1.0)]).replace(b"ab", b"\xff\xfe")
    assert points(decode(event([simple("a", 1.0)]), data, event([simple("a", 2.0)]), bad=1))[-1] == ("a", 0, 2.0)


def test_unusual_tags() -> None:
    tags = ["", "ünïcödé/損失", "x" * 70_000, "a b[c]"]
    assert [tag for tag, _, _ in points(decode(event([simple(tag, 1.0) for tag in tags])))] == tags


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(noise: bytes) -> None:
    decoder = Decoder()
    assert feed(decoder, noise) in (0, 1)
    decoder.take()


@given(st.data())
def test_no_damage_that_a_checksum_missed_makes_it_fail(data: st.DataObject) -> None:
    mixed = [
        simple("loss", 1.0),
        tensor("t", dtype=types_pb2.DT_HALF, half_val=[3]),
        text("args", "x"),
        session_start_info(lr=1.0),
    ]
    damaged = bytearray(event(mixed, step=3))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decoder = Decoder()
    assert feed(decoder, bytes(damaged)) in (0, 1)
    batch = scalars(decoder.take())
    assert len(batch.tag_id) == len(batch.step) == len(batch.wall_time) == len(batch.value)


def test_nothing_but_the_protos_of_tensorboard_is_imported() -> None:
    code = "import sys, raftmon.events.tail; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {".".join(name.split(".")[:2]) for name in done.stdout.split()}
    of_tensorboard = {name for name in packages if name.startswith("tensorboard")}
    assert of_tensorboard <= {"tensorboard", "tensorboard.compat", "tensorboard.lazy", "tensorboard.version"}
    assert not packages & {"tensorflow", "textual", "watchdog", "yaml"}
