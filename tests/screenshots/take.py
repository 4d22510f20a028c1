"""Takes the README's pictures: the recorded campaign, replayed to its eighth cycle.

usage: python -m tests.screenshots.take
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from raftmon.demo.replay import RECORDING, replay
from raftmon.monitor import Monitor
from raftmon.tui.app import RaftmonApp

HERE: Final = Path(__file__).resolve().parent
SIZE: Final = (130, 36)
LAST_CYCLE: Final = 8
SHOTS: Final = {"demo": (), "finding": ("enter",), "cycles": ("2",), "run": ("3", "right")}
"""Name of a picture to the keys before it."""


async def take(logdir: Path) -> dict[str, str]:
    """Return name and SVG of each picture, once everything is read."""
    app = RaftmonApp(Monitor([logdir]), interval=0.05)
    taken = {}
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(2.0)
        await pilot.press("G")
        for name, keys in SHOTS.items():
            await pilot.press(*keys)
            await pilot.pause(1.0)
            taken[name] = app.export_screenshot(title="raftmon watch models/raft")
            if keys:
                await pilot.press("escape")
    return taken


def main() -> None:
    """Write the pictures beside this file."""
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        logdir = Path("models") / "raft"
        replay(RECORDING, logdir, seconds=0.0)
        for path in logdir.iterdir():
            cycle = re.match(r"cycle_(\d+)", path.name)
            if cycle is not None and int(cycle[1]) > LAST_CYCLE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        taken = asyncio.run(take(logdir))
    for name, svg in taken.items():
        (HERE / f"{name}.svg").write_text(svg)


if __name__ == "__main__":
    main()
