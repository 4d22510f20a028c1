"""The real `raftmon watch` in a terminal that goes away, and that no SIGHUP tells of."""

import os
import select
import subprocess
import sys
import termios
from pathlib import Path

from tests.scripted import header_record, scalar_record

PATIENCE = 60.0


def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    run = tmp_path / "logs" / "run"
    run.mkdir(parents=True)
    (run / "events.out.tfevents.1").write_bytes(header_record() + scalar_record("train/loss", 1.0, 1, 1.7e9))
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (30, 120))
    command = [sys.executable, "-m", "raftmon.cli", "watch", str(tmp_path / "logs")]
    env = {**os.environ, "TERM": "xterm-256color", "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    # A session of its own without a controlling terminal, as under a service: the kernel sends no SIGHUP.
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=env
    ) as process:
        os.close(theirs)
        try:
            painted = b""
            while b"ADVICE" not in painted and select.select([ours], [], [], PATIENCE)[0]:
                painted += os.read(ours, 1 << 16)
            assert b"ADVICE" in painted
        finally:
            os.close(ours)
        try:
            assert process.wait(PATIENCE) == 129
        finally:
            process.kill()
