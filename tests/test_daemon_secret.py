"""Secrets are named by their place, and never repeated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raftmon.daemon.secret import exposed_secret, is_reference, read_secret
from raftmon.errors import UsageError


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAFTMON_TEST_TOKEN", " s3cret \n")
    assert read_secret("env:RAFTMON_TEST_TOKEN") == "s3cret"
    assert exposed_secret("env:RAFTMON_TEST_TOKEN") is None


def test_file_and_its_mode(tmp_path: Path) -> None:
    place = tmp_path / "token"
    place.write_text("s3cret\n")
    place.chmod(0o600)
    assert read_secret(f"file:{place}") == "s3cret"
    assert exposed_secret(f"file:{place}") is None
    place.chmod(0o644)
    problem = exposed_secret(f"file:{place}", "--token")
    assert problem is not None
    assert problem.where == f"--token file:{place}"
    assert problem.remedy == f"chmod 600 {place}"


def test_what_is_no_reference_is_not_repeated() -> None:
    assert not is_reference("hunter2")
    with pytest.raises(UsageError) as caught:
        read_secret("hunter2", "--token")
    assert "hunter2" not in str(caught.value)
    assert "env:NAME" in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("env:RAFTMON_TEST_NOT_SET", "no such environment variable"),
        ("env:", "no such environment variable"),
        ("env:A=B", "no such environment variable"),
        ("file:", "Is a directory"),
        ("file:/no/such/file", "No such file"),
        ("file:a\0b", "no file can have this name"),
        ("file:{tmp}/empty", "is empty"),
        ("file:{tmp}/binary", "is no text file"),
        ("file:{tmp}/two", "line breaks"),
        ("file:{tmp}/long", "longer than"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, reference: str, what: str) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "two").write_text("a\nb\n")
    (tmp_path / "long").write_text("a" * 70000)
    with pytest.raises(UsageError, match=what):
        read_secret(reference.replace("{tmp}", str(tmp_path)))


def test_a_pipe_that_nobody_writes_into_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    with pytest.raises(UsageError, match="is no regular file"):
        read_secret(f"file:{tmp_path}/token")
