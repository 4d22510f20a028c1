"""Sheets that are open follow what happens: new states, other mutes, runs that vanish; where they stand they stay."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from raftmon.model import Mute, Problem, RunView, Snapshot, Verdict
from raftmon.tui.screens.about import About
from raftmon.tui.widgets.lines import Heading, LinesView
from tests import snapshots
from tests.muting import RULE, TITLE, FakeStore, calm_and_alarm, live
from tests.tui_session import LARGE, MEDIUM, SMALL, Session, running
from tests.views import make_finding, make_run

BROKEN = Problem("/runs/broken/events", "the record is damaged", "Copy the file again.")
SIZES = pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])


def later(snapshot: Snapshot, run: RunView | None, version: int = 9) -> Snapshot:
    """The same with another first run, or without it."""
    return replace(snapshot, version=version, runs=(*([run] if run else []), *snapshot.runs[1:]))


def top(session: Session) -> int:
    return session.app.screen.query_one("#text", LinesView).top


@SIZES
async def test_problems_are_those_of_now(size: tuple[int, int]) -> None:
    first = snapshots.raft()
    first = replace(first, problems=())
    async with running(first, size) as session:
        await session.press("p")
        assert "no problem: every file" in session.text("#text")
        await session.push(replace(first, version=9, problems=(BROKEN,)))
        assert "PROBLEMS 1 problem" in session.text()
        assert "the record is damaged" in session.text("#text")
        assert "no problem" not in session.text("#text")


@SIZES
async def test_the_rules_are_those_of_now(size: tuple[int, int]) -> None:
    calm, alarm = calm_and_alarm()
    async with running(calm, size) as session:
        await session.press("r")
        assert TITLE not in session.text("#text").replace("\n", " ")
        await session.push(alarm)
        assert TITLE in " ".join(session.text("#text").split())


@SIZES
async def test_the_finding_shown_stays_and_says_what_it_says_now(size: tuple[int, int]) -> None:
    first = snapshots.raft()
    async with running(first, size) as session:
        await session.press("enter", "right", "right")
        assert "Training loss oscillates" in session.text("#text")
        graver = make_finding("nan-loss", title="The loss is NaN", severity="critical")
        others = tuple(
            replace(f, state="firing", text="It does so still.") if f.rule == "loss-oscillates" else f
            for f in live(first).findings
        )
        await session.push(later(first, replace(live(first), findings=(graver, *others))))
        assert "Training loss oscillates" in session.text("#text")
        assert "fires since step 11" in session.text("#text")
        assert "It does so still." in session.text("#text")
        assert "of 6" in session.text()


async def test_a_finding_that_no_rule_makes_any_more_gives_way_to_the_last() -> None:
    first = snapshots.raft()
    async with running(first) as session:
        await session.press("enter", "left", "left")
        assert "5 of 5" in session.text()
        await session.push(later(first, replace(live(first), findings=live(first).findings[:1])))
        assert "2 of 2" in session.text()
        bare = replace(first, version=10, runs=(replace(live(first), findings=()),), campaigns=())
        await session.push(bare)
        assert "  verdict" in session.text()
        assert "no rule has looked at this run" in session.text("#text")


async def test_the_verdict_is_that_of_now() -> None:
    first = snapshots.raft()
    async with running(first) as session:
        await session.press("w")
        better = Verdict("ok", 0.7, "the loss falls steadily")
        await session.push(later(first, replace(live(first), verdict=better)))
        assert "The loss falls steadily" in session.text("#text")
        assert "TOO HIGH" not in session.text("#text")


async def test_the_text_stays_where_it_was_scrolled_to_as_far_as_there_are_lines() -> None:
    first = snapshots.raft()
    async with running(first, SMALL) as session:
        await session.press("enter", "pagedown")
        before = top(session)
        assert before > 0
        await session.push(replace(first, version=9))
        assert top(session) == before
        short = replace(live(first).findings[0], evidence=None, readings=(), thresholds={})
        await session.push(later(first, replace(live(first), findings=(short, *live(first).findings[1:])), 10))
        assert top(session) == 0
        assert TITLE in session.text("#text")


@SIZES
@pytest.mark.parametrize("key", ["enter", "r"])
async def test_it_is_said_when_the_run_vanished_and_again_when_it_is_back(size: tuple[int, int], key: str) -> None:
    first = snapshots.raft()
    async with running(first, size) as session:
        await session.press(key)
        await session.push(later(first, None))
        said = " ".join(session.text("#text").split())
        assert "! This run is no longer there; what follows was known of it last." in said
        assert TITLE in said
        await session.push(replace(first, version=10))
        assert "no longer there" not in session.text("#text")


async def test_a_sheet_stays_with_its_run_when_the_overview_turns_to_another() -> None:
    first = snapshots.raft()
    newer = make_run("cycle_5/logs", state="live", findings=(make_finding("nan-loss", title="The loss is NaN"),))
    async with running(first) as session:
        await session.press("enter")
        await session.push(replace(first, version=9, runs=(newer, *first.runs)))
        assert "WHY models/raft/cycle_4/logs" in session.text()
        assert TITLE in session.text("#text")


async def test_a_frozen_view_freezes_its_sheets() -> None:
    first = replace(snapshots.raft(), problems=())
    async with running(first) as session:
        await session.press("space", "p")
        await session.push(replace(first, version=9, problems=(BROKEN,)))
        assert "no problem" in session.text("#text")
        await session.press("escape", "space", "p")
        assert "the record is damaged" in session.text("#text")


@pytest.mark.parametrize("key", ["p", "r", "enter", "w"])
async def test_nothing_is_painted_where_nothing_changed(key: str) -> None:
    first = snapshots.raft()
    async with running(first) as session:
        await session.press(key)
        widgets = [w for w in session.app.screen.query("*") if isinstance(w, LinesView | Heading)]
        painted: list[str] = []
        for widget in widgets:
            widget.refresh = lambda *_, of=str(widget.id), **__: painted.append(of)  # type: ignore[method-assign,assignment]
        await session.push(replace(first, version=9))
        assert painted == []
        await session.push(replace(first, version=10, runs=(), problems=(BROKEN,)))
        assert "text" in painted


async def test_a_sheet_about_nothing_takes_what_comes() -> None:
    async with running(snapshots.empty()) as session:
        await session.press("r")
        assert "no rule has looked" in session.text("#text")
        await session.push(replace(snapshots.raft(), version=9))
        assert TITLE in session.text("#text")


def test_what_a_sheet_is_about_is_found_again_by_its_path() -> None:
    snapshot = snapshots.raft()
    run, campaign = live(snapshot), snapshot.campaigns[0]
    newer = replace(run, last_step=99)
    now = About(run, campaign).now(replace(snapshot, runs=(newer,)), None, None)
    assert (now.run, now.campaign, now.gone) == (newer, campaign, "")
    gone = now.now(replace(snapshot, runs=()), None, None)
    assert (gone.run, gone.gone, gone.name) == (newer, "run", now.name)
    assert gone.lines(80)[0].plain.startswith("! This run is no longer there")
    back = gone.now(snapshot, None, None)
    assert (back.run, back.gone, back.lines(80)) == (run, "", [])
    alone = now.now(replace(snapshot, campaigns=()), None, None)
    assert (alone.run, alone.campaign, alone.gone) == (run, None, ""), "a run outlives its campaign"
    theirs = About(None, campaign).now(replace(snapshot, campaigns=()), None, None)
    assert (theirs.campaign, theirs.gone) == (campaign, "campaign")
    joined = About(run, None).now(snapshot, newer, campaign)
    assert (joined.run, joined.campaign) == (newer, campaign), "as the overview has it"


@pytest.mark.parametrize(("key", "words"), [("enter", "muted for this run"), ("r", "muted")])
async def test_what_another_process_has_muted_is_asked_when_a_sheet_opens(key: str, words: str) -> None:
    store = FakeStore()
    first = snapshots.raft()
    async with running(first, mutes=store) as session:
        await session.muted()
        store.mutes[live(first).path, RULE] = Mute(live(first).path, RULE, None, 1.0)
        await session.press(key)
        await session.muted()
        assert words in session.text("#text")
        await session.press("escape")
        del store.mutes[live(first).path, RULE]
        await session.press(key)
        await session.muted()
        assert words not in session.text("#text")


async def test_links_are_followed_off_the_screen_s_thread_once_a_path() -> None:
    first = snapshots.raft()
    store = FakeStore()
    store.keep(live(first).path, RULE, None, True)
    async with running(first, mutes=store) as session:
        await session.muted()
        await session.press("enter", "m", "m", "escape", "r")
        await session.muted()
        paths = [path for path, _ in store.places]
        assert live(first).path in paths
        assert len(paths) == len(set(paths))
        assert {thread for _, thread in store.places} == {"raftmon-mutes"}
        assert threading.current_thread().name != "raftmon-mutes"


async def test_a_file_system_that_hangs_does_not_stop_the_screen() -> None:
    first = snapshots.raft()
    store = FakeStore()
    store.keep(live(first).path, RULE, None, True)
    store.links.clear()
    async with running(first, mutes=store) as session:
        await session.press("enter", "right", "left")
        assert TITLE in session.text("#text")
        assert "muted for this run" not in session.text("#text"), "not known yet"
        store.links.set()
        await session.muted()
        assert "muted for this run" in session.text("#text")
