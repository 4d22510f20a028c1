"""Which charts a run gets, and what is in them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np

from raftmon.model import CampaignView, CycleView, RunView, SeriesView
from raftmon.plain import plain
from raftmon.tui.figure import Band, Bars, Chart, Curve, Level
from raftmon.tui.raster import Floats
from raftmon.tui.smooth import debiased_ema, weight_for
from raftmon.tui.text import CURVE_ROLES, RATE_ROLES, metric

__all__ = [
    "CORE_ROLES",
    "TELLING_ROLES",
    "UNCHARTED_ROLES",
    "chart_of",
    "is_there",
    "roles_of",
    "series_chart",
    "short_title_of",
    "title_of",
]

CORE_ROLES = ("loss", "grad_norm", "learning_rate", "verification_rate")
"""What decides whether a learning rate is right; shown, or said to be missing."""
TELLING_ROLES = ("eval_loss", "heldout_rate", "reward", "entropy", "eval_metric", "kl", "unique_fraction", "accuracy")
"""Other roles worth a chart, best first; any further ones follow."""
UNCHARTED_ROLES = frozenset({"epoch", "run_end", "throughput", "loss_scale"})
"""Roles whose curves say nothing about the learning rate."""
TITLES = {
    "loss": "LOSS",
    "grad_norm": "GRAD NORM",
    "learning_rate": "LEARNING RATE",
    "verification_rate": "VERIFIED",
    "eval_loss": "EVAL LOSS",
    "eval_metric": "EVAL METRIC",
    "kl": "KL",
}
SHORT_TITLES = {
    "grad_norm": "GRAD",
    "learning_rate": "LR",
    "heldout_rate": "HELD OUT",
    "unique_fraction": "UNIQUE",
    "eval_metric": "METRIC",
}
"""Where there is little room."""
MISSING = {
    "loss": "no loss logged",
    "grad_norm": "no grad_norm logged",
    "learning_rate": "no learning_rate logged",
    "verification_rate": "no cycle has a verification rate",
}
SEED_BAND = Band(0.1, 0.2, ("0.1–0.2: usual band (unproven)", "0.1–0.2 (unproven)"))
"""Where the seed document wants the gradient norm; shown as a hypothesis, no rule uses it."""
POINTS = ("★", "●", "•")
"""The best cycle, that of the selected run, and any other."""
SMOOTHED_FROM = 30
"""Points from which on a smoothed curve tells more than the raw one, which it lags behind."""


def title_of(role: str) -> str:
    """Return the heading of a role's chart."""
    return TITLES.get(role) or plain(role).replace("_", " ").upper()


def short_title_of(role: str) -> str:
    """Return the heading of a role's chart where there is little room."""
    return SHORT_TITLES.get(role) or title_of(role)


def roles_of(run: RunView | None, campaign: CampaignView | None, slots: int) -> list[str]:
    """Return the roles to chart, most telling first.

    The core roles come first; one that is missing gives its place to another series of the run, and is shown as
    missing where there is none.

    Args:
        run: the run, or None.
        campaign: the campaign whose cycles are charted, or None.
        slots: how many charts there is room for.
    """
    logged = set(run.series) if run is not None else set()
    if _rated(campaign):
        logged.add("verification_rate")
    there = [role for role in CORE_ROLES if role in logged or role == "loss"]
    others = [role for role in TELLING_ROLES if role in logged]
    others += sorted(logged.difference(CORE_ROLES, TELLING_ROLES, UNCHARTED_ROLES))
    # The campaign's rate is no loss to a run that belongs to none.
    missing = [r for r in CORE_ROLES if r not in there and (campaign is not None or r != "verification_rate")]
    chosen = there + others
    chosen += missing[: max(0, len(CORE_ROLES) - len(chosen))]
    order = {role: index for index, role in enumerate(CORE_ROLES)}
    return sorted(chosen[:slots], key=lambda role: order.get(role, len(order)))


def is_there(role: str, run: RunView | None, campaign: CampaignView | None) -> bool:
    """Whether the chart of a role has anything to draw."""
    rated = role == "verification_rate" and bool(_rated(campaign))
    return rated or (run is not None and role in run.series)


def chart_of(
    role: str, run: RunView | None, campaign: CampaignView | None, known: Mapping[Hashable, Chart] | None = None
) -> Chart:
    """Return the chart of a role.

    Args:
        role: a key of the run's series, or ``verification_rate``.
        run: the run, or None.
        campaign: the run's campaign, or None.
        known: charts made before by version, used again where nothing changed.
    """
    if role == "verification_rate" and (_rated(campaign) or run is None or role not in run.series):
        return _rate_chart(run, campaign, known or {})
    series = run.series.get(role) if run is not None else None
    if run is None or series is None:
        missing = MISSING.get(role, f"no {plain(role)} logged")
        return Chart(role, title_of(role), (role, "missing", run is None), missing if run else "nothing to draw yet")
    limit = run.config.max_grad_norm if role == "grad_norm" else None
    usual = run.config.usual_clip is True
    version = (run.path, role, series.count, len(series.values), *_end(series), limit, usual)
    return (known or {}).get(version) or series_chart(role, series, version, limit, usual=usual)


def _end(series: SeriesView) -> tuple[int, str]:
    # As text, because NaN is not equal to itself.
    return (int(series.steps[-1]), repr(float(series.values[-1]))) if len(series.values) else (-1, "")


def series_chart(
    role: str,
    series: SeriesView,
    version: Hashable,
    limit: float | None,
    *,
    smoothed: bool = True,
    usual: bool = False,
) -> Chart:
    """Return the chart of one series over its steps.

    Args:
        role: the role of the series.
        series: the points.
        version: of the chart.
        limit: where gradients are clipped, or None.
        smoothed: draw a smoothed curve over the points where that tells more.
        usual: the limit is the trainer's default, not this run's own.
    """
    x, y = series.steps.astype(np.float64), series.values.astype(np.float64)
    finite = np.isfinite(y)
    summary = [metric(role, series.last)]
    curves = [Curve(x, y)]
    levels = (Level(limit, f"{'usual clip' if usual else 'clip'} {limit:g}"),) if limit else ()
    if smoothed and role in CURVE_ROLES and len(y) >= SMOOTHED_FROM:
        smooth = debiased_ema(y, weight_for(len(y)))
        curves = [Curve(x, y, "raw"), Curve(x, smooth, "line", "ema")]
        last = smooth[np.isfinite(smooth)]
        summary += [f"ema {metric(role, float(last[-1]))}"] if len(last) else []
    return Chart(
        role=role,
        title=title_of(role),
        short_title=short_title_of(role),
        version=version,
        missing=f"the tag {plain(series.tag)} holds no value yet",
        curves=tuple(curves),
        levels=levels,
        band=SEED_BAND if role == "grad_norm" else None,
        summary=(*summary, *(level.label for level in levels)),
        warning=_faults(y),
        percent=role in RATE_ROLES,
        faults=x[~finite],
    )


def _faults(values: Floats) -> str:
    nan = int(np.isnan(values).sum())
    infinite = int(np.isinf(values).sum())
    return " ".join([f"{nan} NaN"] * bool(nan) + [f"{infinite} inf"] * bool(infinite))


def _rated(campaign: CampaignView | None) -> list[CycleView]:
    return [c for c in campaign.cycles if c.verification_rate is not None] if campaign is not None else []


def _rate_chart(run: RunView | None, campaign: CampaignView | None, known: Mapping[Hashable, Chart]) -> Chart:
    role = "verification_rate"
    cycles = _rated(campaign)
    if campaign is None or not cycles:
        missing = MISSING[role] if campaign is not None else "this run belongs to no campaign"
        return Chart(role, title_of(role), (role, "missing", campaign is None), missing, x_name="cycle")
    current = run.cycle if run is not None and run.campaign == campaign.name else None
    version = (campaign.path, role, tuple(cycles), campaign.best_cycle, current)
    if version in known:
        return known[version]
    x = np.array([c.cycle for c in cycles], dtype=np.float64)
    rates = np.array([c.verification_rate for c in cycles], dtype=np.float64)
    ends = [c.interval or (math.nan, math.nan) for c in cycles]
    low, high = np.array(ends, dtype=np.float64).T
    best_point, own_point, point = POINTS
    glyphs = "".join(
        best_point if c.cycle == campaign.best_cycle else own_point if c.cycle == current else point for c in cycles
    )
    best = (f"{best_point} best cycle {campaign.best_cycle}",) if campaign.best_cycle is not None else ()
    return Chart(
        role=role,
        title=title_of(role),
        short_title=short_title_of(role),
        version=version,
        missing=MISSING[role],
        curves=(Curve(x, rates, "raw"),),
        bars=Bars(x, rates, low, high, glyphs),
        x_name="cycle",
        summary=(metric(role, cycles[-1].verification_rate), *best, *_prompts(cycles)),
        percent=True,
    )


def _prompts(cycles: list[CycleView]) -> tuple[str, ...]:
    """Say what the rates were measured on, if it is the same for all."""
    kinds = {cycle.held_out for cycle in cycles}
    return ("held-out prompts" if kinds.pop() else "training prompts",) if len(kinds) == 1 else ()
