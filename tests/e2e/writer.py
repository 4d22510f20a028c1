"""A real training that logs through torch's own SummaryWriter, as a process of its own.

usage: python -m tests.e2e.writer DIRECTORY LEARNING_RATE STEPS SECONDS
"""

from __future__ import annotations

import sys
import time

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter


def train(directory: str, learning_rate: float, steps: int, seconds: float) -> None:
    """Fit a small network to noisy data, at most `steps` steps spread over `seconds`, and log each of them."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    target = torch.randn(20, 1)
    with SummaryWriter(directory) as writer:
        for step in range(1, steps + 1):
            inputs = torch.randn(32, 20)
            loss = nn.functional.mse_loss(model(inputs), inputs @ target + 0.1 * torch.randn(32, 1))
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            writer.add_scalar("train/grad_norm", norm.item(), step)
            writer.add_scalar("train/learning_rate", learning_rate, step)
            time.sleep(seconds / steps)


if __name__ == "__main__":
    train(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
