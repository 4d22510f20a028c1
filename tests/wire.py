"""Protobufs written field by field, as no well-behaved writer would write them."""

from __future__ import annotations

import struct
from typing import Final

from hypothesis import strategies as st

VARINT: Final = 0
LENGTH: Final = 2
FLOAT: Final = 5


def varint(number: int) -> bytes:
    """The shortest encoding of an unsigned number."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number: int, kind: int, content: bytes) -> bytes:
    """A field of which the content is already encoded."""
    return varint(number << 3 | kind) + content


def bytes_field(number: int, content: bytes) -> bytes:
    """A field with a length: bytes, text or a message."""
    return field(number, LENGTH, varint(len(content)) + content)


def _padded(encoded: bytes, zeros: int) -> bytes:
    """The same number in more bytes than it needs."""
    return encoded[:-1] + bytes([encoded[-1] | 0x80]) + b"\x80" * (zeros - 1) + b"\0" if zeros else encoded


def _shuffled(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Each of the parts up to twice, or not at all, in any order."""
    return st.lists(st.one_of(*parts), max_size=len(parts) + 2).map(b"".join)


numbers = st.one_of(
    st.sampled_from([0, 1, 7, 127, 128, 16_384, 2**31, 2**56, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)
)
varints = st.one_of(
    numbers.map(varint),
    st.builds(_padded, numbers.map(varint), st.integers(0, 4)),
    st.sampled_from([b"\xff" * 10 + b"\1", b"\xff" * 9 + b"\x7f", b"\x80" * 10 + b"\0", b"\xff" * 3]),
)
floats = st.one_of(st.sampled_from([0, 0x80000000, 0x7FC00001, 0x7F800000]), st.integers(0, 2**32 - 1)).map(
    lambda bits: struct.pack("<I", bits)
)
doubles = st.integers(0, 2**64 - 1).map(lambda bits: struct.pack("<Q", bits))
names = st.sampled_from([b"train/loss", b"epoch", b"a", b"b", b"", b"x" * 130, "größe".encode(), b"\xff\xfe", b"a\0"])
unknown = st.builds(field, st.integers(20, 200), st.just(VARINT), numbers.map(varint))
garbage = st.binary(max_size=20)

shapes = st.lists(
    st.sampled_from([b"\0", b"\1", b"\2"]).map(lambda size: bytes_field(2, field(1, VARINT, size))), max_size=3
).map(b"".join)
tensors = _shuffled(
    st.sampled_from([1, 1, 1, 2, 3, 4, 5, 6, 7, 9, 10, 14, 17, 19, 22, 23, 99]).map(
        lambda kind: field(1, VARINT, varint(kind))
    ),
    shapes.map(lambda shape: bytes_field(2, shape)),
    st.one_of(floats, doubles, garbage).map(lambda content: bytes_field(4, content)),
    floats.map(lambda value: field(5, FLOAT, value)),
    st.lists(floats, max_size=2).map(lambda values: bytes_field(5, b"".join(values))),
    doubles.map(lambda value: bytes_field(6, value)),
    st.builds(field, st.sampled_from([7, 10, 11, 13, 16, 17]), st.just(VARINT), varints),
    unknown,
)
plugins = st.sampled_from([b"scalars", b"scalars", b"histograms", b"text", b"", b"\xff"])
metadata = st.builds(
    lambda name, more: bytes_field(9, bytes_field(1, bytes_field(1, name)) + more), plugins, st.just(b"") | unknown
)
values = _shuffled(
    names.map(lambda name: bytes_field(1, name)),
    floats.map(lambda value: field(2, FLOAT, value)),
    tensors.map(lambda tensor: bytes_field(8, tensor)),
    metadata,
    st.just(bytes_field(5, b"")),
    unknown,
)
summaries = st.lists(
    st.one_of(values, values, values, garbage).map(lambda value: bytes_field(1, value)), max_size=3
).map(b"".join)
events = _shuffled(
    doubles.map(lambda value: field(1, 1, value)),
    varints.map(lambda value: field(2, VARINT, value)),
    summaries.map(lambda summary: bytes_field(5, summary)),
    summaries.map(lambda summary: bytes_field(5, summary)),
    st.just(bytes_field(3, b"brain.Event:2")),
    st.just(bytes_field(7, field(1, VARINT, b"\1"))),
    unknown,
)
"""Bytes that are nearly, or really, an event."""
