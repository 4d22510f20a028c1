"""Reads the test cases beside the rules and runs them.

A series is written in promtool's manner: ``2.0-0.002x400`` is 2.0 and then 400 steps of -0.002 each, ``0.5x20`` is
twenty points of 0.5, ``_`` or ``_x30`` nothing logged, ``nan`` and ``inf`` what they say. ``~0.05`` behind a piece
adds noise of that standard deviation, the same in every run.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import numpy as np

from raftmon.advice.engine import RuleEngine
from raftmon.advice.rule import Rule, RuleTest
from raftmon.documents import Fields, read_fields
from raftmon.model import FindingState, Problem
from raftmon.runs.config_keys import run_config
from raftmon.signals.campaign import CampaignSignals, CycleFacts
from raftmon.signals.progress import RunFacts
from raftmon.signals.rates import Rate
from raftmon.signals.registry import RunSignals
from raftmon.signals.siblings import SiblingSignals, Standing, standing
from raftmon.signals.standing import STANDING_STILL

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_tests", "run_test"]

_PIECE: Final = re.compile(
    r"(?P<start>_|nan|-?inf|[-+]?[0-9.]+(?:e[-+]?[0-9]+)?)"
    r"(?P<slope>[-+][0-9.]+(?:e[-+]?[0-9]+)?)?(?:x(?P<count>[0-9]+))?(?:~(?P<noise>[0-9.]+(?:e[-+]?[0-9]+)?))?"
)
_CONFIG: Final = (
    "learning_rate",
    "max_grad_norm",
    "warmup_steps",
    "max_steps",
    "batch_size",
    "gradient_accumulation",
    "lora_rank",
    "lora_alpha",
    "logging_steps",
    "temperature",
    "beta2",
    "weight_decay",
    "epochs",
    "train_samples",
    "model_parameters",
    "num_cycles",
    "lr_decay",
)
_WORDS: Final = ("scheduler", "optimizer", "method", "stage")
_PROBES: Final = ("rho", "kl", "harm", "loss_drop", "broken")
_CYCLE: Final = (
    "rate",
    "verified",
    "unique_fraction",
    "distinct",
    "entropy",
    "mean_length",
    "training_rate",
    "training_verified",
    "learning_rate",
    *_PROBES,
)


def read_tests(path: Path, rule: Rule, problems: list[Problem]) -> tuple[RuleTest, ...]:
    """Read a rule's test file; a rule needs one that shows it firing, silent, and without data."""
    fields = read_fields(path, problems)
    if fields is None:
        return ()
    tests = tuple(_case(case) for case in fields.mappings("cases", required=True))
    fields.finish()
    shown = {state for test in tests for _, state in test.expect}
    missing = [state for state in ("firing", "unknown") if state not in shown]
    if not shown & {"inactive", "pending", "resolved"}:
        missing.insert(1, "inactive")
    if missing:
        remedy = f"Add a case that expects {' and one that expects '.join(missing)}."
        problems.append(Problem(str(path), f"no case shows `{rule.id}` {' or '.join(missing)}", remedy))
    return tests


def run_test(test: RuleTest, rule: Rule) -> list[str]:
    """Run a case; returns what went otherwise than expected, one sentence each."""
    states = dict(_campaign_states(test, rule) if rule.subject == "campaign" else _run_states(test, rule))
    last = max(states, default=0)
    failures = []
    for at, expected in test.expect:
        place = last if at is None else at
        actual = states.get(place, "unknown")
        if actual != expected:
            unit = "cycle" if rule.subject == "campaign" else "step"
            failures.append(f"{test.where}: {test.name}: {rule.id} is {actual} at {unit} {place}, expected {expected}")
    return failures


def _run_states(test: RuleTest, rule: Rule) -> Iterator[tuple[int, str]]:
    config = run_config(test.config, test.where)
    signals, engine = RunSignals(config), RuleEngine([rule])
    length = max((len(values) for values in test.series.values()), default=0)
    points: dict[str, int] = {}
    for index in range(length):
        for role, values in test.series.items():
            value = values[index] if index < len(values) else None
            if value is not None:
                signals.update(role, index + 1, value)
                points[role] = points.get(role, 0) + 1
        over = test.ended and index == length - 1
        steps = index + 1 if over else None
        facts = RunFacts(config, over, index, max(points.values(), default=0), steps, finished=over)
        still = test.series.get(STANDING_STILL, ())
        silence = {STANDING_STILL: still[index] if index < len(still) else None}
        readings = signals.readings(facts, {**_siblings(test, index + 1), **silence})
        engine.tick(readings, index + 1, index + 1)
        yield index + 1, engine.findings(readings, index + 1, index + 1, {})[0].state
    if length == 0:
        yield 0, engine.findings(signals.readings(RunFacts(config, test.ended, None)), 0, 0, {})[0].state


def _siblings(test: RuleTest, steps: int) -> Mapping[str, float | None]:
    """Compare the case with the runs beside it, all of them as they were after so many steps."""
    rate = test.config.get("learning_rate")
    own = _standing(rate if isinstance(rate, float) else None, test.series.get("loss", ()), steps)
    others = [_standing(rate, loss, steps) for rate, loss in test.siblings]
    return SiblingSignals.readings(own, [other for other in others if other is not None])


def _standing(rate: float | None, values: Sequence[float | None], steps: int) -> Standing | None:
    logged = [(step, value) for step, value in enumerate(values[:steps], start=1) if value is not None]
    columns = np.array([step for step, _ in logged], dtype=np.int64), np.array([value for _, value in logged])
    return standing(rate, columns, None)


def _campaign_states(test: RuleTest, rule: Rule) -> Iterator[tuple[int, str]]:
    signals, engine = CampaignSignals(), RuleEngine([rule])
    for number, cycle in enumerate(test.cycles, start=1):
        signals.update(_cycle_facts(number, cycle))
        readings = signals.readings()
        engine.tick(readings, number, number)
        yield number, engine.findings(readings, number, number, {})[0].state


def _cycle_facts(number: int, cycle: Mapping[str, float]) -> CycleFacts:
    """Return one cycle of a test; its training prompts were asked as often as its held-out ones unless it says so."""
    verified, training = cycle.get("verified"), cycle.get("training_rate")
    asked = cycle.get("training_verified", verified)
    counted = int(verified) if verified is not None else None
    return CycleFacts(
        cycle=number,
        rate=cycle.get("rate"),
        verified=counted,
        held_out=training is not None,
        unique_fraction=cycle.get("unique_fraction"),
        distinct=cycle.get("distinct"),
        entropy=cycle.get("entropy"),
        mean_length=cycle.get("mean_length"),
        training=Rate(training, int(asked) if asked is not None else None) if training is not None else None,
        acceptance=training if training is not None else cycle.get("rate"),
        rho=cycle.get("rho"),
        kl=cycle.get("kl"),
        harm=cycle.get("harm"),
        broken=int(cycle["broken"]) if "broken" in cycle else None,
        loss_drop=cycle.get("loss_drop"),
        learning_rate=cycle.get("learning_rate"),
    )


def _case(fields: Fields) -> RuleTest:
    name = fields.text("name")
    series_fields, config_fields = fields.mapping("series"), fields.mapping("config")
    series = {role: _expand(series_fields, role) for role in list(series_fields.keys())} if series_fields else {}
    config = _config(config_fields) if config_fields is not None else {}
    cycles = tuple(_numbers(cycle, _CYCLE) for cycle in fields.mappings("cycles"))
    siblings = tuple(_sibling(entry) for entry in fields.mappings("siblings"))
    expect = []
    for entry in fields.mappings("expect", required=True):
        at = entry.number("step", entry.number("cycle"))
        expect.append((int(at) if at is not None else None, entry.text("state", choices=get_args(FindingState))))
        entry.finish()
    ended = fields.flag("ended", False)
    fields.finish()
    return RuleTest(fields.place(), name, series, cycles, config, siblings, ended, tuple(expect))


def _sibling(fields: Fields) -> tuple[float, tuple[float | None, ...]]:
    sibling = fields.number("learning_rate", required=True) or 0.0, _expand(fields, "loss")
    fields.finish()
    return sibling


def _config(fields: Fields) -> Mapping[str, float | str | bool]:
    """Read what the case knows of the configuration, in the words of `RunConfig`."""
    found: dict[str, float | str | bool] = {name: text for name in _WORDS if (text := fields.text(name, ""))}
    if not fields.flag("clips", True):
        found["clips"] = False
    return {**found, **_numbers(fields, _CONFIG)}


def _numbers(fields: Fields | None, names: tuple[str, ...]) -> Mapping[str, float]:
    if fields is None:
        return {}
    numbers = {name: value for name in names if (value := fields.number(name)) is not None}
    fields.finish()
    return numbers


def _expand(fields: Fields, role: str) -> tuple[float | None, ...]:
    """Write a series out."""
    generator = random.Random(role)
    values: list[float | None] = []
    for word in fields.text(role).split():
        piece = _PIECE.fullmatch(word)
        if piece is None:
            fields.complain(
                f"`{word}` is no piece of a series", "For example 2.0-0.01x100, 0.5x20~0.1, _x5, nan.", role
            )
            continue
        count = int(piece["count"] or (0 if piece["slope"] else 1))
        if piece["start"] == "_":
            values += [None] * count
            continue
        start, slope = float(piece["start"]), float(piece["slope"] or 0.0)
        noise = float(piece["noise"] or 0.0)
        length = count + 1 if piece["slope"] else count
        for index in range(length):
            value = start + slope * index
            values.append(value + generator.gauss(0.0, noise) if noise and math.isfinite(value) else value)
    return tuple(values)
