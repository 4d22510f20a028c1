"""From steps to another x axis: pure, without Textual."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from raftmon.model import RunView
from raftmon.tui.raster import Floats

__all__ = ["AXES", "AxisKind", "StepAxis", "axis_of"]

AxisKind: TypeAlias = Literal["step", "time", "epoch"]
AXES: tuple[AxisKind, ...] = ("step", "time", "epoch")


@dataclass(frozen=True, slots=True, eq=False)
class StepAxis:
    """Where the steps of one run lie on an x axis."""

    kind: AxisKind
    steps: Floats = field(default_factory=lambda: np.empty(0))
    """Steps with a known place, ascending, no two equal; unused by the axis of steps itself."""
    places: Floats = field(default_factory=lambda: np.empty(0))
    """Their places, never descending: seconds since the first one, or epochs."""

    @property
    def version(self) -> tuple[object, ...]:
        """Equal for axes that place all steps alike, for a run that only grows."""
        ends = (float(self.steps[-1]), float(self.places[-1])) if len(self.steps) else ()
        return (self.kind, len(self.steps), *ends)

    def of(self, steps: Floats) -> Floats:
        """Return the places of steps; between known ones, and beyond them, on straight lines."""
        if self.kind == "step":
            return steps
        places: Floats = np.interp(steps, self.steps, self.places)
        # Beyond the ends at the pace of the whole.
        pace = (self.places[-1] - self.places[0]) / max(self.steps[-1] - self.steps[0], 1.0)
        places += pace * (np.minimum(steps - self.steps[0], 0.0) + np.maximum(steps - self.steps[-1], 0.0))
        return places

    def at(self, step: float) -> float:
        """Return the place of one step."""
        return float(self.of(np.array([step]))[0])


def axis_of(run: RunView, kind: AxisKind) -> StepAxis | None:
    """Return an x axis for a run; None if the run does not say enough for it."""
    if kind == "step":
        return StepAxis("step")
    known = _known(run, kind)
    if known is None:
        return None
    # A repeated step keeps its newest place, as a repeated point does.
    steps, first = np.unique(known[0][::-1], return_index=True)
    places = np.maximum.accumulate(known[1][::-1][first])
    if len(steps) < 2 or places[-1] <= places[0]:
        return None
    return StepAxis(kind, steps, places - places[0] if kind == "time" else places)


def _known(run: RunView, kind: AxisKind) -> tuple[Floats, Floats] | None:
    if kind == "time":
        return (run.clock[0].astype(np.float64), run.clock[1]) if run.clock is not None else None
    series = run.series.get("epoch")
    if series is None:
        return None
    finite = np.isfinite(series.values)
    return series.steps[finite].astype(np.float64), series.values[finite].astype(np.float64)
