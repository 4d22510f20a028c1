"""Every event file of the corpus, read by TensorBoard's own reader and by this one, must give the same, bit by bit."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util import tensor_util

from raftmon.events.tail import EventFile, FileUpdate

DAMAGED = "newlogsRunTest1/test_hook_from_json_config/events/000000000000/000000000000_worker_0.tfevents"
"""The one file of the corpus whose (only) record does not match its checksum."""


@dataclass
class Contents:
    """What a reader found in a file, in forms whose equality means equality of bits."""

    points: dict[str, list[tuple[int, bytes, bytes]]] = field(default_factory=lambda: defaultdict(list))
    """Tag to step, wall time and value."""
    order: list[str] = field(default_factory=list)
    """The tag of each point."""
    texts: list[tuple[str, int, float, str]] = field(default_factory=list)
    hparams: dict[str, object] = field(default_factory=dict)
    session_starts: list[tuple[int, int]] = field(default_factory=list)

    def add(self, tag: str, step: int, wall_time: float, value: float) -> None:
        """Note one point."""
        self.order.append(tag)
        self.points[tag].append((step, np.float64(wall_time).tobytes(), np.float64(value).tobytes()))


def event_files(corpus: Path) -> list[Path]:
    paths = (path for path in corpus.rglob("*tfevents*") if path.is_file() and path.suffix != ".meta")
    return sorted(paths)


def by_tensorboard(path: Path) -> Contents:
    """Read as TensorBoard does: all scalars are migrated to tensors, the first metadata of a tag are kept."""
    contents = Contents()
    plugins: dict[str, str] = {}
    for event in EventFileLoader(str(path)).Load():
        if event.session_log.status == event_pb2.SessionLog.START:
            contents.session_starts.append((len(contents.order), event.step))
        for value in event.summary.value:
            plugin = plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
            _add_value(contents, plugin, event, value)
    return contents


def _add_value(contents: Contents, plugin: str, event: Any, value: Any) -> None:
    if plugin == "scalars":
        contents.add(value.tag, event.step, event.wall_time, tensor_util.make_ndarray(value.tensor).item())
    elif plugin == "text":
        text = b"\n".join(tensor_util.make_ndarray(value.tensor).ravel().tolist()).decode()
        contents.texts.append((value.tag, event.step, event.wall_time, text))
    elif value.tag == hparams_metadata.SESSION_START_INFO_TAG:
        info = hparams_metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
        for name, wrapped in info.hparams.items():
            contents.hparams[name] = getattr(wrapped, wrapped.WhichOneof("kind"))


def updates_of(path: Path, max_bytes: int) -> Iterator[FileUpdate]:
    events = EventFile(path)
    while True:
        update = events.read(max_bytes)
        yield update
        if not update.more:
            break
    assert events.problem is None
    assert events.offset == events.size == path.stat().st_size
    assert events.bad_records == (1 if str(path).endswith(DAMAGED) else 0)


def by_raftmon(path: Path, max_bytes: int = 8 << 20) -> Contents:
    contents = Contents()
    for update in updates_of(path, max_bytes):
        batch = update.scalars
        before = len(contents.order)
        contents.session_starts += [(before + start.before, start.step) for start in update.session_starts]
        columns = (batch.tag_id.tolist(), batch.step.tolist(), batch.wall_time, batch.value)
        for tag_id, step, wall_time, value in zip(*columns, strict=True):
            contents.add(batch.tags[tag_id], step, wall_time, value)
        contents.texts += [(text.tag, text.step, text.wall_time, text.text) for text in update.texts]
        contents.hparams.update(update.hparams)
    return contents


@pytest.fixture(scope="module")
def references(corpus: Path) -> dict[Path, Contents]:
    """What TensorBoard finds in each file of the corpus."""
    return {path: by_tensorboard(path) for path in event_files(corpus)}


def test_scalars_are_the_same_point_by_point(references: dict[Path, Contents]) -> None:
    points = 0
    for path, reference in references.items():
        contents = by_raftmon(path)
        assert contents.points.keys() == reference.points.keys(), path
        for tag, expected in reference.points.items():
            assert contents.points[tag] == expected, f"{path}: {tag}"
        assert contents.order == reference.order, path
        points += len(contents.order)
    assert points > 80_000


def test_texts_hparams_and_session_starts_are_the_same(references: dict[Path, Contents]) -> None:
    counts = np.zeros(3, int)
    for path, reference in references.items():
        contents = by_raftmon(path)
        assert contents.texts == reference.texts, path
        assert contents.hparams == reference.hparams, path
        assert contents.session_starts == reference.session_starts, path
        counts += [bool(reference.texts), bool(reference.hparams), bool(reference.session_starts)]
    assert (counts > 0).all()


def test_small_budgets_change_nothing(references: dict[Path, Contents]) -> None:
    for path, reference in references.items():
        if path.stat().st_size < 20_000:
            assert by_raftmon(path, max_bytes=700) == reference, path


def test_nan_is_among_them(references: dict[Path, Contents]) -> None:
    values = (
        value for contents in references.values() for points in contents.points.values() for _, _, value in points
    )
    assert any(np.isnan(np.frombuffer(value)) for value in values)


def test_counts_agree_with_the_index_of_the_corpus(corpus: Path, references: dict[Path, Contents]) -> None:
    with (corpus / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
        rows = list(csv.DictReader(index, delimiter="\t"))
    counted = 0
    for row in rows:
        path = corpus / row["repo"].replace("/", "+") / row["path"]
        if path in references:
            assert len(references[path].order) == int(row["n_scalar_events"]), path
            counted += 1
    assert counted == len(references)


def test_the_damaged_file_gives_nothing_and_counts_it(references: dict[Path, Contents]) -> None:
    (path,) = (path for path in references if str(path).endswith(DAMAGED))
    events = EventFile(path)
    assert len(events.read().scalars) == 0
    assert (events.bad_records, events.dead, events.problem) == (1, False, None)


def test_files_without_scalars_are_fine(references: dict[Path, Contents]) -> None:
    without = [path for path, contents in references.items() if not contents.order]
    assert len(without) > 10
    for path in without:
        events = EventFile(path)
        update = events.read()
        assert (update.scalars.tags, len(update.scalars), events.problem) == ((), 0, None)
        assert events.offset == path.stat().st_size


def test_look_alikes_of_the_corpus_are_told(corpus: Path) -> None:
    paths = list(corpus.rglob("*tfevents*.meta"))
    assert paths
    for path in paths:
        events = EventFile(path)
        assert len(events.read().scalars) == 0
        assert events.dead
        assert events.problem is not None
        assert "text file" in events.problem.what
