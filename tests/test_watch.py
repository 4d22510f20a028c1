"""Noticing changes: inotify for real, and the fallbacks."""

from pathlib import Path

import pytest

from raftmon.runs import watch
from raftmon.runs.watch import Watcher, file_system_of

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 22 0:35 / /data rw - nfs4 server:/data rw
41 22 0:36 / /data/local\\040disk rw - xfs /dev/sdb rw
"""
PATIENCE = 10.0
"""Seconds after which an event of the kernel counts as lost."""


def test_a_write_and_a_new_directory_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    watcher = Watcher([tmp_path])
    try:
        assert watcher.take().everything  # nobody has looked yet
        assert not watcher.polling

        with (tmp_path / "run" / "events.out.tfevents.1").open("wb") as file:
            file.write(b"x")
        assert watcher.wait(PATIENCE)
        assert watcher.take().everything

        with (tmp_path / "run" / "events.out.tfevents.1").open("ab") as file:
            file.write(b"y")
        seen: set[Path] = set()
        while tmp_path / "run" not in seen:
            assert watcher.wait(PATIENCE)
            seen |= watcher.take().directories
        assert watcher.problems == []
    finally:
        watcher.close()


def test_nothing_changes_nothing_wakes(tmp_path: Path) -> None:
    watcher = Watcher([tmp_path])
    try:
        watcher.take()
        assert not watcher.wait(0.05)
        changes = watcher.take()
        assert (changes.everything, changes.directories) == (False, frozenset())
    finally:
        watcher.close()


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
        assert watcher.wait(PATIENCE)
        assert watcher.take().everything
    finally:
        watcher.close()


def test_a_network_file_system_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(watch, "_MOUNTS", mounts)

    watcher = Watcher([tmp_path])

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


def test_too_few_watches_are_noticed_before_they_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "max_user_watches"
    limit.write_text("3\n")
    for name in "abcd":
        (tmp_path / "logs" / name).mkdir(parents=True)
    monkeypatch.setattr(watch, "_MAX_WATCHES", limit)

    watcher = Watcher([tmp_path / "logs"])

    assert watcher.polling
    assert "max_user_watches" in watcher.problems[0].what


def test_wake_ends_a_wait(tmp_path: Path) -> None:
    watcher = Watcher([tmp_path])
    try:
        watcher.take()
        watcher.wake()
        assert watcher.wait(PATIENCE)
        assert watcher.take().everything
    finally:
        watcher.close()
