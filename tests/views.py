"""Builders of single views with realistic numbers, for tests; any field can be changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from raftmon.grounds import Criterion, Evidence, Measured
from raftmon.model import CycleView, Finding, Reading, RunView, SeriesView, Verdict
from raftmon.run_config import RunConfig

LOGDIR = "/data/runs/raft-qwen2.5-3b"
UNDECIDED = Verdict("undecided", 0.2, "16 steps and no grad_norm: too little to tell")


def make_series(role: str, values: Sequence[float], steps: Sequence[int] | None = None, tag: str = "") -> SeriesView:
    """Return a series; steps count from 1 unless given."""
    y = np.array(values, dtype=np.float64)
    x = np.arange(1, len(y) + 1) if steps is None else np.array(steps)
    return SeriesView(role, tag or f"train/{role}", x.astype(np.int64), y, len(y))


def loss_curve(
    count: int, *, start: float = 2.4, floor: float = 0.4, noise: float = 0.05, seed: int = 7
) -> list[float]:
    """Return a training loss that falls exponentially, with noise."""
    rng = np.random.default_rng(seed)
    fall = np.exp(-np.arange(count) * 4.0 / max(count, 1))
    return list(floor + (start - floor) * fall + noise * rng.standard_normal(count))


def linear_schedule(count: int, peak: float, warmup: int = 0) -> list[float]:
    """Return a learning rate that rises over the warm-up and falls to zero."""
    rise = [peak * (step + 1) / warmup for step in range(min(warmup, count))]
    rest = count - len(rise)
    return rise + [peak * (1.0 - step / max(rest, 1)) for step in range(rest)]


def make_finding(rule: str = "loss-draws-up", **changes: Any) -> Finding:
    """Return a firing finding; any field can be changed."""
    fields: dict[str, Any] = {
        "title": "Loss climbs away from its lowest point",
        "state": "firing",
        "severity": "high",
        "points_to": "lr_too_high",
        "since_step": 9,
        "readings": (Reading("loss.drawup", 4.6, "sigma"), Reading("loss.points", 16, "")),
        "thresholds": {"drawup": 3.0, "least_points": 10},
        "text": "The loss has climbed 4.6 sigma above its lowest point. Lower the learning rate in the next cycle.",
    }
    return Finding(rule=rule, **{**fields, **changes})


def make_evidence(**changes: Any) -> Evidence:
    """Return what is known of the rule of `make_finding`; any field can be changed."""
    fields: dict[str, Any] = {
        "description": "The smoothed loss has risen above its own minimum and stays there.",
        "status": "test",
        "level": "observed",
        "grade": "B",
        "sources": (("1-02", "study of 531 small trainings"), ("", "seen in public logs")),
        "false_positives": ("Training data that get harder.", "Losses close to 0."),
        "would_change": ("A second run at a third of the rate that ends no better.",),
        "measured": Measured(240, 0.92, 0.6, "recorded trainings", 36, 55, (0.78, 0.97), (0.47, 0.72)),
        "criteria": (
            Criterion(0, "all"),
            Criterion(1, None, "loss.drawup", "rise above the minimum", True, 3.0, 2.0, "sigma", "measured"),
            Criterion(1, None, "loss.points", "points so far", True, 20.0, 20.0, ""),
            Criterion(1, None, "loss.gone", "not logged", False, 0.5, 0.5, "ratio"),
        ),
        "hold": "5 points",
        "multiply": 0.3,
        "roll_back": True,
    }
    return Evidence(**{**fields, **changes})


def waiting_finding() -> Finding:
    """Return a finding that cannot be judged, because a series is missing."""
    return make_finding(
        "grad-norm-rises",
        title="Gradient norm rises",
        state="unknown",
        severity="medium",
        since_step=None,
        readings=(Reading("grad_norm.trend", None, "ratio"),),
        thresholds={"trend": 1.5},
        text="",
        missing=("grad_norm",),
    )


def make_run(run: str = "cycle_1/logs", *, logdir: str = LOGDIR, **changes: Any) -> RunView:
    """Return a finished RAFT run of 16 steps without a gradient norm; any field can be changed."""
    loss = loss_curve(16, start=0.9, floor=0.42, noise=0.02)
    fields: dict[str, Any] = {
        "path": f"{logdir}/{run}" if run != "." else logdir,
        "state": "finished",
        "dialect": "hf",
        "scenario": "raft",
        "campaign": None,
        "cycle": None,
        "last_step": 16,
        "last_wall_time": 1_767_000_000.0,
        "series": {
            "loss": make_series("loss", loss),
            "learning_rate": make_series("learning_rate", linear_schedule(16, 5e-5)),
        },
        "other_tags": 3,
        "config": RunConfig(learning_rate=5e-5, max_steps=16, scheduler="linear", source="args/text_summary"),
        "verdict": UNDECIDED,
        "findings": (waiting_finding(),),
        "advice": (),
    }
    return RunView(run=run, **{**fields, **changes})


def make_cycle(cycle: int, rate: float | None, learning_rate: float | None, judged: int = 2992) -> CycleView:
    """Return a cycle with its Wilson interval."""
    interval = None
    if rate is not None:
        z = 1.96
        centre = (rate + z * z / (2 * judged)) / (1 + z * z / judged)
        half = z / (1 + z * z / judged) * math.sqrt(rate * (1 - rate) / judged + z * z / (4 * judged * judged))
        interval = (centre - half, centre + half)
    return CycleView(
        cycle=cycle,
        run=f"cycle_{cycle}/logs",
        learning_rate=learning_rate,
        verification_rate=rate,
        verified=judged if rate is not None else None,
        kept=round(judged * rate / 2) if rate is not None else None,
        interval=interval,
        measures="before",
        held_out=False,
        unique_fraction=0.81 - 0.06 * cycle,
        source=f"cycle_{cycle}_verified.jsonl" if rate is not None else "",
    )
