"""Every shape that an event or a tensor can take, under a right checksum, alone and between regular records."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from tensorboard.compat.proto import event_pb2

from tests.bursts import Burst, Writer
from tests.naive_reader import differences, read_naively
from tests.scripted import event, header_record, losses, record, simple, tensor
from tests.wire import FLOAT, LENGTH, VARINT, bytes_field, field, varint


def value(tag: str, *fields: bytes) -> bytes:
    """A Summary with one value."""
    return bytes_field(1, bytes_field(1, tag.encode()) + b"".join(fields))


WALL = field(1, 1, struct.pack("<d", 1.5))
STEP = field(2, VARINT, varint(7))
LOSS = bytes_field(5, value("a", field(2, FLOAT, struct.pack("<f", 2.5))))
METADATA = bytes_field(9, bytes_field(1, bytes_field(1, b"scalars")))
NUMBER = field(2, FLOAT, struct.pack("<f", 2.5))

SHAPES_OF_AN_EVENT = {
    "usual order": WALL + STEP + LOSS,
    "summary first": LOSS + STEP + WALL,
    "step last": WALL + LOSS + STEP,
    "no step": WALL + LOSS,
    "no wall time": STEP + LOSS,
    "step 0 written": WALL + field(2, VARINT, b"\0") + LOSS,
    "two steps": WALL + STEP + field(2, VARINT, varint(9)) + LOSS,
    "two wall times": WALL + field(1, 1, struct.pack("<d", 9.0)) + STEP + LOSS,
    "two summaries are merged": WALL + STEP + LOSS + LOSS,
    "a file version takes the summary's place": WALL + STEP + LOSS + bytes_field(3, b"brain.Event:2"),
    "a summary takes the file version's place": WALL + STEP + bytes_field(3, b"brain.Event:2") + LOSS,
    "a summary takes the session log's place": WALL + STEP + bytes_field(7, field(1, VARINT, b"\1")) + LOSS,
    "a version that is no text": WALL + STEP + bytes_field(3, b"\n\x11\x80<"),
    "a version as a number": WALL + STEP + field(3, VARINT, b"\5"),
    "a writer that is no text": WALL + bytes_field(3, b"brain.Event:2") + bytes_field(10, bytes_field(1, b"\xff")),
    "a writer that is no message": WALL + bytes_field(3, b"brain.Event:2") + bytes_field(10, b"\x0a\x7f"),
    "a writer": WALL + bytes_field(3, b"brain.Event:2") + bytes_field(10, bytes_field(1, b"tensorboardX")),
    "unknown fields": field(99, VARINT, b"\5")
    + WALL
    + bytes_field(100, b"??")
    + STEP
    + LOSS
    + field(15, FLOAT, b"1234"),
    "an unknown group": WALL + STEP + varint(98 << 3 | 3) + field(1, VARINT, b"\1") + varint(98 << 3 | 4) + LOSS,
    "a group that never ends": WALL + STEP + LOSS + varint(98 << 3 | 3),
    "a group's end alone": WALL + STEP + LOSS + varint(98 << 3 | 4),
    "field number 0": WALL + STEP + LOSS + b"\0\0",
    "step as a fixed number is unknown": WALL + field(2, 1, bytes(8)) + LOSS,
    "an over-long step": WALL + field(2, VARINT, b"\x87\x80\x80\0") + LOSS,
    "a key of six bytes": WALL + STEP + b"\xaa\x80\x80\x80\x80\0" + LOSS[1:],
    "a length of six bytes": WALL + STEP + LOSS[:1] + bytes([len(LOSS) - 2 | 0x80, 128, 128, 128, 128, 0]) + LOSS[2:],
    "an over-long length": WALL + STEP + varint(5 << 3 | LENGTH) + bytes([len(LOSS) - 2 | 0x80, 0x80, 0]) + LOSS[2:],
    "a varint of ten bytes": WALL + field(2, VARINT, b"\xff" * 9 + b"\x01") + LOSS,
    "a varint of ten bytes, the last too large": WALL + field(2, VARINT, b"\xff" * 9 + b"\x7f") + LOSS,
    "a varint of eleven bytes": WALL + field(2, VARINT, b"\xff" * 10 + b"\x01") + LOSS,
    "a varint without an end": WALL + LOSS + varint(2 << 3) + b"\xff" * 5,
    "step at 2**56": WALL + field(2, VARINT, varint(2**56)) + LOSS,
    "least step": WALL + field(2, VARINT, varint(2**63)) + LOSS,
    "two numbers": WALL + STEP + bytes_field(5, value("a", NUMBER, field(2, FLOAT, struct.pack("<f", 3.5)))),
    "two tags": WALL + STEP + bytes_field(5, value("a", bytes_field(1, b"b"), NUMBER)),
    "number before tag": WALL + STEP + bytes_field(5, bytes_field(1, NUMBER + bytes_field(1, b"a"))),
    "no tag": WALL + STEP + bytes_field(5, bytes_field(1, NUMBER)),
    "empty value": WALL + STEP + bytes_field(5, bytes_field(1, b"")),
    "a histogram takes the number's place": WALL + STEP + bytes_field(5, value("a", NUMBER, bytes_field(5, b""))),
    "a number takes the histogram's place": WALL + STEP + bytes_field(5, value("a", bytes_field(5, b""), NUMBER)),
    "a tensor takes the number's place": WALL
    + STEP
    + bytes_field(5, value("a", METADATA, NUMBER, bytes_field(8, b""))),
    "number with metadata of another plugin": WALL
    + STEP
    + bytes_field(5, value("a", bytes_field(9, bytes_field(1, bytes_field(1, b"pr_curves"))), NUMBER)),
    "an invalid tag": WALL + STEP + bytes_field(5, bytes_field(1, bytes_field(1, b"\xff\xfe") + NUMBER)),
    "a tag cut inside a character": WALL
    + STEP
    + bytes_field(5, bytes_field(1, bytes_field(1, "ä".encode()[:1]) + NUMBER)),
    "a surrogate in a tag": WALL + STEP + bytes_field(5, bytes_field(1, bytes_field(1, b"\xed\xa0\x80") + NUMBER)),
    "a zero byte in a tag": WALL + STEP + bytes_field(5, value("a\0b", NUMBER)),
    "a summary that is cut": WALL + STEP + LOSS[:-2],
    "a summary that claims too much": WALL + STEP + varint(5 << 3 | LENGTH) + varint(2**40) + LOSS[2:],
    "a length of 2**64 - 1": WALL + STEP + varint(5 << 3 | LENGTH) + varint(2**64 - 1) + LOSS[2:],
    "a NaN wall time": field(1, 1, struct.pack("<Q", 0x7FF8000000000123)) + STEP + LOSS,
    "a negative wall time": field(1, 1, struct.pack("<d", -1.5)) + STEP + LOSS,
    "a long tag": WALL + STEP + bytes_field(5, value("t" * 300, NUMBER)),
    "another tag of the same length": WALL + STEP + bytes_field(5, value("b", NUMBER)),
    "nothing": b"",
}


@pytest.mark.parametrize("name", SHAPES_OF_AN_EVENT)
@pytest.mark.parametrize("before", [0, 200])
def test_shapes_of_an_event(name: str, before: int) -> None:
    plain = [record(WALL + field(2, VARINT, varint(step)) + LOSS) for step in range(1, before + 1)]
    assert (
        differences(b"".join([header_record(), *plain, record(SHAPES_OF_AN_EVENT[name]), *plain[:70], losses(1.0)]))
        == []
    )


def one_float(content: bytes) -> bytes:
    """An event with a tensor whose fields are given as bytes, behind metadata."""
    return WALL + STEP + bytes_field(5, value("t", METADATA, bytes_field(8, content)))


DT_FLOAT = field(1, VARINT, b"\1")
ONE = struct.pack("<f", 1.25)
TENSORS = {
    "packed float": one_float(DT_FLOAT + bytes_field(2, b"") + bytes_field(5, ONE)),
    "unpacked float": one_float(DT_FLOAT + bytes_field(2, b"") + field(5, FLOAT, ONE)),
    "packed and unpacked are two": one_float(DT_FLOAT + bytes_field(5, ONE) + field(5, FLOAT, ONE)),
    "packed of three bytes": one_float(DT_FLOAT + bytes_field(5, ONE[:3])),
    "packed of none": one_float(DT_FLOAT + bytes_field(5, b"")),
    "the type last": one_float(bytes_field(5, ONE) + DT_FLOAT),
    "the type twice": one_float(field(1, VARINT, b"\2") + bytes_field(5, ONE) + DT_FLOAT),
    "content twice": one_float(DT_FLOAT + bytes_field(4, ONE) + bytes_field(4, struct.pack("<f", 9.0))),
    "content and values": one_float(DT_FLOAT + bytes_field(4, ONE) + bytes_field(5, struct.pack("<f", 9.0))),
    "two tensors are merged": WALL
    + STEP
    + bytes_field(5, value("t", METADATA, bytes_field(8, DT_FLOAT), bytes_field(8, bytes_field(5, ONE)))),
    "metadata behind the tensor": WALL
    + STEP
    + bytes_field(5, value("t", bytes_field(8, DT_FLOAT + bytes_field(5, ONE)), METADATA)),
    "shape [1,1]": one_float(
        DT_FLOAT + bytes_field(2, bytes_field(2, field(1, VARINT, b"\1")) * 2) + bytes_field(5, ONE)
    ),
    "shape [2]": one_float(
        DT_FLOAT + bytes_field(2, bytes_field(2, field(1, VARINT, b"\2"))) + bytes_field(5, ONE * 2)
    ),
    "shape [-1]": one_float(
        DT_FLOAT + bytes_field(2, bytes_field(2, field(1, VARINT, varint(2**64 - 1)))) + bytes_field(5, ONE)
    ),
    "unknown rank": one_float(DT_FLOAT + bytes_field(2, field(3, VARINT, b"\1")) + bytes_field(5, ONE)),
    "string": one_float(field(1, VARINT, b"\7") + bytes_field(8, b"1.25")),
    "an unknown type": one_float(field(1, VARINT, varint(77)) + bytes_field(5, ONE)),
    "a negative type": one_float(field(1, VARINT, varint(2**64 - 1)) + bytes_field(5, ONE)),
    "double": one_float(field(1, VARINT, b"\2") + bytes_field(6, struct.pack("<d", 0.1))),
    "int64 negative": one_float(field(1, VARINT, b"\x09") + field(10, VARINT, varint(2**64 - 5))),
    "int64 over-long": one_float(field(1, VARINT, b"\x09") + field(10, VARINT, b"\x85\x80\x80\0")),
    "int32 with high bits": one_float(field(1, VARINT, b"\x03") + field(7, VARINT, varint(2**40 + 5))),
    "bool of 2": one_float(field(1, VARINT, b"\x0a") + field(11, VARINT, b"\2")),
    "half": one_float(field(1, VARINT, varint(19)) + field(13, VARINT, varint(0x3E00))),
    "half with high bits": one_float(field(1, VARINT, varint(19)) + field(13, VARINT, varint(0x73E00))),
    "bfloat16": one_float(field(1, VARINT, varint(14)) + field(13, VARINT, varint(0xBFC0))),
    "half content": one_float(field(1, VARINT, varint(19)) + bytes_field(4, b"\x00\xfc")),
    "an invalid plugin name": WALL
    + STEP
    + bytes_field(
        5,
        value(
            "t", bytes_field(9, bytes_field(1, bytes_field(1, b"\xff"))), bytes_field(8, DT_FLOAT + bytes_field(5, ONE))
        ),
    ),
    "metadata with much in it": WALL
    + STEP
    + bytes_field(
        5,
        value(
            "t", METADATA + bytes_field(9, bytes_field(3, b"d" * 200)), bytes_field(8, DT_FLOAT + bytes_field(5, ONE))
        ),
    ),
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("before", [0, 200])
def test_shapes_of_a_tensor(name: str, before: int) -> None:
    plain = [one_float(DT_FLOAT + bytes_field(2, b"") + bytes_field(4, struct.pack("<f", n))) for n in range(before)]
    assert differences(b"".join(map(record, [*plain, TENSORS[name], *plain[:70], TENSORS[name]])) + losses(1.0)) == []


@pytest.mark.parametrize("encoding", ["simple_value", "tensor_content", "float_val"])
def test_every_pattern_of_nan_keeps_its_bits(encoding: str) -> None:
    patterns = [0x7FC00000, 0xFFC00000, 0x7FC12345, 0x7F800001, 0xFFBFFFFF, 0x7FFFFFFF, 0x80000000, 0x00000001]
    encode: dict[str, Callable[[bytes], bytes]] = {
        "simple_value": lambda raw: bytes_field(5, value("t", field(2, FLOAT, raw))),
        "tensor_content": lambda raw: bytes_field(
            5, value("t", METADATA, bytes_field(8, DT_FLOAT + bytes_field(4, raw)))
        ),
        "float_val": lambda raw: bytes_field(5, value("t", METADATA, bytes_field(8, DT_FLOAT + bytes_field(5, raw)))),
    }
    data = [record(WALL + STEP + encode[encoding](struct.pack("<I", pattern))) for pattern in patterns * 40]
    assert differences(b"".join(data)) == []


def test_a_plugin_that_only_the_first_event_of_a_tag_names() -> None:
    writer = Writer()
    named = writer.records(Burst(("a", "epoch"), "tensor_content", 2, 1, 1, 0), 0)
    later = writer.records(Burst(("a", "epoch"), "no metadata", 400, 1, 1, 0), 2)
    never = writer.records(Burst(("eval/loss",), "no metadata", 100, 1, 1, 0), 2)
    content = b"".join(named + later + never)
    assert differences(content) == []
    assert len(read_naively(content)[0]) == 402


def test_a_plugin_that_changes_its_mind() -> None:
    histogram = [record(event([tensor("a", "histograms", dtype=1, float_val=[1.0])], step=step)) for step in range(100)]
    scalars = [record(event([tensor("a", "scalars", dtype=1, float_val=[1.0])], step=step)) for step in range(100)]
    plain = [record(event([simple("a", 3.0)], step=step)) for step in range(100)]
    assert differences(b"".join(histogram + scalars + plain + histogram)) == []
    assert differences(b"".join(plain + scalars + histogram + plain + scalars)) == []


@pytest.mark.parametrize("size", [127, 128, 255, 256, 16_383, 16_384, 65_535, 70_000, 1_000_000])
def test_tags_of_any_length(size: int) -> None:
    """Ten events each, so that they are regular; the tags differ at one place only."""
    for place in (0, size // 2, size - 1):
        tags = ["t" * place + end + "t" * (size - place - 1) for end in "ab"]
        assert differences(b"".join(record(event([simple(tags[n % 2], float(n))], step=n)) for n in range(10))) == []
        if size > 20_000:
            break


def test_protobufs_made_here_are_what_they_seem() -> None:
    """The parts from which the cases are made are events that TensorBoard's classes would write."""
    plain = event_pb2.Event(wall_time=1.5, step=7)
    plain.summary.value.add(tag="a", simple_value=2.5)
    assert plain.SerializeToString(deterministic=True) == WALL + STEP + LOSS
