"""Signals: what they say of shapes that everybody knows, at any scale and any logging interval."""

import math

import numpy as np
import pytest

from raftmon.run_config import RunConfig
from raftmon.signals.gradient import GradientSignals
from raftmon.signals.loss import LossSignals
from raftmon.signals.policy import EntropySignals, RewardSignals
from raftmon.signals.progress import EvaluationSignals, RunFacts, ScheduleSignals
from raftmon.signals.registry import SIGNALS, RunSignals
from raftmon.signals.standing import STANDING_STILL

LENGTH = 400


def healthy(noise: float = 0.05, seed: int = 0) -> list[float]:
    """A loss that falls fast, then slowly."""
    steps = np.arange(LENGTH)
    curve = 1.0 + 3.0 * np.exp(-steps / 40.0)
    return [float(value) for value in curve + np.random.default_rng(seed).normal(0.0, noise, LENGTH)]


def loss_readings(values: list[float]) -> dict[str, float | None]:
    signals = LossSignals()
    for step, value in enumerate(values):
        signals.update(step, value)
    return {**signals.readings(), **signals.course()}


def reading(readings: dict[str, float | None], name: str) -> float:
    value = readings[name]
    assert value is not None, f"{name} has no reading"
    return value


def test_a_healthy_loss() -> None:
    readings = loss_readings(healthy())

    assert reading(readings, "loss.drawup") < 0.05
    assert reading(readings, "loss.drawup_peak") == 0.0
    assert reading(readings, "loss.half_time") == pytest.approx(28 / LENGTH, abs=0.03)
    assert reading(readings, "loss.progress") == pytest.approx(0.74, abs=0.03)
    assert reading(readings, "loss.spike_share") == 0.0
    assert reading(readings, "loss.nonfinite") == 0.0
    assert reading(readings, "loss.noise_growth") == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_signals_do_not_depend_on_the_scale_of_the_loss(scale: float) -> None:
    plain = loss_readings(healthy())
    scaled = loss_readings([value * scale for value in healthy()])

    for name, value in plain.items():
        assert scaled[name] == pytest.approx(value, rel=1e-6), name


def test_every_fifth_point_tells_the_same_shape() -> None:
    values = healthy(noise=0.02)
    averaged = [float(np.mean(values[start : start + 5])) for start in range(0, LENGTH, 5)]

    dense, sparse = loss_readings(values), loss_readings(averaged)

    for name in ("loss.half_time", "loss.progress", "loss.drawup"):
        assert reading(sparse, name) == pytest.approx(reading(dense, name), abs=0.12), name


def test_a_loss_that_gives_back_its_progress() -> None:
    values = healthy()[:200] + [1.0 + 0.02 * step for step in range(100)]

    readings = loss_readings(values)

    assert reading(readings, "loss.drawup") > 0.5
    assert reading(readings, "loss.drawup_sigma") > 6.0
    assert reading(readings, "loss.drawup_peak") > 0.4


def test_one_spike_is_a_spike_and_no_draw_up() -> None:
    values = healthy()
    values[300] = 12.0

    readings = loss_readings(values[:301])

    assert reading(readings, "loss.spike") > 8.0
    assert reading(loss_readings(values), "loss.spike_share") == pytest.approx(0.01)
    assert reading(loss_readings(values), "loss.drawup_peak") == 0.0


def test_negative_losses_have_no_progress_ratio() -> None:
    readings = loss_readings([value - 10.0 for value in healthy()])

    assert readings["loss.progress"] is None
    assert reading(readings, "loss.half_time") < 0.15


def test_nan_is_counted_and_harms_nothing() -> None:
    values = healthy()
    values[200] = math.nan
    values[201] = math.inf

    at_once, later = loss_readings(values[:202]), loss_readings(values)

    assert reading(at_once, "loss.nonfinite") == 2.0
    assert reading(later, "loss.nonfinite") == 0.0
    assert all(value is None or math.isfinite(value) for value in later.values())


def test_alternation_tells_noise_from_a_period_of_two() -> None:
    noise = loss_readings([float(value) for value in np.random.default_rng(5).normal(1.0, 0.1, 200)])
    swing = loss_readings([1.0 + 0.1 * (-1) ** step for step in range(200)])

    assert reading(noise, "loss.alternation") == pytest.approx(-0.5, abs=0.15)
    assert reading(swing, "loss.alternation") < -0.9


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_little_data_has_no_reading(count: int) -> None:
    readings = loss_readings(healthy()[:count])

    assert readings["loss.drawup"] is None
    assert readings["loss.half_time"] is None
    assert readings["loss.points"] == (float(count) if count else None)


def test_clipping_is_unknown_without_a_limit() -> None:
    with_limit, without = GradientSignals(1.0), GradientSignals(None)
    for step in range(60):
        with_limit.update(step, 2.0 + 0.01 * step)
        without.update(step, 2.0 + 0.01 * step)

    assert reading(with_limit.readings(), "gradient.clip_share") > 0.9
    assert without.readings()["gradient.clip_share"] is None
    assert reading(without.readings(), "gradient.median") == pytest.approx(2.34, abs=0.02)


def test_gradient_spikes_do_not_hide_the_next_one() -> None:
    signals = GradientSignals(None)
    norms = np.exp(np.random.default_rng(1).normal(0.0, 0.1, 100))
    spikes = []
    for step, norm in enumerate(norms):
        signals.update(step, float(norm) * (50.0 if step in (60, 62, 64) else 1.0))
        if step in (60, 62, 64):
            spikes.append(signals.readings()["gradient.spike"])

    assert all(spike is not None and spike > 6.0 for spike in spikes)


def test_schedule_that_ends_early_and_one_that_never_warms_up() -> None:
    ended, rising = ScheduleSignals(), ScheduleSignals()
    for step in range(100):
        ended.update(step, 1e-4 if step < 60 else 0.0)
        rising.update(step, 1e-6 * (step + 1))

    assert reading(ended.readings(), "schedule.dead_share") == pytest.approx(0.39, abs=0.02)
    assert reading(ended.readings(), "schedule.of_peak") == 0.0
    assert reading(rising.readings(), "schedule.rising_share") == 1.0
    assert reading(rising.readings(), "schedule.mean_of_peak") == pytest.approx(0.505)


def test_a_zero_at_the_very_end_of_a_linear_schedule_is_no_early_end() -> None:
    signals = ScheduleSignals()
    for step in range(100):
        signals.update(step, 1e-4 * (1 - step / 99))

    assert reading(signals.readings(), "schedule.dead_share") == 0.0


def test_evaluation_reward_and_entropy() -> None:
    evaluation, reward, entropy = EvaluationSignals(), RewardSignals(), EntropySignals()
    for step, value in enumerate([0.252, 0.280, 0.337]):
        evaluation.update(step, value)
    for step in range(100):
        reward.update(step, 4.0 * step if step < 80 else 320.0 - 16.0 * (step - 80))
        entropy.update(step, 0.7 - 0.006 * step)

    assert reading(evaluation.readings(), "eval.rise") == pytest.approx(0.337, abs=0.01)
    assert reading(evaluation.readings(), "eval.since_best") == 2.0
    assert reading(reward.readings(), "reward.drawdown") > 0.5
    assert reading(entropy.readings(), "entropy.left") == pytest.approx(0.17, abs=0.05)


def test_run_facts_take_the_steps_that_were_really_made() -> None:
    config = RunConfig(warmup_steps=200, max_steps=10_000)

    planned = RunFacts(config, ended=False, steps=50, optimizer_steps=59).readings()
    ended = RunFacts(config, ended=True, steps=50, optimizer_steps=59).readings()

    assert planned["run.warmup_share"] == pytest.approx(0.02)
    assert ended["run.warmup_share"] == pytest.approx(200 / 59)


def test_the_catalogue_lists_what_the_families_return() -> None:
    signals = RunSignals(RunConfig())
    returned = set(signals.readings(RunFacts(RunConfig(), ended=False, steps=None)).complete())

    assert returned == {name for name, info in SIGNALS.items() if info.needs not in ("campaign", "siblings")} - {
        STANDING_STILL  # of time, not of points
    }
