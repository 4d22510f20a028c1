"""The series that a finding is about, around the moment at which it began."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from raftmon.grounds import Evidence
from raftmon.model import CampaignView, Finding, RunView
from raftmon.signals.registry import SIGNALS
from raftmon.tui.figure import Bars, Chart, Marker
from raftmon.tui.plot import cursor_parts
from raftmon.tui.raster import Floats
from raftmon.tui.text import SEVERITIES, metric
from raftmon.tui.widgets.charts import chart_of

__all__ = ["Moment", "moment_of", "role_of", "window_around"]

MOST = 400
"""Points in view at most; more would hide what happened in the moment."""
BEFORE = 0.75
"""Share of them before the moment: what led there tells more than what came of it."""
USUAL = "loss"


@dataclass(frozen=True, eq=False)
class Moment:
    """A chart, and which part of it to show."""

    chart: Chart
    """With the marker of the step (number of a cycle for a campaign) since which the finding is in its state, and the
    values there."""
    window: tuple[float, float] | None
    """First and last step to show; None: all."""


def moment_of(finding: Finding, view: RunView | CampaignView, run: RunView | None) -> Moment | None:
    """Return what a finding saw; None if it never began, or nothing was logged that could be shown.

    Args:
        finding: what to show.
        view: the run or campaign that it is about.
        run: the run selected, which a campaign's chart points out.
    """
    since = finding.since_step
    if since is None:
        return None
    if isinstance(view, CampaignView):
        chart = chart_of("verification_rate", run, view)
    else:
        chart = chart_of(role_of(finding, view), view, None)
    if chart.empty:
        return None
    at, glyph = float(since), SEVERITIES[finding.severity][0]
    marker = Marker(at, glyph, f" {chart.x_name} {since}")
    window = window_around(chart.curves[0].x, at) if chart.bars is None else None
    # A value cursor would say it, too, but hide the marker.
    summary = cursor_parts(chart, at) if chart.bars is None else _rate_at(chart, chart.bars, at)
    return Moment(replace(chart, version=(chart.version, since, glyph), markers=(marker,), summary=summary), window)


def _rate_at(chart: Chart, bars: Bars, at: float) -> tuple[str, ...]:
    """Return the rate of a cycle in words, and what the chart says beside its newest one."""
    rates = [metric(chart.role, float(rate)) for rate in bars.y[bars.x == at]]
    return (*rates, f"cycle {at:.0f}", *chart.summary[1:]) if rates else chart.summary


def role_of(finding: Finding, run: RunView) -> str:
    """Return the role to show: the first that the finding's signals need and the run has, else the loss."""
    needs = [SIGNALS[name].needs for name in _signals(finding.evidence, finding) if name in SIGNALS]
    return next((role for role in needs if role in run.series), USUAL)


def window_around(steps: Floats, at: float) -> tuple[float, float] | None:
    """Return the first and last of `MOST` steps around a moment; None where there are no more than that.

    Args:
        steps: ascending where a window is wanted; those of a run that was taken up again are shown whole.
        at: the moment; it is in the window wherever it lies.
    """
    count = len(steps)
    if count <= MOST or bool(np.any(np.diff(steps) < 0)):
        return None
    place = int(np.searchsorted(steps, at))
    first = min(max(place - round(MOST * BEFORE), 0), count - MOST)
    return min(float(steps[first]), at), max(float(steps[first + MOST - 1]), at)


def _signals(evidence: Evidence | None, finding: Finding) -> list[str]:
    """Return the names of a rule's signals in the order of its condition."""
    written = [criterion.signal for criterion in evidence.criteria if criterion.joins is None] if evidence else []
    return written or [reading.signal for reading in finding.readings]
