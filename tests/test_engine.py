"""The rule engine: states over time, hysteresis, missing data, inhibition."""

import dataclasses
import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.engine import RuleEngine
from raftmon.advice.rule import All, Any, Comparison, Duration, Measured, Rule
from raftmon.model import Finding
from raftmon.signals.registry import Readings

DRAWUP = Comparison("loss.drawup", above=True, limit=0.5, clear=0.3)
NOISE = Comparison("loss.noise", above=True, limit=1.0, clear=1.0)


def make_rule(**changes: object) -> Rule:
    rule = Rule(
        id="drawn-up",
        title="Drawn up",
        path="drawn-up.yaml",
        points_to="lr_too_high",
        status="experimental",
        severity="high",
        description="",
        subject="run",
        scenarios=("any",),
        needs=("loss",),
        parameters={},
        when=DRAWUP,
        hold=Duration(3, "points"),
        keep=Duration(2, "points"),
        inhibits=(),
        text="drawn up by {loss.drawup:.1f}, noise {loss.noise:.1f}",
        multiply=None,
        roll_back=False,
        stop=False,
        decides=False,
        false_positives=(),
        evidence_level="observed",
        sources=(),
        measured=Measured(),
    )
    return dataclasses.replace(rule, **changes)  # type: ignore[arg-type]


def states(rule: Rule, values: Sequence[float | None], step: int = 10) -> list[str]:
    engine = RuleEngine([rule])
    found: list[str] = []
    for point, value in enumerate(values, start=1):
        readings = {"loss.drawup": value}
        engine.tick(readings, point, point * step)
        found.append(engine.findings(readings, point, point * step, {})[0].state)
    return found


def only(engine: RuleEngine, readings: dict[str, float | None], counts: dict[str, int]) -> Finding:
    (finding,) = engine.findings(readings, 1, 10, counts)
    return finding


def test_pending_then_firing_then_resolved() -> None:
    assert states(make_rule(), [0.1, 0.6, 0.6, 0.6, 0.6, 0.1, 0.1, 0.1]) == [
        *("inactive", "pending", "pending", "pending", "firing"),
        *("firing", "firing", "resolved"),
    ]


def test_hysteresis_keeps_it_firing_between_the_two_limits() -> None:
    assert states(make_rule(), [0.6] * 4 + [0.4] * 6)[-1] == "firing"


def test_a_short_rise_never_fires() -> None:
    assert "firing" not in states(make_rule(), [0.6, 0.6, 0.1] * 5)


def test_durations_count_steps_where_the_rule_says_so() -> None:
    rule = make_rule(hold=Duration(25, "steps"))

    assert states(rule, [0.6] * 5) == ["pending", "pending", "pending", "firing", "firing"]


def test_missing_data_is_unknown_and_resolves_nothing() -> None:
    assert states(make_rule(), [None, None]) == ["unknown", "unknown"]
    assert states(make_rule(), [0.6] * 4 + [None] * 20)[-1] == "firing"


def test_all_is_decided_by_one_false_and_any_is_unknown_only_when_all_parts_are() -> None:
    both, either = All((DRAWUP, NOISE)), Any((DRAWUP, NOISE))

    assert both.compiled()(Readings({"loss.drawup": 0.1}, {}), False) is False
    assert both.compiled()(Readings({"loss.drawup": 0.6}, {}), False) is None
    assert either.compiled()(Readings({"loss.drawup": 0.6}, {}), False) is True
    assert either.compiled()(Readings({"loss.drawup": 0.1}, {}), False) is False
    assert either.compiled()(Readings({}, {}), False) is None


def test_what_is_missing_is_said_in_words() -> None:
    engine = RuleEngine([make_rule()])

    assert only(engine, {}, {}).missing == ("loss",)
    assert only(engine, {}, {"loss": 4}).missing == ("10 loss points (4 so far)",)
    clip = RuleEngine([make_rule(when=Comparison("gradient.clip_share", above=True, limit=0.5, clear=0.5))])
    assert only(clip, {}, {"grad_norm": 40}).missing == ("the clip limit (max_grad_norm)",)


def test_the_text_is_filled_in_and_a_missing_number_is_a_question_mark() -> None:
    engine = RuleEngine([make_rule(hold=Duration(0, "points"))])

    assert only(engine, {"loss.drawup": 0.62}, {}).text == "drawn up by 0.6, noise ?"
    assert only(engine, {"loss.drawup": 0.1}, {}).text == ""


def test_a_finding_that_is_clearing_quotes_the_readings_at_which_it_held() -> None:
    engine = RuleEngine([make_rule(hold=Duration(0, "points"), keep=Duration(9, "points"))])
    engine.tick({"loss.drawup": 0.9}, 1, 10)

    assert only(engine, {"loss.drawup": 0.1}, {}).text == "drawn up by 0.9, noise ?"
    assert only(engine, {}, {}).text == "drawn up by 0.9, noise ?"


def test_the_cause_silences_the_symptom() -> None:
    cause = make_rule(id="cause", inhibits=("drawn-up",), hold=Duration(0, "points"))
    symptom = make_rule(hold=Duration(0, "points"))

    findings = RuleEngine([symptom, cause]).findings({"loss.drawup": 0.9}, 1, 10, {})

    assert [(finding.rule, finding.inhibited_by) for finding in findings] == [("cause", None), ("drawn-up", "cause")]


def test_looking_changes_nothing() -> None:
    engine = RuleEngine([make_rule(hold=Duration(0, "points"))])
    for _ in range(3):
        assert only(engine, {"loss.drawup": 0.9}, {}).state == "firing"

    assert only(engine, {"loss.drawup": 0.1}, {}).state == "inactive"


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 1.0)), max_size=60))
def test_states_only_follow_the_arrows_of_the_diagram(values: list[float | None]) -> None:
    allowed = {
        "unknown": {"unknown", "inactive", "pending"},
        "inactive": {"unknown", "inactive", "pending"},
        "pending": {"pending", "inactive", "firing"},
        "firing": {"firing", "resolved"},
        "resolved": {"resolved", "pending"},
    }
    found = ["unknown", *states(make_rule(), values)]

    for before, after in itertools.pairwise(found):
        assert after in allowed[before]
