"""Campaigns: which runs are cycles, and what the trainers' reports say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raftmon.runs.campaign_files import CampaignEvidence, CycleEvidence
from raftmon.runs.cycles import CycleName, cycle_of, has_verdicts, is_campaign_file_name
from tests.campaign import Campaign, lines, rows


@pytest.mark.parametrize(
    ("run", "campaign", "cycle"),
    [
        ("cycle_3", ".", 3),
        ("cycle_3/logs", ".", 3),
        ("cycle_12/runs/Jan05_10-11-12_gpu1", ".", 12),
        ("models/raft/cycle_0/logs", "models/raft", 0),
        ("iter3", ".", 3),
        ("iteration_3", ".", 3),
        ("Round-2", ".", 2),
        ("exp/cycle_03", "exp", 3),
        ("cycle_1/cycle_2/logs", "cycle_1", 2),
        ("old_iter1/cycle_4", "old_iter1", 4),
        ("LLaMA3_iter2", "LLaMA3", 2),
        ("out/gemma-2b-it-iter1/runs/x", "out/gemma-2b-it", 1),
    ],
)
def test_cycles_are_known_by_their_names(run: str, campaign: str, cycle: int) -> None:
    name = cycle_of(run)
    assert name is not None
    assert (name.campaign, name.cycle) == (campaign, cycle)


def test_cycles_named_by_a_suffix_lie_beside_their_files() -> None:
    assert cycle_of("out/LLaMA3_iter2/logs") == CycleName("out/LLaMA3", 2, "out")
    assert cycle_of("models/raft/cycle_3/logs") == CycleName("models/raft", 3, "models/raft")
    assert cycle_of("cycle_3") == CycleName(".", 3, ".")


@pytest.mark.parametrize(
    "run",
    [
        ".", "", "tensorboard", "cycle_reward_distribution_failed", "tensorboard/cycle_reward_distribution_ran",
        "cycle_1/logs/cycle_reward_distribution_1",
        "cycle_3_final", "cycle_3_final/logs", "version_3", "lightning_logs/version_3", "A2C_8", "trial_3", "run_3",
        "checkpoint-500", "iter_20000", "iter_0000500", "ppo_max_iter100", "n_iter_5", "one_cycle_2", "bicycle_3",
        "cycle", "cycle_", "cycle_a", "recycle3", "v1-20230918-113744", "x/v1-20230918-113744/runs/Sep18",
    ],
)  # fmt: skip
def test_look_alikes_are_no_cycles(run: str) -> None:
    assert cycle_of(run) is None


def test_versions_of_ms_swift_are_cycles_only_where_somebody_verified(tmp_path: Path) -> None:
    run = "out/qwen/v2-20230918-114617/runs/Sep18"

    assert cycle_of(run, is_verified=lambda _: False) is None
    assert cycle_of(run, is_verified=lambda path: path == "out/qwen") == CycleName("out/qwen", 2, "out/qwen")

    assert not has_verdicts(tmp_path)
    assert not has_verdicts(tmp_path / "gone")
    (tmp_path / "cycle_1_verified.jsonl").touch()
    assert has_verdicts(tmp_path)


def test_files_that_only_a_campaign_has() -> None:
    names = ["cycle_1_verified.jsonl", "cycle_10_heldout.jsonl", "iter3_verified.jsonl", "raft_statistics.json",
             "cycle_1_samples.jsonl", "metrics.jsonl", "summary.json", "cycle_x_verified.jsonl"]  # fmt: skip
    assert [is_campaign_file_name(name) for name in names] == [True] * 4 + [False] * 4


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "raft")


def test_a_directory_that_is_not_there_yet_says_nothing(campaign: Campaign) -> None:
    assert campaign.poll() == CampaignEvidence()
    assert campaign.problems == []


def statistics(cycle: int, total: int, kept: int, rate: float | None) -> dict[str, object]:
    """One record of halo-forge's raft_statistics.json; without rate: verified from the cache."""
    record: dict[str, object] = {"cycle": cycle, "elapsed_minutes": 21.7, "total_samples": total, "kept": kept,
                                 "above_threshold": kept, "threshold_adjusted": False}  # fmt: skip
    return record if rate is None else {**record, "success_rate": rate}


BENCHMARKS = {
    "0.5B": [(0.3203, 21, 41), (0.2891, 19, 37)],
    "1.5B": [(0.6641, 43, 85), (0.6641, 43, 85)],
    "3B": [(0.9766, 63, 125), (0.9609, 62, 123)],
}
"""Compile rate, samples kept and samples compiled of 128, per cycle, as halo-forge's repository has them."""


@pytest.mark.parametrize("model", BENCHMARKS)
def test_the_benchmarks_of_halo_forge(campaign: Campaign, model: str) -> None:
    cycles = [
        {"cycle": cycle, "generated": 128, "verified": 128, "kept": kept, "compile_rate": rate, "avg_reward": 0.4,
         "training_loss": 0.8, "training_steps": 2, "hardware": {"gpu": {}}}
        for cycle, (rate, kept, _) in enumerate(BENCHMARKS[model], start=1)
    ]  # fmt: skip
    campaign.write("summary.json", {"model_name": model, "n_cycles": 2, "baseline": {"compiled": 1}, "cycles": cycles})

    found = campaign.poll().cycles

    assert [(c.rate, c.kept, c.passed, c.verified) for c in found.values()] == [
        (rate, kept, passed, 128) for rate, kept, passed in BENCHMARKS[model]
    ]
    assert {c.measures for c in found.values()} == {"before"}
    assert campaign.problems == []


def test_reports_fill_what_the_verdicts_do_not_say(campaign: Campaign) -> None:
    campaign.write("cycle_1_verified.jsonl", lines(rows(30, 10)))
    campaign.write("raft_statistics.json", [statistics(1, 40, 15, 0.5), statistics(2, 40, 12, 0.6),
                                            {"cycle": 3, "skipped": True}])  # fmt: skip
    campaign.write("training_summary.json", {"cycles": [
        {"cycle": 1, "learning_rate": 5e-5, "samples_kept": 99, "train_loss": 0.5},
        {"cycle": 2, "learning_rate": 4.25e-5},
        {"cycle": 4, "learning_rate": 3e-5, "samples_seen": 200, "samples_kept": 40,
         "yield_diagnostics": {"stage_counts": None, "rates": {"verification_rate": 0.41}}},
        {"cycle": 5, "learning_rate": 3e-5, "yield_diagnostics": {"rates": None}},
    ]})  # fmt: skip

    cycles = campaign.poll().cycles

    assert list(cycles) == [1, 2, 4, 5]
    assert (cycles[1].rate, cycles[1].verified, cycles[1].source) == (0.75, 40, "cycle_1_verified.jsonl")
    assert (cycles[1].kept, cycles[1].learning_rate) == (15, 5e-5)
    assert (cycles[2].rate, cycles[2].passed, cycles[2].source) == (0.6, 24, "raft_statistics.json")
    assert (cycles[4].rate, cycles[4].verified, cycles[4].kept, cycles[4].passed) == (0.41, 200, 40, 82)
    assert cycles[5] == CycleEvidence(5, learning_rate=3e-5, source="training_summary.json")


def test_verdicts_that_are_still_being_written_leave_the_rate_to_the_reports(campaign: Campaign) -> None:
    campaign.write("cycle_1_verified.jsonl", lines(rows(30, 10))[:-5])
    campaign.write("raft_statistics.json", [statistics(1, 40, 15, 0.5)])
    cycle = campaign.poll().cycles[1]
    assert (cycle.rate, cycle.verified, cycle.source) == (0.5, 40, "raft_statistics.json")


def test_statistics_without_rate_give_the_kept_samples_only(campaign: Campaign) -> None:
    campaign.write("raft_statistics.json", [statistics(1, 40, 15, None)])
    assert campaign.poll().cycles[1] == CycleEvidence(1, kept=15, source="raft_statistics.json")


def test_malagent_has_a_report_in_each_cycle(campaign: Campaign) -> None:
    campaign.write("cycle_3/metrics.json", {"cycle": 3, "generated": 2992, "compiled": 999, "compile_rate": 0.334,
                                            "filtered": 500, "rewards": {"mean": 0.4}})  # fmt: skip
    campaign.write("cycle_4/metrics.json", {"generated": 10, "compiled": 4})
    campaign.write("cycle_5/metrics.json", {"accuracy": 0.93, "train_loss": 0.1})
    campaign.write("cycle_4_final/metrics.json", {"generated": 10, "compiled": 5})

    cycles = campaign.poll().cycles

    assert list(cycles) == [3, 4, 5]
    assert (cycles[3].rate, cycles[3].passed, cycles[3].kept) == (0.334, 999, 500)
    assert (cycles[3].source, cycles[4].rate, cycles[5].rate) == ("cycle_3/metrics.json", 0.4, None)


def test_the_metrics_tracker_writes_zero_for_what_it_was_not_told(campaign: Campaign) -> None:
    told = {"cycle": 0, "total_samples": 64, "kept_samples": 9, "success_rate": 0.25, "learning_rate": 5e-5}
    untold = {"cycle": 1, "total_samples": 0, "kept_samples": 3, "success_rate": 0.0, "learning_rate": 0.0}
    content = "".join(json.dumps(record) + "\n" for record in (told, untold, {**untold, "kept_samples": 4}))
    campaign.write("metrics.jsonl", content.encode() + b'{"cycle": 2, "succ')

    cycles = campaign.poll().cycles

    assert (cycles[0].rate, cycles[0].passed, cycles[0].learning_rate) == (0.25, 16, 5e-5)
    assert cycles[1] == CycleEvidence(1, kept=4, source="metrics.jsonl")
    assert list(cycles) == [0, 1]
    assert campaign.problems == []


def test_the_accuracy_of_the_reasoning_trainer_is_a_verification_rate(campaign: Campaign) -> None:
    record = {"cycle": 0, "total_completions": 80, "filtered_completions": 20, "accuracy": 0.5, "avg_reward": 0.6}
    campaign.write("training_summary.json", {"cycles": [record]})
    cycle = campaign.poll().cycles[0]
    assert (cycle.rate, cycle.verified, cycle.kept) == (0.5, 80, 20)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'[{"cycle": 1, "kept"', "not usable: "),
        (b"[" * 100_000, "not usable: "),
        (b"\xff\xfe", "not usable: "),
        ([{"cycle": 1, "success_rate": 46.7}], "not usable: cycle 1 has the rate 46.7; a rate lies between 0 and 1"),
        (b" " * 16_000_001, "larger than 16 MB"),
    ],
)
def test_a_broken_report_is_a_problem_and_its_last_word_stays(
    campaign: Campaign, content: bytes | object, what: str
) -> None:
    campaign.write("raft_statistics.json", [statistics(1, 40, 15, 0.5)])
    assert campaign.poll().cycles[1].rate == 0.5
    campaign.write("raft_statistics.json", content, at=1)

    for _ in range(2):
        assert campaign.poll().cycles[1].rate == 0.5
        assert [problem.what.startswith(what) for problem in campaign.problems] == [True]
    assert campaign.opener.opened.count("raft_statistics.json") <= 2

    campaign.write("raft_statistics.json", [statistics(1, 40, 15, 0.6)], at=2)
    assert campaign.poll().cycles[1].rate == 0.6
    assert campaign.problems == []


@pytest.mark.parametrize("content", [{}, [], 3, "x", None, {"cycles": None}, {"cycles": [1, None, []]},
                                     [{"cycle": "1"}], [{"cycle": True, "kept": 1}], {"accuracy": 0.9}])  # fmt: skip
def test_reports_about_something_else_say_nothing(campaign: Campaign, content: object) -> None:
    campaign.write("summary.json", content)
    assert campaign.poll() == CampaignEvidence()
    assert campaign.problems == []


def test_a_report_that_cannot_be_read_is_read_when_it_can(campaign: Campaign) -> None:
    campaign.write("raft_statistics.json", [statistics(1, 40, 15, 0.5)])
    campaign.opener.broken = {"raft_statistics.json"}
    assert campaign.poll() == CampaignEvidence()
    assert [problem.what for problem in campaign.problems] == ["cannot be read: Permission denied"]

    campaign.opener.broken = set()
    assert campaign.poll().cycles[1].rate == 0.5
    assert campaign.problems == []


def test_a_problem_that_is_noted_already_is_not_noted_again(campaign: Campaign) -> None:
    campaign.write("raft_statistics.json", b"[")
    campaign.poll()
    campaign.files.poll(campaign.problems)
    assert len(campaign.problems) == 1
