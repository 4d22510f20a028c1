"""Every bit of a record counts: whatever way a reader takes, a flipped one costs that record and no other.

The fast ways look at most bytes through hashes, masks and differences of checksums, so that a byte that none of them
covers would be a place where damage is not noticed. Each bit of the data and of their checksum is tried; those of the
header are looked at as a whole by all ways (`tests.test_framing`), and in whole cycles, where they are tried here, too.
"""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from raftmon.events.block import Block
from raftmon.events.periods import Cycle
from raftmon.events.wire import Form, read_form
from tests.bursts import ENCODINGS, Burst, Writer
from tests.naive_reader import differences, read_naively
from tests.scripted import header_record

STEPS = {"one byte": 100, "two bytes": 300, "none": 0}
TAGS = [1, 2, 3, 7, 8, 9, 10, 11, 17, 24, 99, 130, 300]
"""Characters of a tag. From about 100 on lengths in the record take two bytes, from 128 on that of the tag, too."""


def alike(encoding: str, size: int, count: int, step: int, values: int = 1) -> list[bytes]:
    """Records of one form."""
    tags = tuple(letter * size for letter in "abc"[:values])
    return Writer().records(Burst(tags, encoding, count, values, 0, 0), step)


def with_each_bit_flipped(records: list[bytes], first: int) -> list[bytes]:
    """The records, the n-th of them with the n-th bit flipped, from an offset on."""
    changed = []
    for number, record in enumerate(records):
        data = bytearray(record)
        data[first + number // 8] ^= 1 << (number % 8)
        changed.append(bytes(data))
    return changed


@pytest.mark.parametrize("budget", [700, 8 << 20], ids=["one by one", "in columns"])
@pytest.mark.parametrize("size", TAGS)
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_a_flipped_bit_of_the_data_or_their_checksum_costs_that_record(encoding: str, size: int, budget: int) -> None:
    length = len(alike(encoding, size, 1, 100)[0])
    every = with_each_bit_flipped(alike(encoding, size, 8 * (length - 12), 100), 12)
    # Records of another form, at random, keep the reader from seeing a cycle.
    chance = random.Random(0)
    another = Writer().records(Burst(("another",), encoding, 20 + len(every), 1, 1, 0), 0)
    whole = alike(encoding, size, 50, 100)
    # What a tensor is, the first record of its tag says.
    named = alike("tensor_content", size, 1, 100)
    named += Writer().records(Burst(("another",), "tensor_content", 1, 1, 1, 0), 0)
    records = [header_record(), *named, *another[:20], *whole]
    for damaged, between in zip(every, another[20:], strict=True):
        records += [damaged] + [between] * (chance.random() < 0.3)
    content = b"".join(records)
    items, lost = read_naively(content)
    assert lost == len(every)
    assert len(items) == len(records) - len(every) - 1
    assert differences(content, budget) == []


@pytest.mark.parametrize("size", [26, 99, 300])
def test_flips_that_might_cancel_each_other_cost_that_record(size: int) -> None:
    """The highest bits of two words are those that a sum of products loses most easily."""
    whole = alike("simple_value", size, 100, 100)
    at = whole[0].index(b"aa") + 2
    tops = [at + 7 + 8 * place for place in range((size - 2) // 8)]
    damaged = []
    for first, second in combinations(tops[:8], 2):
        for other in (0, 4):
            record = bytearray(whole[0])
            for place in (first, second):
                record[place] ^= 0x80
                record[place - other] ^= 0x80 if other else 0
            damaged.append(bytes(record))
    content = b"".join([header_record(), *whole, *damaged, *whole])
    assert differences(content) == []
    assert read_naively(content)[1] == len(damaged)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("values", [1, 3])
@pytest.mark.parametrize("size", [1, 9, 130])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_cycles_end_before_a_flipped_bit(encoding: str, size: int, values: int, step: int) -> None:
    record = alike(encoding, size, 1, step, values)[0]
    form = read_form(record)
    assert isinstance(form, Form)
    if step == 0:
        with pytest.raises(ValueError, match="different make"):
            Cycle([form], [0])
        return
    cycle = Cycle([form], [0])
    content = b"".join(alike(encoding, size, 3 * cycle.records, step, values))
    block = Block(len(content))
    block.data[: len(content)] = content
    whole = cycle.read(block, 0, len(content))
    assert whole is not None
    assert whole.end == 3 * cycle.size
    assert np.shape(whole.value) == (3 * cycle.records, values)
    for bit in range(8 * cycle.size, 8 * (cycle.size + len(record))):
        block.data[bit // 8] ^= 1 << (bit % 8)
        found = cycle.read(block, 0, len(content))
        assert (None if found is None else found.end) == cycle.size, bit - 8 * cycle.size
        block.data[bit // 8] ^= 1 << (bit % 8)
