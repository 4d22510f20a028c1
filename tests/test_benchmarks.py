"""The benchmarks still run, and what was measured still holds on what nothing learned from."""

import json

import pytest

from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import KINDS, Weighing, read_weighing
from raftmon.signals.statistics import wilson_interval
from tests.benchmarks import campaigns, cycle_drop, single_cycles, verdicts
from tests.benchmarks.fitting import JUDGES, Looks, fit_families, weighings_without_each
from tests.benchmarks.sweeps import CONDITIONS, Condition, Training, trainings
from tests.recorded_campaigns import recorded_campaigns

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
    assert caught / (caught + false) > 0.92
    assert caught > 0.85 * sum(tallies[fall].campaigns for fall in question.falls)


@pytest.mark.parametrize("cell", cycle_drop.CELLS, ids=str)
def test_ten_cycles_without_a_change_rarely_raise_an_alarm_however_prompts_are_drawn(cell: cycle_drop.Cell) -> None:
    tries = 300
    error, power = cycle_drop.measure_cell(cell, tries, seed=7)

    assert wilson_interval(error * tries, tries)[0] < 0.05
    # Fresh prompts that differ leave little of 2,992 samples: three points are not to be seen in them.
    assert power > (0.15 if cell.fresh and cell.correlation else 0.75)


@pytest.fixture(scope="module")
def recorded() -> campaigns.Seen:
    return campaigns.recorded()


@pytest.mark.parametrize("name", list(campaigns.MEASURED_ON))
def test_the_figures_of_the_rules_on_collapses_are_those_of_the_recorded_campaigns(
    name: str, recorded: campaigns.Seen
) -> None:
    (rule,) = load_rules(SHIPPED_RULES / f"{name}.yaml")
    found = campaigns.score(campaigns.by_rule(rule), recorded, campaigns.MEASURED_ON[name])

    assert rule.measured.precision is not None
    assert rule.measured.recall is not None
    assert found.precision > rule.measured.precision - 0.02
    assert found.recall > rule.measured.recall - 0.02


def test_a_single_cycle_that_nobody_knows_to_be_one_gets_no_verdict() -> None:
    said = single_cycles.verdicts_on_cycles(recorded_campaigns()[::7], load_rules())

    assert single_cycles.count_undecided(said) >= 0.9 * said.total()


def test_spent_diversity_is_told_in_time_on_tasks_that_the_limits_were_not_chosen_on(recorded: campaigns.Seen) -> None:
    for chosen_on, judged_on in (("letters", "arithmetic"), ("arithmetic", "letters")):
        limits = campaigns.choose("diversity-spent", recorded, chosen_on)
        found = campaigns.score(campaigns.by_limits(*limits), recorded, (judged_on,))

        assert found.recall >= 0.9
        assert found.precision >= 0.5
        assert found.lead >= 2
