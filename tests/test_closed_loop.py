"""The closed loop in small: tasks, processes, obedience, and the arithmetic of its tables."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campaign_tasks import TASKS, Task

torch = pytest.importorskip("torch", reason="the closed loop trains with torch")

from tests.benchmarks import closed_loop, loop_cycle, loop_table  # noqa: E402
from tests.benchmarks.loop_campaign import Arm, Campaign, Outcome, as_fork, as_new_process, run_campaign  # noqa: E402
from tests.benchmarks.loop_policy import ALPHABET, Policy, base_policy  # noqa: E402
from tests.benchmarks.loop_records import Recorded, write_records  # noqa: E402
from tests.benchmarks.loop_tasks import JUDGED  # noqa: E402

ARMS: tuple[Arm, ...] = ("constant", "raftmon", "raftmon-probes")
SHORT = 120
"""Steps of a pre-training that is over in seconds."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return base_policy(JUDGED["walks"](), tmp_path_factory.mktemp("base") / "walks.pt", SHORT)


@pytest.mark.parametrize("name", JUDGED)
@given(seed=st.integers(0, 10**6))
def test_a_right_answer_is_accepted_and_a_spoilt_one_seldom(name: str, seed: int) -> None:
    task, rng = JUDGED[name](), random.Random(seed)
    prompt = rng.choice(task.prompts)
    answers = [task.solve(prompt, rng) for _ in range(20)]

    assert all(task.judge(prompt, answer) for answer in answers)
    assert all(len(answer) <= task.longest for answer in answers)
    assert sum(task.judge(prompt, task.spoil(answer, rng)) for answer in answers) < 20


@pytest.mark.parametrize("name", JUDGED)
def test_a_task_asks_forty_prompts_of_one_length_with_several_answers_each(name: str) -> None:
    task, rng = JUDGED[name](), random.Random(1)

    assert len(set(task.prompts)) == len(task.prompts) == 40
    assert len({len(prompt) for prompt in task.prompts}) == 1
    assert name not in TASKS
    assert min(len({task.solve(prompt, rng) for _ in range(200)}) for prompt in task.prompts) >= 5


def test_the_policy_can_read_and_write_every_task() -> None:
    tasks: list[Task] = [make() for make in {**TASKS, **JUDGED}.values()]

    assert all(set("".join(task.prompts)) <= set(ALPHABET) for task in tasks)


@pytest.mark.parametrize(
    ("prompt", "right", "wrong"),
    [("+1-2,7=", "addabcd", "addabc"), ("+0+0,6=", "abcdab", "aaaaaa")],
)
def test_a_walk_ends_where_it_should(prompt: str, right: str, wrong: str) -> None:
    task = JUDGED["walks"]()

    assert task.judge(prompt, right)
    assert not task.judge(prompt, wrong)
    assert not task.judge(prompt, f"{right[:-1]}x")


def test_the_cache_changes_nothing_of_what_is_sampled() -> None:
    """The likelihoods that sampling goes by are those that the loss is made of."""
    torch.manual_seed(1)
    policy, prompts = Policy(), ["+1-2,7=", "+0+0,7="]
    characters = torch.randint(1, 20, (2, 12))
    cache = [torch.zeros(2, 2, 4, 32, 16) for _ in range(2)]
    with torch.no_grad():
        whole = policy(characters)
        pieces = [
            policy(characters[:, :7], cache),
            *(policy(characters[:, at : at + 1], cache, at) for at in range(7, 12)),
        ]

    assert torch.allclose(whole, torch.cat(pieces, dim=1), atol=1e-5)
    assert [prompt for prompt, _ in policy.sample(prompts, 1.0, 9)] == prompts


def test_an_adapter_changes_nothing_until_it_is_trained(base: Path) -> None:
    whole, adapted = Policy(), Policy(rank=4)
    whole.load_state_dict(torch.load(base))
    adapted.load_state_dict(torch.load(base), strict=False)
    pairs = [("+1-2,7=", "addabcd")]

    assert whole.sums(pairs, 1.0)[0].item() == pytest.approx(adapted.sums(pairs, 1.0)[0].item())
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert trained
    assert all(name.endswith(("down", "up")) for name in trained)


@pytest.mark.timeout(300)
def test_a_campaign_far_too_high_goes_back_to_the_base_model_and_lower(base: Path, tmp_path: Path) -> None:
    """Each cycle and each call of raftmon is an interpreter of its own here."""
    campaign = Campaign("walks", 1, "raftmon-probes", 3e-2, cycles=2)

    outcome = run_campaign(campaign, base, tmp_path, as_new_process)

    assert outcome.rates[0] == pytest.approx(3e-2)
    assert outcome.rates[1] <= 3.1e-3
    assert outcome.starts == [0, 0]
    assert outcome.wasted == 1
    assert "back to the base model" in outcome.because[0]
    assert not (tmp_path / campaign.name).exists()
    # Asked again, it is read from where it was kept.
    assert run_campaign(campaign, base, tmp_path, _never) == outcome


@pytest.mark.timeout(300)
def test_a_fork_does_what_a_process_of_its_own_does(base: Path, tmp_path: Path) -> None:
    campaign = Campaign("walks", 2, "constant", 1e-3, cycles=1)

    forked = run_campaign(campaign, base, tmp_path / "fork", as_fork)
    spawned = run_campaign(campaign, base, tmp_path / "new", as_new_process)

    assert forked == spawned
    assert len(forked.truth) == 2


@pytest.mark.parametrize(("arm", "rates"), [("decay", [1e-3, 8.5e-4, 7.225e-4]), ("literal", [1e-3, 5e-4, 2.5e-4])])
def test_without_raftmon_the_loop_does_what_its_arm_says(
    arm: Arm, rates: list[float], base: Path, tmp_path: Path
) -> None:
    outcome = run_campaign(Campaign("walks", 1, arm, 1e-3, cycles=3), base, tmp_path, _Pretended([40, 30, 50]))

    assert outcome.rates == pytest.approx(rates)
    assert outcome.starts == [0, 1, 2]
    assert outcome.shipped == 3


def test_raftmon_is_obeyed(base: Path, tmp_path: Path) -> None:
    said: list[dict[str, object]] = [
        {"roll_back_to": None},
        {"roll_back_to": 1, "best_cycle": 1},
        {"stop": True, "best_cycle": 1},
    ]
    way = _Pretended([40, 10, 30], said)

    outcome = run_campaign(Campaign("walks", 1, "raftmon", 1e-3, cycles=8), base, tmp_path, way)

    assert outcome.starts == [0, 1, 1]
    # Cycle 2 was gone back from; cycle 3 is not what is shipped.
    assert (outcome.shipped, outcome.stopped, outcome.wasted) == (1, 3, 2)


def test_a_refusal_of_raftmon_is_no_advice(base: Path, tmp_path: Path) -> None:
    way = _Pretended([40], [{"refused": "raft.yaml: no key", "remedy": "Write one."}])

    with pytest.raises(RuntimeError, match="no key"):
        run_campaign(Campaign("walks", 1, "raftmon", 1e-3), base, tmp_path, way)


def test_the_share_of_the_gain_is_that_of_the_oracle() -> None:
    oracle = [_outcome(0.2, 0.3, 0.4), _outcome(0.3, 0.5, 0.5)]
    halfway = [_outcome(0.2, 0.3, shipped=1), _outcome(0.3, 0.4, shipped=1)]

    assert loop_table.shares(oracle, oracle) == pytest.approx([1.0, 1.0])
    assert loop_table.shares(oracle, halfway) == pytest.approx([0.5, 0.5])


def test_a_peak_is_found_in_one_half_of_the_truth_and_measured_in_the_other() -> None:
    lucky = Outcome(truth=[(0.2, 0.2), (0.5, 0.4), (0.4, 0.5)], shipped=2)

    assert loop_table.of_peak(lucky) == pytest.approx((1.0, 0.45 / 0.4))


def test_the_tables_name_every_start_and_arm(capsys: pytest.CaptureFixture[str]) -> None:
    starts, arms = (*loop_table.FOUR, "100x low"), ("constant", "decay", "literal", "raftmon", "raftmon-probes")
    groups = {(start, arm): [_outcome(0.2, 0.4, 0.5)] * 2 for start in starts for arm in arms}
    setting = loop_table.Setting("walks")

    loop_table.main_tables({setting: groups["right", "constant"]}, {setting: groups})
    loop_table.late_table({setting: groups})

    printed = capsys.readouterr().out
    assert "| raftmon-probes | 100% ± 0% | 100% ± 0% | 100% ± 0% | 100% ± 0% | 100% ± 0% | 100% | 100% |" in printed
    assert "| walks | raftmon | +0.000 | 0.000 | 0.0 (most 0) | 0 of 2 |" in printed
    assert "| constant, best seen | 100% ± 0% |" in printed
    assert "raftmon-probes, best seen" not in printed
    assert "raftmon: shipped / own peak 1.000 ± 0.000 to 1.000 ± 0.000 over 10 campaigns" in printed


def _outcome(*rates: float, shipped: int = 2) -> Outcome:
    return Outcome(truth=[(rate, rate) for rate in rates], shipped=shipped, best=shipped)


def _never(module: str, arguments: Sequence[str]) -> str:
    raise AssertionError(f"{module} was run: {arguments}")


class _Pretended:
    """Cycles that train nothing and have given held-out rates, and what raftmon says after each."""

    def __init__(self, passed: list[int], said: Sequence[dict[str, object]] = ()) -> None:
        self.passed, self.said = [50, *passed], list(said)

    def __call__(self, module: str, arguments: Sequence[str]) -> str:
        if module == "raftmon.cli":
            told: dict[str, object] = {
                "refused": None,
                "roll_back_to": None,
                "stop": False,
                "best_cycle": None,
                "because": [],
            }
            return json.dumps(told | self.said.pop(0))
        campaign, number = Path(arguments[1]), int(arguments[2])
        for cycle in (0, number) if number == 1 else (number,):
            lines = [json.dumps({"success": n < self.passed[cycle]}) for n in range(100)]
            (campaign / f"cycle_{cycle}_heldout.jsonl").write_text("\n".join(lines))
            place = loop_cycle.checkpoint(campaign, cycle)
            place.parent.mkdir(parents=True, exist_ok=True)
            (place.parent / "truth.json").write_text(json.dumps([self.passed[cycle] / 100] * 2))
        return ""


@pytest.mark.timeout(300)
def test_following_raftmon_gives_a_better_model_than_going_on(tmp_path: Path) -> None:
    """The closed loop in small: one task, one seed, a start far too high."""
    base = base_policy(JUDGED["bits"](), tmp_path / "bits.pt", 600)
    campaigns = {arm: Campaign("bits", 3, arm, 1e-2, cycles=4) for arm in ARMS}

    outcomes = {arm: run_campaign(campaign, base, tmp_path) for arm, campaign in campaigns.items()}
    shipped = {arm: loop_table.shipped_rate(outcome) for arm, outcome in outcomes.items()}
    before = loop_table.true_rate(outcomes["constant"], 0)

    assert shipped["constant"] < before
    for arm in ("raftmon", "raftmon-probes"):
        assert shipped[arm] > before + 0.03
        assert outcomes[arm].rates[-1] < 5e-3
    assert any("cycle-much-worse" in rules for rules in outcomes["constant"].fired)


def test_what_is_kept_is_good_for_the_same_rules_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "one.yaml").write_text("limit: 1\n  measured: {runs: 1}\n")
    monkeypatch.setattr(closed_loop, "SHIPPED_RULES", rules)
    first = closed_loop.fingerprint()
    (rules / "one.yaml").write_text("limit: 1\n  measured: {runs: 2}\n")
    measured = closed_loop.fingerprint()
    (rules / "one.yaml").write_text("limit: 2\n  measured: {runs: 2}\n")

    assert measured == first
    assert closed_loop.fingerprint() != first


def test_what_is_written_down_is_read_as_it_was(tmp_path: Path) -> None:
    campaign = Campaign("walks", 1, "raftmon", 10**-3.5, rank=8)
    outcome = Outcome([1e-3], [(0.25, 0.5), (0.5, 0.75)], [0], 1, 1, None, 0, [["cycle-worse"]], [["in words"]])
    write_records(tmp_path / "records.gz", [(campaign, outcome)])
    recorded = Recorded(tmp_path / "records.gz")

    assert recorded.ask(campaign).result() == dataclasses.replace(outcome, because=[])
    assert list(recorded.done()) == [(campaign, dataclasses.replace(outcome, because=[]))]


def test_the_figures_of_the_readme_and_of_the_rule_are_those_of_the_recorded_campaigns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = closed_loop.report(closed_loop.JUDGING, range(1, closed_loop.SEEDS + 1), Recorded())
    printed = capsys.readouterr().out.splitlines()
    root = Path(__file__).parents[1]
    readme = (root / "README.md").read_text(encoding="utf-8").splitlines()

    assert line is not None
    assert line in (root / "rules" / "cycles-gain-nothing.yaml").read_text(encoding="utf-8")
    first = printed.index(next(row for row in printed if row.startswith("Share of the gain")))
    share = [row for row in printed[first : first + 20] if row.startswith("| ")][:9]
    assert len(share) == 9
    for row in share:
        assert row in readme
