"""Noticing changes: inotify for real, its limits lowered for real where that is permitted, and the fallbacks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftmon.runs.mounts import file_system_of
from raftmon.runs.watch import Watcher
from tests.watching import PATIENCE, Clock, Seen, follow, told_of, unshared

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 22 0:35 / /data rw - nfs4 server:/data rw
41 22 0:36 / /data/local\\040disk rw - xfs /dev/sdb rw
"""


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher([tmp_path])
    yield watcher
    watcher.close()


def test_a_write_and_a_new_file_are_noticed(tmp_path: Path, watcher: Watcher) -> None:
    (tmp_path / "events.out.tfevents.0").write_bytes(b"")
    assert watcher.take().everything  # nobody has looked yet
    assert not watcher.polling

    with (tmp_path / "events.out.tfevents.1").open("wb") as file:
        told_of(watcher, tmp_path)
        file.write(b"y")
        file.flush()
        told_of(watcher, tmp_path)
    assert watcher.problems == []


def test_a_checkpoint_that_is_written_wakes_nobody(tmp_path: Path, watcher: Watcher) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        told_of(watcher, tmp_path)  # a name came
        file.write(b"y")
        file.flush()
        (tmp_path / "events.out.tfevents.1").write_bytes(b"")
        assert watcher.wait(PATIENCE)
        file.write(b"y")
        file.flush()
        while watcher.wait(0.05):
            assert watcher.take().directories == frozenset()


def test_nothing_changes_nothing_wakes(watcher: Watcher) -> None:
    watcher.take()
    assert not watcher.wait(0.05)
    changes = watcher.take()
    assert (changes.everything, changes.directories, changes.unsure) == (False, frozenset(), frozenset())


def test_a_missing_directory_is_polled_for_and_said(tmp_path: Path) -> None:
    watcher = Watcher([tmp_path / "later"])

    assert watcher.polling
    assert watcher.take().everything
    assert watcher.take().everything
    assert "does not exist yet" in watcher.problems[0].what


def test_a_directory_that_comes_later_is_watched_from_then_on(tmp_path: Path) -> None:
    watcher = Watcher([tmp_path / "later"])
    (tmp_path / "later").mkdir()
    watcher.take()
    try:
        assert not watcher.polling
        assert watcher.problems == []
    finally:
        watcher.close()


def test_a_logdir_that_is_there_is_watched_while_another_is_awaited(tmp_path: Path) -> None:
    (tmp_path / "now").mkdir()
    watcher = Watcher([tmp_path / "now", tmp_path / "later"])
    try:
        watcher.take()
        assert not watcher.polling
        assert [problem.where for problem in watcher.problems] == [str(tmp_path / "later")]
        (tmp_path / "now" / "events.out.tfevents.1").write_bytes(b"x")
        told_of(watcher, tmp_path / "now")
        (tmp_path / "later").mkdir()
        assert watcher.take().everything
        assert watcher.problems == []
        (tmp_path / "later" / "events.out.tfevents.1").write_bytes(b"x")
        told_of(watcher, tmp_path / "later")
    finally:
        watcher.close()


@pytest.mark.parametrize("way", ["renamed", "deleted"])
def test_a_root_that_was_recreated_is_watched_anew(tmp_path: Path, way: str) -> None:
    root, aside = tmp_path / "logs", tmp_path / "aside"
    root.mkdir()
    watcher = Watcher([root])
    try:
        watcher.take()
        if way == "renamed":
            root.rename(aside)
        else:
            root.rmdir()
        root.mkdir()
        if way == "deleted":  # the new directory may have the inode of the old one: only the kernel can tell
            assert watcher.wait(PATIENCE)
        assert watcher.take().everything

        (root / "events.out.tfevents.1").write_bytes(b"x")
        told_of(watcher, root)
    finally:
        watcher.close()


def test_a_network_file_system_is_polled(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / {tmp_path} rw - nfs4 server:/x rw\n")

    watcher = Watcher([tmp_path], mounts=mounts)

    assert watcher.polling
    assert "nfs4" in watcher.problems[0].what


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/me", "ext4"), ("/data/runs", "nfs4"), ("/data/local disk/runs", "xfs"), ("/database", "ext4")],
)
def test_the_innermost_mount_counts(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    assert file_system_of(Path(path), mounts) == kind


def test_wake_ends_a_wait(watcher: Watcher) -> None:
    watcher.take()
    watcher.wake()
    assert watcher.wait(PATIENCE)
    assert watcher.take().everything


def test_a_burst_that_the_kernels_queue_may_not_have_held_asks_for_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftmon.runs.watch.queue_limit", lambda: 40)
    clock = Clock()
    watcher = Watcher([tmp_path], clock=clock)
    watcher.take()
    try:
        for number in range(12):
            (tmp_path / f"events.out.tfevents.{number}").write_bytes(b"")
        seen = Seen()
        while not seen.everything:
            assert watcher.wait(PATIENCE)
            seen.add(watcher.take())
    finally:
        watcher.close()


LIMITED = unshared()


@pytest.mark.skipif(not LIMITED, reason="no user namespaces in which limits could be lowered")
def test_with_too_few_watches_everything_is_seen_and_the_shortage_is_said(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"run_{number:02d}").mkdir()

    report = follow(tmp_path, limits={"max_inotify_watches": 12}, writes=[f"run_{number:02d}" for number in range(30)])

    assert report["points"] == {f"run_{number:02d}": 1 for number in range(30)}
    told = [problem for problem in report["problems"] if "polled instead of watched" in problem["what"]]
    assert len(told) == 1
    assert "max_user_watches" in told[0]["remedy"]


@pytest.mark.skipif(not LIMITED, reason="no user namespaces in which limits could be lowered")
def test_without_an_inotify_instance_everything_is_polled_and_said(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()

    report = follow(tmp_path, limits={"max_inotify_instances": 0}, writes=["run"])

    assert report["points"] == {"run": 1}
    assert ["inotify refused" in problem["what"] for problem in report["problems"]] == [True]


def test_a_queue_that_overflows_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "run").mkdir()
    names = [str(tmp_path / "noise" / f"events.out.tfevents.{number}") for number in (1, 2)]

    def flood() -> None:
        files = [os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in names]
        for number in range(17_000):
            os.write(files[number % 2], b"\0")
        for file in files:
            os.close(file)

    report = follow(tmp_path, writes=["run"], before=flood)

    assert report["points"]["run"] == 1
    assert report["everything"]


def test_nested_directories_that_come_at_once_are_read_whole(tmp_path: Path) -> None:
    report = follow(tmp_path, writes=[f"group/{number}/deep/logs" for number in range(20)])

    assert report["points"] == {f"group/{number}/deep/logs": 1 for number in range(20)}
