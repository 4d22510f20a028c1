"""A mirror against an object store in memory."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raftmon.remote.faults import Backoff, Fault
from raftmon.remote.files import ANCHOR_BYTES
from raftmon.remote.mirror import LARGEST_PIECE, LEAST_PIECE, Mirror, Pace
from raftmon.remote.selection import select
from tests.remote_stores import FakeStore

EVENTS = "run/events.out.tfevents.1.host.1.0"
NEXT = "run/events.out.tfevents.2.host.1.0"
VERDICTS = "cycle_1_verified.jsonl"
ALWAYS = Pace(least=0.0, load=0.0, request=0.0)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_mirror(directory: Path, store: FakeStore, clock: Clock | None = None, pace: Pace = ALWAYS) -> Mirror:
    root, parts = directory / "tree", directory / "parts"
    root.mkdir()
    parts.mkdir()
    return Mirror(store, root, parts, clock or Clock(), lambda: 0.0, pace)


def contents(directory: Path) -> dict[str, bytes]:
    root = directory / "tree"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def whole(mirror: Mirror) -> None:
    while mirror.sync():
        pass


def test_only_what_is_read_is_fetched(tmp_path: Path) -> None:
    store = FakeStore()
    for path in (EVENTS, VERDICTS, "run/hparams.yaml", "run/model.safetensors", "other/config.yaml", "run/notes.md"):
        store.put(path, path.encode())
    mirror = make_mirror(tmp_path, store)
    assert not mirror.sync()
    assert contents(tmp_path) == {path: path.encode() for path in (EVENTS, VERDICTS, "run/hparams.yaml")}
    assert mirror.synced
    assert not list((tmp_path / "parts").iterdir())


def test_nothing_new_costs_one_listing(tmp_path: Path) -> None:
    store = FakeStore()
    store.put(EVENTS, bytes(1000))
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    store.ranges.clear()
    mirror.sync()
    assert (store.requests, store.ranges) == (2, [])


@pytest.mark.parametrize("tagged", [True, False])
def test_of_a_file_that_grew_only_the_end_is_fetched(tmp_path: Path, tagged: bool) -> None:
    store = FakeStore(tagged)
    store.put(EVENTS, bytes(range(256)) * 4000)
    mirror = make_mirror(tmp_path, store)
    whole(mirror)
    inode = (tmp_path / "tree" / EVENTS).stat().st_ino
    store.bytes_sent = 0
    store.put(EVENTS, store.objects[EVENTS] + b"new record")
    mirror.sync()
    assert contents(tmp_path) == store.objects
    assert store.bytes_sent == ANCHOR_BYTES + len(b"new record")
    assert (tmp_path / "tree" / EVENTS).stat().st_ino == inode
    assert (tmp_path / "tree" / EVENTS).stat().st_mtime == store.times[EVENTS]


def test_another_file_under_the_same_name_takes_its_place_whole(tmp_path: Path) -> None:
    store = FakeStore()
    store.put(EVENTS, b"old" * 1000)
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    inode = (tmp_path / "tree" / EVENTS).stat().st_ino
    store.put(EVENTS, b"new" * 2000)
    mirror.sync()
    assert contents(tmp_path) == store.objects
    assert (tmp_path / "tree" / EVENTS).stat().st_ino != inode


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 3000])
def test_a_file_that_shrank_or_was_rewritten_is_replaced(tmp_path: Path, data: bytes) -> None:
    store = FakeStore()
    store.put(EVENTS, b"old" * 1000)
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    store.put(EVENTS, data)
    mirror.sync()
    assert contents(tmp_path) == {EVENTS: data}


def test_what_vanished_is_gone_with_its_directory(tmp_path: Path) -> None:
    store = FakeStore()
    store.put("a/b/" + EVENTS, b"x")
    store.put(EVENTS, b"y")
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    store.delete("a/b/" + EVENTS)
    mirror.sync()
    assert contents(tmp_path) == {EVENTS: b"y"}
    assert not (tmp_path / "tree" / "a").exists()


def test_a_newer_event_file_waits_for_the_older_ones(tmp_path: Path) -> None:
    store = FakeStore()
    store.put(NEXT, b"n" * 10)
    store.put(EVENTS, b"e" * (LARGEST_PIECE + 5))
    mirror = make_mirror(tmp_path, store)
    assert mirror.sync(1)
    assert list(contents(tmp_path)) == [EVENTS]
    assert mirror.progress == pytest.approx(LARGEST_PIECE / (LARGEST_PIECE + 15))
    whole(mirror)
    assert contents(tmp_path) == store.objects
    assert mirror.progress is None


@pytest.mark.parametrize("trouble", ["failing", "shortened"])
def test_it_waits_also_where_the_older_one_makes_trouble(tmp_path: Path, trouble: str) -> None:
    clock, store = Clock(), FakeStore()
    store.put(EVENTS, b"e" * 10)
    store.put(NEXT, b"n" * 10)
    getattr(store, trouble).add(EVENTS)
    mirror = make_mirror(tmp_path, store, clock)
    mirror.sync()
    assert NEXT not in contents(tmp_path)
    getattr(store, trouble).clear()
    clock.now += 10.0
    whole(mirror)
    assert contents(tmp_path) == store.objects


def test_verdicts_come_whole_or_not_at_all(tmp_path: Path) -> None:
    store = FakeStore()
    store.put(VERDICTS, b"v" * (LARGEST_PIECE + 5))
    mirror = make_mirror(tmp_path, store)
    assert mirror.sync(1)
    assert contents(tmp_path) == {}
    mirror.sync()
    assert contents(tmp_path) == store.objects
    before = store.objects[VERDICTS]
    store.put(VERDICTS, before + b"w" * (LARGEST_PIECE + 5))
    assert mirror.sync(1)
    assert contents(tmp_path) == {VERDICTS: before}
    mirror.sync()
    assert contents(tmp_path) == store.objects
    assert store.bytes_sent < 2 * len(store.objects[VERDICTS])


def test_a_server_that_knows_no_ranges_is_understood(tmp_path: Path) -> None:
    store = FakeStore(ignores_ranges=True)
    store.put(EVENTS, b"abc" * 1000)
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    store.put(EVENTS, store.objects[EVENTS] + b"more")
    mirror.sync()
    assert contents(tmp_path) == store.objects


def test_a_fault_is_retried_with_growing_pauses_and_told_until_it_works(tmp_path: Path) -> None:
    clock, store = Clock(), FakeStore()
    store.put(EVENTS, b"x" * 10)
    mirror = make_mirror(tmp_path, store, clock)
    store.list_faults = [ConnectionResetError("http://me:secret@host")] * 3
    waits = []
    for _ in range(3):
        assert not mirror.sync()
        waits.append(mirror.wait())
        problems = list(mirror.problems("s3://b"))
        clock.now += waits[-1]
    assert waits == [0.5, 1.0, 2.0]
    assert [problem.what for problem in problems] == ["the connection failed (ConnectionResetError)"]
    assert "secret" not in str(problems)
    assert store.connections == 4
    mirror.sync()
    assert list(mirror.problems("s3://b")) == []
    assert contents(tmp_path) == store.objects


def test_one_fault_alone_is_not_worth_a_word(tmp_path: Path) -> None:
    store = FakeStore(list_faults=[ConnectionResetError()])
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    assert mirror.fault is not None
    assert list(mirror.problems("s3://b")) == []


def test_before_the_pause_is_over_nothing_is_listed(tmp_path: Path) -> None:
    clock, store = Clock(), FakeStore(list_faults=[ConnectionResetError()])
    mirror = make_mirror(tmp_path, store, clock)
    mirror.sync()
    mirror.sync()
    assert store.requests == 1
    assert mirror.fault is not None


def test_a_file_that_may_not_be_read_stops_no_other(tmp_path: Path) -> None:
    store = FakeStore(denied={EVENTS})
    store.put(EVENTS, b"x")
    store.put("other/" + EVENTS, b"y")
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    assert contents(tmp_path) == {"other/" + EVENTS: b"y"}
    (problem,) = mirror.problems("s3://b")
    assert problem.where == f"s3://b/{EVENTS}"
    assert problem.what == "access denied"
    assert mirror.lacks_something
    store.denied.clear()
    mirror.sync()
    assert contents(tmp_path) == store.objects
    assert not list(mirror.problems("s3://b"))


def test_access_lost_in_the_middle_keeps_what_is_here_and_comes_back(tmp_path: Path) -> None:
    clock, store = Clock(), FakeStore()
    store.put(EVENTS, b"x" * 100)
    mirror = make_mirror(tmp_path, store, clock)
    mirror.sync()
    store.list_faults = [PermissionError("ExpiredToken AKIA")]
    store.put(EVENTS, b"x" * 200)
    mirror.sync()
    assert contents(tmp_path) == {EVENTS: b"x" * 100}
    assert [problem.what for problem in mirror.problems("s3://b")] == ["access denied"]
    clock.now += mirror.wait()
    mirror.sync()
    assert contents(tmp_path) == store.objects


def test_what_ends_early_is_looked_for_again(tmp_path: Path) -> None:
    clock, store = Clock(), FakeStore(shortened={EVENTS})
    store.put(EVENTS, b"x" * 300)
    mirror = make_mirror(tmp_path, store, clock)
    for _ in range(2):
        mirror.sync()
        assert len(contents(tmp_path)[EVENTS]) < 300
        assert mirror.lacks_something
        clock.now += mirror.wait()
    assert [problem.what for problem in mirror.problems("x")] == ["a file ends before the size it is listed with"]
    store.shortened.clear()
    mirror.sync()
    assert contents(tmp_path) == store.objects


def test_a_slow_line_gets_smaller_pieces(tmp_path: Path) -> None:
    from raftmon.remote.faults import Failed

    clock, store = Clock(), FakeStore()
    store.put(EVENTS, bytes(LARGEST_PIECE))
    store.read_faults = [Failed(Fault("unanswered", "no answer within 1 s", "")) for _ in range(20)]
    mirror = make_mirror(tmp_path, store, clock)
    for _ in range(20):
        mirror.sync()
        clock.now += mirror.wait()
    assert store.ranges[0].end == LARGEST_PIECE
    assert store.ranges[-1].end == LEAST_PIECE
    whole(mirror)
    assert contents(tmp_path) == store.objects


def test_names_that_no_local_file_can_have_are_left_out(tmp_path: Path) -> None:
    store = FakeStore()
    for path in ("../" + EVENTS, "a//" + EVENTS, "x" * 300 + "/" + EVENTS, EVENTS):
        store.put(path, b"x")
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    assert contents(tmp_path) == {EVENTS: b"x"}
    assert not (tmp_path / EVENTS).exists()
    assert [problem.what[:7] for problem in mirror.problems("s3://b")] == ["3 files"]


def test_an_object_named_like_a_directory_is_a_problem_not_an_end(tmp_path: Path) -> None:
    store = FakeStore()
    store.put("tfevents", b"x")
    store.put("tfevents/" + EVENTS, b"y")
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    assert contents(tmp_path) == {"tfevents": b"x"}
    assert [problem.what for problem in mirror.problems("s3://b")] == ["a file and a directory have the same name"]


def test_a_copy_that_somebody_deleted_is_fetched_again(tmp_path: Path) -> None:
    store = FakeStore()
    store.put(EVENTS, b"x" * 1000)
    store.put(VERDICTS, b"y" * 1000)
    mirror = make_mirror(tmp_path, store)
    mirror.sync()
    for path in (EVENTS, VERDICTS):
        (tmp_path / "tree" / path).unlink()
    mirror.sync()
    assert contents(tmp_path) == store.objects


def test_a_deleted_mirror_is_not_made_again(tmp_path: Path) -> None:
    store = FakeStore()
    mirror = make_mirror(tmp_path, store)
    (tmp_path / "tree").rmdir()
    store.put(EVENTS, b"x")
    mirror.sync()
    assert not (tmp_path / "tree").exists()
    assert [problem.what for problem in mirror.problems("s3://b")] == [
        "cannot be copied to this machine: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("seconds", "requests", "expected"), [(0.1, 0, 2.0), (1, 0, 20.0), (0.1, 10, 50.0), (99, 0, 600.0)]
)
def test_listings_keep_a_distance_that_follows_their_cost(seconds: float, requests: int, expected: float) -> None:
    assert Pace().after(seconds, requests) == pytest.approx(expected)


def test_pauses_double_up_to_a_minute_and_begin_again() -> None:
    backoff = Backoff(lambda: 0.5)
    pauses = [backoff.failed() for _ in range(9)]
    assert pauses[:4] == [0.75, 1.5, 3.0, 6.0]
    assert pauses[-1] == 45.0
    backoff.worked()
    assert backoff.failed() == 0.75


class MirrorMachine(RuleBasedStateMachine):
    """Writers, faults and looks in any order: the mirror never shows what the remote side never had."""

    paths = st.sampled_from([EVENTS, NEXT, "other/" + EVENTS, VERDICTS, "run/hparams.yaml"])
    sizes = st.sampled_from([0, 1, 30, 255, 256, 257, 700])

    @initialize(tagged=st.booleans())
    def begin(self, tagged: bool) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = Path(self.temporary.name)
        self.clock, self.store = Clock(), FakeStore(tagged)
        self.mirror = make_mirror(self.directory, self.store, self.clock)
        self.random = random.Random(0)
        self.had: dict[str, set[bytes]] = {}

    @rule(path=paths, size=sizes)
    def put(self, path: str, size: int) -> None:
        # No two contents share a byte sequence, as no two event files do.
        self._write(path, self.random.randbytes(size))

    @rule(path=paths, size=sizes)
    def append(self, path: str, size: int) -> None:
        self._write(path, self.store.objects.get(path, b"") + self.random.randbytes(size))

    def _write(self, path: str, data: bytes) -> None:
        self.store.put(path, data)
        self.had.setdefault(path, set()).add(data)

    @rule(path=paths)
    def delete(self, path: str) -> None:
        if path in self.store.objects:
            self.store.delete(path)

    @rule(budget=st.sampled_from([10_000, 100, 1]), piece=st.sampled_from([1000, 50, 1]), pause=st.booleans())
    def sync(self, budget: int, piece: int, pause: bool) -> None:
        self.clock.now += 100.0 if pause else 0.0
        self.mirror._piece = piece
        self.mirror.sync(budget)

    @rule(path=paths, size=sizes)
    def put_and_sync(self, path: str, size: int) -> None:
        self.put(path, size)
        self.sync(10_000, 1000, True)

    @rule(kind=st.sampled_from(["none", "list", "read", "denied", "short"]), path=paths)
    def order_fault(self, kind: str, path: str) -> None:
        self.store.denied.clear()
        self.store.shortened.clear()
        if kind == "list":
            self.store.list_faults.append(ConnectionResetError())
        elif kind == "read":
            self.store.read_faults.append(TimeoutError())
        elif kind == "denied":
            self.store.denied.add(path)
        elif kind == "short":
            self.store.shortened.add(path)

    @invariant()
    def shows_only_what_was(self) -> None:
        if not hasattr(self, "store"):
            return
        for path, data in contents(self.directory).items():
            states = self.had[path]
            growing = "tfevents" in path
            assert data in states or (growing and any(state.startswith(data) for state in states)), path

    def teardown(self) -> None:
        if hasattr(self, "store"):
            with self.temporary:
                self.comes_to_what_is_there()

    def comes_to_what_is_there(self) -> None:
        self.order_fault("none", EVENTS)
        self.store.list_faults.clear()
        self.store.read_faults.clear()
        for _ in range(3):
            self.clock.now += 1000.0
            while self.mirror.sync():
                pass
        assert contents(self.directory) == {path: self.store.objects[path] for path in select(self.store.files())}


TestMirrorMachine = MirrorMachine.TestCase
TestMirrorMachine.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
