"""Replacing a file: whole at every moment, for one writer and two, on disks that fail and after kill -9."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftmon.errors import Refused
from raftmon.trainers import replace as replace_module
from raftmon.trainers.replace import System, read_whole, replace_file

OLD = b"learning_rate: 5.0e-05  # old\n" + b"a: 1\n" * 2_000
NEW = b"learning_rate: 3.61e-05  # new\n" + b"a: 1\n" * 2_000
CALLS = [name for name in vars(System) if not name.startswith("_")]


class Failing(System):
    """A system whose n-th call fails, or ends the process there and then."""

    def __init__(self, at: int, error: int | None) -> None:
        self.at = at
        self.error = error
        self.made: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        call = object.__getattribute__(self, name)
        if name not in CALLS:
            return call

        def counted(*arguments: Any) -> Any:
            self.made.append(name)
            if len(self.made) == self.at and self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            result = call(*arguments)
            if len(self.made) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted


class Watched(System):
    """A system that notes who may read the file at each write."""

    def __init__(self) -> None:
        self.modes: list[int] = []

    def write(self, descriptor: int, data: bytes) -> int:  # type: ignore[override]
        self.modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return os.write(descriptor, data)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "raft.yaml"
    path.write_bytes(OLD)
    return path


def left_over(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir() if other.name != path.name]


def calls_of_a_replacement(config: Path) -> list[str]:
    system = Failing(0, None)
    replace_file(config, OLD, NEW, system)
    config.write_bytes(OLD)
    return system.made


def test_the_new_content_is_there_and_nothing_else(config: Path) -> None:
    replace_file(config, OLD, NEW)

    assert config.read_bytes() == NEW
    assert left_over(config) == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EINTR, errno.EDQUOT])
def test_each_call_may_fail_and_the_file_stays_whole(config: Path, error: int) -> None:
    made = calls_of_a_replacement(config)
    assert {"open", "flock", "write", "fsync", "rename", "fchmod"} <= set(made)
    committed = made.index("rename") + 1
    for at, name in enumerate(made, start=1):
        config.write_bytes(OLD)
        told = None
        try:
            replace_file(config, OLD, NEW, Failing(at, error))
        except Refused as refused:
            told = refused
        assert told is None or (told.exit_code == 4 and told.remedy)
        content = config.read_bytes()
        assert content in (OLD, NEW), (at, name)
        if at <= committed:
            assert told is not None, (at, name)
            assert content == OLD, (at, name)
        else:
            # The file is replaced; that its directory could not be flushed, or a descriptor closed, is no failure.
            assert content == NEW, (at, name)
        replace_file(config, content, OLD)
        assert left_over(config) == [], (at, name)


def test_each_call_may_be_the_last_before_kill_9(config: Path) -> None:
    made = calls_of_a_replacement(config)
    for at, name in enumerate(made, start=1):
        config.write_bytes(OLD)
        _kill(lambda at=at: replace_file(config, OLD, NEW, Failing(at, None)))  # type: ignore[misc]
        content = config.read_bytes()
        assert content == (NEW if "rename" in made[:at] else OLD), (at, name)
        # What the killed writer left behind stops nobody.
        replace_file(config, content, OLD)
        assert left_over(config) == [], (at, name)


def test_500_kills_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    """Each writer writes as fast as it can until it is killed; the file must be one of the two, whole."""
    config = tmp_path / "raft.yaml"
    config.write_bytes(OLD)
    random_source, seen, mode = random.Random(7), set(), stat.S_IMODE(config.stat().st_mode)
    for _ in range(500):
        child = os.fork()
        if not child:
            _write_for_ever(config)
        # The moment is what is tested: no clock can be handed to a process that is killed.
        time.sleep(random_source.uniform(0.0005, 0.006))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        content = config.read_bytes()
        assert content in (OLD, NEW)
        seen.add(content)
        assert stat.S_IMODE(config.stat().st_mode) == mode
    assert seen == {OLD, NEW}
    replace_file(config, content, NEW)
    assert left_over(config) == []


def _write_for_ever(config: Path) -> None:
    content, other = (OLD, NEW) if config.read_bytes() == OLD else (NEW, OLD)
    try:
        while True:
            replace_file(config, content, other)
            content, other = other, content
    finally:
        os._exit(1)


def _kill(action: Callable[[], None]) -> None:
    """Run something in a child that is expected to be killed."""
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_file_that_changed_meanwhile_is_not_overwritten(config: Path) -> None:
    config.write_bytes(OLD + b"mine: 1\n")

    with pytest.raises(Refused, match="changed while it was being worked on"):
        replace_file(config, OLD, NEW)

    assert config.read_bytes() == OLD + b"mine: 1\n"
    assert left_over(config) == []


def test_a_change_between_the_last_look_and_the_write_is_seen(config: Path) -> None:
    class Meddled(System):
        """An editor saves the file while the new one is being flushed to the disk."""

        def fsync(self, descriptor: int) -> None:  # type: ignore[override]
            config.write_bytes(b"edited: 1\n")
            os.fsync(descriptor)

    with pytest.raises(Refused, match="changed while"):
        replace_file(config, OLD, NEW, Meddled())

    assert config.read_bytes() == b"edited: 1\n"


def test_of_two_writers_one_is_told(config: Path) -> None:
    told: list[Refused] = []

    class Slow(System):
        """A second writer comes while this one holds the lock."""

        def rename(self, source: str, target: str) -> None:  # type: ignore[override]
            with pytest.raises(Refused) as caught:
                replace_file(config, OLD, b"second")
            told.append(caught.value)
            Path(source).rename(target)

    replace_file(config, OLD, NEW, Slow())

    assert config.read_bytes() == NEW
    assert "another raftmon is writing it right now" in told[0].what


def test_many_writers_at_once_lose_no_update(tmp_path: Path) -> None:
    """Each adds a line to what it read; whoever was not refused must be in the file."""
    config = tmp_path / "raft.yaml"
    config.write_bytes(b"")
    script = (
        "import sys\nfrom pathlib import Path\nfrom raftmon.errors import Refused\n"
        "from raftmon.trainers.replace import replace_file\npath = Path(sys.argv[1])\ndone = 0\n"
        "for number in range(40):\n    old = path.read_bytes()\n"
        "    try:\n        replace_file(path, old, old + f'{sys.argv[2]}:{number}\\n'.encode())\n        done += 1\n"
        "    except Refused:\n        pass\nprint(done)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(config), name], stdout=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    done = sum(int(writer.communicate(timeout=60)[0]) for writer in writers)

    lines = config.read_text().splitlines()
    assert len(lines) == done > 0
    assert len(set(lines)) == done
    assert left_over(config) == []


def test_a_lock_file_system_less_machine_refuses_what_another_left(config: Path) -> None:
    class Lockless(System):
        def flock(self, descriptor: int, operation: int) -> None:  # type: ignore[override]
            raise OSError(errno.ENOLCK, "No locks available")

    replace_file(config, OLD, NEW, Lockless())
    assert config.read_bytes() == NEW
    leftover = config.parent / ".raft.yaml.raftmon"
    leftover.write_bytes(b"half")

    with pytest.raises(Refused, match="another writer is at it, or was killed") as caught:
        replace_file(config, NEW, OLD, Lockless())
    assert str(leftover) in caught.value.remedy
    assert config.read_bytes() == NEW


def test_a_full_disk_is_told_and_harmless(tmp_path: Path) -> None:
    """The real thing where a small file system can be mounted; else the limit on file sizes, which fails alike."""
    config = tmp_path / "raft.yaml"
    with _little_room(tmp_path, len(OLD)) as has_error:
        config.write_bytes(OLD)
        with pytest.raises(Refused, match=has_error) as caught:
            replace_file(config, OLD, NEW + b"a: 2\n" * 200_000)
        assert config.read_bytes() == OLD
        assert left_over(config) == []
        assert "config is as it was" in caught.value.remedy


class _little_room:  # noqa: N801 - used as a function
    """A directory in which little can be written."""

    def __init__(self, directory: Path, least: int) -> None:
        self.directory = directory
        self.least = least
        self.mounted = False

    def __enter__(self) -> str:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(self.directory)]
        try:
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            self.mounted = False
        if self.mounted:
            return "No space left"
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, self.before[1]))
        return "File too large"

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.directory)], check=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
            signal.signal(signal.SIGXFSZ, self.handler)


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], None]], str]:
    """Run something without the rights of root, which no permission stops; returns what was refused."""

    def run(action: Callable[[], None]) -> str:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                action()
                os.write(writer, b"done")
            except Refused as refused:
                os.write(writer, f"{refused.what}|{refused.remedy}".encode())
            except BaseException as error:
                os.write(writer, repr(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as pipe:
            return pipe.read().decode()

    return run


def test_a_directory_without_write_permission(tmp_path: Path, as_nobody: Callable[[Callable[[], None]], str]) -> None:
    directory = Path(os.path.realpath("/tmp")) / f"raftmon-{os.getpid()}"
    directory.mkdir(mode=0o755)
    config = directory / "raft.yaml"
    try:
        config.write_bytes(OLD)
        directory.chmod(0o555)
        told = as_nobody(lambda: replace_file(config, OLD, NEW))
        assert told.startswith("cannot be written: Permission denied|Make the directory writable")
        assert config.read_bytes() == OLD
    finally:
        directory.chmod(0o755)
        config.unlink()
        directory.rmdir()


def test_mode_owner_and_attributes_stay(config: Path) -> None:
    config.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(config, 1234, 1235)
    has_attributes = True
    try:
        os.setxattr(config, "user.note", b"mine")
    except OSError:
        has_attributes = False

    replace_file(config, OLD, NEW)

    status = config.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    if os.geteuid() == 0:
        assert (status.st_uid, status.st_gid) == (1234, 1235)
    if has_attributes:
        assert os.getxattr(config, "user.note") == b"mine"


def test_the_new_content_is_never_readable_by_others(config: Path) -> None:
    config.chmod(0o600)
    system = Watched()

    replace_file(config, OLD, NEW, system)

    assert set(system.modes) == {0o600}


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "raft.yaml", tmp_path / "link.yaml"
    target.write_bytes(OLD)
    link.symlink_to("real/raft.yaml")

    replace_file(link, OLD, NEW)

    assert link.is_symlink()
    assert target.read_bytes() == NEW
    assert left_over(target) == []


def test_hard_links_and_strange_files_are_refused(config: Path) -> None:
    other = config.parent / "other.yaml"
    os.link(config, other)
    with pytest.raises(Refused, match="2 names"):
        replace_file(config, OLD, NEW)
    assert other.read_bytes() == config.read_bytes() == OLD

    pipe = config.parent / "pipe.yaml"
    os.mkfifo(pipe)
    with pytest.raises(Refused, match="not a regular file"):
        read_whole(pipe, 1_000)
    with pytest.raises(Refused, match="cannot be read"):
        read_whole(config.parent / "missing.yaml", 1_000)
    with pytest.raises(Refused, match="larger than"):
        read_whole(config, 1_000)
    loop = config.parent / "loop.yaml"
    loop.symlink_to("loop.yaml")
    with pytest.raises(Refused, match="cannot be read"):
        read_whole(loop, 1_000)


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    config = tmp_path / ("ü" * 120 + ".yaml")
    config.write_bytes(OLD)

    replace_file(config, OLD, NEW)

    assert config.read_bytes() == NEW


def test_a_writer_that_waits_at_a_lock_does_not_write_into_the_config(config: Path) -> None:
    """It opened the temporary file of another writer, which then became the config."""
    temporary = replace_module._temporary(str(config))  # the file system shows no other way to that moment
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    Path(temporary).rename(config)
    os.close(descriptor)
    config.write_bytes(OLD)

    class Late(System):
        opened = 0

        def open(self, path: str, flags: int, mode: int = 0o777) -> int:  # type: ignore[override]
            if path == temporary and not self.opened:
                self.opened = 1
                return os.open(config, os.O_RDWR)
            return os.open(path, flags, mode)

    replace_file(config, OLD, NEW, Late())
    assert config.read_bytes() == NEW


def test_a_leftover_with_another_name_is_not_written_into(config: Path) -> None:
    """A copy of the directory by hard links, made while a killed writer's file lay there; or one laid on purpose."""
    temporary, precious = config.parent / ".raft.yaml.raftmon", config.parent / "precious.txt"
    precious.write_bytes(b"mine")
    os.link(precious, temporary)

    replace_file(config, OLD, NEW)

    assert (precious.read_bytes(), config.read_bytes()) == (b"mine", NEW)
    temporary.symlink_to(precious)
    replace_file(config, NEW, OLD)
    assert (precious.read_bytes(), config.read_bytes()) == (b"mine", OLD)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_a_leftover_of_somebody_else_is_not_written_into(config: Path) -> None:
    temporary = config.parent / ".raft.yaml.raftmon"
    temporary.write_bytes(b"trap")
    os.chown(temporary, 65534, 65534)
    temporary.chmod(0o666)
    with temporary.open("rb") as open_before:
        replace_file(config, OLD, NEW)
        assert open_before.read() == b"trap"

    assert config.read_bytes() == NEW
    assert config.stat().st_uid == 0


def test_a_leftover_that_others_may_read_is_closed_before_the_first_byte(config: Path) -> None:
    temporary = config.parent / ".raft.yaml.raftmon"
    temporary.write_bytes(b"half")
    temporary.chmod(0o644)
    config.chmod(0o600)
    system = Watched()

    replace_file(config, OLD, NEW, system)

    assert set(system.modes) == {0o600}


def test_who_comes_second_with_the_same_content_is_done(config: Path) -> None:
    """All ranks of one training ask for the same."""
    replace_file(config, OLD, NEW)
    replace_file(config, OLD, NEW)

    assert config.read_bytes() == NEW
    assert left_over(config) == []
