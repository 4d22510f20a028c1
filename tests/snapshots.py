"""Fake snapshots with realistic numbers: what a monitor would hand to a front end.

Each function returns a fresh, deterministic object; `version` and the length of the curves are arguments, so that a
test can let time pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from raftmon.model import (
    Advice,
    CampaignView,
    CycleView,
    Finding,
    NextCycle,
    Problem,
    Reading,
    RunConfig,
    RunView,
    SeriesView,
    Snapshot,
    Verdict,
)

LOGDIR = "/data/runs/raft-qwen2.5-3b"
UNDECIDED = Verdict("undecided", 0.2, "16 steps and no grad_norm: too little to tell")
RATES = ((1, 0.312, 5.0e-5), (2, 0.365, 4.25e-5), (3, 0.397, 3.61e-5), (4, 0.341, 3.07e-5))
"""Cycle, verification rate, learning rate of `raft_campaign`."""


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


def raft_campaign(name: str = "models/raft", **changes: Any) -> CampaignView:
    """Return four cycles, the last one worse than the one before; any field can be changed."""
    fields: dict[str, Any] = {
        "path": f"{LOGDIR}/{name}",
        "cycles": tuple(make_cycle(*cycle) for cycle in RATES),
        "best_cycle": 3,
        "next": NextCycle(
            cycle=5,
            learning_rate=2.61e-5,
            authority="propose",
            because=("strategy:exponential 5e-5 × 0.85^4", "guardrail: within ×3"),
            roll_back_to=3,
            stop=False,
            text="Cycle 4 fell 5.6 points below cycle 3, outside the noise. Start again from the checkpoint of "
            "cycle 3 and train it at the lower rate.",
        ),
        "findings": (
            make_finding(
                "cycle-rate-falls",
                title="Verification rate fell below the best cycle",
                severity="medium",
                points_to="collapse",
                since_step=4,
                readings=(Reading("cycle.rate_change", -0.056, "share"), Reading("cycle.z", -4.5, "sigma")),
                thresholds={"z": -2.0},
                text="The rate of cycle 4 lies outside the interval of cycle 3.",
            ),
        ),
    }
    return CampaignView(name=name, **{**fields, **changes})


def _cycle_run(cycle: int, **changes: Any) -> RunView:
    rate = {number: lr for number, _, lr in RATES}[cycle]
    loss = loss_curve(16, start=1.0 - 0.1 * cycle, floor=0.5 - 0.05 * cycle, noise=0.02, seed=cycle)
    return make_run(
        f"models/raft/cycle_{cycle}/logs",
        **{
            "campaign": "models/raft",
            "cycle": cycle,
            "last_wall_time": 1_767_000_000.0 + 7_200 * cycle,
            "series": {
                "loss": make_series("loss", loss),
                "grad_norm": make_series("grad_norm", loss_curve(16, start=0.5, floor=0.24, noise=0.03, seed=cycle)),
                "learning_rate": make_series("learning_rate", linear_schedule(16, rate)),
            },
            "config": RunConfig(
                learning_rate=rate,
                max_grad_norm=0.3,
                warmup_steps=0,
                max_steps=16,
                batch_size=2,
                gradient_accumulation=16,
                scheduler="linear",
                lora_rank=16,
                temperature=0.7,
                source="args/text_summary",
            ),
            "verdict": Verdict("ok", 0.71, "the loss falls steadily and stays at its lowest"),
            "findings": (make_finding(state="inactive", since_step=None, text=""), waiting_finding()),
            **changes,
        },
    )


def _live_findings() -> tuple[Finding, ...]:
    return (
        make_finding(),
        make_finding(
            "loss-oscillates",
            title="Training loss oscillates",
            severity="medium",
            state="pending",
            since_step=11,
            readings=(Reading("loss.oscillation", 0.58, "ratio"),),
            thresholds={"sign_change_rate": 0.6},
            text="Every second step undoes the one before.",
        ),
        make_finding("plateau", title="Loss stands still", state="inactive", severity="low", since_step=None),
        waiting_finding(),
    )


def live_cycle(count: int = 12) -> RunView:
    """Return the fourth cycle in training, whose loss climbs from step 6 on.

    Args:
        count: steps so far.
    """
    loss = [0.61, 0.55, 0.50, 0.455, 0.43, 0.415, 0.44, 0.47, 0.53, 0.51, 0.60, 0.66, 0.71, 0.69, 0.78, 0.81][:count]
    norm = [0.31, 0.28, 0.27, 0.24, 0.22, 0.21, 0.26, 0.30, 0.41, 0.38, 0.52, 0.61, 0.66, 0.63, 0.74, 0.79][:count]
    return _cycle_run(
        4,
        state="live",
        last_step=count,
        series={
            "loss": make_series("loss", loss),
            "grad_norm": make_series("grad_norm", norm),
            "learning_rate": make_series("learning_rate", linear_schedule(16, 3.07e-5)[:count]),
        },
        verdict=Verdict(
            "too_high",
            0.82,
            "the loss climbed 4.6 sigma above its lowest point while the gradient norm doubled",
            ("loss-draws-up: towards too high, weight 2.1", "grad-norm-rises: towards too high, weight 0.7"),
        ),
        findings=_live_findings(),
        advice=(
            Advice(
                "learning_rate",
                3.07e-5,
                1.84e-5,
                "propose",
                ("3.07e-5 (cycle 4)", "×0.6 loss-draws-up", "guardrail: within ×3"),
                "Lower the learning rate: this cycle takes steps that the loss does not follow.",
            ),
            Advice("logging_steps", 10, 1, "show", ("logging-too-sparse",), "Log every step; a cycle has only 16."),
        ),
    )


def snapshot(
    runs: Sequence[RunView] = (), campaigns: Sequence[CampaignView] = (), *, version: int = 1, **changes: Any
) -> Snapshot:
    """Return a snapshot of one logdir."""
    fields: dict[str, Any] = {"logdirs": (LOGDIR,), "problems": (), **changes}
    return Snapshot(runs=tuple(runs), campaigns=tuple(campaigns), version=version, **fields)


def empty(version: int = 1) -> Snapshot:
    """Return a logdir without any event file."""
    return snapshot(version=version)


def raft(version: int = 1, count: int = 12) -> Snapshot:
    """Return a RAFT campaign whose fourth cycle trains with too high a learning rate.

    Args:
        version: of the snapshot.
        count: steps of the live cycle.
    """
    problem = Problem(
        f"{LOGDIR}/models/raft/cycle_2/logs/events.out.tfevents.1767.gpu-3.812.0",
        "2 records have a wrong checksum and were left out",
        "Nothing to do; if it goes on, check the disk.",
    )
    runs = (live_cycle(count), *(_cycle_run(cycle) for cycle in (1, 2, 3)))
    return snapshot(runs, (raft_campaign(),), version=version, problems=(problem,), events_read=612)


def pretraining(version: int = 1, count: int = 9_000) -> Snapshot:
    """Return one long live run with a loss spike, evaluation and an entropy curve, in no campaign."""
    rng = np.random.default_rng(3)
    loss = np.array(loss_curve(count, start=9.8, floor=2.6, noise=0.06))
    loss[count * 2 // 3] += 3.1
    norm = np.clip(0.9 + 0.3 * rng.standard_normal(count), 0.2, None)
    norm[count * 2 // 3] = 14.0
    evaluated = list(range(500, count, 500))
    series = {
        "loss": make_series("loss", list(loss)),
        "grad_norm": make_series("grad_norm", list(norm)),
        "learning_rate": make_series("learning_rate", linear_schedule(count, 3e-4, warmup=count // 20)),
        "eval_loss": make_series("eval_loss", [2.9 + 6.0 * math.exp(-s / 1500) for s in evaluated], evaluated),
        "entropy": make_series("entropy", list(1.1 + 0.8 * np.exp(-np.arange(count) / 2500))),
    }
    run = make_run(
        "gpt2-small/version_0",
        state="live",
        dialect="lightning",
        scenario="pretrain",
        last_step=count,
        series=series,
        config=RunConfig(learning_rate=3e-4, max_grad_norm=1.0, max_steps=20_000, scheduler="cosine", batch_size=32),
        verdict=Verdict("ok", 0.88, "the loss falls steadily; one spike recovered within 40 steps"),
        findings=(
            make_finding("loss-spike", title="Loss spiked and recovered", state="resolved", severity="low"),
            make_finding("plateau", title="Loss stands still", state="inactive", severity="low", since_step=None),
        ),
        advice=(Advice("learning_rate", 3e-4, None, "show", (), "Keep the learning rate."),),
    )
    return snapshot((run,), version=version)


def diverged(version: int = 1) -> Snapshot:
    """Return a run whose loss became NaN, and one that holds nothing but NaN."""
    loss = [*loss_curve(300, start=3.2, floor=1.4), *np.linspace(1.6, 60.0, 40), math.inf, *[math.nan] * 60]
    run = make_run(
        "sft/lr-1e-2",
        state="idle",
        scenario="sft",
        last_step=401,
        config=RunConfig(learning_rate=1e-2, max_grad_norm=1.0),
        series={
            "loss": make_series("loss", loss),
            "grad_norm": make_series("grad_norm", [*np.linspace(1, 90, 341), *[math.nan] * 60]),
        },
        verdict=Verdict("too_high", 0.99, "the loss is not a number since step 341"),
        findings=(
            make_finding("loss-not-finite", title="Loss is not a number", severity="critical", since_step=341),
            make_finding(severity="medium", inhibited_by="loss-not-finite"),
        ),
        advice=(Advice("learning_rate", 1e-2, 2e-3, "propose", ("1e-2", "×0.2 loss-not-finite"), "Start again."),),
    )
    lost = make_run(
        "sft/broken", state="idle", config=RunConfig(), series={"loss": make_series("loss", [math.nan] * 20)}
    )
    return snapshot((run, lost), version=version)


def many(count: int = 300, version: int = 1) -> Snapshot:
    """Return many runs in all states and with all verdicts."""
    states = ("live", "idle", "finished", "empty")
    verdicts = (
        Verdict("too_high", 0.8, "the loss climbs"),
        Verdict("too_low", 0.6, "the loss barely moves"),
        Verdict("ok", 0.9, "the loss falls"),
        UNDECIDED,
    )
    runs = [
        make_run(
            f"sweep/lr-{index % 7}/seed-{index:03d}",
            state=states[index % 4],
            verdict=verdicts[index // 4 % 4],
            last_step=index,
        )
        for index in range(count)
    ]
    return snapshot(runs, version=version)


def hostile(version: int = 1) -> Snapshot:
    """Return names and texts that would break a screen which parses markup or obeys control characters."""
    name = "[red]evil[/red] \x1b[2J\n[bold link='x']" + "très-long-" * 12 + "[/]日本語"
    run = make_run(
        name,
        state="live",
        dialect="[b]?[/b]",
        series={"loss": make_series("loss", [1.0, 0.5], tag="[/]tag"), "[x]role": make_series("[x]role", [1.0, 2.0])},
        verdict=Verdict("undecided", 0.1, "[on red]why[/on red] \x1b[31m", ("[/nothing]",)),
        findings=(make_finding("[rule]", title="[reverse]title[/]", text="[/] unbalanced [", missing=("[m]",)),),
        advice=(Advice("[p]", 1.0, 2.0, "show", ("[because]",), "[text] [/]"),),
        config=RunConfig(scheduler="[cosine]", source="[source]"),
    )
    campaign = raft_campaign("[blink]campaign[/]", path=f"{LOGDIR}/c")
    problem = Problem("[where]", "[what\x07", "[/remedy]")
    return snapshot((run,), (campaign,), version=version, logdirs=("/tmp/[red]dir",), problems=(problem,))
