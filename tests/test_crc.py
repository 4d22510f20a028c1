"""CRC-32C against published vectors, and the array version against a byte-by-byte one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from raftmon.events.crc import crc32c, masked_crc32c, masked_crc32c_many

VECTORS = [
    (b"", 0x00000000),
    (b"a", 0xC1D04330),
    (b"123456789", 0xE3069283),
    # RFC 3720, appendix B.4
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]

# Around every limit of the array code: a row, a few bytes, several rows, a block.
LENGTHS = [0, 1, 2, 3, 4, 5, 44, 255, 256, 257, 511, 512, 513, 1000, 2047, 2048, 2049, 4096, 70_000]


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def columns(*pairs: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    starts, lengths = np.array(pairs, np.int64).reshape(-1, 2).T
    return starts, lengths


@pytest.mark.parametrize(("data", "expected"), VECTORS)
def test_published_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_mask_of_a_real_header() -> None:
    # The first twelve bytes of event files whose first record holds 24 bytes: 18 00.. a3 7f 4b 22.
    assert masked_crc32c((24).to_bytes(8, "little")) == 0x224B7FA3


@pytest.mark.parametrize("length", LENGTHS)
def test_long_data_take_another_path_to_the_same_checksum(length: int) -> None:
    data = noise(length)
    assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)


def test_slices_of_many_lengths_at_once() -> None:
    buffer = noise(200_000)
    pairs = [(start, length) for length in LENGTHS for start in (0, 1, 13, len(buffer) - length)]
    checksums = masked_crc32c_many(np.frombuffer(buffer, np.uint8), *columns(*pairs))
    assert checksums.dtype == np.uint32
    assert checksums.tolist() == [masked_crc32c(buffer[start : start + length]) for start, length in pairs]


def test_many_rows_of_one_length_cross_the_blocks() -> None:
    buffer = noise(60 * 3000)
    pairs = [(60 * index, 44) for index in range(3000)]
    checksums = masked_crc32c_many(np.frombuffer(buffer, np.uint8), *columns(*pairs))
    assert checksums.tolist() == [masked_crc32c(buffer[start : start + 44]) for start, _ in pairs]


def test_no_slices() -> None:
    assert masked_crc32c_many(np.zeros(5, np.uint8), *columns()).tolist() == []


@pytest.mark.parametrize("pair", [(0, 11), (10, 1), (-1, 2), (4, -1)])
def test_slices_beyond_the_buffer_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="beyond the buffer"):
        masked_crc32c_many(np.zeros(10, np.uint8), *columns(pair))


@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=40))
def test_any_slices_agree_with_the_byte_loop(seed: int, pairs: list[tuple[int, int]]) -> None:
    buffer = noise(6000, seed)
    checksums = masked_crc32c_many(np.frombuffer(buffer, np.uint8), *columns(*pairs))
    expected = [pywrap_tensorflow.masked_crc32c(buffer[start : start + length]) for start, length in pairs[:3]]
    assert checksums[:3].tolist() == expected
    assert checksums.tolist() == [masked_crc32c(buffer[start : start + length]) for start, length in pairs]


@given(st.integers(0, 299), st.integers(0, 7), st.integers(0, 2**32))
def test_any_flipped_bit_changes_the_checksum(place: int, bit: int, seed: int) -> None:
    data = bytearray(noise(300, seed))
    before = masked_crc32c(bytes(data))
    data[place] ^= 1 << bit
    assert masked_crc32c(bytes(data)) != before
