"""Where in a run the cycles of its campaign begin: pure, without Textual.

A cycle is a run of its own as a rule, and begins where that run does. Two kinds of runs hold several, though: one that
was written all the while (a monitor of the campaign, or a cycle taken up again after the next one had begun), which
the other runs' wall times tell of; and one whose very steps are cycles, as halo-forge's tracker of metrics writes it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from raftmon.model import RunView, Snapshot
from raftmon.slotted import dataclass
from raftmon.tui.belonging import campaign_around, is_cycle_of
from raftmon.tui.step_axis import AxisKind

__all__ = ["CycleStart", "cycle_starts", "cycle_times"]


@dataclass(frozen=True, slots=True)
class CycleStart:
    """A cycle that begins within a run."""

    cycle: int
    step: float
    """Of the run; may lie between two."""


def cycle_times(snapshot: Snapshot, run: RunView) -> tuple[tuple[int, float], ...]:
    """Return number of each other cycle of a run's campaign and the wall time of its first point, in their order.

    The campaign is that in whose directory the run lies; the innermost, where there are several.
    """
    campaign = campaign_around(snapshot, run)
    if campaign is None:
        return ()
    first: dict[int, float] = {}
    for other in snapshot.runs:
        cycle, began = other.cycle, other.first_wall_time
        if cycle is None or began is None or cycle == run.cycle or not is_cycle_of(other, campaign):
            continue
        if campaign_around(snapshot, other) is campaign:
            first[cycle] = min(began, first.get(cycle, began))
    return tuple(sorted(first.items()))


def cycle_starts(run: RunView, times: tuple[tuple[int, float], ...], kind: AxisKind) -> tuple[CycleStart, ...]:
    """Return where cycles begin within a run, after its first point; nothing for a run that is one cycle alone.

    Args:
        run: the run.
        times: what `cycle_times` says of it.
        kind: the x axis that they are for; one of steps that are cycles has their numbers already.
    """
    if run.step_axis == "cycle":
        return tuple(_by_step(run)) if kind != "step" else ()
    if run.clock is None or run.first_wall_time is None or run.last_wall_time is None:
        return ()
    inside = [(cycle, began) for cycle, began in times if run.first_wall_time < began <= run.last_wall_time]
    if not inside:
        return ()
    steps, clock = run.clock[0].astype(np.float64), np.maximum.accumulate(run.clock[1])
    return tuple(CycleStart(cycle, float(np.interp(began, clock, steps))) for cycle, began in inside)


def _by_step(run: RunView) -> Iterator[CycleStart]:
    """Yield the cycles of a run that logs each when it is over: the next one begins there."""
    logged = [series.steps for series in run.series.values() if len(series.steps)]
    steps = np.unique(np.concatenate(logged)) if logged else np.empty(0, np.int64)
    for before, step in zip(steps[:-1].tolist(), steps[1:].tolist(), strict=True):
        yield CycleStart(step, float(before))
