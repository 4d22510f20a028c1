"""Each cycle against the judged one before, and the strategies for the next cycles of a campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftmon.advice.plans import AHEAD, next_plans
from raftmon.advice.rate_changes import rate_changes
from raftmon.advice.settings import Settings, Strategy
from raftmon.headless.document import snapshot_document
from raftmon.model import NextCycle, Step
from raftmon.monitor import Monitor
from raftmon.signals.campaign import CycleFacts
from raftmon.signals.rates import needed_z
from tests.campaign import lines, rows
from tests.views import make_cycle


def facts(*rates: float | None, verified: int | None = 2992, prompts: str | None = None) -> list[CycleFacts]:
    return [CycleFacts(n, rate, verified, prompts, 374, 0.3) for n, rate in enumerate(rates, 1)]


def test_a_drop_of_published_counts_is_more_than_chance() -> None:
    change = rate_changes(facts(0.467, 0.293))[2]
    assert change.difference == pytest.approx(-0.174)
    assert change.z == pytest.approx(-13.9, abs=0.06)
    assert change.significant is True


def test_gains_are_tested_as_drops_are() -> None:
    small, large = rate_changes(facts(0.457, 0.467))[2], rate_changes(facts(0.293, 0.467))[2]
    assert small.difference > 0.0
    assert small.significant is False
    assert large.significant is True


def test_what_is_needed_grows_with_the_comparisons() -> None:
    changes = rate_changes(facts(0.4, 0.41, 0.42, 0.43))
    assert [changes[n].needed for n in (2, 3, 4)] == [needed_z(k) for k in (1, 2, 3)]


def test_a_cycle_without_a_rate_is_passed_over() -> None:
    changes = rate_changes(facts(0.4, None, 0.3))
    assert set(changes) == {3}
    assert changes[3].since == 1


def test_rates_without_counts_are_compared_and_not_tested() -> None:
    change = rate_changes(facts(0.467, 0.2, verified=None))[2]
    assert change.difference == pytest.approx(-0.267)
    assert change.z is None
    assert change.significant is None


def test_the_same_prompts_make_a_difference_more_certain() -> None:
    same, unknown = rate_changes(facts(0.4, 0.42, prompts="a"))[2], rate_changes(facts(0.4, 0.42))[2]
    assert same.z is not None
    assert unknown.z is not None
    assert same.z > unknown.z


@pytest.mark.parametrize("rates", [(), (0.4,), (None, None)])
def test_nothing_to_compare(rates: tuple[float | None, ...]) -> None:
    assert rate_changes(facts(*rates)) == {}


def advice(rule: str, cycle: int = 4) -> NextCycle:
    return NextCycle(cycle, 2e-5, "propose", (Step(rule, None, rule),), None, False, "")


CYCLES = [make_cycle(1, 0.3, 5e-5), make_cycle(2, 0.35, None), make_cycle(3, 0.36, 3e-5)]


def test_a_constant_strategy_without_a_base_holds_the_rate_in_force() -> None:
    plans = next_plans(Strategy(given=False), CYCLES, advice("strategy:constant"))
    assert [plan.name for plan in plans] == ["hold", "constant", "decay 0.95", "decay 0.85", "decay 0.7"]
    assert plans[0].rates == (3e-5,) * AHEAD
    assert plans[1].rates == (5e-5,) * AHEAD
    assert [plan.chosen for plan in plans] == [True, False, False, False, False]


def test_the_chosen_decay_goes_on_from_the_next_cycle() -> None:
    plans = next_plans(Strategy("exponential", 5e-5, 0.8), CYCLES, advice("strategy:exponential"))
    ours = next(plan for plan in plans if plan.chosen)
    assert (ours.name, ours.first) == ("decay 0.8", 4)
    assert ours.rates == pytest.approx([5e-5 * 0.8**n for n in range(3, 3 + AHEAD)])


def test_a_rate_that_never_changed_needs_no_row_of_its_own() -> None:
    cycles = [make_cycle(1, 0.3, 5e-5), make_cycle(2, 0.3, 5e-5)]
    plans = next_plans(Strategy(), cycles, advice("strategy:constant", 3))
    assert [plan.name for plan in plans if plan.chosen] == ["constant"]


def test_where_the_config_says_the_rate_no_strategy_is_in_force() -> None:
    plans = next_plans(Strategy(given=False), CYCLES, advice("config"))
    assert plans
    assert not any(plan.chosen for plan in plans)


def test_a_schedule_is_a_row() -> None:
    plans = next_plans(Strategy("manual", schedule={1: 5e-5, 5: 1e-5}), CYCLES, advice("strategy:manual"))
    ours = next(plan for plan in plans if plan.chosen)
    assert ours.rates == (5e-5, *(1e-5,) * (AHEAD - 1))


def test_without_a_rate_or_advice_there_is_no_plan() -> None:
    assert next_plans(Strategy(), [make_cycle(1, 0.3, None)], advice("strategy:constant", 2)) == ()
    assert next_plans(Strategy(), CYCLES, None) == ()


def test_a_campaign_on_disk_is_compared_cycle_by_cycle(tmp_path: Path) -> None:
    for cycle, passed in ((1, 300), (2, 420), (3, 100)):
        (tmp_path / f"cycle_{cycle}_verified.jsonl").write_bytes(lines(rows(passed, 800 - passed)))
    monitor = Monitor([tmp_path], settings=Settings(strategy=Strategy("exponential", 5e-5)), clock=lambda: 4e9)
    snapshot = monitor.poll()
    monitor.close()
    (campaign,) = snapshot.campaigns
    assert [cycle.change.difference if cycle.change else None for cycle in campaign.cycles] == [
        None,
        pytest.approx(0.15),
        pytest.approx(-0.4),
    ]
    assert [plan.name for plan in campaign.plans if plan.chosen] == ["decay 0.85"]
    (document,) = snapshot_document(snapshot)["campaigns"]
    assert document["cycles"][0]["change"] is None
    assert document["cycles"][2]["change"]["since"] == 2
