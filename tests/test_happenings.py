"""What happened between two snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import raftmon.signals.standing
from raftmon.happenings import GONE_SECONDS, NEXT_CYCLE, Happening, Key, Ledger, is_news
from raftmon.model import Advice, FindingState, NextCycle, Problem, Reading, RunView, Snapshot, Standstill, Verdict
from raftmon.said import GIVEN_UP_SECONDS, STANDING_STILL
from tests.snapshots import raft_campaign
from tests.views import make_finding, make_run

NOW = 1_700_000_000.0


def snapshot_of(*runs: RunView, problems: Sequence[Problem] = (), **fields: Any) -> Snapshot:
    whole = Snapshot(("/logs",), tuple(runs), (), tuple(problems), version=1)
    return dataclasses.replace(whole, **fields)


def run_with(finding: FindingState | None = None, **fields: Any) -> RunView:
    """A live run, with one finding in a state."""
    findings = (make_finding("loss-diverges", state=finding),) if finding is not None else ()
    return make_run(**{"run": "a", "path": "/logs/a", "state": "live", "findings": findings, "advice": (), **fields})


def said(happenings: Sequence[Happening], kind: str = "finding") -> list[str]:
    return [happening.state for happening in happenings if happening.kind == kind]


def test_a_finding_is_said_when_its_state_changes_and_only_then() -> None:
    ledger = Ledger()
    states: list[FindingState] = [
        "unknown",
        "inactive",
        "pending",
        "pending",
        "firing",
        "firing",
        "resolved",
        "resolved",
    ]
    told = [said(ledger.take(snapshot_of(run_with(state)), NOW + i)) for i, state in enumerate(states)]
    assert told == [[], [], ["pending"], [], ["firing"], [], ["resolved"], []]


def test_a_finding_that_a_graver_one_explains_is_inhibited_and_calls_nobody() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with("firing")), NOW)
    run = run_with(findings=(make_finding("loss-diverges", inhibited_by="loss-not-finite"),))
    (happening,) = ledger.take(snapshot_of(run), NOW + 1)
    assert (happening.state, is_news(happening)) == ("inhibited", False)


def test_an_end_is_news_only_of_what_was_said_to_fire() -> None:
    def looks(*states: FindingState) -> list[bool]:
        ledger = Ledger()
        told = []
        for place, state in enumerate(states):
            told = ledger.take(snapshot_of(run_with(state)), NOW + place)
        return [is_news(happening) for happening in told if happening.kind == "finding"]

    assert looks("firing", "resolved") == [True]
    assert looks("firing", "unknown") == [False]  # its run began anew
    assert looks("resolved") == [False]
    assert looks("pending", "inactive") == [False]
    assert looks("firing", "resolved", "pending", "inactive") == [False]


def test_what_ended_while_nobody_watched_is_said_to_have_ended() -> None:
    before = Ledger()
    firing = before.take(snapshot_of(run_with("firing")), NOW)
    after = Ledger(firing)
    (ended,) = [h for h in after.take(snapshot_of(run_with("inactive")), NOW + 1) if h.kind == "finding"]
    assert (ended.state, is_news(ended)) == ("resolved", True)


def test_an_end_has_no_advice() -> None:
    ledger = Ledger()
    (firing,) = [h for h in ledger.take(snapshot_of(run_with("firing")), NOW) if h.kind == "finding"]
    (resolved,) = ledger.take(snapshot_of(run_with("resolved")), NOW + 1)
    assert (firing.text != "", resolved.text) == (True, "")


def test_a_run_that_begins_anew_takes_its_findings_back() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with("firing")), NOW)
    assert said(ledger.take(snapshot_of(run_with("unknown")), NOW + 1)) == ["inactive"]


def test_what_a_run_tells_of_itself() -> None:
    ledger = Ledger()
    first = ledger.take(snapshot_of(run_with(verdict=Verdict("too_high", 0.9, "it rises"), last_step=40)), NOW)
    assert [(h.kind, h.state, h.step) for h in first] == [("run", "live", 40), ("verdict", "too_high", 40)]
    still = Standstill("stalled", "nothing written for over 10 min")
    later = ledger.take(snapshot_of(run_with(standstill=still, verdict=Verdict("too_high", 0.8, "it rises"))), NOW + 9)
    assert [(h.kind, h.state, h.text) for h in later] == [("run", "stalled", still.text)]


@pytest.mark.parametrize(("proposed", "news"), [(1.004e-5, 0), (2e-5, 1), (None, 1)])
def test_advice_is_news_when_its_number_is_another_one_to_a_person(proposed: float | None, news: int) -> None:
    def advised(rate: float | None) -> RunView:
        return run_with(advice=(Advice("learning_rate", 5e-5, rate, "propose", ("loss-diverges",), f"take {rate}"),))

    ledger = Ledger()
    assert said(ledger.take(snapshot_of(advised(1e-5)), NOW), "advice") == ["propose"]
    assert len(said(ledger.take(snapshot_of(advised(proposed)), NOW + 1), "advice")) == news


def test_two_advices_on_one_parameter_do_not_take_turns() -> None:
    advice = tuple(Advice("data", None, None, "show", (rule,), rule) for rule in ("loss-memorised", "eval-loss-rises"))
    ledger = Ledger()
    assert said(ledger.take(snapshot_of(run_with(advice=advice)), NOW), "advice") == ["show"]
    assert said(ledger.take(snapshot_of(run_with(advice=advice, last_step=99)), NOW), "advice") == []


def test_a_campaign_s_next_cycle_is_news_when_the_decision_changes_and_not_its_words() -> None:
    campaign = raft_campaign()
    assert campaign.next is not None
    ledger = Ledger()
    first = ledger.take(snapshot_of(campaigns=(campaign,)), NOW)
    assert [(h.subject, h.step) for h in first if h.kind == "advice"] == [(NEXT_CYCLE, campaign.next.cycle)]

    def with_next(following: NextCycle) -> Snapshot:
        return snapshot_of(campaigns=(dataclasses.replace(campaign, next=following),))

    assert ledger.take(with_next(dataclasses.replace(campaign.next, text="Other words.")), NOW + 1) == []
    (stop,) = ledger.take(with_next(dataclasses.replace(campaign.next, stop=True)), NOW + 2)
    assert (stop.kind, stop.state) == ("advice", "stop")


def test_problems_begin_and_are_over() -> None:
    problem = Problem("/logs", "no such directory", "It is looked for again.")
    ledger = Ledger()
    assert said(ledger.take(snapshot_of(problems=[problem, problem]), NOW), "problem") == ["begun"]
    assert said(ledger.take(snapshot_of(problems=[problem]), NOW + 1), "problem") == []
    assert said(ledger.take(snapshot_of(), NOW + 2), "problem") == ["over"]


@pytest.mark.parametrize(
    ("age", "state", "late"),
    [(60.0, "idle", False), (90_000.0, "idle", True), (90_000.0, "finished", True), (90_000.0, "live", False)],
)
def test_what_was_over_before_anybody_watched_calls_nobody(age: float, state: str, late: bool) -> None:
    (happening,) = [
        happening
        for happening in Ledger().take(snapshot_of(run_with("firing", state=state, last_wall_time=NOW - age)), NOW)
        if happening.kind == "finding"
    ]
    assert (happening.late, is_news(happening)) == (late, not late)


def test_an_old_run_that_goes_on_is_watched_from_then_on() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with("pending", state="idle", last_wall_time=NOW - 1e6)), NOW)
    (fires,) = [h for h in ledger.take(snapshot_of(run_with("firing")), NOW + 1) if h.kind == "finding"]
    assert is_news(fires)


def test_a_directory_that_is_away_for_a_while_has_not_gone() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with("firing")), NOW)
    assert ledger.take(snapshot_of(), NOW + 1) == []
    assert ledger.take(snapshot_of(), NOW + GONE_SECONDS) == []
    assert ledger.take(snapshot_of(run_with("firing")), NOW + GONE_SECONDS + 2) == []
    ledger.take(snapshot_of(), NOW + 2000)
    (gone,) = ledger.take(snapshot_of(), NOW + 2000 + GONE_SECONDS)
    assert (gone.state, gone.subject, is_news(gone)) == ("gone", "loss-diverges", True)
    assert said(ledger.take(snapshot_of(run_with("firing")), NOW + 9000)) == ["firing"]


def test_a_clock_that_is_set_back_calls_nothing_gone() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with("firing")), NOW)
    ledger.take(snapshot_of(), NOW)
    assert ledger.take(snapshot_of(), NOW - 60.0) == []


_STATES = st.sampled_from(["unknown", "inactive", "pending", "firing", "resolved"])
_VERDICTS = st.sampled_from(["undecided", "ok", "too_high"])


@given(st.lists(st.tuples(_STATES, _STATES, _VERDICTS), min_size=1, max_size=12), st.data())
def test_a_daemon_that_was_restarted_says_the_same_as_one_that_was_not(
    looks: list[tuple[FindingState, FindingState, str]], data: st.DataObject
) -> None:
    def at(look: tuple[FindingState, FindingState, str]) -> Snapshot:
        first, second, verdict = look
        findings = (make_finding("loss-diverges", state=first), make_finding("loss-spikes", state=second))
        return snapshot_of(run_with(findings=findings, verdict=Verdict(verdict, 0.9, "so")))  # type: ignore[arg-type]

    restarts = data.draw(st.sets(st.integers(0, len(looks))))
    once, often, newest = Ledger(), Ledger(), dict[Key, Happening]()
    for place, look in enumerate(looks):
        if place in restarts:
            often = Ledger(newest.values())
        expected, told = once.take(at(look), NOW + place), often.take(at(look), NOW + place)
        assert told == expected
        newest |= {happening.key: happening for happening in told}


def old_run(finding: FindingState | None = None, **fields: Any) -> RunView:
    """A run that ended a month ago."""
    return run_with(finding, **{"state": "finished", "last_wall_time": NOW - 30 * 86400.0, **fields})


def news(happenings: Sequence[Happening]) -> list[str]:
    return [happening.state for happening in happenings if is_news(happening)]


def test_a_rule_that_is_new_calls_nobody_for_a_run_that_ended_long_ago() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(old_run()), NOW)
    (found,) = [h for h in ledger.take(snapshot_of(old_run("firing")), NOW + 9) if h.kind == "finding"]
    assert (found.state, found.late, is_news(found)) == ("firing", True, False)
    # Nobody was told of its beginning.
    (ended,) = [h for h in ledger.take(snapshot_of(run_with("resolved")), NOW + 99) if h.kind == "finding"]
    assert (ended.fired, is_news(ended)) == (True, False)


def test_a_rule_that_is_new_calls_for_a_run_that_goes_on() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with(last_wall_time=NOW)), NOW)
    assert news(ledger.take(snapshot_of(run_with("firing", last_wall_time=NOW)), NOW + 9)) == ["firing"]


def test_an_old_run_that_is_read_bit_by_bit_calls_nobody() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(old_run(last_wall_time=NOW - 40 * 86400.0), backfilling=True), NOW)
    assert news(ledger.take(snapshot_of(old_run("firing")), NOW + 1)) == []


def test_the_last_points_of_a_run_call_also_when_they_are_seen_late() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with(last_wall_time=NOW - 5.0)), NOW)
    last = run_with("firing", state="finished", last_step=99, last_wall_time=NOW + 5.0)
    assert news(ledger.take(snapshot_of(last), NOW + 7200.0)) == ["firing"]


def test_a_process_that_ends_hours_after_its_last_point_calls() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with(state="idle", last_wall_time=NOW)), NOW + 9000.0)
    cut_off = run_with("firing", state="idle", last_wall_time=NOW, standstill=Standstill("cut_off", "it is gone"))
    assert news(ledger.take(snapshot_of(cut_off), NOW + 9002.0)) == ["firing"]


@pytest.mark.parametrize(
    ("changes", "late"),
    [({}, True), ({"cycles": "fewer"}, True), ({"cycles": "others"}, False), ({"age": 3600.0}, False)],
)
def test_a_campaign_that_is_over_calls_nobody(changes: dict[str, Any], late: bool) -> None:
    age = changes.pop("age", 30 * 86400.0)
    campaign = dataclasses.replace(raft_campaign(), findings=())
    run = make_run("r", path=f"{campaign.path}/r", last_wall_time=NOW - age)
    cycles = {"fewer": campaign.cycles[:-1], "others": (*campaign.cycles[:-1], campaign.cycles[0])}
    before = dataclasses.replace(campaign, cycles=cycles.get(changes.get("cycles", ""), campaign.cycles))
    after = dataclasses.replace(campaign, findings=(make_finding("loss-diverges"),))
    ledger = Ledger()
    first = ledger.take(snapshot_of(run, campaigns=(before,)), NOW)
    assert {h.late for h in first if h.path == campaign.path} == {age > 86400.0}
    (found,) = [h for h in ledger.take(snapshot_of(run, campaigns=(after,)), NOW + 9) if h.kind == "finding"]
    assert found.late is late


def test_an_end_is_told_to_those_who_were_told_of_the_beginning_also_hours_later() -> None:
    before = Ledger()
    told = before.take(snapshot_of(run_with("firing", last_wall_time=NOW)), NOW)
    done = run_with("resolved", state="finished", last_wall_time=NOW + 60.0)
    assert news(Ledger(told).take(snapshot_of(done), NOW + 7200.0)) == ["resolved"]


def stall(finding: FindingState, **fields: Any) -> RunView:
    """A run that stood still on another host, two hours ago."""
    found = make_finding("job-stalled", state=finding, readings=(Reading(STANDING_STILL, None, "flag"),))
    return run_with(**{"state": "idle", "findings": (found,), "last_wall_time": NOW - 7200.0, **fields})


def test_the_signal_of_a_standstill_is_the_one_of_the_rules() -> None:
    assert STANDING_STILL == raftmon.signals.standing.STANDING_STILL


@pytest.mark.parametrize("restarted", [False, True])
def test_a_standstill_stands_until_it_is_known_to_be_over(restarted: bool) -> None:
    def again() -> Ledger:
        ledger = Ledger()
        still = Standstill("stalled", "nothing written for over 2 h")
        told = ledger.take(snapshot_of(stall("firing", standstill=still)), NOW)
        ledger = Ledger(told) if restarted else ledger
        # Who looks anew has seen nothing.
        assert said(ledger.take(snapshot_of(stall("unknown")), NOW + 60.0)) == []
        return ledger

    goes_on = stall("inactive", state="live", last_wall_time=NOW + 90.0)
    assert news(again().take(snapshot_of(goes_on), NOW + 90.0)) == ["resolved"]
    ended = stall("unknown", standstill=Standstill("ended", "its process has ended"))
    assert news(again().take(snapshot_of(ended), NOW + 90.0)) == ["resolved"]
    unchanged = again()
    same = snapshot_of(*unchanged._runs)
    assert news(unchanged.take(same, NOW + GIVEN_UP_SECONDS - 7300.0)) == []
    assert news(unchanged.take(same, NOW + GIVEN_UP_SECONDS)) == ["resolved"]
    assert news(unchanged.take(same, NOW + GIVEN_UP_SECONDS + 60.0)) == []
    away = again()
    away.take(snapshot_of(), NOW + 90.0)
    assert news(away.take(snapshot_of(), NOW + 90.0 + GONE_SECONDS)) == ["gone"]


def told_before(path: str = "/logs/a", place: str = "/real/a", **fields: Any) -> Happening:
    return Happening(NOW, "finding", path, "a", "loss-diverges", "firing", "", place=place, **fields)


def after_a_restart(*standing: Happening, then: Snapshot, later: Snapshot | None = None) -> list[str]:
    ledger = Ledger(standing)
    first = ledger.take(then, NOW + 60.0, 0.0)
    last = ledger.take(later or then, NOW + 60.0, GONE_SECONDS)
    assert [h.state for h in first if h.state == "gone"] == []
    assert ledger.take(later or then, NOW + 60.0, 9 * GONE_SECONDS) == []
    return [f"{h.path} {h.state}" for h in last if is_news(h)]


def test_what_was_deleted_while_nobody_watched_is_said_to_be_gone_once() -> None:
    ways = [told_before(path) for path in ("/logs/a", "/link/a", "/real/a")]
    assert after_a_restart(*ways, then=snapshot_of()) == ["/logs/a gone"]
    there = snapshot_of(run_with("firing"))
    assert after_a_restart(*reversed(ways), then=there) == []
    assert after_a_restart(*reversed(ways), then=snapshot_of(), later=there) == []


def test_what_lies_in_no_logdir_or_in_one_that_is_away_is_not_said_to_be_gone() -> None:
    assert after_a_restart(told_before("/other/a", "/other/a"), then=snapshot_of()) == []
    away = snapshot_of(problems=[Problem("/logs", "no such directory", "It is looked for again.")])
    ledger = Ledger([told_before()])
    ledger.take(snapshot_of(), NOW, -60.0)  # the trouble was not seen yet
    ledger.take(away, NOW, 0.0)
    assert ledger.take(away, NOW, 1e6) == []
    ledger.take(snapshot_of(), NOW, 1e6 + 1)
    assert news(ledger.take(snapshot_of(), NOW, 1e6 + 1 + GONE_SECONDS)) == ["gone"]


def test_nothing_is_kept_of_what_is_gone() -> None:
    ledger = Ledger([told_before("/other/a", "/other/a"), told_before(), told_before("/link/a")])
    runs = [run_with("firing", run=name, path=f"/logs/{name}") for name in "bcd"]
    ledger.take(snapshot_of(*runs), NOW, 0.0)
    assert set(ledger._said) == {"/logs/a", "/link/a", "/logs/b", "/logs/c", "/logs/d"}
    ledger.take(snapshot_of(runs[2]), NOW, 1.0)
    ledger.take(snapshot_of(runs[2]), NOW, 1.0 + GONE_SECONDS)
    assert (set(ledger._said), set(ledger._views), ledger._away, ledger._ways) == ({"/logs/d"}, {"/logs/d"}, {}, {})


def test_a_clock_that_jumps_ahead_calls_nothing_gone() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with("firing")), NOW, 0.0)
    ledger.take(snapshot_of(), NOW, 1.0)
    assert ledger.take(snapshot_of(), NOW + 86400.0, 2.0) == []


def test_problems_are_not_begun_again_by_a_restart_and_their_end_is_said() -> None:
    lasts, ends = Problem("/logs", "no such directory", "Look."), Problem("/logs/f:3", "damaged", "")
    told = Ledger().take(snapshot_of(problems=[lasts, ends]), NOW)
    (over,) = Ledger(told).take(snapshot_of(problems=[lasts]), NOW + 9)
    assert (over.path, over.subject, over.state) == ("/logs/f:3", "damaged", "over")


def test_runs_that_change_places_are_all_looked_at() -> None:
    ledger = Ledger()
    runs = [run_with("inactive", run=name, path=f"/logs/{name}") for name in "abc"]
    ledger.take(snapshot_of(*runs), NOW)
    fires = run_with("firing", run="c", path="/logs/c")
    news_of = ledger.take(snapshot_of(fires, *runs[:2]), NOW + 1)
    assert [(h.path, h.state) for h in news_of] == [("/logs/c", "firing")]
    new = run_with("firing", run="d", path="/logs/d")
    assert {h.path for h in ledger.take(snapshot_of(fires, runs[0], new), NOW + 2, 0.0)} == {"/logs/d"}
    assert [h.path for h in ledger.take(snapshot_of(fires, runs[0], new), NOW + 2, GONE_SECONDS)] == []


def test_a_run_that_is_whole_without_a_new_view_is_said_and_its_campaign_with_it() -> None:
    run, campaign = run_with("firing", path="/logs/models/raft/cycle_1"), raft_campaign(path="/logs/models/raft")
    ledger = Ledger()
    half = snapshot_of(run, campaigns=(campaign,), unread=frozenset({run.path}))
    assert ledger.take(half, NOW) == []
    whole = dataclasses.replace(half, unread=frozenset())
    assert {happening.path for happening in ledger.take(whole, NOW + 1)} == {run.path, campaign.path}
    assert ledger.take(whole, NOW + 2) == []


def test_a_run_that_was_said_once_is_said_on_while_more_of_it_is_read() -> None:
    ledger = Ledger()
    ledger.take(snapshot_of(run_with("pending")), NOW)
    burst = snapshot_of(run_with("firing"), unread=frozenset({"/logs/a"}))
    assert said(ledger.take(burst, NOW + 1)) == ["firing"]
