"""A real RAFT campaign in miniature: sample, verify, filter, fine-tune, again.

A character transformer is pre-trained on noisy arithmetic, then fine-tuned cycle after cycle on those of its own
completions which the verifier accepted. Every cycle draws prompts that it has not seen, so the verification rate
measures what the policy can do, not what it remembers. Directories, tags and texts are those which a RAFT trainer on
top of Hugging Face's Trainer leaves behind:

::

    cycle_N_verified.jsonl     every sample of cycle N, judged before cycle N trains
    cycle_N/logs/events.out... its training
    cycle_N_heldout.jsonl      held-out prompts, sampled after its training

``python -m raftmon.demo.train OUT`` trains one campaign. This is the only module of raftmon that imports torch.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftmon.demo.arithmetic import ALPHABET, LONGEST_COMPLETION, PROMPTS, example, judge
from raftmon.errors import RaftmonError

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError as error:
    what, remedy = f"training needs {error.name}, which is not installed", 'pip install "raftmon[torch]"'
    missing = RaftmonError("raftmon.demo.train", what, remedy)
    if __name__ == "__main__":
        sys.exit(str(missing))
    raise missing from error

__all__ = ["train_campaign"]

PRETRAINING_STEPS: Final = 3000
PRETRAINING_BATCH: Final = 64
PRETRAINING_LEARNING_RATE: Final = 3e-3
PRETRAINING_NOISE: Final = 0.5
"""Share of spoilt completions in the pre-training data: the base policy solves about four prompts in ten."""

PROMPTS_PER_CYCLE: Final = 16
SAMPLES_PER_PROMPT: Final = 64
KEPT: Final = 288
"""Accepted samples that a cycle trains on, at most."""

BATCH: Final = 14
MAX_GRAD_NORM: Final = 1.0
HELD_OUT_PROMPTS: Final = 64
SAMPLES_PER_HELD_OUT_PROMPT: Final = 14

WIDTH: Final = 64
LAYERS: Final = 2
HEADS: Final = 4
CONTEXT: Final = 24
"""Longest text in characters: prompt, completion and its end."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion and what the verifier thinks of it."""

    prompt: str
    completion: str
    reward: float

    @property
    def success(self) -> bool:
        """Whether the verifier accepts it."""
        return self.reward == 1.0


class Block(nn.Module):
    """One pre-norm transformer layer with causal attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project_in, self.project_out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, length, width) to the same shape."""
        batch, length, _ = hidden.shape
        mixed = self.project_in(self.attention_norm(hidden)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.project_out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return hidden + self.feed(self.feed_norm(hidden))


class Policy(nn.Module):
    """A character transformer of some 100 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.characters, self.positions = nn.Embedding(len(ALPHABET), WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(ALPHABET))

    def forward(self, characters: Tensor) -> Tensor:
        """Map character numbers (batch, length) to logits (batch, length, alphabet)."""
        hidden = self.characters(characters) + self.positions(torch.arange(characters.shape[1]))
        return self.head(self.norm(self.blocks(hidden)))

    def loss(self, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, float]:
        """Return the mean cross-entropy and the mean entropy, in nats per character of the completions."""
        texts = [f"{prompt}{completion}\n" for prompt, completion in pairs]
        width = max(map(len, texts))
        characters = torch.tensor([_encode(text.ljust(width, ALPHABET[0])) for text in texts])
        # The prediction at position i is of character i + 1: the first one that counts is made at the prompt's end.
        position = torch.arange(width - 1)
        begins = torch.tensor([len(prompt) - 1 for prompt, _ in pairs])[:, None]
        ends = torch.tensor([len(text) - 1 for text in texts])[:, None]
        counts = (position >= begins) & (position < ends)
        log_probabilities = functional.log_softmax(self(characters[:, :-1])[counts], dim=-1)
        loss = functional.nll_loss(log_probabilities, characters[:, 1:][counts])
        entropy = -(log_probabilities.exp() * log_probabilities).sum(-1).mean()
        return loss, entropy.item()

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], temperature: float) -> list[Sample]:
        """Write one completion for each prompt (all of one length) and have it judged."""
        characters = torch.tensor([_encode(prompt) for prompt in prompts])
        ended = torch.zeros(len(prompts), dtype=torch.bool)
        for _ in range(LONGEST_COMPLETION):
            probabilities = torch.softmax(self(characters)[:, -1] / temperature, dim=-1)
            following = torch.multinomial(probabilities, 1)[:, 0].masked_fill(ended, 0)
            ended |= following == 0
            characters = torch.cat([characters, following[:, None]], dim=1)
        texts = ("".join(ALPHABET[number] for number in row) for row in characters.tolist())
        completions = (text[len(prompt) :].split("\n")[0] for text, prompt in zip(texts, prompts, strict=True))
        return [Sample(prompt, text, judge(prompt, text)) for prompt, text in zip(prompts, completions, strict=True)]


def train_campaign(
    out: Path, *, cycles: int, learning_rate: float, temperature: float, seed: int, report: Callable[[str], None]
) -> None:
    """Pre-train a policy and run a whole RAFT campaign with it.

    Args:
        out: directory of the campaign; made if it is missing.
        cycles: how many cycles to run.
        learning_rate: peak learning rate of every cycle (AdamW, linear decay to 0, fresh optimiser each cycle).
        temperature: of sampling, for training and held-out prompts alike.
        seed: decides everything: two campaigns with the same seed on the same machine are equal.
        report: is given one line of progress after the pre-training and after each cycle.

    Raises:
        RaftmonError: `out` already holds a campaign.
    """
    if next(out.glob("cycle_*"), None) is not None:
        raise RaftmonError(str(out), "there is a campaign already", "Name a new or an empty directory.")
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    started = time.monotonic()
    policy = _pretrain(rng)
    report(f"pre-trained in {time.monotonic() - started:.0f} s")
    pool = rng.sample(PROMPTS, len(PROMPTS))
    held_out, pool = pool[:HELD_OUT_PROMPTS], pool[HELD_OUT_PROMPTS:]
    for cycle in range(1, cycles + 1):
        fresh = [pool[(cycle * PROMPTS_PER_CYCLE + i) % len(pool)] for i in range(PROMPTS_PER_CYCLE)]
        samples = policy.sample(_repeat(fresh, SAMPLES_PER_PROMPT), temperature)
        _write_samples(out / f"cycle_{cycle}_verified.jsonl", samples)
        accepted = [(sample.prompt, sample.completion) for sample in samples if sample.success]
        kept = rng.sample(accepted, min(KEPT, len(accepted)))
        _fine_tune(policy, kept, learning_rate, temperature, out / f"cycle_{cycle}" / "logs")
        judged = policy.sample(_repeat(held_out, SAMPLES_PER_HELD_OUT_PROMPT), temperature)
        _write_samples(out / f"cycle_{cycle}_heldout.jsonl", judged)
        report(f"cycle {cycle}: {_rate(samples):.3f} verified, {len(kept)} kept, then {_rate(judged):.3f} held out")


def _pretrain(rng: random.Random) -> Policy:
    policy = Policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=PRETRAINING_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PRETRAINING_LEARNING_RATE, total_steps=PRETRAINING_STEPS, pct_start=0.1
    )
    for _ in range(PRETRAINING_STEPS):
        loss, _ = policy.loss([example(rng, PRETRAINING_NOISE) for _ in range(PRETRAINING_BATCH)])
        _step(policy, optimizer, loss)
        schedule.step()
    return policy


def _fine_tune(
    policy: Policy, pairs: Sequence[tuple[str, str]], learning_rate: float, temperature: float, logs: Path
) -> None:
    """Train one epoch and log it as Hugging Face's Trainer does with ``logging_steps=1``."""
    batches = [pairs[at : at + BATCH] for at in range(0, len(pairs), BATCH)]
    arguments = {
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "max_steps": len(batches),
        "num_train_epochs": 1,
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": 1,
        "max_grad_norm": MAX_GRAD_NORM,
        "optim": "adamw_torch",
        "logging_steps": 1,
        "temperature": temperature,
    }
    optimizer = torch.optim.AdamW(policy.parameters(), lr=learning_rate, weight_decay=0.0)
    started, losses = time.monotonic(), []
    with SummaryWriter(str(logs)) as writer:
        writer.add_text("args", json.dumps(arguments, indent=2))
        for step, batch in enumerate(batches, start=1):
            rate = learning_rate * (1 - (step - 1) / len(batches))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, entropy = policy.loss(batch)
            grad_norm = _step(policy, optimizer, loss)
            losses.append(loss.item())
            logged = {"loss": losses[-1], "grad_norm": grad_norm, "learning_rate": rate, "entropy": entropy}
            _log(writer, logged | {"epoch": step / len(batches)}, step)
        seconds = time.monotonic() - started
        closing = {"train_runtime": seconds, "train_steps_per_second": len(batches) / seconds}
        if losses:
            _log(writer, closing | {"train_loss": sum(losses) / len(losses), "epoch": 1.0}, len(batches))


def _step(policy: Policy, optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """Take one optimiser step and return the gradient norm before clipping."""
    optimizer.zero_grad()
    loss.backward()
    grad_norm = nn.utils.clip_grad_norm_(policy.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return float(grad_norm)


def _log(writer: SummaryWriter, values: dict[str, float], step: int) -> None:
    for name, value in values.items():
        writer.add_scalar(f"train/{name}", value, step)
    writer.flush()


def _write_samples(path: Path, samples: Sequence[Sample]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            line = {
                "prompt": sample.prompt,
                "completion": sample.completion,
                "reward": sample.reward,
                "success": sample.success,
            }
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _encode(text: str) -> list[int]:
    return [ALPHABET.index(character) for character in text]


def _repeat(prompts: Sequence[str], times: int) -> list[str]:
    return [prompt for prompt in prompts for _ in range(times)]


def _rate(samples: Sequence[Sample]) -> float:
    return sum(sample.success for sample in samples) / len(samples)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``python -m raftmon.demo.train`` and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m raftmon.demo.train", description="Train a toy RAFT campaign.")
    parser.add_argument("out", type=Path, help="directory of the campaign")
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1.2e-3)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    try:
        train_campaign(
            asked.out,
            cycles=asked.cycles,
            learning_rate=asked.learning_rate,
            temperature=asked.temperature,
            seed=asked.seed,
            report=lambda line: print(line, flush=True),
        )
    except RaftmonError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
