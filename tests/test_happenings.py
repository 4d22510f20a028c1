"""What happened between two snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.happenings import GONE_SECONDS, NEXT_CYCLE, Happening, Key, Ledger, is_news
from raftmon.model import Advice, FindingState, NextCycle, Problem, RunView, Snapshot, Standstill, Verdict
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
