"""Makes ``tests/runs``: real trainings whose learning rate is known to be low, right or high.

Run by hand, with torch: ``python -m tests.record_runs``; it takes some eight minutes. For each family a sweep over
half decades finds the best learning rate (median over seeds of the final evaluation loss); then trainings at that
rate times `FACTORS` are recorded as Hugging Face's Trainer logs them, and labelled in ``labels.json``. A few controls
have the right rate and something else that is the matter, or a fault of their own.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor

from tests.toy_tasks import Task, autoencoder, char_gru, char_lora, char_transformer, conv, mlp

RUNS: Final = Path(__file__).parent / "runs"
STEPS: Final = 200
EVAL_EVERY: Final = 20
SEEDS: Final = (1, 2)
FACTORS: Final = {"1-100": 0.01, "1-30": 1 / 30, "1-10": 0.1, "1": 1.0, "10": 10.0, "30": 30.0, "100": 100.0}
"""Name to multiple of the best learning rate."""

NEAR: Final = 3.17
"""A learning rate within this factor of the best one is right."""

REGRET: Final = 0.05
"""So is one that loses at most this share of what the best one gains."""

BEGAN: Final = 1_795_305_600.0
"""Wall time of the first event: two recordings of one training are equal byte by byte."""

SECONDS_PER_STEP: Final = 0.5

Corrupt = Callable[[Task, int], Tensor | None]


@dataclass(frozen=True)
class Recipe:
    """How one run is trained."""

    family: str
    build: Callable[[int], Task]
    """Makes model and data from a seed."""
    optimizer: str
    scheduler: str
    """``constant``, ``linear`` or ``cosine``."""
    grid: tuple[int, int]
    """Learning rates of the sweep, in half decades: (-6, -1) is 1e-3, 3.16e-3 ... 0.316."""
    clip: float | None = None
    warmup: int = 0
    scheduled_steps: int = STEPS
    """Steps after which the schedule is at its end; the run goes on with what it then gives."""
    has_arguments: bool = False
    """Whether the run carries an ``args/text_summary``."""
    corrupt: Corrupt | None = None
    """Gives the loss of a faulty step, or None for a sound one."""
    optimizes_nothing: bool = False
    """Whether the optimiser was given copies of the weights, as after a model was replaced."""


@dataclass
class Outcome:
    """What a training gave."""

    initial_loss: float
    """Evaluation loss before the first step."""
    final_loss: float
    """Evaluation loss after the last one."""
    events: list[Any] = field(default_factory=list)


RECIPES: Final = (
    Recipe("mlp", mlp, "adam", "constant", (-10, -1), has_arguments=True),
    Recipe("charlm", char_transformer, "adamw", "cosine", (-9, -1), clip=1.0, warmup=20, has_arguments=True),
    Recipe("lora", char_lora, "adamw", "linear", (-8, 1), clip=1.0, has_arguments=True),
    Recipe("gru", char_gru, "adamw", "constant", (-8, 0), clip=1.0),
    Recipe("conv", conv, "sgd", "cosine", (-7, 1)),
    Recipe("autoencoder", autoencoder, "adam", "constant", (-9, 0)),
)


def rate_at(recipe: Recipe, peak: float, step: int) -> float:
    """The learning rate of a step, the first of which is number 1."""
    done = step - 1
    if done < recipe.warmup:
        return peak * (done + 1) / recipe.warmup
    left = 1 - (done - recipe.warmup) / max(1, recipe.scheduled_steps - recipe.warmup)
    if recipe.scheduler == "linear":
        return peak * max(0.0, left)
    if recipe.scheduler == "cosine":
        return peak * 0.5 * (1 - math.cos(math.pi * max(0.0, left)))
    return peak


_OPTIMIZERS: Final[dict[str, Callable[..., torch.optim.Optimizer]]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


def optimizer_of(recipe: Recipe, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimiser of a recipe; its learning rate is set at each step."""
    if recipe.optimizes_nothing:
        parameters = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=0.0, momentum=0.9)
    return _OPTIMIZERS[recipe.optimizer](parameters, lr=0.0)


def train(recipe: Recipe, peak: float, seed: int) -> Outcome:
    """Train one run and collect its events."""
    torch.manual_seed(seed)
    task = recipe.build(seed)
    optimizer = optimizer_of(recipe, task.parameters)
    outcome = Outcome(task.evaluate(), math.nan)
    outcome.events.append(event_pb2.Event(file_version="brain.Event:2", wall_time=BEGAN))
    if recipe.has_arguments:
        outcome.events.append(arguments_event(recipe, peak, seed))
    for step in range(1, STEPS + 1):
        rate = rate_at(recipe, peak, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        faulty = recipe.corrupt(task, step) if recipe.corrupt else None
        loss = task.loss() if faulty is None else faulty
        for parameter in task.parameters:
            parameter.grad = None
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(task.parameters, recipe.clip or math.inf).item()
        optimizer.step()
        outcome.events += scalars(step, {"loss": loss.item(), "grad_norm": grad_norm, "learning_rate": rate})
        if step % EVAL_EVERY == 0:
            outcome.final_loss = task.evaluate()
            outcome.events += scalars(step, {"loss": outcome.final_loss}, prefix="eval")
    return outcome


def scalars(step: int, values: dict[str, float], prefix: str = "train") -> list[Any]:
    """One event for each value, as ``SummaryWriter.add_scalar`` makes them."""
    wall_time = BEGAN + step * SECONDS_PER_STEP
    return [
        event_pb2.Event(
            wall_time=wall_time,
            step=step,
            summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=f"{prefix}/{name}", simple_value=value)]),
        )
        for name, value in values.items()
    ]


def arguments_event(recipe: Recipe, peak: float, seed: int) -> Any:
    """The training arguments as Hugging Face's TensorBoardCallback writes them."""
    arguments = {
        "learning_rate": peak,
        "lr_scheduler_type": recipe.scheduler,
        "warmup_steps": recipe.warmup,
        "max_steps": recipe.scheduled_steps,
        "max_grad_norm": recipe.clip or 0.0,
        "optim": f"{recipe.optimizer}_torch",
        "logging_steps": 1,
        "eval_steps": EVAL_EVERY,
        "seed": seed,
    }
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[json.dumps(arguments).encode()])
    tensor.tensor_shape.dim.add(size=1)
    metadata = summary_pb2.SummaryMetadata(plugin_data={"plugin_name": "text"})
    value = summary_pb2.Summary.Value(tag="args/text_summary", tensor=tensor, metadata=metadata)
    return event_pb2.Event(wall_time=BEGAN, summary=summary_pb2.Summary(value=[value]))


def sweep(recipe: Recipe) -> tuple[float, float]:
    """The best learning rate on a grid of half decades, and its median final loss."""
    finals: dict[float, float] = {}
    for half_decade in range(recipe.grid[0], recipe.grid[1] + 1):
        peak = float(f"{10 ** (half_decade / 2):.3g}")
        losses = [train(recipe, peak, seed).final_loss for seed in SEEDS]
        finals[peak] = statistics.median(loss if math.isfinite(loss) else math.inf for loss in losses)
    best = min(finals, key=finals.__getitem__)
    if best in (min(finals), max(finals)):
        raise ValueError(f"{recipe.family}: the best rate {best:g} is at the edge of its grid: {finals}")
    print(recipe.family, {rate: round(loss, 3) for rate, loss in finals.items()}, "best", best, flush=True)
    return best, finals[best]


def label_of(outcome: Outcome, rate: float, best: float, best_loss: float) -> str:
    """``low``, ``ok``, ``high``, or ``diverged`` for a run that ends no better than it began."""
    if not math.isfinite(outcome.final_loss) or (rate > best and outcome.final_loss > outcome.initial_loss):
        return "diverged"
    regret = outcome.final_loss - best_loss
    if max(rate / best, best / rate) < NEAR or regret <= REGRET * (outcome.initial_loss - best_loss):
        return "ok"
    return "low" if rate < best else "high"


def save(out: Path, recipe: Recipe, name: str, outcome: Outcome, **facts: Any) -> dict[str, Any]:
    """Write the event file of a run and return its entry for ``labels.json``."""
    directory = out / recipe.family / name
    directory.mkdir(parents=True)
    with (directory / f"events.out.tfevents.{BEGAN:.0f}.toy.1.0").open("wb") as file:
        writer = RecordWriter(file)
        for event in outcome.events:
            writer.write(event.SerializeToString())
    entry = {
        "family": recipe.family,
        "name": name,
        **facts,
        "final_eval_loss": outcome.final_loss if math.isfinite(outcome.final_loss) else None,
        "init_loss": outcome.initial_loss,
        "max_grad_norm": recipe.clip,
        "optimizer": recipe.optimizer,
        "scheduler": recipe.scheduler,
        "warmup_steps": recipe.warmup,
    }
    print(f"  {recipe.family}/{name}: {facts['label']}, {outcome.initial_loss:.3f} -> {outcome.final_loss:.3f}")
    return entry


def record_family(out: Path, recipe: Recipe) -> tuple[float, list[dict[str, Any]]]:
    """Find the best learning rate of a family and record its runs around it."""
    best, best_loss = sweep(recipe)
    entries = []
    for name, factor in FACTORS.items():
        for seed in SEEDS:
            rate = float(f"{best * factor:.3g}")
            outcome = train(recipe, rate, seed)
            facts = {"learning_rate": rate, "best_learning_rate": best, "factor": factor, "seed": seed}
            label = label_of(outcome, rate, best, best_loss)
            entries.append(save(out, recipe, f"lr-{name}-seed-{seed}", outcome, label=label, control=None, **facts))
    return best, entries


def spoil_labels(task: Task, step: int) -> Tensor | None:
    """One batch of wrong labels and inputs ten times too large."""
    return task.loss(scale=10.0, shuffle=True) if step == 90 else None


def take_log_of_zero(task: Task, step: int) -> Tensor | None:
    """A hand-written cross-entropy, sound until an outlier makes a probability exactly 0."""
    return task.loss(scale=3000.0 if step == 120 else 1.0, unfused=True)


def controls() -> dict[str, tuple[Recipe, float, str]]:
    """Name to recipe, multiple of the family's best learning rate, and label."""
    named = {recipe.family: recipe for recipe in RECIPES}
    charlm, lora, dense = named["charlm"], named["lora"], named["mlp"]
    return {
        "overfit": (replace(charlm, build=lambda seed: char_transformer(seed, characters=1500)), 1.0, "high"),
        "spike": (replace(dense, corrupt=spoil_labels), 1.0, "ok"),
        "log-of-zero": (replace(dense, corrupt=take_log_of_zero), 1.0, "nan"),
        "blow-up": (replace(named["autoencoder"], optimizer="sgd"), 3e4, "nan"),
        "zero-gradient": (replace(lora, build=lambda seed: char_lora(seed, zeros=True)), 1.0, "frozen"),
        "wrong-weights": (replace(lora, optimizes_nothing=True), 1.0, "frozen"),
        "long-warmup": (replace(charlm, warmup=50 * STEPS, scheduled_steps=100 * STEPS), 1.0, "warmup"),
        "schedule-ended": (replace(charlm, scheduled_steps=STEPS // 2), 1.0, "schedule"),
    }


def main() -> int:
    """Record everything anew."""
    torch.set_num_threads(1)
    out = Path(tempfile.mkdtemp(prefix="runs-"))
    best, entries = {}, []
    for recipe in RECIPES:
        best[recipe.family], recorded = record_family(out, recipe)
        entries += recorded
    for name, (recipe, factor, label) in controls().items():
        rate = best[recipe.family] * factor
        facts = {"learning_rate": rate, "best_learning_rate": best[recipe.family], "factor": factor, "seed": 1}
        outcome = train(recipe, rate, 1)
        entries.append(save(out, replace(recipe, family="control"), name, outcome, label=label, control=name, **facts))
    (out / "labels.json").write_text(json.dumps(entries, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    # Only now, so that a failure leaves the old recordings as they are.
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(RUNS / path.name, ignore_errors=True)
        shutil.move(path, RUNS / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
