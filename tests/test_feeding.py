"""Points taken in one by one, many at a time, or in any pieces: the same readings and findings, to the last bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftmon.advice.engine import RuleEngine, rules_for
from raftmon.advice.feeding import by_role, is_due, next_due, pieces
from raftmon.advice.judging import RunJudge
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import read_weighing
from raftmon.events.columns import ScalarBatch
from raftmon.run_config import RunConfig
from raftmon.runs.logdir import Run, RunUpdate
from raftmon.runs.roles import RoleTable
from raftmon.runs.series import Series
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import Column, RunSignals

RULES: Final = tuple(load_rules())
WEIGHING: Final = read_weighing(SHIPPED_RULES / "verdict.yaml")
ROLES: Final = RoleTable.load(SHIPPED_RULES, [])
CONFIG: Final = RunConfig(learning_rate=1e-3, max_grad_norm=1.0, max_steps=500, warmup_steps=10)
TAG_OF: Final = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "eval_loss": "eval/loss",
    "reward": "train/reward",
    "entropy": "train/entropy",
    "rho": "raftmon/rho",
    "update_ratio": "raftmon/update_ratio",
}
ODD: Final = (math.nan, math.inf, -math.inf, 0.0, 1e200, -1e150)

Row = tuple[str, int, float]


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Rows of a log that falls, is noisy, spikes, breaks off, stands still and comes back."""
    seed, length = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 600))
    odd, spiky, still = (draw(st.sampled_from((0.0, 0.02, 0.3))) for _ in range(3))
    generator = np.random.default_rng(seed)
    rows: list[Row] = []
    last = dict.fromkeys(TAG_OF, 1.0)
    for step in range(1, length + 1):
        for role in TAG_OF:
            if generator.random() > (0.9 if role in ("loss", "grad_norm", "learning_rate") else 0.15):
                continue
            value = float(math.exp(-step / 100.0) + abs(generator.normal(0.0, 0.1)))
            value *= 50.0 if generator.random() < spiky else 1.0
            value = last[role] if generator.random() < still else value
            value = float(generator.choice(ODD)) if generator.random() < odd else value
            last[role] = value
            rows.append((role, step, value))
    return rows


def columns(rows: list[Row], begin: int, end: int) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for place, (role, step, value) in enumerate(rows[begin:end]):
        column = found.setdefault(role, Column([], [], []))
        column.rows.append(place)
        column.steps.append(step)
        column.values.append(value)
    return found


def batch(rows: list[Row]) -> ScalarBatch:
    roles = list(TAG_OF)
    return ScalarBatch(
        tuple(TAG_OF.values()),
        np.array([roles.index(role) for role, _, _ in rows], dtype=np.int32),
        np.array([step for _, step, _ in rows], dtype=np.int64),
        np.zeros(len(rows)),
        np.array([value for _, _, value in rows], dtype=np.float64),
    )


def everything(signals: RunSignals, points: int) -> str:
    return repr(sorted(signals.readings(RunFacts(CONFIG, False, points, points, points)).complete().items()))


@settings(deadline=None, max_examples=60)
@given(logs(), st.data())
def test_signals_read_the_same_however_the_points_come(rows: list[Row], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=6)))
    one_by_one, in_pieces = RunSignals(CONFIG, averaged=True), RunSignals(CONFIG, averaged=True)

    for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        in_pieces.extend(columns(rows, begin, end))
        for role, step, value in rows[begin:end]:
            one_by_one.update(role, step, value)
        assert everything(in_pieces, end) == everything(one_by_one, end)


@settings(deadline=None, max_examples=25)
@given(logs())
def test_a_rule_that_is_passed_over_would_have_seen_nothing_new(rows: list[Row]) -> None:
    signals = RunSignals(CONFIG)
    heeding, looking = (RuleEngine(rules_for(RULES, "any")) for _ in range(2))
    moved = {"run"}

    for point, (role, step, value) in enumerate(rows, start=1):
        signals.update(role, step, value)
        moved.add(role)
        if point % 3 == 0:
            facts = RunFacts(CONFIG, False, step, point)
            heeding.tick(signals.readings(facts), point, step, frozenset(moved))
            looking.tick(signals.readings(facts), point, step)
            moved = {"run"}
            if point % 30 == 0:
                found = [engine.findings(signals.readings(facts), point, step, {}) for engine in (heeding, looking)]
                assert repr(found[0]) == repr(found[1])


class Fed:
    """A judge whose points come from here."""

    def __init__(self) -> None:
        self.run = Run("run", Path("no-such-directory"))
        self.judge = RunJudge(self.run, RULES, WEIGHING, ROLES)
        for tag in TAG_OF.values():
            self.run.series[tag] = Series()

    def take(self, rows: list[Row]) -> None:
        brought = batch(rows)
        for number, tag in enumerate(brought.tags):
            places = brought.tag_id == number
            self.run.series[tag].append(brought.step[places], brought.value[places])
        self.judge.follow(RunUpdate((brought,), rewound=False, more=False, bytes_read=0), in_campaign=False)

    def said(self) -> str:
        view = self.judge.view("live", None, None)
        return repr((view.findings, view.verdict, view.advice))


@settings(deadline=None, max_examples=25)
@given(logs(), st.data())
def test_a_run_is_judged_the_same_however_its_points_come(rows: list[Row], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8)))
    at_once, in_pieces, one_by_one = Fed(), Fed(), Fed()

    at_once.take(rows)
    for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        in_pieces.take(rows[begin:end])
        in_pieces.said()  # looking leaves no trace
    for row in rows:
        one_by_one.take([row])

    assert at_once.said() == in_pieces.said() == one_by_one.said()


def test_what_has_not_changed_is_not_worked_out_again() -> None:
    fed = Fed()
    rows = [(role, step, 1.0 / step) for step in range(1, 50) for role in ("loss", "learning_rate")]
    fed.take(rows)
    view, standing = fed.judge.view("live", None, None), fed.judge.standing()

    assert fed.judge.view("live", None, None) is view
    assert fed.judge.standing() is standing is not None
    assert fed.judge.view("idle", None, None) is not view

    fed.take([("loss", 50, 0.02)])

    assert fed.judge.standing() is not standing
    now = fed.judge.view("live", None, None)
    assert now is not view
    assert sum(new is old for new in now.findings for old in view.findings) > len(now.findings) / 2


def test_the_next_place_to_look_is_the_first_that_is_due() -> None:
    for point in range(5_000):
        following = next(place for place in range(point + 1, point + 100) if is_due(place))
        assert next_due(point) == following


@pytest.mark.parametrize("before", [0, 1, 7, 199, 200, 450])
def test_pieces_end_where_the_clock_is_due(before: int) -> None:
    rows = [(role, step, 1.0) for step in range(1, 300) for role in ("grad_norm", "loss", "learning_rate")]
    given_columns = by_role(batch(rows), {tag: (role, 1.0) for role, tag in TAG_OF.items()})
    points, fed, looks = before, 0, []
    for piece, judged in pieces(given_columns, "loss", before):
        points += len(piece["loss"].steps) if "loss" in piece else 0
        fed += sum(len(column.steps) for column in piece.values())
        if judged:
            looks.append(points)
            assert rows[fed][0] == "loss"

    assert fed == len(rows)
    assert looks == [point for point in range(max(1, before), points) if is_due(point)]
