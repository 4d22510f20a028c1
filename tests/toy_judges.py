"""The learning problems that verdicts are judged on and nothing is chosen on: model, data and losses; needs torch."""

# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.toy_rows import ROWS, on_rows
from tests.toy_tasks import BATCH, CLASSES, Task

SYMBOLS: Final = 12
"""Ten digits, plus, equals."""
SUM_LENGTH: Final = 9
"""Of ``dd+dd=ddd``."""


class Adder(nn.Module):
    """A two-layer causal transformer over the symbols of a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols, self.places = nn.Embedding(SYMBOLS, 48), nn.Embedding(SUM_LENGTH, 48)
        layer = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(48, SYMBOLS)

    def forward(self, symbols: Tensor) -> Tensor:
        """Map (batch, length) to logits (batch, length, symbols)."""
        length = symbols.shape[1]
        hidden = self.symbols(symbols) + self.places(torch.arange(length))
        return self.head(self.layers(hidden, mask=nn.Transformer.generate_square_subsequent_mask(length)))


def addition(seed: int) -> Task:
    """A language model of sums of two numbers of two digits."""
    data = torch.Generator().manual_seed(0)
    numbers = torch.randint(100, (ROWS, 2), generator=data)
    total = numbers.sum(1)
    digits = [numbers[:, 0] // 10, numbers[:, 0] % 10, torch.full((ROWS,), 10), numbers[:, 1] // 10, numbers[:, 1] % 10]
    digits += [torch.full((ROWS,), 11), total // 100, total // 10 % 10, total % 10]
    texts = torch.stack(digits, dim=1)

    def criterion(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return on_rows(Adder(), texts[:, :-1], texts[:, 1:], criterion, seed, BATCH)


def bag(seed: int) -> Task:
    """Topics of short texts: a mean of word vectors, and words that are mostly noise."""
    data = torch.Generator().manual_seed(0)
    topics = torch.randint(CLASSES, (ROWS,), generator=data)
    typical = torch.randint(1000, (CLASSES, 30), generator=data)
    words = torch.randint(1000, (ROWS, 20), generator=data)
    drawn = typical[topics[:, None], torch.randint(30, (ROWS, 20), generator=data)]
    words = torch.where(torch.rand(ROWS, 20, generator=data) < 0.15, drawn, words)
    model = nn.Sequential(nn.EmbeddingBag(1000, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    return on_rows(model, words, topics, functional.cross_entropy, seed, BATCH)


def denoising(seed: int) -> Task:
    """Which noise was added to a point of a spiral, at many strengths: the loss of a diffusion model."""
    data = torch.Generator().manual_seed(0)
    turn = 3 * torch.pi * torch.rand(2 * ROWS, generator=data)
    points = torch.stack([turn * turn.cos(), turn * turn.sin()], dim=1) / 5
    strength = torch.rand(2 * ROWS, 1, generator=data)
    noise = torch.randn(2 * ROWS, 2, generator=data)
    seen = torch.cat([(1 - strength**2).sqrt() * points + strength * noise, strength], dim=1)
    model = nn.Sequential(nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2))
    return on_rows(model, seen, noise, functional.mse_loss, seed, 128)


class SetModel(nn.Module):
    """A function of a set: the mean of what each member is mapped to."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 48), nn.ReLU(), nn.Linear(48, 48))
        self.together = nn.Sequential(nn.ReLU(), nn.Linear(48, 1))

    def forward(self, sets: Tensor) -> Tensor:
        """Map (batch, members, 3) to (batch, 1)."""
        return self.together(self.each(sets).mean(1))


def sets(seed: int) -> Task:
    """The spread of a set of points, with outliers among the answers."""
    data = torch.Generator().manual_seed(0)
    members = torch.randn(ROWS, 12, 3, generator=data) * torch.rand(ROWS, 1, 1, generator=data) * 2
    answers = members.var(1).sum(1, keepdim=True) + 0.1 * torch.randn(ROWS, 1, generator=data)
    spoilt = torch.rand(ROWS, 1, generator=data) < 0.03
    answers = torch.where(spoilt, answers + 20, answers)
    return on_rows(SetModel(), members, answers, functional.smooth_l1_loss, seed, BATCH)


class Reader(nn.Module):
    """An LSTM that answers once it has read everything."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, signals: Tensor) -> Tensor:
        """Map (batch, length, 3) to logits (batch, 4)."""
        return self.head(self.lstm(signals)[0][:, -1])


def memory(seed: int) -> Task:
    """Which of four marks came first in a noisy signal."""
    data = torch.Generator().manual_seed(0)
    marks = torch.randint(4, (ROWS,), generator=data)
    signals = 0.3 * torch.randn(ROWS, 15, 3, generator=data)
    signals[torch.arange(ROWS), torch.randint(4, (ROWS,), generator=data), 0] += 2.0
    signals[:, 0:4, 1] += (marks[:, None] % 2) * 1.0
    signals[:, 0:4, 2] += (marks[:, None] // 2) * 1.0
    return on_rows(Reader(), signals, marks, functional.cross_entropy, seed, BATCH)


def distillation(seed: int) -> Task:
    """A small student of a large random teacher: soft targets, a loss with a floor of its own."""
    data = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, 16, generator=data)
    hidden = torch.tanh(inputs @ torch.randn(16, 200, generator=data) / 2)
    targets = torch.softmax(hidden @ torch.randn(200, CLASSES, generator=data) / 4, dim=1)
    model = nn.Sequential(nn.Linear(16, 40), nn.GELU(), nn.Linear(40, CLASSES))
    return on_rows(model, inputs, targets, functional.cross_entropy, seed, BATCH)
