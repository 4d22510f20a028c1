"""Each oddity that the index of the corpus lists, checked on the file that it is listed for.

The column ``anomalies`` holds notes such as ``NaN:grad_norm(3/3); multi-file-dir(4)``. Every kind of note has its check
in `CHECKS`; a kind without one fails.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from raftmon.events.tail import EventFile
from raftmon.runs.logdir import Run, is_event_file_name
from raftmon.runs.tree import Tree
from tests.file_model import RunModel, after_a_poll
from tests.naive_reader import Point, Start, bits, points, read_all, read_naively, scan

MOST_POINTS = 1000
"""Points of one tag that a run's series keeps exactly."""


@dataclass(frozen=True)
class Listed:
    """One note on one file."""

    path: Path
    kind: str
    detail: str
    """What stands behind the kind, without the colon."""


def listed_in(corpus: Path) -> list[Listed]:
    """All notes of the index."""
    with (corpus / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
        rows = list(csv.DictReader(index, delimiter="\t"))
    found = []
    for row in rows:
        path = corpus / row["repo"].replace("/", "+") / row["path"]
        for note in filter(None, row["anomalies"].split("; ")):
            match = re.match(r"([A-Za-z_-]+)[:@]?(.*)", note)
            assert match is not None, note
            found.append(Listed(path, match[1], match[2]))
    return found


def points_of(path: Path, tag: str) -> list[Point]:
    """The points of one tag, in file order."""
    return [item for item in read_all(EventFile(path)) if isinstance(item, Point) and item.tag == tag]


def held(run: Run) -> dict[str, list[tuple[int, bytes]]]:
    """Step and bits of the value of each point that a run keeps."""
    return {
        tag: list(zip(series.steps.tolist(), map(bits, series.values.tolist()), strict=True))
        for tag, series in run.series.items()
        if series.count
    }


def read_run(directory: Path) -> Run:
    """A run of the event files of a directory."""
    run = Run("run", directory)
    for path in sorted(directory.iterdir()):
        if is_event_file_name(path.name):
            run.add_file(path)
    while run.poll(8 << 20).more:
        pass
    return run


def nan_values(listed: Listed) -> None:
    """As many as the index says, and the run holds them."""
    match = re.fullmatch(r"(.+)\((\d+)/(\d+)\)", listed.detail)
    assert match is not None
    values = np.frombuffer(b"".join(point.value for point in points_of(listed.path, match[1])))
    assert (int(np.isnan(values).sum()), len(values)) == (int(match[2]), int(match[3]))
    assert np.isnan(read_run(listed.path.parent).series[match[1]].values).any()


def repeated_steps(listed: Listed) -> None:
    """They are there, and all of them are kept."""
    for tag in listed.detail.split(","):
        steps = [point.step for point in points_of(listed.path, tag)]
        assert len(set(steps)) < len(steps), tag
        run = Run("run", listed.path.parent)
        run.add_file(listed.path)
        run.poll(64 << 20)
        assert run.series[tag].count == len(steps)


def steps_that_go_back(listed: Listed) -> None:
    """They are no restart, for nothing says so: the points stay, in their order."""
    for tag in listed.detail.split(","):
        steps = [point.step for point in points_of(listed.path, tag)]
        assert any(later < earlier for earlier, later in itertools.pairwise(steps)), tag
        run = Run("run", listed.path.parent)
        run.add_file(listed.path)
        run.poll(64 << 20)
        assert run.series[tag].steps.tolist() == steps


def several_files(listed: Listed) -> None:
    """The run holds what its files say one after the other, restarts between them heeded."""
    directory = listed.path.parent
    files = [path for path in directory.iterdir() if is_event_file_name(path.name)]
    look = {path: ((1, number), path.read_bytes()) for number, path in enumerate(files)}
    (model,) = after_a_poll([RunModel()], look, {}, more=False)
    run = read_run(directory)
    found = held(run)
    expected = {tag: series for tag, series in model.series.items() if series}
    assert found.keys() == expected.keys()
    for tag, series in expected.items():
        assert found[tag] == series if len(series) <= MOST_POINTS else set(found[tag]) <= set(series)
        assert found[tag][-MOST_POINTS:] == series[-MOST_POINTS:] or len(found[tag]) < len(series)


def no_scalars(listed: Listed) -> None:
    """Nothing comes, and nothing is wrong unless something is damaged."""
    events = EventFile(listed.path)
    assert len(events.read().scalars) == 0
    assert bool(events.bad_records) == bool(read_naively(listed.path.read_bytes())[1])
    assert events.offset == listed.path.stat().st_size


def no_file_version(listed: Listed) -> None:
    """It is read like any other: from its first intact record on, of which one file has none."""
    content = listed.path.read_bytes()
    assert not any(b"brain.Event" in data for data in scan(content).records)
    expected, _ = read_naively(content)
    assert points(read_all(EventFile(listed.path))) == points(expected)


def session_log(listed: Listed) -> None:
    """The session start has its place among the points, and the run heeds it."""
    found = read_all(EventFile(listed.path))
    starts = [item for item in found if isinstance(item, Start)]
    assert starts
    assert points(found) == points(read_naively(listed.path.read_bytes())[0])
    several_files(listed)


def bad_checksum(listed: Listed) -> None:
    """The record is left out, counted, and told."""
    run = read_run(listed.path.parent)
    (reader,) = (reader for reader in run.files if reader.path == listed.path)
    assert reader.bad_records == 1
    assert any(problem.where == str(listed.path) and "damaged" in problem.what for problem in run.problems)


def no_event_file(listed: Listed) -> None:
    """It is not taken for one by its name; by its content it is told what it is."""
    tree = Tree(str(listed.path.parent))
    tree.look()
    assert listed.path.name not in tree.event_files(str(listed.path.parent))
    events = EventFile(listed.path)
    assert len(events.read().scalars) == 0
    assert events.problem is not None
    assert "text file" in events.problem.what


CHECKS: dict[str, Callable[[Listed], None]] = {
    "NaN": nan_values,
    "dup-step": repeated_steps,
    "step-back": steps_that_go_back,
    "multi-file-dir": several_files,
    "no-scalars": no_scalars,
    "no-file_version": no_file_version,
    "session_log": session_log,
    "badcrc": bad_checksum,
    "NOT-AN-EVENT-FILE": no_event_file,
}


def test_every_kind_of_oddity_has_its_check(corpus: Path) -> None:
    assert {listed.kind for listed in listed_in(corpus)} == set(CHECKS)


@pytest.mark.parametrize("kind", CHECKS)
def test_oddities_of_the_corpus(kind: str, corpus: Path) -> None:
    done = 0
    seen: set[Path] = set()
    for listed in listed_in(corpus):
        if listed.kind != kind or (kind == "multi-file-dir" and listed.path.parent in seen):
            continue
        seen.add(listed.path.parent)
        CHECKS[kind](listed)
        done += 1
    assert done
