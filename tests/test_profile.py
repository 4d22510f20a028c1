"""The shape of a curve does not depend on how long it is or how often it was logged."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.run_config import RunConfig
from raftmon.signals.profile import MOST_BINS, Profile
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import RunSignals


def profile_of(values: list[float]) -> Profile:
    profile = Profile()
    for value in values:
        profile.update(value)
    return profile


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=400), st.integers(1, 40))
def test_the_mean_of_the_shares_is_the_mean_of_all(values: list[float], count: int) -> None:
    means = profile_of(values).means(count)

    assert len(means) == min(count, len(values))
    assert sum(means) / len(means) == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert min(values) - 1e-9 <= min(means) <= max(means) <= max(values) + 1e-9


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=MOST_BINS - 1))
def test_a_short_series_is_kept_as_it_is(values: list[float]) -> None:
    assert profile_of(values).means(1000) == pytest.approx(values)


def test_a_line_stays_a_line_at_any_length() -> None:
    for length in (96, 1000, 12_345):
        means = profile_of([step / length for step in range(length)]).means(20)
        assert means == pytest.approx([(share + 0.5) / 20 for share in range(20)], abs=0.02)


def test_memory_is_bounded() -> None:
    assert len(profile_of([1.0] * 100_000)._sums) < MOST_BINS


@pytest.mark.parametrize("every", [5, 10])
def test_a_curve_looks_the_same_at_every_logging_interval(every: int) -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.1, 2000)
    dense = 1.0 + 3.0 * np.exp(-np.arange(2000) / 500) + noise
    sparse = dense.reshape(-1, every).mean(axis=1)

    def shape(losses: np.ndarray, interval: int) -> dict[str, float | None]:
        signals = RunSignals(RunConfig(), averaged=True)
        for index, loss in enumerate(losses.tolist(), start=1):
            signals.update("loss", index * interval, loss)
        count = len(losses)
        facts = RunFacts(RunConfig(), ended=True, steps=(count - 1) * interval, points=count)
        return signals.readings(facts).complete()

    ours, theirs = shape(dense, 1), shape(sparse, every)
    for name in ("shape.progress", "shape.half_mass", "shape.most_mass", "shape.noise_level"):
        one, other = ours[name], theirs[name]
        assert one is not None
        assert other is not None
        assert other == pytest.approx(one, rel=0.15), name


def test_a_probe_counts_while_the_learning_rate_is_near_its_peak() -> None:
    signals = RunSignals(RunConfig())
    for step in range(40):
        signals.update("learning_rate", step, 1e-3 if step < 20 else 1e-5)
        signals.update("rho", step, 0.8 if step < 20 else 1.0)
        signals.update("update_ratio", step, 0.01)
    readings = signals.readings(RunFacts(RunConfig(), ended=True, steps=40))

    assert readings["probe.rho"] == pytest.approx(0.8)
    assert readings["probe.update_peak"] == pytest.approx(0.01)


@pytest.mark.parametrize(("logged", "read"), [(-math.inf, -1.0), (math.nan, None)], ids=["blown up", "no number"])
def test_a_probe_of_a_step_that_blew_up_gained_less_than_nothing(logged: float, read: float | None) -> None:
    signals = RunSignals(RunConfig())
    for step in range(5):
        signals.update("rho", step, logged)

    assert signals.readings(RunFacts(RunConfig(), ended=True, steps=5))["probe.rho"] == read


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 3e38, -1.0, 0.0, math.nan])
def test_no_number_breaks_a_signal(value: float) -> None:
    signals = RunSignals(RunConfig(max_grad_norm=1.0))
    for step in range(1, 120):
        for role in ("loss", "grad_norm", "learning_rate", "eval_loss", "reward", "entropy", "rho", "update_ratio"):
            signals.update(role, step, value if step % 3 else 1.0 / step)

    facts = RunFacts(RunConfig(), ended=True, steps=119, points=119)
    assert signals.readings(facts).complete().keys() >= {"shape.progress", "loss.alternation", "probe.rho"}
