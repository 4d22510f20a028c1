"""Takes the README's picture: the recorded campaign, replayed to its eighth cycle.

usage: python -m tests.screenshots.take
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from pathlib import Path

from raftmon.demo.replay import RECORDING, replay
from raftmon.monitor import Monitor
from raftmon.tui.app import RaftmonApp

HERE = Path(__file__).resolve().parent
SIZE = (130, 36)
LAST_CYCLE = 8


async def take(logdir: Path) -> str:
    """Return the screen as SVG once everything is read."""
    app = RaftmonApp(Monitor([logdir]), interval=0.05)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(2.0)
        await pilot.press("G")
        await pilot.pause(1.0)
        return app.export_screenshot(title="raftmon watch models/raft")


def main() -> None:
    """Write ``demo.svg``."""
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        logdir = Path("models") / "raft"
        replay(RECORDING, logdir, seconds=0.0)
        for path in logdir.iterdir():
            cycle = re.match(r"cycle_(\d+)", path.name)
            if cycle is not None and int(cycle[1]) > LAST_CYCLE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        svg = asyncio.run(take(logdir))
    (HERE / "demo.svg").write_text(svg)


if __name__ == "__main__":
    main()
