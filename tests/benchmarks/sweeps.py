"""The recorded sweeps of `tests.train_sweeps`, labelled, as a monitor may see them.

The truth about a learning rate is the median of the final held-out losses of its seeds, against that of the best one:

- ``ok``: at most 5 % of what the best one gains is lost, or it lies less than a factor of 3 above the best one, or not
  more than half a decade below;
- ``too_low``: a tenth of the best one or less, and clearly (more than those 5 %) worse;
- ``too_high``: three times the best one or more and clearly worse, or the loss is no number at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from raftmon.model import VerdictKind
from raftmon.run_config import RunConfig
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import RunSignals

SWEEPS: Final = Path(__file__).parents[1] / "sweeps"
PROBE_EVERY: Final = 5
"""Steps between two probes in the recordings."""
PROBES_TOGETHER: Final = 4
"""Probed steps whose gains and promises are summed into one logged gain ratio."""
REGRET: Final = 0.05
HALF_DECADE: Final = 3.2
"""The grid's step, rounded up as its values are rounded."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Condition:
    """What is left of a recording."""

    every: int = 1
    """Every so many steps are logged; a loss is then the mean of them, as the Hugging Face Trainer logs it."""
    share: float = 1.0
    """Share of the run that has passed."""
    without: frozenset[str] = frozenset({"rho"})
    """Roles that are not logged."""

    def __str__(self) -> str:
        words = ["whole run" if self.share == 1.0 else f"first {self.share:.0%}"]
        words += [f"every {self.every} steps"] if self.every > 1 else []
        lacking = self.without - {"rho"}
        if lacking >= {"grad_norm", "learning_rate", "eval_loss"}:
            words.append("loss alone")
        else:
            words += [f"no {role.replace('_', ' ')}" for role in sorted(lacking)]
        words += [] if "rho" in self.without else ["with rho"]
        return ", ".join(words)


@dataclass(frozen=True, eq=False)
class Training:
    """One recorded run with its right answer."""

    setting: str
    """Family, optimiser, schedule and length."""
    family: str
    peak: float
    """Learning rate at the top of the schedule."""
    factor: float
    """That over the best one of the setting."""
    seed: int
    kind: VerdictKind
    optimizer: str
    scheduler: str
    max_grad_norm: float | None
    warmup: int
    initial: float
    """Held-out loss before the first step."""
    curves: Mapping[str, Floats]
    """``loss``, ``grad_norm``, ``learning_rate`` at each step; ``held_out``, ``gained``, ``promised``, ``update``."""

    @property
    def steps(self) -> int:
        """Length of the run."""
        return len(self.curves["loss"])

    @property
    def config(self) -> RunConfig:
        """What the run's arguments would say."""
        return RunConfig(
            learning_rate=self.peak,
            max_grad_norm=self.max_grad_norm,
            warmup_steps=self.warmup,
            max_steps=self.steps,
            scheduler=self.scheduler,
        )

    def series(self, condition: Condition) -> dict[str, tuple[NDArray[np.int64], Floats]]:
        """Return role to steps and values under a condition."""
        end = int(self.steps * condition.share)
        every = condition.every
        logged = np.arange(every, end + 1, every)
        loss = self.curves["loss"][: len(logged) * every].reshape(-1, every).mean(axis=1)
        held_out = self.curves["held_out"]
        evaluated = np.round(self.steps * np.arange(1, len(held_out) + 1) / len(held_out)).astype(np.int64)
        passed = evaluated <= end
        probed = np.arange(1, self.steps + 1, PROBE_EVERY)
        rho = self.gain_ratio()
        # A probe's value stands in the log line of the first logging step after it.
        lines = -(-probed // every) * every
        newest = np.append(lines[1:] != lines[:-1], True) & (lines <= end)
        series = {
            "loss": (logged, loss),
            "grad_norm": (logged, self.curves["grad_norm"][logged - 1]),
            "learning_rate": (logged, self.curves["learning_rate"][logged - 1]),
            "eval_loss": (evaluated[passed], held_out[passed]),
            "rho": (lines[newest], rho[newest]),
            "update_ratio": (lines[newest], self.curves["update"][newest]),
        }
        without = condition.without | ({"update_ratio"} if "rho" in condition.without else frozenset())
        return {role: columns for role, columns in series.items() if role not in without}

    def gain_ratio(self) -> Floats:
        """Return rho at each probe: what the newest probed steps gained over what they promised."""
        gained, promised = (np.cumsum(np.insert(self.curves[name], 0, 0.0)) for name in ("gained", "promised"))
        ends = np.arange(1, len(gained))
        begins = np.maximum(0, ends - PROBES_TOGETHER)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((gained[ends] - gained[begins]) / (promised[ends] - promised[begins]))

    def rows(self, condition: Condition) -> Iterator[tuple[str, int, float]]:
        """Yield role, step and value in the order in which a trainer writes them."""
        rows = [
            (int(step), place, role, float(value))
            for place, (role, (steps, values)) in enumerate(self.series(condition).items())
            for step, value in zip(steps, values, strict=True)
        ]
        for step, _, role, value in sorted(rows):
            yield role, step, value

    def readings(self, condition: Condition) -> dict[str, float | None]:
        """Return what the signals say at the end of what a condition leaves."""
        signals, last, points = RunSignals(self.config, averaged=True), 0, 0
        for role, step, value in self.rows(condition):
            signals.update(role, step, value)
            if role == "loss":
                last, points = step, points + 1
        facts = RunFacts(self.config, ended=condition.share == 1.0, steps=last - condition.every, points=points)
        return signals.readings(facts).complete()


def trainings(directory: Path = SWEEPS) -> list[Training]:
    """Return every recorded run."""
    return [run for path in sorted(directory.glob("*.npz")) for run in _setting(path)]


def _setting(path: Path) -> list[Training]:
    with np.load(path) as file:
        stored: dict[str, Any] = {name: file[name] for name in file.files}
    peaks, ends, initial = stored["peak"], stored["held_out"][:, -1], float(np.median(stored["initial"]))
    final = {peak: _median(ends[peaks == peak]) for peak in sorted(set(peaks.tolist()))}
    best = min(final, key=final.__getitem__)
    shape = stored["rate"][0] / peaks[0]
    names = ("loss", "grad_norm", "held_out", "gained", "promised", "update")
    return [
        Training(
            setting=path.stem,
            family=str(stored["family"]),
            peak=float(peak),
            factor=float(peak / best),
            seed=int(stored["seed"][i]),
            kind=kind_of(peak / best, final[peak], final[best], initial),
            optimizer=str(stored["optimizer"]),
            scheduler=str(stored["scheduler"]),
            max_grad_norm=float(stored["clip"]) or None,
            warmup=int(stored["warmup"]),
            initial=float(stored["initial"][i]),
            curves={name: stored[name][i].astype(np.float64) for name in names} | {"learning_rate": shape * peak},
        )
        for i, peak in enumerate(peaks.tolist())
    ]


def _median(ends: Floats) -> float:
    return float(np.median(np.where(np.isfinite(ends), ends, math.inf)))


def kind_of(factor: float, final: float, best: float, initial: float) -> VerdictKind:
    """Return the truth about a learning rate.

    Args:
        factor: it over the best one.
        final: its final held-out loss.
        best: that of the best one.
        initial: before training.
    """
    clearly_worse = not final - best <= REGRET * (initial - best)
    if clearly_worse and factor >= 3.0:
        return "too_high"
    if clearly_worse and factor < 1.0 / HALF_DECADE:
        return "too_low"
    return "ok"


def without(*roles: str) -> frozenset[str]:
    """Return a set for `Condition.without`; rho is logged only where it is asked for."""
    return frozenset({"rho", *roles})


LOSS_ALONE: Final = without("grad_norm", "learning_rate", "eval_loss")
CONDITIONS: Final = (
    Condition(),
    *(Condition(share=share) for share in (0.1, 0.25, 0.5)),
    *(Condition(every=every) for every in (5, 10, 50)),
    Condition(without=LOSS_ALONE),
    Condition(every=10, without=LOSS_ALONE),
    *(Condition(without=without(role)) for role in ("grad_norm", "learning_rate", "eval_loss")),
    Condition(without=frozenset()),
    Condition(share=0.1, without=frozenset()),
    Condition(every=10, without=frozenset()),
)
