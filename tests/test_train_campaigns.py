"""The recorded campaigns: whole, labelled as the README says, and made by a training that repeats itself."""

import math

import pytest

from tests.campaign_tasks import TASKS
from tests.recorded_campaigns import HELD_OUT_PROMPTS, SAMPLES, TRAINING_PROMPTS, recorded_campaigns


def test_every_campaign_is_whole() -> None:
    campaigns = recorded_campaigns()

    assert len(campaigns) == 140
    for campaign in campaigns:
        assert len(campaign.cycles) == 12
        for cycle in campaign.cycles:
            assert sum(times * count for times, count in cycle.outputs) == cycle.passed <= TRAINING_PROMPTS * SAMPLES
            assert cycle.held_passed <= HELD_OUT_PROMPTS * SAMPLES
            assert len(cycle.loss) == len(cycle.grad_norm) == math.ceil(cycle.kept / 8)


def test_a_collapse_stays_below_until_the_end() -> None:
    for campaign in recorded_campaigns():
        limit = 0.8 * campaign.cycles[campaign.peak].true_rate
        if campaign.collapse is not None:
            assert all(cycle.true_rate < limit for cycle in campaign.cycles[campaign.collapse :])
            assert campaign.cycles[campaign.collapse - 1].true_rate >= limit
            assert not campaign.is_open
        elif not campaign.is_open:
            assert campaign.cycles[-1].true_rate >= limit


@pytest.mark.parametrize("name", list(TASKS))
def test_a_right_answer_is_right_and_a_spoilt_one_mostly_wrong(name: str) -> None:
    import random

    task, rng = TASKS[name](), random.Random(1)
    right = [(prompt, task.solve(prompt, rng)) for prompt in task.prompts for _ in range(20)]

    assert len({len(prompt) for prompt in task.prompts}) == 1
    assert all(task.judge(prompt, answer) and len(answer) <= task.longest for prompt, answer in right)
    assert sum(task.judge(prompt, task.spoil(answer, rng)) for prompt, answer in right) < 0.3 * len(right)


def test_the_same_seed_gives_the_same_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from tests import train_campaigns

    monkeypatch.setattr(train_campaigns, "CYCLES", 2)
    task = TASKS["arithmetic"]()
    base = train_campaigns.pretrain(task, steps=150)
    setting = train_campaigns.Setting("arithmetic", 1e-3, 0.7, "decay", 1)
    one, other = (train_campaigns.train_campaign(setting, task, base) for _ in range(2))

    assert repr(one) == repr(other)
    assert one["cycles"][1]["lr"] == pytest.approx(8.5e-4)
