"""Models that hold everything that a probe may disturb, a training of them, and a writer that remembers."""

# mypy: allow-subclassing-any

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from raftmon.torch import Probe
from raftmon.torch.writing import Writer

__all__ = ["Everything", "Recomputed", "Written", "batches", "half", "made", "squared_error", "train"]


class Written:
    """A SummaryWriter that remembers."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Remember one value."""
        self.points.append((tag, value, step))

    def of(self, tag: str) -> list[float]:
        """Return the values of a tag."""
        return [value for name, value, _ in self.points if name == tag]


class Recomputed(nn.Module):
    """A layer with a dropout of its own that is computed anew in the backward pass, as Hugging Face's are."""

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = True
        self.inner = nn.Linear(8, 8)

    def forward(self, hidden: Tensor) -> Tensor:
        """Keep the shape."""
        if self.gradient_checkpointing and self.training:
            hidden = checkpoint(self.inner, hidden, use_reentrant=False)
        else:
            hidden = self.inner(hidden)
        return functional.dropout(hidden, 0.1, self.training)


class Everything(nn.Module):
    """Dropout in all its forms, running statistics, power iterations, a buffer that is exchanged, tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 8))
        self.norm = nn.BatchNorm1d(8)
        self.frozen_norm = nn.BatchNorm1d(8).eval()
        self.recurrent = nn.LSTM(8, 8, num_layers=2, dropout=0.3, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)
        self.recomputed = Recomputed()
        self.dropout = nn.Dropout(0.2)
        self.tied, self.unused = nn.Linear(8, 8, bias=False), nn.Linear(3, 3)
        self.untied = nn.Linear(8, 8, bias=False)
        self.untied.weight = self.tied.weight
        self.head = nn.Linear(8, 1)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(8))
        self.train()
        self.frozen_norm.eval()

    def forward(self, rows: Tensor) -> Tensor:
        """Map (rows, 6) to (rows,)."""
        hidden = self.dropout(self.frozen_norm(self.norm(self.inputs(rows))))
        self.seen = 0.9 * self.seen + hidden.detach().mean(0)
        sequence, _ = self.recurrent(hidden[:, None].expand(-1, 3, -1))
        mixed, _ = self.attention(sequence, sequence, sequence, need_weights=False)
        hidden = self.recomputed(mixed[:, -1])
        hidden = torch.tanh(self.untied(torch.tanh(self.tied(hidden))))
        return self.head(functional.alpha_dropout(hidden, 0.1, self.training))[:, 0]


def batches(count: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Return batches of 8 rows and targets."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(8, 6, generator=generator) for _ in range(count)]
    return [(one, one.sum(1).sin()) for one in rows]


def squared_error(model: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean squared error of a batch."""
    return functional.mse_loss(model(batch[0]), batch[1])


def half(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean squared error of a batch in half precision, where torch thinks it right."""
    with torch.autocast("cpu", torch.bfloat16):
        return functional.mse_loss(model(batch[0]).float(), batch[1])


def made(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a model whose weights are always the same."""
    torch.manual_seed(1)
    return build()


def train(
    model: nn.Module,
    writer: Writer | None,
    every: int,
    *,
    steps: int = 6,
    micro_batches: int = 1,
    seed: int = 0,
    **named: Any,
) -> Tensor:
    """Train with AdamW; returns all weights and buffers, and a random number, in one vector.

    Args:
        model: on the CPU.
        writer: for the probe.
        every: steps between probes; 0: none.
        steps: to take.
        micro_batches: whose gradients make one step.
        seed: of the data.
        named: for the probe.
    """
    torch.manual_seed(3)
    random.seed(3)
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2, weight_decay=0.1)
    probe = Probe(model, optimizer, writer, every=every, **named)
    data = batches(steps * micro_batches, seed)
    for begin in range(0, len(data), micro_batches):
        optimizer.zero_grad()
        for batch in data[begin : begin + micro_batches]:
            (squared_error(model, batch) / micro_batches).backward()
        probe.clip(1.0)
        probe.step(partial(squared_error, model, data[begin]))
    state = [tensor.detach().double().flatten() for tensor in model.state_dict().values()]
    return torch.cat([*state, torch.rand(1, dtype=torch.float64)])
