"""Mirrors from beginning to end: fetched, followed, shown under their URLs, deleted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from raftmon import hook
from raftmon.cli import main
from raftmon.errors import NothingToRead, Refused, UsageError
from raftmon.journal import Journal
from raftmon.mirrored import Mirrored, open_logdirs
from raftmon.remote.address import Address
from raftmon.remote.faults import Failed
from raftmon.remote.keeper import ATTEMPTS, CLOSE_SECONDS, DELETE_SECONDS, Keeper
from raftmon.remote.listing import Listing
from raftmon.remote.patience import MOST_HANGING, Patience
from raftmon.remote.private import PrivateDirectory
from raftmon.remote.store import FsspecStore
from tests.remote_stores import FakeStore
from tests.scripted import header_record, losses

EVENTS = "cycle_1/events.out.tfevents.1.host.1.0"
DATA = header_record() + losses(*(2.0 - 0.01 * step for step in range(200)), first_step=1)
Captured: TypeAlias = pytest.CaptureFixture[str]
ADDRESS = Address("s3://key:secret@bucket/raft/")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back what a command in this process did to signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.fixture
def memory() -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec", reason="needs pip install -e '.[test,remote]'")
    file_system = fsspec.filesystem("memory")
    file_system.store.clear()
    file_system.pseudo_dirs[:] = [""]
    yield file_system
    file_system.store.clear()


def keeper_of(*stores: FakeStore) -> Keeper:
    left = list(stores)
    return Keeper([ADDRESS] * len(stores), lambda _: left.pop(0))


def test_one_look_fetches_all_and_leaves_nothing_behind(temporary: Path) -> None:
    store = FakeStore()
    store.put(EVENTS, DATA)
    keeper = keeper_of(store)
    keeper.fetch(alone=True)
    (root,) = keeper.roots
    assert root.name == "raft"
    assert (root / EVENTS).read_bytes() == DATA
    assert keeper.shown(f"at {root / EVENTS}") == f"at s3://bucket/raft/{EVENTS}"
    keeper.close()
    assert list(temporary.iterdir()) == []


class Pauses:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


def test_one_look_gets_over_a_fault() -> None:
    pauses, store = Pauses(), FakeStore(list_faults=[ConnectionResetError()] * (ATTEMPTS - 1))
    store.put(EVENTS, DATA)
    keeper = Keeper([ADDRESS], lambda _: store, pauses.sleep, pauses.clock)
    keeper.fetch(alone=True, whole=True)
    assert (keeper.roots[0] / EVENTS).read_bytes() == DATA
    keeper.close()


def test_one_look_gives_up_after_some_failures_and_says_why() -> None:
    pauses, store = Pauses(), FakeStore(list_faults=[ConnectionResetError("secret")] * 100)
    keeper = Keeper([ADDRESS], lambda _: store, pauses.sleep, pauses.clock)
    with pytest.raises(NothingToRead) as caught:
        keeper.fetch(alone=True)
    assert store.requests == ATTEMPTS
    assert str(caught.value).startswith("s3://bucket/raft: the connection failed (ConnectionResetError)")
    assert "secret" not in str(caught.value)
    keeper.close()


def test_beside_another_logdir_a_fault_is_a_problem() -> None:
    good = FakeStore()
    good.put(EVENTS, DATA)
    keeper = keeper_of(FakeStore(list_faults=[PermissionError()]), good)
    keeper.fetch(alone=True)
    assert [problem.what for problem in keeper.problems()] == ["access denied"]
    with pytest.raises(Refused, match="not all of it could be read: access denied"):
        keeper_of(FakeStore(list_faults=[PermissionError()]), good).fetch(alone=True, whole=True)
    keeper.close()


class Hanging(FakeStore):
    """A store that never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.gives_up = threading.Event(), threading.Event()

    def files(self) -> Listing:
        self.asked.set()
        self.gives_up.wait(30.0)
        raise ConnectionResetError


def test_the_end_waits_once_for_all_that_hang_and_not_for_each(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = list[float]()
    join = threading.Thread.join

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        assert timeout is not None
        waits.append(timeout)
        join(thread, timeout)

    stores = [Hanging() for _ in range(8)]
    keeper = keeper_of(*stores)
    keeper.start()
    assert all(store.asked.wait(10.0) for store in stores)
    monkeypatch.setattr(threading.Thread, "join", joined)
    keeper.close()
    assert len(waits) == 9
    assert waits[0] <= CLOSE_SECONDS - DELETE_SECONDS
    assert max(waits[1:-1]) < 0.01, "the first took all of it"
    assert waits[-1] == pytest.approx(DELETE_SECONDS, abs=0.01)
    for store in stores:
        store.gives_up.set()
    assert list(temporary.iterdir()) == []


def test_what_was_not_deleted_in_time_is_deleted_by_the_next_program(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = PrivateDirectory()
    (mine.path / "0" / "tree").mkdir(parents=True)
    with monkeypatch.context() as ends:
        ends.setattr("raftmon.remote.private.shutil.rmtree", lambda *_, **__: None)
        mine.close()
    assert (mine.path / "0").exists()
    other = PrivateDirectory()
    assert list(temporary.iterdir()) == [other.path]
    other.close()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_program_left_is_deleted_by_the_next_one(temporary: Path) -> None:
    command = (
        "import os, signal; from raftmon.remote.private import PrivateDirectory;"
        "made = PrivateDirectory(); print(made.path, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment, pipe = {"TMPDIR": str(temporary), "PYTHONPATH": ":".join(sys.path)}, subprocess.PIPE
    done = subprocess.run([sys.executable, "-c", command], env=environment, stdout=pipe, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    mine = PrivateDirectory()
    assert not left.exists()
    other = PrivateDirectory()
    assert mine.path.is_dir()
    assert mine.path.stat().st_mode & 0o777 == 0o700
    mine.close()
    other.close()
    assert list(temporary.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="TMPDIR"):
        keeper_of(FakeStore())


def test_calls_that_hang_are_given_up_and_not_piled_up() -> None:
    import threading

    release = threading.Event()
    patience = Patience(0.01)
    for _ in range(MOST_HANGING + 3):
        with pytest.raises(Failed, match=r"no answer within 0.01 s"):
            patience.call(release.wait)
    assert sum(thread.name == "raftmon-remote-call" for thread in threading.enumerate()) == MOST_HANGING
    release.set()
    for thread in threading.enumerate():
        if thread.name == "raftmon-remote-call":
            thread.join(5.0)
    patience.seconds = 5.0
    assert patience.call(lambda: 7) == 7
    with pytest.raises(KeyError):
        patience.call(lambda: {"y": 1}["x"])


def test_a_snapshot_knows_the_url_alone(memory: Any, temporary: Path) -> None:
    memory.pipe_file(f"/raft/{EVENTS}", DATA)
    memory.pipe_file("/raft/cycle_1_verified.jsonl", b'{"success": true}\nno json\n')
    monitor = open_logdirs([Address("memory://raft")])
    snapshot = monitor.poll()
    assert snapshot.logdirs == ("memory://raft",)
    assert [(run.run, run.path, run.last_step) for run in snapshot.runs] == [("cycle_1", "memory://raft/cycle_1", 200)]
    assert [(one.path, one.title) for one in snapshot.campaigns] == [("memory://raft", "raft")]
    assert [problem.where for problem in snapshot.problems] == ["memory://raft/cycle_1_verified.jsonl:2"]
    assert str(temporary) not in repr(snapshot)
    assert monitor.poll() is snapshot
    monitor.close()
    assert list(temporary.iterdir()) == []


def test_a_follower_sees_growth_and_faults_come_and_go(memory: Any) -> None:
    memory.pipe_file(f"/raft/{EVENTS}", DATA)
    monitor = open_logdirs([Address("memory://raft")], watching=True)
    assert isinstance(monitor, Mirrored)
    try:
        snapshot = monitor.poll()
        while [run.last_step for run in snapshot.runs] != [200]:
            monitor.wait(0.2)
            snapshot = monitor.poll()
        version = snapshot.version
        memory.pipe_file(f"/raft/{EVENTS}", DATA + losses(0.1, first_step=201))
        while [run.last_step for run in snapshot.runs] != [201]:
            monitor.wait(0.2)
            snapshot = monitor.poll()
        assert snapshot.version > version
        memory.rm("/raft", recursive=True)
        while not any("no such bucket or directory" in problem.what for problem in snapshot.problems):
            monitor.wait(0.2)
            snapshot = monitor.poll()
        (problem,) = snapshot.problems
        assert problem.where == "memory://raft"
        assert problem.remedy.endswith("It is tried again as long as this runs.")
        assert [run.last_step for run in snapshot.runs] == [201]
    finally:
        monitor.close()


def test_the_journal_knows_a_campaign_by_its_url(memory: Any, tmp_path: Path) -> None:
    config = tmp_path / "raft.yaml"
    config.write_text("learning_rate: 5.0e-05\nmodel_name_or_path: tiny\nper_device_train_batch_size: 4\n")
    memory.pipe_file(f"/raft/{EVENTS}", DATA)
    memory.pipe_file("/raft/cycle_1_verified.jsonl", b'{"success": true}\n{"success": false}\n')
    journal = tmp_path / "journal"
    done = hook.pre_cycle(config, "memory://raft", apply=True, journal=journal, processes=list)
    assert (done.cycle, done.applied, done.refused) == (2, True, None)
    (entry,) = Journal(journal).standing(config)
    assert entry.campaign == "memory://raft"


def run(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_advise_and_lint_take_urls(
    memory: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, temporary: Path
) -> None:
    memory.pipe_file(f"/raft/{EVENTS}", DATA)
    code, out, err = run(capsys, "advise", "memory://raft", "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["runs"][0]["path"] == "memory://raft/cycle_1"
    config = tmp_path / "raft.yaml"
    config.write_text("learning_rate: 5.0e-05\nmodel_name_or_path: tiny\nper_device_train_batch_size: 4\n")
    code, out, err = run(capsys, "lint", str(config), "--logdir", "memory://raft")
    assert (code, err) == (0, "")
    assert "cycle_1" in out
    assert list(temporary.iterdir()) == []


def test_a_missing_extra_is_said_with_its_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.registry", None)
    code, out, err = run(capsys, "advise", "s3://key:secret@bucket/raft")
    assert (code, out) == (2, "")
    assert err == "raftmon: s3://bucket/raft: needs the extra `remote`\n  pip install 'raftmon[remote]'.\n"


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("nothing://x", 2, "raftmon: nothing://x: unknown kind of URL: nothing://"),
        ("s3://", 2, "raftmon: s3://: no bucket or host is named"),
        ("sftp://me:se/cret@host/x", 2, "raftmon: sftp://host/x: host and port cannot be told apart"),
        ("memory://not/there", 3, "raftmon: memory://not/there: no such bucket or directory"),
    ],
)
def test_urls_that_lead_nowhere(
    memory: Any, capsys: pytest.CaptureFixture[str], url: str, code: int, told: str
) -> None:
    ended, out, err = run(capsys, "advise", url)
    assert (ended, out) == (code, "")
    assert err.startswith(told)
    assert "cret" not in err


def test_a_local_logdir_imports_nothing_of_this(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / Path(EVENTS).name).write_bytes(DATA)
    command = (
        "import sys; from raftmon.mirrored import open_logdirs; from pathlib import Path;"
        f"open_logdirs([Path({str(tmp_path)!r})]).poll();"
        "print([name for name in sys.modules if name.split('.')[0] in ('fsspec', 's3fs') or 'remote.keeper' in name])"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_options_keep_ssh_from_trusting_strangers() -> None:
    pytest.importorskip("sshfs", reason="needs pip install -e '.[test,remote]'")
    assert FsspecStore(Address("ssh://host/runs"))._options["known_hosts"] == ()
