"""The command line of the daemon: what it prints, and what it refuses."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from raftmon.cli import cli
from raftmon.commands.daemon import FILES
from raftmon.errors import UsageError
from tests.daemon_session import PATIENCE, LiveRun


@pytest.mark.parametrize("name", FILES)
def test_each_shipped_file_can_be_printed_without_a_logdir(name: str) -> None:
    done = CliRunner().invoke(cli, ["daemon", "--print", name])
    assert done.exit_code == 0
    assert "raftmon" in done.output
    assert done.output.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--listen-token", "env:TOKEN"], "--listen"),
        (["--cooldown", "5"], "--on-finding"),
        (["--dry-run"], "--on-finding"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(tmp_path: Path, arguments: list[str], needed: str) -> None:
    done = CliRunner().invoke(cli, ["daemon", str(tmp_path), *arguments])
    assert isinstance(done.exception, UsageError)
    assert f"means nothing without {needed}" in done.exception.what


def test_the_unit_takes_away_what_the_daemon_does_not_need(tmp_path: Path) -> None:
    unit = CliRunner().invoke(cli, ["daemon", "--print", "systemd"]).output
    lines = set(unit.splitlines())
    assert {"ProtectSystem=strict", "NoNewPrivileges=yes", "ReadOnlyPaths=/data/runs", "Type=notify"} <= lines
    assert {"ExecReload=/bin/kill -HUP $MAINPID", "RestartPreventExitStatus=2"} <= lines
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    program = shutil.which("true")
    (tmp_path / "raftmon.service").write_text(unit.replace("/opt/raftmon/bin/raftmon", str(program)))
    command = [analyze, "verify", "--man=no", str(tmp_path / "raftmon.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "raftmon.service" not in done.stderr  # every complaint names its unit


def test_with_streams_that_are_closed_it_ends_as_ever_and_its_files_are_no_streams(tmp_path: Path) -> None:
    LiveRun(tmp_path / "logs" / "job").write_healthy(20)
    journal = tmp_path / "journal.sqlite3"
    words = f"exec {sys.executable} -m raftmon.cli daemon {tmp_path}/logs --journal {journal} <&- >&-"
    with subprocess.Popen(["sh", "-c", words], stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        while "runs read" not in (line := daemon.stderr.readline()):
            assert line, "it ended"
        streams = [str(Path(f"/proc/{daemon.pid}/fd/{number}").readlink()) for number in (0, 1)]
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(PATIENCE) == 0
    assert streams == ["/dev/null", "/dev/null"]


def test_with_hundreds_of_runs_it_is_gone_within_a_second_too(tmp_path: Path) -> None:
    first = LiveRun(tmp_path / "logs" / "job-0")
    first.write_healthy(120)
    for number in range(1, 300):
        copy = tmp_path / "logs" / f"job-{number}" / first.path.name
        copy.parent.mkdir()
        copy.write_bytes(first.path.read_bytes())
    command = [sys.executable, "-m", "raftmon.cli", "daemon", str(tmp_path / "logs")]
    command += ["--journal", str(tmp_path / "journal.sqlite3")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        while "runs read" not in (line := daemon.stderr.readline()):
            assert line, "it ended"
        begun = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        rest = daemon.stderr.read()
        assert daemon.wait(PATIENCE) == 0
        assert time.monotonic() - begun < 1.0
    assert "ended by a signal" in rest
