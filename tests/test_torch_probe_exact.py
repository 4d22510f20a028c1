"""A probed training is, to the last bit, the training without a probe; and it is the same step that is measured."""

# mypy: allow-subclassing-any

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra torch")

import torch
from torch import Tensor, nn

from raftmon.errors import RaftmonError
from raftmon.torch import Probe
from tests.probe_toys import Everything, Written, batches, half, made, squared_error, train


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("every", [1, 2])
def test_a_probed_training_is_the_same_to_the_last_bit(every: int, micro_batches: int) -> None:
    written = Written()
    plain, model = made(Everything), made(Everything)
    modes = [module.training for module in model.modules()]
    seen = model.seen

    without = train(plain, None, 0, micro_batches=micro_batches)
    probed = train(model, written, every, micro_batches=micro_batches)

    assert torch.equal(without, probed)
    assert len(written.of("raftmon/update_ratio")) == 6 // every
    assert [module.training for module in model.modules()] == modes
    assert "forward" not in vars(model)
    assert model.recurrent.dropout == 0.3
    assert not torch.equal(seen, model.seen)


def test_without_the_care_the_training_would_differ() -> None:
    """The toy has what the test above is about: evaluating the loss once more leaves a trace in it."""
    plain, model = made(Everything), made(Everything)
    squared_error(model, batches(1)[0])

    assert not torch.equal(train(plain, None, 0), train(model, None, 0))


def test_the_loss_that_is_measured_has_no_dropout_and_the_statistics_of_its_batch() -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1), nn.Flatten(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    batch, written, losses = batches(1)[0], Written(), []

    def loss_of() -> Tensor:
        losses.append(squared_error(model, batch))
        return losses[-1]

    reference = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 1), nn.Flatten(0))
    reference.load_state_dict({name.replace("2.", "1."): value for name, value in model.state_dict().items()})
    before = squared_error(reference, batch)
    gradients = torch.autograd.grad(before, list(reference.parameters()))
    squared_error(model, batch).backward()
    old = [weight.detach().clone() for weight in model.parameters()]
    Probe(model, optimizer, written, every=1).step(loss_of)
    reference.load_state_dict({name.replace("2.", "1."): value for name, value in model.state_dict().items()})
    after = squared_error(reference, batch)

    pairs = zip(gradients, model.parameters(), old, strict=True)
    predicted = sum(float((gradient * (now.detach() - was)).sum()) for gradient, now, was in pairs)
    assert [loss.item() for loss in losses] == [pytest.approx(before.item()), pytest.approx(after.item())]
    assert written.of("raftmon/rho") == [pytest.approx((after - before).item() / predicted, rel=1e-4)]


class Dicing(torch.optim.SGD):
    """An optimiser that draws random numbers, as those do that round at random."""

    def step(self, closure: None = None) -> None:
        """Move nothing."""
        torch.rand(1)


def test_what_stays_random_is_the_same_in_both_evaluations() -> None:
    model = nn.Linear(6, 1)
    losses = []

    def loss_of() -> Tensor:
        losses.append((torch.rand(1) * model(torch.ones(1, 6))).sum())
        return losses[-1]

    loss_of().backward()
    probe = Probe(model, Dicing(model.parameters(), lr=0.1), None, every=1)
    probe.step(loss_of)
    probe.step(loss_of)

    _, *measured = [loss.item() for loss in losses]
    assert measured[0] == measured[1] != measured[2] == measured[3]


def scaled(written: Written | None, every: int, broken: int | None) -> tuple[Tensor, float]:
    """Train under autocast with a scaler; at the step `broken` the gradients overflow."""
    model = made(lambda: nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 1), nn.Flatten(0)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    probe = Probe(model, optimizer, written, every=every, scaler=scaler)
    for number, batch in enumerate(batches(5)):
        optimizer.zero_grad()
        scaler.scale(half(model, batch)).backward()
        if number == broken:
            model[0].weight.grad.fill_(torch.inf)
        probe.clip(1.0)
        probe.step(partial(half, model, batch))
        scaler.update()
    return torch.cat([weight.detach().flatten() for weight in model.parameters()]), scaler.get_scale()


def test_under_autocast_with_a_scaler_the_training_is_the_same_and_a_skipped_step_says_nothing() -> None:
    written = Written()
    (plain, scale), (probed, probed_scale) = scaled(None, 0, broken=2), scaled(written, 1, broken=2)

    assert torch.equal(plain, probed)
    assert scale == probed_scale == 512.0
    steps = [step for tag, _, step in written.points if tag == "raftmon/update_ratio"]
    assert steps == [1, 2, 4, 5]
    assert all(0.0 < norm < 100.0 for norm in written.of("train/grad_norm") if norm != torch.inf)
    assert written.of("raftmon/clipped")[2] == 1.0
    assert written.of("raftmon/rho") == [pytest.approx(1.0, abs=0.2)] * 4


@pytest.mark.skipif(not torch.distributed.is_available(), reason="a torch without torch.distributed")
def test_ranks_are_probed_without_waiting_for_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.probe_ranks", str(tmp_path / "at"), "0,0", "1,1", "1,0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    first, second = ([line.split() for line in (tmp_path / f"at.{rank}").read_text().splitlines()] for rank in range(2))

    weights = {words[0] for words in first + second}
    assert len(weights) == 1, "the ranks agree, probed or not, or one alone"
    # All state: batch statistics since the last broadcast, and random numbers, are each rank's own.
    assert [len({words[1] for words in rank}) for rank in (first, second)] == [1, 1]
    # Gradient norm, clipped and learning rate of six steps, then the probes' values; the first rank alone writes.
    plain, probed, one_alone = (int(words[2]) for words in first)
    assert plain == 18 < 24 <= probed == one_alone
    assert [int(words[2]) for words in second] == [0, 0, 0]


def test_a_trainer_that_steps_by_itself_is_probed_from_its_callbacks(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra trainers")
    pytest.importorskip("accelerate", reason="needs the extra trainers")
    base: Any = transformers.TrainerCallback
    rows = torch.randint(32, (32, 6), generator=torch.Generator().manual_seed(1))
    data = [{"input_ids": row, "labels": row} for row in rows]

    class Probing(base):
        def __init__(self, writer: Written) -> None:
            self.writer = writer

        def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            self.model, steps = named["model"], state.max_steps
            self.probe = Probe(self.model, named["optimizer"], self.writer, steps=steps, norm_tag=None)
            self.model.register_forward_pre_hook(self.remember, with_kwargs=True)

        def remember(self, _: nn.Module, __: Any, inputs: dict[str, Any]) -> None:
            self.inputs = inputs

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            inputs = self.inputs
            self.around = self.probe.around(lambda: self.model(**inputs).loss)
            self.around.__enter__()

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            self.around.__exit__(None, None, None)

    def trained(callbacks: list[Any]) -> Tensor:
        config = transformers.GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2)
        model = made(lambda: transformers.GPT2LMHeadModel(config))
        arguments = transformers.TrainingArguments(
            str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=8,
            learning_rate=1e-2, report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=True,
            logging_strategy="no",
        )  # fmt: skip
        transformers.Trainer(model, arguments, train_dataset=data, callbacks=callbacks).train()
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    written = Written()
    assert torch.equal(trained([]), trained([Probing(written)]))
    assert [step for tag, _, step in written.points if tag == "raftmon/update_ratio"] == list(range(1, 9))
    assert all(0.0 < value < 1.1 for value in written.of("raftmon/rho"))
    assert len(written.of("raftmon/rho")) >= 6


class FullyShardedDataParallel(nn.Linear):
    """Is called as torch's is."""


def test_weights_that_no_rank_has_all_of_are_refused() -> None:
    model = FullyShardedDataParallel(2, 2)
    with pytest.raises(RaftmonError, match="DistributedDataParallel, or on one device"):
        Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), None)
