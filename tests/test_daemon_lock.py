"""One daemon a journal."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftmon.daemon.lock import JournalLock
from raftmon.errors import UsageError

HOLDER = """
import sys
from pathlib import Path
from raftmon.daemon.lock import JournalLock
lock = JournalLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_daemon_is_refused_with_the_pid_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    command = [sys.executable, "-c", HOLDER, str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"another daemon uses this journal: pid {first.pid}\n.*--journal"):
            JournalLock(journal)
        first.kill()
        first.wait(10)
    lock = JournalLock(journal)
    assert lock.trouble == ""
    assert lock.path.read_text().split()[0] == str(os.getpid())


def test_a_journal_is_the_same_one_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "journal.sqlite3")
    held = JournalLock(tmp_path / "journal.sqlite3")
    with pytest.raises(UsageError, match=f"pid {os.getpid()}"):
        JournalLock(tmp_path / "link")
    held.release()
    JournalLock(tmp_path / "link").release()


def test_a_full_disk_or_one_without_locks_keeps_nobody_from_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fcntl, "flock", full)
    assert JournalLock(tmp_path / "journal.sqlite3").trouble == "No space left on device"


def test_a_place_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--journal PATH"):
        JournalLock(tmp_path / "file" / "journal.sqlite3")


def test_what_a_link_in_its_place_points_to_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("keep me")
    (tmp_path / "journal.sqlite3.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError, match="symbolic links"):
        JournalLock(tmp_path / "journal.sqlite3")
    assert (tmp_path / "victim").read_text() == "keep me"
