"""Trainings that look alarming for another reason than their learning rate are not blamed on it."""

from pathlib import Path

import pytest

from raftmon.model import SEVERITIES, RunView
from raftmon.monitor import Monitor

CONTROLS = Path(__file__).parent / "controls"


@pytest.fixture(scope="module")
def views() -> dict[str, RunView]:
    snapshot = Monitor([CONTROLS]).poll()
    assert not snapshot.backfilling
    return {view.run: view for view in snapshot.runs}


def test_all_controls_are_there(views: dict[str, RunView]) -> None:
    assert views.keys() == {"curriculum", "gan", "skipped-steps", "value-loss"}


@pytest.mark.parametrize("control", ["curriculum", "gan", "skipped-steps", "value-loss"])
def test_the_learning_rate_is_not_blamed(views: dict[str, RunView], control: str) -> None:
    view = views[control]

    assert view.verdict.learning_rate in ("ok", "undecided")
    loud = [f for f in view.firing if SEVERITIES.index(f.severity) >= SEVERITIES.index("high")]
    assert loud == []
    assert not [f for f in view.firing if f.points_to == "lr_too_high" and f.severity != "informational"]


def test_neither_loss_of_a_gan_is_a_training_loss(views: dict[str, RunView]) -> None:
    assert views["gan"].dialect == "adversarial"
    assert "loss" not in views["gan"].series


def test_an_actor_critic_is_read_by_its_reward(views: dict[str, RunView]) -> None:
    assert {"reward", "value_loss"} <= views["value-loss"].series.keys()
    assert views["value-loss"].firing == ()
