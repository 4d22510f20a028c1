"""Hostile and damaged bytes: no exception, no wrong value, nothing lost but what is damaged, bounded memory.

The oracle is `tests.naive_reader`: TensorBoard's checksums and protobuf classes, one record at a time. Most cases lie
between hundreds of regular records, because a reader that takes those in columns must notice each exception to the
rule. `RAFTMON_FUZZ` multiplies the number of cases (1 unless told otherwise); a failure prints its case and the blob
that repeats it.
"""

from __future__ import annotations

import os
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

from raftmon.events.framing import MAX_RECORD_BYTES
from tests.bursts import Burst, Writer, bursts
from tests.naive_reader import (
    LONGEST,
    Point,
    differences,
    points,
    read_all,
    read_naively,
    scan,
    texts,
)
from tests.scripted import (
    ScriptedFile,
    event,
    follow,
    header_record,
    length_header,
    losses,
    record,
    text,
)
from tests.test_reader_shapes import DT_FLOAT, NUMBER, ONE, one_float
from tests.wire import FLOAT, bytes_field, events, field, varint

TIMES = float(os.environ.get("RAFTMON_FUZZ", "1"))
pytestmark = pytest.mark.timeout(120 + 120 * TIMES)


def cases(number: int) -> settings:
    """Settings for so many cases."""
    return settings(
        max_examples=max(1, int(number * TIMES)),
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


REGULAR = {
    "simple_value": Burst(("train/loss", "train/learning_rate", "epoch"), "simple_value", 300, 1, 1, 0),
    "of several blocks": Burst(("train/loss", "train/learning_rate", "epoch"), "simple_value", 2400, 1, 1, 0),
    "tensor_content": Burst(("train/loss", "train/grad_norm"), "tensor_content", 300, 1, 1, 0),
    "float_val": Burst(("a",), "float_val", 200, 1, 1, 0),
    "eight values": Burst(("a", "train/loss", "epoch", "eval/loss"), "simple_value", 100, 8, 1, 0),
    "with oddities": Burst(("train/loss", "epoch", "x" * 130), "simple_value", 300, 1, 10, 50),
}
"""Long regular files, each with the pattern of one writer; one is so long that most of it is read in whole cycles."""
BETWEEN_PICTURES = "between pictures"


def regular_records(kind: str) -> list[bytes]:
    """The records of a regular file, its first one included."""
    return list(_regular_records(kind))


@cache
def _regular_records(kind: str) -> tuple[bytes, ...]:
    if kind == BETWEEN_PICTURES:
        stretch = Burst(("train/loss", "epoch", "train/grad_norm"), "simple_value", 160, 1, 1, 0)
        return (header_record(), *Writer().stretches(stretch, 12, 100))
    return (header_record(), *Writer().records(REGULAR[kind], 100))


kinds = st.sampled_from(sorted([*REGULAR, BETWEEN_PICTURES]))


# ---------------------------------------------------------------------- the oracle itself


@pytest.mark.parametrize("kind", [*REGULAR, BETWEEN_PICTURES])
def test_the_naive_reader_sees_the_records_that_tensorboard_sees(kind: str, tmp_path: Path) -> None:
    content = b"".join(regular_records(kind))
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(content + record(b"torn")[:-1])
    assert scan(path.read_bytes()).records == list(RawEventFileLoader(str(path)).Load())
    assert scan(path.read_bytes()).end == len(content)


def test_the_longest_record_is_the_same_for_both() -> None:
    assert LONGEST == MAX_RECORD_BYTES


# ---------------------------------------------------------------------- right checksums, any content


@cases(150)
@given(kinds, st.lists(st.tuples(st.integers(1, 300), events), min_size=1, max_size=6), st.sampled_from([777, 8 << 20]))
def test_any_protobuf_between_regular_records(kind: str, odd: list[tuple[int, bytes]], budget: int) -> None:
    records = regular_records(kind)
    for place, data in odd:
        records.insert(min(place, len(records)), record(data))
    assert differences(b"".join(records), budget) == []


@cases(150)
@given(kinds, st.data())
def test_any_change_of_a_regular_record_under_a_right_checksum(kind: str, data: st.DataObject) -> None:
    records = regular_records(kind)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(1, len(records) - 1))
        content = bytearray(records[place][12:-4])
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        records[place] = record(bytes(content))
    assert differences(b"".join(records)) == []


@cases(80)
@given(kinds, st.lists(st.binary(max_size=120), min_size=1, max_size=5), st.integers(1, 90))
def test_noise_under_a_right_checksum(kind: str, noise: list[bytes], place: int) -> None:
    records = regular_records(kind)
    records[place:place] = [record(data) for data in noise]
    assert differences(b"".join(records)) == []


@cases(100)
@given(st.lists(bursts, min_size=1, max_size=4), st.integers(-5, 300), st.sampled_from([1000, 8 << 20]))
def test_any_change_of_pattern(stretches: list[Burst], first_step: int, budget: int) -> None:
    writer = Writer()
    assert (
        differences(b"".join(data for burst in stretches for data in writer.records(burst, first_step)), budget) == []
    )


@cases(60)
@given(kinds, st.data())
def test_a_rate_of_one_in_a_block_that_differs(kind: str, data: st.DataObject) -> None:
    """A record of the same length with another tag, another step width or other metadata is not the one expected."""
    records = regular_records(kind)
    place = data.draw(st.integers(1, len(records) - 1))
    content = bytearray(records[place][12:-4])
    at = content.find(data.draw(st.sampled_from([b"train/loss", b"epoch", b"scalars", b"a", b"\x0d", b"\x15"])))
    if at >= 0:
        content[at] = data.draw(st.sampled_from(b"Tebx\x0d\x15\x1d"))
    records[place] = record(bytes(content))
    assert differences(b"".join(records)) == []


# ---------------------------------------------------------------------- damaged files


def flip(content: bytearray, data: st.DataObject, end: int) -> None:
    """Flip one to five bits."""
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(len(header_record()), end))] ^= 1 << data.draw(st.integers(0, 7))


def zero(content: bytearray, data: st.DataObject, end: int) -> None:
    """Zero a page."""
    start = data.draw(st.integers(len(header_record()), max(len(header_record()), end - 4096)))
    stop = min(start + 4096, end)
    content[start:stop] = bytes(stop - start)


def cut(content: bytearray, data: st.DataObject, end: int) -> None:
    """Cut bytes out."""
    start = data.draw(st.integers(len(header_record()), end))
    del content[start : min(end, start + data.draw(st.integers(1, 5000)))]


def insert(content: bytearray, data: st.DataObject, end: int) -> None:
    """Put bytes in."""
    start = data.draw(st.integers(len(header_record()), end))
    content[start:start] = data.draw(st.binary(min_size=1, max_size=300))


def double(content: bytearray, data: st.DataObject, end: int) -> None:
    """Write a stretch twice."""
    start = data.draw(st.integers(len(header_record()), end))
    stop = min(end, start + data.draw(st.integers(1, 3000)))
    content[start:start] = content[start:stop]


CLEAR_END = 400
"""Bytes at the end that stay whole: there, a damaged record cannot be told from one that is still being written."""


def damaged(kind: str, data: st.DataObject, how: Any) -> bytes:
    """A regular file that is damaged behind its first record."""
    content = bytearray(b"".join(regular_records(kind)))
    how(content, data, len(content) - CLEAR_END)
    return bytes(content)


@pytest.mark.parametrize("how", [flip, zero, cut, insert, double], ids=lambda how: how.__name__)
@cases(60)
@given(kinds, st.data(), st.sampled_from([700, 20_000, 8 << 20]))
def test_damage_costs_what_is_damaged_and_nothing_else(how: Any, kind: str, data: st.DataObject, budget: int) -> None:
    assert differences(damaged(kind, data, how), budget) == []


@cases(80)
@given(kinds, st.data())
def test_damage_never_gives_a_value_that_was_not_written(kind: str, data: st.DataObject) -> None:
    written = {item for item in read_naively(b"".join(regular_records(kind)))[0] if isinstance(item, Point)}
    content = damaged(kind, data, data.draw(st.sampled_from([flip, zero, cut, insert, double])))
    reader = follow(ScriptedFile(content))
    assert {item for item in read_all(reader) if isinstance(item, Point)} <= written


@cases(80)
@given(
    kinds,
    st.lists(st.tuples(st.integers(1, 2399), st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=5),
    st.sampled_from([20_000, 8 << 20]),
)
def test_damaged_data_cost_their_records(kind: str, flips: list[tuple[int, float, int]], budget: int) -> None:
    records = [bytearray(data) for data in regular_records(kind)]
    for number, place, bit in flips:
        data = records[1 + number % (len(records) - 1)]
        data[12 + int(place * (len(data) - 13))] ^= 1 << bit
    assert differences(b"".join(records), budget) == []


def test_the_three_damages_of_the_reference_cost_one_record_or_one_page() -> None:
    """1,001 records, damage at record 500: no other reader gets beyond it when a length is hit."""
    records = [header_record(), *Writer().records(Burst(("loss",), "simple_value", 1000, 1, 1, 0), 0)]
    place = sum(map(len, records[:500]))
    whole = b"".join(records)
    for content, left in [
        (whole[: place + 20] + bytes([whole[place + 20] ^ 1]) + whole[place + 21 :], 999),
        (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], 999),
        (whole[:place] + bytes(4096) + whole[place + 4096 :], 1000 - -(-4096 // len(records[500])) - 1),
    ]:
        assert differences(content) == []
        reader = follow(ScriptedFile(content))
        assert left <= len(read_all(reader)) <= left + 2
        assert reader.bad_records >= 1


def test_a_damaged_first_record_costs_that_record() -> None:
    records = regular_records("simple_value")
    for place in (0, 8, 13):
        content = bytearray(b"".join(records))
        content[place] ^= 1
        assert differences(bytes(content)) == []


def test_a_damaged_stretch_at_the_end_waits_for_what_comes() -> None:
    whole, later = losses(1.0, 2.0, 3.0), losses(4.0, 5.0, first_step=3)
    place = len(losses(1.0, 2.0))
    file = ScriptedFile(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
    reader = follow(file)
    first = read_all(reader)
    assert reader.bad_records == 1
    assert reader.problem is not None
    for size in range(1, len(later) + 1):
        file.rewrite(file.data[: len(whole)] + later[:size])
        first += read_all(reader)
    assert first == read_naively(file.data)[0]
    assert len(first) == 4


@cases(100)
@given(st.binary(max_size=3000), st.sampled_from([b"", header_record(), losses(1.0)]))
def test_any_bytes_are_survived(noise: bytes, before: bytes) -> None:
    reader = follow(ScriptedFile(before + noise))
    found = read_all(reader)
    assert points(found) == points(read_naively(before)[0])


# ---------------------------------------------------------------------- memory

LENGTHS = [
    0,
    1,
    MAX_RECORD_BYTES,
    MAX_RECORD_BYTES + 1,
    2**31,
    2**32 - 1,
    2**32,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
BOUND = 16 << 20
"""Bytes that a read may take beyond the file: buffers of a megabyte or two, and tables made once."""


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("before", [1, 300])
def test_no_length_makes_the_reader_allocate_it(length: int, before: int) -> None:
    content = losses(*range(before)) + length_header(length) + bytes(5000)
    file = ScriptedFile(content)
    reader = follow(file)
    tracemalloc.start()
    try:
        found = read_all(reader)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(points(found)) == before
    assert peak < BOUND
    assert all(offset + size <= len(content) + (4 << 20) for offset, size in file.reads)


@pytest.mark.parametrize("length", [length for length in LENGTHS if length > MAX_RECORD_BYTES])
def test_what_comes_after_an_impossible_length_is_read(length: int) -> None:
    assert (
        differences(losses(*range(100)) + length_header(length) + bytes(100) + losses(*range(100), first_step=100))
        == []
    )


DEEP = bytes_field(5, bytes_field(1, bytes_field(1, b"a") + NUMBER))
for _ in range(150):
    DEEP = bytes_field(5, DEEP)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(DEEP, id="messages in messages"),
        pytest.param(varint(98 << 3 | 3) * 20_000, id="groups in groups"),
        pytest.param(one_float(DT_FLOAT + field(5, FLOAT, ONE) * 100_000), id="a hundred thousand values"),
        pytest.param(bytes_field(5, b"\x0a\x00" * 200_000), id="two hundred thousand empty values"),
        pytest.param(event([text("t", "z" * 3_000_000)]), id="a text of three megabytes"),
    ],
)
def test_what_is_large_inside_a_record_is_bounded(data: bytes) -> None:
    content = losses(1.0) + record(data) + losses(2.0)
    reader = follow(ScriptedFile(content))
    tracemalloc.start()
    try:
        found = read_all(reader)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BOUND + 60 * len(data)
    expected, _ = read_naively(content)
    assert (points(found), texts(found)) == (points(expected), texts(expected))
