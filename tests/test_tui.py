"""The application: what is on the screen, and how snapshots get there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from raftmon.model import Snapshot
from raftmon.tui.announce import news
from raftmon.tui.plot import Plot
from raftmon.tui.source import SnapshotArrived, SnapshotFailed
from raftmon.tui.widgets.campaign_panel import CampaignPanel
from raftmon.tui.widgets.keys_bar import KeysBar
from raftmon.tui.widgets.runs_table import RunsTable
from raftmon.tui.widgets.status_bar import StatusBar
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, CountingApp, ScriptedSource, Session, running


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_verdict_advice_and_loss_are_on_every_screen(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        text = session.text()
        for words in (
            "LEARNING RATE TOO HIGH",
            "82% sure",
            "3.07e-5 → 1.84e-5",
            "NEXT CYCLE 5",
            "roll back to cycle 3",
        ):
            assert words in text
        assert "▲ too high 82%" in session.text(RunsTable)
        assert "LOSS 0.6600" in text
        assert "4 runs   ● 1 live" in session.text(StatusBar)
        assert "1 problem" in session.text(StatusBar)
        assert len(session.app.screen.query_one(KeysBar).shown_keys) <= 8


async def test_a_narrow_screen_shows_one_chart_below_the_advice() -> None:
    async with running(snapshots.raft(), SMALL) as session:
        advice, charts = session.app.screen.query_one("#advice"), session.charts
        assert len(charts.plots) == 1
        assert charts.region.y >= advice.region.bottom
        assert advice.size.height >= 5
        assert charts.size.height >= 7
        await session.press("v")
        assert "GRAD NORM" in session.text(Plot)
        await session.press("v", "v")
        assert "VERIFIED" in session.text(Plot)


async def test_a_large_screen_shows_more() -> None:
    async with running(snapshots.pretraining(), LARGE) as session:
        titles = [plot.chart.title for plot in session.charts.plots if plot.chart]
        assert titles == ["LOSS", "GRAD NORM", "LEARNING RATE", "EVAL LOSS", "ENTROPY"]
    async with running(snapshots.raft(), LARGE) as session:
        assert "± 95 %" in session.text(CampaignPanel)
        assert "dialect" in session.text(RunsTable)


async def test_the_layout_follows_the_terminal() -> None:
    async with running(snapshots.raft(), LARGE) as session:
        await session.pilot.resize_terminal(80, 24)
        await session.settle()
        assert len(session.charts.plots) == 1
        await session.pilot.resize_terminal(120, 30)
        await session.settle()
        assert len(session.charts.plots) == 4


@pytest.mark.parametrize("size", [(1, 1), (20, 6), (45, 12), (300, 12), (60, 90)])
async def test_odd_terminals_are_survived(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        for key in ("j", "v", "left", "y", "enter", "escape", "tab", "j"):
            await session.press(key)
        assert session.table.selected is not None


async def test_nothing_there_is_said_everywhere() -> None:
    async with running(snapshots.empty()) as session:
        text = session.text()
        assert f"waiting for event files in {snapshots.LOGDIR}" in text
        assert "no run to advise on yet" in text
        assert "CAMPAIGN none found" in text
        assert "nothing to draw yet" in text
        for key in ("j", "k", "G", "g", "enter", "escape", "right", "y", "v", "c", "p", "escape", "question_mark"):
            await session.press(key)


async def test_an_undecided_verdict_gives_its_reason() -> None:
    async with running(snapshots.snapshot([snapshots.make_run()])) as session:
        text = session.text("#advice")
        assert "? UNDECIDED" in text
        assert "16 steps and no grad_norm" in text
        assert "waiting for grad_norm (1 rule)" in text
        assert "no grad_norm logged" in session.text(Plot)


async def test_a_run_outside_the_campaigns() -> None:
    state = snapshots.raft()
    stray = snapshots.make_run("zz/alone")
    async with running(replace(state, runs=(*state.runs, stray))) as session:
        await session.press("G")
        assert "the selected run belongs to none; there is models/raft" in session.text("#campaign-heading")
        assert not session.app.screen.query_one(CampaignPanel).display
        await session.press("g")
        assert session.app.screen.query_one(CampaignPanel).display


async def test_a_campaign_of_sidecar_files_alone_is_shown() -> None:
    async with running(snapshots.snapshot((), (snapshots.raft_campaign(),))) as session:
        assert "NEXT CYCLE 5" in session.text("#advice")
        assert "VERIFIED 34.1%" in session.text(Plot)


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
async def test_hostile_names_are_only_text(size: tuple[int, int]) -> None:
    async with running(snapshots.hostile(), size) as session:
        text = session.text()
        assert "[red]evil[/r" in text
        assert "\x1b" not in text
        assert "[reverse]title[/]" in text
        for keys in (("enter", "right", "escape"), ("p", "escape"), ("v", "v", "v"), ("slash", "[", "enter")):
            await session.press(*keys)
            assert "\x1b" not in session.text()


async def test_nan_is_told_in_words() -> None:
    async with running(snapshots.diverged()) as session:
        assert "60 NaN 1 inf" in session.text(Plot)
        assert "NaN" in session.text(RunsTable)
        await session.press("j")
        assert "20 NaN: no finite value to draw" in session.text(Plot)


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light"])
async def test_themes_change_colours_only(theme: str) -> None:
    async with running(snapshots.raft()) as session:
        before = session.text()
        session.app.theme = theme
        await session.settle()
        assert session.text() == before


async def test_it_works_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with running(snapshots.raft()) as session:
        assert "▲ LEARNING RATE TOO HIGH" in session.text()


async def test_nothing_is_painted_without_a_new_version() -> None:
    async with running(snapshots.raft()) as session:
        quiet = []
        # On a slow machine a late layout may paint once more: that is not what would paint at every push.
        for _ in range(4):
            painted, polls = session.app.displays, session.source.polls
            for _ in range(5):
                await session.push(snapshots.raft())
            assert session.source.polls >= polls + 5
            quiet.append(session.app.displays == painted)
        assert quiet.count(True) >= 2
        painted = session.app.displays
        await session.push(snapshots.raft(2, count=13))
        assert session.app.displays > painted


async def test_another_run_growing_does_not_redraw_the_charts() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("j")
        drawings = [plot.drawings for plot in session.charts.plots]
        await session.push(snapshots.raft(2, count=13))
        assert "13/16" in session.text(RunsTable)
        assert [plot.drawings for plot in session.charts.plots] == drawings


async def test_news_move_the_screen_on() -> None:
    async with running(snapshots.empty()) as session:
        await session.push(snapshots.raft(2, count=8))
        assert "8/16" in session.text(RunsTable)
        await session.push(snapshots.raft(3, count=14))
        assert "14/16" in session.text(RunsTable)
        await session.push(snapshots.empty(4))
        assert "waiting for event files" in session.text()


async def test_the_selection_follows_its_run() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("j", "j")
        state = snapshots.raft(2)
        await session.push(replace(state, runs=tuple(reversed(state.runs))))
        assert session.table.selected is not None
        assert session.table.selected.cycle == 2
        await session.push(replace(state, version=3, runs=state.runs[:1]))
        assert session.table.selected.cycle == 4


async def test_the_cursor_follows_the_live_run_until_it_is_moved() -> None:
    done = [snapshots.make_run(f"cycle_{n}", last_wall_time=float(n)) for n in (1, 2, 3)]

    def state(version: int, live: str) -> Snapshot:
        runs = [replace(run, state="live") if run.run == live else run for run in done]
        return snapshots.snapshot(runs, version=version)

    async with running(state(1, "")) as session:
        assert session.selected() == "cycle_3"
        await session.push(state(2, "cycle_1"))
        assert session.selected() == "cycle_1"
        await session.push(
            replace(state(3, "cycle_2"), runs=(replace(done[1], state="live"), *state(2, "cycle_1").runs))
        )
        assert session.selected() == "cycle_1", "a live run is not left for another one"
        await session.press("G")
        await session.push(state(4, "cycle_2"))
        assert session.selected() == "cycle_3"
        await session.press("escape")
        assert session.selected() == "cycle_2"


async def test_a_failing_source_is_said_and_recovers() -> None:
    source = ScriptedSource(OSError("disk [gone]\x1b"))
    app = CountingApp(source, interval=0.001)
    async with app.run_test(size=MEDIUM) as pilot:
        session = Session(app, source, pilot)
        for _ in range(2):
            await asyncio.to_thread(source.failures.acquire)
        await pilot.pause()
        assert "✖ OSError: disk [gone]\N{REPLACEMENT CHARACTER}" in session.text(StatusBar)
        assert "reading the event files" in session.text(RunsTable)
        await session.push(snapshots.raft())
        assert "OSError" not in session.text(StatusBar)
        assert "12/16" in session.text(RunsTable)


async def test_reading_of_history_is_shown() -> None:
    async with running(replace(snapshots.raft(), backfilling=True, progress=0.43)) as session:
        assert session.source.polls == 2, "history is read on without a wait, until nothing changes"
        assert "↻ reading 43%" in session.text(StatusBar)
        await session.push(snapshots.raft(2))
        assert "reading" not in session.text(StatusBar)


def test_queued_snapshots_collapse_to_the_newest() -> None:
    first, second = SnapshotArrived(snapshots.empty()), SnapshotArrived(snapshots.empty(2))
    assert first.can_replace(second)
    assert not first.can_replace(SnapshotFailed("x"))


async def test_new_grave_findings_are_announced_once() -> None:
    async with running(snapshots.raft()) as session:
        assert not session.app._notifications
    calm, alarm = snapshots.snapshot([snapshots.make_run()]), snapshots.raft(2)
    assert [(item.name, item.finding.rule, item.ended) for item in news(calm, alarm)] == [
        ("models/raft/cycle_4/logs", "loss-draws-up", False)
    ]
    assert news(alarm, alarm) == []
    assert news(None, alarm) == []
    assert news(calm, replace(alarm, backfilling=True)) == []
    assert news(alarm, calm) == []  # a run that is gone has mended nothing
    async with running(calm) as session:
        await session.push(alarm)
        assert [n.message for n in session.app._notifications] == ["Loss climbs away from its lowest point"]
