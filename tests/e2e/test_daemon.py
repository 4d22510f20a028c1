"""A real daemon on runs that are written: its signals, its log, what it remembers."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.daemon_session import DaemonSession, LiveRun


def test_a_finding_is_told_and_signals_reload_and_end(tmp_path: Path) -> None:
    journal, settings = tmp_path / "journal.sqlite3", tmp_path / "raftmon.yaml"
    settings.write_text("rules: {loss-spikes: {enabled: false}}\n")
    run = LiveRun(tmp_path / "logs" / "job-1")
    run.write_healthy()
    with DaemonSession(tmp_path / "logs", journal, "--settings", str(settings)) as daemon:
        assert daemon.await_event("ready")["runs"] == 1
        run.write_broken()
        finding = daemon.await_line(lambda line: line["event"] == "finding" and line["state"] == "firing")
        assert (finding["subject"], finding["run"], finding["level"]) == ("loss-not-finite", "job-1", "warning")

        command = [sys.executable, "-m", "raftmon.cli", "daemon", str(tmp_path), "--journal", str(journal)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 2
        assert f"another daemon uses this journal: pid {daemon.process.pid}" in second.stderr
        assert second.stdout == ""

        settings.write_text("strategi: {kind: constant}\n")
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.await_event("reload")
        assert (refused["level"], refused["state"], "`strategi`" in refused["text"]) == ("warning", "refused", True)
        settings.write_text("rules: {loss-not-finite: {enabled: false}}\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.await_event("reload")["state"] == "done"

        took = daemon.end(signal.SIGTERM)
        assert daemon.await_event("end")["text"] == "ended by a signal"
        assert daemon.process.returncode == 0
        assert took < 1.0
        assert daemon.other == []


def test_a_logdir_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with DaemonSession(tmp_path / "later", tmp_path / "journal.sqlite3") as daemon:
        problem = daemon.await_event("problem")
        assert (problem["subject"], problem["state"]) == ("no such directory", "begun")
        LiveRun(tmp_path / "later" / "job-1").write_healthy()
        assert daemon.await_line(lambda line: line["event"] == "run")["run"] == "job-1"
        daemon.end(signal.SIGINT)
        assert daemon.process.returncode == 0
