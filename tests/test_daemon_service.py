"""The daemon's loop, without a process."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from raftmon.daemon.logs import Log, LogFormat
from raftmon.daemon.service import (
    CLOSE_SECONDS,
    LOOK_SECONDS,
    PROGRESS_SECONDS,
    STUCK_SECONDS,
    Ended,
    Service,
    Source,
    signals,
)
from raftmon.daemon.sink import Sink
from raftmon.errors import UsageError
from raftmon.happenings import Happening, Ledger
from raftmon.model import Problem, Snapshot
from tests.test_happenings import NOW, run_with, snapshot_of


class FakeSource:
    """Gives snapshots one after the other, the last one for ever."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self.snapshots = list(snapshots)
        self.closes = 0
        self.passed = 0.0

    def poll(self) -> Snapshot:
        return self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]

    def wait(self, timeout: float) -> bool:
        return True

    def close(self) -> None:
        self.closes += 1


class FakeSink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.news: list[Happening] = []
        self.snapshots: list[Snapshot] = []
        self.trouble: list[Problem] = []
        self.closed: float | None = None
        self.ended = threading.Event()

    def take(self, snapshot: Snapshot, news: Sequence[Happening]) -> None:
        self.snapshots.append(snapshot)
        self.news += news

    def problems(self) -> Sequence[Problem]:
        return self.trouble

    def close(self, seconds: float) -> None:
        self.closed = seconds
        self.ended.set()


def service_of(source: FakeSource, *sinks: FakeSink, log: Log | None = None, **more: Any) -> Service:
    fields = {"clock": lambda: NOW, "timer": lambda: source.passed, **more}
    return Service(source, sinks, Ledger(), log or Log(None), **fields)


def numbered(snapshot: Snapshot, version: int, **fields: Any) -> Snapshot:
    return dataclasses.replace(snapshot, version=version, **fields)


def test_nothing_is_said_of_files_that_are_half_read() -> None:
    runs = run_with("firing"), run_with("firing", run="b", path="/logs/b")
    half = numbered(snapshot_of(*runs), 1, backfilling=True, unread=frozenset({"/logs/a"}))
    whole = numbered(snapshot_of(run_with("resolved"), runs[1]), 2)
    sink = FakeSink()
    service = service_of(FakeSource(half, whole), sink)

    service.round()
    assert [(h.name, h.state) for h in sink.news if h.kind == "finding"] == [("b", "firing")]
    assert not service.health().ready
    service.round()
    assert [(h.name, h.state) for h in sink.news if h.kind == "finding"][1:] == [("a", "resolved")]
    assert service.health().ready


def test_what_comes_later_is_said_while_more_is_read() -> None:
    first = numbered(snapshot_of(run_with()), 1)
    burst = numbered(snapshot_of(run_with("firing")), 2, backfilling=True)
    sink = FakeSink()
    service = service_of(FakeSource(first, burst), sink)
    service.round()
    service.round()
    assert [h.state for h in sink.news if h.kind == "finding"] == ["firing"]


def test_a_snapshot_that_has_not_changed_is_handed_on_only_now_and_then() -> None:
    sink, source = FakeSink(), FakeSource(snapshot_of(run_with()))
    service = service_of(source, sink)
    for _ in range(10):
        service.round()
    assert len(sink.snapshots) == 1
    source.passed += LOOK_SECONDS
    service.round()
    assert len(sink.snapshots) == 2


def test_trouble_of_a_sink_is_a_problem_of_the_snapshot_and_is_said_once() -> None:
    sink = FakeSink()
    service = service_of(FakeSource(snapshot_of(run_with())), sink)
    service.round()
    sink.trouble = [Problem("/journal", "No space left on device", "Make room.")]
    service.round()
    service.round()
    assert sink.snapshots[-1].problems == (sink.trouble[0],)
    sink.trouble = []
    service.round()
    assert [(h.path, h.state) for h in sink.news if h.kind == "problem"] == [
        ("/journal", "begun"),
        ("/journal", "over"),
    ]


def test_settings_with_defects_leave_the_old_ones_in_force_and_are_told() -> None:
    sink, source = FakeSink(), FakeSource(snapshot_of(run_with()))

    def defective() -> tuple[Source, Sequence[Sink]]:
        raise UsageError("raftmon.yaml:3:1", "`strategi` is not a key", "Did you mean `strategy`?")

    service = service_of(source, sink, reopen=defective)
    service.round()
    service.reload()
    service.round()
    assert source.closes == 0
    (problem,) = sink.snapshots[-1].problems
    assert (problem.where, "not read anew" in problem.what) == ("raftmon.yaml:3:1", True)


def test_settings_that_were_read_anew_say_nothing_twice_and_let_go_what_they_no_longer_ask_for() -> None:
    sink, left, source = FakeSink(), FakeSink(), FakeSource(snapshot_of(run_with("firing")))
    half = numbered(snapshot_of(), 1, backfilling=True)
    new = FakeSource(half, numbered(snapshot_of(run_with("firing")), 2))
    service = service_of(source, sink, left, reopen=lambda: (new, [sink]))
    service.round()
    service.reload()
    service.round()
    # Half of it is read: the old one is followed meanwhile, and seen by whoever asks.
    assert source.closes == 0
    assert left.ended.wait(10.0)
    assert sink.closed is None
    assert service.health().ready
    assert all(snapshot.runs for snapshot in sink.snapshots)
    service.round()
    service.round()
    assert source.closes == 1
    assert [(h.kind, h.state) for h in sink.news if h.kind in ("finding", "daemon")] == [
        ("finding", "firing"),
        ("daemon", "done"),
    ]


def test_how_far_the_first_reading_is_is_told() -> None:
    half = numbered(snapshot_of(run_with()), 1, backfilling=True, progress=0.25)
    stream = io.StringIO()
    log = Log(stream, "text", lambda: NOW)
    source = FakeSource(half)
    service = service_of(source, log=log)
    source.passed += PROGRESS_SECONDS
    service.round()
    assert "25%" in service.health().why
    log.close(5.0)
    assert "1 runs so far, 25% of the known bytes read" in stream.getvalue()


def test_a_loop_that_hangs_is_not_alive() -> None:
    source = FakeSource(snapshot_of())
    service = service_of(source)
    service.round()
    assert service.health().live
    source.passed += STUCK_SECONDS + 1.0
    health = service.health()
    assert (health.live, "61 s" in health.why) == (False, True)


def test_the_end_shares_its_time_among_the_sinks_and_the_last_gets_what_is_left() -> None:
    first, last, source = FakeSink(), FakeSink(), FakeSource(snapshot_of())
    service_of(source, first, last).close()
    assert (first.closed, last.closed) == (CLOSE_SECONDS / 2, CLOSE_SECONDS)
    assert source.closes == 1


def test_signals_end_and_reload_and_are_put_back() -> None:
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
    reloads: list[bool] = []
    service = service_of(FakeSource(snapshot_of()))
    with signals(service.end, lambda: reloads.append(True)):
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # the end itself is not interrupted
    assert reloads == [True]
    assert (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_comes_while_something_is_handed_on_waits_for_that() -> None:
    sink, source = FakeSink(), FakeSource(snapshot_of(run_with()))
    service = service_of(source, sink)

    class Interrupted(FakeSink):
        def take(self, snapshot: Snapshot, news: Sequence[Happening]) -> None:
            signal.raise_signal(signal.SIGTERM)
            super().take(snapshot, news)

    interrupted = Interrupted()
    service = service_of(source, interrupted, sink)
    with signals(service.end, service.reload), pytest.raises(Ended):
        service.round()
    assert (len(interrupted.snapshots), len(sink.snapshots)) == (1, 1)


def test_an_end_whose_exception_was_lost_comes_with_the_next_round() -> None:
    service = service_of(FakeSource(snapshot_of(run_with())))
    with pytest.raises(Ended):
        service.end()
    with pytest.raises(Ended):
        service.round()


def test_the_log_has_a_line_for_what_is_news_and_none_for_what_is_late() -> None:
    old = run_with("firing", run="old", path="/logs/old", state="idle", last_wall_time=NOW - 1e6)
    stream = io.StringIO()
    log = Log(stream, "json", lambda: NOW)
    service_of(FakeSource(snapshot_of(run_with("firing"), old)), log=log).round()
    log.close(5.0)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["ready", "run", "finding"]
    finding = lines[-1]
    assert (finding["level"], finding["run"], finding["subject"]) == ("warning", "a", "loss-diverges")
    assert finding["time"] == "2023-11-14T22:13:20Z"


def test_a_log_that_nobody_reads_stops_nobody_and_says_what_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmon.daemon.logs.ROOM", 3)
    blocked, reads = threading.Event(), threading.Event()

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            blocked.set()
            assert reads.wait(10.0)
            return super().write(text)

    pipe = Pipe()
    log = Log(pipe, "text", lambda: NOW)
    log.info("one", "the first")
    assert blocked.wait(10.0)
    for number in range(10):
        log.info("more", f"line {number}")
    reads.set()
    log.close(5.0)
    assert [line.split(maxsplit=2)[2] for line in pipe.getvalue().splitlines()] == [
        "the first",
        "line 0",
        "line 1",
        "line 2",
        "7 lines of this log found no room",
    ]


def test_control_characters_of_other_people_s_names_are_not_written() -> None:
    forms: tuple[LogFormat, ...] = ("text", "json")
    for form in forms:
        stream = io.StringIO()
        log = Log(stream, form, lambda: NOW)
        log.info("run", "a\x1b[2J\nb", run="c\x1b\udcff")
        log.close(5.0)
        assert stream.getvalue().count("\n") == 1
        assert stream.getvalue().rstrip("\n").isprintable()
