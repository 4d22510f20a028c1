"""Fits the verdict's models: softmax regressions on readings of runs whose right answer is known.

Which signals a model weighs was decided by forward selection among some sixty on the families that are not `JUDGES`, by
the log loss on each of them when fitted on the others; so was the ridge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raftmon.advice.weighing import FARTHEST, KINDS, Feature, Limits, Model, Weighing
from raftmon.model import VerdictKind
from tests.benchmarks.sweeps import LOSS_ALONE, Condition, Training, without

RIDGE: Final = 20.0
"""Half of the square of each weight counts so many times."""
JUDGES: Final = frozenset({"addition", "bag", "denoising", "sets", "memory", "distillation"})
"""Families on which nothing was chosen, trained after signals, ridge and limits were."""

Reading = Mapping[str, float | None]
Array = NDArray[np.float64]

_PROGRESS = Feature("shape.progress", "linear", 0.0, 1.0, "loss surely down by {value:.0%}")
_DOWN = Feature("loss.progress", "linear", 0.0, 1.0, "loss down by {value:.0%}")
_DRAWUP = Feature("loss.drawup_peak", "log1p", 0.0, 100.0, "largest rise back {value:.1f} times the progress")
_PAST_BEST = Feature(
    "shape.eval_past_best", "linear", 0.0, 1.0, "evaluation loss past its best for {value:.0%} of the run"
)
_NOISE = Feature("shape.noise_level", "log", 1e-4, 10.0, "noise of a step {value:.1%} of the first loss")
_JUMP = Feature("shape.jump", "log", 0.01, 1e3, "greatest jump {value:.1f} times the usual move")
_EARLY = Feature("shape.early_moves", "log", 1e-3, 20.0, "the first tenth moves {value:.1f} times as much as the whole")
_LATE = Feature("shape.late_moves", "log", 1e-3, 4.0, "the last quarter moves {value:.1f} times as much as the whole")
_OVERSHOOT = Feature("shape.overshoot", "log1p", 0.0, 100.0, "at most {value:.1f} times the progress above its start")
_EVAL_PROGRESS = Feature("shape.eval_progress", "linear", -1.0, 2.0, "evaluation loss fell {value:.0%} as far")
_RANGE = Feature("gradient.range", "linear", 0.0, 10.0, "gradient norm varies over {value:.1f} e-folds")
_SETTLING = Feature("gradient.settling", "log", 0.03, 30.0, "gradient norm moves {value:.1f} times as much as at first")
_RISE = Feature("gradient.rise", "linear", -1.0, 1.0, "gradient norm goes {value:+.0%} of its way up")
_EFFICIENCY = Feature("shape.eval_efficiency", "linear", -1.0, 1.0, "evaluation loss goes {value:.0%} of its way down")
_JITTER = Feature("shape.eval_jitter", "log", 1e-4, 1e2, "evaluation loss jitters by {value:.1%} of its fall")
_RHO = Feature("probe.rho", "log1m", -1.0, 1.5, "steps gain {value:.2f} of what the gradient promises")
_UPDATE = Feature("probe.update_peak", "log", 1e-8, 10.0, "the greatest update is {value:.2g} of the weights")


@dataclass(frozen=True)
class Specification:
    """A model before it is fitted."""

    name: str
    title: str
    needs: tuple[str, ...]
    features: tuple[Feature, ...]
    conditions: tuple[Condition, ...]
    """What it is fitted on."""


_ALL: Final = without()
SPECIFICATIONS: Final = (
    Specification(
        "probe",
        "with the gain ratio logged",
        ("probe.rho",),
        (_UPDATE, _EFFICIENCY, _RHO, _OVERSHOOT, _PAST_BEST, _RANGE, _RISE, _LATE, _DRAWUP, _DOWN),
        (
            Condition(without=frozenset()),
            Condition(share=0.1, without=frozenset()),
            Condition(share=0.5, without=frozenset()),
            Condition(every=10, without=frozenset()),
        ),
    ),
    Specification(
        "gradient",
        "with gradient norms",
        ("gradient.range",),
        (_RANGE, _EFFICIENCY, _DOWN, _OVERSHOOT, _SETTLING, _PAST_BEST, _JITTER, _DRAWUP, _LATE, _EVAL_PROGRESS),
        (
            *(Condition(share=share) for share in (1.0, 0.1, 0.25, 0.5)),
            *(Condition(every=every) for every in (5, 10, 50)),
            Condition(without=without("learning_rate")),
            Condition(without=without("eval_loss")),
        ),
    ),
    Specification(
        "loss",
        "without gradient norms",
        (),
        (_LATE, _JUMP, _PROGRESS, _EFFICIENCY, _NOISE, _OVERSHOOT, _JITTER, _EARLY),
        (
            Condition(without=LOSS_ALONE),
            Condition(share=0.25, without=LOSS_ALONE),
            Condition(every=10, without=LOSS_ALONE),
            Condition(without=without("grad_norm")),
        ),
    ),
)

LIMITS: Final = {
    "points": (8, "points", "what the signals of the curve's shape need"),
    "speak_above": (0.75, "probability", "where the goal for what is said is set"),
    "most_confident": (0.95, "probability", "926 small trainings cannot show more"),
    "diverged": (0.8, "probability", "until the rule is measured"),
    "early": (0.5, "share of the run", "every loss still falls before"),
}
"""Name to value, unit and origin: when the verdict speaks."""


class Looks:
    """Readings of every training under every condition that is asked for, each worked out once."""

    def __init__(self, cases: Sequence[Training]) -> None:
        self.cases = cases
        self._known: dict[Condition, list[Reading]] = {}

    def __getitem__(self, condition: Condition) -> list[Reading]:
        if condition not in self._known:
            self._known[condition] = [case.readings(condition) for case in self.cases]
        return self._known[condition]


def fit(specification: Specification, looks: Sequence[Reading], kinds: Sequence[str]) -> Model:
    """Fit a ridge-penalised softmax regression in which each kind counts the same."""
    fitted, columns = [], []
    for feature in specification.features:
        scaled = [feature.scaled(look.get(feature.signal)) for look in looks]
        known = [value for value in scaled if value is not None]
        mean, deviation = float(np.mean(known)), float(np.std(known)) + 1e-9
        distances = [0.0 if value is None else (value - mean) / deviation for value in scaled]
        columns.append(np.clip(distances, -FARTHEST, FARTHEST))
        columns.append(np.array([float(value is None) for value in scaled]))
        fitted.append(dataclasses.replace(feature, mean=mean, deviation=deviation))
    design = np.column_stack([*columns, np.ones(len(looks))])
    target = np.array([[kind == wanted for wanted in KINDS] for kind in kinds], dtype=float)
    weights = _softmax_regression(design, target)
    features = tuple(
        dataclasses.replace(feature, weights=_by_kind(weights[2 * i]), absent=_by_kind(weights[2 * i + 1]))
        for i, feature in enumerate(fitted)
    )
    return Model(
        specification.name, specification.title, specification.needs, features, intercept=_by_kind(weights[-1])
    )


def _softmax_regression(design: Array, target: Array) -> Array:
    """Minimise by Newton's method: the problem is convex and small."""
    (_, width), kinds = design.shape, target.shape[1]
    balance = (target / target.sum(axis=0)).sum(axis=1) * len(target) / kinds
    pull = np.repeat(RIDGE, width)
    pull[-1] = 1e-6
    weights = np.zeros((width, kinds))
    for _ in range(50):
        logits = design @ weights
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        slope = design.T @ ((odds - target) * balance[:, None]) + pull[:, None] * weights
        bend = np.zeros((kinds * width, kinds * width))
        for a in range(kinds):
            for b in range(kinds):
                part = balance * odds[:, a] * ((a == b) - odds[:, b])
                block = design.T @ (design * part[:, None]) + (np.diag(pull) if a == b else 0.0)
                bend[a * width : (a + 1) * width, b * width : (b + 1) * width] = block
        bend += 1e-6 * np.eye(len(bend))
        step = np.linalg.solve(bend, slope.T.ravel()).reshape(kinds, width).T
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _by_kind(row: Array) -> dict[VerdictKind, float]:
    return {kind: round(float(value), 4) for kind, value in zip(KINDS, row, strict=True)}


def fit_families(looks: Looks, families: frozenset[str]) -> Weighing:
    """Fit all models on the runs of some families."""
    chosen = [i for i, case in enumerate(looks.cases) if case.family in families]
    kinds = [looks.cases[i].kind for i in chosen]
    models = tuple(
        fit(
            specification,
            [looks[condition][i] for condition in specification.conditions for i in chosen],
            kinds * len(specification.conditions),
        )
        for specification in SPECIFICATIONS
    )
    return Weighing(models, Limits(**{name: value for name, (value, _, _) in LIMITS.items()}))


def weighings_without_each(looks: Looks) -> dict[str, Weighing]:
    """Return, for each family, coefficients that were fitted on the others."""
    families = frozenset(case.family for case in looks.cases)
    return {left: fit_families(looks, families - {left}) for left in sorted(families)}
