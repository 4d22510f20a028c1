"""What do signals and rules cost, per point and in memory?

A run logs loss, gradient norm and learning rate at every step and an evaluation at every fiftieth. "One new point" is a
step's three values taken in by the signals and a look at every rule, as the monitor does for the first 200; later
it looks once in n/200 points. The back-fill takes in a million scalar events in one go.

usage: python -m tests.benchmarks.cost [--events N]
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from raftmon.advice.engine import RuleEngine
from raftmon.advice.feeding import EVERY_POINT
from raftmon.advice.judging import RunJudge
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import read_weighing
from raftmon.run_config import RunConfig
from raftmon.runs.logdir import Run
from raftmon.runs.roles import RoleTable
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import RunSignals
from tests.benchmarks.replays import FILE_NAME, event_bytes
from tests.benchmarks.sweeps import Condition, trainings

CONFIG = RunConfig(learning_rate=1e-3, max_grad_norm=1.0, max_steps=10_000, warmup_steps=100, batch_size=16)


def rows(steps: int) -> Iterator[tuple[int, list[tuple[str, float]]]]:
    """Yield the values of each step of a healthy run."""
    noise = random.Random(0)
    for step in range(1, steps + 1):
        loss = 1.0 + 3.0 * 0.99**step + noise.gauss(0.0, 0.05)
        values = [("loss", loss), ("grad_norm", 0.5 + noise.random()), ("learning_rate", 1e-3 * (1.0 - step / 1e7))]
        yield step, values + ([("eval_loss", loss + 0.1)] if step % 50 == 0 else [])


def per_point(steps: int, look_always: bool) -> list[float]:
    """Return the CPU seconds of each step: its values taken in, and all rules where the monitor would look."""
    signals, engine = RunSignals(CONFIG), RuleEngine([rule for rule in load_rules() if rule.subject == "run"])
    spent = []
    for step, values in rows(steps):
        begun = time.perf_counter()
        for role, value in values:
            signals.update(role, step, value)
        if look_always or step <= EVERY_POINT or step % (step // EVERY_POINT) == 0:
            engine.tick(signals.readings(RunFacts(CONFIG, False, step, step, step)), step, step)
        spent.append(time.perf_counter() - begun)
    return spent


def memory(steps: int) -> int:
    """Return the bytes that the signals and rule states of one run hold."""
    rules = [rule for rule in load_rules() if rule.subject == "run"]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    signals, engine = RunSignals(CONFIG), RuleEngine(rules)
    for step, values in rows(steps):
        for role, value in values:
            signals.update(role, step, value)
    engine.tick(signals.readings(RunFacts(CONFIG, False, steps, steps, steps)), steps, steps)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held


def back_fill(events: int) -> tuple[float, float]:
    """Return the CPU seconds of reading an event file of so many events, and of judging what it brought."""
    training = max(trainings(), key=lambda case: case.steps)
    piece = b"".join(event_bytes(training, Condition()))
    times = max(1, events // (3 * training.steps))
    rules, roles = [rule for rule in load_rules() if rule.subject == "run"], RoleTable.load(SHIPPED_RULES, [])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE_NAME
        path.write_bytes(piece * times)
        run = Run("run", Path(directory))
        run.add_file(path)
        judge = RunJudge(run, rules, read_weighing(SHIPPED_RULES / "verdict.yaml"), roles)
        reading = judging = 0.0
        more = True
        while more:
            begun = time.process_time()
            update = run.poll(4 << 20)
            read = time.process_time()
            judge.follow(update, in_campaign=False)
            reading += read - begun
            judging += time.process_time() - read
            more = update.more
    return reading, judging


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    arguments = parser.parse_args()
    every, usual = per_point(2000, look_always=True), per_point(10_000, look_always=False)
    print(f"one new step (3 values) and all rules: median {1e6 * statistics.median(every):.0f} us")
    print(f"one new step of a run of 10,000: median {1e6 * statistics.median(usual):.0f} us")
    print(f"memory of signals and rules of one run after 10,000 steps: {memory(10_000) / 1024:.0f} kB")
    reading, judging = back_fill(arguments.events)
    print(
        f"back-fill of {arguments.events:,} events: reading {reading:.1f} s, signals and rules {judging:.1f} s", end=""
    )
    print(f", ratio {judging / reading:.2f}")


if __name__ == "__main__":
    main()
