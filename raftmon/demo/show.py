"""The demo: a campaign grows in a directory of its own, written by another process, while raftmon watches it."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from raftmon.demo.replay import start_replay
from raftmon.errors import RaftmonError
from raftmon.model import Snapshot
from raftmon.monitor import Monitor
from raftmon.runs.watch import Watcher

__all__ = ["show"]

PATIENCE: Final = 5.0
"""Seconds that the writing process gets to end after it was asked to."""


def show(*, headless: bool, train: bool, seconds: float) -> int:
    """Run the demo.

    Args:
        headless: print what happens instead of opening the TUI.
        train: really train the campaign instead of replaying the recorded one.
        seconds: length of the replay.

    Returns:
        The exit code.
    """
    # A closed terminal or a kill must not leave the writer and its directory behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    with tempfile.TemporaryDirectory(prefix="raftmon-demo-") as directory:
        target = Path(directory) / "raft"
        target.mkdir()
        if train:
            print("The base model is trained first; its first cycle appears in about a minute.", file=sys.stderr)
        writer = _start_training(target) if train else start_replay(target, seconds)
        monitor = Monitor([target], watcher=Watcher([target]))
        try:
            return _tell(target, monitor, writer) if headless else _open_screen(monitor, train)
        finally:
            monitor.close()
            writer.terminate()
            try:
                writer.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                writer.kill()
                writer.wait()


def _start_training(target: Path) -> subprocess.Popen[bytes]:
    if importlib.util.find_spec("torch") is None:
        what, remedy = "really training needs torch, which is not installed", 'pip install "raftmon[torch]"'
        raise RaftmonError("raftmon demo --train", what, remedy)
    return subprocess.Popen([sys.executable, "-m", "raftmon.demo.train", str(target)], stdout=subprocess.DEVNULL)


def _open_screen(monitor: Monitor, train: bool) -> int:
    from raftmon.tui.app import RaftmonApp

    what = "a campaign in training, first cycle in about a minute" if train else "a recorded campaign, replayed"
    return RaftmonApp(monitor, title=f"raftmon demo · {what}").run_in_terminal()


def _tell(target: Path, monitor: Monitor, writer: subprocess.Popen[bytes]) -> int:
    """Print each change as it is seen, then the whole report, read anew now that nothing is written any more."""
    from raftmon.headless.follow import changes, follow
    from raftmon.headless.report import make_console, print_report

    ended = False

    def is_over(snapshot: Snapshot) -> bool:
        # One more look after the writer's end: what it wrote last is not read yet.
        nonlocal ended
        was_ended, ended = ended, writer.poll() is not None
        return was_ended and not snapshot.backfilling

    before: Snapshot | None = None
    for snapshot in follow(monitor, is_over, timeout=0.5):
        for line in changes(before, snapshot):
            print(line, flush=True)
        before = snapshot
    print()
    print_report(Monitor([target]).poll(), make_console())
    return writer.returncode or 0
