"""What a scrape of the daemon's metrics costs: `python -m tests.benchmarks.scrape`.

CPU time of the thread that renders, each time after all live runs changed; half of them have a finding that fires, a
third an advised rate.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from raftmon.daemon.health import Health
from raftmon.daemon.metrics import Metrics
from raftmon.model import Advice, RunView, Snapshot, Verdict
from tests.views import LOGDIR, make_finding, make_run, make_series

__all__ = ["measure"]

ROUNDS: Final = 10


def live(number: int, step: int, now: float) -> RunView:
    """Return a run that goes on, as it is after a step."""
    return make_run(
        f"group{number % 20}/exp{number // 10}/cycle_{number % 10}/logs",
        state="live",
        last_step=step,
        last_wall_time=now,
        clock=(np.arange(64) * 10, now - 640 + np.arange(64) * 10.0),
        series={"learning_rate": make_series("learning_rate", [5e-5] * 100)},
        findings=(make_finding("grad-norm-clipped"),) * (number % 2),
        advice=(Advice("learning_rate", 5e-5, 1.5e-5, "propose", (), ""),) * (number % 3 == 0),
        verdict=Verdict("ok", 0.7, "the loss falls steadily"),
    )


def measure(runs: int, finished: int) -> str:
    """Return a line with what `runs` live runs beside so many finished ones cost."""
    now = time.time()
    over = make_run("old", state="finished", last_wall_time=now - 1e6, findings=(), advice=())
    taking = rendering = 0.0
    clock = [0.0]
    metrics = Metrics(lambda: Health(True, True, ""), timer=lambda: clock[0])
    for step in range(ROUNDS):
        views = (*(live(number, step, now) for number in range(runs)), *(over,) * finished)
        snapshot = Snapshot((LOGDIR,), views, (), (), version=step + 1, events_read=step * runs, lags=(0.5,) * runs)
        begun = time.thread_time()
        metrics.take(snapshot)
        taken = time.thread_time()
        clock[0] += 60.0
        packed = metrics.page("application/openmetrics-text", packed=True)
        taking, rendering = taking + taken - begun, rendering + time.thread_time() - taken
    text = metrics.page("application/openmetrics-text").body
    took, cost = 1e3 * taking / ROUNDS, 1e3 * rendering / ROUNDS
    sizes = f"{len(text) / 1e3:.0f} kB, {len(packed.body) / 1e3:.0f} kB compressed"
    return f"{runs} live, {finished} finished: take {took:.2f} ms, scrape {cost:.1f} ms, {sizes}"


if __name__ == "__main__":
    for live_runs, old_runs in ((10, 0), (100, 0), (1000, 0), (1000, 10_000), (2000, 0)):
        print(measure(live_runs, old_runs))
