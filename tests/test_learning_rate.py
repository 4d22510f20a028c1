"""The arithmetic of the next learning rate: strategies, factors, guardrails, authority."""

import dataclasses

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.campaign_policy import next_cycle
from raftmon.advice.learning_rate import advise_run, format_rate, strategy_rate, written_rate
from raftmon.advice.rule import Rule
from raftmon.advice.settings import Guardrails, Settings, Strategy
from raftmon.model import CycleView, NextCycle, Verdict
from raftmon.run_config import RunConfig
from tests.test_engine import make_rule
from tests.test_verdict import finding

WORSE = make_rule(id="worse", subject="campaign", multiply=0.5, roll_back=True, status="test", severity="high")
SHOWN = dataclasses.replace(WORSE, id="shown", status="experimental")
STOP = dataclasses.replace(WORSE, id="stop", stop=True, multiply=None, roll_back=False)


def cycle(
    number: int, rate: float | None = 0.4, learning_rate: float | None = 5e-5, measures: str = "before"
) -> CycleView:
    return CycleView(number, None, learning_rate, rate, 2992, 600, None, measures, False, None, "")  # type: ignore[arg-type]


def advice(rules: list[Rule], settings: Settings | None = None, count: int = 3, best: int = 2) -> NextCycle:
    cycles = [cycle(number) for number in range(1, count + 1)]
    found = next_cycle(
        cycles,
        best,
        [finding(rule, since_step=count) for rule in rules],
        {r.id: r for r in rules},
        settings or Settings(),
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (0.95, ["5.0e-05", "4.75e-05", "4.51e-05", "4.29e-05", "4.07e-05"]),
        (0.85, ["5.0e-05", "4.25e-05", "3.61e-05", "3.07e-05", "2.61e-05"]),
        (0.70, ["5.0e-05", "3.5e-05", "2.45e-05", "1.71e-05", "1.2e-05"]),
    ],
)
def test_the_decay_tables_of_the_seed(decay: float, expected: list[str]) -> None:
    strategy = Strategy("exponential", base=5e-5, decay=decay)
    rates = [strategy_rate(strategy, number, None)[0] for number in range(1, 6)]

    assert [format_rate(rate) for rate in rates if rate is not None] == expected


def test_the_floor_and_the_manual_schedule() -> None:
    assert strategy_rate(Strategy("exponential", base=5e-5, decay=0.5, least=1e-6), 20, None)[0] == 1e-6
    # A floor raises no rate above where it began.
    low = Strategy("exponential", base=5e-7, decay=0.5, least=1e-6)
    assert [strategy_rate(low, number, None)[0] for number in (1, 2, 20)] == [5e-7] * 3
    manual = Strategy("manual", schedule={1: 5e-5, 3: 3e-5})
    assert [strategy_rate(manual, number, None)[0] for number in (1, 2, 3, 9)] == [5e-5, 5e-5, 3e-5, 3e-5]
    assert strategy_rate(Strategy("exponential"), 2, None)[0] is None


@pytest.mark.parametrize(
    ("rate", "text"), [(5e-5, "5.0e-05"), (3.61e-5, "3.61e-05"), (0.1, "0.1"), (3.16, "3.16"), (1.0, "1.0")]
)
def test_how_a_rate_is_written(rate: float, text: str) -> None:
    assert format_rate(rate) == text


@given(st.floats(1e-12, 10.0))
def test_a_written_rate_is_a_float_for_yaml(rate: float) -> None:
    read = yaml.safe_load(format_rate(rate))

    assert isinstance(read, float)
    assert read == pytest.approx(rate, rel=0.006)


@pytest.mark.parametrize("rate", [1e-3, 5e-5, 3.61e-5, 2e-4, 0.1])
def test_a_rate_logged_as_float32_is_read_as_it_was_written(rate: float) -> None:
    assert written_rate(float(np.float32(rate))) == rate
    assert written_rate(1.23456789012e-4) == 1.23456789012e-4


def test_a_proposal_has_three_digits() -> None:
    third = dataclasses.replace(WORSE, multiply=1 / 3)

    assert advice([third]).learning_rate == 1.67e-5


def test_without_findings_a_constant_rate_is_kept() -> None:
    found = advice([])

    assert (found.cycle, found.learning_rate, found.roll_back_to, found.stop) == (4, 5e-5, None, False)
    assert found.because == ("strategy:constant 5.0e-05",)


def test_a_drop_goes_back_first_and_then_lowers() -> None:
    found = advice([WORSE])

    assert found.learning_rate == pytest.approx(2.5e-5)
    assert found.roll_back_to == 1  # the samples of cycle 2 came from the model that cycle 1 saved
    assert found.authority == "propose"
    assert found.because == ("strategy:constant 5.0e-05", "worse × 0.5 = 2.5e-05", "back to the checkpoint of cycle 1")


def test_the_checkpoint_of_a_rate_measured_after_training_is_its_own() -> None:
    cycles = [cycle(1, measures="after"), cycle(2, measures="after")]
    found = next_cycle(cycles, 1, [finding(WORSE, since_step=2)], {"worse": WORSE}, Settings())

    assert found is not None
    assert found.roll_back_to == 1


def test_an_experimental_rule_is_shown_and_moves_no_number() -> None:
    found = advice([SHOWN])

    assert (found.learning_rate, found.roll_back_to) == (5e-5, None)


def test_guardrails_hold_the_change_and_say_so() -> None:
    hard = dataclasses.replace(WORSE, multiply=0.01)

    found = advice([hard], Settings(guardrails=Guardrails(max_change=3.0, least=2e-5)))

    assert found.learning_rate == 2e-5
    assert found.because[2:4] == ("guardrail: at most ×3 a cycle = 1.67e-05", "guardrail: min 2.0e-05")


def test_two_rules_that_say_too_high_never_raise() -> None:
    one, two = advice([WORSE]), advice([WORSE, dataclasses.replace(WORSE, id="second", multiply=0.8)])

    assert one.learning_rate is not None
    assert two.learning_rate is not None
    assert two.learning_rate <= one.learning_rate


def test_stop_names_the_checkpoint_to_ship() -> None:
    found = advice([STOP])

    assert found.stop
    assert found.text.startswith("Stop here and ship the checkpoint of cycle 1.")


def test_nothing_is_said_without_anything_known() -> None:
    assert next_cycle([], None, [], {}, Settings()) is None
    assert next_cycle([cycle(1, rate=None, learning_rate=None)], None, [], {}, Settings()) is None


def test_a_confident_verdict_proposes_a_number_and_an_uncertain_one_a_try() -> None:
    high = make_rule(id="high", multiply=0.3, status="test")
    findings, rules = [finding(high)], {"high": high}

    (sure,) = advise_run(RunConfig(), 1e-3, Verdict("too_high", 0.9, "it diverges"), findings, rules)
    (unsure,) = advise_run(RunConfig(), 1e-3, Verdict("too_high", 0.65, "it diverges"), findings, rules)
    (blind,) = advise_run(RunConfig(), None, Verdict("too_high", 0.9, "it diverges"), findings, rules)

    assert (sure.current, sure.authority) == (1e-3, "propose")
    assert sure.proposed == pytest.approx(3e-4)
    assert (unsure.proposed, unsure.authority) == (None, "show")
    assert "try one run at 3.0e-04" in unsure.text
    assert blind.proposed is None
    assert "3.3-fold" in blind.text


def test_the_peak_counts_not_the_configured_or_decayed_rate() -> None:
    (found,) = advise_run(RunConfig(learning_rate=1.0), 2e-4, Verdict("too_low", 0.9, "flat"), [], {})

    assert found.current == 2e-4
    assert found.proposed == pytest.approx(6e-4)


def test_an_undecided_run_without_findings_gets_no_advice() -> None:
    assert advise_run(RunConfig(), 1e-3, Verdict("undecided", 0.4, "short"), [], {}) == ()
