"""A trainer that makes new tags without end: memory is bounded, that is said, and its loss is followed all the same."""

from __future__ import annotations

from pathlib import Path

from raftmon.documents import SHIPPED_RULES
from raftmon.monitor import Monitor
from raftmon.runs.logdir import Run
from raftmon.runs.roles import RoleTable
from raftmon.runs.tag_limits import MOST_BEYOND, TagLimits
from tests.scripted import scalar_record


def write(directory: Path, *tags: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "events.out.tfevents.1"
    path.write_bytes(b"".join(scalar_record(tag, 1.0, step) for step, tag in enumerate(tags)))
    return path


def run_of(path: Path, limits: TagLimits) -> Run:
    run = Run("run", path.parent, limits=limits)
    run.add_file(path)
    while run.poll(1 << 30).more:
        pass
    return run


def limits_of(most_of_run: int, most_of_all: int = 1000) -> TagLimits:
    problems: list[object] = []
    roles = RoleTable.load(SHIPPED_RULES, problems)  # type: ignore[arg-type]
    assert problems == []
    return TagLimits(roles.plays_role, most_of_run, most_of_all)


def test_what_plays_a_role_is_followed_beyond_the_limit_of_a_run(tmp_path: Path) -> None:
    junk = [f"junk/sample_{number}" for number in range(50)]
    run = run_of(write(tmp_path / "a", *junk, "train/loss", "train/learning_rate", *junk), limits_of(20))
    assert list(run.series) == [*junk[:20], "train/loss", "train/learning_rate"]
    (problem,) = run.problems
    assert (problem.where, problem.what) == (
        str(tmp_path / "a"),
        "more than 20 scalar tags; of the rest, only what plays a role is read",
    )


def test_what_plays_a_role_is_bounded_too(tmp_path: Path) -> None:
    losses = [f"loss/sample_{number}/loss" for number in range(MOST_BEYOND + 100)]
    roles = TagLimits(lambda _: True, 20)
    assert len(run_of(write(tmp_path / "a", *losses), roles).series) == 20 + MOST_BEYOND


def test_all_runs_together_have_a_limit_which_a_run_that_goes_gives_back(tmp_path: Path) -> None:
    limits = limits_of(20, most_of_all=30)
    runs = [run_of(write(tmp_path / name, *(f"x{n}" for n in range(20)), "train/loss"), limits) for name in "ab"]
    assert [len(run.series) for run in runs] == [21, 10]  # the loss of the first one counts, too
    assert "all runs together have 30" in runs[1].problems[0].what
    runs[0].let_go()
    assert len(run_of(write(tmp_path / "c", *(f"x{n}" for n in range(20))), limits).series) == 20


def test_runs_beside_one_with_many_tags_are_judged_as_ever(tmp_path: Path) -> None:
    write(tmp_path / "wild", *(f"junk/{number}" for number in range(12_000)), *["train/loss"] * 9)
    write(tmp_path / "calm", *["train/loss"] * 9)
    monitor = Monitor([tmp_path])
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    wild, calm = (next(run for run in snapshot.runs if run.run == name) for name in ("wild", "calm"))
    assert (wild.series["loss"].count, calm.series["loss"].count) == (9, 9)
    assert wild.other_tags == 10_000
    assert [problem.where for problem in snapshot.problems] == [str(tmp_path / "wild")]
