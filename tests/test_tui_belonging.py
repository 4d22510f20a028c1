"""Runs and campaigns of several logdirs that are called alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from raftmon.demo.replay import RECORDING, replay
from raftmon.model import Snapshot
from raftmon.monitor import Monitor
from raftmon.tui.belonging import campaign_around, campaign_of, logdir_names
from tests.tui_session import LARGE, running


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The recorded campaign in two logdirs, the name of one the beginning of the other's; the second is shorter."""
    root = tmp_path_factory.mktemp("both")
    replay(RECORDING, root / "exp", seconds=0.0)
    shutil.copytree(root / "exp", root / "exp2")
    for path in (root / "exp2").glob("cycle_9*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    monitor = Monitor([root / "exp", root / "exp2"])
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return snapshot


def test_each_run_has_the_campaign_of_its_own_logdir(both: Snapshot) -> None:
    assert [Path(campaign.path).name for campaign in both.campaigns] == ["exp", "exp2"]
    for run in both.runs:
        for found in (campaign_of(both, run), campaign_around(both, run)):
            assert found is not None
            assert run.path.startswith(f"{found.path}/")


async def test_the_table_tells_them_apart(both: Snapshot) -> None:
    async with running(both, LARGE) as session:
        names = [session.table.name_of(run) for run in session.table.shown]
        assert len(set(names)) == len(names) == len(both.runs)
        assert {name.split("/")[0] for name in names} == {"exp", "exp2"}
        await session.press("slash", *"exp2/", "enter")
        assert len(session.table.shown) == sum("/exp2/" in run.path for run in both.runs)
        assert "exp2/cycle_1/logs" in session.text("#advice-heading") or "exp2/" in session.text("#advice-heading")


@pytest.mark.parametrize(
    ("logdirs", "names"),
    [
        (["/a/logs"], []),
        (["/a/x", "/a/y"], ["x", "y"]),
        (["/a/logs", "/b/logs", "/c/x"], ["a/logs", "b/logs", "x"]),
        (["/logs", "/a/logs"], ["/logs", "a/logs"]),
        (["s3://bucket/run", "/run"], ["bucket/run", "/run"]),
    ],
    ids=json.dumps,
)
def test_logdirs_are_called_by_the_end_of_their_path_that_tells_them_apart(
    logdirs: list[str], names: list[str]
) -> None:
    assert list(logdir_names(logdirs).values()) == names
