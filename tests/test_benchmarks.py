"""The benchmarks still run, and what was measured still holds on what nothing learned from."""

import json

import pytest

from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import KINDS, Weighing, read_weighing
from tests.benchmarks import cycle_drop, verdicts
from tests.benchmarks.fitting import JUDGES, Looks, fit_families, weighings_without_each
from tests.benchmarks.sweeps import CONDITIONS, Condition, Training, trainings

WORSE: float = 0.02
"""By so much a figure may fall before it counts."""


@pytest.fixture(scope="module")
def looks() -> Looks:
    return Looks(trainings())


@pytest.fixture(scope="module")
def weighings(looks: Looks) -> dict[str, Weighing]:
    return weighings_without_each(looks)


@pytest.mark.timeout(900)
def test_the_weighing_is_as_right_on_left_out_families_as_was_measured(
    looks: Looks, weighings: dict[str, Weighing]
) -> None:
    found = verdicts.figures(looks.cases, verdicts.odds_by_condition(looks, weighings))
    measured = json.loads(verdicts.MEASURED.read_text())

    assert found.keys() == measured.keys() == {str(condition) for condition in CONDITIONS}
    for condition, figures in measured.items():
        now = found[condition]
        assert now["balanced"] > figures["balanced"] - WORSE, condition
        assert now["right_when_sure"] > figures["right_when_sure"] - WORSE, condition
        assert now["opposite"] < figures["opposite"] + WORSE / 4, condition


@pytest.mark.timeout(900)
def test_the_shipped_coefficients_are_those_that_the_benchmark_fits(looks: Looks) -> None:
    shipped = read_weighing(SHIPPED_RULES / "verdict.yaml")
    fitted = fit_families(looks, frozenset(case.family for case in looks.cases))

    for ours, anew in zip(shipped.models, fitted.models, strict=True):
        assert ours.needs == anew.needs
        for one, other in zip(ours.features, anew.features, strict=True):
            assert one.signal == other.signal
            weights = [one.weights[kind] for kind in KINDS]
            assert weights == pytest.approx([other.weights[kind] for kind in KINDS], abs=0.02)


@pytest.mark.timeout(900)
def test_what_raftmon_says_of_the_judges_is_mostly_right_and_hardly_ever_the_opposite(
    looks: Looks, weighings: dict[str, Weighing]
) -> None:
    cases: list[Training] = [case for case in looks.cases if case.family in JUDGES and case.seed == 1]
    rules = [rule for rule in load_rules() if rule.subject == "run"]
    replays = verdicts.replay_all(cases, Condition(), weighings, rules)

    spoken = [(r.training.kind, r.said[-1]) for r in replays if r.said[-1] != "undecided"]
    assert len(spoken) > 0.4 * len(cases)
    assert sum(really == said for really, said in spoken) > 0.85 * len(spoken)
    assert sum(set(pair) == {"too_low", "too_high"} for pair in spoken) <= 1


@pytest.mark.parametrize("question", cycle_drop.QUESTIONS, ids=lambda question: question.rule)
def test_the_figures_of_the_cycle_rules_hold_on_other_campaigns(question: cycle_drop.Question) -> None:
    tallies = cycle_drop.simulate(question, campaigns=600, seed=99)

    caught = sum(tally.caught for tally in tallies.values())
    false = sum(tally.false_alarms for tally in tallies.values())
    assert caught / (caught + false) > 0.94
    assert caught > 0.85 * sum(tallies[fall].campaigns for fall in question.falls)
