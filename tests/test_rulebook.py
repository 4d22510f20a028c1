"""Reading rule files: every defect at once, each with its place."""

from pathlib import Path

import pytest

from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.errors import DocumentErrors

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
false_positives: []
evidence: {level: anecdotal}
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
        ("status: experimental", "status: stable", "nothing was measured"),
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
