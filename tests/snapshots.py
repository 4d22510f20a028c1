"""Fake snapshots with realistic numbers: what a monitor would hand to a front end.

Each function returns a fresh, deterministic object; `version` and the length of the curves are arguments, so that a
test can let time pass. The builders of single views in `tests.views` can be had from here, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from raftmon.model import Advice, CampaignView, Finding, NextCycle, Problem, Reading, RunView, Snapshot, Step, Verdict
from raftmon.run_config import RunConfig
from tests.views import (
    LOGDIR,
    UNDECIDED,
    linear_schedule,
    loss_curve,
    make_cycle,
    make_evidence,
    make_finding,
    make_run,
    make_series,
    waiting_finding,
)

__all__ = [
    "LOGDIR",
    "RATES",
    "UNDECIDED",
    "diverged",
    "empty",
    "hostile",
    "linear_schedule",
    "live_cycle",
    "loss_curve",
    "make_cycle",
    "make_evidence",
    "make_finding",
    "make_run",
    "make_series",
    "many",
    "pretraining",
    "raft",
    "raft_campaign",
    "snapshot",
    "waiting_finding",
]

RATES = ((1, 0.312, 5.0e-5), (2, 0.365, 4.25e-5), (3, 0.397, 3.61e-5), (4, 0.341, 3.07e-5))
"""Cycle, verification rate, learning rate of `raft_campaign`."""


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
            steps=(
                Step("strategy:exponential", None, "strategy:exponential 5e-5 × 0.85^4"),
                Step("guardrail", None, "guardrail: within ×3"),
            ),
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
        make_finding(evidence=make_evidence()),
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
            ("largest rise back 4.6 times the progress (+2.1 for too high)", "gradient norm 2 times its first (+0.7)"),
            ("A second run at a third of the rate that ends no better.",),
            "left-out families, whole runs: accuracy 0.70",
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
        findings=(
            make_finding(
                "[rule]",
                title="[reverse]title[/]",
                text="[/] unbalanced [",
                missing=("[m]",),
                evidence=make_evidence(
                    description="[/] \x1b[2J",
                    false_positives=("[b]else[/b]",),
                    would_change=("[/change]",),
                    sources=(("[claim]", "[ref"),),
                    hold="[hold]",
                ),
            ),
        ),
        advice=(Advice("[p]", 1.0, 2.0, "show", ("[because]",), "[text] [/]"),),
        config=RunConfig(scheduler="[cosine]", source="[source]"),
    )
    campaign = raft_campaign("[blink]campaign[/]", path=f"{LOGDIR}/c")
    problem = Problem("[where]", "[what\x07", "[/remedy]")
    return snapshot((run,), (campaign,), version=version, logdirs=("/data/[red]dir",), problems=(problem,))
