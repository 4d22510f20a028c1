"""Which directories the kernel watches, and what becomes of those that it does not."""

import logging
from pathlib import Path

from raftmon.runs.tree import Identity, Tree
from raftmon.runs.watch import POLL_SECONDS, Watcher
from raftmon.runs.watches import kernel_watches
from tests.watching import Clock, told_of


def test_the_kernel_tells_what_it_watches(tmp_path: Path) -> None:
    watcher = Watcher([tmp_path])
    status = tmp_path.stat()
    (tmp_path / "new").mkdir()
    told_of(watcher, tmp_path)

    watches = kernel_watches()
    watcher.close()

    assert watches is not None
    assert (status.st_dev, status.st_ino) in watches
    assert kernel_watches(tmp_path / "none") is None


class Kernel:
    """What the kernel says that it watches, by hand."""

    def __init__(self) -> None:
        self.watched: frozenset[Identity] | None = frozenset()

    def __call__(self) -> frozenset[Identity] | None:
        return self.watched


def covering(tmp_path: Path, *names: str) -> tuple[Watcher, Kernel, Clock, dict[str, Identity]]:
    """A watcher of a logdir with directories, whose kernel and clock are moved by hand."""
    for name in names:
        (tmp_path / name).mkdir()
    clock, kernel = Clock(), Kernel()
    watcher = Watcher([tmp_path], clock=clock, watches=kernel)
    watcher.take()
    tree = Tree(str(tmp_path))
    tree.look()
    return watcher, kernel, clock, tree.identities()


def test_exactly_what_has_no_watch_is_polled_and_said(tmp_path: Path) -> None:
    watcher, kernel, clock, directories = covering(tmp_path, "a", "b")
    kernel.watched = frozenset({directories[str(tmp_path)], directories[str(tmp_path / "a")]})

    watcher.cover(directories)
    watcher.take()
    clock.now += POLL_SECONDS
    first = watcher.take()
    clock.now += POLL_SECONDS / 2
    between = watcher.take()
    clock.now += POLL_SECONDS / 2
    watcher.close()

    assert not first.everything
    assert first.unsure == {str(tmp_path / "b")}
    assert between.unsure == frozenset()
    assert watcher.take().unsure == {str(tmp_path / "b")}
    (problem,) = watcher.problems
    assert problem.where == str(tmp_path / "b")
    assert problem.what.startswith("1 of 3 directories are polled instead of watched")
    assert "max_user_watches" in problem.remedy


def test_a_new_directory_is_looked_at_again_when_its_watch_is_there(tmp_path: Path) -> None:
    watcher, kernel, clock, directories = covering(tmp_path)
    kernel.watched = frozenset(directories.values())
    watcher.cover(directories)
    watcher.take()
    (tmp_path / "new").mkdir()
    status = (tmp_path / "new").stat()
    clock.now += 5.0
    told_of(watcher, tmp_path)

    watcher.cover({**directories, str(tmp_path / "new"): (status.st_dev, status.st_ino)})
    assert watcher.problems == []  # watchdog has a second for it
    assert str(tmp_path / "new") in watcher.take().unsure
    kernel.watched = frozenset({*directories.values(), (status.st_dev, status.st_ino)})
    clock.now += 5.0
    assert str(tmp_path / "new") in watcher.take().unsure
    clock.now += 5.0
    watcher.close()

    assert watcher.take().unsure == frozenset()
    assert watcher.problems == []


def test_numbers_that_are_not_the_kernels_are_counted(tmp_path: Path) -> None:
    watcher, kernel, clock, directories = covering(tmp_path, "a")
    kernel.watched = frozenset({(1, 1), (1, 2)})  # as on btrfs
    watcher.cover(directories)
    clock.now += 5.0
    assert watcher.problems == []

    kernel.watched = frozenset({(1, 1)})
    watcher.cover({**directories, str(tmp_path / "b"): (2, 2)})
    watcher.take()
    clock.now += POLL_SECONDS
    watcher.close()

    assert watcher.take().unsure == {*directories, str(tmp_path / "b")}


def test_a_mount_of_another_machine_below_the_logdir_is_polled(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    status = tmp_path.stat()
    here, far = (status.st_dev, status.st_ino), (status.st_dev + 1, 2)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / / rw - ext4 /dev/x rw\n2 1 0:1 / {tmp_path}/far rw - nfs4 server:/x rw\n")
    clock = Clock()
    watcher = Watcher([tmp_path], clock=clock, watches=lambda: frozenset({here, far}), mounts=mounts)
    watcher.take()
    watcher.cover({str(tmp_path): here, str(tmp_path / "far"): far})
    watcher.take()
    clock.now += POLL_SECONDS
    watcher.close()

    assert watcher.take().unsure == {str(tmp_path / "far")}
    assert [problem.where for problem in watcher.problems] == [str(tmp_path / "far")]
    assert "nfs4" in watcher.problems[0].what


def test_after_a_loss_of_events_all_is_looked_at_and_again_when_the_watches_are_back(tmp_path: Path) -> None:
    watcher, kernel, clock, directories = covering(tmp_path, "a", "b")
    kernel.watched = frozenset(directories.values())
    watcher.cover(directories)
    watcher.take()

    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    kernel.watched = frozenset()  # watchdog makes them anew
    first = watcher.take()
    clock.now += 5.0
    meanwhile = watcher.take()
    kernel.watched = frozenset(directories.values())
    clock.now += 5.0
    watcher.close()

    assert first.everything
    assert meanwhile.unsure == set(directories)
    assert watcher.take().unsure == set(directories)
    assert watcher.problems == []
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed")  # nobody listens any more
    assert not watcher.wait(0.0)
