"""What other runs of the same sweep tell about a run's learning rate: the one reference outside its own curve.

Two runs are siblings when they lie side by side, begin at the same loss and differ in their learning rate. They are
compared at the newest step that both have reached, by the held-out loss where both log it, else by the mean of the
training loss just before that step. What counts is the share of the better one's progress that the other one lacks: no
scale, no model of the curve, no prior on learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

import numpy as np

from raftmon.signals.base import SignalInfo
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.model import Floats, Ints

__all__ = ["Columns", "SiblingSignals", "Standing", "standing"]

LEAST_RATIO: Final = 1.5
"""Between two learning rates that count as different."""
NEIGHBOUR: Final = 12.0
"""A sibling within this factor encloses a learning rate."""
LIKE: Final = 0.25
"""First losses of siblings differ by this share at most: with sparse logs the first one is a mean over many steps."""
WINDOW: Final = 0.1
"""Share of the steps before the common one whose training losses are averaged."""
SURE: Final = 2.0
"""Standard errors that are taken off a difference."""
LEAST_POINTS: Final = 5

Columns: TypeAlias = "tuple[Ints, Floats]"


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What a run shows to its siblings."""

    learning_rate: float
    """Largest one logged, or the configured one."""
    first: float
    """The first training loss: later ones have felt the learning rate already."""
    loss: Columns
    """Steps and values; never empty."""
    held_out: Columns | None
    """The same of the evaluation loss; None if it is not logged."""

    @property
    def end(self) -> int:
        """Newest step."""
        return int(self.loss[0][-1])


def standing(rate: float | None, loss: Columns | None, held_out: Columns | None) -> Standing | None:
    """Return a run's standing, or None without a learning rate, or with too few finite losses at its start.

    Args:
        rate: the learning rate.
        loss: steps and values of the training loss.
        held_out: steps and values of the evaluation loss.
    """
    if rate is None or not rate > 0.0 or loss is None or len(loss[1]) < LEAST_POINTS:
        return None
    first = float(loss[1][0])
    if not math.isfinite(first):
        return None
    return Standing(rate, first, loss, held_out if held_out is not None and len(held_out[1]) else None)


class SiblingSignals:
    """How a run stands among its siblings now."""

    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("siblings.count", "runs", "siblings", 0, "runs beside this one that differ in their learning rate"),
        SignalInfo(
            "siblings.higher_gain", "ratio", "siblings", 1, "what a higher learning rate gains at the same step"
        ),
        SignalInfo("siblings.lower_gain", "ratio", "siblings", 1, "what a lower learning rate gains at the same step"),
        SignalInfo("siblings.enclosed", "flag", "siblings", 1, "1 with siblings on both sides within a factor of 12"),
        SignalInfo("siblings.best_rate", "", "siblings", 1, "learning rate of the best run, this one included"),
        SignalInfo("siblings.best_ratio", "ratio", "siblings", 1, "that over the learning rate of this run"),
    )

    @classmethod
    def readings(cls, own: Standing | None, others: Sequence[Standing]) -> Mapping[str, float | None]:
        """Compare a run with its siblings.

        Args:
            own: of the run, None if it has nothing to show.
            others: the runs beside it.
        """
        readings: dict[str, float | None] = dict.fromkeys((info.name for info in cls.signals), None)
        if own is None:
            return readings
        alike = [other for other in others if _are_siblings(own, other)]
        compared = [(other.learning_rate / own.learning_rate, _compared(own, other)) for other in alike]
        known = [(ratio, *pair) for ratio, pair in compared if pair is not None]
        readings["siblings.count"] = float(len(known))
        if not known:
            return readings
        higher, lower = ([gain for ratio, gain, _ in known if (ratio > 1.0) == side] for side in (True, False))
        near = {ratio > 1.0 for ratio, _, _ in known if 1.0 / NEIGHBOUR <= ratio <= NEIGHBOUR}
        ahead = [(loss, ratio) for ratio, gain, loss in known if gain > 0.0]
        best = min(ahead)[1] if ahead else 1.0
        readings |= {
            "siblings.higher_gain": _clipped(higher),
            "siblings.lower_gain": _clipped(lower),
            "siblings.enclosed": float(len(near) == 2),
            "siblings.best_rate": best * own.learning_rate,
            "siblings.best_ratio": best,
        }
        return readings


def _clipped(gains: Sequence[float]) -> float | None:
    return max(-1.0, min(1.0, max(gains))) if gains else None


def _are_siblings(own: Standing, other: Standing) -> bool:
    ratio = max(own.learning_rate, other.learning_rate) / min(own.learning_rate, other.learning_rate)
    size = max(abs(own.first), abs(other.first))
    return ratio >= LEAST_RATIO and abs(own.first - other.first) <= LIKE * size


def _compared(own: Standing, other: Standing) -> tuple[float, float] | None:
    """Return by how much the other run is surely ahead, as a share of the progress of the better one, and its loss."""
    step = min(own.end, other.end)
    pair, start = None, min(own.first, other.first)
    if own.held_out is not None and other.held_out is not None:
        pair = _held_out_at(own.held_out, step), _held_out_at(other.held_out, step)
        # A first batch may be easier than the held-out data.
        start = max(start, min(float(held_out[1][0]) for held_out in (own.held_out, other.held_out)))
    if pair is None or pair[0] is None or pair[1] is None:
        pair, start = (_loss_at(own.loss, step), _loss_at(other.loss, step)), max(own.first, other.first)
    ours, theirs = pair
    if ours is None or theirs is None:
        return None
    if not math.isfinite(ours[0]) or not math.isfinite(theirs[0]):
        return float(math.isfinite(theirs[0])) - float(math.isfinite(ours[0])), theirs[0]
    progress = start - min(ours[0], theirs[0])
    if not progress > 0.0:
        return None
    difference, error = ours[0] - theirs[0], math.hypot(ours[1], theirs[1])
    surely = math.copysign(max(0.0, abs(difference) - SURE * error), difference)
    return surely / progress, theirs[0]


def _held_out_at(columns: Columns, step: int) -> tuple[float, float] | None:
    """Return the newest evaluation up to a step, and a quarter of its distance to the one before as its error."""
    steps, values = columns
    newest = int(np.searchsorted(steps, step, side="right"))
    if newest == 0:
        return None
    value = float(values[newest - 1])
    before = float(values[newest - 2]) if newest > 1 else value
    return value, abs(value - before) / 4.0 if math.isfinite(before) else 0.0


def _loss_at(columns: Columns, step: int) -> tuple[float, float] | None:
    """Return the mean loss just before a step, and its standard error."""
    steps, values = columns
    newest = int(np.searchsorted(steps, step, side="right"))
    oldest = min(int(np.searchsorted(steps, (1.0 - WINDOW) * step)), newest - LEAST_POINTS)
    if oldest < 0:
        return None
    window = values[oldest:newest]
    if not np.isfinite(window).all():
        return math.nan, 0.0
    return float(window.mean()), float(window.std() / math.sqrt(len(window)))
