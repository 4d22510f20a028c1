"""Train every setting of `SETTINGS` at learning rates from 1/100 to 100 times its best one, and store the curves.

Run by hand, with torch: ``python -m tests.train_sweeps [SETTING...]``. The grid is in half decades and grows until the
best learning rate (median of the seeds' final held-out losses) has four steps of it on either side. What is stored for
each run is what a trainer would log at every step (loss, gradient norm before clipping) and now and then (held-out
loss; what a step on its own batch gained and what its gradient had promised; size of the update over the weights).
One compressed file a setting goes to ``tests/sweeps``; `tests.benchmarks.sweeps` reads them.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from tests import toy_rows, toy_tasks
from tests.record_runs import Recipe, optimizer_of, rate_at
from tests.toy_tasks import Task

SWEEPS: Final = Path(__file__).parent / "sweeps"
SIDE: Final = 4
"""Half decades of the grid on either side of the best learning rate."""
EVALUATIONS: Final = 20
PROBE_EVERY: Final = 5
SEEDS: Final = (1, 2)
DIGITS: Final = 11
"""Bits of the mantissa that are stored: a rounding of 1/4096, far below the noise of any curve."""


@dataclass(frozen=True)
class Setting:
    """A learning problem with its optimiser and schedule."""

    recipe: Recipe
    steps: int
    guess: int
    """Half decade at which the search for the best learning rate begins: -6 is 1e-3."""

    @property
    def name(self) -> str:
        """Family, optimiser and schedule; unique."""
        return f"{self.recipe.family}-{self.recipe.optimizer}-{self.recipe.scheduler}-{self.steps}"


def setting(
    family: str,
    build: Callable[[int], Task],
    optimizer: str,
    scheduler: str,
    steps: int,
    guess: int,
    *,
    clip: float | None = None,
    warmup: int = 0,
) -> Setting:
    """Put a setting together."""
    recipe = Recipe(family, build, optimizer, scheduler, (0, 0), clip=clip, warmup=warmup, scheduled_steps=steps)
    return Setting(recipe, steps, guess)


_LONG: Final = 2000
"""Steps at which a run logged every 50 steps has 40 points."""
SETTINGS: Final = (
    setting("mlp", toy_tasks.mlp, "adam", "constant", _LONG, -6),
    setting("mlp", toy_tasks.mlp, "sgd", "cosine", 600, -2),
    setting("mlp", toy_tasks.mlp, "rmsprop", "linear", 600, -6),
    setting("mlp", toy_tasks.mlp, "adagrad", "constant", 600, -4),
    setting("noise", toy_tasks.noisy_mlp, "adam", "cosine", _LONG, -6),
    setting("noise", toy_tasks.noisy_mlp, "sgd", "constant", 600, -3),
    setting("conv", toy_tasks.conv, "sgd", "cosine", 400, -3),
    setting("conv", toy_tasks.conv, "adamw", "linear", 400, -5, clip=1.0),
    setting("gru", toy_tasks.char_gru, "adamw", "constant", 300, -4, clip=1.0),
    setting("gru", toy_tasks.char_gru, "rmsprop", "cosine", 200, -5, clip=1.0),
    setting("transformer", toy_tasks.char_transformer, "adamw", "cosine", 300, -5, clip=1.0, warmup=30),
    setting("transformer", toy_tasks.char_transformer, "adamw", "constant", 300, -5, clip=1.0),
    setting("transformer", toy_tasks.char_transformer, "sgd", "linear", 300, -1, clip=1.0),
    setting("finetune", toy_tasks.char_finetune, "adamw", "linear", 200, -6, clip=1.0),
    setting("finetune", toy_tasks.char_finetune, "adamw", "constant", 64, -5, clip=1.0),
    setting(
        "finetune", functools.partial(toy_tasks.char_finetune, characters=4000), "adam", "linear", 150, -7, clip=1.0
    ),
    setting("lora", toy_tasks.char_lora, "adamw", "linear", 200, -4, clip=1.0),
    setting("lora", functools.partial(toy_tasks.char_lora, rank=2), "adamw", "cosine", 150, -4, clip=1.0, warmup=15),
    setting("autoencoder", toy_tasks.autoencoder, "adam", "constant", 1500, -5),
    setting("autoencoder", toy_tasks.autoencoder, "sgd", "cosine", 600, 0),
    setting("regression", toy_rows.regression, "adam", "constant", _LONG, -5),
    setting("regression", toy_rows.regression, "sgd", "linear", 1500, -3),
    setting("regression", toy_rows.regression, "adagrad", "constant", 600, -3),
    setting("factors", toy_rows.factors, "adagrad", "constant", 1500, -1),
    setting("factors", toy_rows.factors, "adam", "linear", 1000, -4),
    setting("linear", toy_rows.linear, "sgd", "constant", 800, -3),
    setting("linear", toy_rows.linear, "adam", "cosine", 1000, -4),
    setting("deep", toy_rows.deep, "adamw", "cosine", 500, -5, clip=1.0, warmup=50),
    setting("deep", toy_rows.deep, "sgd", "linear", 400, -3),
    setting("variational", toy_rows.variational, "adam", "linear", 800, -5),
    setting("variational", toy_rows.variational, "rmsprop", "constant", 500, -6),
    setting("contrastive", toy_rows.contrastive, "adamw", "cosine", 600, -5),
    setting("contrastive", toy_rows.contrastive, "sgd", "constant", 600, -2),
    setting("sequence", toy_rows.sequence, "adamw", "constant", 600, -5, clip=1.0),
    setting("sequence", toy_rows.sequence, "adam", "linear", 500, -5),
)


@dataclass
class Curves:
    """What one training left."""

    initial: float
    """Held-out loss before the first step."""
    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    """At `EVALUATIONS` places, the last one at the end."""
    gained: list[float] = field(default_factory=list)
    """Every `PROBE_EVERY` steps: by how much the step lowered the loss of its own batch."""
    promised: list[float] = field(default_factory=list)
    """At the same steps: gradient times update, what a straight line would have given."""
    update: list[float] = field(default_factory=list)
    """At the same steps: norm of the update over the norm of the weights."""


def train(chosen: Setting, peak: float, seed: int) -> Curves:
    """Train one run."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    recipe = chosen.recipe
    task = recipe.build(seed)
    optimizer = optimizer_of(recipe, task.parameters)
    curves = Curves(task.evaluate())
    places = {round(chosen.steps * (i + 1) / EVALUATIONS) for i in range(EVALUATIONS)}
    for step in range(1, chosen.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe, peak, step)
        batch = task.order.get_state()
        loss = task.loss()
        optimizer.zero_grad()
        loss.backward()
        probed = step % PROBE_EVERY == 1
        before = [(p.detach().clone(), p.grad.detach().clone()) for p in task.parameters] if probed else []
        norm = torch.nn.utils.clip_grad_norm_(task.parameters, recipe.clip or math.inf)
        optimizer.step()
        curves.loss.append(loss.item())
        curves.grad_norm.append(norm.item())
        if probed:
            task.order.set_state(batch)
            _probe(curves, task, loss.item(), before)
        if step in places:
            curves.held_out.append(task.evaluate())
    return curves


def _probe(curves: Curves, task: Task, loss: float, before: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Note what the step gained on its own batch, whose draw is next again."""
    with torch.no_grad():
        updates = [p - old for p, (old, _) in zip(task.parameters, before, strict=True)]
        curves.gained.append(loss - task.loss().item())
        curves.promised.append(-sum(float((g * u).sum()) for u, (_, g) in zip(updates, before, strict=True)))
        moved = math.sqrt(sum(float((u * u).sum()) for u in updates))
        size = math.sqrt(sum(float((old * old).sum()) for old, _ in before))
        curves.update.append(moved / size if size > 0.0 else math.nan)


def peak_at(half_decade: int) -> float:
    """Return the learning rate of a place on the grid, to three digits."""
    return float(f"{10 ** (half_decade / 2):.3g}")


def sweep(chosen: Setting) -> dict[tuple[int, int], Curves]:
    """Train the setting on a grid that reaches `SIDE` half decades beyond the best on both sides.

    Returns:
        (half decade, seed) to what the training left.
    """
    runs: dict[tuple[int, int], Curves] = {}
    best = chosen.guess
    while True:
        for place in range(best - SIDE, best + SIDE + 1):
            for seed in SEEDS:
                if (place, seed) not in runs:
                    runs[place, seed] = train(chosen, peak_at(place), seed)
        found = best_place(runs)
        if found == best:
            return runs
        best = found


def best_place(runs: Mapping[tuple[int, int], Curves]) -> int:
    """Return the half decade with the least median of the final held-out losses."""

    def final(place: int) -> float:
        ends = [curves.held_out[-1] for (at, _), curves in runs.items() if at == place]
        return float(np.median([end if math.isfinite(end) else math.inf for end in ends]))

    return min({place for place, _ in runs}, key=final)


def shortened(values: list[list[float]]) -> NDArray[np.float32]:
    """Round to `DIGITS` bits of mantissa, so that the file packs well; NaN and infinities stay."""
    numbers = np.array(values, dtype=np.float32)
    mantissa, exponent = np.frexp(numbers)
    return np.ldexp(np.round(mantissa * 2**DIGITS) / 2**DIGITS, exponent).astype(np.float32)


def store(chosen: Setting) -> str:
    """Sweep a setting and write its file; returns a line of progress."""
    began = time.monotonic()
    runs = sweep(chosen)
    keys = sorted(runs)
    curves = [runs[key] for key in keys]
    names = ("loss", "grad_norm", "held_out", "gained", "promised", "update")
    arrays: dict[str, Any] = {name: shortened([getattr(c, name) for c in curves]) for name in names}
    recipe = chosen.recipe
    SWEEPS.mkdir(exist_ok=True)
    np.savez_compressed(
        SWEEPS / f"{chosen.name}.npz",
        family=recipe.family,
        optimizer=recipe.optimizer,
        scheduler=recipe.scheduler,
        clip=recipe.clip or 0.0,
        warmup=recipe.warmup,
        peak=[peak_at(place) for place, _ in keys],
        seed=[seed for _, seed in keys],
        initial=[c.initial for c in curves],
        rate=[[rate_at(recipe, peak_at(place), step) for step in range(1, chosen.steps + 1)] for place, _ in keys[:1]],
        **arrays,
    )
    ends = {peak_at(p): float(np.median([runs[p, s].held_out[-1] for s in SEEDS])) for p, _ in keys}
    best = peak_at(best_place(runs))
    return f"{chosen.name}: best {best:g}, {time.monotonic() - began:.0f} s, " + ", ".join(
        f"{peak:.2g}: {end:.4g}" for peak, end in ends.items()
    )


def main() -> None:
    """Train the settings that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="SETTING")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    wanted = [s for s in SETTINGS if not arguments.settings or any(s.name.startswith(w) for w in arguments.settings)]
    with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
        for line in pool.imap_unordered(store, wanted):
            print(line, flush=True)


if __name__ == "__main__":
    main()
