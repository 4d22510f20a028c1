"""Event files of 21 projects: nothing crashes, and what is known of their curves is said (or not said)."""

import json
import shutil
from pathlib import Path

import pytest

from raftmon.headless.document import encode, snapshot_document
from raftmon.model import SEVERITIES, RunView, Snapshot
from raftmon.monitor import Monitor
from raftmon.runs.logdir import is_event_file_name

LONG_AGO = 4e9
"""A clock at which every run has ended."""
SHOUTING = SEVERITIES.index("medium")


def judge(directory: Path) -> Snapshot:
    monitor = Monitor([directory], clock=lambda: LONG_AGO)
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return snapshot


@pytest.fixture(scope="module")
def judged(corpus: Path) -> dict[str, Snapshot]:
    """Directory of a project to its snapshot."""
    return {path.name: judge(path) for path in sorted(corpus.iterdir()) if path.is_dir()}


def runs_of(judged: dict[str, Snapshot], project: str, ending: str = "") -> list[RunView]:
    return [run for run in judged[project].runs if run.run.endswith(ending)]


def firing(run: RunView) -> set[str]:
    return {finding.rule for finding in run.firing}


def loud(run: RunView) -> set[str]:
    return {finding.rule for finding in run.firing if SEVERITIES.index(finding.severity) >= SHOUTING}


def test_every_project_is_read_and_every_run_has_a_verdict_with_a_reason(
    corpus: Path, judged: dict[str, Snapshot]
) -> None:
    files = [path for path in corpus.rglob("*") if path.is_file() and is_event_file_name(path.name)]
    runs = [run for snapshot in judged.values() for run in snapshot.runs]

    assert len(files) > 150
    assert len(judged) == 21
    assert len(runs) > 80
    assert all(run.verdict.why for run in runs)
    assert all(run.dialect and run.state for run in runs)
    for snapshot in judged.values():
        assert json.loads(encode(snapshot_document(snapshot)))["schema"] == "raftmon/snapshot@1"


@pytest.mark.parametrize(
    ("project", "dialect"),
    [
        ("arashmozhdeh+Protbert", "lightning"),
        ("NVIDIA+Megatron-LM", "megatron"),
        ("NVIDIA+NeMo", "nemo"),
        ("volcengine+verl", "verl"),
        ("DLR-RM+stable-baselines3", "sb3"),
        ("sukannyapurkayastha+DASP_report_template", "hf"),
        ("modelscope+ms-swift", "hf"),
        ("thu-ml+tianshou", "tianshou"),
        ("yecy749+fc-clip-LandDiscover", "detectron2"),
    ],
)
def test_trainers_are_recognised(judged: dict[str, Snapshot], project: str, dialect: str) -> None:
    assert {run.dialect for run in judged[project].runs if run.state != "empty"} == {dialect}


@pytest.mark.parametrize("version", ["23120803", "23191178", "23192580"])
def test_a_learning_rate_that_collapsed_to_zero_is_found(judged: dict[str, Snapshot], version: str) -> None:
    (run,) = runs_of(judged, "arashmozhdeh+Protbert", version)

    assert "lr-effectively-zero" in firing(run)
    assert run.verdict.learning_rate == "undecided"


@pytest.mark.parametrize("version", ["23191179", "23191180"])
def test_a_run_that_ended_inside_its_warm_up_is_found(judged: dict[str, Snapshot], version: str) -> None:
    (run,) = runs_of(judged, "arashmozhdeh+Protbert", version)

    assert "warmup-outlasts-run" in firing(run)


def test_a_policy_collapse_is_found_and_its_healthy_neighbours_are_left_alone(judged: dict[str, Snapshot]) -> None:
    (collapsed,) = runs_of(judged, "DLR-RM+stable-baselines3", "A2C_8")
    assert "policy-collapses" in firing(collapsed)

    for ending in ("A2C_11", "A2C_25"):
        (healthy,) = runs_of(judged, "DLR-RM+stable-baselines3", ending)
        assert loud(healthy) == set()


def test_healthy_reinforcement_learning_is_left_alone(judged: dict[str, Snapshot]) -> None:
    quiet = [run for run in judged["volcengine+verl"].runs if "async_reward" in run.run] + list(
        judged["thu-ml+tianshou"].runs
    )

    assert len(quiet) == 8
    assert [(run.run, loud(run)) for run in quiet if loud(run)] == []


def test_a_curriculum_step_is_no_collapse(judged: dict[str, Snapshot]) -> None:
    (run,) = runs_of(judged, "Awesommesh+SoccerPPO", "curriculum_3/SoccerAgentAdvanced")

    assert "policy-collapses" not in firing(run)


def test_overfitting_is_found_where_the_file_stands_alone(corpus: Path, tmp_path: Path) -> None:
    (file,) = (corpus / "sukannyapurkayastha+DASP_report_template").rglob("*1733501242*")
    shutil.copy(file, tmp_path)

    (run,) = judge(tmp_path).runs

    assert "loss-memorised" in firing(run)
    assert run.verdict.learning_rate in ("ok", "undecided")


def test_a_sweep_of_one_network_is_never_judged_the_wrong_way_round(judged: dict[str, Snapshot]) -> None:
    # 0.1 and 0.01 are too high, 1e-4 is best, 1e-5 a little too low.
    wrong = {"version_9": "too_low", "version_8": "too_low", "version_11": "too_high"}
    for ending, opposite in wrong.items():
        (run,) = runs_of(judged, "realhugoviana+SLA-prediction", f"my_model/{ending}")
        assert run.verdict.learning_rate != opposite
    (best,) = runs_of(judged, "realhugoviana+SLA-prediction", "my_model/version_10")
    assert best.verdict.learning_rate in ("ok", "undecided")


def test_skipped_steps_at_the_start_are_no_schedule_that_ended(judged: dict[str, Snapshot]) -> None:
    (run,) = runs_of(judged, "NVIDIA+Megatron-LM", "gpt3-357m")

    assert "lr-effectively-zero" not in firing(run)
    assert "loss-diverges" not in firing(run)


def test_what_is_damaged_is_told_and_costs_nothing_else(judged: dict[str, Snapshot]) -> None:
    assert any("damaged in 1 place" in problem.what for problem in judged["awslabs+sagemaker-debugger"].problems)
    assert sum(len(snapshot.problems) for snapshot in judged.values()) <= 3
