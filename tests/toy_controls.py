"""Trainings in which a curve looks alarming and the learning rate is not the reason; needs torch.

Each gives tag to (step, value) pairs. ``python -m tests.toy_controls`` records them in ``tests/controls``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn
from torch.nn import functional

from tests.record_runs import BEGAN, scalars
from tests.toy_tasks import BATCH, mlp

Columns = dict[str, list[tuple[int, float]]]
STEPS: Final = 600


def gan(seed: int) -> Columns:
    """A small GAN that reaches its equilibrium: the discriminator's loss stays at ln 2 and says nothing."""
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    judge = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizers = [torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.99)) for model in (generator, judge)]
    columns: Columns = {"train/loss": [], "train/loss_G": []}

    def real_or_fake(points: torch.Tensor, label: float) -> torch.Tensor:
        logits = judge(points)
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    for step in range(1, STEPS + 1):
        angle = 2 * math.pi * torch.rand(BATCH, generator=order)
        real = torch.stack([angle.cos(), angle.sin()], dim=1) + 0.2 * torch.randn(BATCH, 2, generator=order)
        fake = generator(torch.randn(BATCH, 4, generator=order))
        judged = (real_or_fake(real, 1.0) + real_or_fake(fake.detach(), 0.0)) / 2
        optimizers[1].zero_grad()
        judged.backward()
        optimizers[1].step()
        made = real_or_fake(fake, 1.0)
        optimizers[0].zero_grad()
        made.backward()
        optimizers[0].step()
        columns["train/loss"].append((step, judged.item()))
        columns["train/loss_G"].append((step, made.item()))
    return columns


def value_loss(seed: int) -> Columns:
    """An actor-critic that learns to keep going: returns grow, and the critic's loss with them."""
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    policy, critic = nn.Linear(8, 2), nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    right = torch.randn(8, generator=order)
    optimizer = torch.optim.Adam([*policy.parameters(), *critic.parameters()], lr=1e-2)
    tags = ("rollout/ep_rew_mean", "train/value_loss", "train/policy_gradient_loss", "train/entropy_loss")
    columns: Columns = {tag: [] for tag in tags}
    for step in range(1, 301):
        states = torch.randn(32, 40, 8, generator=order)
        chosen = torch.distributions.Categorical(logits=policy(states))
        actions = chosen.sample()
        good = actions == (states @ right > 0).long()
        # An episode ends at the first wrong action; a right one is worth 1.
        alive = torch.cumprod(good.float(), dim=1)
        returns = alive.flip(1).cumsum(1).flip(1)
        begun = torch.cat([torch.ones(32, 1), alive[:, :-1]], dim=1)
        values = critic(states)[..., 0]
        judged = ((values - returns).square() * begun).sum() / begun.sum()
        gains = (returns - values).detach()
        wanted = -(chosen.log_prob(actions) * gains * begun).sum() / begun.sum()
        entropy = (chosen.entropy() * begun).sum() / begun.sum()
        optimizer.zero_grad()
        (wanted + 0.5 * judged - 0.01 * entropy).backward()
        optimizer.step()
        figures = (float(alive.sum(1).mean()), judged.item(), wanted.item(), -entropy.item())
        for tag, value in zip(tags, figures, strict=True):
            columns[tag].append((step, value))
    return columns


def curriculum(seed: int) -> Columns:
    """A perceptron whose data become harder at step 300: the loss jumps and falls again."""
    return _perceptron(seed, lambda step: {"scale": 1.0 if step <= 300 else 0.3})


def skipped(seed: int) -> Columns:
    """Mixed precision that finds its loss scale: the first twelve steps are skipped, at a logged rate of 0."""
    return _perceptron(seed, lambda _: {}, skipped_steps=12)


def _perceptron(seed: int, faults: Callable[[int], dict[str, float]], skipped_steps: int = 0) -> Columns:
    torch.manual_seed(seed)
    task = mlp(seed)
    optimizer = torch.optim.Adam(task.parameters, lr=1e-3)
    columns: Columns = {"train/loss": [], "train/grad_norm": [], "train/learning_rate": [], "eval/loss": []}
    for step in range(1, STEPS + 1):
        loss = task.loss(**faults(step))
        optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(task.parameters, math.inf))
        moves = step > skipped_steps
        if moves:
            optimizer.step()
        columns["train/loss"].append((step, loss.item()))
        columns["train/grad_norm"].append((step, norm if moves else math.inf))
        columns["train/learning_rate"].append((step, 1e-3 if moves else 0.0))
        if step % 50 == 0:
            columns["eval/loss"].append((step, task.evaluate()))
    return columns


CONTROLS: Final = {"gan": gan, "value-loss": value_loss, "curriculum": curriculum, "skipped-steps": skipped}


def record(out: Path) -> None:
    """Write one event file for each control, equal byte by byte every time."""
    torch.set_num_threads(1)
    for name, train in CONTROLS.items():
        directory = out / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        rows = sorted((step, tag, value) for tag, points in train(1).items() for step, value in points)
        with (directory / f"events.out.tfevents.{BEGAN:.0f}.toy.1.0").open("wb") as file:
            writer = RecordWriter(file)
            writer.write(event_pb2.Event(file_version="brain.Event:2", wall_time=BEGAN).SerializeToString())
            for step, tag, value in rows:
                prefix, name_of_value = tag.rsplit("/", 1)
                for event in scalars(step, {name_of_value: value}, prefix=prefix):
                    writer.write(event.SerializeToString())


if __name__ == "__main__":
    record(Path(__file__).parent / "controls")
