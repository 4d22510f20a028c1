"""Schedules that are saved, loaded, pickled, copied, or put after one of torch's own go on alike."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="schedules are torch's")

from torch.optim import lr_scheduler  # noqa: E402

from raftmon.torch import (  # noqa: E402
    plateau_decay,
    warmup_linear,
)
from tests.schedule_toys import MAKERS, RATES, assert_same, now, rates_of, sgd, walk  # noqa: E402


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("after", [0, 1, 3, 12, 39])
def test_what_is_saved_goes_on_alike(name: str, after: int) -> None:
    whole = rates_of(MAKERS[name], 60)
    optimizer = sgd()
    scheduler = MAKERS[name](optimizer)
    walk(optimizer, scheduler, after)
    file = io.BytesIO()
    torch.save({"scheduler": scheduler.state_dict(), "optimizer": optimizer.state_dict()}, file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again = sgd((1.0, 2.0, 3.0))
    resumed = MAKERS[name](again)
    again.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["scheduler"])

    assert walk(again, resumed, 60 - after) == whole[after:]


def test_the_lengths_come_back_with_the_state() -> None:
    optimizer, again = sgd(), sgd()
    scheduler, other = warmup_linear(optimizer, 40), warmup_linear(again, 80)
    walk(optimizer, scheduler, 10)
    other.load_state_dict(scheduler.state_dict())

    assert walk(again, other, 30)[1:] == walk(optimizer, scheduler, 30)[1:]


@pytest.mark.parametrize("name", [*MAKERS, "plateau"])
@pytest.mark.parametrize("copied", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy_goes_on_alike_with_an_optimiser_of_its_own(name: str, copied: Callable[[Any], Any]) -> None:
    optimizer = sgd()
    if name == "plateau":
        scheduler: Any = plateau_decay(optimizer, patience=2)
        for _ in range(5):
            scheduler.step(1.0)
        again = copied(scheduler)
        for one in (scheduler, again):
            for _ in range(5):
                one.step(1.0)
        assert now(optimizer) == now(again.optimizer) == pytest.approx([rate * 0.001 for rate in RATES])
        return
    scheduler = MAKERS[name](optimizer)
    walk(optimizer, scheduler, 9)
    again = copied(scheduler)

    assert walk(again.optimizer, again, 40) == walk(optimizer, scheduler, 40)
    assert again.optimizer is not optimizer


@pytest.mark.parametrize("name", MAKERS)
def test_one_may_follow_another_of_torchs(name: str) -> None:
    optimizer = sgd()
    parts = [lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=100), MAKERS[name](optimizer)]
    seen = walk(optimizer, lr_scheduler.SequentialLR(optimizer, parts, milestones=[6]), 40)

    assert seen[:6] == [[rate * 0.5 for rate in RATES]] * 6
    assert_same(seen[6:], rates_of(MAKERS[name], 34))
