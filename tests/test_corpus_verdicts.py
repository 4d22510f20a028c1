"""What raftmon says of other people's labelled runs gets no worse than it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from raftmon.model import Finding, RunView, Verdict, VerdictKind
from tests.benchmarks.corpus_verdicts import (
    BENIGN_START,
    CASES,
    COLLAPSED,
    HEALTHY,
    HIGH,
    MILDLY_LOW,
    NEW_TASK,
    RATE_AT_ZERO,
    Case,
    Expectation,
    Outcome,
    Result,
    false_alarms,
    outcome,
    results,
    table,
    totals,
)
from tests.views import make_finding, make_run

RIGHT_AT_LEAST = {"A1": 3, "A2": 3, "B1": 5, "B4": 1, "C1": 5, "C4": 1, "D1": 2, "D3": 5, "D7": 1}
"""Group to runs that are judged right today."""
WRONG = ["my_model/version_11"]
"""Called right at a tenth of the best learning rate: it ends 2 % above the best run and is still falling."""
FALSE_ALARMS = 0
"""Findings at or above medium on healthy runs."""


@pytest.fixture(scope="module")
def judged(corpus: Path) -> list[Result]:
    return list(results(corpus))


def test_every_group_of_the_check_has_its_runs() -> None:
    groups = Counter(case.group for case in CASES)

    assert groups == {"A1": 4, "A2": 6, "B1": 5, "B4": 1, "C1": 5, "C4": 1, "D1": 2, "D3": 5, "D7": 1}
    assert sum(case.healthy for case in CASES) == 13


def test_no_other_run_is_judged_wrong_and_no_fewer_are_judged_right(judged: list[Result]) -> None:
    right = Counter(result.case.group for result in judged if result.outcome == "right")

    assert [result.case.run for result in judged if result.outcome == "wrong"] == WRONG
    assert {group: right[group] for group in RIGHT_AT_LEAST if right[group] < RIGHT_AT_LEAST[group]} == {}


def test_healthy_runs_are_left_alone_as_much_as_before(judged: list[Result]) -> None:
    loud = [
        (result.case.run, finding.rule, finding.severity)
        for result in judged
        if result.case.healthy
        for finding in result.loud
    ]

    assert len(loud) <= FALSE_ALARMS, loud
    assert [alarm for alarm in loud if alarm[2] == "critical"] == []


def test_the_tables_name_every_run_and_add_up(judged: list[Result]) -> None:
    assert len(table(judged).splitlines()) == len(CASES) + 2
    assert f"| all | {len(CASES)} |" in totals(judged)
    assert false_alarms(judged).startswith("13 healthy runs")


def run(verdict: VerdictKind, *findings: Finding) -> RunView:
    return make_run(verdict=Verdict(verdict, 0.8, "because"), findings=findings)


@pytest.mark.parametrize(
    ("expected", "view", "decided"),
    [
        (HIGH, run("too_high"), "right"),
        (HIGH, run("undecided"), "silent"),
        (HIGH, run("ok"), "wrong"),
        (HIGH, run("too_low"), "wrong"),
        (MILDLY_LOW, run("ok"), "right"),
        (MILDLY_LOW, run("too_low", make_finding("any", severity="medium")), "right"),
        (MILDLY_LOW, run("too_low", make_finding("any", severity="high")), "wrong"),
        (RATE_AT_ZERO, run("undecided", make_finding("lr-effectively-zero")), "right"),
        (RATE_AT_ZERO, run("undecided", make_finding("lr-effectively-zero", state="pending")), "silent"),
        (BENIGN_START, run("undecided", make_finding("any", severity="medium")), "right"),
        (BENIGN_START, run("undecided", make_finding("any", severity="high")), "wrong"),
        (COLLAPSED, run("undecided", make_finding("reward-falls", severity="medium")), "right"),
        (COLLAPSED, run("undecided"), "silent"),
        (HEALTHY, run("undecided", make_finding("any", severity="low")), "right"),
        (HEALTHY, run("ok"), "right"),
        (HEALTHY, run("undecided", make_finding("any", severity="medium")), "wrong"),
        (NEW_TASK, run("undecided", make_finding("reward-falls", severity="medium")), "right"),
        (NEW_TASK, run("undecided", make_finding("policy-collapses", severity="critical")), "wrong"),
    ],
)
def test_an_expectation_decides_what_is_right(expected: Expectation, view: RunView, decided: Outcome) -> None:
    assert outcome(expected, view) == decided


def test_false_alarms_are_counted_on_healthy_runs_alone() -> None:
    alarm = make_finding("loss-diverges", severity="critical")
    ill = Case("X", "project", "ill", "it diverged", HIGH)
    well = Case("X", "project", "well", "nothing", HEALTHY, healthy=True)
    judged = [Result(case, run("undecided", alarm), "wrong") for case in (ill, well)]

    said = "1 healthy runs: 1 findings at or above medium on 1 of them (loss-diverges 1), 1 of them critical"
    assert false_alarms(judged) == said


def test_a_corpus_without_a_labelled_run_is_an_error(tmp_path: Path) -> None:
    case = Case("X", "project", "run", "nothing", HEALTHY)
    (tmp_path / "project").mkdir()

    with pytest.raises(LookupError, match="0 runs that end in run, not one"):
        list(results(tmp_path, [case]))
