"""The same points as TensorBoard's Rust data server gives over gRPC, bit by bit; each difference is named and tested.

The server keeps all points (``--samples-per-plugin=scalars=all``) and is asked as TensorBoard's own front end asks it.
raftmon differs from it on purpose in what `DIFFERENT` and the tests below it say.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensorboard.compat.proto import types_pb2

from raftmon.events.tail import EventFile
from raftmon.runs.logdir import Run
from raftmon.runs.tree import Tree
from tests.bursts import Burst, Writer
from tests.naive_reader import Point, bits, items_of, read_all
from tests.scripted import event, header_record, losses, metadata, record, scalar_record, simple, tensor, text

server = pytest.importorskip("tensorboard_data_server", reason="no Rust data server; pip install tensorboard")
grpc = pytest.importorskip("grpc", reason="no gRPC; pip install tensorboard")

Series = dict[str, list[tuple[int, bytes, bytes]]]
"""Tag to step, wall time and value of each point."""


@dataclass(frozen=True)
class Answer:
    """What the server says of a logdir."""

    runs: dict[str, Series]
    """Points of the plugin ``scalars``."""
    texts: dict[str, list[str]]
    """Run to its tags of the plugin ``text``."""


@contextmanager
def serving(logdir: Path, scratch: Path) -> Iterator[Any]:
    """Run the server on a logdir until it has loaded it once; gives a stub."""
    from tensorboard.data.proto import data_provider_pb2_grpc

    port_file = scratch / "port"
    command = [server.server_binary(), f"--logdir={logdir}", "--reload=once", "--port=0", f"--port-file={port_file}"]
    options = ["--samples-per-plugin=scalars=all", "--die-after-stdin", "--verbose"]
    with subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:  # It says so on stderr when all is loaded.
                if "load cycle" in line.lower() and "finished" in line.lower():
                    break
            channel = grpc.insecure_channel(
                f"localhost:{int(port_file.read_text())}", options=[("grpc.max_receive_message_length", 1 << 28)]
            )
            with channel:
                yield data_provider_pb2_grpc.TensorBoardDataProviderStub(channel)
        finally:
            process.kill()


def ask(logdir: Path, scratch: Path) -> Answer:
    """Load a logdir with the server and ask for all that it has."""
    from tensorboard.data.proto import data_provider_pb2 as messages

    scratch.mkdir(exist_ok=True)
    with serving(logdir, scratch) as stub:
        request = messages.ReadScalarsRequest(
            plugin_filter={"plugin_name": "scalars"}, downsample={"num_points": 10**9}
        )
        scalars = stub.ReadScalars(request)
        listed = stub.ListTensors(messages.ListTensorsRequest(plugin_filter={"plugin_name": "text"}))
    runs = {
        run.run_name: {
            tag.tag_name: list(
                zip(tag.data.step, map(bits, tag.data.wall_time), map(bits, tag.data.value), strict=True)
            )
            for tag in run.tags
        }
        for run in scalars.runs
    }
    return Answer(runs, {run.run_name: [tag.tag_name for tag in run.tags] for run in listed.runs})


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


def read_directory(directory: Path) -> Series:
    """The points of each file of a directory, in the order of the names."""
    series: Series = {}
    for path in sorted(path for path in directory.iterdir() if "tfevents" in path.name and path.is_file()):
        for item in read_all(EventFile(path)):
            if isinstance(item, Point):
                series.setdefault(item.tag, []).append((item.step, item.wall_time, item.value))
    return series


def preempted(series: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    """The server's rule: a step that does not rise drops all points of its tag at or after it."""
    kept: list[tuple[int, bytes, bytes]] = []
    for point in series:
        while kept and kept[-1][0] >= point[0]:
            kept.pop()
        kept.append(point)
    return kept


# ---------------------------------------------------------------------- equal


def test_a_generated_logdir_is_the_same_bit_by_bit(tmp_path: Path, scratch: Path) -> None:
    """Rising steps, 32-bit values: nothing in which the two differ on purpose."""
    kinds = ("simple_value", "tensor_content", "float_val")
    for number, encoding in enumerate(kinds):
        directory = tmp_path / f"run {number}"
        directory.mkdir()
        writer = Writer()
        records = [header_record()]
        for stretch, tags in enumerate([("train/loss", "epoch"), ("train/loss", "epoch", "größe"), ("x" * 130,)]):
            records += writer.records(Burst(tags, encoding, 300, 1, 1, 0), 100 + 400 * stretch)
        middle = len(records) // 2
        (directory / "events.out.tfevents.1700000000.host").write_bytes(b"".join(records[:middle]))
        (directory / "events.out.tfevents.1700000001.host").write_bytes(b"".join(records[middle:])[:-3])
    answer = ask(tmp_path, scratch)
    assert answer.runs == {path.name: read_directory(path) for path in tmp_path.iterdir()}
    assert sum(len(points) for run in answer.runs.values() for points in run.values()) == 3 * 900 - 3


def test_the_corpus_is_the_same_bit_by_bit(corpus: Path, scratch: Path) -> None:
    """Of 21 projects; what differs is the rule on steps that do not rise, and nothing else."""
    answer = ask(corpus, scratch)
    compared = 0
    for name, theirs in answer.runs.items():
        directory = corpus / name
        ours = {tag: preempted(points) for tag, points in read_directory(directory).items()}
        assert ours.keys() == theirs.keys(), name
        for tag, points in theirs.items():
            assert ours[tag] == points, f"{name}: {tag}"
            compared += len(points)
    mine = {path.parent for path in corpus.rglob("*tfevents*") if path.is_file() and path.suffix != ".meta"}
    silent = {path for path in mine if path.relative_to(corpus).as_posix() not in answer.runs}
    assert {path for path in silent if read_directory(path)} == set()
    assert compared > 60_000


# ---------------------------------------------------------------------- different on purpose


def write(directory: Path, *files: bytes) -> Path:
    """A run of these files."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(files):
        (directory / f"events.out.tfevents.170000000{number}.host").write_bytes(header_record() + content)
    return directory


def run_values(directory: Path, tag: str = "loss") -> list[float]:
    """What a run holds of a tag."""
    run = Run("run", directory)
    for path in sorted(directory.iterdir()):
        run.add_file(path)
    run.poll(8 << 20)
    return [] if tag not in run.series else [float(number) for number in run.series[tag].values]


def their_values(answer: Answer, run: str, tag: str = "loss") -> list[float]:
    """What the server holds of a tag."""
    return [struct.unpack("<d", value)[0] for _, _, value in answer.runs.get(run, {}).get(tag, [])]


def nan_wall_time(number: float, step: int) -> bytes:
    return scalar_record("loss", number, step, wall_time=float("nan"))


DIFFERENT: dict[str, tuple[list[bytes], list[float], list[float]]] = {
    # name: the files, what raftmon holds of `loss`, what the server holds
    "a repeated step is kept": (
        [losses(1.0, 2.0) + scalar_record("loss", 2.5, 1) + losses(3.0, first_step=2)],
        [1.0, 2.0, 2.5, 3.0],
        [1.0, 2.5, 3.0],
    ),
    "a lower step in one file is no restart": (
        [losses(1.0, 2.0, 3.0) + scalar_record("loss", 9.0, 0)],
        [1.0, 2.0, 3.0, 9.0],
        [9.0],
    ),
    "a session start drops at once, and all tags": (
        [losses(1.0, 2.0, 3.0) + record(event(step=1, session_log={"status": 1}))],
        [1.0],
        [1.0, 2.0, 3.0],
    ),
    "a double is a scalar": (
        [record(event([tensor("loss", dtype=types_pb2.DT_DOUBLE, double_val=[0.1])]))],
        [0.1],
        [],
    ),
    "a double in tensor_content is a scalar": (
        [record(event([tensor("loss", dtype=types_pb2.DT_DOUBLE, tensor_content=struct.pack("<d", 0.1))]))],
        [0.1],
        [],
    ),
    "a damaged value costs its record": (
        [
            losses(1.0)
            + losses(2.0, first_step=1)[:-5]
            + b"\x7f"
            + losses(2.0, first_step=1)[-4:]
            + losses(3.0, first_step=2)
        ],
        [1.0, 3.0],
        [1.0, struct.unpack("<f", b"\0\0\0\x7f")[0], 3.0],
    ),
    "an event without a wall time counts": (
        [losses(1.0) + nan_wall_time(2.0, 1) + losses(3.0, first_step=2)],
        [1.0, 2.0, 3.0],
        [1.0],
    ),
    "a 64-bit integer is a scalar": (
        [record(event([tensor("loss", dtype=types_pb2.DT_INT64, int64_val=[5])]))],
        [5.0],
        [],
    ),
    "a half is a scalar": (
        [record(event([tensor("loss", dtype=types_pb2.DT_HALF, half_val=[0x3E00])]))],
        [1.5],
        [],
    ),
}


@pytest.fixture(scope="module")
def different(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """One logdir with a run for each difference, and what the server says of it."""
    logdir = tmp_path_factory.mktemp("different")
    for number, (files, _, _) in enumerate(DIFFERENT.values()):
        write(logdir / str(number), *files)
    return logdir, ask(logdir, tmp_path_factory.mktemp("server"))


@pytest.mark.parametrize("name", DIFFERENT)
def test_deliberate_differences(name: str, different: tuple[Path, Answer]) -> None:
    logdir, answer = different
    number = str(list(DIFFERENT).index(name))
    _, ours, theirs = DIFFERENT[name]
    assert run_values(logdir / number) == ours
    assert their_values(answer, number) == theirs


def test_a_restart_in_a_new_file_is_the_same_for_both(tmp_path: Path, scratch: Path) -> None:
    directory = write(tmp_path / "run", losses(1.0, 2.0, 3.0, 4.0), losses(30.0, 40.0, first_step=2))
    assert run_values(directory) == their_values(ask(tmp_path, scratch), "run") == [1.0, 2.0, 30.0, 40.0]


def test_plugins_and_texts(tmp_path: Path, scratch: Path) -> None:
    """The first plugin of a tag stays for both; a tag named like text is text for both, and no scalar."""
    first = event([tensor("t", "histograms", dtype=types_pb2.DT_FLOAT, float_val=[1.0])], step=1)
    other = event([tensor("t", "scalars", dtype=types_pb2.DT_FLOAT, float_val=[2.0])], step=2)
    custom = event([tensor("c", "my_plugin", dtype=types_pb2.DT_FLOAT, float_val=[3.0])], step=1)
    notes = event([text("notes", "one", "two")], step=1)
    directory = write(tmp_path / "run", losses(1.0), b"".join(map(record, (first, other, custom, notes))))
    answer = ask(tmp_path, scratch)
    assert answer.runs["run"].keys() == read_directory(directory).keys() == {"loss"}
    assert answer.texts == {"run": ["notes"]}
    found = [item for path in sorted(directory.iterdir()) for item in items_of(EventFile(path).read())]
    assert [item.text for item in found if not isinstance(item, Point) and hasattr(item, "text")] == ["one\ntwo"]


def test_a_simple_value_is_a_scalar_for_both_whatever_its_metadata_say(tmp_path: Path, scratch: Path) -> None:
    value = simple("loss", 1.0)
    value.metadata.CopyFrom(metadata("pr_curves"))
    directory = write(tmp_path / "run", record(event([value])))
    assert run_values(directory) == their_values(ask(tmp_path, scratch), "run") == [1.0]


def test_look_alikes_are_runs_for_the_server(tmp_path: Path, scratch: Path) -> None:
    """It reads whatever has ``tfevents`` in its name; raftmon leaves out what is named like something else."""
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "events.out.tfevents.1.host.meta").write_bytes(losses(1.0))
    assert their_values(ask(tmp_path, scratch), "run") == [1.0]
    tree = Tree(str(tmp_path))
    tree.look()
    assert tree.event_files(str(directory)) == ()
