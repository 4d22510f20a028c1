"""A real torch SummaryWriter writes in one process while `raftmon advise --follow` reads in another."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="writes with torch's SummaryWriter; pip install torch")

STEPS = 150


@pytest.fixture
def follower(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "raftmon.cli", "advise", str(tmp_path), "--follow", "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # A test that fails must not wait for ever for a line that does not come.
        guard = threading.Timer(90.0, process.kill)
        guard.start()
        yield process
        guard.cancel()
        process.kill()


def test_points_arrive_while_they_are_written(tmp_path: Path, follower: "subprocess.Popen[str]") -> None:
    arguments = [str(tmp_path / "run"), "0.01", str(STEPS), "3"]
    with subprocess.Popen([sys.executable, "-m", "tests.e2e.writer", *arguments]) as writer:
        assert follower.stdout is not None
        steps, verdicts = [], set()
        for line in follower.stdout:
            document = json.loads(line)
            assert document["schema"] == "raftmon/snapshot@1"
            for run in document["runs"]:
                steps.append(run["last_step"])
                verdicts.add(run["verdict"]["why"])
                assert run["points"]["loss"] == run["last_step"]
            if steps and steps[-1] == STEPS:
                assert document["runs"][0]["dialect"] == "hf"
                break
        assert writer.wait(60) == 0
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=30)

    assert errors == ""
    assert follower.returncode in (0, 130)
    assert steps == sorted(steps)
    assert len(set(steps)) > 10
    assert any("loss points; 8 are needed" in why for why in verdicts)
