"""Whether a run stands still: the decision, the rhythm that it rests on, and who writes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.rulebook import load_rules
from raftmon.events.columns import ScalarBatch, join
from raftmon.events.tail import EventFile
from raftmon.monitor import Monitor
from raftmon.runs.logdir import is_event_file_name
from raftmon.runs.rhythm import FORGET_LEAST, KEPT, Rhythm
from raftmon.runs.standstill import Pulse, duration, span, standstill
from raftmon.runs.writers import LocalProcesses, ProcessState, Writer, WriterWatch, newest_writer, writer_of
from raftmon.surroundings import Surroundings

FILE = Path("events.out.tfevents.1700000000.gpu-3.812.0")


def pulse(**changes: object) -> Pulse:
    """A run that was seen to write every 20 s, and has not for an hour; any field can be changed."""
    fields: dict[str, object] = {
        "silent": 3600.0,
        "watched": True,
        "usual": 20.0,
        "pause": 25.0,
        "over": False,
        "pid": 812,
        "step": 300,
        **changes,
    }
    return Pulse(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "stalled"),
        ({"silent": 590.0}, None),  # 30 intervals are 600 s
        ({"silent": 610.0}, "stalled"),
        ({"usual": 1.0, "pause": 1.0, "silent": 290.0}, None),  # nothing below five minutes
        ({"usual": 1.0, "pause": 1.0, "silent": 310.0}, "stalled"),
        ({"pause": 400.0, "silent": 1100.0}, None),  # it evaluates for 400 s now and then
        ({"pause": 400.0, "silent": 1210.0}, "stalled"),
        ({"pause": 30_000.0, "silent": 31_000.0}, None),
        ({"pause": 30_000.0, "silent": 32_000.0}, "stalled"),  # and not three nights later
        ({"silent": 600_000.0}, "stalled"),
        ({"silent": 610_000.0}, None),  # nobody waits for it after a week
        ({"silent": 610_000.0, "process": "running"}, "stalled"),
        ({"silent": 610_000.0, "process": "stopped"}, "stalled"),
        ({"usual": None}, None),
        ({"over": True}, None),
        ({"over": True, "process": "running"}, None),
        ({"watched": False}, None),
        ({"watched": False, "process": "running"}, "stalled"),
        ({"watched": False, "process": "running", "silent": 3700.0}, None),
        ({"watched": False, "process": "shared"}, None),
        ({"process": "running"}, "stalled"),
        ({"process": "shared"}, None),  # the kernel of a notebook lives on
        ({"process": "stopped", "silent": 5.0}, None),
        ({"process": "stopped", "silent": 45.0}, "stalled"),
        ({"process": "stopped", "silent": 90_000.0, "watched": False, "usual": None}, "stalled"),
        ({"process": "stopped", "over": True}, None),
        ({"process": "gone", "silent": 3.0}, "ended"),
        ({"process": "gone", "silent": 3.0, "planned": 1000}, "cut_off"),
        ({"process": "gone", "planned": 300, "over": True}, "ended"),
        ({"gpu_idle": 520.0, "silent": 520.0}, "stalled"),
        ({"gpu_idle": 400.0, "silent": 520.0}, None),
        ({"gpu_idle": 520.0, "silent": 400.0}, None),
        ({"gpu_idle": 200.0, "silent": 200.0, "usual": 1.0, "pause": 1.0}, "stalled"),
        ({"gpu_idle": 200.0, "silent": 200.0, "usual": 1.0, "pause": 150.0}, None),  # it evaluates on the CPU
        ({"gpu_idle": 9e9, "silent": 2.0}, None),  # it writes: it does not need the GPU
        ({"gpu_idle": 9e9, "watched": False}, None),
    ],
)
def test_the_decision(changes: dict[str, object], kind: str | None) -> None:
    found = standstill(pulse(**changes))
    assert (found.kind if found is not None else None) == kind


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "nothing written for over 1 h, usually every 20 s"),
        (
            {"usual": 0.1, "process": "running"},
            "nothing written for over 1 h, usually several times a second with pauses of up to 25 s; "
            "its process (pid 812) is still there",
        ),
        (
            {"pause": 240.0, "gpu_idle": 1000.0},
            "nothing written for over 1 h, usually every 20 s with pauses of up to 4 min; "
            "no GPU has worked for over 15 min",
        ),
        (
            {"process": "stopped", "silent": 45.0, "usual": None},
            "its process (pid 812) is stopped; nothing written for over 30 s",
        ),
        (
            {"process": "gone", "planned": 1000},
            "its process (pid 812) is gone, at step 300 of 1000, without a word of an end",
        ),
        ({"process": "gone"}, "its process (pid 812) has ended; whether it was done is not known"),
        ({"process": "gone", "over": True}, "its process (pid 812) has ended"),
    ],
)
def test_the_evidence_in_words(changes: dict[str, object], text: str) -> None:
    found = standstill(pulse(**changes))
    assert found is not None
    assert found.text == text


@given(st.floats(10.0, 1e8))
def test_a_growing_span_is_never_more_than_it_is_and_changes_seldom(seconds: float) -> None:
    number, unit = span(seconds).split()
    assert float(number) * {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}[unit] <= seconds
    assert len({span(at) for at in np.linspace(10.0, max(seconds, 11.0), 500)}) <= 20 + seconds / 86400.0


def test_durations() -> None:
    said = [duration(seconds) for seconds in (0.31, 2.0, 19.6, 60.0, 90.0, 840.0, 3600.0, 5400.0, 200_000.0)]
    assert said == ["0.31 s", "2 s", "20 s", "1 min", "1.5 min", "14 min", "1 h", "1.5 h", "2.3 d"]
    spans = [span(seconds) for seconds in (0.0, 11.0, 599.0, 600.0, 50_000.0, 90_000.0)]
    assert spans == ["10 s", "10 s", "5 min", "10 min", "12 h", "1 d"]


def note(rhythm: Rhythm, times: list[float], first: int = 0, path: Path = FILE) -> None:
    rhythm.note(path, np.arange(first, first + len(times)), np.array(times))


def test_the_usual_gap_is_that_of_most_steps_and_the_pause_the_longest() -> None:
    rhythm = Rhythm()
    assert rhythm.pause == 0.0
    note(rhythm, [0.0, 2.0, 4.0])
    assert rhythm.usual is None
    note(rhythm, [6.0, 46.0, 48.0], first=3)
    assert [rhythm.usual, rhythm.pause, rhythm.stride] == [2.0, 40.0, 1]


def test_a_pause_that_never_comes_again_is_forgotten_and_one_that_does_is_kept() -> None:
    slept, evaluates = Rhythm(), Rhythm()
    for rhythm, pauses in ((slept, {200: 3000.0, 900: 20.0}), (evaluates, {200: 300.0, 400: 290.0, 600: 310.0})):
        note(rhythm, list(np.cumsum([pauses.get(step, 1.0) for step in range(1000)])))
    assert slept.pause == 20.0
    assert evaluates.pause == 310.0


def test_a_first_pause_counts_for_a_while() -> None:
    rhythm = Rhythm()
    times = np.cumsum([300.0 if step == 50 else 1.0 for step in range(50 + FORGET_LEAST)])
    note(rhythm, list(times))
    assert rhythm.pause == 300.0


def test_a_restart_is_no_pause_and_neither_is_what_comes_again() -> None:
    rhythm = Rhythm()
    note(rhythm, [0.0, 1.0, 2.0, 3.0])
    note(rhythm, [90_000.0, 90_001.0], first=2, path=Path("events.out.tfevents.1700090000.gpu-3.99.0"))
    rhythm.rewind(2)
    note(rhythm, [91_000.0, 91_001.0], first=2)
    assert (rhythm.usual, rhythm.pause) == (1.0, 1.0)


def test_moments_of_growth_count_as_well_as_wall_times() -> None:
    rhythm = Rhythm()
    note(rhythm, [0.0, 1.0, 2.0, 3.0])
    rhythm.note_arrival(120.0)
    assert (rhythm.usual, rhythm.pause) == (1.0, 120.0)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(-5, 60), st.floats(allow_nan=True, width=32)), min_size=1, max_size=40),
        max_size=8,
    )
)
def test_a_rhythm_is_bounded_and_never_negative(batches: list[list[tuple[int, float]]]) -> None:
    rhythm = Rhythm()
    for batch in batches:
        rhythm.note(FILE, np.array([step for step, _ in batch]), np.array([at for _, at in batch], np.float64))
        assert rhythm.pause >= 0.0
        assert rhythm.usual is None or rhythm.usual > 0.0
        assert len(rhythm._gaps) <= KEPT


@pytest.mark.parametrize(
    ("name", "host", "pid"),
    [
        ("events.out.tfevents.1774437444.ip-26-0-168-34.3758117.0", "ip-26-0-168-34", 3758117),
        ("events.out.tfevents.1733510992.JohannesLaptop.12180.1", "JohannesLaptop", 12180),
        ("events.out.tfevents.1645840317.gogo.local.93161.0", "gogo.local", 93161),
        ("events.out.tfevents.1600000000.node.7.1234.567.v2", "node.7", 1234),
        ("events.out.tfevents.1476472047.localhost", None, None),
        ("events.out.tfevents.1", None, None),
        ("end_to_end.tfevents", None, None),
        ("events.out.tfevents.1476472047.host.0.0", None, None),
    ],
)
def test_who_wrote_a_file(name: str, host: str | None, pid: int | None) -> None:
    writer = writer_of(name)
    assert (writer.host if writer else None, writer.pid if writer else None) == (host, pid)


def test_the_newest_file_tells_the_present_writer() -> None:
    names = [f"events.out.tfevents.17000{n}0000.a.{n}.0" for n in (1, 3, 2)]
    assert newest_writer([*names, "other.tfevents"]) == Writer("a", 3, 1_700_030_000.0)
    assert newest_writer([]) is None


class FakeProcesses:
    """Processes of the host `here`, by hand."""

    host = "here"

    def __init__(self) -> None:
        self.now: ProcessState | None = "running"
        self.looks = 0

    def state(self, writer: Writer) -> ProcessState | None:
        self.looks += 1
        return self.now


def test_that_a_process_is_gone_is_told_only_if_it_was_seen() -> None:
    processes = FakeProcesses()
    processes.now = "gone"
    watch = WriterWatch(processes)
    watch.follow(Writer("here", 812, 1.0))
    assert watch.state(0.0) is None  # of another container, for example

    processes.now = "running"
    assert watch.state(10.0) == "running"
    processes.now = "gone"
    assert watch.state(20.0) == "gone"


def test_a_process_of_another_host_is_not_looked_at_and_ours_seldom() -> None:
    processes = FakeProcesses()
    watch = WriterWatch(processes)
    watch.follow(Writer("there", 812, 1.0))
    assert watch.state(0.0) is None
    assert processes.looks == 0

    watch.follow(Writer("here", 812, 1.0))
    for tick in range(20):
        assert watch.state(tick * 0.1) == "running"
    assert processes.looks == 1


def test_a_new_writer_has_not_been_seen() -> None:
    processes = FakeProcesses()
    watch = WriterWatch(processes)
    watch.follow(Writer("here", 812, 1.0))
    assert watch.state(0.0) == "running"
    processes.now = "gone"
    watch.follow(Writer("here", 999, 2.0))
    assert watch.state(0.1) is None


def test_this_process_runs_and_one_that_began_later_is_another() -> None:
    processes = LocalProcesses()
    assert processes.host == socket.gethostname()
    assert processes.state(Writer(processes.host, os.getpid(), time.time())) == "running"
    assert processes.state(Writer(processes.host, os.getpid(), 1_000_000_000.0)) == "gone"
    nobody = max(psutil.pids()) + 100_000
    assert processes.state(Writer(processes.host, nobody, time.time())) == "gone"


def silences(file: Path) -> Iterator[Pulse]:
    """Yield what was known of a real run at the end of each of its silences of over 100 s, had it been watched."""
    reader, more = EventFile(file), True
    batches: list[ScalarBatch] = []
    while more:
        update = reader.read()
        more = update.more
        batches += update.batches
    if not batches:
        return
    points, rhythm = join(batches), Rhythm()
    every = np.sort(points.wall_time[np.isfinite(points.wall_time)])
    _, steps, times, _ = max(points.by_tag(), key=lambda column: len(column[1]))
    for at, now in enumerate(times.tolist()):
        place = int(np.searchsorted(every, now))
        silent = now - float(every[place - 1]) if place else 0.0
        if silent > 100.0:
            yield Pulse(silent, True, rhythm.usual, rhythm.pause, over=False)
        rhythm.note(file, steps[at : at + 1], times[at : at + 1])


def test_no_silence_in_which_a_real_run_was_at_work_is_called_a_stall(corpus: Path) -> None:
    files = [path for path in corpus.rglob("*") if path.is_file() and is_event_file_name(path.name)]
    pulses = [pulse for file in files for pulse in silences(file)]
    (measured,) = (rule.measured for rule in load_rules(tested=False) if rule.id == "job-stalled")
    assert (len(pulses), 0) == (measured.runs, measured.fired)
    assert [pulse for pulse in pulses if standstill(pulse) is not None] == []
    # As if none of them had needed its GPU all the while.
    assert len([p for p in pulses if standstill(replace(p, gpu_idle=p.silent)) is not None]) <= 1


def test_none_of_other_peoples_runs_stands_still(corpus: Path) -> None:
    monitor = Monitor([corpus], around=Surroundings(LocalProcesses()))
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    assert len(snapshot.runs) > 80
    assert [run.run for run in snapshot.runs if run.standstill is not None] == []


@given(st.integers(1, 90), st.lists(st.floats(0.01, 1e4), min_size=70, max_size=300))
def test_many_points_at_once_say_the_same_as_a_few_at_a_time(size: int, gaps: list[float]) -> None:
    times = list(np.cumsum(gaps))
    at_once, in_pieces = Rhythm(), Rhythm()
    note(at_once, times)
    for begin in range(0, len(times), size):
        note(in_pieces, times[begin : begin + size], first=begin)
    assert at_once.usual == in_pieces.usual
    assert at_once.pause == in_pieces.pause
    assert at_once.stride == in_pieces.stride == 1
