"""Signals of the configuration, and of the log against it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.errors import DocumentErrors
from raftmon.run_config import RunConfig
from raftmon.signals.config import ConfigSignals, lacking, planned_steps, warmup_advised
from raftmon.signals.progress import RunFacts
from raftmon.signals.references import load_references, reference_for
from raftmon.signals.registry import SIGNALS, RunSignals

RAFT = RunConfig(learning_rate=5e-5, batch_size=2, gradient_accumulation=16, train_samples=500, epochs=1.0)


def static(config: RunConfig, signal: str, stage: str | None = None) -> float | None:
    return ConfigSignals(config, stage).readings()[signal]


def against_log(
    config: RunConfig,
    rates: list[float],
    *,
    ended: bool = True,
    taken: int | None = None,
    first: int = 1,
    every: int = 1,
) -> Mapping[str, float | None]:
    """Log a series of learning rates and return every reading."""
    signals = RunSignals(config)
    for index, rate in enumerate(rates):
        signals.update("learning_rate", first + index * every, rate)
    steps = (len(rates) - 1) * every if rates else None
    return signals.readings(RunFacts(config, ended, steps, len(rates), taken, finished=ended and taken is None))


def linear(steps: int, warmup: int, peak: float = 5e-5) -> list[float]:
    """Return what Hugging Face's linear schedule has at each step, from the first one on."""
    ramp = [peak * step / max(1, warmup) for step in range(min(warmup, steps))]
    return ramp + [peak * (steps - step) / max(1, steps - warmup) for step in range(warmup, steps)]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 16),
        ({"epochs": 3.0}, 48),
        ({"epochs": 0.5}, 8),
        ({"devices": 4}, 4),
        ({"max_steps": 7}, 7),
        ({"global_batch_size": 100}, 5),
        ({"gradient_accumulation": None}, 250),
        ({"train_samples": None}, None),
        ({"epochs": None}, None),
        ({"batch_size": None}, None),
    ],
)
def test_planned_steps(changes: dict[str, object], steps: int | None) -> None:
    assert planned_steps(dataclasses.replace(RAFT, **changes)) == steps  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "advised"),
    [
        (RunConfig(max_steps=1000), 100.0),
        (RunConfig(max_steps=100_000), 2000.0),
        (RunConfig(max_steps=100_000, beta2=0.95), 40.0),
        (RunConfig(max_steps=100_000, optimizer="sgd"), 10_000.0),
        (RunConfig(max_steps=16), 2.0),
        (RunConfig(beta2=0.95), None),
    ],
)
def test_the_warmup_advised(config: RunConfig, advised: float | None) -> None:
    assert warmup_advised(config) == (pytest.approx(advised) if advised is not None else None)


@given(st.integers(1, 10**6), st.none() | st.floats(0.5, 0.9999), st.sampled_from([None, "adamw", "sgd"]))
def test_the_warmup_advised_is_short(steps: int, beta2: float | None, optimizer: str | None) -> None:
    advised = warmup_advised(RunConfig(max_steps=steps, beta2=beta2, optimizer=optimizer))
    assert advised is not None
    assert 0.0 < advised <= max(2.0, 0.1 * steps)


def test_without_a_configuration_nothing_is_known() -> None:
    assert set(ConfigSignals(RunConfig()).readings().values()) == {None}
    names = {name for name, info in SIGNALS.items() if info.needs == "config"}
    assert names == set(ConfigSignals(RunConfig()).readings())
    assert all(lacking(name, RunConfig()) for name in names)


def test_facts_of_the_configuration() -> None:
    config = dataclasses.replace(RAFT, warmup_steps=10, logging_steps=10, weight_decay=0.1, scheduler="cosine")
    assert static(config, "config.warmup_share") == pytest.approx(10 / 16)
    assert static(config, "config.warmup_excess") == pytest.approx(5.0)
    assert static(config, "config.logs") == 1.0
    assert static(config, "config.decay_horizon") == pytest.approx(200_000 / 16)
    assert static(config, "config.decays") == 1.0
    assert static(dataclasses.replace(config, scheduler="wsd"), "config.decays") == 0.0
    assert static(dataclasses.replace(config, scheduler="my_own"), "config.decays") is None
    assert static(dataclasses.replace(config, weight_decay=0.0), "config.decay_horizon") is None
    assert static(RunConfig(lora_rank=8), "config.alpha_missing") == 1.0
    assert static(RunConfig(lora_rank=8, lora_alpha=16.0), "config.alpha_missing") == 0.0


@pytest.mark.parametrize(
    ("method", "stage", "rate", "expected"),
    [
        ("lora", "sft", 2e-4, 1.0),
        ("lora", "sft", 1e-2, 10.0),
        ("lora", "sft", 1e-5, 0.1),
        ("full", "pretrain", 6e-4, 1.0),
        (None, "sft", 2e-4, None),
        ("lora", None, 2e-4, None),
        ("lora", "any", 2e-4, None),
    ],
)
def test_the_rate_against_its_reference(
    method: str | None, stage: str | None, rate: float, expected: float | None
) -> None:
    config = RunConfig(learning_rate=rate, method=method)  # type: ignore[arg-type]
    found = static(config, "config.of_reference", stage)
    assert found == (pytest.approx(expected) if expected is not None else None)


def test_what_the_config_says_of_its_stage_wins() -> None:
    reference = reference_for(RunConfig(method="full", stage="dpo"), "sft")
    assert reference is not None
    assert reference.stage == "dpo"


def test_the_references_have_sources_and_one_row_each() -> None:
    references = load_references()
    assert len({(ref.method, ref.stage) for ref in references}) == len(references)
    assert all(ref.source and ref.claims for ref in references)


def test_a_defect_of_the_references_has_a_place(tmp_path: Path) -> None:
    path = tmp_path / "references.yaml"
    path.write_text(
        "schema: raftmon/references@1\nreferences:\n  - {method: lora, stage: sft, low: 2, high: 1, grade: B}\n"
    )
    with pytest.raises(DocumentErrors) as caught:
        load_references(path)
    assert {problem.what for problem in caught.value.problems} == {
        "`references[0].source` is missing",
        "the range is empty",
    }


@pytest.mark.parametrize(
    ("steps", "mass"), [(1, 0.0), (2, 0.0667), (5, 0.333), (9, 0.72), (16, 0.94)]
)  # the schedule of halo-forge with its default warm-up of 10, worked out by hand
def test_the_mass_of_a_short_cycle(steps: int, mass: float) -> None:
    config = RunConfig(learning_rate=5e-5, scheduler="linear", warmup_steps=10)
    readings = against_log(config, linear(steps, 10))
    assert readings["schedule.mass_applied"] == pytest.approx(mass, abs=0.02)


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant"])
def test_a_schedule_without_warmup_applies_its_whole_mass_at_any_logging_interval(scheduler: str) -> None:
    shapes: dict[str, Callable[[float], float]] = {
        "linear": lambda t: 1.0 - t,
        "cosine": lambda t: 0.5 + 0.5 * math.cos(math.pi * t),
        "constant": lambda t: 1.0 + 0.0 * t,
    }
    for every in (1, 10):
        rates = [1e-3 * shapes[scheduler](step / 1000) for step in range(0, 1000, every)]
        readings = against_log(RunConfig(learning_rate=1e-3, scheduler=scheduler), rates, every=every)
        assert readings["schedule.mass_applied"] == pytest.approx(1.0, abs=0.02)


def test_what_is_only_known_at_the_end() -> None:
    config = RunConfig(learning_rate=1e-4, scheduler="linear", max_steps=100)
    rates = linear(100, 0, 1e-4)
    for name in ("schedule.final_of_peak", "schedule.mass_applied"):
        assert against_log(config, rates, ended=False)[name] is None
        assert against_log(config, rates[:50], taken=50)[name] is None, "cut short"
        assert against_log(config, rates, taken=100)[name] is not None
    assert against_log(config, rates, taken=100)["schedule.final_of_peak"] == pytest.approx(0.01)


def test_the_rate_in_the_log_against_the_configured_one() -> None:
    config = RunConfig(learning_rate=1e-4, warmup_steps=10, max_steps=100)
    peak = "schedule.peak_of_configured"
    assert against_log(config, linear(100, 10, 1e-4)[:8], ended=False)[peak] is None, "still warming up"
    assert against_log(config, linear(100, 10, 1e-4), ended=False)[peak] == pytest.approx(1.0)
    assert against_log(config, linear(100, 10, 1e-5), ended=False)[peak] == pytest.approx(0.1)
    assert against_log(config, [1e-3], ended=False)[peak] == pytest.approx(10.0), "higher is known at once"
    assert against_log(config, linear(100, 10, 1e-4)[60:], ended=False, first=61)[peak] is None, "logged late"
    assert against_log(RunConfig(), linear(100, 10, 1e-4))[peak] is None
    assert against_log(config, [])[peak] is None
    unknown = RunConfig(learning_rate=1e-4)
    assert against_log(unknown, [1e-6 * step for step in range(30)], ended=False)[peak] is None, "may still warm up"
    assert against_log(unknown, [1e-5] * 30, ended=False)[peak] == pytest.approx(0.1)
    groups = dataclasses.replace(unknown, several_rates=True)
    assert against_log(groups, [1e-5] * 30)[peak] is None, "another group's"


def test_a_run_that_only_ceased_to_grow_may_have_been_stopped() -> None:
    config = RunConfig(learning_rate=1e-4, scheduler="linear")
    signals = RunSignals(config)
    for step in (1, 2):
        signals.update("learning_rate", step, 1e-5 * step)
    assert signals.readings(RunFacts(config, ended=True, steps=1, points=2))["schedule.mass_applied"] is None


def test_a_coarse_log_of_a_decay_does_not_look_like_another_rate() -> None:
    rates = linear(16, 0, 1e-4)[9::10]
    config = RunConfig(learning_rate=1e-4, scheduler="linear")
    assert against_log(config, rates, first=10, every=10)["schedule.peak_of_configured"] is None
