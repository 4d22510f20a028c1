"""Following a file that grows, is torn, replaced, rewritten, or vanishes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.events import tail
from raftmon.events.framing import HEADER_BYTES
from raftmon.events.tail import EventFile
from tests.scripted import (
    FINE,
    ScriptedFile,
    drain,
    event,
    follow,
    header_record,
    losses,
    permission_denied,
    record,
    simple,
    state,
    text,
    values,
)


def test_a_growing_file() -> None:
    file = ScriptedFile(header_record() + losses(3.0, 2.0))
    events = follow(file)
    first = events.read()
    assert values(first) == [3.0, 2.0]
    assert (first.bytes_read, first.reset, first.more) == (len(file.data), False, False)
    file.append(losses(1.0, first_step=2))
    second = events.read()
    assert (values(second), second.scalars.step.tolist()) == ([1.0], [2])
    assert events.offset == events.size == len(file.data)
    assert state(events) == FINE


def test_texts_hparams_and_session_starts_are_handed_on() -> None:
    start = event(step=5, session_log={"status": 1})
    file = ScriptedFile(losses(1.0) + record(start) + record(event([text("args/text_summary", "{}")])))
    update = follow(file).read()
    assert [found.text for found in update.texts] == ["{}"]
    assert [(found.before, found.step) for found in update.session_starts] == [(1, 5)]
    assert update.hparams == {}


def test_nothing_new_costs_no_open() -> None:
    file = ScriptedFile(losses(1.0))
    events = follow(file)
    events.read()
    for _ in range(3):
        update = events.read()
        assert (values(update), update.bytes_read, update.reset) == ([], 0, False)
    assert file.opened == 1


def test_no_descriptor_is_kept() -> None:
    file = ScriptedFile(losses(1.0))
    follow(file).read()
    assert [handle.closed for handle in file.handles] == [True]


def test_a_file_that_begins_empty() -> None:
    file = ScriptedFile()
    events = follow(file)
    assert values(events.read()) == []
    assert file.opened == 0
    file.append(losses(1.0))
    assert values(events.read()) == [1.0]


def test_a_torn_record_is_waited_for() -> None:
    whole = losses(1.0, 2.0)
    torn = len(losses(1.0)) + HEADER_BYTES
    file = ScriptedFile(whole[:torn])
    events = follow(file)
    assert values(events.read()) == [1.0]
    assert state(events) == FINE
    for size in range(torn + 1, len(whole)):
        file.rewrite(whole[:size])
        assert values(events.read()) == []
    file.rewrite(whole)
    assert values(events.read()) == [2.0]


def test_another_content_that_ends_within_the_record_that_was_waited_for_is_seen() -> None:
    whole = losses(1.0, 2.0)
    file = ScriptedFile(whole[:-10])
    events = follow(file)
    assert values(events.read()) == [1.0]
    file.rewrite(losses(3.0, 4.0)[:-5])
    update = events.read()
    assert (update.reset, values(update)) == (True, [3.0])


def test_short_reads_are_continued() -> None:
    file = ScriptedFile(losses(1.0, 2.0, 3.0), longest_read=7)
    assert values(follow(file).read()) == [1.0, 2.0, 3.0]


def test_the_budget_ends_a_call_and_more_says_so() -> None:
    file = ScriptedFile(losses(*range(50)))
    events = follow(file)
    updates = drain(events, max_bytes=500)
    assert values(*updates) == list(range(50))
    assert len(updates) > 4
    assert all(update.bytes_read <= 500 + len(losses(1.0)) for update in updates)
    assert not updates[-1].more


def test_the_smallest_budget_still_gets_ahead() -> None:
    file = ScriptedFile(losses(1.0, 2.0, 3.0))
    assert values(*drain(follow(file), max_bytes=1)) == [1.0, 2.0, 3.0]
    assert values(*drain(follow(file), max_bytes=0)) == [1.0, 2.0, 3.0]


def test_chunks_are_bounded_and_records_longer_than_a_chunk_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK_BYTES", 200)
    image = record(event([simple("image", 0.0), text("x", "y" * 1000)]))
    file = ScriptedFile(losses(*range(20)) + image + losses(*range(20)))
    events = follow(file)
    found = values(*drain(events))
    assert found == [*range(20), 0.0, *range(20)]
    assert sorted(size for _, size in file.reads)[-1] == len(image)
    assert sorted(size for _, size in file.reads)[-2] <= 200


def test_a_long_incomplete_record_is_not_read_again_and_again() -> None:
    whole = losses(1.0) + record(bytes(100_000))
    file = ScriptedFile(whole[:60_000])
    events = follow(file)
    events.read()
    read = len(file.reads)
    file.rewrite(whole[:90_000])
    assert events.read().bytes_read == 0
    assert [size for _, size in file.reads[read:]] == [16]


def test_another_file_in_its_place_begins_again() -> None:
    file = ScriptedFile(losses(1.0, 2.0))
    events = follow(file)
    events.read()
    file.replace(losses(7.0, 8.0, 9.0))
    update = events.read()
    assert update.reset
    assert values(update) == [7.0, 8.0, 9.0]
    assert not events.read().reset


def test_a_file_that_shrank_begins_again() -> None:
    file = ScriptedFile(losses(1.0, 2.0, 3.0))
    events = follow(file)
    events.read()
    file.rewrite(losses(5.0))
    update = events.read()
    assert (update.reset, values(update)) == (True, [5.0])
    assert events.offset == len(file.data)


def test_a_file_that_lost_its_torn_end_begins_again() -> None:
    file = ScriptedFile(losses(1.0, 2.0) + losses(3.0)[:20])
    events = follow(file)
    events.read()
    file.rewrite(losses(1.0, 2.0))
    update = events.read()
    assert (update.reset, values(update)) == (True, [1.0, 2.0])


def test_a_file_emptied_begins_again() -> None:
    file = ScriptedFile(losses(1.0))
    events = follow(file)
    events.read()
    file.rewrite(b"")
    assert events.read().reset
    file.append(losses(2.0))
    update = events.read()
    assert (update.reset, values(update)) == (False, [2.0])


@pytest.mark.parametrize("rewritten", [(4.0, 5.0), (4.0, 5.0, 6.0, 7.0)])
def test_other_content_under_the_same_inode_begins_again(rewritten: tuple[float, ...]) -> None:
    file = ScriptedFile(losses(1.0, 2.0))
    events = follow(file)
    events.read()
    file.rewrite(losses(*rewritten))
    update = events.read()
    assert (update.reset, values(update)) == (True, list(rewritten))


def test_a_touched_file_is_known_again() -> None:
    file = ScriptedFile(losses(1.0, 2.0))
    events = follow(file)
    events.read()
    file.rewrite(file.data)
    update = events.read()
    assert (update.reset, values(update)) == (False, [])


def test_a_file_that_vanishes_and_comes_back() -> None:
    file = ScriptedFile(losses(1.0))
    events = follow(file)
    events.read()
    file.exists = False
    update = events.read()
    assert (update.reset, values(update), update.more) == (False, [], False)
    assert state(events) == (False, True, False)
    file.exists = True
    assert not events.read().reset
    assert state(events) == FINE
    file.exists = False
    events.read()
    file.exists = True
    file.replace(losses(4.0))
    update = events.read()
    assert (update.reset, values(update), events.gone) == (True, [4.0], False)


def test_a_file_that_vanishes_between_look_and_open() -> None:
    file = ScriptedFile(losses(1.0), open_error=FileNotFoundError(errno.ENOENT, "gone"))
    events = follow(file)
    assert values(events.read()) == []
    assert state(events) == (False, True, False)
    file.open_error = None
    assert values(events.read()) == [1.0]
    assert state(events) == FINE


def test_real_files(tmp_path: Path) -> None:
    path = tmp_path / "run [1]" / "events.out.tfevents.1.host"
    events = EventFile(path)
    assert values(events.read()) == []
    assert events.gone
    path.parent.mkdir()
    path.write_bytes(header_record() + losses(1.0))
    assert values(events.read()) == [1.0]
    with path.open("ab") as writer:
        writer.write(losses(2.0))
    assert values(events.read()) == [2.0]
    other = tmp_path / "other"
    other.write_bytes(losses(5.0, 6.0, 7.0))
    other.replace(path)
    update = events.read()
    assert (update.reset, values(update)) == (True, [5.0, 6.0, 7.0])
    path.unlink()
    path.mkdir()
    events.read()
    assert events.problem is not None
    assert "directory" in events.problem.what


CONTENT = [float(number) for number in range(12)]
WHOLE = header_record() + losses(*CONTENT)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8), st.integers(1, 400), st.integers(1, 200))
def test_any_growth_budget_and_read_size_give_the_same_points(cuts: list[int], budget: int, longest: int) -> None:
    file = ScriptedFile(longest_read=longest)
    events = follow(file)
    updates = []
    for cut in [*sorted(cuts), len(WHOLE)]:
        file.rewrite(WHOLE[:cut])
        updates += drain(events, budget)
    assert values(*updates) == CONTENT
    assert not any(update.reset for update in updates)
    assert (events.bad_records, events.offset) == (0, len(WHOLE))
    assert state(events) == FINE


@given(st.lists(st.sampled_from(["append", "tear", "replace", "shrink", "vanish", "deny"]), max_size=25))
def test_after_any_history_the_points_are_those_of_the_file(history: list[str]) -> None:
    file = ScriptedFile()
    events = follow(file)
    kept: list[float] = []
    written = 0

    def look() -> None:
        for update in drain(events, 150):
            if update.reset:
                kept.clear()
            kept.extend(values(update))

    content: list[float] = []
    for action in history:
        if action in ("append", "tear"):
            content.append(float(written))
            file.rewrite(losses(*content)[: -9 if action == "tear" else None])
            written += 1
        elif action == "replace":
            content = [float(written)]
            file.replace(losses(*content))
            written += 1
        elif action == "shrink":
            content = content[:1]
            file.rewrite(losses(*content))
        elif action == "vanish":
            file.exists = not file.exists
        elif action == "deny":
            file.open_error = None if file.open_error else permission_denied()
        look()
    file.exists, file.open_error = True, None
    file.rewrite(losses(*content))
    look()
    assert kept == content
    assert state(events) == FINE
