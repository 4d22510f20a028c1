"""What a Probe measures, against closed forms; and that the training does not notice."""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra torch")

import torch
from torch import Tensor, nn

from raftmon.advice.obeyed import EXACT, rate_in_force
from raftmon.errors import RaftmonError, UsageError
from raftmon.monitor import Monitor
from raftmon.torch import CycleProbe, Probe
from tests.probe_toys import Written


class Weight(nn.Module):
    """One weight vector."""

    def __init__(self, *values: float, dtype: Any = torch.float64) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values, dtype=dtype))


def halved_square(w: Tensor, curvature: float) -> Tensor:
    return 0.5 * curvature * w.square().sum()


def sloped(w: Tensor, slope: float) -> Tensor:
    return slope * w.sum()


def quadratic_rho(curvature: float, rate: float, start: float, **named: Any) -> list[float]:
    model, written = Weight(start), Written()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, **named)
    probe = Probe(model, optimizer, written, every=1)

    def loss_of() -> Tensor:
        return 0.5 * curvature * model.w.square().sum()

    optimizer.zero_grad()
    loss_of().backward()
    probe.step(loss_of)
    return written.of("raftmon/rho")


@settings(deadline=None, max_examples=40)
@given(curvature=st.floats(0.1, 10.0), share=st.floats(1e-3, 3.0), start=st.floats(0.1, 10.0) | st.floats(-10.0, -0.1))
def test_on_a_quadratic_the_ratio_is_one_less_half_the_rate_times_the_curvature(
    curvature: float, share: float, start: float
) -> None:
    assert quadratic_rho(curvature, share / curvature, start) == [pytest.approx(1.0 - share / 2.0, abs=1e-9)]


def test_a_linear_loss_gives_all_that_was_predicted() -> None:
    model, written = Weight(1.0, 2.0, 3.0), Written()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    probe = Probe(model, optimizer, written, every=1)
    for _ in range(3):
        optimizer.zero_grad()
        (model.w @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)).backward()
        probe.step(lambda: model.w @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))

    assert written.of("raftmon/rho") == pytest.approx([1.0, 1.0, 1.0])


def test_what_is_written_is_the_sum_of_the_newest_four_gains_over_that_of_their_predictions() -> None:
    model, written = Weight(4.0), Written()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    probe = Probe(model, optimizer, written, every=1)
    gains, predictions = [], []
    for curvature in (1.0, 0.1, 2.5, 0.5, 3.0, 1.5):
        w = model.w.item()
        optimizer.zero_grad()
        (0.5 * curvature * model.w.square().sum()).backward()
        probe.step(partial(halved_square, model.w, curvature))
        now = w * (1 - 0.5 * curvature)
        gains.append(0.5 * curvature * (now**2 - w**2))
        predictions.append(curvature * w * (now - w))

    expected = [sum(gains[max(0, n - 4) : n]) / sum(predictions[max(0, n - 4) : n]) for n in range(1, 7)]
    assert written.of("raftmon/rho") == pytest.approx(expected)
    assert probe.rho == pytest.approx(sum(gains) / sum(predictions))


def test_the_update_ratio_is_the_update_over_the_weights_before_it() -> None:
    model, written = Weight(3.0, 4.0), Written()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = Probe(model, optimizer, written, every=1)
    model.w.sum().backward()
    probe.step(lambda: model.w.sum())

    assert written.of("raftmon/update_ratio") == [pytest.approx(0.1 * math.sqrt(2) / 5.0)]


@pytest.mark.parametrize(("limit", "clipped"), [(10.0, 0.0), (0.5, 1.0), (math.inf, 0.0)])
def test_clipping_returns_and_writes_the_norm_before_it(limit: float, clipped: float) -> None:
    model, written = Weight(3.0, 4.0), Written()
    probe = Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), written, first_step=7)
    (0.5 * model.w.square().sum()).backward()

    assert float(probe.clip(limit)) == pytest.approx(5.0)
    assert float(model.w.grad.norm()) == pytest.approx(min(5.0, limit))
    assert written.points == [("train/grad_norm", pytest.approx(5.0), 8), ("raftmon/clipped", clipped, 8)]


def test_without_a_limit_no_gradient_is_touched_even_if_one_is_infinite() -> None:
    model, written = Weight(3.0, 4.0, 5.0), Written()
    probe = Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), written)
    gradient = torch.tensor([math.inf, 4.0, -5.0], dtype=torch.float64)
    model.w.grad = gradient.clone()

    assert math.isinf(float(probe.clip()))
    assert torch.equal(model.w.grad, gradient)
    assert written.of("train/grad_norm") == [math.inf]


def test_the_norm_without_a_limit_is_the_one_with_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3), nn.Linear(3, 2))
    model[:2](torch.randn(4, 7)).square().sum().backward()  # the last layer has no gradient
    probe = Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), None)

    assert float(probe.clip()) == float(probe.clip(1e6))
    assert float(Probe(model, torch.optim.SGD(model[2:].parameters()), None).clip()) == 0.0


def test_each_step_says_at_which_rate_it_was_taken() -> None:
    model, written = Weight(3.0, 4.0), Written()
    groups = [{"params": [model.w], "lr": 0.1}, {"params": [nn.Parameter(torch.ones(1))], "lr": 7.0}]
    optimizer = torch.optim.SGD(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / 4)
    probe = Probe(model, optimizer, written, first_step=10)
    for _ in range(3):
        optimizer.zero_grad()
        model.w.sum().backward()
        probe.step(lambda: model.w.sum())
        schedule.step()

    assert [(tag, step) for tag, _, step in written.points] == [("train/learning_rate", step) for step in (11, 12, 13)]
    assert written.of("train/learning_rate") == pytest.approx([0.1, 0.075, 0.05])


def test_what_the_trainer_writes_already_is_not_written_twice() -> None:
    model, told = Weight(3.0, 4.0), []

    def log(values: Mapping[str, float], step: int) -> None:
        told.append((dict(values), step))

    probe = Probe(
        model, torch.optim.SGD(model.parameters(), lr=0.1), log, every=1, norm_tag=None, rate_tag=None, prefix=""
    )
    model.w.sum().backward()
    probe.clip(1.0)
    probe.step(lambda: model.w.sum())

    assert [sorted(values) for values, _ in told] == [["clipped"], ["rho", "update_ratio"]]
    assert [step for _, step in told] == [1, 1]


def probed_steps(steps: int | None, taken: int | None = None) -> list[int]:
    """Return the steps that are probed of a run of so many, or of the first few of them."""
    model, written = Weight(1.0), Written()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    probe = Probe(model, optimizer, written, steps=steps)
    for _ in range(taken if taken is not None else steps or 0):
        optimizer.zero_grad()
        model.w.sum().backward()
        probe.step(lambda: model.w.sum())
    return [step for tag, _, step in written.points if tag == "raftmon/rho"]


@pytest.mark.parametrize(
    ("steps", "probed"),
    [
        (None, [51, 151, 251]),
        (3, [1, 2, 3]),
        (16, [2, 4, 6, 8, 10, 12, 14, 16]),
        (40, [3, 8, 13, 18, 23, 28, 33, 38]),
        (10_000, [51, 151, 251]),
    ],
)
def test_a_short_run_is_probed_more_often(steps: int | None, probed: list[int]) -> None:
    assert probed_steps(steps, min(steps or 300, 300)) == probed


def test_a_run_of_known_length_is_probed_eight_to_fifteen_times() -> None:
    found = {steps: len(probed_steps(steps)) for steps in (7, 8, 15, 16, 23, 24, 31, 100, 799)}
    assert found == {7: 7, 8: 8, 15: 15, 16: 8, 23: 11, 24: 8, 31: 10, 100: 8, 799: 8}


@pytest.mark.parametrize(
    ("loss_of_weights", "rate"),
    [
        (lambda w: w.sum(), 0.0),
        (lambda w: w.sum(), -0.1),
        (lambda w: w.sum() * math.nan, 0.1),
        (lambda w: torch.where(w > 1.0, w, math.inf).sum(), 0.5),
        (lambda w: w.float().sum() * 1e-9 + 1.0, 0.1),
    ],
    ids=["does not move", "goes up", "NaN before", "infinite after", "hidden by rounding"],
)
def test_where_nothing_can_be_said_no_ratio_is_written(
    loss_of_weights: Callable[[Tensor], Tensor], rate: float
) -> None:
    model, written = Weight(1.25), Written()
    optimizer = torch.optim.SGD(model.parameters(), lr=abs(rate), maximize=rate < 0.0)
    probe = Probe(model, optimizer, written, every=1)
    model.w.sum().backward()
    probe.step(lambda: loss_of_weights(model.w))

    assert written.of("raftmon/rho") == []


def test_a_step_against_the_gradient_counts_in_the_sum() -> None:
    model, written = Weight(1.0), Written()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = Probe(model, optimizer, written, every=1)
    for slope in (2.0, -1.0):
        optimizer.zero_grad()
        model.w.sum().backward()
        probe.step(partial(sloped, model.w, slope))

    assert written.of("raftmon/rho") == pytest.approx([1.0, 1.0])
    assert probe.rho == pytest.approx(1.0)


@pytest.mark.parametrize(
    "loss_of", [lambda: torch.ones(2, requires_grad=True) * 2, lambda: torch.tensor(1.0), lambda: 1.0, lambda: None]
)
def test_a_loss_that_is_none_is_refused(loss_of: Callable[[], Any]) -> None:
    model = Weight(1.0)
    probe = Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), None, every=1)

    with pytest.raises(UsageError, match="mean loss of one micro-batch"):
        probe.step(loss_of)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"every": -1}, "every is -1\n  Give a whole number of at least 0"),
        ({"every": 1.5}, "every is 1.5"),
        ({"every": "3"}, "every is '3'"),
        ({"steps": "16"}, "steps is '16'"),
        ({"first_step": -1}, "first_step is -1"),
        ({"writer": "runs/x"}, r"writer is 'runs/x'\n  Give a SummaryWriter"),
        ({"writer": Written}, "writer is <class"),
        ({"norm_tag": 3}, "norm_tag is 3"),
        ({"rate_tag": ""}, "rate_tag is ''"),
        ({"prefix": 3}, "prefix is 3"),
        ({"model": "gpt2"}, r"\(model\): model is a str"),
        ({"optimizer": "adamw"}, r"\(optimizer\): optimizer is a str"),
    ],
)
def test_what_cannot_be_meant_is_said_as_a_probe_is_made(wrong: dict[str, Any], said: str) -> None:
    model = Weight(1.0)
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "writer": None, **wrong}
    with pytest.raises(UsageError, match=said):
        Probe(**given)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, None, "1", True])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    model = Weight(1.0)
    with pytest.raises(UsageError, match="leave it out to measure only"):
        Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), None).clip(limit)


def test_what_cannot_be_called_is_refused_whether_a_probe_is_due_or_not() -> None:
    model = Weight(1.0)
    with pytest.raises(UsageError, match="loss_of is a Tensor, which cannot be called"):
        Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), None).step(model.w.sum())


def test_an_optimiser_that_evaluates_the_loss_itself_is_refused() -> None:
    model = Weight(1.0)
    with pytest.raises(RaftmonError, match="LBFGS evaluates the loss itself"):
        Probe(model, torch.optim.LBFGS(model.parameters()), None)


def test_what_is_written_is_what_raftmon_reads(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard", reason="needs tensorboard")
    model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    rows = torch.eye(3)
    with tensorboard.SummaryWriter(str(tmp_path / "run")) as writer:
        probe = Probe(model, optimizer, writer, steps=16)
        for _ in range(16):
            optimizer.zero_grad()
            model(rows).square().mean().backward()
            probe.clip(0.1)
            probe.step(lambda: model(rows).square().mean())
        cycle = CycleProbe(lambda samples: (model(samples).square(), torch.ones(len(samples))))
        cycle.before(rows, rows[:2])
        cycle.after(writer, step=16)

    (run,) = Monitor([tmp_path], clock=lambda: 1e9).poll().runs
    series = run.series
    roles = ("learning_rate", "grad_norm", "rho", "update_ratio", "cycle_kl", "cycle_harm")
    assert {role: len(series[role].values) for role in roles} == dict(zip(roles, (16, 16, 8, 8, 1, 1), strict=True))
    assert rate_in_force(run) == (0.01, EXACT)
    assert series["rho"].median == pytest.approx(probe.rho, abs=0.02)
