"""Another learning rate for an optimiser and its schedule; one decision for all processes of a training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

torch = pytest.importorskip("torch", reason="optimisers and schedules are torch's")

from raftmon.torch.rates import decided_by_the_first, set_rate  # noqa: E402

schedulers = torch.optim.lr_scheduler
STEPS: Final = 12
MADE: Final[dict[str, Callable[[Any], Any]]] = {
    "none": lambda _: None,
    "linear with warm-up": lambda o: schedulers.LambdaLR(o, lambda s: min(s / 4, (STEPS - s) / (STEPS - 4))),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 4),
    "steps": lambda o: schedulers.StepLR(o, 3, 0.5),
    "exponential": lambda o: schedulers.ExponentialLR(o, 0.8),
    "plateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=1),
    "in sequence": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, total_iters=4), schedulers.CosineAnnealingLR(o, STEPS - 4)], [4]
    ),
    "chained": lambda o: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.5, 3), schedulers.ExponentialLR(o, 0.9)], o
    ),
    "one cycle": lambda o: schedulers.OneCycleLR(o, [g["lr"] for g in o.param_groups], total_steps=STEPS + 1),
}


FLOORED: Final[dict[str, Callable[[Any, float], Any]]] = {
    "cosine": lambda o, floor: schedulers.CosineAnnealingLR(o, STEPS, eta_min=floor),
    "restarts": lambda o, floor: schedulers.CosineAnnealingWarmRestarts(o, 4, eta_min=floor),
    "plateau": lambda o, floor: schedulers.ReduceLROnPlateau(o, patience=0, factor=0.1, min_lr=floor, eps=0.0),
    "plateau by group": lambda o, floor: schedulers.ReduceLROnPlateau(
        o, patience=0, factor=0.1, min_lr=[floor, floor / 10], eps=0.0
    ),
    "in sequence": lambda o, floor: schedulers.SequentialLR(
        o,
        [
            schedulers.LinearLR(o, 0.1, total_iters=4),
            schedulers.CosineAnnealingLR(o, STEPS - 4, eta_min=floor),
        ],
        [4],
    ),
}


def made(name: str, rate: float, optimizer_class: Any) -> tuple[Any, Any]:
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": weights[:1], "lr": rate}, {"params": weights[1:], "lr": rate / 10}]
    optimizer = optimizer_class(groups, lr=rate)
    return optimizer, MADE[name](optimizer)


def followed(optimizer: Any, scheduler: Any) -> list[tuple[float, ...]]:
    rates = []
    for step in range(STEPS):
        rates.append(tuple(float(group["lr"]) for group in optimizer.param_groups))
        optimizer.step()
        if isinstance(scheduler, schedulers.ReduceLROnPlateau):
            scheduler.step(1.0 + step)
        elif scheduler is not None:
            scheduler.step()
    return rates


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.AdamW])
def test_it_is_as_if_made_with_that_rate(name: str, optimizer_class: Any) -> None:
    optimizer, scheduler = made(name, 3e-3, optimizer_class)
    set_rate(optimizer, scheduler, 4e-5)
    found, meant = followed(optimizer, scheduler), followed(*made(name, 4e-5, optimizer_class))
    assert [first for first, _ in found] == pytest.approx([first for first, _ in meant], rel=1e-9)
    assert [second for _, second in found] == pytest.approx([second for _, second in meant], rel=1e-9)


@pytest.mark.parametrize("name", FLOORED)
@pytest.mark.parametrize("tensor", [False, True], ids=["numbers", "tensors"])
def test_a_floor_is_lowered_with_the_rate(name: str, tensor: bool) -> None:
    def begun(rate: float, floor: float) -> tuple[Any, Any]:
        weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
        rates = [torch.tensor(r, dtype=torch.float64) if tensor else r for r in (rate, rate / 2)]
        optimizer = torch.optim.SGD([{"params": [w], "lr": r} for w, r in zip(weights, rates, strict=True)])
        return optimizer, FLOORED[name](optimizer, floor)

    optimizer, scheduler = begun(1e-3, 1e-5)
    held = optimizer.param_groups[0]["lr"]
    set_rate(optimizer, scheduler, 1e-6)
    found = followed(optimizer, scheduler)

    assert (optimizer.param_groups[0]["lr"] is held) == tensor
    assert max(first for first, _ in found) == pytest.approx(1e-6)
    for both, meant in zip(found, followed(*begun(1e-6, 1e-8)), strict=True):
        assert both == pytest.approx(meant, rel=1e-9)


def test_a_floor_of_zero_stays_under_a_rate_that_began_at_zero() -> None:
    optimizer, _ = made("none", 0.0, torch.optim.SGD)
    plateau = schedulers.ReduceLROnPlateau(optimizer, patience=0, factor=0.1)
    set_rate(optimizer, plateau, 1e-3)
    assert plateau.min_lrs == [0, 0]
    assert followed(optimizer, plateau)[-1][0] < 1e-5


@pytest.mark.parametrize("name", MADE)
def test_the_same_rate_changes_nothing(name: str) -> None:
    optimizer, scheduler = made(name, 3e-3, torch.optim.SGD)
    set_rate(optimizer, scheduler, 3e-3)
    assert followed(optimizer, scheduler) == followed(*made(name, 3e-3, torch.optim.SGD))


def test_a_rate_of_zero_and_a_rate_that_is_a_tensor() -> None:
    optimizer, _ = made("none", 0.0, torch.optim.SGD)
    set_rate(optimizer, None, 1e-3)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-3]
    held = torch.tensor(0.5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=held)
    set_rate(optimizer, None, 0.25)
    assert optimizer.param_groups[0]["lr"] is held
    assert held.item() == 0.25


PROCESS: Final = """
import sys
from torch import distributed
from raftmon.errors import RaftmonError, UsageError
from raftmon.torch.rates import decided_by_the_first
rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
print(decided_by_the_first(lambda: f"decided by {rank}"))
def fails():
    raise UsageError("here", "what", "remedy")
try:
    decided_by_the_first(fails)
except RaftmonError as error:
    print(repr(str(error)), error.remedy)
distributed.destroy_process_group()
"""


def test_two_processes_train_at_one_rate_and_fail_together(tmp_path: Path) -> None:
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in (0, 1)
    ]
    for process in both:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert out.splitlines() == ["decided by 0", "'here: what\\n  remedy' remedy"]


def test_one_process_decides_for_itself() -> None:
    assert decided_by_the_first(lambda: 3) == 3
