"""More small learning problems for `tests.train_sweeps`, on rows of numbers: model, data and losses; needs torch."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.toy_tasks import BATCH, CLASSES, Task

ROWS: Final = 5000
TOKENS: Final = 11
TOKEN_COUNT: Final = 6


def regression(seed: int) -> Task:
    """A perceptron that fits a smooth function of eight values, with noise."""
    data = torch.Generator().manual_seed(0)
    inputs = torch.rand(5000, 8, generator=data) * 2 - 1
    waves = torch.sin(2 * inputs @ torch.randn(8, 6, generator=data))
    targets = waves @ torch.randn(6, 1, generator=data) + 0.3 * torch.randn(5000, 1, generator=data)
    model = nn.Sequential(nn.Linear(8, 96), nn.Tanh(), nn.Linear(96, 96), nn.Tanh(), nn.Linear(96, 1))
    return _on_rows(model, inputs, targets, functional.mse_loss, seed, BATCH)


class Factors(nn.Module):
    """Logit of a pair: the product of two embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.things = nn.Embedding(400, 8), nn.Embedding(300, 8)
        for table in (self.users, self.things):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        """Map pairs (batch, 2) to logits (batch)."""
        return (self.users(pairs[:, 0]) * self.things(pairs[:, 1])).sum(1)


def factors(seed: int) -> Task:
    """Which of 400 users likes which of 300 things: two tables of factors, trained on noisy yes and no."""
    data = torch.Generator().manual_seed(0)
    rows = [torch.randint(count, (40000,), generator=data) for count in (400, 300)]
    users, things = torch.randn(400, 3, generator=data), torch.randn(300, 3, generator=data)
    logits = 2.0 * (users[rows[0]] * things[rows[1]]).sum(1)
    liked = (torch.rand(40000, generator=data) < torch.sigmoid(logits)).float()
    criterion = functional.binary_cross_entropy_with_logits
    return _on_rows(Factors(), torch.stack(rows, dim=1), liked, criterion, seed, 256)


def linear(seed: int) -> Task:
    """Softmax regression: a convex problem, with classes that overlap."""
    data = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, 40, generator=data) * torch.logspace(-1, 0.5, 40)
    logits = inputs @ torch.randn(40, CLASSES, generator=data) / 3
    targets = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=data)[:, 0]
    return _on_rows(nn.Linear(40, CLASSES), inputs, targets, functional.cross_entropy, seed, BATCH)


class Residual(nn.Module):
    """One pre-norm block of a deep network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return inputs + self.inner(inputs)


def deep(seed: int) -> Task:
    """A residual network of eight blocks; the class is decided by products of inputs."""
    data = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, 12, generator=data)
    scores = (inputs @ torch.randn(12, 16, generator=data)) * (inputs @ torch.randn(12, 16, generator=data))
    targets = (scores @ torch.randn(16, CLASSES, generator=data)).argmax(1)
    blocks = [Residual(48) for _ in range(8)]
    model = nn.Sequential(nn.Linear(12, 48), *blocks, nn.LayerNorm(48), nn.Linear(48, CLASSES))
    return _on_rows(model, inputs, targets, functional.cross_entropy, seed, BATCH)


class Variational(nn.Module):
    """A variational autoencoder; its output is its own loss per row (negative evidence bound)."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 12))
        self.decode = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 40))
        self.noise = torch.Generator().manual_seed(3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, 40) to (batch)."""
        mean, log_variance = self.encode(inputs).chunk(2, dim=1)
        # The same noise at every call, so that the loss of a batch can be had twice.
        noise = torch.randn(mean.shape, generator=self.noise.manual_seed(3))
        rebuilt = self.decode(mean + noise * (0.5 * log_variance).exp())
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)
        return 5.0 * (rebuilt - inputs).square().sum(1) + divergence


def variational(seed: int) -> Task:
    """A variational autoencoder of forty values that are made from five."""
    data = torch.Generator().manual_seed(0)
    inputs = torch.sin(torch.randn(ROWS, 5, generator=data) @ torch.randn(5, 40, generator=data))
    inputs += 0.2 * torch.randn(ROWS, 40, generator=data)
    return _on_rows(Variational(), inputs, inputs, lambda losses, _: losses.mean(), seed, BATCH)


class Twins(nn.Module):
    """Two views of each row to their similarities with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(24, 96), nn.ReLU(), nn.Linear(96, 16))

    def forward(self, views: Tensor) -> Tensor:
        """Map (batch, 48) to (batch, batch)."""
        first, second = (functional.normalize(self.encode(view), dim=1) for view in views.chunk(2, dim=1))
        return first @ second.T / 0.2


def contrastive(seed: int) -> Task:
    """Which of 64 rows is the other noisy view of this one (InfoNCE)?"""
    data = torch.Generator().manual_seed(0)
    rows = torch.tanh(torch.randn(ROWS, 6, generator=data) @ torch.randn(6, 24, generator=data))
    noisy = [rows + 0.5 * torch.randn(ROWS, 24, generator=data) for _ in range(2)]

    def criterion(similarities: Tensor, _: Tensor) -> Tensor:
        # Held-out rows come all at once: the task must stay the choice among 64.
        return torch.stack(
            [
                functional.cross_entropy(block[:, at : at + BATCH], torch.arange(len(block)))
                for at in range(0, len(similarities) - BATCH + 1, BATCH)
                for block in [similarities[at : at + BATCH]]
            ]
        ).mean()

    return _on_rows(Twins(), torch.cat(noisy, dim=1), rows, criterion, seed, BATCH)


class Counter(nn.Module):
    """A one-layer attention model that reads tokens and answers once."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, 48), nn.Embedding(TOKEN_COUNT, 48)
        self.layer = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(48, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, TOKEN_COUNT) to logits (batch, TOKENS)."""
        hidden = self.tokens(tokens) + self.places(torch.arange(TOKEN_COUNT))
        return self.head(self.layer(hidden).mean(1))


def sequence(seed: int) -> Task:
    """The largest of six tokens, more often than not: an attention model on a task with steps in its curve."""
    data = torch.Generator().manual_seed(0)
    tokens = torch.randint(TOKENS, (ROWS, TOKEN_COUNT), generator=data)
    chosen = torch.where(torch.rand(ROWS, generator=data) < 0.8, tokens.max(1).values, tokens[:, 0])
    return _on_rows(Counter(), tokens, chosen, functional.cross_entropy, seed, BATCH)


def _on_rows(
    model: nn.Module, inputs: Tensor, targets: Tensor, criterion: Callable[..., Tensor], seed: int, batch: int
) -> Task:
    """A task on rows, the last fifth of which is held out."""
    order = torch.Generator().manual_seed(seed)
    held_out = len(inputs) * 4 // 5

    def loss() -> Tensor:
        chosen = torch.randint(held_out, (batch,), generator=order)
        return criterion(model(inputs[chosen]), targets[chosen])

    def evaluate() -> float:
        with torch.no_grad():
            return float(criterion(model(inputs[held_out:]), targets[held_out:]))

    return Task(list(model.parameters()), loss, evaluate, order)
