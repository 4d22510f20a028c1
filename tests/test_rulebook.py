"""Reading rule files: every defect at once, each with its place."""

from pathlib import Path

import pytest

from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.errors import DocumentErrors
from raftmon.grounds import Measured, figures

RULE = """\
schema: raftmon/rule@1
id: flat
title: Loss is flat
points_to: lr_too_low
status: experimental
severity: low
description: Flat.
applies_to: {scenario: [any], needs: [loss]}
parameters:
  progress: {value: 0.02, unit: ratio, origin: "a guess"}
when: {signal: loss.progress, below: $progress}
for: 20 points
keep_firing_for: 20 points
advice: {text: "moved by {loss.progress:.1%}", adjust: {parameter: learning_rate, multiply: 2.0}}
false_positives: [A floor]
would_change: [A second run at three times the rate that ends no lower]
evidence: {level: anecdotal, grade: D, measured: {runs: 40, fired: 10, wanted: 12, precision: 0.90, recall: 0.75}}
"""
TESTS = """\
cases:
  - {name: flat, series: {loss: "2.0x90~0.01"}, expect: [{state: firing}]}
  - {name: falls, series: {loss: "2.0-0.01x90"}, expect: [{state: inactive}]}
  - {name: none, series: {}, expect: [{state: unknown}]}
"""


def write(directory: Path, rule: str = RULE, tests: str = TESTS, name: str = "flat") -> Path:
    (directory / f"{name}.yaml").write_text(rule)
    (directory / f"{name}.test.yaml").write_text(tests)
    return directory


def defects(directory: Path, **overrides: dict[str, float | bool]) -> list[str]:
    with pytest.raises(DocumentErrors) as caught:
        load_rules(directory, overrides)
    return [f"{problem.where.rsplit('/', 1)[-1]} {problem.what}" for problem in caught.value.problems]


def test_a_sound_rule_is_read_whole(tmp_path: Path) -> None:
    (rule,) = load_rules(write(tmp_path))

    assert (rule.id, rule.severity, rule.subject, rule.multiply) == ("flat", "low", "run", 2.0)
    assert rule.parameters["progress"].origin == "a guess"
    assert len(rule.tests) == 3


def test_status_is_earned_by_measurement(tmp_path: Path) -> None:
    unmeasured = RULE[: RULE.index(", measured")] + "}\n"

    (problem,) = defects(write(tmp_path, unmeasured.replace("status: experimental", "status: stable")))

    assert "nothing was measured" in problem


def test_what_is_missing_is_told_with_the_words_to_write(tmp_path: Path) -> None:
    bare = RULE.replace("grade: D, ", "").replace("would_change: [A second run at three times the rate", "x: [Run")

    with pytest.raises(DocumentErrors) as caught:
        load_rules(write(tmp_path, bare))

    remedies = " ".join(problem.remedy for problem in caught.value.problems)
    assert "B one strong source" in remedies
    assert "List one to three observations, for example" in remedies


def test_shares_have_intervals_where_they_were_counted(tmp_path: Path) -> None:
    (rule,) = load_rules(write(tmp_path))
    low, high = rule.measured.precision_interval or (0.0, 0.0)

    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)
    assert figures(rule.measured) == (
        "precision 0.90 (0.60–0.98, fired on 10 of 40 runs)",
        "recall 0.75 (0.47–0.91, should have fired on 12)",
    )
    (rule,) = load_rules(write(tmp_path, RULE.replace("fired: 10, wanted: 12, ", "")))
    assert figures(rule.measured) == ("precision 0.90 (40 runs)", "recall 0.75")


def test_figures_in_words() -> None:
    assert figures(Measured()) == ("not measured yet",)
    assert figures(Measured(84, None, 0.0, "recorded trainings", 0, 30)) == (
        "never fired on 84 recorded trainings, so that its precision is not known",
        "recall 0.00 (should have fired on 30)",
    )


def test_a_rule_is_summed_up_once_for_its_findings(tmp_path: Path) -> None:
    both = "{all: [{signal: loss.progress, below: $progress, clear_above: 0.04}, {signal: loss.points, above: 30}]}"
    (rule,) = load_rules(write(tmp_path, RULE.replace("{signal: loss.progress, below: $progress}", both)))
    evidence = rule.evidence

    assert evidence is not None
    assert (evidence.grade, evidence.would_change, evidence.multiply) == ("D", rule.would_change, 2.0)
    assert [(c.depth, c.joins, c.signal, c.above, c.limit, c.clear, c.origin) for c in evidence.criteria] == [
        (0, "all", "", False, 0.0, 0.0, ""),
        (1, None, "loss.progress", False, 0.02, 0.04, "a guess"),
        (1, None, "loss.points", True, 30.0, 30.0, ""),
    ]


def test_every_defect_is_told_at_once_with_line_and_column(tmp_path: Path) -> None:
    broken = (
        RULE.replace("severity: low", "severity: lwo")
        .replace("loss.progress, below", "loss.progres, below")
        .replace("for: 20 points", "for: 20 epochs", 1)
        .replace("description: Flat.", "description: Flat.\ndescripton: again")
    )

    found = defects(write(tmp_path, broken))

    assert len(found) == 4
    assert any(line.startswith("flat.yaml:6:11 `severity` is `lwo`") for line in found)
    assert any(line.startswith("flat.yaml:12:16 `when.signal` is `loss.progres`") for line in found)
    assert any(line.startswith("flat.yaml:13:6 `for` must be a count and a unit") for line in found)
    assert any(line.startswith("flat.yaml:8:1 `descripton` is not a key") for line in found)


def test_a_near_miss_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentErrors, match=r"Did you mean `loss\.progress`"):
        load_rules(write(tmp_path, RULE.replace("signal: loss.progress", "signal: loss.progres")))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("id: flat", "id: flatt", "`id` is `flatt`"),
        ("below: $progress", "below: $progres", "`$progres` is no parameter"),
        ("below: $progress", "below: 1, above: 2", "needs `above` or `below`"),
        ("below: $progress", "below: 1, clear_above: 0.5", "lies on the wrong side"),
        ("multiply: 2.0", "multiply: 0", "`multiply` must be above 0"),
        ("would_change: [A second run at three times the rate that ends no lower]\n", "", "`would_change` is missing"),
        ("[A second run at three times the rate that ends no lower]", "[]", "`would_change` is missing"),
        ("grade: D, ", "", "`evidence.grade` is missing"),
        ("grade: D", "grade: E", "`evidence.grade` is `E`"),
        ("grade: D", "grade: X", "`evidence.grade` is X but `level` is anecdotal"),
        ("precision: 0.90", "precision: 1.90", "`evidence.measured.precision` is 1.9"),
        ("recall: 0.75", "recall: -0.1", "`evidence.measured.recall` is -0.1"),
        ("fired: 10", "fired: 41", "`evidence.measured.fired` is 41 of 40 runs"),
        ("fired: 10", "fired: 0", "`evidence.measured.precision` is a share of no run"),
        ("wanted: 12", "wanted: 41", "`evidence.measured.wanted` is 41 of 40 runs"),
        ("fired: 10", "fired: 2.5", "`evidence.measured.fired` is 2.5"),
        ("runs: 40, fired: 10, wanted: 12, ", "", "`evidence.measured.precision` is given without `runs`"),
        ("{loss.progress:.1%}", "{loss.progres}", "the advice names `loss.progres`"),
        ("level: anecdotal", "level: observed", "`sources` is missing"),
        ('origin: "a guess"', "", "`parameters.progress.origin` is missing"),
        ("{signal: loss.progress, below: $progress}", "{all: []}", "`all` is empty"),
        (
            "{signal: loss.progress, below: $progress}",
            "{all: [{signal: loss.progress, below: 1}, {signal: campaign.drop, above: 1}]}",
            "mixes signals of a run",
        ),
    ],
)
def test_a_defect(tmp_path: Path, old: str, new: str, what: str) -> None:
    assert old in RULE

    assert any(what in line for line in defects(write(tmp_path, RULE.replace(old, new, 1))))


def test_a_syntax_error_has_a_place(tmp_path: Path) -> None:
    assert any(
        line.startswith("flat.yaml:7:12 not valid YAML")
        for line in defects(write(tmp_path, RULE.replace("severity: low", "severity: [low")))
    )


def test_a_rule_without_enough_tests_is_refused(tmp_path: Path) -> None:
    first_two = "\n".join(TESTS.splitlines()[:2]) + "\n"

    assert any("no case shows `flat` unknown or inactive" in line for line in defects(write(tmp_path, tests=first_two)))


def test_inhibits_must_name_a_rule(tmp_path: Path) -> None:
    assert any("`inhibits` names `other`" in line for line in defects(write(tmp_path, RULE + "inhibits: [other]\n")))


def test_settings_change_parameters_and_switch_rules_off(tmp_path: Path) -> None:
    write(tmp_path)

    (rule,) = load_rules(tmp_path, {"flat": {"progress": 0.5}})
    assert rule.parameters["progress"].value == 0.5
    assert rule.parameters["progress"].origin == "your settings, in place of 0.02 (a guess)"
    assert load_rules(tmp_path, {"flat": {"enabled": False}}) == []
    assert defects(tmp_path, flt={"enabled": False}) == ["settings: rules.flt there is no such rule"]
    assert any("has no parameter `prog`" in line for line in defects(tmp_path, flat={"prog": 1.0}))


def test_a_broken_rule_is_no_reason_to_complain_of_those_that_name_it(tmp_path: Path) -> None:
    write(tmp_path, RULE.replace("severity: low", "severity: lwo"))
    write(tmp_path, RULE.replace("id: flat", "id: other") + "inhibits: [flat]\n", name="other")

    assert len(defects(tmp_path)) == 1


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    assert any("no rule files" in line for line in defects(tmp_path))


def test_the_shipped_rules_are_there() -> None:
    assert len(load_rules(SHIPPED_RULES)) >= 20


def test_every_stable_rule_was_right_nine_times_in_ten() -> None:
    stable = [rule for rule in load_rules() if rule.status == "stable"]

    assert {rule.id for rule in stable} >= {"loss-diverges", "sweep-lower-rate-better"}
    for rule in stable:
        assert rule.measured.precision is not None
        assert rule.measured.precision >= 0.9, rule.id
        assert (rule.measured.fired or 0) >= 30, rule.id
