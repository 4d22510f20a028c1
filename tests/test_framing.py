"""Framing: whole, cut, damaged and hostile TFRecord bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.events.framing import HEADER_BYTES, MAX_RECORD_BYTES, OVERHEAD_BYTES, Frames, scan
from tests.scripted import length_header, record

PAYLOADS = [b"", b"a", b"hello", bytes(300), b"x" * 44]
payloads = st.lists(st.binary(max_size=80), max_size=12)


def contents(buffer: bytes, frames: Frames) -> list[bytes]:
    return [buffer[start : start + length] for start, length in zip(frames.starts, frames.lengths, strict=True)]


def join(parts: list[bytes]) -> bytes:
    return b"".join(record(part) for part in parts)


def test_whole_records() -> None:
    buffer = join(PAYLOADS)
    frames = scan(buffer)
    assert contents(buffer, frames) == PAYLOADS
    assert (frames.end, frames.needed, frames.bad, frames.broken) == (len(buffer), HEADER_BYTES, 0, None)


def test_nothing() -> None:
    frames = scan(b"")
    assert (len(frames.starts), frames.end, frames.needed, frames.broken) == (0, 0, HEADER_BYTES, None)


def test_a_header_alone_tells_how_much_is_missing() -> None:
    whole = record(b"a")
    buffer = whole + record(b"hello")[:HEADER_BYTES]
    frames = scan(buffer)
    assert contents(buffer, frames) == [b"a"]
    assert (frames.end, frames.needed, frames.broken) == (len(whole), OVERHEAD_BYTES + 5, None)


def test_bad_data_cost_one_record() -> None:
    damaged = bytearray(join([b"one", b"two", b"three"]))
    damaged[len(record(b"one")) + HEADER_BYTES] ^= 1
    frames = scan(bytes(damaged))
    assert contents(bytes(damaged), frames) == [b"one", b"three"]
    assert (frames.end, frames.bad, frames.broken) == (len(damaged), 1, None)


def test_bad_length_ends_the_framing() -> None:
    first = record(b"one")
    damaged = bytearray(first + join([b"two", b"three"]))
    damaged[len(first)] ^= 1
    frames = scan(bytes(damaged))
    assert contents(bytes(damaged), frames) == [b"one"]
    assert (frames.end, frames.bad) == (len(first), 0)
    assert frames.broken == "the length of a record does not match its checksum"


@pytest.mark.parametrize("length", [MAX_RECORD_BYTES + 1, 1 << 40, (1 << 64) - 1])
def test_a_record_beyond_the_limit_ends_the_framing(length: int) -> None:
    frames = scan(record(b"one") + length_header(length) + bytes(100))
    assert len(frames.starts) == 1
    assert frames.broken is not None
    assert f"{length:,} bytes" in frames.broken


def test_the_longest_record_is_waited_for() -> None:
    frames = scan(length_header(MAX_RECORD_BYTES))
    assert (frames.end, frames.needed, frames.broken) == (0, MAX_RECORD_BYTES + OVERHEAD_BYTES, None)


@given(payloads, st.data())
def test_cut_anywhere_and_fed_in_any_pieces(parts: list[bytes], data: st.DataObject) -> None:
    whole = join(parts)
    cuts = [*sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10))), len(whole)]
    found, at = [], 0
    for cut in cuts:
        frames = scan(whole[at:cut])
        assert frames.broken is None
        assert at + frames.end + frames.needed > cut
        found += contents(whole[at:cut], frames)
        at += frames.end
    assert found == parts
    assert at == len(whole)


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=6), st.data())
def test_a_flipped_bit_costs_its_record_or_what_follows(parts: list[bytes], data: st.DataObject) -> None:
    buffer = bytearray(join(parts))
    place = data.draw(st.integers(0, len(buffer) - 1))
    buffer[place] ^= 1 << data.draw(st.integers(0, 7))
    frames = scan(bytes(buffer))
    index, start = 0, 0
    while start + OVERHEAD_BYTES + len(parts[index]) <= place:
        start += OVERHEAD_BYTES + len(parts[index])
        index += 1
    in_header = place - start < HEADER_BYTES
    assert contents(bytes(buffer), frames) == parts[:index] + ([] if in_header else parts[index + 1 :])
    assert (frames.bad, frames.broken is not None) == ((0, True) if in_header else (1, False))


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(noise: bytes) -> None:
    frames = scan(noise)
    assert 0 <= frames.end <= len(noise)
    assert frames.broken is not None or frames.end + frames.needed > len(noise)
