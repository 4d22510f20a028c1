"""Known pitfalls of event files that no other test holds: step widths, versions, writers side by side, descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from tensorboard.compat.proto import event_pb2

from raftmon.events.tail import EventFile
from raftmon.runs.logdir import Run
from tests.bursts import ENCODINGS, Burst, Writer
from tests.naive_reader import Point, differences, read_all, read_naively
from tests.scripted import (
    FIRST,
    ScriptedFile,
    event,
    follow,
    header_record,
    length_header,
    losses,
    record,
    scalar_record,
    simple,
)


@pytest.mark.parametrize("edge", [0, 128, 16_384, 2_097_152, 2**28, 2**35, 2**42, 2**49, 2**56, 2**63 - 200])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_the_step_grows_by_a_byte_inside_a_regular_stretch(edge: int, encoding: str) -> None:
    writer = Writer()
    named = writer.records(Burst(("a", "epoch"), "tensor_content", 2, 1, 1, 0), 0)
    regular = writer.records(Burst(("a", "epoch"), encoding, 300, 1, 1, 0), max(edge - 70, 0))
    content = b"".join(named + regular)
    assert differences(content) == []
    assert len(read_naively(content)[0]) == 302


def test_steps_that_rise_from_below_zero() -> None:
    assert differences(b"".join(Writer().records(Burst(("a",), "simple_value", 300, 1, 1, 0), -150))) == []


@pytest.mark.parametrize("version", ["brain.Event:1", "brain.Event:2", "brain.Event:3", "something else"])
def test_any_version_anywhere_changes_nothing(version: str) -> None:
    source = event_pb2.SourceMetadata(writer="tensorboard.summary.writer.event_file_writer")
    headers = [
        record(event(file_version=version, wall_time=FIRST + 1e6)),
        record(event(file_version=version, source_metadata=source)),
        record(event(file_version=version, wall_time=0.0)),
    ]
    regular = Writer().records(Burst(("a", "epoch"), "simple_value", 200, 1, 1, 0), 0)
    for place in (0, 1, 150, 200):
        for header in headers:
            assert differences(b"".join([*regular[:place], header, *regular[place:]])) == []


def test_two_writers_of_one_run_grow_by_turns(tmp_path: Path) -> None:
    """A training and an evaluation each keep their own file: neither is a restart of the other."""
    train, evaluation = tmp_path / "events.out.tfevents.1.h", tmp_path / "events.out.tfevents.2.h"
    for path in (train, evaluation):
        path.write_bytes(header_record())
    run = Run("run", tmp_path)
    for path in (train, evaluation):
        run.add_file(path)
    for step in range(50):
        with train.open("ab") as file:
            file.write(losses(float(step), first_step=step))
        if step % 10 == 9:
            with evaluation.open("ab") as file:
                file.write(scalar_record("eval/loss", float(step), step - 5))
        run.poll(8 << 20)
    assert run.series["loss"].steps.tolist() == list(range(50))
    assert run.series["eval/loss"].steps.tolist() == [4, 14, 24, 34, 44]


def test_no_descriptor_stays_open_however_many_files_there_are(tmp_path: Path) -> None:
    run = Run("run", tmp_path)
    for number in range(300):
        path = tmp_path / f"events.out.tfevents.{number:04}.h"
        path.write_bytes(losses(float(number), first_step=number))
        run.add_file(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    run.poll(8 << 20)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert run.series["loss"].count == 300


def test_wall_times_may_do_anything(tmp_path: Path) -> None:
    """The clock stands still, jumps ahead and back: points stay in the order of the file."""
    times = [FIRST, FIRST, 0.0, -5.0, 4e12, FIRST - 1e6, float("inf"), FIRST] * 40
    content = b"".join(scalar_record("loss", float(n), n, time) for n, time in enumerate(times))
    assert differences(content) == []
    path = tmp_path / "events.out.tfevents.1.h"
    path.write_bytes(content)
    found = [item for item in read_all(EventFile(path)) if isinstance(item, Point)]
    assert [point.step for point in found] == list(range(len(times)))


@pytest.mark.parametrize("changed", range(0, 160, 31))
def test_a_stretch_between_pictures_that_is_not_like_the_one_before(changed: int) -> None:
    """One record more, one less, one of another size: what comes after it is where it is, not where it was expected."""
    records = _stretches()
    at = 8 * EACH + changed
    longer = Writer().event([simple("a tag of another length", 2.0)], 5)
    for other in (
        [*records[:at], longer, *records[at:]],
        [*records[:at], longer, *records[at + 1 :]],
        [*records[:at], *records[at + 1 :]],
    ):
        content = b"".join([header_record(), *other])
        for budget in (5_000, 8 << 20):
            assert differences(content, budget) == []


def test_a_stretch_between_pictures_of_which_the_end_is_missing() -> None:
    """Of a long record among the expected ones, too, and with the same stretch, whole, still in memory."""
    records = _stretches()
    whole = b"".join([header_record(), *records])
    last = len(whole) - sum(map(len, records[-EACH:]))
    for end in range(last, len(whole), 797):
        file = ScriptedFile(whole)
        assert read_all(follow(file)) == read_naively(whole)[0]
        assert differences(whole[:end]) == []
        file = ScriptedFile(whole[:end])
        reader = follow(file)
        begun = read_all(reader)
        file.append(whole[end:])
        assert begun + read_all(reader) == read_naively(whole)[0]
        assert reader.bad_records == 0


EACH: Final = 164
"""Records of a stretch, its pictures included."""


def _stretches() -> list[bytes]:
    stretch = Burst(("train/loss", "epoch", "train/grad_norm"), "simple_value", EACH - 4, 1, 1, 0)
    return Writer().stretches(stretch, 10, 100)


@pytest.mark.timeout(20)
def test_a_megabyte_of_headers_without_data_is_read_in_seconds() -> None:
    """Each begins no record, and sends the reader on to the next one: it must not search the same bytes again."""
    reader = follow(ScriptedFile(header_record() + (length_header(5) + b"zzz") * 70_000))
    assert read_all(reader) == []
    assert reader.bad_records > 10_000
