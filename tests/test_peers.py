"""The comparison with other tools reads their words as meant, and gives them the points that were recorded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.looks import RUNS
from tests.benchmarks.peer_inputs import LabelledRun, labelled_runs, open_run, prepare
from tests.benchmarks.peer_tools import PEERS, Answer, Peer, ask, read_answer
from tests.benchmarks.peers import distance_table, main_table

OUTPUTS = Path(__file__).parent / "peer_outputs"
EXCERPTS = [
    (peer, answer, entry["document"])
    for peer in PEERS
    if not peer.reading
    for answer, entry in json.loads((OUTPUTS / f"{peer.name}.json").read_text()).items()
]
RUNMEDIC = next(peer for peer in PEERS if peer.name == "runmedic")
QUIET = '[{"findings": []}]'


@pytest.mark.parametrize(
    ("peer", "answer", "document"), EXCERPTS, ids=[f"{peer.name}-{answer}" for peer, answer, _ in EXCERPTS]
)
def test_what_a_tool_really_wrote_is_read_as_it_is_meant(peer: Peer, answer: Answer, document: Any) -> None:
    assert read_answer(peer, document) == answer


def test_a_remark_that_lowering_will_not_help_is_no_advice_to_lower() -> None:
    doctor = next(peer for peer in PEERS if peer.name == "finetune-doctor")
    fix = "Lowering the learning rate will not help -- this is not that kind of spike."

    assert read_answer(doctor, {"findings": [{"summary": "The training loss jumps.", "fix": [fix]}]}) == "nothing"


def test_a_remark_is_left_out_where_warnings_alone_count() -> None:
    plain, strict = [peer for peer in PEERS if peer.name == "trainspotter"]
    both = json.loads((OUTPUTS / "trainspotter.json").read_text())["both"]["document"]

    assert read_answer(plain, both) == "both"
    assert read_answer(strict, both) == "lower"
    assert plain.title != strict.title


def test_tools_are_pinned() -> None:
    assert all("==" in peer.requirement for peer in PEERS)


def program(directory: Path, script: str) -> Path:
    """A directory with a command that stands in for runmedic's."""
    path = directory / "runmedic"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return directory


def test_a_tool_is_asked_with_the_directory_of_event_files(tmp_path: Path) -> None:
    programs = program(tmp_path, f'[ "$3" = "{tmp_path}/events" ] && echo \'{QUIET}\'')

    assert ask(RUNMEDIC, programs, tmp_path / "events") == "nothing"


@pytest.mark.parametrize("script", ["exit 2", "echo oops", "echo '[{}]'", "exec sleep 30"])
def test_a_tool_that_fails_has_given_no_answer(tmp_path: Path, script: str) -> None:
    assert ask(RUNMEDIC, program(tmp_path, script), tmp_path, time_limit=0.5) == "broken"


def test_thinned_inputs_hold_the_mean_loss_and_the_arguments_of_the_run(tmp_path: Path) -> None:
    source = LabelledRun(RUNS / "mlp" / "lr-1-seed-1", "mlp", "ok", 1.0)

    thinned = prepare(source, tmp_path, every=5)

    whole, left = open_run(source.directory), open_run(thinned.directory)
    assert left.series["train/loss"].steps.tolist() == list(range(5, 201, 5))
    assert left.series["train/loss"].values[0] == pytest.approx(whole.series["train/loss"].values[:5].mean())
    assert left.series["train/grad_norm"].values[0] == pytest.approx(whole.series["train/grad_norm"].values[4])
    assert left.series["eval/loss"].values.tolist() == whole.series["eval/loss"].values.tolist()
    assert json.loads(left.texts["args/text_summary"])["logging_steps"] == 5
    assert (thinned.family, thinned.kind, thinned.factor) == ("mlp", "ok", 1.0)


@pytest.mark.parametrize("every", [1, 10])
def test_the_trainer_state_holds_the_same_points_as_the_event_file(tmp_path: Path, every: int) -> None:
    prepared = prepare(LabelledRun(RUNS / "control" / "blow-up", "autoencoder", "too_high", 3e4), tmp_path, every)

    state = json.loads((tmp_path / "state" / "trainer_state.json").read_text())
    series = open_run(prepared.directory).series

    assert state["max_steps"] == 200
    for tag, key in (("train/loss", "loss"), ("train/learning_rate", "learning_rate"), ("eval/loss", "eval_loss")):
        rows = [(row["step"], row[key]) for row in state["log_history"] if key in row]
        assert [step for step, _ in rows] == series[tag].steps.tolist()
        for (_, stated), logged in zip(rows, series[tag].values.tolist(), strict=True):
            assert stated == pytest.approx(logged, rel=1e-5) or (math.isnan(stated) and math.isnan(logged))


def test_tables_count_what_is_right_and_what_is_the_wrong_way() -> None:
    runs = [
        LabelledRun(Path("low"), "f", "too_low", 0.01),
        LabelledRun(Path("ok"), "f", "ok", 1.0),
        LabelledRun(Path("high"), "f", "too_high", 100.0),
    ]
    answers: dict[str, list[Answer]] = {
        "silent": ["nothing", "nothing", "nothing"],
        "raftmon": ["raise", "undecided", "lower"],
        "wrong": ["lower", "raise", "raise"],
        "poor": ["both", "failed", "broken"],
    }

    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in main_table(runs, answers).splitlines()[2:]]

    assert rows == [
        ["silent", "0.33", "0", "1", "0", "0", "0", "0", "0", "0%", "0"],
        ["raftmon", "0.67", "1", "0", "1", "0", "0", "0", "0", "67%", "0"],
        ["wrong", "0.00", "0", "0", "0", "2", "1", "0", "0", "100%", "0"],
        ["poor", "0.00", "0", "0", "0", "0", "0", "1", "1", "67%", "1"],
    ]
    assert "| 100 | 0/0/1 | 0 | 1 | 0, −1 | 0 |" in distance_table(runs, answers)


def test_every_labelled_run_is_there_and_each_kind_is_among_them() -> None:
    runs = labelled_runs()

    assert {run.kind for run in runs} == {"too_low", "ok", "too_high"}
    assert all(run.directory.is_dir() for run in runs)
