"""Changes of the configuration and the learning rate: factors, caps, refusals."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.advice.interactions import Interaction, interactions
from raftmon.run_config import RunConfig

LORA = RunConfig(
    method="lora", lora_rank=16, lora_alpha=32.0, optimizer="adamw", batch_size=2, gradient_accumulation=16
)
SIZES = st.integers(1, 4096)
OPTIMIZERS = st.sampled_from(["adam", "adamw", "rmsprop", "sgd"])


def only(before: RunConfig, after: RunConfig) -> Interaction:
    (item,) = interactions(before, after).found
    return item


def changed(**changes: object) -> RunConfig:
    return dataclasses.replace(LORA, **changes)  # type: ignore[arg-type]


def test_without_a_change_there_is_nothing_to_say() -> None:
    assert interactions(LORA, LORA).found == ()
    assert interactions(LORA, LORA).factor is None
    assert interactions(LORA, RunConfig()).found == ()


@pytest.mark.parametrize(
    ("before", "after", "factor"),
    [
        (LORA, changed(lora_rank=64), 1.0),
        (LORA, changed(lora_rank=64, lora_alpha=128.0), 0.25**0.8),
        (changed(use_rslora=True), changed(use_rslora=True, lora_rank=64), 0.25**0.32),
        (LORA, changed(gradient_accumulation=32), 2**0.5),
        (LORA, changed(gradient_accumulation=256), 2.0),
        (LORA, changed(gradient_accumulation=1), 0.5),
        (changed(optimizer="sgd"), changed(optimizer="sgd", gradient_accumulation=24), 1.5),
        (changed(temperature=1.0), changed(temperature=0.7), 0.5),
        (changed(temperature=1.0), changed(temperature=1.3), 1.0),
        (changed(train_samples=1000, max_steps=50), changed(train_samples=250, max_steps=50), 0.5),
        (changed(train_samples=640, epochs=1.0), changed(train_samples=320, epochs=1.0), 1.0),
        (changed(model_parameters=1e9), changed(model_parameters=4e9), 0.5),
        (changed(model_parameters=1e9), changed(model_parameters=70e9), 1 / 3),
        (LORA, changed(method="full", lora_rank=None, lora_alpha=None), 0.1),
    ],
)
def test_factors(before: RunConfig, after: RunConfig, factor: float) -> None:
    item = only(before, after)
    assert item.factor == pytest.approx(factor)
    assert item.claims
    assert interactions(before, after).factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (changed(lora_alpha=None), changed(lora_alpha=None, lora_rank=8), "cannot adjust: need lora_alpha"),
        (LORA, changed(lora_alpha=None, lora_rank=8), "cannot adjust: need lora_alpha"),
        (LORA, changed(lora_rank=64, lora_alpha=16.0), "this combination was not measured"),
        (LORA, changed(lora_alpha=64.0), "this combination was not measured"),
        (LORA, changed(lora_rank=8, use_rslora=True), "rsLoRA switched"),
        (changed(optimizer=None), changed(optimizer=None, batch_size=4), "the optimiser is not known"),
        (changed(optimizer="lion"), changed(optimizer="lion", batch_size=4), "no scaling is established for lion"),
        (LORA, changed(optimizer="sgd"), "no common scale"),
        (changed(train_samples=100), changed(train_samples=200), "the planned steps are not known"),
        (changed(stage="sft"), changed(stage="raft"), "untested"),
    ],
)
def test_refusals_give_the_reason_and_no_total(before: RunConfig, after: RunConfig, reason: str) -> None:
    item = only(before, after)
    assert (item.factor, item.refused) == (None, True)
    assert reason in item.text
    assert interactions(before, dataclasses.replace(after, model_parameters=1e9)).factor is None


def test_the_temperature_of_a_schedule_is_no_sampling_temperature() -> None:
    item = only(changed(temperature=1.0), changed(temperature=1.0, schedule_temperature=0.5))
    assert (item.parameter, item.factor, item.refused, item.claims) == ("schedule_temperature", None, False, ("2-36",))
    assert interactions(changed(schedule_temperature=0.5), changed(temperature=0.5)).found == ()


def test_weight_decay_is_a_comment() -> None:
    batch, decay = interactions(changed(weight_decay=0.1), changed(weight_decay=0.1, gradient_accumulation=32)).found
    assert batch.parameter == "effective_batch"
    assert (decay.factor, decay.refused) == (None, False)
    assert "0.0707" in decay.text
    assert only(changed(weight_decay=0.1), changed(weight_decay=0.01)).factor is None


def test_a_batch_counted_in_another_way_is_not_compared() -> None:
    assert interactions(LORA, RunConfig(global_batch_size=64, optimizer="adamw")).found == ()
    assert interactions(changed(devices=8), changed(devices=None)).found == ()


@given(SIZES, SIZES, OPTIMIZERS)
def test_a_smaller_batch_never_raises_the_rate_and_the_cap_holds(old: int, new: int, optimizer: str) -> None:
    before, after = (RunConfig(batch_size=size, optimizer=optimizer) for size in (old, new))
    factor = interactions(before, after).factor
    assert (factor is None) == (old == new)
    if factor is not None:
        assert 0.5 <= factor <= 2.0
        assert factor < 1.0 if new < old else factor > 1.0


CONFIGS = st.builds(
    RunConfig,
    batch_size=SIZES,
    gradient_accumulation=st.none() | st.integers(1, 64),
    optimizer=st.just("adamw"),
    temperature=st.none() | st.floats(0.1, 2.0),
    lora_rank=st.sampled_from([1, 4, 16, 64]),
    lora_alpha=st.sampled_from([8.0, 16.0, 128.0]),
    use_rslora=st.sampled_from([None, True, False]),
    method=st.just("lora"),
    model_parameters=st.none() | st.floats(1e6, 1e12),
    train_samples=st.none() | st.integers(10, 100_000),
    epochs=st.sampled_from([1.0, 3.0]),
    max_steps=st.none() | st.integers(1, 1000),
    weight_decay=st.none() | st.floats(0.0, 0.5),
    schedule_temperature=st.none() | st.floats(0.1, 2.0),
)


@given(CONFIGS, CONFIGS)
def test_changing_back_undoes(before: RunConfig, after: RunConfig) -> None:
    there, back = interactions(before, after), interactions(after, before)
    refused = [item.parameter for item in there.found if item.refused]
    assert refused == [item.parameter for item in back.found if item.refused]
    if there.factor is not None and back.factor is not None:
        assert there.factor * back.factor == pytest.approx(1.0)
    assert (there.factor is None) == (back.factor is None)


@given(CONFIGS, CONFIGS)
def test_every_factor_is_positive_and_has_a_source(before: RunConfig, after: RunConfig) -> None:
    for item in interactions(before, after).found:
        assert item.factor is None or item.factor > 0.0
        assert item.text
        assert item.claims
        assert item.grade in "ABCD"
