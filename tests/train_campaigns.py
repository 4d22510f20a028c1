"""Makes ``tests/campaigns``: real RAFT campaigns in miniature, with what a monitor could have seen of each cycle.

Run by hand, with torch: ``python -m tests.train_campaigns``; one thread, about ten minutes. A small recurrent policy
is pre-trained once per task on data with mistakes in it. Each campaign then samples, verifies, filters and fine-tunes
for `CYCLES` cycles, always on the same training prompts, as halo-forge does, and is asked held-out prompts after each
cycle. A second, larger sample of the held-out prompts is the truth that no rule sees.
"""

# mypy: allow-subclassing-any, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

import argparse
import collections
import itertools
import random
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from raftmon.runs.diversity import SAMPLED, distinct_ngrams
from tests.campaign_tasks import TASKS, Task
from tests.recorded_campaigns import RECORDED, write_records

ALPHABET: Final = "\n0123456789+-=,()abcdefghi"
"""Characters of prompts and completions; the first one ends a completion."""
WIDTH: Final = 128
PRETRAINING_STEPS: Final = 3000
PRETRAINING_BATCH: Final = 64
PRETRAINING_LEARNING_RATE: Final = 5e-3

CYCLES: Final = 12
TRAINING_PROMPTS: Final = 26
HELD_OUT_PROMPTS: Final = 14
SAMPLES: Final = 32
"""Completions per prompt and cycle, for training and held-out prompts alike."""
TRUTH_SAMPLES: Final = 64
KEPT: Final = 240
"""Accepted samples that a cycle trains on, at most."""
BATCH: Final = 8
MAX_GRAD_NORM: Final = 1.0
DECAY: Final = 0.85
RHO_STEPS: Final = 8

LEARNING_RATES: Final = (1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2)
TEMPERATURES: Final = (0.7, 1.0)
SEEDS: Final = (1, 2, 3)
DEAR: Final = "brackets"
"""The task whose answers are the longest: one seed."""
SCHEDULES: Final = ("constant", "decay")

Pair = tuple[str, str]
"""Prompt and completion."""


@dataclass(frozen=True)
class Setting:
    """What tells one campaign from another."""

    task: str
    learning_rate: float
    """Peak of the first cycle."""
    temperature: float
    schedule: str
    """``constant``, or ``decay``: times `DECAY` per cycle."""
    seed: int


class Policy(nn.Module):
    """A character GRU of some 66 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(ALPHABET), 32)
        self.memory = nn.GRU(32, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, len(ALPHABET))

    def log_probabilities(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor, Tensor]:
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
        hidden, _ = self.memory(self.characters(characters[:, :-1]))
        counts = (position >= begins) & (position < ends)
        return functional.log_softmax(self.head(hidden), dim=-1), characters[:, 1:], counts

    def loss(self, pairs: Sequence[Pair]) -> tuple[Tensor, float]:
        """Return the mean cross-entropy and the mean entropy, in nats per character of the completions."""
        scores, characters, counts = self.log_probabilities(pairs)
        scores = scores[counts]
        entropy = -(scores.exp() * scores).sum(-1).mean()
        return functional.nll_loss(scores, characters[counts]), entropy.item()

    @torch.no_grad()
    def sums(self, pairs: Sequence[Pair], temperature: float) -> tuple[Tensor, Tensor]:
        """Return each pair's negative log-likelihood at a temperature and its characters, both of shape (batch,)."""
        scores, characters, counts = self.log_probabilities(pairs)
        scores = functional.log_softmax(scores / temperature, dim=-1)
        chosen = scores.gather(-1, characters[..., None])[..., 0]
        return -(chosen * counts).sum(-1), counts.sum(-1)

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], temperature: float, longest: int) -> list[Pair]:
        """Write one completion for each prompt (all of one length)."""
        characters = torch.tensor([_encode(prompt) for prompt in prompts])
        hidden, state = self.memory(self.characters(characters))
        last, ended, written = hidden[:, -1], torch.zeros(len(prompts), dtype=torch.bool), []
        for _ in range(longest):
            following = torch.multinomial(torch.softmax(self.head(last) / temperature, dim=-1), 1)[:, 0]
            following = following.masked_fill(ended, 0)
            written.append(following)
            ended |= following == 0
            if ended.all():
                break
            hidden, state = self.memory(self.characters(following[:, None]), state)
            last = hidden[:, -1]
        rows = torch.stack(written, dim=1).tolist()
        texts = ("".join(ALPHABET[number] for number in row).split("\n")[0] for row in rows)
        return list(zip(prompts, texts, strict=True))


def settings() -> Iterator[Setting]:
    """Every campaign to train, one seed of all before the next."""
    for seed, task, schedule, temperature, rate in itertools.product(
        SEEDS, TASKS, SCHEDULES, TEMPERATURES, LEARNING_RATES
    ):
        if task == DEAR and seed != SEEDS[0]:
            continue
        yield Setting(task, rate, temperature, schedule, seed)


def pretrain(task: Task, steps: int = PRETRAINING_STEPS) -> Policy:
    """Teach a policy the task, mistakes included."""
    rng = random.Random(task.name)
    torch.manual_seed(zlib.crc32(task.name.encode()))
    policy = Policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=PRETRAINING_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PRETRAINING_LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    for _ in range(steps):
        loss, _ = policy.loss([task.example(rng) for _ in range(PRETRAINING_BATCH)])
        _step(policy, optimizer, loss)
        schedule.step()
    return policy


def train_campaign(setting: Setting, task: Task, base: Policy) -> dict[str, Any]:
    """Run one campaign; returns its record, see `tests.recorded_campaigns`."""
    torch.manual_seed(setting.seed)
    rng = random.Random(setting.seed)
    policy = Policy()
    policy.load_state_dict(base.state_dict())
    shuffled = rng.sample(task.prompts, len(task.prompts))
    training, held_out = shuffled[:TRAINING_PROMPTS], shuffled[TRAINING_PROMPTS:]

    def ask(prompts: Sequence[str], samples: int) -> list[Pair]:
        repeated = [prompt for prompt in prompts for _ in range(samples)]
        return policy.sample(repeated, setting.temperature, task.longest)

    judged = ask(held_out, SAMPLES)
    cycles = []
    for number in range(CYCLES):
        rate = setting.learning_rate * (DECAY**number if setting.schedule == "decay" else 1.0)
        samples = ask(training, SAMPLES)
        accepted = [pair for pair in samples if task.judge(*pair)]
        kept = rng.sample(accepted, min(KEPT, len(accepted)))
        solved = [pair for pair in judged if task.judge(*pair)]
        heat = setting.temperature
        before, solved_before = policy.sums(judged, heat), policy.sums(solved, heat) if solved else None
        cycle = {"lr": rate, "passed": len(accepted), "kept": len(kept)} | _texts(accepted, rng)
        cycle |= _fine_tune(policy, kept, rate)
        cycle["kl"] = _shift(before, policy.sums(judged, heat))
        cycle["harm"] = _shift(solved_before, policy.sums(solved, heat)) if solved_before else None
        judged = ask(held_out, SAMPLES)
        cycle["held_passed"] = sum(task.judge(*pair) for pair in judged)
        cycle["true_passed"] = sum(task.judge(*pair) for pair in ask(held_out, TRUTH_SAMPLES))
        cycles.append(cycle)
    return {**setting.__dict__, "cycles": cycles}


def _fine_tune(policy: Policy, kept: list[Pair], peak: float) -> dict[str, Any]:
    """Train one epoch with linear decay to 0 and a fresh optimiser; returns the curves and rho."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=peak, weight_decay=0.0)
    batches = [kept[start : start + BATCH] for start in range(0, len(kept), BATCH)]
    probed = {round((place + 0.5) * len(batches) / RHO_STEPS) for place in range(RHO_STEPS)}
    losses, norms, entropies, gained, expected = [], [], [], 0.0, 0.0
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = peak * (1 - step / len(batches))
        loss, entropy = policy.loss(batch)
        weights = [weight.detach().clone() for weight in policy.parameters()] if step in probed else None
        norm, gradient = _step(policy, optimizer, loss, probe=weights is not None)
        if weights is not None:
            moves = [now.detach() - was for now, was in zip(policy.parameters(), weights, strict=True)]
            expected += sum(float((g * move).sum()) for g, move in zip(gradient, moves, strict=True))
            with torch.no_grad():
                gained += policy.loss(batch)[0].item() - loss.item()
        losses.append(loss.item())
        norms.append(norm)
        entropies.append(entropy)
    return {
        "loss": losses,
        "grad_norm": norms,
        "entropy": sum(entropies) / len(entropies) if entropies else None,
        "rho": gained / expected if expected < 0.0 else None,
    }


def _step(
    policy: Policy, optimizer: torch.optim.Optimizer, loss: Tensor, probe: bool = False
) -> tuple[float, list[Tensor]]:
    """Take one optimiser step; returns the gradient norm before clipping and, to a probe, the gradient."""
    optimizer.zero_grad()
    loss.backward()
    gradient = [weight.grad.clone() for weight in policy.parameters() if weight.grad is not None] if probe else []
    norm = nn.utils.clip_grad_norm_(policy.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return float(norm), gradient


def _shift(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return the rise of the negative log-likelihood per character, and its standard error over the samples."""
    rise, characters = after[0] - before[0], before[1].double()
    mean = float(rise.sum() / characters.sum())
    spread = (rise - mean * characters).std() if len(rise) > 1 else torch.tensor(float("nan"))
    return mean, float(spread * len(rise) ** 0.5 / characters.sum())


def _texts(accepted: list[Pair], rng: random.Random) -> dict[str, Any]:
    """Return what the accepted completions look like."""
    counted = collections.Counter(text for _, text in accepted)
    histogram = sorted(collections.Counter(counted.values()).items())
    lengths = [len(text) for _, text in accepted]
    mean = sum(lengths) / len(lengths) if lengths else None
    spread = (sum((length - mean) ** 2 for length in lengths) / len(lengths)) ** 0.5 if mean is not None else None
    sample = [text for _, text in rng.sample(accepted, SAMPLED)] if len(accepted) >= SAMPLED else []
    distinct = distinct_ngrams(sample)
    return {"outputs": histogram, "length": mean, "length_sd": spread, "distinct": distinct}


def _encode(text: str) -> list[int]:
    return [ALPHABET.index(character) for character in text]


def main() -> None:
    """Train all campaigns and write them down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RECORDED)
    parser.add_argument("--only", type=int, help="so many campaigns, for a try")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started, records = time.monotonic(), []
    tasks = {name: make() for name, make in TASKS.items()}
    bases = {name: pretrain(task) for name, task in tasks.items()}
    print(f"pre-trained in {time.monotonic() - started:.0f} s", flush=True)
    for setting in itertools.islice(settings(), asked.only):
        record = train_campaign(setting, tasks[setting.task], bases[setting.task])
        records.append(record)
        rates = " ".join(f"{cycle['true_passed'] / HELD_OUT_PROMPTS / TRUTH_SAMPLES:.2f}" for cycle in record["cycles"])
        print(f"{time.monotonic() - started:4.0f} s {setting} {rates}", flush=True)
    write_records(asked.out, records)


if __name__ == "__main__":
    main()
