"""Runs of one sweep are compared with each other, and with nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.sweeps import _NUMBER, _SAME, ENOUGH, MOST, Sweeps
from raftmon.model import RunView
from raftmon.monitor import Monitor
from raftmon.run_config import RunConfig
from raftmon.signals.siblings import SiblingSignals, Standing, standing
from tests.benchmarks.replays import FILE_NAME, event_bytes
from tests.benchmarks.sweeps import SWEEPS, Condition, Training, trainings

SETTING = "conv-sgd-cosine-400"


def a_standing(rate: float, end: float, first: float = 2.0, steps: int = 100) -> Standing:
    noise = np.random.default_rng(int(1e6 * rate)).normal(0.0, 0.01, steps)
    losses = np.linspace(first, end, steps) + noise
    losses[0] = first
    made = standing(rate, (np.arange(1, steps + 1), losses), None)
    assert made is not None
    return made


def test_a_higher_rate_that_is_ahead_is_seen_and_named() -> None:
    readings = SiblingSignals.readings(a_standing(1e-4, 1.5), [a_standing(1e-3, 1.0), a_standing(1e-5, 1.9)])

    assert readings["siblings.count"] == 2.0
    assert readings["siblings.higher_gain"] == pytest.approx(0.5, abs=0.1)
    lower = readings["siblings.lower_gain"]
    assert lower is not None
    assert lower < 0.0
    assert readings["siblings.best_rate"] == pytest.approx(1e-3)
    assert readings["siblings.best_ratio"] == pytest.approx(10.0)
    assert readings["siblings.enclosed"] == 1.0


def test_the_best_rate_is_that_of_the_least_loss_however_far_the_run_is_behind() -> None:
    siblings = [a_standing(1e-4, 1.9), a_standing(1e-2, 0.5), a_standing(1e-3, 1.0)]
    steps, losses = np.arange(1, 101), np.full(100, np.nan)
    losses[:3] = 2.0
    broken = standing(1.0, (steps, losses), None)

    assert SiblingSignals.readings(a_standing(0.1, 2.5), siblings)["siblings.best_rate"] == pytest.approx(1e-2)
    assert SiblingSignals.readings(broken, siblings)["siblings.best_rate"] == pytest.approx(1e-2)


@pytest.mark.parametrize(
    "other", [a_standing(1.2e-4, 1.0), a_standing(1e-3, 1.0, first=5.0)], ids=["the same rate", "another first loss"]
)
def test_what_is_no_sibling_tells_nothing(other: Standing) -> None:
    readings = SiblingSignals.readings(a_standing(1e-4, 1.5), [other])

    assert readings["siblings.count"] == 0.0
    assert readings["siblings.higher_gain"] is None


def test_a_run_is_compared_at_the_step_that_both_have_reached() -> None:
    late = a_standing(1e-3, 0.0, steps=200)
    readings = SiblingSignals.readings(a_standing(1e-4, 1.0, steps=100), [late])

    assert readings["siblings.higher_gain"] == pytest.approx(0.0, abs=0.05)


def test_a_run_without_a_rate_or_with_a_broken_start_has_nothing_to_show() -> None:
    steps, losses = np.arange(1, 11), np.ones(10)

    assert standing(None, (steps, losses), None) is None
    assert standing(1e-3, (steps, np.full(10, np.nan)), None) is None
    assert standing(1e-3, (steps[:2], losses[:2]), None) is None


def test_names_that_differ_in_numbers_alone_are_one_sweep_unless_their_configurations_differ() -> None:
    sweeps = Sweeps()
    runs = {
        "lr_1e-3": RunConfig(batch_size=16),
        "lr_1e-4": RunConfig(batch_size=16),
        "lr_1e-5": RunConfig(batch_size=64),
        "other_1e-4": RunConfig(),
    }
    for name, config in runs.items():
        sweeps.note(Path(name), name, a_standing(float(name.split("_")[1]), 1.0), config)

    assert len(sweeps.beside(Path("lr_1e-3"))) == 1
    assert sweeps.beside(Path("other_1e-4")) == []
    assert sweeps.affected({Path("lr_1e-3")}) == {Path("lr_1e-3"), Path("lr_1e-4"), Path("lr_1e-5")}
    sweeps.forget(Path("lr_1e-4"))
    assert sweeps.beside(Path("lr_1e-3")) == []


def test_of_a_large_sweep_the_nearest_rates_are_compared() -> None:
    sweeps = Sweeps()
    for number in range(2 * MOST):
        rate = 1e-6 * 1.6**number
        sweeps.note(Path(f"lr{rate:g}"), f"lr{rate:g}", a_standing(rate, 1.0), RunConfig())

    beside = sweeps.beside(Path("lr1e-06"))
    assert len(beside) == MOST
    assert max(other.learning_rate for other in beside) < 1e-6 * 1.6 ** (MOST + 1)
    assert sweeps.affected({Path("lr1e-06")}) == {Path("lr1e-06")}


@pytest.mark.parametrize(
    ("names", "config", "compared"),
    [
        (("width64-lr0.001", "width256-lr0.01"), RunConfig(), 0),
        (("exp-1", "exp-2"), RunConfig(), 0),
        (("exp-1", "exp-2"), RunConfig(optimizer="adamw", max_steps=100, batch_size=8, scheduler="linear"), 1),
        (("seed7-lr0.001", "seed7-lr0.01"), RunConfig(), 1),
    ],
)
def test_a_number_that_is_no_learning_rate_needs_a_configuration_that_agrees(
    names: tuple[str, str], config: RunConfig, compared: int
) -> None:
    sweeps = Sweeps()
    for name, rate in zip(names, (0.001, 0.01), strict=True):
        sweeps.note(Path("logs") / name, name, a_standing(rate, 1.0), config)

    assert len(sweeps.beside(Path("logs") / names[0])) == compared


def test_runs_of_two_logdirs_are_not_compared() -> None:
    sweeps = Sweeps()
    for logdir, rate in (("l1", 0.001), ("l2", 0.01)):
        sweeps.note(Path(logdir), ".", a_standing(rate, 1.0), RunConfig())

    assert sweeps.beside(Path("l1")) == []


def are_one_sweep(first: tuple[str, float, RunConfig], second: tuple[str, float, RunConfig]) -> bool:
    """Compare two runs as the module's head says it, pair by pair: what the lookup must agree with."""
    (one, rate, config), (other, their_rate, their_config) = first, second
    pairs = [(getattr(config, field), getattr(their_config, field)) for field in _SAME]
    known = [ours == theirs for ours, theirs in pairs if ours is not None and theirs is not None]
    numbers = [[float(number) for number in _NUMBER.findall(name)] for name in (one, other)]
    differing = [(ours, theirs) for ours, theirs in zip(*numbers, strict=True) if ours != theirs]
    named = all(
        math.isclose(ours, rate, rel_tol=0.02) and math.isclose(theirs, their_rate, rel_tol=0.02)
        for ours, theirs in differing
    )
    return all(known) and (named or len(known) >= ENOUGH)


RATES = st.sampled_from((0.001, 0.00101, 0.01, 1.0, 8.0))
CONFIGS = st.builds(
    RunConfig,
    optimizer=st.sampled_from((None, "adamw")),
    scheduler=st.sampled_from((None, "linear", "cosine")),
    batch_size=st.sampled_from((None, 8, 16)),
    max_steps=st.sampled_from((None, 100)),
    epochs=st.sampled_from((None, 1.0)),
)


@given(
    st.dictionaries(st.tuples(RATES, RATES), st.lists(st.tuples(RATES, CONFIGS), min_size=1, max_size=3), max_size=12)
)
def test_siblings_are_looked_up_as_if_each_pair_were_compared(
    noted: dict[tuple[float, float], list[tuple[float, RunConfig]]],
) -> None:
    sweeps, runs = Sweeps(), {}
    for round_ in range(3):
        for numbers, states in noted.items():
            name = "a{}-b{}".format(*numbers)
            if round_ < len(states):
                runs[name] = name, *states[round_]
                sweeps.note(Path(name), name, a_standing(states[round_][0], 1.0), states[round_][1])
            elif len(states) == 2:
                runs.pop(name, None)
                sweeps.forget(Path(name))
    shown = {name: sweeps.beside(Path(name)) for name in runs}
    for name, run in runs.items():
        expected = sorted(other[1] for key, other in runs.items() if key != name and are_one_sweep(run, other))
        assert sorted(other.learning_rate for other in shown[name]) == expected


def test_among_a_thousand_jobs_that_differ_in_numbers_a_run_looks_at_its_own_sweep_only() -> None:
    sweeps = Sweeps()
    for number in range(1000):
        name = f"job_{number:04d}/lr_1e-{3 + number % 2}"
        sweeps.note(Path(name), name, a_standing(10.0 ** -(3 + number % 2), 1.0), RunConfig())
    sweeps.note(Path("job_0007/lr_1e-5"), "job_0007/lr_1e-5", a_standing(1e-5, 1.0), RunConfig())

    assert [other.learning_rate for other in sweeps.beside(Path("job_0007/lr_1e-5"))] == [1e-4]
    assert sweeps.beside(Path("job_0008/lr_1e-3")) == []


@pytest.fixture(scope="module")
def swept() -> list[Training]:
    return [case for case in trainings(SWEEPS) if case.setting == SETTING and case.seed == 1]


@pytest.fixture(scope="module")
def judged(swept: list[Training], tmp_path_factory: pytest.TempPathFactory) -> dict[float, RunView]:
    """Learning rate to what the monitor says of the run, all runs of the sweep in one directory."""
    logdir = tmp_path_factory.mktemp("sweep")
    for case in swept:
        directory = logdir / f"lr-{case.peak:g}"
        directory.mkdir()
        (directory / FILE_NAME).write_bytes(b"".join(event_bytes(case, Condition())))
    snapshot = Monitor([logdir]).poll()
    return {float(view.run.removeprefix("lr-")): view for view in snapshot.runs}


def test_a_sweep_in_one_directory_is_judged_by_itself(swept: list[Training], judged: dict[float, RunView]) -> None:
    pairs = [(case.kind, judged[case.peak].verdict.learning_rate) for case in swept]

    assert sum(really == said for really, said in pairs) >= 0.8 * len(pairs)
    assert not [pair for pair in pairs if set(pair) == {"too_low", "too_high"}]
    lowest = judged[min(judged)]
    assert "sweep-higher-rate-better" in {finding.rule for finding in lowest.firing}
    assert any("learning rate" in advice.text for advice in lowest.advice)
