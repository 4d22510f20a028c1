"""Small real learning problems for `tests.record_runs` and `tests.train_sweeps`: model, data, losses; needs torch.

Those on rows of numbers that only the sweeps train are in `tests.toy_rows`.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import functools
import inspect
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from raftmon.demo.train import WIDTH, Block

BATCH: Final = 64
CLASSES: Final = 10
CHARACTERS: Final = string.printable[:95] + "\n"
TEXT_BATCH: Final = 16
TEXT_LENGTH: Final = 64
EVAL_BATCHES: Final = 4
LORA_RANK: Final = 8
LORA_ALPHA: Final = 16
PRETRAINING_STEPS: Final = 400


@dataclass(frozen=True)
class Task:
    """A model, its data, and what is minimised."""

    parameters: Sequence[Tensor]
    """What is trained."""
    loss: Callable[..., Tensor]
    """Draws a batch and gives its loss; a classifier's takes the faults ``scale``, ``shuffle`` and ``unfused``."""
    evaluate: Callable[[], float]
    """Mean loss on data that is never trained on."""
    order: torch.Generator
    """Draws the batches: with its state put back, `loss` is that of the same batch again."""


def mlp(seed: int) -> Task:
    """A multi-layer perceptron that learns the classes which a random network gives to random points."""
    inputs, targets = _random_network()
    return _classifier(_perceptron(), inputs, targets, seed)


def _random_network() -> tuple[Tensor, Tensor]:
    """Random points (5000, 32) and the classes that a random network gives them."""
    data = torch.Generator().manual_seed(0)
    inputs = torch.randn(5000, 32, generator=data)
    hidden = torch.tanh(inputs @ torch.randn(32, 48, generator=data) / 4)
    return inputs, (hidden @ torch.randn(48, CLASSES, generator=data)).argmax(1)


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, CLASSES))


def conv(seed: int) -> Task:
    """A convolutional network that tells ten noisy, shifted 8 x 8 patterns apart."""
    data = torch.Generator().manual_seed(0)
    patterns = torch.randn(CLASSES, 8, 8, generator=data)
    targets = torch.randint(CLASSES, (5000,), generator=data)
    shifts = torch.randint(8, (5000,), generator=data).tolist()
    rows = zip(targets.tolist(), shifts, strict=True)
    shifted = torch.stack([patterns[target].roll(shift, 1) for target, shift in rows])
    inputs = (shifted + 1.2 * torch.randn(5000, 8, 8, generator=data))[:, None]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, CLASSES),
    )  # fmt: skip
    return _classifier(model, inputs, targets, seed)


def autoencoder(seed: int) -> Task:
    """An autoencoder of 64 values that are made from 6."""
    data = torch.Generator().manual_seed(0)
    inputs = torch.tanh(torch.randn(5000, 6, generator=data) @ torch.randn(6, 64, generator=data))
    inputs += 0.05 * torch.randn(5000, 64, generator=data)
    model = nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8), nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 64)
    )
    order = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        batch = inputs[torch.randint(4000, (BATCH,), generator=order)]
        return functional.mse_loss(model(batch), batch)

    def evaluate() -> float:
        with torch.no_grad():
            return float(functional.mse_loss(model(inputs[4000:]), inputs[4000:]))

    return Task(list(model.parameters()), loss, evaluate, order)


def noisy_mlp(seed: int) -> Task:
    """The perceptron of `mlp` where six labels of ten are drawn at random: no loss can come near 0."""
    inputs, targets = _random_network()
    data = torch.Generator().manual_seed(1)
    spoilt = torch.rand(5000, generator=data) < 0.6
    drawn = torch.randint(CLASSES, (5000,), generator=data)
    return _classifier(_perceptron(), inputs, torch.where(spoilt, drawn, targets), seed)


def _classifier(model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Task:
    order = torch.Generator().manual_seed(seed)

    def loss(*, scale: float = 1.0, shuffle: bool = False, unfused: bool = False) -> Tensor:
        chosen = torch.randint(4000, (BATCH,), generator=order)
        wanted = targets[chosen]
        logits = model(inputs[chosen] * scale)
        if shuffle:
            wanted = wanted.roll(1)
        if unfused:
            return -torch.log(torch.softmax(logits, dim=1)[torch.arange(BATCH), wanted]).mean()
        return functional.cross_entropy(logits, wanted)

    def evaluate() -> float:
        with torch.no_grad():
            return float(functional.cross_entropy(model(inputs[4000:]), targets[4000:]))

    return Task(list(model.parameters()), loss, evaluate, order)


class CharTransformer(nn.Module):
    """A character language model of two transformer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.characters, self.positions = nn.Embedding(len(CHARACTERS), WIDTH), nn.Embedding(TEXT_LENGTH, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(CHARACTERS))

    def forward(self, characters: Tensor) -> Tensor:
        """Map (batch, length) to logits (batch, length, characters)."""
        hidden = self.characters(characters) + self.positions(torch.arange(characters.shape[1]))
        return self.head(self.norm(self.blocks(hidden)))


class CharGru(nn.Module):
    """A character language model of one recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.characters, self.gru = nn.Embedding(len(CHARACTERS), 48), nn.GRU(48, 96, batch_first=True)
        self.head = nn.Linear(96, len(CHARACTERS))

    def forward(self, characters: Tensor) -> Tensor:
        """Map (batch, length) to logits (batch, length, characters)."""
        return self.head(self.gru(self.characters(characters))[0])


class LowRank(nn.Module):
    """A frozen linear layer with a trained low-rank correction (LoRA)."""

    def __init__(self, frozen: nn.Linear, *, zeros: bool, rank: int) -> None:
        super().__init__()
        self.frozen, self.scale = frozen, LORA_ALPHA / rank
        self.down = nn.Parameter(torch.randn(rank, frozen.in_features) / frozen.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank))
        if zeros:
            nn.init.zeros_(self.down)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return self.frozen(inputs) + inputs @ self.down.T @ self.up.T * self.scale


def char_transformer(seed: int, characters: int | None = None) -> Task:
    """A character transformer from scratch on the reference texts of Python's ``help()``; `characters` cuts them."""
    return _language_model(CharTransformer(), _reference(), seed, characters)


def char_gru(seed: int) -> Task:
    """A recurrent character model from scratch on source code of the standard library."""
    return _language_model(CharGru(), _source(), seed)


def char_finetune(seed: int, characters: int | None = None) -> Task:
    """All weights of a model of reference texts, on source code; `characters` cuts the text."""
    model = CharTransformer()
    model.load_state_dict(_pretrained())
    torch.manual_seed(seed)
    return _language_model(model, _source(), seed, characters)


def char_lora(seed: int, *, zeros: bool = False, rank: int = LORA_RANK) -> Task:
    """LoRA on source code, for a model of reference texts; `zeros` starts both factors at 0, so nothing can move."""
    model = CharTransformer()
    model.load_state_dict(_pretrained())
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for block in model.blocks:
        block.project_in, block.project_out = (
            LowRank(layer, zeros=zeros, rank=rank) for layer in (block.project_in, block.project_out)
        )
        block.feed[0], block.feed[2] = (LowRank(block.feed[place], zeros=zeros, rank=rank) for place in (0, 2))
    return _language_model(model, _source(), seed)


def _language_model(model: nn.Module, text: Tensor, seed: int, characters: int | None = None) -> Task:
    held_out = len(text) * 9 // 10
    order = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(0)
    places = torch.randint(held_out, len(text) - TEXT_LENGTH - 1, (TEXT_BATCH * EVAL_BATCHES,), generator=fixed)

    def nats(begins: Tensor) -> Tensor:
        pieces = text[begins[:, None] + torch.arange(TEXT_LENGTH + 1)]
        return functional.cross_entropy(model(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())

    def loss() -> Tensor:
        last = (characters or held_out) - TEXT_LENGTH - 1
        return nats(torch.randint(last, (TEXT_BATCH,), generator=order))

    def evaluate() -> float:
        with torch.no_grad():
            return float(nats(places))

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Task(trained, loss, evaluate, order)


@functools.cache
def _pretrained() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = CharTransformer()
    task = _language_model(model, _reference(), 0)
    optimizer = torch.optim.AdamW(task.parameters, lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=PRETRAINING_STEPS)
    for _ in range(PRETRAINING_STEPS):
        optimizer.zero_grad()
        task.loss().backward()
        optimizer.step()
        schedule.step()
    weights: dict[str, Tensor] = model.state_dict()
    return weights


@functools.cache
def _reference() -> Tensor:
    from pydoc_data import topics

    return _encode("\n".join(topics.topics[name] for name in sorted(topics.topics)))


@functools.cache
def _source() -> Tensor:
    import argparse
    import collections
    import email.message
    import typing

    return _encode("\n".join(inspect.getsource(module) for module in (argparse, collections, email.message, typing)))


def _encode(text: str) -> Tensor:
    numbers = {character: number for number, character in enumerate(CHARACTERS)}
    return torch.tensor([numbers[character] for character in text if character in numbers])
