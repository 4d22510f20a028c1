"""Whatever happens to the files of a run, it holds what they say: random histories against a naive model.

Each history is a sequence of actions on real files in a real directory: records are appended, torn and completed, files
are added, replaced, rewritten, truncated, deleted and made again, directories renamed, jobs restarted, clocks set back,
bytes damaged; and between them it is read, with budgets from one byte up. `RAFTMON_HISTORIES` sets how many histories
are tried (300 unless told otherwise, some 20 s; 20000 for a night). A failure prints the history as a program and the
blob that repeats it; `--hypothesis-seed` repeats a whole run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from raftmon.events.tail import EventFile
from raftmon.runs.logdir import Run
from raftmon.runs.tree import Tree
from tests.bursts import TAGS, Burst, Writer, bursts
from tests.file_model import Look, RunModel, after_a_poll
from tests.naive_reader import Item, bits, items_of, points, read_naively, texts
from tests.scripted import header_record

HISTORIES = int(os.environ.get("RAFTMON_HISTORIES", "300"))
MOST_POINTS = 1000
"""Points of one tag that a run's series keeps exactly."""

numbers = st.integers(0, 50)
budgets = st.sampled_from([1, 500, 3000, 20_000, 8 << 20])
steps = st.sampled_from(["on", "on", "on", "back", "zero", "same", 120, 16_380, 2_097_140, -3, 2**56, 2**62])


class Followed:
    """One run, what the model says it holds, and each of its files read alone."""

    def __init__(self, path: Path) -> None:
        self.run = Run(path.name, path)
        self.models = [RunModel()]


class Histories(RuleBasedStateMachine):
    """Actions of trainers, people and file systems, and looks of a reader."""

    damages_headers = False

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="raftmon-histories-"))
        self.writer = Writer()
        self.ticks = 10**18
        self.made = 0
        self.rest: dict[Path, bytes] = {}
        self.newest_step: dict[Path, int] = {}
        self.followed: dict[Path, Followed] = {}
        self.alone: dict[Path, tuple[EventFile, list[Item]]] = {}

    def teardown(self) -> None:
        """Read everything at last, and compare."""
        try:
            self.read_all(8 << 20)
        finally:
            shutil.rmtree(self.root)

    # ------------------------------------------------------------------ what there is

    def files(self) -> list[Path]:
        """The event files, oldest name first."""
        return sorted(self.root.rglob("*tfevents*"))

    def pick(self, number: int) -> Path:
        """One of the files."""
        files = self.files()
        return files[number % len(files)]

    def has_files(self) -> bool:
        """Whether there is a file to act upon."""
        return bool(self.files())

    # ------------------------------------------------------------------ writing

    def records(self, path: Path, burst: Burst, at: Any) -> list[bytes]:
        """Records for a file, their first step relative to what its run has reached."""
        before = self.newest_step.get(path.parent, 0)
        first = {"on": before + 1, "back": before // 2, "zero": 0, "same": before}.get(at, at)
        found = self.writer.records(burst, first)
        rounds = burst.records * burst.values_each // len(burst.tags)
        self.newest_step[path.parent] = min(first + burst.stride * rounds, 2**62)
        return found

    def write(self, path: Path, data: bytes, mode: str = "ab") -> None:
        """Change a file; the modification time moves even when the clock stands still."""
        with path.open(mode) as file:
            file.write(data)
        self.ticks += 1
        os.utime(path, ns=(self.ticks, self.ticks))

    def complete(self, path: Path) -> bytes:
        """What is still to be written of a torn record."""
        return self.rest.pop(path, b"")

    @initialize()
    def begin(self) -> None:
        """A run with an empty file, so that there is something to act upon."""
        self.new_file(0, "later", header=True, restart=None)

    @rule(
        number=numbers, name=st.sampled_from(["later", "later", "earlier", "v2"]), header=st.booleans(), restart=steps
    )
    def new_file(self, number: int, name: str, header: bool, restart: Any) -> None:
        """The job is started again, or another writer joins it."""
        directory = self.root / f"run [{number % 2}]" / "logs"
        directory.mkdir(parents=True, exist_ok=True)
        self.made += 1
        stamp = 1_700_000_000 + (self.made if name != "earlier" else -self.made)
        path = directory / f"events.out.tfevents.{stamp}.host{'.v2' if name == 'v2' else ''}"
        data = header_record() if header else b""
        if restart is not None:
            data += b"".join(self.records(path, Burst(TAGS[:2], "simple_value", 6, 1, 1, 0), restart))
        self.write(path, data)

    @precondition(has_files)
    @rule(number=numbers, burst=bursts, at=steps)
    def append(self, number: int, burst: Burst, at: Any) -> None:
        path = self.pick(number)
        self.write(path, self.complete(path) + b"".join(self.records(path, burst, at)))

    @precondition(has_files)
    @rule(number=numbers, burst=bursts, at=steps, cut=st.integers(1, 60))
    def tear(self, number: int, burst: Burst, at: Any, cut: int) -> None:
        """The writer's buffer ends inside a record."""
        path = self.pick(number)
        before, data = self.complete(path), b"".join(self.records(path, burst, at))
        self.write(path, before + data[:-cut])
        self.rest[path] = data[-cut:]

    @precondition(lambda self: bool(self.rest))
    @rule(number=numbers, part=st.floats(0.1, 1.0))
    def flush(self, number: int, part: float) -> None:
        """The rest of a torn record comes, or a part of it."""
        path = sorted(self.rest)[number % len(self.rest)]
        rest = self.complete(path)
        cut = max(1, int(len(rest) * part))
        self.write(path, rest[:cut])
        if rest[cut:]:
            self.rest[path] = rest[cut:]

    @precondition(has_files)
    @rule(number=numbers, back=st.integers(0, 40))
    def session_start(self, number: int, back: int) -> None:
        """The job goes on from a checkpoint and says so in the same file."""
        path = self.pick(number)
        step = max(0, self.newest_step.get(path.parent, 0) - back)
        self.newest_step[path.parent] = step
        self.write(path, self.complete(path) + self.writer.session_start(step))

    @precondition(has_files)
    @rule(number=numbers, burst=bursts, at=steps, victim=numbers, place=st.floats(0, 1), bit=st.integers(0, 7))
    def append_damaged(self, number: int, burst: Burst, at: Any, victim: int, place: float, bit: int) -> None:
        """A bit of one record is not what was written."""
        path = self.pick(number)
        records = [bytearray(data) for data in self.records(path, burst, at)]
        data = records[victim % len(records)]
        least = 0 if self.damages_headers else 12
        data[least + int(place * (len(data) - 1 - least))] ^= 1 << bit
        before = self.complete(path)
        if path.stat().st_size + len(before) == 0:
            before = header_record()
        self.write(path, before + b"".join(records))

    # ------------------------------------------------------------------ what people and file systems do

    def forget_rest(self, path: Path) -> None:
        self.rest.pop(path, None)

    @precondition(has_files)
    @rule(number=numbers, burst=bursts, at=steps)
    def replace(self, number: int, burst: Burst, at: Any) -> None:
        """Another file is renamed over it, as rsync does."""
        path = self.pick(number)
        self.forget_rest(path)
        other = path.with_name(".incoming")
        self.write(other, header_record() + b"".join(self.records(path, burst, at)), "wb")
        other.replace(path)

    @precondition(has_files)
    @rule(number=numbers, burst=bursts, at=steps)
    def rewrite(self, number: int, burst: Burst, at: Any) -> None:
        """It is written anew in place, as rsync --inplace and object stores do."""
        path = self.pick(number)
        self.forget_rest(path)
        self.write(path, b"".join(self.records(path, burst, at)), "wb")

    @precondition(has_files)
    @rule(number=numbers, part=st.floats(0.0, 0.99))
    def truncate(self, number: int, part: float) -> None:
        path = self.pick(number)
        size = int(path.stat().st_size * part)
        content = path.read_bytes() + self.complete(path)
        os.truncate(path, size)
        self.write(path, b"")
        whole = read_end(content, size)
        if whole > size:
            # What comes next must begin where a record begins.
            self.rest[path] = content[size:whole]

    @precondition(has_files)
    @rule(number=numbers)
    def delete(self, number: int) -> None:
        path = self.pick(number)
        self.forget_rest(path)
        path.unlink()

    @precondition(has_files)
    @rule(number=numbers, burst=bursts, at=steps)
    def delete_and_make_again(self, number: int, burst: Burst, at: Any) -> None:
        path = self.pick(number)
        self.delete(number)
        self.write(path, b"".join(self.records(path, burst, at)))

    @precondition(has_files)
    @rule(number=numbers)
    def rename_the_directory(self, number: int) -> None:
        path = self.pick(number).parent
        self.made += 1
        new = path.with_name(f"renamed {self.made}")
        path.rename(new)
        self.rest = {new / p.name if p.parent == path else p: rest for p, rest in self.rest.items()}
        self.newest_step[new] = self.newest_step.pop(path, 0)

    @rule(seconds=st.sampled_from([3600, 86_400, 1]))
    def clock_goes_back(self, seconds: int) -> None:
        """Wall times and modification times are earlier than before, though never one that was used."""
        self.writer.clock -= seconds + 0.000_37
        self.ticks -= seconds * 10**9 - 7

    # ------------------------------------------------------------------ reading

    @rule(budget=budgets)
    def look_once(self, budget: int) -> None:
        """One poll, which may end before the files do."""
        self.poll(budget, self.discover())

    @rule(budget=budgets)
    def read_all(self, budget: int) -> None:
        """Polls until there is no more; then everything must be right."""
        looks = self.discover()
        while self.poll(budget, looks):
            pass
        for followed in self.followed.values():
            check_run(followed)
        for path in self.files():
            check_file(path, *self.alone[path])

    def discover(self) -> dict[Path, Look]:
        """What there is, told to the runs as a monitor does it."""
        looks: dict[Path, Look] = {}
        tree = Tree(str(self.root))
        tree.look()
        for directory in map(Path, tree.identities()):
            names = tree.event_files(str(directory))
            if not names:
                continue
            followed = self.followed.setdefault(directory, Followed(directory))
            looks[directory] = {}
            for name in names:
                path = directory / name
                followed.run.add_file(path)
                self.alone.setdefault(path, (EventFile(path), []))
                status = path.stat()
                looks[directory][path] = (status.st_dev, status.st_ino), path.read_bytes()
        return looks

    def poll(self, budget: int, looks: dict[Path, Look]) -> bool:
        """One poll of every run and of every file alone; returns whether there is more."""
        more = False
        for path, followed in list(self.followed.items()):
            update = followed.run.poll(budget)
            more = more or update.more
            reached = {reader.path: (reader.offset, reader.size) for reader in followed.run.files}
            followed.models = after_a_poll(followed.models, looks.get(path, {}), reached, more=update.more)
            if not followed.run.files:
                del self.followed[path]
        return self.poll_alone(budget) or more

    def poll_alone(self, budget: int) -> bool:
        more = False
        for reader, items in self.alone.values():
            update = reader.read(budget)
            if update.reset:
                items.clear()
            items += items_of(update)
            more = more or update.more
        return more


def read_end(content: bytes, size: int) -> int:
    """Where the record ends that a cut at `size` tears."""
    at = 0
    while at < size and at + 12 <= len(content):
        at += 16 + int.from_bytes(content[at : at + 8], "little")
        if at > len(content):
            return size
    return at


def check_run(followed: Followed) -> None:
    """The run must hold what one of the histories gives that are possible."""
    run = followed.run
    held = {tag: points_of(series) for tag, series in run.series.items() if series.count}
    expected = [{tag: series for tag, series in model.series.items() if series} for model in followed.models]
    assert any(same(held, each) for each in expected), f"{run.path}: {difference(held, expected[0])}"
    followed.models = [model for model, each in zip(followed.models, expected, strict=True) if same(held, each)]
    model = followed.models[0]
    assert run.texts == model.texts
    assert {name: repr(value) for name, value in run.hparams.items()} == model.hparams
    newest = [series[-1][0] for series in model.series.values() if series]
    assert run.last_step == max(newest, default=None)
    assert {reader.path for reader in run.files if reader.bad_records} == model.lost
    assert {Path(problem.where) for problem in run.problems} == model.lost
    for tag, series in model.series.items():
        assert len(series) > MOST_POINTS or run.series[tag].count == len(series)


def difference(held: dict[str, list[tuple[int, bytes]]], expected: dict[str, list[tuple[int, bytes]]]) -> str:
    """Say where two contents part, for a person."""
    for tag in sorted(held.keys() | expected.keys()):
        has, should = held.get(tag, []), expected.get(tag, [])
        if has != should:
            place = next((n for n, pair in enumerate(zip(has, should, strict=False)) if pair[0] != pair[1]), None)
            at = min(len(has), len(should)) if place is None else place
            parts = f"{has[at : at + 2]} instead of {should[at : at + 2]}"
            return f"{tag[:20]}: {len(has)} points instead of {len(should)}, from the {at}th on {parts}"
    return "nothing differs"


def points_of(series: Any) -> list[tuple[int, bytes]]:
    """Step and value of the points that a series keeps."""
    return [(step, bits(value)) for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True)]


def same(held: dict[str, list[tuple[int, bytes]]], expected: dict[str, list[tuple[int, bytes]]]) -> bool:
    """Whether a run holds these points; of long series the newest ones, and no others among the older ones."""
    if held.keys() != expected.keys():
        return False
    for tag, series in expected.items():
        kept = held[tag]
        if len(series) <= MOST_POINTS and kept != series:
            return False
        if not set(kept) <= set(series) or kept[-1] != series[-1]:
            return False
    return True


def check_file(path: Path, reader: EventFile, items: list[Item]) -> None:
    """What was received of a file must be what it says when it is read from scratch."""
    expected, lost = read_naively(path.read_bytes())
    assert points(items) == points(expected), path
    assert sorted(map(str, texts(items))) == sorted(map(str, texts(expected))), path
    assert bool(reader.bad_records) == bool(lost), path
    assert np.isfinite(reader.modified_at)
    assert not reader.gone


class HistoriesWithDamagedHeaders(Histories):
    """The same, where the bit that flips may also lie in a header."""

    damages_headers = True


RUNNING = settings(
    max_examples=HISTORIES,
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
patiently = pytest.mark.timeout(120 + HISTORIES)
TestHistories = patiently(Histories.TestCase)
TestHistories.settings = RUNNING
TestHistoriesWithDamagedHeaders = patiently(HistoriesWithDamagedHeaders.TestCase)
TestHistoriesWithDamagedHeaders.settings = settings(RUNNING, max_examples=max(HISTORIES // 3, 1))
