"""The shipped rule set: each rule passes its own cases, and says where it comes from."""

import pytest

from raftmon.advice.rule import Rule, RuleTest
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.ruletests import run_test
from raftmon.headless.rules import catalogue_markdown

RULES = load_rules()
CASES = [pytest.param(rule, case, id=f"{rule.id}: {case.name}") for rule in RULES for case in rule.tests]
SEEDS = {
    "loss-oscillates",
    "loss-spikes",
    "loss-diverges",
    "loss-not-finite",
    "grad-norm-clipped",
    "cycle-worse",
    "outputs-repetitive",
    "loss-barely-moves",
    "rates-stand-still",
    "grad-norm-tiny",
    "lr-effectively-zero",
    "warmup-outlasts-run",
}
"""The diagnostic signals of the documents that the rule set started from."""


@pytest.mark.parametrize(("rule", "case"), CASES)
def test_rule_case(rule: Rule, case: RuleTest) -> None:
    assert run_test(case, rule) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_is_documented(rule: Rule) -> None:
    assert rule.description
    assert rule.text
    assert rule.false_positives
    assert 1 <= len(rule.would_change) <= 3


def test_the_catalogue_is_up_to_date() -> None:
    assert (SHIPPED_RULES / "README.md").read_text() == catalogue_markdown(), "run `make rules-readme`"


def test_the_seeds_diagnostics_are_covered() -> None:
    assert {rule.id for rule in RULES} >= SEEDS


def test_rules_contradicted_by_measurement_decide_nothing() -> None:
    for rule in RULES:
        if rule.evidence_level == "withdrawn":
            assert (rule.multiply, rule.severity) == (None, "informational")
            assert rule.grade in ("D", "X")
