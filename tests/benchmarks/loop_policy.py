"""The model of the closed loop: a small character transformer that samples with a cache, with or without LoRA."""

# mypy: allow-subclassing-any, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.campaign_tasks import Task

__all__ = ["Policy", "base_policy"]

ALPHABET: Final = "\n0123456789+-=,()abcdefghi"
"""Characters of prompts and completions; the first one ends a completion."""
WIDTH: Final = 64
LAYERS: Final = 2
HEADS: Final = 4
CONTEXT: Final = 32
"""Longest text in characters: prompt, completion and its end."""
PRETRAINING_STEPS: Final = 2500
PRETRAINING_BATCH: Final = 64
PRETRAINING_LEARNING_RATE: Final = 3e-3
ADAPTED: Final = ("project_in", "project_out", "feed_in", "feed_out")
"""Layers of a block that LoRA adapts."""

Pair = tuple[str, str]
"""Prompt and completion."""


class Linear(nn.Module):
    """A linear layer that may have a LoRA adapter: y = x W + b + (alpha / rank) x A B."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.weight, std=inputs**-0.5)
        self.down: Tensor | None = None
        self.up: Tensor | None = None
        self.scale = 0.0

    def adapt(self, rank: int, alpha: float) -> None:
        """Freeze the layer and give it an adapter that changes nothing yet."""
        self.weight.requires_grad_(False)
        self.bias.requires_grad_(False)
        outputs, inputs = self.weight.shape
        self.down = nn.Parameter(torch.randn(rank, inputs) * inputs**-0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.scale = alpha / rank

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        result = functional.linear(inputs, self.weight, self.bias)
        if self.down is None or self.up is None:
            return result
        return result + self.scale * functional.linear(functional.linear(inputs, self.down), self.up)


class Block(nn.Module):
    """One pre-norm transformer layer with causal attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project_in, self.project_out = Linear(WIDTH, 3 * WIDTH), Linear(WIDTH, WIDTH)
        self.feed_in, self.feed_out = Linear(WIDTH, 4 * WIDTH), Linear(4 * WIDTH, WIDTH)

    def forward(self, hidden: Tensor, cache: Tensor, begin: int) -> Tensor:
        """Map (batch, length, width) to the same shape.

        Args:
            hidden: the characters from position `begin` on.
            cache: keys and values (2, batch, heads, CONTEXT, width / heads) of all positions, filled in here; empty
                where nothing follows.
            begin: position of the first character; all before it are in the cache.
        """
        batch, length, _ = hidden.shape
        mixed = self.project_in(self.attention_norm(hidden)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        if cache.numel():
            cache[0, :, :, begin : begin + length], cache[1, :, :, begin : begin + length] = key, value
            key, value = cache[:, :, :, : begin + length]
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=begin == 0)
        hidden = hidden + self.project_out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return hidden + self.feed_out(functional.gelu(self.feed_in(self.feed_norm(hidden))))


class Policy(nn.Module):
    """A character transformer of some 100 thousand parameters.

    Args:
        rank: of the LoRA adapters; 0: every weight is trained.
    """

    def __init__(self, rank: int = 0) -> None:
        super().__init__()
        self.characters, self.positions = nn.Embedding(len(ALPHABET), WIDTH), nn.Embedding(CONTEXT, WIDTH)
        nn.init.normal_(self.characters.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), Linear(WIDTH, len(ALPHABET))
        if rank:
            self.requires_grad_(False)
            for block in self.blocks:
                for name in ADAPTED:
                    getattr(block, name).adapt(rank, 2.0 * rank)

    def forward(self, characters: Tensor, cache: Sequence[Tensor] = (), begin: int = 0) -> Tensor:
        """Map character numbers (batch, length) to logits (batch, length, alphabet)."""
        length = characters.shape[1]
        hidden = self.characters(characters) + self.positions(torch.arange(begin, begin + length))
        for place, block in enumerate(self.blocks):
            hidden = block(hidden, cache[place] if cache else torch.empty(0), begin)
        return self.head(self.norm(hidden))

    def scores(self, pairs: Sequence[Pair], temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Score completions.

        Returns:
            Log-probabilities of each next character (batch, length, alphabet), the characters (batch, length), and
            which of them belong to a completion or end it (batch, length).
        """
        texts = [f"{prompt}{completion}\n" for prompt, completion in pairs]
        width = max(map(len, texts))
        characters = torch.tensor([_encode(text.ljust(width, ALPHABET[0])) for text in texts])
        position = torch.arange(width - 1)
        begins = torch.tensor([len(prompt) - 1 for prompt, _ in pairs])[:, None]
        ends = torch.tensor([len(text) - 1 for text in texts])[:, None]
        logits = self(characters[:, :-1]) / temperature
        return functional.log_softmax(logits, dim=-1), characters[:, 1:], (position >= begins) & (position < ends)

    def loss(self, pairs: Sequence[Pair]) -> Tensor:
        """Return the mean cross-entropy in nats per character of the completions."""
        scores, characters, counts = self.scores(pairs)
        return functional.nll_loss(scores[counts], characters[counts])

    def sums(self, pairs: Sequence[Pair], temperature: float) -> tuple[Tensor, Tensor]:
        """Return each pair's negative log-likelihood at a temperature and its characters, both of shape (batch,)."""
        scores, characters, counts = self.scores(pairs, temperature)
        chosen = scores.gather(-1, characters[..., None])[..., 0]
        return -(chosen * counts).sum(-1), counts.sum(-1)

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], temperature: float, longest: int) -> list[Pair]:
        """Write one completion for each prompt (all of one length)."""
        batch, width = len(prompts), len(prompts[0])
        cache = [torch.zeros(2, batch, HEADS, CONTEXT, WIDTH // HEADS) for _ in range(LAYERS)]
        logits = self(torch.tensor([_encode(prompt) for prompt in prompts]), cache)[:, -1]
        ended, written = torch.zeros(batch, dtype=torch.bool), []
        for place in range(longest):
            # Gumbel's trick: a draw from the softmax in one pass.
            noise = -torch.log(-torch.log(torch.rand(logits.shape).clamp_(1e-9, 1 - 1e-7)))
            following = (logits / temperature + noise).argmax(-1).masked_fill(ended, 0)
            written.append(following)
            ended |= following == 0
            if ended.all():
                break
            logits = self(following[:, None], cache, width + place)[:, -1]
        rows = torch.stack(written, dim=1).tolist()
        texts = ("".join(ALPHABET[number] for number in row).split("\n")[0] for row in rows)
        return list(zip(prompts, texts, strict=True))


def base_policy(task: Task, path: Path, steps: int = PRETRAINING_STEPS) -> Path:
    """Teach a policy a task, mistakes included, and save it; returns where. One that is there already is kept."""
    if path.is_file():
        return path
    rng = random.Random(task.name)
    torch.manual_seed(zlib.crc32(task.name.encode()))
    policy = Policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=PRETRAINING_LEARNING_RATE)
    for step in range(steps):
        warm, left = min(1.0, (step + 1) / (0.1 * steps)), 0.5 * (1.0 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = PRETRAINING_LEARNING_RATE * warm * left
        optimizer.zero_grad()
        policy.loss([task.example(rng) for _ in range(PRETRAINING_BATCH)]).backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(policy.state_dict(), path)
    return path


def _encode(text: str) -> list[int]:
    return [ALPHABET.index(character) for character in text]
