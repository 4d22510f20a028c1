"""The verdict: when it speaks, when it does not, and what it says of real trainings."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from raftmon.advice.rule import Measured, Rule
from raftmon.advice.rulebook import SHIPPED_RULES
from raftmon.advice.verdict import WOULD_CHANGE, WOULD_DECIDE_A_CYCLE, decide
from raftmon.advice.weighing import KINDS, Feature, Limits, Model, Weighing, read_weighing
from raftmon.errors import DocumentErrors
from raftmon.model import Finding, FindingState, Verdict
from raftmon.monitor import Monitor
from raftmon.run_config import RunConfig
from raftmon.signals.progress import RunFacts
from tests.test_engine import make_rule

RUNS = Path(__file__).parent / "runs"
HALF_TIME = Feature(
    "loss.half_time",
    "linear",
    0.0,
    1.0,
    "half took {value:.0%}",
    mean=0.5,
    deviation=0.1,
    weights={"too_low": 1.0, "ok": 0.0, "too_high": -1.0},
    absent={"too_low": 0.5, "ok": 0.0, "too_high": 0.0},
)
LIMITS = Limits(points=30, speak_above=0.7, most_confident=0.95, diverged=0.8, early=0.25)
MODEL = Model("any", "of any log", (), (HALF_TIME,), {"too_low": 0.0, "ok": 0.0, "too_high": 0.0})
WEIGHING = Weighing((MODEL,), LIMITS)
ENDED = RunFacts(RunConfig(), ended=True, steps=200)
HIGH = make_rule(id="high", title="Loss swings", severity="medium")
GROSS = make_rule(id="gross", title="Loss diverges", severity="critical")


def finding(rule: Rule, state: FindingState = "firing", **changes: object) -> Finding:
    made = Finding(rule.id, rule.title, state, rule.severity, rule.points_to, 1, (), {}, "so it is")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def verdict(
    half_time: float | None,
    *findings: Finding,
    counts: Mapping[str, int] | None = None,
    facts: RunFacts = ENDED,
    scenario: str = "sft",
) -> Verdict:
    rules = {rule.id: rule for rule in (HIGH, GROSS)}
    known = counts if counts is not None else {"loss": 200, "grad_norm": 200}
    return decide(WEIGHING, rules, findings, {"loss.half_time": half_time}, known, facts, scenario)


def test_a_verdict_says_what_would_change_it() -> None:
    measured = Measured(84, 1.0, 0.4, "trainings", 14, 36, (0.78, 1.0), (0.25, 0.55))
    gross = {GROSS.id: dataclasses.replace(GROSS, measured=measured)}
    diverged = decide(WEIGHING, gross, [finding(GROSS)], {}, {"loss": 200}, ENDED, "sft")

    assert verdict(0.2).would_change == WOULD_CHANGE["too_high"]
    assert verdict(0.5).would_change == WOULD_CHANGE["undecided"]
    assert verdict(0.2, scenario="raft").would_change == WOULD_DECIDE_A_CYCLE
    assert diverged.measured == "gross: precision 1.00 (0.78–1.00, fired on 14 of 84 trainings)"
    assert set(WOULD_CHANGE) == {*KINDS, "undecided"}


def test_a_clear_reading_decides_and_is_the_reason() -> None:
    low, high = verdict(0.8), verdict(0.2)

    assert (low.learning_rate, high.learning_rate) == ("too_low", "too_high")
    assert low.why == "half took 80%"
    assert low.confidence == pytest.approx(0.95)  # never more
    assert low.reasons == ("half took 80% (+4.5 for too low)",)


def test_too_close_to_call_names_both() -> None:
    found = verdict(0.5, counts={"loss": 200})

    assert found.learning_rate == "undecided"
    assert found.why == "too low (33%) or right (33%); not sure enough, no grad norm"


def test_an_absent_reading_has_a_weight_of_its_own() -> None:
    assert MODEL.probabilities({})["too_low"] == pytest.approx(0.45, abs=0.01)
    assert verdict(None).learning_rate == "undecided"


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"loss": 1}, "1 loss point; 30 are needed"),
        ({"loss": 16}, "16 loss points; 30 are needed"),
        ({"reward": 80}, "no training loss logged, only reward"),
        ({"accuracy": 80}, "no training loss logged"),
        ({}, "nothing with a known role logged yet"),
    ],
)
def test_too_little_data_is_said(counts: dict[str, int], why: str) -> None:
    found = verdict(0.8, counts=counts)

    assert (found.learning_rate, found.why) == ("undecided", why)


def test_a_diverging_run_is_too_high_however_short_and_whatever_else() -> None:
    for found in (verdict(0.8, finding(GROSS)), verdict(0.8, finding(GROSS), counts={"loss": 12}, scenario="raft")):
        assert (found.learning_rate, found.why) == ("too_high", "loss diverges")
        assert found.confidence == 0.8


def test_the_confidence_in_a_diverging_run_is_its_measured_precision() -> None:
    measured = dataclasses.replace(GROSS, measured=Measured(80, 0.9, 0.4))
    found = decide(WEIGHING, {"gross": measured}, [finding(measured)], {}, {"loss": 50}, ENDED, "sft")

    assert found.confidence == 0.9


def test_the_cycle_of_a_campaign_is_never_judged_by_its_curve() -> None:
    found = verdict(0.8, scenario="raft")

    assert found.learning_rate == "undecided"
    assert "one RAFT cycle" in found.why


def test_a_broken_run_is_not_judged() -> None:
    broken = make_rule(id="nan", title="Training loss is NaN", points_to="health", severity="critical")

    assert verdict(0.8, finding(broken)).why == "training loss is NaN"


def test_a_finding_that_contradicts_makes_it_undecided() -> None:
    assert verdict(0.8, finding(HIGH)).why == "the evidence conflicts: the curve looks too low, but loss swings"
    assert verdict(0.2, finding(HIGH)).learning_rate == "too_high"
    for silent in (finding(HIGH, "pending"), finding(HIGH, inhibited_by="x"), finding(HIGH, severity="low")):
        assert verdict(0.8, silent).learning_rate == "too_low"


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (RunFacts(RunConfig(), ended=False, steps=200, optimizer_steps=200), "undecided"),
        (RunFacts(RunConfig(max_steps=10_000), ended=False, steps=200, optimizer_steps=200), "undecided"),
        (RunFacts(RunConfig(max_steps=400), ended=False, steps=200, optimizer_steps=200), "too_low"),
        (ENDED, "too_low"),
    ],
)
def test_nothing_is_too_low_early_in_a_run(facts: RunFacts, kind: str) -> None:
    assert verdict(0.8, facts=facts).learning_rate == kind


def test_the_shipped_coefficients_are_read_and_sum_to_one() -> None:
    weighing = read_weighing(SHIPPED_RULES / "verdict.yaml")

    readings = {"loss.drawup_peak": 8.0, "shape.progress": 0.0, "shape.overshoot": 5.0, "shape.jump": 50.0}
    odds = weighing.model(readings).probabilities(readings)
    assert sum(odds.values()) == pytest.approx(1.0)
    assert max(KINDS, key=lambda kind: odds[kind]) == "too_high"


@pytest.mark.parametrize(
    ("readings", "name"),
    [
        ({}, "loss"),
        ({"gradient.range": 1.0}, "gradient"),
        ({"gradient.range": 1.0, "probe.rho": 0.9}, "probe"),
        ({"gradient.range": None, "probe.rho": None}, "loss"),
    ],
)
def test_the_model_is_that_of_what_is_logged(readings: dict[str, float | None], name: str) -> None:
    assert read_weighing(SHIPPED_RULES / "verdict.yaml").model(readings).name == name


def test_a_defect_of_the_coefficients_has_its_place(tmp_path: Path) -> None:
    text = (SHIPPED_RULES / "verdict.yaml").read_text().replace("shape.eval_efficiency", "shape.eval_eficiency", 1)
    path = tmp_path / "verdict.yaml"
    path.write_text(text.replace("{value:.0%} of its way", "{val:.0%} of its way", 1))

    with pytest.raises(DocumentErrors) as caught:
        read_weighing(path)

    assert caught.value.problems[0].what.startswith("`models[0].features[1].signal` is `shape.eval_eficiency`")
    assert len(caught.value.problems) == 2


@pytest.fixture(scope="module")
def recorded() -> dict[str, Verdict]:
    """The verdict on every recorded training, by its name."""
    monitor = Monitor([RUNS], clock=lambda: 4e9)
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return {run.run: run.verdict for run in snapshot.runs}


def labelled(*labels: str) -> list[str]:
    entries = json.loads((RUNS / "labels.json").read_text())
    return [f"{entry['family']}/{entry['name']}" for entry in entries if entry["label"] in labels]


def test_no_recorded_training_is_called_the_opposite_of_what_it_is(recorded: dict[str, Verdict]) -> None:
    wrong = [name for name in labelled("low") if recorded[name].learning_rate == "too_high"]
    wrong += [name for name in labelled("high", "diverged") if recorded[name].learning_rate == "too_low"]

    assert wrong == []


def test_most_of_what_is_said_of_recorded_trainings_is_right(recorded: dict[str, Verdict]) -> None:
    wanted = dict.fromkeys(labelled("low"), "too_low") | dict.fromkeys(labelled("high", "diverged"), "too_high")
    families = {name: kind for name, kind in wanted.items() if not name.startswith("control/")}
    spoken = [name for name in families if recorded[name].learning_rate != "undecided"]

    assert len(spoken) > 0.55 * len(families)
    assert sum(recorded[name].learning_rate == families[name] for name in spoken) > 0.75 * len(spoken)


def test_a_hundredfold_learning_rate_is_caught(recorded: dict[str, Verdict]) -> None:
    hundredfold = [name for name in recorded if "/lr-100-seed" in name]

    assert len(hundredfold) == 12
    assert sum(recorded[name].learning_rate == "too_high" for name in hundredfold) >= 10


@pytest.mark.parametrize("control", ["log-of-zero", "blow-up", "zero-gradient", "schedule-ended"])
def test_a_run_that_is_broken_in_another_way_is_undecided(recorded: dict[str, Verdict], control: str) -> None:
    assert recorded[f"control/{control}"].learning_rate in (
        "undecided",
        *(["too_high"] if control == "blow-up" else []),
    )


@pytest.mark.parametrize("control", ["spike"])
def test_a_right_learning_rate_with_another_fault_is_not_called_wrong(
    recorded: dict[str, Verdict], control: str
) -> None:
    assert recorded[f"control/{control}"].learning_rate in ("ok", "undecided")
