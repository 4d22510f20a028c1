"""Framing: whole, cut, damaged and hostile TFRecord bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.events.framing import HEADER_BYTES, MAX_RECORD_BYTES, OVERHEAD_BYTES, Framer, Frames, HeaderFinder
from tests.scripted import block_of, length_header, record

PAYLOADS = [b"", b"a", b"hello", bytes(300), b"x" * 44, bytes(256), b"\1" * 70_000, b"y" * 255, bytes(65_535)]
payloads = st.lists(st.one_of(st.binary(max_size=80), st.integers(0, 1200).map(bytes)), max_size=12)


def framed(buffer: bytes, start: int = 0) -> Frames:
    return Framer().frame(block_of(buffer), start, len(buffer), len(buffer))


def contents(buffer: bytes, frames: Frames) -> list[bytes]:
    records = zip(frames.starts.tolist(), frames.sizes.tolist(), strict=True)
    return [buffer[start + HEADER_BYTES : start + size - 4] for start, size in records]


def join(parts: list[bytes]) -> bytes:
    return b"".join(record(part) for part in parts)


def test_whole_records() -> None:
    buffer = join(PAYLOADS)
    frames = framed(buffer)
    assert contents(buffer, frames) == PAYLOADS
    assert (frames.end, frames.needed, frames.damaged) == (len(buffer), HEADER_BYTES, False)


@pytest.mark.parametrize("length", [*range(250, 262), 511, 512, 513, 65_535, 65_536])
@pytest.mark.parametrize("shift", range(8))
def test_every_length_at_every_alignment(length: int, shift: int) -> None:
    buffer = record(b"x" * shift) + join([bytes(length), b"\xff" * length]) + record(b"end")
    assert len(framed(buffer).starts) == 4


def test_nothing() -> None:
    frames = framed(b"")
    assert (len(frames.starts), frames.end, frames.needed, frames.damaged) == (0, 0, HEADER_BYTES, False)


def test_a_header_alone_tells_how_much_is_missing() -> None:
    whole = record(b"a")
    buffer = whole + record(b"hello")[:HEADER_BYTES]
    frames = framed(buffer)
    assert contents(buffer, frames) == [b"a"]
    assert (frames.end, frames.needed, frames.damaged) == (len(whole), OVERHEAD_BYTES + 5, False)


def test_no_record_is_framed_that_begins_behind_the_part_that_is_wanted() -> None:
    buffer = join([b"one", b"two", b"three"])
    second = len(record(b"one"))
    frames = Framer().frame(block_of(buffer), 0, second + 1, len(buffer))
    assert contents(buffer, frames) == [b"one", b"two"]
    assert Framer().frame(block_of(buffer), second, second + 1, len(buffer)).end == 2 * second


def test_a_damaged_length_is_told_and_the_next_header_found() -> None:
    first = record(b"one")
    damaged = bytearray(first + join([b"two", b"three"]))
    damaged[len(first)] ^= 1
    frames = framed(bytes(damaged))
    assert contents(bytes(damaged), frames) == [b"one"]
    assert (frames.end, frames.damaged) == (len(first), True)
    assert HeaderFinder(block_of(bytes(damaged)), len(damaged)).first(len(first) + 1) == 2 * len(first)


@pytest.mark.parametrize("length", [MAX_RECORD_BYTES + 1, 1 << 40, 1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_length_beyond_the_limit_is_damage(length: int) -> None:
    frames = framed(record(b"one") + length_header(length) + bytes(100))
    assert (len(frames.starts), frames.damaged) == (1, True)
    assert HeaderFinder(block_of(length_header(length)), HEADER_BYTES).first(0) is None


def test_the_longest_record_is_waited_for() -> None:
    frames = framed(length_header(MAX_RECORD_BYTES))
    assert (frames.end, frames.needed, frames.damaged) == (0, MAX_RECORD_BYTES + OVERHEAD_BYTES, False)


@given(payloads, st.data())
def test_cut_anywhere_and_fed_in_any_pieces(parts: list[bytes], data: st.DataObject) -> None:
    whole = join(parts)
    cuts = [*sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10))), len(whole)]
    found, at = [], 0
    for cut in cuts:
        frames = framed(whole[at:cut])
        assert not frames.damaged
        assert at + frames.end + frames.needed > cut
        found += contents(whole[at:cut], frames)
        at += frames.end
    assert found == parts
    assert at == len(whole)


@given(st.binary(max_size=400), payloads)
def test_the_first_header_behind_noise_is_found(noise: bytes, parts: list[bytes]) -> None:
    buffer = noise + join([*parts, b"end"])
    assert HeaderFinder(block_of(buffer), len(buffer)).first(0) == len(noise)


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(noise: bytes) -> None:
    frames = framed(noise)
    assert 0 <= frames.end <= len(noise)
    assert frames.damaged or frames.end + frames.needed > len(noise)
