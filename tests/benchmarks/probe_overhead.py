"""What does a Probe cost: in steps of training, and in memory?

A transformer of ten million parameters is trained with AdamW on one thread: plain steps, steps that the probe takes
without measuring, and steps that it measures, in turn. From their medians follows the cost at any number of steps
between two probes. Memory is the peak of a process whose steps are measured, against one whose steps are not.

usage: python -m tests.benchmarks.probe_overhead [--rounds N] [--device cuda]

Ends with 1 where a probe at the default rate costs more than 2 % of the training.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from raftmon.torch import Probe
from raftmon.torch.probe import EVERY, PROBES

TARGET: Final = 0.02
WIDTH: Final = 384
LAYERS: Final = 5
HEADS: Final = 6
VOCABULARY: Final = 2048
LENGTH: Final = 64
BATCH: Final = 4
CYCLE: Final = 16
"""Optimiser steps of a short RAFT cycle."""


IDLE: Final = 100
"""Updates with a probe that does nothing, and as many without one: the difference is small."""


@dataclass(frozen=True)
class Case:
    """One kind of training."""

    name: str
    micro_batches: int = 1
    rank: int = 0
    """Of low-rank adapters in every linear layer, all else being frozen; 0: everything is trained."""


CASES: Final = (
    Case("all weights"),
    Case("all weights, 4 micro-batches", micro_batches=4),
    Case("LoRA of rank 8", rank=8),
    Case("LoRA of rank 8, 16 micro-batches", micro_batches=16, rank=8),
)


class Adapter(nn.Module):
    """A frozen linear layer with a low-rank addition."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map as the frozen layer does, and add."""
        return self.base(hidden) + self.up(self.down(hidden))


class Layer(nn.Module):
    """A pre-norm transformer layer with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project_in, self.project_out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, length, width) to the same shape."""
        batch, length, _ = hidden.shape
        mixed = self.project_in(self.attention_norm(hidden)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        attended = attended.transpose(1, 2).reshape(batch, length, WIDTH)
        hidden = hidden + self.dropout(self.project_out(attended))
        return hidden + self.dropout(self.narrow(functional.gelu(self.widen(self.feed_norm(hidden)))))


class Model(nn.Module):
    """A causal transformer."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        if rank:
            self.requires_grad_(False)
            for layer in self.layers:
                layer.widen, layer.narrow = Adapter(layer.widen, rank), Adapter(layer.narrow, rank)

    def loss(self, tokens: Tensor) -> Tensor:
        """Return the mean cross-entropy of the next token; tokens of shape (batch, `LENGTH` + 1)."""
        hidden = self.tokens(tokens[:, :-1]) + self.places.weight
        logits = self.head(self.layers(hidden))
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


class Training:
    """A model in training, with and without probes."""

    def __init__(self, case: Case, device: str) -> None:
        torch.manual_seed(1)
        self.case, self.device = case, device
        self.model = Model(case.rank).to(device)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4)
        self.idle, self.busy = (Probe(self.model, self.optimizer, _silent, every=every) for every in (0, 1))

    def step(self, probe: Probe | None) -> tuple[float, float]:
        """Take a step.

        Returns:
            Seconds of the whole step, and of what comes after the gradients: CPU time, or on a GPU time on the wall.
        """
        data = torch.randint(VOCABULARY, (self.case.micro_batches, BATCH, LENGTH + 1), device=self.device)
        began = self._now()
        self.optimizer.zero_grad()
        for batch in data:
            (self.model.loss(batch) / self.case.micro_batches).backward()
        gradients = self._now() - began
        after = self.update(probe, data[0])
        return gradients + after, after

    def update(self, probe: Probe | None, batch: Tensor) -> float:
        """Clip the gradients that there are and move the weights; returns the seconds."""
        began = self._now()
        if probe is None:
            # A trainer logs the norm, too.
            float(nn.utils.clip_grad_norm_(self.weights, 1.0))
            self.optimizer.step()
        else:
            probe.clip(1.0)
            probe.step(partial(self.model.loss, batch))
        return self._now() - began

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def _silent(values: Mapping[str, float], step: int) -> None:
    """Write nothing."""


def costs(case: Case, device: str, rounds: int) -> tuple[float, float, float]:
    """Return seconds of a plain step, and what an idle probe and a measurement add to it, in such steps."""
    training = Training(case, device)
    whole: list[float] = []
    plain: list[float] = []
    busy: list[float] = []
    for number in range(rounds + 1):
        for probe in (None, training.busy) if number % 2 else (training.busy, None):
            seconds, after = training.step(probe)
            if number > 0:
                (plain if probe is None else busy).append(after)
                whole += [seconds] if probe is None else []
    step = statistics.median(whole)
    nothing = torch.empty(0)
    idle = [(training.update(training.idle, nothing), training.update(None, nothing)) for _ in range(IDLE)]
    # Differences within a round: what slows the machine for a while slows both.
    measuring = statistics.median(a - b for a, b in zip(busy, plain, strict=True))
    return step, statistics.median(a - b for a, b in idle) / step, measuring / step


def peak_memory(case: Case, device: str, probed: bool) -> int:
    """Return the peak memory in bytes of this process when it has trained some steps."""
    training = Training(case, device)
    for _ in range(4):
        training.step(training.busy if probed else training.idle)
    if device == "cpu":
        # Not what getrusage tells, which knows the parent's, too.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return int(torch.cuda.max_memory_allocated())


def extra_memory(case: Case, device: str) -> float:
    """Return by how many megabytes the peak grows when steps are measured."""
    peaks = []
    for probed in (False, True):
        command = [sys.executable, "-m", "tests.benchmarks.probe_overhead", "--device", device, "--peak"]
        command += [str(CASES.index(case)), str(int(probed))]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return (peaks[1] - peaks[0]) / 1e6


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=int, nargs=2, metavar=("CASE", "PROBED"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.peak is not None:
        print(peak_memory(CASES[asked.peak[0]], asked.device, bool(asked.peak[1])))
        return 0
    print(
        f"| | trained weights | plain step | a probe, in steps | every {EVERY} steps | {PROBES} in {CYCLE} steps "
        "| a step between | memory |\n|---|---|---|---|---|---|---|---|"
    )
    worst = 0.0
    for case in CASES:
        plain, idle, busy = costs(case, asked.device, asked.rounds)
        trained = sum(weight.numel() for weight in Training(case, "cpu").weights)
        default = (busy + (EVERY - 1) * idle) / EVERY
        short = (PROBES * busy + (CYCLE - PROBES) * idle) / CYCLE
        worst = max(worst, default)
        print(
            f"| {case.name} | {trained / 1e6:.2f} M | {plain * 1e3:.0f} ms | {busy:.2f} | {default:+.2%} "
            f"| {short:+.0%} | {idle:+.2%} | {extra_memory(case, asked.device):+.0f} MB |",
            flush=True,
        )
    print(f"\nWorst at the default: {worst:.2%} (target {TARGET:.0%})")
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())
