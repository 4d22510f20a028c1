"""What a Probe measures in trainings of all kinds: adapters, groups, half precision, the recorded sweeps."""

# mypy: allow-subclassing-any

from __future__ import annotations

import dataclasses
from functools import partial

import pytest

pytest.importorskip("torch", reason="needs the extra torch")

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from raftmon.errors import RaftmonError
from raftmon.torch import Probe
from tests import train_sweeps
from tests.probe_toys import Recomputed, Written, batches, half, made, squared_error, train
from tests.record_runs import optimizer_of, rate_at


class Adapted(nn.Module):
    """A frozen layer with a low-rank addition."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(6, 64)
        self.base.requires_grad_(False)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 64, bias=False)
        self.head = nn.Linear(64, 1)
        self.head.requires_grad_(False)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (rows, 6) to (rows,)."""
        return self.head(torch.tanh(self.base(rows) + self.up(self.down(rows))))[:, 0]


def test_frozen_weights_take_no_part() -> None:
    model, written = made(Adapted), Written()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batch = batches(1)[0]
    squared_error(model, batch).backward()
    old = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    Probe(model, optimizer, written, every=1).step(partial(squared_error, model, batch))

    trained = ("down.weight", "up.weight")
    now = dict(model.named_parameters())
    moved = sum(float((now[name].detach() - old[name]).square().sum()) for name in trained)
    size = sum(float(old[name].square().sum()) for name in trained)
    assert written.of("raftmon/update_ratio") == [pytest.approx((moved / size) ** 0.5)]
    assert written.of("raftmon/rho") == [pytest.approx(1.0, abs=0.2)]


def test_adapters_of_peft_are_probed() -> None:
    peft = pytest.importorskip("peft", reason="needs peft")
    config = peft.LoraConfig(r=2, target_modules=["0"], lora_dropout=0.5)

    def build() -> nn.Module:
        return peft.get_peft_model(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)), config)

    written = Written()
    assert torch.equal(train(made(build), None, 0), train(made(build), written, 1))
    assert len(written.of("raftmon/rho")) == 6


def test_several_groups_and_weights_that_get_no_gradient() -> None:
    model, written = nn.ModuleList([nn.Linear(6, 1), nn.Linear(6, 1)]), Written()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.0}], lr=0.01
    )
    batch = batches(1)[0]
    probe = Probe(model, optimizer, written, every=1)

    def loss_of() -> Tensor:
        return squared_error(lambda rows: model[0](rows)[:, 0], batch)

    loss_of().backward()
    probe.step(loss_of)

    assert written.of("raftmon/rho") == [pytest.approx(1.0, abs=0.1)]


def test_sparse_gradients_are_multiplied() -> None:
    model, written = nn.Embedding(10, 2, sparse=True), Written()
    probe = Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), written, every=1)

    def loss_of() -> Tensor:
        return model(torch.tensor([1, 1, 7])).sum()

    loss_of().backward()
    probe.step(loss_of)

    assert written.of("raftmon/rho") == [pytest.approx(1.0, abs=1e-5)]


@pytest.mark.parametrize(("rate", "told"), [(0.1, True), (1e-6, False)])
def test_under_autocast_ratios_are_those_of_full_precision_or_none(rate: float, told: bool) -> None:
    found = {}
    for kind in (half, squared_error):
        written = Written()
        model = made(lambda: nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 1), nn.Flatten(0)))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        probe = Probe(model, optimizer, written, every=1)
        for batch in batches(8):
            optimizer.zero_grad()
            kind(model, batch).backward()
            probe.step(partial(kind, model, batch))
        found[kind] = written.of("raftmon/rho")

    if told:
        assert found[half] == pytest.approx(found[squared_error], abs=0.05)
    assert len(found[half]) == (8 if told else 0)


def test_activations_that_are_recomputed_in_the_older_way_are_refused() -> None:
    model = nn.Linear(6, 1)
    rows = torch.ones(1, 6, requires_grad=True)
    probe = Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), None, every=1)

    with pytest.raises(RaftmonError, match="use_reentrant=True"):
        probe.step(lambda: checkpoint(model, rows, use_reentrant=True).sum())


def test_ratios_are_those_of_the_recorded_sweeps() -> None:
    """What the rules were fitted on: gains and promises as `tests.train_sweeps` took them, without dropout."""
    chosen = dataclasses.replace(next(s for s in train_sweeps.SETTINGS if s.recipe.family == "transformer"), steps=26)
    curves = train_sweeps.train(chosen, 1e-2, 1)
    torch.manual_seed(1)
    task, written = chosen.recipe.build(1), Written()
    optimizer = optimizer_of(chosen.recipe, task.parameters)
    probe = Probe(nn.Module(), optimizer, written, every=1)
    for step in range(1, chosen.steps + 1):
        optimizer.param_groups[0]["lr"] = rate_at(chosen.recipe, 1e-2, step)
        batch = task.order.get_state()
        optimizer.zero_grad()
        task.loss().backward()
        after = task.order.get_state()

        def loss_of(batch: Tensor = batch) -> Tensor:
            task.order.set_state(batch)
            return task.loss()

        nn.utils.clip_grad_norm_(task.parameters, chosen.recipe.clip)
        if step % train_sweeps.PROBE_EVERY == 1:
            probe.step(loss_of)
        else:
            optimizer.step()
        task.order.set_state(after)

    ends = range(1, len(curves.gained) + 1)
    sums = [(sum(curves.gained[max(0, n - 4) : n]), sum(curves.promised[max(0, n - 4) : n])) for n in ends]
    assert len(sums) == 6
    assert written.of("raftmon/rho") == pytest.approx([gained / promised for gained, promised in sums], rel=1e-3)
    assert written.of("raftmon/update_ratio") == pytest.approx(curves.update, rel=1e-4)


def test_what_is_computed_anew_to_save_memory_is_so_in_a_probe() -> None:
    model, calls = Recomputed(), []
    model.inner.register_forward_pre_hook(lambda *_: calls.append(1))
    Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), None, every=1).step(lambda: model(torch.ones(1, 8)).sum())

    assert len(calls) == 3, "before the step, once more for its gradient, and after the step"
