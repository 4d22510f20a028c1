"""Weighing: priors, dependence, abstention, and the reasons that are given."""

import dataclasses

import pytest

from raftmon.advice.rule import Rule, Weights
from raftmon.advice.verdict import decide
from raftmon.model import Finding, FindingState, PointsTo
from tests.test_engine import make_rule

HIGH = make_rule(
    id="high", title="Loss diverges", firing_weights=Weights(0.1, 0.3, 3.0), silent_weights=Weights(1.2, 1.2, 0.5)
)
LOW = make_rule(id="low", title="Loss is flat", points_to="lr_too_low", firing_weights=Weights(3.0, 0.3, 0.3))
FINE = make_rule(id="fine", title="Loss settles", points_to="lr_ok", firing_weights=Weights(0.4, 2.5, 0.5))
RULES = {rule.id: rule for rule in (HIGH, LOW, FINE)}
ENOUGH = {"loss": 200}


def finding(rule: Rule, state: FindingState = "firing", **changes: object) -> Finding:
    made = Finding(rule.id, rule.title, state, rule.severity, rule.points_to, 1, (), {}, "")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "kind"), [(HIGH, "too_high"), (LOW, "too_low"), (FINE, "ok")], ids=["high", "low", "ok"]
)
def test_one_strong_witness_decides(rule: Rule, kind: str) -> None:
    verdict = decide(RULES, [finding(rule)], ENOUGH)

    assert verdict.learning_rate == kind
    assert 0.6 < verdict.confidence < 0.95
    assert verdict.why == rule.title[0].lower() + rule.title[1:]
    assert verdict.reasons[0].startswith(f"{rule.id} fires")


def test_silence_alone_decides_nothing() -> None:
    verdict = decide(RULES, [finding(HIGH, "inactive")], ENOUGH)

    assert verdict.learning_rate == "undecided"
    assert verdict.why == "nothing in 200 loss points decides, no grad norm, no eval loss"


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"loss": 1}, "1 loss point; 20 are needed"),
        ({"loss": 16}, "16 loss points; 20 are needed"),
        ({"reward": 80}, "no training loss logged, only reward"),
        ({}, "nothing with a known role logged yet"),
    ],
)
def test_too_little_data_is_said(counts: dict[str, int], why: str) -> None:
    verdict = decide(RULES, [finding(LOW)], counts)

    assert (verdict.learning_rate, verdict.why) == ("undecided", why)


def test_a_gross_failure_is_told_even_in_a_short_run() -> None:
    verdict = decide(RULES, [finding(HIGH, severity="critical")], {"loss": 12})

    assert verdict.learning_rate == "too_high"


def test_conflicting_evidence_is_undecided() -> None:
    verdict = decide(RULES, [finding(HIGH), finding(LOW)], ENOUGH)

    assert verdict.learning_rate == "undecided"
    assert verdict.why.startswith("the evidence conflicts")


def test_a_silenced_symptom_and_an_unknown_rule_weigh_nothing() -> None:
    silenced = decide(RULES, [finding(LOW, inhibited_by="high"), finding(HIGH)], ENOUGH)
    unknown = decide(RULES, [finding(LOW, "unknown"), finding(HIGH)], ENOUGH)

    assert silenced == unknown == decide(RULES, [finding(HIGH)], ENOUGH)


def test_more_evidence_of_too_high_never_speaks_for_less() -> None:
    second = dataclasses.replace(HIGH, id="second")
    rules = {**RULES, "second": second}

    one = decide(rules, [finding(HIGH)], ENOUGH)
    two = decide(rules, [finding(HIGH), finding(second)], ENOUGH)

    assert two.learning_rate == "too_high"
    assert two.confidence >= one.confidence


@pytest.mark.parametrize("points_to", ["schedule", "data", "collapse", "health"])
def test_rules_without_weights_are_no_evidence(points_to: PointsTo) -> None:
    other = make_rule(id="other", points_to=points_to)

    assert decide({"other": other}, [finding(other)], ENOUGH).learning_rate == "undecided"
