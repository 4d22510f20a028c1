"""The benchmarks still run, and what the README promises still holds on what they did not learn from."""

import pytest

from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import KINDS, read_weighing
from tests.benchmarks import cycle_drop, verdicts
from tests.benchmarks.looks import CONDITIONS, Recording, recordings


@pytest.fixture(scope="module")
def cases() -> list[Recording]:
    return recordings()


@pytest.fixture(scope="module")
def looks(cases: list[Recording]) -> verdicts.Looks:
    return {condition: [case.readings(condition) for case in cases] for condition in CONDITIONS}


def test_what_is_said_of_left_out_families_is_mostly_right_and_never_the_opposite(
    cases: list[Recording], looks: verdicts.Looks
) -> None:
    rules = [rule for rule in load_rules() if rule.subject == "run"]
    views = verdicts.judge(cases, verdicts.weighings_without(cases, looks), rules)

    spoken = [(case.kind, view.verdict.learning_rate) for case, view in zip(cases, views, strict=True)]
    spoken = [(really, said) for really, said in spoken if said in KINDS]
    assert len(spoken) > 0.45 * len(cases)
    assert sum(really == said for really, said in spoken) > 0.8 * len(spoken)
    assert not [pair for pair in spoken if set(pair) == {"too_low", "too_high"}]


def test_the_shipped_coefficients_are_those_that_the_benchmark_fits(
    cases: list[Recording], looks: verdicts.Looks
) -> None:
    shipped = read_weighing(SHIPPED_RULES / "verdict.yaml")
    fitted = verdicts.fit_families(cases, looks, list(dict.fromkeys(case.family for case in cases)))

    for ours, anew in zip(shipped.features, fitted.features, strict=True):
        assert ours.signal == anew.signal
        assert [ours.weights[kind] for kind in KINDS] == pytest.approx([anew.weights[kind] for kind in KINDS], abs=0.01)


@pytest.mark.parametrize("question", cycle_drop.QUESTIONS, ids=lambda question: question.rule)
def test_the_figures_of_the_cycle_rules_hold_on_other_campaigns(question: cycle_drop.Question) -> None:
    tallies = cycle_drop.simulate(question, campaigns=600, seed=99)

    caught = sum(tally.caught for tally in tallies.values())
    false = sum(tally.false_alarms for tally in tallies.values())
    assert caught / (caught + false) > 0.94
    assert caught > 0.85 * sum(tallies[fall].campaigns for fall in question.falls)
