"""Where notifications go, and that no secret of it is ever shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from raftmon.daemon.secret import names_in_environment
from raftmon.daemon.targets import read_targets
from raftmon.errors import UsageError

pytest.importorskip("apprise", reason="needs raftmon[notify]")

SECRET = "hunter2SECRETtoken0123456789"
SLACK = f"slack://T1JJ3T3L2/A1BRTD4JD/{SECRET[:24]}/#training"


@pytest.fixture
def readable_by_one(tmp_path: Path) -> Path:
    path = tmp_path / "urls"
    path.write_text(f"# the lab's channel\n{SLACK}\n\njson://user:{SECRET}@hooks.example/raftmon\n")
    path.chmod(0o600)
    return path


def test_references_are_followed_and_shown_by_their_place(
    monkeypatch: pytest.MonkeyPatch, readable_by_one: Path
) -> None:
    monkeypatch.setenv("RAFTMON_SLACK", SLACK)
    found = read_targets(["env:RAFTMON_SLACK", f"file:{readable_by_one}", "json://localhost:8080/raftmon"])
    assert [target.label for target in found.targets] == [
        "env:RAFTMON_SLACK (slack)",
        f"file:{readable_by_one}:4 (json://hooks.example)",
        "json://localhost:8080",
    ]
    assert found.problems == ()


@pytest.mark.parametrize(
    "url",
    [
        SLACK,
        f"json://user:{SECRET}@localhost/",
        f"json://localhost/hooks/{SECRET}",
        f"json://localhost/?+X-Token={SECRET}",
        "ntfy://example.com/topic?token=abc",
        f"tgram://123456789:{SECRET}/12345/",
        f"mailto://someone:{SECRET}@example.com",
        f"https://discord.com/api/webhooks/123456789012345678/{SECRET}",
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="--notify env:NAME, --notify file:PATH") as caught:
        read_targets([url])
    assert SECRET[:24] not in str(caught.value)


def test_a_url_without_secrets_may_stand_there() -> None:
    found = read_targets(["ntfy://raft-lab", "json://hooks.example.com/raftmon", "mailto://lab@example.com"])
    assert len(found.targets) == 3


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (f"nosuch://{SECRET}", "apprise knows no such target: `nosuch://...`"),
        (SECRET, "is no URL, env:NAME or file:PATH"),
        ("slack://too-short", "apprise knows no such target"),
        ("env:RAFTMON_NOT_SET", "no such environment variable"),
        ("file:/nowhere/at/all", "No such file or directory"),
    ],
)
def test_what_is_no_target_is_refused(value: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_targets([value])
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_empty_or_binary_file_is_refused(tmp_path: Path) -> None:
    for content, says in ((b"# nothing\n", "names no target"), (b"\xff" + SECRET.encode(), "is no text file")):
        (tmp_path / "urls").write_bytes(content)
        with pytest.raises(UsageError, match=says) as caught:
            read_targets([f"file:{tmp_path}/urls"])
        assert SECRET not in str(caught.value)


def test_settings_may_hold_a_secret_but_others_should_not_read_it(tmp_path: Path) -> None:
    path = tmp_path / "raftmon.yaml"
    path.write_text("notify: [...]\n")
    path.chmod(0o644)
    found = read_targets([SLACK], settings=path)
    assert [problem.where for problem in found.problems] == [str(path)]
    path.chmod(0o600)
    assert read_targets([SLACK], settings=path).problems == ()


def test_a_file_of_secrets_that_others_read_is_a_problem(readable_by_one: Path) -> None:
    readable_by_one.chmod(0o644)
    (problem,) = read_targets([f"file:{readable_by_one}"]).problems
    assert "chmod 600" in problem.remedy


def test_nothing_of_a_target_shows_its_url(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("RAFTMON_SLACK", SLACK)
    found = read_targets(["env:RAFTMON_SLACK"])
    shown = repr(found) + str(found.targets[0].service) + caplog.text + "".join(capfd.readouterr())
    assert SECRET[:24] not in shown
    assert "T1JJ3T3L2" not in shown


def test_a_message_is_as_long_as_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = {
        "json://localhost": 4_000,
        f"discord://123456789012345678/{SECRET}": 2_000,
        f"tgram://123456789:{SECRET}/12345/": 3_870,  # the title stands inside
        f"twilio://AC{'a' * 32}:{'b' * 32}@18005551234/18005551235": 30,  # 160 characters of an SMS
    }
    for url, length in lengths.items():
        monkeypatch.setenv("RAFTMON_URL", url)
        (target,) = read_targets(["env:RAFTMON_URL"]).targets
        assert target.service.max_text == length


def test_variables_with_secrets_are_known_by_name() -> None:
    assert names_in_environment(["env:A", " env:B ", "file:/c", "json://d"]) == {"A", "B"}
