"""The sheet that explains findings and the verdict, by keys."""

from __future__ import annotations

import pytest

from raftmon.tui.screens.finding import FindingSheet
from tests import snapshots
from tests.tui_session import MEDIUM, SMALL, running


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_enter_explains_the_gravest_finding(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("enter")
        assert isinstance(session.app.screen, FindingSheet)
        text = session.text()
        for words in ("WHY models/raft/cycle_4/logs  1 of 5", "Loss climbs away", "since step 9", "loss.drawup", "4.6"):
            assert words in text
        await session.press("right")
        assert "since cycle 4" in session.text()
        await session.press("left", "left")
        assert "cycle_4/logs  verdict" in session.text()
        await session.press("left")
        assert "5 of 5" in session.text()
        await session.press("escape")
        assert session.closed_sheets


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_a_finding_tells_what_else_it_could_be_and_how_it_is_founded(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("enter")
        first = session.text("#text")
        for words in ("✓ loss.drawup 4.6", "wanted above 3 sigma, ends below 2", "→ learning rate × 0.3", "proposed"):
            assert words in first
        read = first
        for _ in range(4):
            await session.press("pagedown")
            read += session.text("#text")
        for words in (
            "✗ loss.points 16",
            "? loss.gone –",
            "What it means",
            "· Training data that get harder.",
            "What would change its mind",
            "· A second run at a third of the rate",
            "grade B, one strong source",
            "precision 0.92 (0.78–0.97, fired on 36 of 240 recorded trainings)",
            "recall 0.60 (0.47–0.72, should have fired on 55)",
            "raftmon rules show loss-draws-up",
        ):
            assert words in read
        await session.press("g")
        assert session.text("#text") == first


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_w_explains_the_verdict(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("w")
        text = session.text()
        for words in (
            "WHY models/raft/cycle_4/logs  verdict",
            "LEARNING RATE TOO HIGH   82% sure",
            "· largest rise back 4.6 times the progress (+2.1 for too high)",
            "What would change its mind",
            "accuracy 0.70",
        ):
            assert words in text
        await session.press("right")
        assert "1 of 5" in session.text()
        await session.press("w")
        assert "  verdict ─" in session.text()
        await session.press("escape")
        assert session.closed_sheets


async def test_enter_explains_the_verdict_where_nothing_fires() -> None:
    async with running(snapshots.snapshot([snapshots.make_run()])) as session:
        await session.press("enter")
        assert "cycle_1/logs  verdict" in session.text()
        await session.press("left")
        assert "1 of 1" in session.text()


async def test_a_campaign_without_runs_has_findings_and_no_verdict() -> None:
    async with running(snapshots.snapshot((), (snapshots.raft_campaign(),))) as session:
        await session.press("w")
        assert "models/raft  1 of 1" in session.text()
        await session.press("w", "left", "right")
        assert "models/raft  1 of 1" in session.text()


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_evidence_is_only_text(size: tuple[int, int]) -> None:
    async with running(snapshots.hostile(), size) as session:
        await session.press("enter")
        read = ""
        for _ in range(5):
            read += session.text("#text")
            await session.press("pagedown")
        for words in (
            "[b]else[/b]",
            "[/change]",
            "[ref (claim [claim])",
            "to hold for [hold]",
            "[/] \N{REPLACEMENT CHARACTER}",
        ):
            assert words in read
        assert "\x1b" not in read


@pytest.mark.parametrize("size", [(20, 6), (40, 12), (60, 20), (200, 50)])
async def test_it_fits_any_terminal(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("enter")
        assert isinstance(session.app.screen, FindingSheet)
        await session.press("pagedown", "G", "right", "w", "pagedown", "escape")
        assert session.closed_sheets
