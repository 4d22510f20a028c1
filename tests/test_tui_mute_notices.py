"""What is muted makes no notice, whatever the journal does: answers late, fails, or is shared with other processes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftmon.model import Reading, Standstill
from tests import snapshots
from tests.muting import LOCKED, RULE, FakeStore, calm_and_alarm, live, store_with
from tests.tui_session import running
from tests.views import make_finding


async def test_a_muted_finding_makes_no_notice_and_no_bell() -> None:
    calm, alarm = calm_and_alarm()
    for store, notices in ((FakeStore(), 1), (store_with(live(alarm)), 0)):
        async with running(calm, mutes=store) as session:
            await session.push(alarm)
            await session.muted()
            assert len(session.app._notifications) == notices
            assert session.app.bells == notices


async def test_what_is_muted_is_asked_before_a_notice_as_others_mute_too() -> None:
    """The journal holds what another process has muted meanwhile."""
    calm, alarm = calm_and_alarm()
    store = FakeStore()
    async with running(calm, mutes=store) as session:
        await session.muted()
        assert store.asked == 1
        store.keep(live(alarm).path, RULE, None, True)
        await session.push(alarm)
        await session.muted()
        assert not session.app._notifications
        await session.press("tab", "G")
        assert "muted" in session.text("#advice")


async def test_a_mute_stays_when_the_finding_ends_and_fires_again() -> None:
    calm, alarm = calm_and_alarm()
    ended = replace(
        alarm,
        runs=(replace(live(alarm), findings=(make_finding(state="resolved"),)), *alarm.runs[1:]),
    )
    async with running(calm, mutes=store_with(live(alarm))) as session:
        for version, state in enumerate((alarm, ended, alarm), 2):
            await session.push(replace(state, version=version))
            await session.muted()
        assert not session.app._notifications
        assert session.app.bells == 0


async def test_a_journal_that_does_not_answer_silences_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmon.tui.app.HELD", 0.001)
    calm, alarm = calm_and_alarm()
    store = FakeStore()
    store.gate.clear()
    async with running(calm, mutes=store) as session:
        await session.push(alarm)
        while not session.app._notifications:
            await session.pilot.pause()
        assert session.app.bells == 1
        await session.press("enter", "m")
        assert "muted for this run" in session.text("#text"), "nor does it stop anything else"
        store.gate.set()
        await session.muted()
        assert list(store.mutes) == [(live(alarm).path, RULE)]
        assert session.app.bells == 1


async def test_where_it_cannot_be_kept_it_holds_until_the_end_and_is_told() -> None:
    calm, alarm = calm_and_alarm()
    store = FakeStore(trouble=LOCKED)
    async with running(alarm, mutes=store) as session:
        await session.muted()
        await session.press("enter", "m")
        await session.muted()
        first, second = (n.message for n in session.app._notifications)
        assert first == (
            "What was muted before is not known. "
            "/state/journal.sqlite3: the journal cannot be used: database is locked. Give another journal."
        )
        assert second.startswith("`loss-draws-up` is muted until raftmon ends. /state/journal.sqlite3: ")
        assert "muted for this run" in session.text("#text")
        await session.press("escape")
        for version, state in enumerate((calm, alarm), 3):
            await session.push(replace(state, version=version))
            await session.muted()
        assert session.app.bells == 0
        assert len(session.app._notifications) == 2, "that it cannot be read is said once"


async def test_any_fault_of_the_store_is_only_told() -> None:
    async with running(snapshots.raft(), mutes=FakeStore(trouble=ImportError("no [b]sqlite3\x1b"))) as session:
        await session.muted()
        ((notice),) = session.app._notifications
        assert notice.message.endswith("ImportError: no [b]sqlite3\N{REPLACEMENT CHARACTER}")
        assert session.closed_sheets


async def test_without_a_store_a_mute_ends_with_the_program() -> None:
    calm, alarm = calm_and_alarm()
    async with running(alarm) as session:
        await session.press("enter", "m", "escape")
        for version, state in enumerate((calm, alarm), 3):
            await session.push(replace(state, version=version))
        assert not session.app._notifications
    async with running(calm) as session:
        await session.push(alarm)
        assert len(session.app._notifications) == 1


async def test_what_was_pressed_last_is_what_is_kept() -> None:
    store = FakeStore()
    async with running(snapshots.raft(), mutes=store) as session:
        await session.press("enter", *"mmm")
        await session.muted()
        assert [rule for _, rule in store.mutes] == [RULE]
        await session.press(*"mm", "m")
        await session.muted()
        assert not store.mutes
        assert "m mute" in session.text("#hint")


async def test_a_muted_standstill_makes_no_notice_and_no_bell() -> None:
    calm = snapshots.raft()
    run = live(calm)
    found = replace(
        make_finding(severity="high"), rule="job-stalled", readings=(Reading("run.standing_still", 1.0, "flag"),)
    )
    still = replace(run, standstill=Standstill("stalled", "nothing written for over 20 min"), findings=(found,))
    alarm = replace(calm, version=2, runs=tuple(still if view is run else view for view in calm.runs))
    for store, notices in ((FakeStore(), 1), (store_with(run, "job-stalled"), 0)):
        async with running(calm, mutes=store) as session:
            await session.muted()
            await session.push(alarm)
            await session.muted()
            assert len(session.app._notifications) == notices
            assert session.app.bells == notices
