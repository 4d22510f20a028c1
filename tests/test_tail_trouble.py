"""Files that are denied, damaged, hostile, or no event files at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.events import tail
from raftmon.events.framing import HEADER_BYTES, MAX_RECORD_BYTES
from raftmon.events.tail import EventFile
from tests.scripted import (
    FINE,
    ScriptedFile,
    drain,
    follow,
    header_record,
    length_header,
    losses,
    permission_denied,
    record,
    state,
    values,
)

CONTENT = [float(number) for number in range(12)]
WHOLE = header_record() + losses(*CONTENT)


def test_permission_denied_is_a_problem_until_it_is_granted() -> None:
    file = ScriptedFile(losses(1.0), open_error=permission_denied())
    events = follow(file)
    for _ in range(2):
        assert values(events.read()) == []
        assert events.problem is not None
        assert events.problem.where == str(file.path)
        assert "Permission denied" in events.problem.what
        assert not events.dead
    assert file.opened == 2
    file.open_error = None
    assert values(events.read()) == [1.0]
    assert state(events) == FINE


def test_permission_lost_later_is_a_problem_only_when_there_is_something_to_read() -> None:
    file = ScriptedFile(losses(1.0))
    events = follow(file)
    events.read()
    file.open_error = permission_denied()
    events.read()
    assert state(events) == FINE
    file.append(losses(2.0))
    events.read()
    assert state(events) == (False, False, True)
    file.open_error = None
    assert values(events.read()) == [2.0]
    assert state(events) == FINE


def test_a_directory_without_permission() -> None:
    file = ScriptedFile(losses(1.0), stat_error=permission_denied())
    events = follow(file)
    events.read()
    assert state(events) == (False, False, True)
    file.stat_error = None
    assert values(events.read()) == [1.0]
    assert state(events) == FINE
    file.stat_error = permission_denied()
    events.read()
    assert state(events) == (False, False, True)
    file.stat_error = None
    assert values(events.read()) == []
    assert state(events) == FINE


def test_a_denied_file_that_vanishes_is_only_gone() -> None:
    file = ScriptedFile(losses(1.0), open_error=permission_denied())
    events = follow(file)
    events.read()
    file.exists = False
    events.read()
    assert state(events) == (False, True, False)


def test_a_read_error_keeps_what_was_read_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK_BYTES", len(losses(1.0, first_step=1)))
    content = losses(1.0, 2.0, 3.0, first_step=1)
    file = ScriptedFile(content, read_error=OSError(errno.EIO, "Input/output error"), good_reads=2)
    events = follow(file)
    update = events.read()
    assert values(update) == [1.0, 2.0]
    assert not update.more
    assert events.problem is not None
    assert "Input/output error" in events.problem.what
    file.read_error = None
    assert values(events.read()) == [3.0]
    assert state(events) == FINE


def test_a_refusal_within_a_budgeted_read_does_not_ask_to_be_called_at_once() -> None:
    file = ScriptedFile(losses(*range(50)))
    events = follow(file)
    before = events.read(500)
    assert before.more
    file.open_error = permission_denied()
    assert not events.read(500).more
    file.open_error = None
    assert values(before, *drain(events, 500)) == list(range(50))


def test_a_file_that_shrinks_between_look_and_open() -> None:
    file = ScriptedFile(losses(1.0, 2.0))
    seen = file.stat(file.path)
    file.rewrite(losses(1.0))
    events = EventFile(file.path, opener=file.opener, stat=lambda _: seen)
    update = events.read()
    assert values(update) == [1.0]
    assert not update.more
    assert state(events) == FINE


@pytest.mark.parametrize(("mode", "what"), [(stat.S_IFIFO, "no regular file"), (stat.S_IFDIR, "a directory")])
def test_what_is_no_regular_file_is_never_opened(mode: int, what: str) -> None:
    file = ScriptedFile(losses(1.0), mode=mode | 0o644)
    events = follow(file)
    events.read()
    assert file.opened == 0
    assert events.problem is not None
    assert what in events.problem.what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 733246\n", "Git LFS pointer"),
        ("def tfevents():\n    return 'größer'\n".encode() * 9, "text file"),
        (b"\x1f\x8b\x08\0" + bytes(range(256)), "gzip"),
    ],
)
def test_look_alikes_are_told_once_and_not_read_on(content: bytes, what: str) -> None:
    file = ScriptedFile(content)
    events = follow(file)
    update = events.read()
    assert (values(update), update.more, events.bad_records) == ([], False, 0)
    problem = events.problem
    assert problem is not None
    assert what in problem.what
    assert problem.remedy
    assert events.dead
    assert events.read().bytes_read == 0
    assert file.opened == 1
    file.append(content)
    assert events.read().bytes_read == 0
    assert events.problem is problem


@pytest.mark.parametrize("content", [bytes(5000), bytes(range(256)) * 50])
def test_a_file_that_begins_with_garbage_is_searched_for_records(content: bytes) -> None:
    file = ScriptedFile(content)
    events = follow(file)
    assert values(events.read()) == []
    assert events.problem is not None
    assert "no event file, or damaged from its first byte on" in events.problem.what
    file.append(losses(1.0, 2.0))
    assert values(events.read()) == [1.0, 2.0]
    assert (state(events), events.bad_records) == (FINE, 1)


def test_a_hundred_megabytes_of_garbage_cost_one_chunk() -> None:
    class Endless(ScriptedFile):
        def stat(self, path: Path) -> os.stat_result:
            fields = (self.mode, self.inode, 1, 1, 0, 0, 100 << 20, 0, 0, 0)
            return os.stat_result(fields, {"st_mtime_ns": self.mtime_ns})

    file = Endless(b"\x80\x01garbage" * 200_000)
    events = follow(file)
    assert events.read().bytes_read == tail.CHUNK_BYTES
    assert events.dead
    assert len(file.reads) == 1


def test_a_length_beyond_the_limit_is_never_allocated() -> None:
    file = ScriptedFile(losses(1.0) + length_header(MAX_RECORD_BYTES + 1) + bytes(1000))
    events = follow(file)
    assert values(events.read()) == [1.0]
    assert events.problem is not None
    assert f"damaged at byte {len(losses(1.0))}" in events.problem.what
    assert max(size for _, size in file.reads) <= len(file.data)


def test_a_pulled_lfs_file_is_read() -> None:
    file = ScriptedFile(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    events = follow(file)
    events.read()
    file.rewrite(header_record() + losses(1.0, 2.0))
    assert values(events.read()) == [1.0, 2.0]
    assert state(events) == FINE


def test_a_bad_checksum_costs_one_record_and_is_counted() -> None:
    data = bytearray(losses(1.0, 2.0, 3.0))
    data[len(losses(1.0)) + HEADER_BYTES + 3] ^= 4
    events = follow(ScriptedFile(bytes(data)))
    assert values(events.read()) == [1.0, 3.0]
    assert events.bad_records == 1
    assert state(events) == FINE


def test_a_record_that_is_no_event_is_counted() -> None:
    events = follow(ScriptedFile(losses(1.0) + record(b"\xff\xff") + losses(2.0)))
    assert values(events.read()) == [1.0, 2.0]
    assert events.bad_records == 1


def test_a_bad_length_costs_its_record_until_it_is_mended() -> None:
    whole = losses(1.0, 2.0, 3.0)
    place = len(losses(1.0))
    damaged = bytearray(whole)
    damaged[place] ^= 1
    file = ScriptedFile(bytes(damaged))
    events = follow(file)
    assert values(events.read()) == [1.0, 3.0]
    assert (state(events), events.bad_records) == (FINE, 1)
    file.append(losses(4.0))
    assert values(events.read()) == [4.0]
    file.rewrite(whole + losses(4.0))
    update = events.read()
    assert (update.reset, values(update)) == (True, [1.0, 2.0, 3.0, 4.0])
    assert (state(events), events.bad_records) == (FINE, 0)


def test_damage_at_the_end_is_told_until_an_intact_record_follows() -> None:
    file = ScriptedFile(losses(1.0) + bytes(4096))
    events = follow(file)
    assert values(events.read()) == [1.0]
    assert events.problem is not None
    assert f"damaged at byte {len(losses(1.0))}" in events.problem.what
    file.append(losses(2.0))
    assert values(events.read()) == [2.0]
    assert (state(events), events.bad_records) == (FINE, 1)


def test_data_that_arrive_after_their_length_are_read_then() -> None:
    whole = losses(1.0, 2.0, 3.0)
    first, last = len(losses(1.0)), len(losses(3.0, first_step=2))
    file = ScriptedFile(whole[: first + HEADER_BYTES] + bytes(len(whole) - first - HEADER_BYTES - last) + whole[-last:])
    events = follow(file)
    assert (values(events.read()), events.bad_records) == ([1.0, 3.0], 1)
    file.rewrite(whole)
    update = events.read()
    assert (update.reset, values(update), events.bad_records) == (True, [1.0, 2.0, 3.0], 0)


def test_a_long_record_without_its_end_is_told_while_it_is_waited_for() -> None:
    torn = record(bytes(100_000))[:50_000]
    file = ScriptedFile(losses(1.0) + torn + losses(2.0))
    events = follow(file)
    assert values(events.read()) == [1.0]
    assert events.problem is not None
    assert "wait for the end of a record of 100,016 bytes" in events.problem.what
    file.append(losses(*range(2000)))
    assert values(events.read())[-1] == 1999.0
    assert (state(events), events.bad_records > 0) == (FINE, True)


def test_records_within_records_are_not_searched_for_ever() -> None:
    size = 24_000
    nested = b"".join(length_header(size - at - 64) for at in range(0, size - 64, HEADER_BYTES))
    file = ScriptedFile(losses(1.0) + nested + losses(*range(300)))
    events = follow(file)
    assert values(events.read())[0] == 1.0
    assert 1 <= events.bad_records <= 250
    assert len(file.reads) < 250


@pytest.mark.parametrize("budget", [64, 200, 1 << 20])
def test_lost_bytes_cost_the_records_that_they_belonged_to(budget: int) -> None:
    parts = [losses(float(n), first_step=n) for n in range(40)]
    place = sum(map(len, parts[:20])) + 20
    data = b"".join(parts)
    for count in (1, 30, 55, 300):
        events = follow(ScriptedFile(data[:place] + data[place + count :]))
        hit = -(-(20 + count) // len(parts[0]))
        expected = [float(n) for n in range(40) if not 20 <= n < 20 + hit]
        assert values(*drain(events, budget)) == expected, count
        assert events.bad_records >= 1


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7), st.integers(0, len(WHOLE)))
def test_one_flipped_bit_gives_no_wrong_value(place: int, bit: int, cut: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= 1 << bit
    file = ScriptedFile(bytes(damaged[:cut]))
    events = follow(file)
    first = events.read()
    file.rewrite(bytes(damaged))
    found = values(first, events.read())
    missing = [number for number in CONTENT if number not in found]
    assert [number for number in CONTENT if number in found] == found
    assert events.bad_records == 1
    assert len(missing) <= 1
