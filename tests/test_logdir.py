"""Runs: files in their order, restarts, replacements, look-alikes, Keras pairs."""

from pathlib import Path

import numpy as np
import pytest

from raftmon.events.columns import ScalarBatch
from raftmon.runs.logdir import Run, is_event_file_name, run_key
from raftmon.runs.tag_limits import MOST_OF_RUN
from tests.scripted import event, header_record, losses, record, scalar_record

BUDGET = 8 << 20


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def session_start(step: int) -> bytes:
    return record(event(step=step, session_log={"status": 1}))


def make_run(directory: Path) -> Run:
    run = Run("run", directory)
    for path in sorted(directory.iterdir()):
        run.add_file(path)
    return run


def values(run: Run, tag: str = "loss") -> list[float]:
    return [float(value) for value in run.series[tag].values]


def test_a_newer_file_that_begins_lower_is_a_restart(tmp_path: Path) -> None:
    write(tmp_path / "events.out.tfevents.1.h", header_record() + losses(1.0, 2.0, 3.0, 4.0))
    write(tmp_path / "events.out.tfevents.2.h", header_record() + losses(30.0, 40.0, first_step=2))
    run = make_run(tmp_path)

    update = run.poll(BUDGET)

    assert values(run) == [1.0, 2.0, 30.0, 40.0]
    assert (run.last_step, update.rewound) == (3, True)


def test_a_newer_file_that_goes_on_is_no_restart(tmp_path: Path) -> None:
    write(tmp_path / "events.out.tfevents.1.h", losses(1.0, 2.0))
    write(tmp_path / "events.out.tfevents.2.h", losses(3.0, 4.0, first_step=2))
    run = make_run(tmp_path)

    assert not run.poll(BUDGET).rewound
    assert values(run) == [1.0, 2.0, 3.0, 4.0]


def test_another_tag_in_a_newer_file_drops_nothing(tmp_path: Path) -> None:
    write(tmp_path / "events.out.tfevents.1.h", losses(1.0, 2.0, 3.0))
    write(tmp_path / "events.out.tfevents.2.h", scalar_record("eval", 9.0, 0))
    run = make_run(tmp_path)

    assert not run.poll(BUDGET).rewound
    assert values(run) == [1.0, 2.0, 3.0]


def test_a_repeated_or_lower_step_in_one_file_is_kept(tmp_path: Path) -> None:
    data = losses(1.0, 2.0) + scalar_record("loss", 2.5, 1) + scalar_record("loss", 0.5, 0)
    run = make_run(write(tmp_path / "events.out.tfevents.1.h", data).parent)

    run.poll(BUDGET)

    assert values(run) == [1.0, 2.0, 2.5, 0.5]


def test_a_session_start_drops_every_tag_from_its_step_on(tmp_path: Path) -> None:
    data = losses(1.0, 2.0, 3.0) + scalar_record("lr", 9.0, 2) + session_start(1) + losses(20.0, first_step=1)
    run = make_run(write(tmp_path / "events.out.tfevents.1.h", data).parent)

    assert run.poll(BUDGET).rewound
    assert values(run) == [1.0, 20.0]
    assert values(run, "lr") == []


def test_a_replaced_file_takes_its_points_with_it(tmp_path: Path) -> None:
    first = write(tmp_path / "events.out.tfevents.1.h", losses(1.0, 2.0, 3.0))
    run = make_run(tmp_path)
    run.poll(BUDGET)

    first.unlink()
    write(first, losses(7.0))
    updates = [run.poll(BUDGET), run.poll(BUDGET)]

    assert any(update.rewound for update in updates)
    assert values(run) == [7.0]


def test_a_small_budget_reads_the_same_in_more_turns(tmp_path: Path) -> None:
    write(tmp_path / "events.out.tfevents.1.h", losses(*(float(n) for n in range(300))))
    write(tmp_path / "events.out.tfevents.2.h", losses(*(float(n) for n in range(300, 400)), first_step=300))
    run, turns = make_run(tmp_path), 1
    while run.poll(1000).more:
        turns += 1

    assert turns > 5
    assert values(run) == [float(n) for n in range(400)]


def test_a_deleted_file_is_let_go(tmp_path: Path) -> None:
    path = write(tmp_path / "events.out.tfevents.1.h", losses(1.0))
    run = make_run(tmp_path)
    run.poll(BUDGET)
    path.unlink()

    assert run.poll(BUDGET).rewound
    assert run.files == []
    assert run.series == {}


def test_a_file_that_was_deleted_and_came_back_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "events.out.tfevents.1.h", losses(1.0, 2.0))
    run = make_run(tmp_path)
    run.poll(BUDGET)
    path.unlink()
    run.poll(BUDGET)

    write(path, losses(1.0, 2.0))
    run.add_file(path)
    run.poll(BUDGET)

    assert values(run) == [1.0, 2.0]


def test_an_older_file_that_goes_on_drops_nothing_and_a_newer_one_only_once(tmp_path: Path) -> None:
    old = write(tmp_path / "events.out.tfevents.1.h", losses(*map(float, range(50))))
    new = write(tmp_path / "events.out.tfevents.2.h", b"")
    run = make_run(tmp_path)
    run.poll(BUDGET)

    new.write_bytes(losses(100.0, first_step=50))
    run.poll(BUDGET)
    with old.open("ab") as file:
        file.write(losses(51.0, 52.0, first_step=51))
    run.poll(BUDGET)
    with new.open("ab") as file:
        file.write(losses(101.0, first_step=51))
    run.poll(BUDGET)

    assert values(run)[-4:] == [100.0, 51.0, 52.0, 101.0]


def test_the_last_step_goes_back_with_a_restart(tmp_path: Path) -> None:
    data = losses(*map(float, range(50))) + session_start(20)
    run = make_run(write(tmp_path / "events.out.tfevents.1.h", data).parent)

    run.poll(BUDGET)

    assert run.last_step == 19


def test_a_flood_of_tags_is_bounded_and_said(tmp_path: Path) -> None:
    run = Run("run", tmp_path)
    count = MOST_OF_RUN + 10
    batch = ScalarBatch(
        tuple(f"tag{n}" for n in range(count)),
        np.arange(count, dtype=np.int32),
        np.zeros(count, dtype=np.int64),
        np.zeros(count),
        np.zeros(count),
    )

    run._append(tmp_path / "events.out.tfevents.1.h", batch)

    assert len(run.series) == MOST_OF_RUN
    assert any("scalar tags" in problem.what for problem in run.problems)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("events.out.tfevents.1.host.2.0", True),
        ("events.out.tfevents.1.host.2.0.v2", True),
        ("000000000000_worker_0.tfevents", True),
        ("._events.out.tfevents.1", False),
        ("events.out.tfevents.1.meta", False),
        ("events.out.tfevents.1.profile-empty", False),
        ("tfevents_reader.py", False),
        ("metrics.jsonl", False),
    ],
)
def test_names(name: str, is_one: bool) -> None:
    assert is_event_file_name(name) is is_one


def test_keras_train_and_validation_are_one_run() -> None:
    train, validation, other = "/logs/fit/train", "/logs/fit/validation", "/logs/fit/other"

    assert run_key(train, {train, validation}.__contains__) == ("/logs/fit", "")
    assert run_key(validation, {train, validation}.__contains__) == ("/logs/fit", "validation/")
    assert run_key(train, {train, other}.__contains__) == (train, "")
    assert run_key(validation, {validation}.__contains__) == (validation, "")
