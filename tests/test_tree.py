"""What lies below a logdir, look by look: compared with a walk from scratch after each change."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from raftmon.runs.mounts import has_idle_times
from raftmon.runs.places import Places
from raftmon.runs.tree import Tree

EVENTS = "events.out.tfevents.1"


def write(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def known(tree: Tree, root: Path) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Each directory of interest with its event files and whether it holds files of a campaign."""
    return {
        str(Path(path).relative_to(root)): (tree.event_files(path), tree.has_cycles(path))
        for path in tree.identities()
        if tree.event_files(path) or tree.has_cycles(path)
    }


def test_runs_and_campaigns_are_found_through_links_once(tmp_path: Path) -> None:
    logdir = tmp_path / "logs"
    write(logdir / "a b [1]" / "cycle_1" / "logs" / EVENTS)
    write(logdir / "a b [1]" / "cycle_1_verified.jsonl")
    write(logdir / ".git" / EVENTS)
    (logdir / "a b [1]" / "loop").symlink_to(logdir)
    write(tmp_path / "outside" / EVENTS)
    (logdir / "linked").symlink_to(tmp_path / "outside")
    tree = Tree(str(logdir))

    tree.look()

    assert known(tree, logdir) == {
        "a b [1]": ((), True),
        "a b [1]/cycle_1/logs": ((EVENTS,), False),
        "linked": ((EVENTS,), False),
    }
    assert tree.nearest(str(logdir / "a b [1]" / "loop" / "linked")) == str(logdir / "linked")


def test_a_directory_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, scandir = tmp_path / "closed", os.scandir
    closed.mkdir()

    def refuse(path: str) -> object:
        if path == str(closed):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        tree = Tree(str(tmp_path))
        tree.look()
        told = [(problem.where, problem.what) for problem in tree.problems()]
        assert told == [(str(closed), "cannot be listed: Permission denied")]

    write(closed / EVENTS)
    tree.look()
    assert tree.problems() == []
    assert known(tree, tmp_path) == {"closed": ((EVENTS,), False)}


def test_a_look_tells_what_grew_and_lists_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        write(tmp_path / name / EVENTS)
    tree = Tree(str(tmp_path), now_ns=lambda: 2**62)  # long after: times are trusted
    tree.look()
    listed: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)

    write(tmp_path / "a" / EVENTS, b"more")
    grown = tree.look().grown
    assert (grown, listed) == ({str(tmp_path / "a")}, [])
    assert tree.look().grown == set()

    write(tmp_path / "b" / "hparams.yaml", b"learning_rate: 1")
    assert tree.look().grown == {str(tmp_path / "b")}
    assert listed == [str(tmp_path / "b")]


def test_a_directory_that_changed_just_now_is_not_trusted(tmp_path: Path) -> None:
    write(tmp_path / "run" / EVENTS)
    before = (tmp_path / "run").stat()
    tree = Tree(str(tmp_path), now_ns=lambda: before.st_mtime_ns)
    tree.look()
    write(tmp_path / "run" / f"{EVENTS}.2")
    os.utime(tmp_path / "run", ns=(before.st_atime_ns, before.st_mtime_ns))  # as within one tick of its clock

    tree.look()

    assert tree.event_files(str(tmp_path / "run")) == (EVENTS, f"{EVENTS}.2")


def test_where_directories_have_no_time_names_are_listed_at_each_look(tmp_path: Path) -> None:
    write(tmp_path / "run" / EVENTS)
    before = (tmp_path / "run").stat()
    tree = Tree(str(tmp_path), trust_times=False, now_ns=lambda: 2**62)
    tree.look()
    write(tmp_path / "run" / f"{EVENTS}.2")
    os.utime(tmp_path / "run", ns=(before.st_atime_ns, before.st_mtime_ns))

    tree.look()

    assert tree.event_files(str(tmp_path / "run")) == (EVENTS, f"{EVENTS}.2")


@pytest.mark.parametrize(("kind", "idle"), [("fuse.s3fs", True), ("9p", True), ("nfs4", False), ("ext4", False)])
def test_object_stores_in_user_space_have_no_times(tmp_path: Path, kind: str, idle: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / / rw - {kind} x rw\n")

    assert has_idle_times(tmp_path, mounts) is idle


def test_a_link_takes_over_when_what_it_shows_is_left_alone(tmp_path: Path) -> None:
    logdir = tmp_path / "logs"
    write(tmp_path / "there" / EVENTS)
    logdir.mkdir()
    for name in ("a", "b"):
        (logdir / name).symlink_to(tmp_path / "there")
    tree = Tree(str(logdir))
    tree.look()
    assert known(tree, logdir) == {"a": ((EVENTS,), False)}

    (logdir / "a").unlink()
    tree.look()

    assert known(tree, logdir) == {"b": ((EVENTS,), False)}


def test_a_round_goes_through_all_directories(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / str(number)).mkdir()
    tree = Tree(str(tmp_path))
    tree.look()

    seen = [path for _ in range(4) for path in tree.turn(3)]

    assert set(seen) == set(tree.identities())


NAMES = st.sampled_from(["a", "b", "train", "validation"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


class TreeMachine(RuleBasedStateMachine):
    """Changes directories at random; a tree that looks at them must know what a new one finds."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.root = self.base / "logs"
        self.places = Places([str(self.root)])
        self.followed: dict[str, dict[str, str]] = {}
        self.count = 0

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    @rule(path=PATHS, name=st.sampled_from([EVENTS, "events.out.tfevents.2", "cycle_1_verified.jsonl"]))
    def write(self, path: str, name: str) -> None:
        self.count += 1
        write(self.root / path / name, b"x" * self.count)

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        target = self.root / path
        if target.is_symlink():
            target.unlink()
        elif target.is_dir():
            shutil.rmtree(target)

    @rule(path=PATHS, name=st.sampled_from([EVENTS, "events.out.tfevents.2"]))
    def unlink(self, path: str, name: str) -> None:
        (self.root / path / name).unlink(missing_ok=True) if (self.root / path).is_dir() else None

    @rule(source=PATHS, to=PATHS)
    def move(self, source: str, to: str) -> None:
        old, new = self.root / source, self.root / to
        if old.is_dir() and new.parent.is_dir() and not os.path.lexists(new) and not f"{to}/".startswith(source):
            old.rename(new)

    @rule(path=PATHS, to=PATHS)
    def link(self, path: str, to: str) -> None:
        link = self.root / path
        if link.parent.is_dir() and not os.path.lexists(link) and (self.root / to).is_dir():
            link.symlink_to(self.root / to)

    @rule()
    def recreate(self) -> None:
        if self.root.is_dir():
            shutil.rmtree(self.root)
        write(self.root / "a" / EVENTS)

    @invariant()
    def knows_what_a_new_one_finds(self) -> None:
        self.take(self.places)
        fresh = Tree(str(self.root))
        fresh.look()
        mine = self.places.identities()
        assert set(mine.values()) == set(fresh.identities().values())
        for path, identity in mine.items():
            (same,) = (other for other, its in fresh.identities().items() if its == identity)
            assert Path(path).resolve() == Path(same).resolve()
        files = {os.path.realpath(file) for run in self.followed.values() for file in run}
        there = {os.path.realpath(f"{path}/{name}") for path in fresh.identities() for name in fresh.event_files(path)}
        assert files == there

    def take(self, places: Places) -> None:
        """Follow the files as the monitor does."""
        news = places.look(None)
        for run, file, prefix in news.arrived:
            self.followed.setdefault(run, {})[file] = prefix
        for run, files in news.left.items():
            for file in files:
                self.followed.get(run, {}).pop(file, None)
        for run in news.runs & self.followed.keys():
            kept = {file: prefix for file, prefix in self.followed[run].items() if Path(file).is_file()}
            if kept != self.followed[run]:
                self.followed[run] = kept
                places.doubt(run)


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
