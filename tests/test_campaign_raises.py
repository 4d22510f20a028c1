"""What raises a campaign's rate, and when nothing does; what a stop means where nothing was gained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.campaign_policy import next_cycle
from raftmon.advice.intent import Intent
from raftmon.model import Advice, CycleView, NextCycle
from raftmon.signals.curvature import curvature
from tests.test_campaign_policy import RULES, WIDE, advise
from tests.test_verdict import finding

STANDSTILL = "cycles-gain-nothing"


def at_base(*fired: str) -> NextCycle:
    """Advise where the base model, measured as cycle 0, is still the best."""
    rates = [0.47, 0.40, 0.30]
    cycles = [
        CycleView(n, None, 1e-4 if n else None, rate, 2992, 600, None, "after", True, None, "")
        for n, rate in enumerate(rates)
    ]
    found = next_cycle(cycles, 0, [finding(RULES[rule], since_step=1) for rule in fired], RULES, WIDE)
    assert found is not None
    return found


def test_cycles_that_gain_nothing_raise_threefold() -> None:
    found = advise(STANDSTILL)

    assert found.learning_rate == pytest.approx(3e-4)
    assert found.because[1] == "cycles-gain-nothing × 3 = 3.0e-04"
    assert found.authority == "propose"


@pytest.mark.parametrize("against", ["cycle-worse", "diversity-spent", "outputs-repetitive"])
def test_nothing_is_raised_against_a_finding(against: str) -> None:
    found = advise(STANDSTILL, against)

    assert found.learning_rate is not None
    assert found.learning_rate <= 1e-4
    assert f"cycles-gain-nothing, but {against} speaks against raising: held" in found.because


def test_a_probe_knows_better_than_a_standstill() -> None:
    assert advise(STANDSTILL, rho=0.9).learning_rate == pytest.approx(1e-4)
    assert advise(STANDSTILL, kl=0.02).learning_rate == pytest.approx(1e-4)


def test_the_same_standstill_raises_once() -> None:
    cycles = [CycleView(n, None, 1e-4, 0.4, 2992, 600, None, "after", True, None, "") for n in (1, 2, 3)]
    firing = [finding(RULES[STANDSTILL], since_step=3)]
    first = next_cycle(cycles, 1, firing, RULES, WIDE)
    assert first is not None
    again = next_cycle(cycles, 1, firing, RULES, WIDE, None, Intent(acted=frozenset(first.acted)))

    assert first.learning_rate == pytest.approx(3e-4)
    assert again is not None
    assert again.learning_rate == pytest.approx(1e-4)
    assert "cycles-gain-nothing: heeded already" in again.because


def test_a_stop_names_its_reason() -> None:
    found = advise("collapse-near")

    assert found.stop
    assert "collapse-near: stop" in found.because


def test_where_nothing_was_gained_there_is_nothing_to_ship() -> None:
    near, harmed = at_base("collapse-near"), at_base("cycle-much-worse", "collapse-near")

    assert not near.stop
    assert near.learning_rate == pytest.approx(5e-5)
    assert "no checkpoint better than the base model to ship" in near.because[1]
    assert (harmed.stop, harmed.roll_back_to) == (False, 0)
    assert harmed.learning_rate == pytest.approx(1e-5)


def test_rho_is_averaged_over_three_cycles_at_whatever_rates() -> None:
    # 1 - rho is 1000 times the rate in truth; each cycle is off by a factor of two.
    known = [(1e-4, 0.8), (1e-4, 0.95), (2e-4, 0.6), (1e-4, 0.95)]

    assert curvature(known[:1]) == pytest.approx(2000)
    assert curvature(known) == pytest.approx((500 * 2000 * 500) ** (1 / 3))


@pytest.mark.parametrize("newest", [(1e-4, 0.99), (1e-4, 0.3), (1e-4, None), (None, 0.9), (1e-4, float("nan"))])
def test_a_rho_that_tells_too_little_is_not_averaged(newest: tuple[float | None, float | None]) -> None:
    assert curvature([(1e-4, 0.9), newest]) is None
    # And ends what newer ones are averaged with.
    assert curvature([(1e-4, 0.8), newest, (1e-4, 0.9)]) == pytest.approx(1000)


def test_what_earlier_cycles_tell_is_said() -> None:
    cycles = [CycleView(n, None, 1e-4, 0.4, 2992, 600, None, "after", True, None, "") for n in (1, 2)]
    readings = {"campaign.rho": 0.95, "campaign.rho_curvature": 1400.0}
    found = next_cycle(cycles, 1, [], RULES, WIDE, readings)

    assert found is not None
    assert found.learning_rate == pytest.approx(1e-4)
    assert found.because[1] == "rho 0.95, 0.86 with earlier cycles: × 0.1/0.14 → × 0.714, within ×1.5: no change"


@given(st.lists(st.tuples(st.none() | st.floats(1e-8, 1.0), st.none() | st.floats(-2.0, 2.0)), max_size=6))
def test_curvature_is_positive_or_unknown(cycles: list[tuple[float | None, float | None]]) -> None:
    found = curvature(cycles)

    assert found is None or found > 0.0


def test_a_raise_that_harmed_goes_back_to_the_rate_of_the_checkpoint() -> None:
    """Ten times lower than the raised rate would be far below one that is known to do no harm."""
    rates = [(0, None, 0.40), (1, 5e-5, 0.41), (2, 5e-5, 0.42), (3, 1.5e-4, 0.20)]
    cycles = [CycleView(n, None, rate, passed, 2992, 600, None, "after", True, None, "") for n, rate, passed in rates]
    found = next_cycle(cycles, 2, [finding(RULES["cycle-much-worse"], since_step=3)], RULES, WIDE)

    assert found is not None
    assert found.roll_back_to == 2
    assert found.learning_rate == pytest.approx(5e-5)
    assert "the checkpoint gone back to was trained at 5.0e-05" in found.because[1]


def test_a_verdict_on_the_newest_run_speaks_against_a_raise() -> None:
    verdict = Advice("learning_rate", 1e-4, 3e-5, "apply", ("loss-diverges",), "too high")
    cycles = [CycleView(n, None, 1e-4, 0.4, 2992, 600, None, "after", True, None, "") for n in (1, 2, 3)]
    for firing, readings in (([finding(RULES[STANDSTILL], since_step=3)], {}), ([], {"campaign.rho": 0.99})):
        found = next_cycle(cycles, 1, firing, RULES, WIDE, readings, None, [verdict])

        assert found is not None
        assert found.learning_rate == pytest.approx(3e-5)
        assert any("the verdict on the newest run speaks against raising: held" in step for step in found.because)


def test_a_cycle_that_is_not_judged_is_waited_for() -> None:
    cycles = [CycleView(n, f"cycle_{n}", 1e-4, 0.4, 2992, 600, None, "after", True, None, "") for n in (1, 2)]
    begun = CycleView(3, "cycle_3", 1e-4, None, None, None, None, "after", True, None, "")
    found = next_cycle([*cycles, begun], 1, [finding(RULES[STANDSTILL], since_step=2)], RULES, WIDE)

    assert found is not None
    assert found.learning_rate == pytest.approx(1e-4)
    assert "cycles-gain-nothing: waits for the rate of cycle 3" in found.because


def test_the_kl_speaks_against_a_rho_that_would_raise() -> None:
    assert advise(rho=0.99, kl=0.5).learning_rate == pytest.approx(1e-4)
    assert "but KL 0.5 speaks against raising: held" in advise(rho=0.99, kl=0.5).because[1]
    assert advise(rho=0.99, kl=0.001).learning_rate == pytest.approx(1e-3)


def test_a_rho_far_above_one_raises_no_more_than_threefold() -> None:
    assert advise(rho=2.0).learning_rate == pytest.approx(3e-4)
    assert advise(rho=1.04).learning_rate == pytest.approx(1e-3)


def test_without_a_rate_in_force_a_raise_begins_at_the_planned_one() -> None:
    """A hand-written loop that logs its probes but not its rate."""
    cycles = [CycleView(n, None, None, None, None, None, None, "after", True, None, "") for n in (1, 2)]
    told = Intent(configured=1e-5, least="test")
    found = next_cycle(cycles, None, [], RULES, WIDE, {"campaign.rho": 0.999}, told)

    assert found is not None
    assert found.learning_rate == pytest.approx(1e-4)
