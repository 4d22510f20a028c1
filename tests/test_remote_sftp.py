"""Against an SFTP server, asyncssh's own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftmon.remote.address import Address
from raftmon.remote.faults import Failed, fault_of
from raftmon.remote.mirror import Mirror, Pace
from raftmon.remote.store import FsspecStore
from tests.scripted import header_record, losses
from tests.sftp_server import PASSWORD, sftp_server

pytest.importorskip("asyncssh", reason="needs pip install -e '.[test,remote]'")
pytest.importorskip("sshfs", reason="needs pip install -e '.[test,remote]'")

# A connection that is given up in the middle is left to the garbage collector by the libraries that made it.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
LOGS = "logs/events.out.tfevents.1.host.1.0"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


def open_store(port: int, known: str | tuple[()], tmp_path: Path, password: str = PASSWORD) -> FsspecStore:
    hosts = tmp_path / "known_hosts"
    hosts.write_text(known if known else "")
    # No configuration, key or agent of whoever runs the tests.
    options = {"known_hosts": str(hosts), "config": None, "client_keys": None, "agent_path": None}
    return FsspecStore(Address(f"sftp://me:{password}@127.0.0.1:{port}/raft"), options)


def test_a_directory_on_another_machine_is_mirrored_and_followed(tmp_path: Path) -> None:
    there = tmp_path / "there"
    events = there / "raft" / "cycle_1" / LOGS
    events.parent.mkdir(parents=True)
    events.write_bytes(header_record() + losses(*range(100)))
    for number in (5, 10):
        (there / "raft" / "cycle_1" / f"checkpoint-{number}").mkdir()
        (there / "raft" / "cycle_1" / f"checkpoint-{number}" / "trainer_state.json").write_text('{"max_steps": 9}')
    root, parts = tmp_path / "tree", tmp_path / "parts"
    root.mkdir()
    parts.mkdir()
    with sftp_server(there) as (port, known):
        store = open_store(port, known, tmp_path)
        mirror = Mirror(store, root, parts, pace=Pace(0.0, 0.0, 0.0, 0.0))
        mirror.sync()
        assert not list(mirror.problems("x"))
        found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        assert found == {f"cycle_1/{LOGS}", "cycle_1/checkpoint-10/trainer_state.json"}
        assert (root / "cycle_1" / LOGS).stat().st_mtime == int(events.stat().st_mtime)
        with events.open("ab") as file:
            file.write(losses(0.5, first_step=100))
        before = mirror.bytes_read
        mirror.sync()
        assert (root / "cycle_1" / LOGS).read_bytes() == events.read_bytes()
        assert mirror.bytes_read - before == 256 + len(losses(0.5, first_step=100))
        assert store._tree.calls == 8  # twice: the logdir, cycle_1, logs, and the newest checkpoint


def test_an_unknown_host_is_not_trusted(tmp_path: Path) -> None:
    with sftp_server(tmp_path) as (port, _), pytest.raises(Exception, match=r".") as caught:
        open_store(port, (), tmp_path).files()
    fault = fault_of(caught.value)
    assert (fault.kind, fault.what) == ("denied", "the host is not known")


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path) -> None:
    with sftp_server(tmp_path) as (port, known), pytest.raises(Exception, match=r".") as caught:
        open_store(port, known, tmp_path, password="another").files()
    fault = fault_of(caught.value)
    assert fault.kind == "denied"
    assert "another" not in f"{fault}"


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with sftp_server(tmp_path) as (port, known), pytest.raises(Exception, match=r".") as caught:
        open_store(port, known, tmp_path).files()
    assert fault_of(caught.value).kind == "absent"


def test_a_host_that_refuses_is_a_passing_fault(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        open_store(9, (), tmp_path).files()
    assert not isinstance(caught.value, Failed)
    assert fault_of(caught.value).kind == "passing"
