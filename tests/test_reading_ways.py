"""The ways through a file give the same: whole cycles, columns, one by one; whatever was read before, in any pieces."""

from __future__ import annotations

import itertools
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto import summary_pb2, types_pb2

from raftmon.events.columns import ScalarBatch, join
from raftmon.events.forms import FORMS, MAX_FORMS
from raftmon.events.tail import CHUNK_BYTES, EventFile
from tests.scripted import ScriptedFile, drain, event, follow, header_record, losses, record, simple, tensor, values

TAGS = ("train/loss", "train/grad_norm", "train/learning_rate", "epoch")


def regular(steps: int, first: int = 0, each: int = 1) -> list[bytes]:
    """The records of a log with the same tags at every step; `each` values in a record."""
    records = []
    for step in range(first, first + steps):
        wanted = [simple(tag, step + number / 8) for number, tag in enumerate(TAGS)]
        parts = (wanted[at : at + each] for at in range(0, len(wanted), each))
        records += [record(event(part, step=step, wall_time=1.7e9 + step)) for part in parts]
    return records


def expected(steps: int) -> list[float]:
    return [step + number / 8 for step in range(steps) for number in range(len(TAGS))]


def read_all(data: bytes, budget: int = 8 << 20) -> tuple[list[float], int]:
    events = follow(ScriptedFile(data))
    found = values(*drain(events, budget))
    return found, events.bad_records


@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("budget", [300, 9_000, 8 << 20])
def test_a_long_regular_log(each: int, budget: int) -> None:
    data = header_record() + b"".join(regular(3000, each=each))
    assert read_all(data, budget) == (expected(3000), 0)


@pytest.mark.parametrize("rows", [1, 2, 16, 17, 63, 64, 65, 700])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_same_damage_in_several_records_hides_none_of_them(rows: int, count: int) -> None:
    records = regular(3200)
    hit = [4 * (1000 + rows * number) + 1 for number in range(count)]
    for number in hit:
        damaged = bytearray(records[number])
        damaged[len(damaged) - 6] ^= 0x20
        records[number] = bytes(damaged)
    wanted = [value for number, value in enumerate(expected(3200)) if number not in hit]
    assert read_all(header_record() + b"".join(records)) == (wanted, count)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2999 * 4), min_size=1, max_size=6, unique=True), st.integers(12, 40), st.integers(0, 7))
def test_the_same_damage_anywhere(hit: list[int], place: int, bit: int) -> None:
    records = regular(3000)
    for number in hit:
        damaged = bytearray(records[number])
        damaged[min(place, len(damaged) - 1)] ^= 1 << bit
        records[number] = bytes(damaged)
    wanted = [value for number, value in enumerate(expected(3000)) if number not in hit]
    assert read_all(header_record() + b"".join(records)) == (wanted, len(hit))


def test_the_same_damage_in_every_record_leaves_nothing() -> None:
    assert read_all(header_record() + b"".join(regular(2816)))[1] == 0
    damaged = []
    for data in regular(2816):
        flipped = bytearray(data)
        flipped[-5] ^= 0x40
        damaged.append(bytes(flipped))
    assert read_all(header_record() + b"".join(damaged)) == ([], 2816 * 4)


ALIKE = [
    tuple(f"eval/{letter}_accuracy" for letter in "abc"),
    tuple(f"grad_norm/model.layers.{layer}.self_attn.q_proj.weight" for layer in range(24)),
    tuple("x" * 140 + f"{number}/tail" for number in range(6)),
    tuple("x" * length for length in (1, 2, 7, 8, 9, 10, 17, 18, 19, 100, 126, 127, 128, 129, 300)),
    tuple("y" * 4000 + str(number) for number in range(3)),
]


@pytest.mark.parametrize("tags", ALIKE, ids=lambda tags: tags[0][:20])
@pytest.mark.parametrize("shuffled", [False, True])
def test_tags_that_look_alike(tags: tuple[str, ...], shuffled: bool) -> None:
    order = list(tags) * 60
    if shuffled:
        random.Random(0).shuffle(order)
    data = b"".join(
        record(event([simple(tag, float(number))], step=number // len(tags))) for number, tag in enumerate(order)
    )
    events = follow(ScriptedFile(header_record() + data))
    batch = events.read().scalars
    assert [batch.tags[number] for number in batch.tag_id.tolist()] == order
    assert batch.value.tolist() == [float(number) for number in range(len(order))]
    if len(tags[0]) < 400:
        known = {place.tag for form in FORMS.forms if form is not None for place in form.places}
        assert known >= set(tags)


def test_forms_that_are_forgotten_in_the_middle_are_learnt_again() -> None:
    file = ScriptedFile(header_record() + b"".join(regular(2000)))
    events = follow(file)
    found = []
    while (update := events.read(20_000)).more:
        found += values(update)
        FORMS.clear()
    assert found + values(update) == expected(2000)


def test_a_tag_for_every_sample_does_not_fill_the_memory() -> None:
    FORMS.clear()
    count = 3 * MAX_FORMS
    samples = (f"sample/{number % count}" for number in range(5 * count))
    data = b"".join(record(event([simple(tag, float(step))], step=step)) for step, tag in enumerate(samples))
    assert read_all(data, 4 << 20) == ([float(step) for step in range(5 * count)], 0)
    assert len(FORMS.forms) <= MAX_FORMS


def test_a_file_begins_like_the_one_before_it_or_not() -> None:
    data = header_record() + b"".join(regular(120))
    for _ in range(3):
        assert read_all(data) == (expected(120), 0)
    assert FORMS.prologues
    for place in range(len(header_record()), len(header_record()) + 200, 7):
        other = bytearray(data)
        other[place] ^= 1
        found, bad = read_all(bytes(other))
        assert (len(expected(120)) - len(found), bad) == (1, 1)
    half = read_all(data[: len(data) // 2])[0]
    assert half == expected(120)[: len(half)]


def test_a_tensor_is_a_scalar_only_in_a_file_that_says_so() -> None:
    def log(plugin: str | None) -> bytes:
        one = {"dtype": types_pb2.DT_FLOAT, "tensor_content": np.float32(1.0).tobytes()}
        first = record(event([tensor("a", plugin, **one)], step=1))
        return first + b"".join(record(event([tensor("a", None, **one)], step=step)) for step in range(2, 400))

    for plugin, count in (("scalars", 399), ("histograms", 0), ("scalars", 399), (None, 0)):
        assert len(read_all(log(plugin))[0]) == count, plugin


def test_threads_that_read_at_once_do_not_disturb_each_other() -> None:
    logs = [header_record() + b"".join(regular(steps, each=each)) for steps, each in ((700, 1), (900, 2), (500, 4))]
    found: dict[int, list[float]] = {}

    def read(number: int) -> None:
        for _ in range(6):
            found[number] = read_all(logs[number % 3], 9_000)[0]

    def forget() -> None:
        for _ in range(200):
            with FORMS.lock:
                FORMS.clear()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    threads.append(threading.Thread(target=forget))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: expected((700, 900, 500)[number % 3]) for number in range(6)}


def picture(size: int) -> bytes:
    image = summary_pb2.Summary.Image(height=1, width=1, encoded_image_string=b"\x01" * size)
    return record(event([summary_pb2.Summary.Value(tag="samples", image=image)], step=3))


def test_a_picture_of_megabytes_is_passed_over_unread() -> None:
    file = ScriptedFile(losses(1.0) + picture(5 << 20) + losses(2.0, first_step=1))
    events = follow(file)
    updates = drain(events)
    assert (values(*updates), events.bad_records) == ([1.0, 2.0], 0)
    assert sum(update.bytes_read for update in updates) < 2 * CHUNK_BYTES
    assert max(size for _, size in file.reads) <= CHUNK_BYTES


def test_a_picture_that_is_still_being_written() -> None:
    whole = losses(1.0) + picture(3 << 20) + losses(2.0, first_step=1)
    file = ScriptedFile(whole[: 1 << 20])
    events = follow(file)
    assert values(*drain(events)) == [1.0]
    file.rewrite(whole[: 2 << 20])
    assert values(*drain(events)) == []
    file.rewrite(whole)
    assert values(*drain(events)) == [2.0]
    assert events.bad_records == 0


def test_records_within_a_picture_that_lost_its_end_are_found() -> None:
    torn = picture(3 << 20)[: 1 << 20]
    events = follow(ScriptedFile(losses(1.0) + torn + losses(*range(2, 60_000))))
    found = values(*drain(events))
    assert found == [1.0, *map(float, range(2, 60_000))]
    assert events.bad_records >= 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 400)), max_size=40), st.integers(1, 60))
def test_columns_by_tag_are_the_points_of_each_tag_in_order(points: list[tuple[int, int]], repeats: int) -> None:
    numbered = enumerate(points * repeats)
    records = [record(event([simple(TAGS[tag], float(number))], step=step)) for number, (tag, step) in numbered]
    batch = follow(ScriptedFile(b"".join(records))).read().scalars
    columns = batch.tag_id, batch.step, batch.wall_time, batch.value
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    seen = {}
    for tag, *held in batch.by_tag():
        seen[tag] = list(zip(*(column.tolist() for column in held), strict=True))
    assert seen == {tag: [row[1:] for row in rows if row[0] == number] for number, tag in enumerate(batch.tags)}
    assert list(seen) == list(dict.fromkeys(TAGS[tag] for tag, _ in points))


def test_batches_of_cycles_can_be_cut_and_joined() -> None:
    events = follow(ScriptedFile(header_record() + b"".join(regular(1500))))
    batches = events.read().batches
    whole = join(batches)
    assert any(batch.value.size > 1000 for batch in batches)
    for begin, end in itertools.pairwise([0, 1, 7, 10, 4000, len(whole)]):
        part = whole.part(begin, end)
        assert part.value.tolist() == expected(1500)[begin:end]
        assert [part.tags[number] for number in part.tag_id] == [TAGS[at % 4] for at in range(begin, end)]
        assert [tag for tag, *_ in part.renamed("x/").by_tag()] == [f"x/{tag}" for tag in part.tags]
        first = {tag: value[0] for tag, _, _, value in part.by_tag()}
        assert first == {TAGS[at % 4]: expected(1500)[at] for at in range(begin, min(end, begin + 4))}


def test_an_empty_batch_has_no_tags() -> None:
    empty = join([])
    assert (len(empty), empty.tags, list(empty.by_tag())) == (0, (), [])
    assert isinstance(empty, ScalarBatch)


def test_a_real_file_is_read_like_a_scripted_one(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(header_record() + b"".join(regular(900)))
    assert values(*drain(EventFile(path), 70_000)) == expected(900)
