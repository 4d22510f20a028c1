"""The order of the policy: broken numbers, harm, diversity, probes, strategy; and what may never raise a rate."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.campaign_policy import next_cycle
from raftmon.advice.probes import NOISE
from raftmon.advice.rule import Rule
from raftmon.advice.rulebook import load_rules
from raftmon.advice.settings import Guardrails, Settings, Strategy
from raftmon.model import CycleView, Finding, NextCycle
from tests.test_verdict import finding

RULES = {rule.id: rule for rule in load_rules() if rule.subject == "campaign"}
WIDE = Settings(guardrails=Guardrails(max_change=1000.0))
PROBES = st.one_of(st.none(), st.floats(-1.0, 1.5))
HIGH = [name for name, rule in RULES.items() if rule.points_to in ("lr_too_high", "collapse", "health")]


def cycles(count: int = 4) -> list[CycleView]:
    rates = [0.40, 0.47, 0.44, 0.43, 0.42]
    return [
        CycleView(n, None, 1e-4, rates[n - 1], 2992, 600, None, "after", True, None, "") for n in range(1, count + 1)
    ]


def advise(
    *fired: str | Finding, settings: Settings = WIDE, rho: float | None = None, kl: float | None = None, **rules: Rule
) -> NextCycle:
    known = {**RULES, **rules}
    findings = [finding(known[one], since_step=4) if isinstance(one, str) else one for one in fired]
    readings = {"campaign.rho": rho, "campaign.kl": kl}
    found = next_cycle(cycles(), 2, findings, known, settings, readings)
    assert found is not None
    return found


def test_broken_numbers_go_back_and_lower_tenfold() -> None:
    found = advise("cycle-not-finite")

    assert (found.learning_rate, found.roll_back_to, found.stop) == (1e-5, 2, False)


@pytest.mark.parametrize(("rule", "rate"), [("cycle-worse", 3.16e-5), ("cycle-much-worse", 1e-5)])
def test_harm_goes_back_and_lowers(rule: str, rate: float) -> None:
    found = advise(rule)

    assert found.learning_rate == pytest.approx(rate)
    assert (found.roll_back_to, found.stop) == (2, False)


def test_harm_a_second_time_in_a_row_stops() -> None:
    found = advise(finding(RULES["cycle-worse"], since_step=3))

    assert found.stop
    assert found.text.startswith("Stop here and ship the checkpoint of cycle 2.")
    assert "cycle-worse since cycle 3: harm twice in a row, stop" in found.because


def test_a_harm_that_became_worse_is_a_second_one() -> None:
    explained = finding(RULES["cycle-worse"], since_step=3, inhibited_by="cycle-much-worse")

    assert advise("cycle-much-worse", explained).stop


def test_a_cycle_that_is_not_judged_yet_is_no_second_harm() -> None:
    begun = CycleView(5, None, 1e-4, None, None, None, None, "after", True, None, "")
    found = next_cycle([*cycles(), begun], 2, [finding(RULES["cycle-worse"], since_step=4)], RULES, WIDE)

    assert found is not None
    assert not found.stop


def test_spent_diversity_halves_and_a_near_collapse_stops() -> None:
    spent, near = advise("diversity-spent"), advise("collapse-near")

    assert (spent.learning_rate, spent.roll_back_to, spent.stop) == (5e-5, None, False)
    assert (near.stop, near.text[:42]) == (True, "Stop here and ship the checkpoint of cycle")


def test_the_gravest_comes_first_and_the_strongest_reason_counts_once() -> None:
    found = advise("diversity-spent", "cycle-worse")

    assert found.because[1:3] == ("cycle-worse × 0.316 = 3.16e-05", "diversity-spent × 0.5: no lower than 3.16e-05")


@pytest.mark.parametrize(
    ("rho", "rate"), [(0.99, 1e-3), (0.95, 2e-4), (0.9, 1e-4), (0.86, 1e-4), (0.8, 5e-5), (0.4, 5.56e-6)]
)
def test_rho_gives_the_rate(rho: float, rate: float) -> None:
    assert advise(rho=rho).learning_rate == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(
    ("kl", "rate"), [(0.0001, 3.16e-4), (0.02, 1e-4), (0.08, 5e-5), (1.0, 5e-5), (-0.001, 3.16e-4)]
)
def test_the_kl_gives_the_rate_where_rho_is_not_logged(kl: float, rate: float) -> None:
    assert advise(kl=kl).learning_rate == pytest.approx(rate, rel=0.01)
    assert advise(kl=kl, rho=0.9).learning_rate == 1e-4


def test_a_probe_that_asks_for_more_is_held_against_any_finding_even_a_shown_one() -> None:
    assert RULES["outputs-repetitive"].status == "experimental"
    found = advise("outputs-repetitive", rho=0.99)

    assert found.learning_rate == 1e-4
    assert "but outputs-repetitive speaks against raising: held" in found.because[1]


def test_without_probes_the_strategy_holds_and_flat_rates_are_no_evidence() -> None:
    plain, flat = advise(), advise("rates-stand-still")
    decay = advise(settings=dataclasses.replace(WIDE, strategy=Strategy("exponential", base=1e-4, decay=0.85)))

    assert (plain.learning_rate, flat.learning_rate) == (1e-4, 1e-4)
    assert "Insufficient evidence" in flat.text
    assert "twice the rate from the best checkpoint" in flat.text
    assert decay.learning_rate == pytest.approx(1e-4 * 0.85**4, rel=0.01)


def test_guardrails_come_last() -> None:
    found = advise("cycle-much-worse", settings=Settings(guardrails=Guardrails(max_change=3.0)))

    assert found.learning_rate == pytest.approx(3.33e-5)
    assert found.because[2] == "guardrail: at most ×3 a cycle = 3.33e-05"


def test_a_rate_that_is_given_up_or_measured_may_change_tenfold_where_the_user_says_nothing() -> None:
    assert advise("cycle-much-worse", settings=Settings()).learning_rate == pytest.approx(1e-5)
    assert advise(settings=Settings(), rho=0.9999).learning_rate == pytest.approx(1e-3)
    assert advise("cycles-gain-nothing", settings=Settings()).learning_rate == pytest.approx(3e-4)


@given(st.sets(st.sampled_from(sorted(RULES))), st.sampled_from(HIGH), PROBES, PROBES, st.booleans())
def test_more_evidence_of_too_high_never_raises_the_rate(
    fired: set[str], more: str, rho: float | None, kl: float | None, guarded: bool
) -> None:
    settings = Settings() if guarded else WIDE
    fewer = advise(*sorted(fired), settings=settings, rho=rho, kl=kl)
    found = advise(*sorted(fired | {more}), settings=settings, rho=rho, kl=kl)

    assert fewer.learning_rate is not None
    assert found.learning_rate is not None
    assert found.learning_rate <= fewer.learning_rate
    assert found.stop >= fewer.stop


# A step that gains far more than was promised says that the rate is low and not by how much: it asks for less.
@given(st.sets(st.sampled_from(sorted(RULES))), st.floats(-1.0, 1.0 + NOISE), st.floats(0.0, 1.0), PROBES)
def test_a_lower_rho_and_a_larger_kl_never_raise_the_rate(
    fired: set[str], rho: float, less: float, kl: float | None
) -> None:
    for before, after in (
        (advise(*sorted(fired), rho=rho, kl=kl), advise(*sorted(fired), rho=rho - less, kl=kl)),
        (advise(*sorted(fired), kl=rho), advise(*sorted(fired), kl=rho + less)),
    ):
        assert before.learning_rate is not None
        assert after.learning_rate is not None
        assert after.learning_rate <= before.learning_rate


def test_only_steps_that_the_status_allows_are_taken() -> None:
    shown = dataclasses.replace(RULES["collapse-near"], id="shown", status="experimental")
    found = advise(finding(shown, since_step=4), shown=shown)

    assert (found.stop, found.learning_rate) == (False, 1e-4)
