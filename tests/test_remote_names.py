"""URLs and their secrets, faults in words, and which files are mirrored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.remote.address import Address, as_logdir, is_url, without_secrets
from raftmon.remote.faults import fault_of
from raftmon.remote.listing import STILL_EVERY_SECONDS, STILL_SECONDS, Entry, Info, Tree, entry_of
from raftmon.remote.selection import is_safe, select

EVENTS = "events.out.tfevents.1.host.1.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/raft", True),
        ("sftp://me@host:22/runs", True),
        ("filecache::s3://bucket", True),
        ("models/raft", False),
        ("/runs/a:b", False),
        ("C:/runs", False),
        ("s3:/bucket", False),
    ],
)
def test_what_is_a_url(text: str, expected: bool) -> None:
    assert is_url(text) is expected
    assert isinstance(as_logdir(text), Address if expected else Path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/raft/", "s3://bucket/raft"),
        ("s3://AKIA:secret@bucket/raft", "s3://bucket/raft"),
        ("sftp://me:secret@host:2222/runs", "sftp://host:2222/runs"),
        ("sftp://me:sec/ret@host/runs", "sftp://host/runs"),
        ("sftp://me:se@cret@host/runs", "sftp://host/runs"),
        ("ssh://host:22/home/a@b", "ssh://host:22/home/a@b"),
        ("https://host/runs?sig=secret", "https://host/runs"),
        ("https://host/runs#secret", "https://host/runs"),
        ("zip://a.zip::https://u:secret@host/runs?t=secret", "zip://a.zip::https://host/runs"),
    ],
)
def test_a_shown_url_opens_nothing(url: str, shown: str) -> None:
    address = Address(url)
    assert address.shown == str(address) == shown
    assert "secret" not in repr(address)


@given(st.text(min_size=8).filter(lambda text: not set(text) & set("/?#@:")))
def test_no_password_is_ever_shown(password: str) -> None:
    assert password not in without_secrets(f"sftp://me:{password}@h/r")
    assert password not in without_secrets(f"https://h/r?token={password}")


def test_the_name_of_a_url_is_its_last_part() -> None:
    assert [Address(url).name for url in ("s3://b/raft/cycle_3/", "s3://b", "s3://")] == ["cycle_3", "b", "s3:"]


class NoCredentialsError(Exception):
    """Named like botocore's."""


class ParamValidationError(Exception):
    """Named like botocore's: the address was never sent."""


class ClientError(Exception):
    """Like botocore's."""

    def __init__(self, code: str) -> None:
        super().__init__(f"secret {code}")
        self.response = {"Error": {"Code": code}}


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (FileNotFoundError("secret"), "absent", "no such bucket or directory"),
        (
            caused(FileNotFoundError("x"), ClientError("NoSuchBucket")),
            "absent",
            "no such bucket or directory (NoSuchBucket)",
        ),
        (PermissionError("secret"), "denied", "access denied"),
        (caused(PermissionError("secret"), ClientError("ExpiredToken")), "denied", "access denied (ExpiredToken)"),
        (NoCredentialsError("secret"), "denied", "access denied (no credentials found)"),
        (ParamValidationError("secret"), "absent", "no such address can be"),
        (TimeoutError("secret"), "unanswered", "no answer in time"),
        (caused(OSError("secret"), ClientError("SlowDown")), "passing", "the server asks to slow down (SlowDown)"),
        (ClientError("InternalError"), "passing", "the server answers with an error (InternalError)"),
        (ClientError("an evil\x1b[31m secret"), "passing", "the connection failed (ClientError)"),
        (ConnectionResetError("secret"), "passing", "the connection failed (ConnectionResetError)"),
    ],
)
def test_faults_are_told_in_words_of_our_own(error: Exception, kind: str, what: str) -> None:
    fault = fault_of(error)
    assert (fault.kind, fault.what) == (kind, what)
    assert "secret" not in f"{fault}"
    assert fault.remedy


def listing(*paths: str, size: int = 10) -> dict[str, Entry]:
    return {path: Entry(size, 1.0, "tag") for path in paths}


def test_configs_and_reports_count_near_runs_only() -> None:
    files = listing(
        f"raft/cycle_1/logs/{EVENTS}",
        "raft/cycle_1/logs/hparams.yaml",
        "raft/cycle_1/metrics.json",
        "raft/cycle_2/metrics.json",
        "raft/raft_statistics.json",
        "raft/summary.json",
        "raft/cycle_1_final/adapter_config.json",
        "data/config.yaml",
        "data/summary.json",
        "data/adapter_config.json",
        "raft/cycle_1/model.safetensors",
        "raft/__pycache__/" + EVENTS,
        f"raft/{EVENTS}.meta",
    )
    assert set(select(files)) == set(list(files)[:7])


def test_of_checkpoints_two_small_files_of_the_newest_count() -> None:
    names = ("trainer_state.json", "adapter_config.json", "optimizer.pt")
    files = listing(EVENTS, *(f"checkpoint-{step}/{name}" for step in (5, 40, 300) for name in names))
    assert set(select(files)) == {EVENTS, "checkpoint-300/trainer_state.json", "checkpoint-300/adapter_config.json"}


def test_the_newest_checkpoint_counts_even_when_it_holds_nothing_yet() -> None:
    files = listing(EVENTS, "checkpoint-5/trainer_state.json", "checkpoint-300/optimizer.pt")
    assert set(select(files)) == {EVENTS}


def test_documents_that_nobody_would_read_are_left_where_they_are() -> None:
    assert set(select({**listing(EVENTS), **listing("config.yaml", size=20_000_000)})) == {EVENTS}


def test_event_files_come_last_in_their_directory_and_by_age() -> None:
    old, new = "events.out.tfevents.100.h", "events.out.tfevents.200.h"
    assert list(select(listing(new, old, "hparams.yaml", f"a/{old}"))) == ["hparams.yaml", old, new, f"a/{old}"]


@given(st.text())
def test_a_safe_path_stays_below_its_directory(path: str) -> None:
    if is_safe(path):
        assert (Path("/mirror") / path).resolve().is_relative_to("/mirror")
        assert Path(path).parts == tuple(path.split("/"))


@pytest.mark.parametrize(
    ("info", "entry"),
    [
        ({"size": 5, "ETag": '"ab"', "LastModified": datetime(2026, 1, 1, tzinfo=UTC)}, Entry(5, 1767225600.0, '"ab"')),
        ({"size": 5, "mtime": 7}, Entry(5, 7.0)),
        ({"size": 5, "updated": "2026-01-01T00:00:00Z", "generation": 9}, Entry(5, 1767225600.0, "9")),
        ({"size": None, "mtime": None, "modified": "yesterday"}, Entry(0, None)),
    ],
)
def test_what_file_systems_tell_of_a_file(info: Info, entry: Entry) -> None:
    assert entry_of(info) == entry


class Directories:
    """Directories with files and times, which count how often they are listed."""

    def __init__(self, tree: dict[str, list[dict[str, Any]]]) -> None:
        self.tree = tree
        self.listed: list[str] = []

    def ls(self, path: str) -> list[Info]:
        self.listed.append(path)
        if path not in self.tree:
            raise FileNotFoundError(path)
        return list(self.tree[path])


def directory(name: str, mtime: float = 1.0) -> dict[str, Any]:
    return {"name": f"/root/{name}", "type": "directory", "mtime": mtime}


def file(name: str, size: int) -> dict[str, Any]:
    return {"name": f"/root/{name}", "type": "file", "size": size, "mtime": 1.0}


def test_a_walk_passes_by_what_is_never_read_and_what_has_been_still() -> None:
    now = [0.0]
    there = Directories(
        {
            "": [directory("run"), directory(".git"), directory("checkpoint-5"), directory("checkpoint-10")],
            "run": [file("run/" + EVENTS, 10)],
            "checkpoint-10": [],
        }
    )
    tree = Tree(there.ls, lambda: now[0])
    assert set(tree.files()) == {f"run/{EVENTS}"}
    assert there.listed == ["", "checkpoint-10", "run"]
    now[0] = STILL_SECONDS
    there.listed.clear()
    tree.files()
    assert there.listed == ["", "checkpoint-10", "run"]
    there.listed.clear()
    now[0] += STILL_EVERY_SECONDS - 1.0
    assert set(tree.files()) == {f"run/{EVENTS}"}
    assert there.listed == [""]
    there.tree[""][0] = directory("run", mtime=2.0)
    there.tree["run"].append(file("run/new", 1))
    assert set(tree.files()) == {f"run/{EVENTS}", "run/new"}


def test_a_directory_that_vanishes_in_the_middle_ends_no_walk() -> None:
    tree = Tree(Directories({"": [directory("gone"), file(EVENTS, 1)]}).ls, lambda: 0.0)
    assert set(tree.files()) == {EVENTS}


def test_a_logdir_that_is_not_there_does() -> None:
    with pytest.raises(FileNotFoundError):
        Tree(Directories({}).ls, lambda: 0.0).files()


def test_a_directory_that_may_not_be_listed_keeps_what_was_known_of_it() -> None:
    there = Directories({"": [directory("run")], "run": [file("run/" + EVENTS, 10)]})
    denied: list[str] = []

    def ls(path: str) -> list[Info]:
        if path in denied:
            raise PermissionError(path)
        return there.ls(path)

    tree = Tree(ls, lambda: 0.0)
    tree.files()
    denied.append("run")
    assert set(tree.files()) == {f"run/{EVENTS}"}
    assert tree.refused == ["run"]


def test_links_in_a_circle_come_to_an_end() -> None:
    tree = Tree(lambda path: [{"name": f"{path}/again", "type": "directory"}], lambda: 0.0)
    assert tree.files() == {}
    assert tree.calls < 40
