"""The benchmark of the reader measures what it says: its files, its readers and its verdicts, on tiny sets."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from tests.benchmarks import ingest, ingest_peers, ingest_wake
from tests.benchmarks.event_records import Rows, encode, opening, scalar_event
from tests.benchmarks.event_sets import EVAL_TAGS, SETS, TRAIN_TAGS, EventSet, Part, prepare
from tests.benchmarks.ingest_imports import measure_imports
from tests.benchmarks.ingest_load import Checksums, Load, checksums, event_files, read_points
from tests.benchmarks.ingest_table import COMPARED, SINGLE, Figure, SetResult, Target, document, markdown, text

TINY: Final = dict.fromkeys(SETS, 1600) | {"c": 2000, "d": 880}
"""Scalars: two runs of c; histograms and images at three places of d, an evaluation in e; steps of two bytes."""

Point = tuple[str, str, int, float, float]
"""Run, tag, step, wall time, value."""


def events_of(part: Part) -> Iterator[bytes]:
    """The events of a part, one by one from the protobuf classes."""
    if isinstance(part, bytes):
        yield part
        return
    columns = (part.kind.tolist(), part.step.tolist(), part.wall_time.tolist(), part.values.tolist())
    for kind, step, wall_time, values in zip(*columns, strict=True):
        yield scalar_event(part.kinds[kind], step, wall_time, values, part.encoding)


def points_of(run: str, part: Part) -> Iterator[Point]:
    if isinstance(part, Rows):
        columns = (part.kind.tolist(), part.step.tolist(), part.wall_time.tolist(), part.values.astype("f4").tolist())
        for kind, step, wall_time, values in zip(*columns, strict=True):
            for tag, value in zip(part.kinds[kind], values, strict=True):
                yield run, tag, step, wall_time, value


def loaded(path: Path) -> Iterator[Point]:
    """The scalars that tensorboard's loader finds."""
    scalars = set()
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                scalars.add(value.tag)
            if value.tag in scalars:
                number = tensor_util.make_ndarray(value.tensor).item()
                yield path.parent.name, value.tag, event.step, event.wall_time, number


def summed(points: Sequence[Point]) -> Checksums:
    """The checksums in plain integers."""

    def bits(number: float) -> int:
        return int(np.float64(number).view(np.uint64))

    return Checksums(
        len(points),
        sum(bits(value) for *_, value in points) % 2**64,
        sum(step for _, _, step, _, _ in points) % 2**64,
        sum(bits(wall_time) for *_, wall_time, _ in points) % 2**64,
        sum(bits(value) * (2 * step + 1) for _, _, step, _, value in points) % 2**64,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "inlined"])
def reference(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    program = ingest_peers.build_reference(tmp_path_factory.mktemp("reference"), inlined=request.param)
    if program is None:
        pytest.skip("no gcc: the reader in C cannot be compiled")
    return program


each_set = pytest.mark.parametrize("made", SETS.values(), ids=SETS)


@each_set
def test_a_set_is_what_tensorboard_would_write_and_reads(made: EventSet, data: Path) -> None:
    logdir = prepare(made, data, TINY[made.name])
    content = [(run, list(parts)) for run, parts in made.content(TINY[made.name])]

    assert [path.parent.name for path in event_files(logdir)] == [run for run, _ in content]
    for path, (run, parts) in zip(event_files(logdir), content, strict=True):
        buffer = io.BytesIO()
        writer = RecordWriter(buffer)
        for event in [opening(), *(event for part in parts for event in events_of(part))]:
            writer.write(event)
        assert path.read_bytes() == buffer.getvalue()
        assert list(loaded(path)) == [point for part in parts for point in points_of(run, part)]


def sums_of(made: EventSet) -> Checksums:
    content = made.content(TINY[made.name])
    return summed([point for run, parts in content for part in parts for point in points_of(run, part)])


@each_set
def test_raftmon_finds_every_scalar(made: EventSet, data: Path) -> None:
    found = checksums(read_points(event_files(prepare(made, data, TINY[made.name]))))

    assert found == sums_of(made)
    assert found.scalars >= TINY[made.name]


@each_set
def test_the_reader_in_c_finds_every_scalar(made: EventSet, data: Path, reference: Path) -> None:
    assert ingest_peers.load_reference(reference, prepare(made, data, TINY[made.name])).checksums == sums_of(made)


def test_evaluations_stand_between_training_rows_as_a_trainer_logs_them() -> None:
    ((_, parts),) = SETS["e"].content(1000)
    found = [(tag, step, wall_time) for part in parts for _, tag, step, wall_time, _ in points_of("run", part)]

    expected = list[tuple[str, int, float]]()
    step = 0
    while len(expected) < 1000:
        step += 10
        tags = [*enumerate(TRAIN_TAGS), *(enumerate(EVAL_TAGS) if step % 500 == 0 else [])]
        expected += [(tag, step, 1.7e9 + step * 0.1 + number * 1e-4) for number, tag in tags]
    assert found == expected


def test_long_steps_have_longer_records() -> None:
    steps = np.array([0, 1, 127, 128, 16_383, 16_384, 2**35, 2**56 - 1])
    rows = Rows([("a",)], np.zeros(8, np.int64), steps, np.full(8, 1.7e9), np.arange(8.0).reshape(8, 1))
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events_of(rows):
        writer.write(event)

    assert encode(rows) == buffer.getvalue()


def test_a_set_is_made_once_and_never_seen_half_made(tmp_path: Path) -> None:
    logdir = prepare(SETS["g"], tmp_path, 800)
    (path,) = event_files(logdir)
    path.write_bytes(b"kept")

    assert prepare(SETS["g"], tmp_path, 800) == logdir
    assert path.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [logdir]


def test_the_reader_in_c_refuses_damage(data: Path, reference: Path, tmp_path: Path) -> None:
    (path,) = event_files(prepare(SETS["a"], data, TINY["a"]))
    content = bytearray(path.read_bytes())
    for at in (len(content) // 2, 3):
        damaged = tmp_path / f"{at}.tfevents"
        damaged.write_bytes(bytes([*content[:at], content[at] ^ 4, *content[at + 1 :]]))
        done = subprocess.run([reference, damaged], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "damaged" in done.stderr


@pytest.mark.parametrize("reader", ["raftmon", "loader", "accumulator"])
@pytest.mark.parametrize("name", ["b", "g"])
def test_readers_in_python_are_measured_in_processes_of_their_own(reader: str, name: str, data: Path) -> None:
    load = ingest_peers.load_python(reader, prepare(SETS[name], data, TINY[name]))

    assert load.scalars == TINY[name]
    assert 0 < load.cpu < 60
    assert load.wall > 0
    assert 10e6 < load.peak < 1e9
    assert (load.checksums is not None) == (reader == "raftmon")


def test_the_rust_server_is_measured_until_it_has_loaded(data: Path) -> None:
    server = ingest_peers.rust_server()
    if server is None:
        pytest.skip("tensorboard-data-server is not installed, or has no program for this machine")
    load = ingest_peers.load_rust(server, (), 0.0, prepare(SETS["a"], data, TINY["a"]))

    assert 0 < load.cpu < 60
    assert load.wall > 0
    assert load.scalars is None


def test_a_server_that_ends_is_told(data: Path) -> None:
    ended = shutil.which("false")
    if ended is None:
        pytest.skip("no program `false` on this machine")
    with pytest.raises(RuntimeError, match="ended"):
        ingest_peers.load_rust(Path(ended), (), 0.0, data)


@pytest.mark.parametrize("measure", [ingest_wake.spent_reading, ingest_wake.spent_following])
def test_each_wake_up_brings_its_records(measure: ingest_wake.Measure, tmp_path: Path) -> None:
    spent = measure(tmp_path, 500, 7)

    assert len(spent) == 7
    assert all(0 < nanoseconds < 10**9 for nanoseconds in spent)


@pytest.mark.parametrize("mode", ["read", "follow"])
def test_wake_ups_are_measured_in_a_process_of_their_own(mode: str) -> None:
    microseconds, note = ingest.wake_ups(mode, 500, 7)

    assert 0 < microseconds < 1e6
    assert note.startswith("mean ")


def test_the_imports_of_the_daemon_are_measured_beside_what_they_cannot_do_without() -> None:
    found = measure_imports(1)

    assert all(0 < seconds < 60 for seconds in (found.numpy, found.floor, found.command))
    assert 0 < found.monitor <= found.whole < 60
    assert 10e6 < found.peak < 1e9
    assert found.note().startswith("numpy ")


@pytest.mark.parametrize(
    ("value", "verdict", "fails"),
    [
        (5.0, "met goal", False),
        (4.9, "met must", False),
        (3.5, "met must", False),
        (2.98, "missed", False),
        (2.97, "missed", True),
        (float("nan"), "missed", True),
    ],
)
def test_verdicts_on_what_should_be_large(value: float, verdict: str, fails: bool) -> None:
    target = Target(3.5, 5)
    assert (target.verdict(value), target.fails(value)) == (verdict, fails)


@pytest.mark.parametrize(
    ("value", "verdict", "fails"),
    [
        (20.0, "met goal", False),
        (21.0, "met must", False),
        (60.0, "met must", False),
        (68.9, "missed", False),
        (69.1, "missed", True),
        (float("nan"), "missed", True),
    ],
)
def test_verdicts_on_what_should_be_small(value: float, verdict: str, fails: bool) -> None:
    target = Target(60, 20, at_most=True)
    assert (target.verdict(value), target.fails(value)) == (verdict, fails)


def test_without_a_goal_the_must_is_the_best_verdict() -> None:
    assert Target(40, None, at_most=True).verdict(1.0) == "met must"


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was ten times as slow in the second round: a ratio of medians would be 3, one of means another.
    ours = [Load(100, cpu, 2 * cpu, 50) for cpu in (1e-6, 1e-5, 1e-6)]
    rust = [Load(None, cpu, cpu, 0) for cpu in (3e-6, 5e-5, 9e-6)]
    loader = [Load(10, cpu, cpu, 0) for cpu in (1e-6, 1e-5, 1e-6)]

    result = ingest.summary("a", {"raftmon": ours, "rust": rust, "loader": loader})

    assert result.ratios == pytest.approx({"rust": 5.0, "loader": 10.0})
    assert result.wall_ratios == pytest.approx({"rust": 2.5, "loader": 5.0})
    assert result.ns == pytest.approx({"raftmon": 10.0, "rust": 90.0, "loader": 100.0})
    assert result.spreads["rust"] == pytest.approx((3.0, 9.0))
    assert result.peaks == {"raftmon": 50}


def test_readers_that_disagree_stop_the_benchmark(data: Path) -> None:
    sums = Checksums(1600, 1, 2, 3, 4)
    ours = ingest_peers.Peer("raftmon", "raftmon", lambda _: Load(1600, 1.0, 1.0, 1, sums))
    made, sizes = SETS["a"], ingest.Sizes(TINY["a"], TINY["a"])
    for other in (Load(1600, 1.0, 1.0, 1, Checksums(1600, 1, 2, 3, 5)), Load(1599, 1.0, 1.0, 1)):
        peer = ingest_peers.Peer("c", "C -O3", partial(lambda load, _: load, other))
        with pytest.raises(ingest.Disagreement, match="set a"):
            ingest.measure_set(made, [ours, peer], 1, data, sizes)
    same = ingest_peers.Peer("c", "C -O3", lambda _: Load(1600, 0.5, 0.5, 1, sums))
    assert ingest.measure_set(made, [ours, same], 2, data, sizes).ratios == {"c": 0.5}


def result_of(ratio: float) -> SetResult:
    ratios = dict.fromkeys(COMPARED, ratio) | {"loader": 200.0, "c": 0.4, "c_inlined": 0.3}
    spreads = {peer: (0.5 * found, 2 * found) for peer, found in ratios.items()}
    return SetResult("a", 1_000_000, {"raftmon": 70.0}, ratios, ratios, spreads, {"raftmon": 80_000_000})


@pytest.mark.parametrize(("ratio", "code"), [(6.0, 0), (3.2, 0), (2.9, 1)])
def test_it_fails_when_a_must_is_missed_by_more_than_the_tolerance(
    ratio: float, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest.conclude([result_of(ratio)], [], "text") == code
    printed = capsys.readouterr()
    assert f"set a against Rust server{' ' * 12}" in printed.out
    assert ("missed by more than 15%: set a against Rust server" in printed.err) == bool(code)


def test_every_set_has_what_is_wanted_of_it() -> None:
    assert all(compared.targets.keys() in (SETS.keys(), set()) for compared in COMPARED.values())
    assert COMPARED["rust"].targets["b"] == Target(6, 9)
    assert COMPARED["rust_all"].targets["d"] == Target(1.3, None)
    assert COMPARED["c"].targets["e"] == Target(25, 40)


def test_the_tables_say_the_same() -> None:
    results = [result_of(4.0)]
    beside = [Figure("one wake-up", 19.0, "us", SINGLE["wake"].target, "mean 21 us")]
    figures = [*results[0].figures(), *beside]
    where = {"date": "2026-01-02", "machine": "two cores", "python": "3.11.7"}
    where |= dict.fromkeys(("numpy", "tensorboard", "tensorboard-data-server"), "1.0")

    lines = [" ".join(line.split()) for line in text(figures).splitlines()]
    assert lines[1] == "set a against Rust server 4.0 x 3.5 5 met must rounds 2.0 to 8.0, wall 4.0"
    assert lines[4] == "set a against C -O3 40.0 % 25 75 met must rounds 20.0 to 80.0, wall 40.0"
    assert lines[5] == "one wake-up 19.0 us <= 60 <= 20 met goal mean 21 us"
    table = markdown(results, beside, where)
    assert "| 70.0 | 4.0 (3.5 / 5) | 4.0 (2 / 8) | 200 (150 / 300) | 40.0 (25 / 75) | 30.0 |" in table
    assert "| one wake-up | **19.0** us | <= 60 us | <= 20 us |" in table
    assert "2026-01-02, two cores, Python 3.11.7, numpy 1.0" in table
    plain = json.loads(json.dumps(document(results, figures, where)))
    assert plain["sets"]["a"]["cpu_ratios"]["rust"] == 4.0
    assert [figure["verdict"] for figure in plain["figures"]] == [figure.verdict for figure in figures]


def test_without_a_name_sets_are_kept_where_nobody_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (data,) = {ingest.parse([]).data, ingest.parse(["--only", "c"]).data}

    assert data.parent == tmp_path
    assert data.stat().st_mode & 0o077 == 0


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ingest.main(["--only", "a,z"])
    assert "no set or part z" in capsys.readouterr().err
