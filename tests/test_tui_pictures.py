"""Pictures of the states that matter, as SVG: looked at by a person once, and kept.

The first four are recorded trainings read by a real `Monitor`, whatever the rules make of them; a picture that changes
with a rule is worth a look, too. After a change that is meant, ``RAFTMON_ACCEPT=1 pytest tests/test_tui_pictures.py``
writes them anew; look at each in a browser before it is committed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from raftmon.model import Snapshot
from raftmon.monitor import Monitor
from raftmon.tui.look import Look
from tests import snapshots
from tests.apply_session import FakeChanger
from tests.test_tui_stalled import gpu, halted
from tests.tui_session import LARGE, MEDIUM, SMALL, running

HERE = Path(__file__).parent
KEPT = HERE / "__snapshots__"
ACCEPT = "RAFTMON_ACCEPT"


def recorded(name: str) -> Callable[[Path], Snapshot]:
    """A recorded training, alone in its logdir, as a monitor sees it when all is read."""

    def make(directory: Path) -> Snapshot:
        shutil.copytree(HERE / "runs" / name, directory / "logs" / name)
        monitor = Monitor([directory / "logs"])
        snapshot = monitor.poll()
        while snapshot.backfilling:
            snapshot = monitor.poll()
        return replace(snapshot, logdirs=("/data/runs",))

    return make


def scripted(make: Callable[[], Snapshot]) -> Callable[[Path], Snapshot]:
    return lambda _: make()


def no_such_file() -> Snapshot:
    raft = snapshots.raft()
    return replace(raft, problems=raft.problems * 3)


@dataclass(frozen=True)
class Picture:
    """What is shown."""

    name: str
    state: Callable[[Path], Snapshot]
    keys: tuple[str, ...] = ()
    """Pressed before it is taken."""
    size: tuple[int, int] = MEDIUM
    look: Look | None = None


PICTURES = [
    Picture("healthy", recorded("gru/lr-1-seed-1")),
    Picture("too-high", recorded("charlm/lr-30-seed-1"), ("enter",)),
    Picture("too-low", recorded("mlp/lr-1-30-seed-1")),
    Picture("undecided", recorded("charlm/lr-1-seed-1"), ("w",)),
    Picture("not-a-number", scripted(snapshots.diverged)),
    Picture("stalled", scripted(lambda: halted(gpus=(gpu(), gpu(1, utilisation=0.0))))),
    Picture("campaign", scripted(snapshots.raft), size=LARGE),
    Picture("narrow", scripted(snapshots.raft), size=SMALL),
    Picture("cycles", scripted(snapshots.raft), ("2",)),
    Picture("run", scripted(snapshots.pretraining), ("3", "right")),
    Picture("problems", scripted(no_such_file), ("p",)),
    Picture("apply", scripted(snapshots.raft), ("a",)),
    Picture("light", scripted(snapshots.raft), look=Look(theme="raftmon-light")),
    Picture("ascii", scripted(snapshots.pretraining), look=Look(ascii=True)),
]


def content(svg: str) -> list[str]:
    """What a picture says, line by line: text, places and colours, without what differs from process to process."""
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    svg = re.sub(r"(<(?:text|rect|g|style)\b|\.terminal-\w+ \{)", r"\n\1", svg)
    return [line for line in svg.splitlines() if not re.search(r"font-face|fonts?/|local\(|format\(", line)]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
async def test_the_picture_is_the_kept_one(picture: Picture, tmp_path: Path) -> None:
    state = picture.state(tmp_path)
    async with running(state, picture.size, picture.look, changer=FakeChanger()) as session:
        for key in picture.keys:
            await session.press(key)
            await session.settle()
        await session.app.workers.wait_for_complete()
        await session.pilot.pause()
        svg = session.app.export_screenshot(title="raftmon")
    kept = KEPT / f"{picture.name}.svg"
    if os.environ.get(ACCEPT):
        KEPT.mkdir(exist_ok=True)
        kept.write_text(svg, encoding="utf-8")
    assert kept.exists(), f"no picture of {picture.name!r} is kept; {ACCEPT}=1 makes one, to be looked at"
    (tmp_path / kept.name).write_text(svg, encoding="utf-8")
    now, before = content(svg), content(kept.read_text(encoding="utf-8"))
    assert len(now) > 100
    assert now == before, f"differs from {kept}; the new one is {tmp_path / kept.name}; {ACCEPT}=1 keeps it"
