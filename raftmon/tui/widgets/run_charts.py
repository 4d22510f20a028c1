"""The charts of the Run screen: every series of a run, with what happened to it, and other runs behind."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from raftmon.model import Finding, RunView, SeriesView
from raftmon.plain import plain
from raftmon.tui.cycle_starts import cycle_starts
from raftmon.tui.figure import Chart, Curve, Marker
from raftmon.tui.grid import Ink
from raftmon.tui.overlay import LETTERS
from raftmon.tui.raster import Floats
from raftmon.tui.smooth import debiased_ema, weight_for
from raftmon.tui.step_axis import AxisKind, StepAxis, axis_of
from raftmon.tui.text import CURVE_ROLES, SEVERITIES
from raftmon.tui.viewport import Extent
from raftmon.tui.widgets.charts import (
    CORE_ROLES,
    SMOOTHED_FROM,
    TELLING_ROLES,
    UNCHARTED_ROLES,
    series_chart,
    title_of,
)

__all__ = ["Event", "Subject", "events_of", "grid_of", "rate_changes", "roles_to_draw"]

RATE_GLYPH = "η"
"""Marks a change of the learning rate."""
CYCLE_GLYPH = "▸"
"""Marks the start of a cycle, whose number stands beside it."""
LEAST_CHANGE = 0.05
"""Share of the peak rate below which a change of the learning rate gets no marker."""
ABRUPT = 3.0
"""A change so many times as steep as the rate's course before and after is a jump, not part of a schedule."""
_RUN_INKS: tuple[Ink, ...] = ("run0", "run1", "run2", "run3", "run4", "run5")
LEAST_WIDTH, LEAST_HEIGHT = 38, 8
"""Cells that a chart in the grid needs."""
SHAPE = 2.0
"""Width of a good chart in units of its height; a cell is twice as high as wide."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a step."""

    step: float
    glyph: str
    text: str
    number: int | None = None
    """Of the cycle that begins; None: it is no such event."""

    @property
    def label(self) -> str:
        """What stands beside the glyph."""
        return str(self.number) if self.number is not None else ""


@dataclass(frozen=True, eq=False)
class Subject:
    """What the charts of the Run screen show, and how."""

    run: RunView
    kind: AxisKind = "step"
    smoothed: bool = True
    others: Mapping[str, RunView] = field(default_factory=dict)
    """Letter to marked run; may hold the run itself, which then has its own colour and letter."""
    cycles: tuple[tuple[int, float], ...] = ()
    """Other cycles of the run's campaign, see `raftmon.tui.cycle_starts.cycle_times`."""

    @cached_property
    def axis(self) -> StepAxis:
        """The x axis of the run; steps where the run does not say enough for another one."""
        return axis_of(self.run, self.kind) or StepAxis("step")

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """What happened in the run, the gravest last."""
        starts = cycle_starts(self.run, self.cycles, self.axis.kind)
        begun = (Event(start.step, CYCLE_GLYPH, "cycle begins", start.cycle) for start in starts)
        return (*begun, *events_of(self.run))

    @cached_property
    def drawn_others(self) -> dict[str, tuple[RunView, StepAxis]]:
        """Letter to marked run and its x axis, without the run itself and those that lack the axis."""
        axes = {letter: (run, axis_of(run, self.axis.kind)) for letter, run in self.others.items()}
        return {
            letter: (run, axis)
            for letter, (run, axis) in axes.items()
            if axis is not None and run.path != self.run.path
        }

    @cached_property
    def own_letter(self) -> str:
        """The letter of the run itself, empty if it is not marked."""
        return next((letter for letter, run in self.others.items() if run.path == self.run.path), "")

    @cached_property
    def extent(self) -> Extent | None:
        """First and last step of all that is drawn; None without points."""
        runs = [self.run, *(run for run, _ in self.drawn_others.values())]
        steps = [series.steps for run in runs for series in run.series.values() if len(series.steps)]
        return (float(min(s.min() for s in steps)), float(max(s.max() for s in steps))) if steps else None

    def chart(self, role: str, known: Mapping[Hashable, Chart] | None = None) -> Chart:
        """Return the chart of a role.

        Args:
            role: a key of the run's series.
            known: charts made before by version, used again where nothing changed.
        """
        series = self.run.series.get(role)
        if series is None:
            return Chart(role, title_of(role), (self.run.path, role, "missing"), f"no {plain(role)} logged")
        others = {
            letter: (run.series[role], axis) for letter, (run, axis) in self.drawn_others.items() if role in run.series
        }
        limit = self.run.config.max_grad_norm if role == "grad_norm" else None
        version = (
            (
                self.run.path,
                role,
                limit,
                self.run.config.usual_clip,
                self.smoothed,
                self.own_letter,
                self.axis.version,
                _version(series),
            ),
            self.events,
            tuple((letter, _version(other), axis.version) for letter, (other, axis) in others.items()),
        )
        return (known or {}).get(version) or self._made(series, version, limit, others)

    def _made(
        self,
        series: SeriesView,
        version: Hashable,
        limit: float | None,
        others: Mapping[str, tuple[SeriesView, StepAxis]],
    ) -> Chart:
        usual = self.run.config.usual_clip is True
        chart = series_chart(series.role, series, version, limit, smoothed=self.smoothed, usual=usual)
        curves = [replace(curve, x=self.axis.of(curve.x)) for curve in chart.curves]
        if self.own_letter:
            curves[-1] = replace(curves[-1], ink=_ink(self.own_letter), sign=self.own_letter)
        elif others:
            curves[-1] = replace(curves[-1], sign="❯")
        return replace(
            chart,
            curves=tuple(curves),
            faults=self.axis.of(chart.faults),
            x_name=self.axis.kind,
            markers=tuple(Marker(self.axis.at(event.step), event.glyph, event.label) for event in self.events),
            others=tuple(self._other(letter, *other) for letter, other in others.items()),
        )

    def _other(self, letter: str, series: SeriesView, axis: StepAxis) -> Curve:
        y, name = series.values.astype(np.float64), letter
        if self.smoothed and series.role in CURVE_ROLES and len(y) >= SMOOTHED_FROM:
            y, name = debiased_ema(y, weight_for(len(y))), f"{letter} ema"
        return Curve(axis.of(series.steps.astype(np.float64)), y, _ink(letter), name, letter)


def roles_to_draw(run: RunView) -> list[str]:
    """Return all roles of a run, those that tell most of the learning rate first."""
    order = (*CORE_ROLES, *TELLING_ROLES)
    ranks = {role: index for index, role in enumerate(order)}
    there = [role for role in run.series if role != "run_end"]
    return sorted(there, key=lambda role: (role in UNCHARTED_ROLES, ranks.get(role, len(order)), role))


def events_of(run: RunView) -> tuple[Event, ...]:
    """Return the jumps of the learning rate and the beginnings of what fires, the gravest last."""
    rate = run.series.get("learning_rate")
    events = []
    if rate is not None:
        steps, values = rate.steps.astype(np.float64), rate.values.astype(np.float64)
        events = [Event(step, RATE_GLYPH, "learning rate jumps") for step in rate_changes(steps, values)]
    order = list(SEVERITIES)
    firing = sorted(run.firing, key=lambda finding: -order.index(finding.severity))
    since = [(finding, finding.since_step) for finding in firing]
    return (*events, *(_finding_event(finding, step) for finding, step in since if step is not None))


def rate_changes(steps: Floats, values: Floats) -> list[float]:
    """Return the steps at which a learning rate has jumped, away from the course of its schedule.

    Args:
        steps: in the order of arrival.
        values: same length; what is not finite is stepped over.
    """
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if len(values) < 3:
        return []
    change = np.abs(np.diff(values))
    # A thinned history has long and short distances: what counts is the slope.
    slope = change / np.maximum(np.diff(steps), 1.0)
    before, after = np.concatenate([[0.0], slope[:-1]]), np.concatenate([slope[1:], [0.0]])
    # The first change has nothing before it, and the last nothing after it: the other side decides.
    before[0], after[-1] = after[0], before[-1]
    jumps = (slope > ABRUPT * np.maximum(before, after)) & (change > LEAST_CHANGE * np.abs(values).max())
    return [float(step) for step in steps[1:][jumps]]


def grid_of(count: int, width: int, height: int) -> tuple[int, int]:
    """Return columns of a grid of charts and the height of each; more rows than fit are scrolled.

    Args:
        count: charts; at least 1.
        width: cells.
        height: cells.
    """

    def shape(columns: int) -> tuple[bool, float]:
        rows = math.ceil(count / columns)
        high = max(height // rows, LEAST_HEIGHT, 1)
        return rows * high > height, abs(math.log(max(width // columns, 1) / (2 * high) / SHAPE))

    columns = min(range(1, max(min(width // LEAST_WIDTH, count), 1) + 1), key=shape)
    rows = math.ceil(count / columns)
    fitting = max(height // LEAST_HEIGHT, 1)
    return columns, max(height // min(rows, fitting), 1)


def _finding_event(finding: Finding, since: int) -> Event:
    return Event(float(since), SEVERITIES[finding.severity][0], finding.title)


def _version(series: SeriesView) -> tuple[object, ...]:
    # As text, because NaN is not equal to itself.
    return (series.count, len(series.values), int(series.steps[-1]) if len(series.steps) else -1, repr(series.last))


def _ink(letter: str) -> Ink:
    return _RUN_INKS[LETTERS.index(letter)]
