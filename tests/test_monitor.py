"""The monitor: from bytes on disk to a Snapshot, with a clock that stands still unless told."""

import gc
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType

import pytest

from raftmon.advice.settings import Settings, Strategy
from raftmon.following import LEAST_IDLE
from raftmon.model import RunView, Snapshot
from raftmon.monitor import Monitor
from raftmon.runs.tree import Identity
from raftmon.runs.watch import POLL_SECONDS, Changes, Watcher
from tests.scripted import FIRST, event, losses, record, scalar_record, text


class Clock:
    """Seconds since the epoch, by hand."""

    def __init__(self) -> None:
        self.now = FIRST

    def __call__(self) -> float:
        return self.now


class FakeWatcher(Watcher):
    """A watcher that reports what the test says."""

    def __init__(self) -> None:
        super().__init__([], force_polling=True)
        self.changes = Changes(frozenset(), everything=True)

    def take(self, patience: float = 0.0) -> Changes:
        taken, self.changes = self.changes, Changes(frozenset(), everything=False)
        return taken

    def wait(self, timeout: float) -> bool:
        return self.changes.everything

    def cover(self, directories: Mapping[str, Identity]) -> None:
        pass

    def close(self) -> None:
        pass


def rows(step: int, loss: float, rate: float = 1e-3, norm: float = 1.0) -> bytes:
    return b"".join(
        scalar_record(tag, value, step, FIRST + step)
        for tag, value in (("train/loss", loss), ("train/grad_norm", norm), ("train/learning_rate", rate))
    )


def write_run(path: Path, losses: list[float], mode: str = "wb", first: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        for step, loss in enumerate(losses, start=first):
            file.write(rows(step, loss))
    # The trainer wrote this when the clock says so, not when the test runs.
    os.utime(path, (FIRST, FIRST))
    return path


def read_all(monitor: Monitor) -> Snapshot:
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return snapshot


def only(snapshot: Snapshot) -> RunView:
    (run,) = snapshot.runs
    return run


def write_verified(campaign: Path, cycle: int, passed: int, of: int) -> None:
    lines = [
        json.dumps({"prompt": f"p{n % 50}", "completion": f"c{n}", "reward": float(n < passed), "success": n < passed})
        for n in range(of)
    ]
    (campaign / f"cycle_{cycle}_verified.jsonl").write_text("\n".join(lines) + "\n")


def test_an_empty_logdir_and_a_missing_one(tmp_path: Path) -> None:
    assert read_all(Monitor([tmp_path])).runs == ()
    missing = read_all(Monitor([tmp_path / "none"]))
    assert "no such directory" in missing.problems[0].what


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    write_run(tmp_path / "run" / "events.out.tfevents.1", [2.0 - 0.01 * n for n in range(60)])

    run = only(read_all(Monitor([tmp_path], clock=Clock())))

    assert (run.run, run.dialect, run.last_step, run.state) == ("run", "hf", 60, "live")
    assert run.series["loss"].count == 60
    assert run.series["loss"].last == pytest.approx(1.41)
    assert run.config.max_grad_norm == 1.0  # the dialect's default
    assert {finding.rule for finding in run.findings} >= {"loss-diverges", "loss-barely-moves"}


def test_a_small_budget_gives_the_same_as_a_large_one(tmp_path: Path) -> None:
    curve = [2.0 - 0.005 * n for n in range(150)] + [1.25 + 0.02 * n for n in range(60)]
    write_run(tmp_path / "run" / "events.out.tfevents.1", curve)
    monitor, turns = Monitor([tmp_path], clock=Clock()), 0

    snapshot = monitor.poll(max_bytes=2000)
    while snapshot.backfilling:
        assert snapshot.progress is None or 0.0 < snapshot.progress <= 1.0
        snapshot, turns = monitor.poll(max_bytes=2000), turns + 1

    assert turns > 3
    slow, fast = only(snapshot), only(read_all(Monitor([tmp_path], clock=Clock())))
    assert slow.findings == fast.findings
    assert slow.verdict == fast.verdict
    assert slow.verdict.learning_rate == "too_high"


def test_nothing_new_is_the_same_snapshot(tmp_path: Path) -> None:
    write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    monitor = Monitor([tmp_path], watcher=FakeWatcher(), clock=Clock())
    first = read_all(monitor)

    assert monitor.poll() is first


def test_growth_is_seen_and_only_where_it_was_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "events.out.tfevents.1", [1.0] * 5)
    grown = write_run(tmp_path / "b" / "events.out.tfevents.1", [1.0] * 5)
    watcher, clock = FakeWatcher(), Clock()
    monitor = Monitor([tmp_path], watcher=watcher, clock=clock)
    read_all(monitor)

    write_run(grown, [0.5], "ab", first=6)
    watcher.changes = Changes(frozenset({str(tmp_path / "b")}), everything=False)
    snapshot = monitor.poll()

    assert {run.run: run.last_step for run in snapshot.runs} == {"a": 5, "b": 6}


def test_a_run_falls_silent_and_a_finished_one_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "silent" / "events.out.tfevents.1", [1.0] * 5)
    done = write_run(tmp_path / "done" / "events.out.tfevents.1", [1.0] * 5)
    with done.open("ab") as file:
        file.write(scalar_record("train/train_runtime", 60.0, 5, FIRST + 5))
    clock = Clock()
    monitor = Monitor([tmp_path], watcher=FakeWatcher(), clock=clock)
    assert {run.run: run.state for run in read_all(monitor).runs} == {"silent": "live", "done": "finished"}

    clock.now += 2 * LEAST_IDLE

    assert {run.run: run.state for run in monitor.poll().runs} == {"silent": "idle", "done": "finished"}


def test_the_trainers_own_words_configure_the_judge(tmp_path: Path) -> None:
    arguments = json.dumps({"learning_rate": 2e-4, "max_grad_norm": 0.3, "warmup_steps": 10, "max_steps": 200})
    path = write_run(tmp_path / "events.out.tfevents.1", [])
    path.write_bytes(record(event([text("args/text_summary", arguments)])))
    write_run(path, [1.0] * 30, "ab")

    run = only(read_all(Monitor([tmp_path], clock=Clock())))

    assert (run.config.learning_rate, run.config.max_grad_norm, run.config.max_steps) == (2e-4, 0.3, 200)
    clipped = next(finding for finding in run.findings if finding.rule == "grad-norm-clipped")
    assert clipped.state == "firing"


def test_a_campaign_with_a_collapse(tmp_path: Path) -> None:
    for cycle, passed in enumerate([300, 400, 470, 150], start=1):
        write_run(tmp_path / f"cycle_{cycle}" / "logs" / "events.out.tfevents.1", [1.0] * 16)
        write_verified(tmp_path, cycle, passed, 1000)

    snapshot = read_all(Monitor([tmp_path], clock=Clock()))

    (campaign,) = snapshot.campaigns
    assert [cycle.verification_rate for cycle in campaign.cycles] == [0.3, 0.4, 0.47, 0.15]
    assert campaign.best_cycle == 3
    assert campaign.firing[0].rule == "cycle-much-worse"
    assert campaign.next is not None
    assert (campaign.next.cycle, campaign.next.roll_back_to) in {(5, 2), (5, None)}
    assert {run.scenario for run in snapshot.runs} == {"raft"}
    assert all(run.verdict.learning_rate == "undecided" for run in snapshot.runs)


def test_the_strategy_of_the_settings_is_followed(tmp_path: Path) -> None:
    for cycle in (1, 2):
        write_run(tmp_path / f"cycle_{cycle}" / "events.out.tfevents.1", [1.0] * 5)
    settings = Settings(strategy=Strategy("exponential", base=5e-5, decay=0.85))

    (campaign,) = read_all(Monitor([tmp_path], settings=settings, clock=Clock())).campaigns

    assert campaign.next is not None
    assert campaign.next.because[0] == "strategy:exponential 5.0e-05 × 0.85^2 = 3.61e-05"


def test_cycles_of_a_name_with_an_iteration_number_share_the_files_beside_them(tmp_path: Path) -> None:
    for cycle in (1, 2):
        write_run(tmp_path / f"model_iter{cycle}" / "events.out.tfevents.1", [1.0] * 5)
    (tmp_path / "raft_statistics.json").write_text(
        json.dumps([{"cycle": 1, "total_samples": 100, "success_rate": 0.2}])
    )

    (campaign,) = read_all(Monitor([tmp_path], clock=Clock())).campaigns

    assert campaign.name == "model"
    assert [cycle.cycle for cycle in campaign.cycles] == [1, 2]
    assert campaign.cycles[0].verification_rate == 0.2


def test_bad_files_are_problems_and_the_rest_is_read(tmp_path: Path) -> None:
    write_run(tmp_path / "good" / "events.out.tfevents.1", [1.0] * 5)
    for name, content in (
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("garbage", os.urandom(100_000)),
        ("empty", b""),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.out.tfevents.1").write_bytes(content)

    snapshot = read_all(Monitor([tmp_path], clock=Clock()))

    states = {run.run: run.state for run in snapshot.runs}
    assert states == {"good": "live", "lfs": "empty", "garbage": "empty", "empty": "empty"}
    assert {Path(problem.where).parent.name for problem in snapshot.problems} == {"lfs", "garbage"}


def test_a_run_whose_files_are_deleted_leaves(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run" / "events.out.tfevents.1", [1.0] * 40)
    monitor = Monitor([tmp_path], clock=Clock())
    assert only(read_all(monitor)).series["loss"].count == 40

    path.unlink()
    assert read_all(monitor).runs == ()

    write_run(path, [1.0] * 40)
    assert only(read_all(monitor)).series["loss"].count == 40


def held_by(monitor: Monitor) -> Iterator[object]:
    """All that a monitor keeps alive, code left out."""
    seen: dict[int, object] = {}
    todo: list[object] = [monitor]
    while todo:
        held = todo.pop()
        if id(held) in seen or isinstance(held, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen[id(held)] = held
        yield held
        todo += gc.get_referents(held)


def test_nothing_of_a_run_that_is_gone_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    monitor = Monitor([tmp_path], clock=clock)
    write_run(tmp_path / "stays" / "events.out.tfevents.1", [1.0] * 4)
    for gone in ("gone_run", "raft/cycle_77/logs"):
        write_run(tmp_path / gone / "events.out.tfevents.1", [1.0] * 40)
    assert len(read_all(monitor).runs) == 3

    shutil.rmtree(tmp_path / "gone_run")
    shutil.rmtree(tmp_path / "raft" / "cycle_77")
    for _ in range(3):
        clock.now += 100.0
        assert [run.run for run in read_all(monitor).runs] == ["stays"]

    named = [str(held) for held in held_by(monitor) if isinstance(held, str | bytes | Path)]
    assert any("stays" in name for name in named)
    assert [name for name in named if "gone_run" in name or "cycle_77" in name] == []


def test_damage_that_comes_later_is_told_at_once(tmp_path: Path) -> None:
    path = write_run(tmp_path / "events.out.tfevents.1", [1.0] * 40)
    monitor = Monitor([tmp_path], clock=Clock())
    assert read_all(monitor).problems == ()

    with path.open("ab") as file:
        file.write(b"\x07" * 40)

    assert len(read_all(monitor).problems) == 1


def test_a_sidecar_that_comes_late_is_read(tmp_path: Path) -> None:
    write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    monitor = Monitor([tmp_path], clock=Clock())
    assert only(read_all(monitor)).config.learning_rate is None

    (tmp_path / "hparams.yaml").write_text("learning_rate: 0.001\n")

    assert only(read_all(monitor)).config.learning_rate == 0.001


def test_what_stands_beside_a_cycles_training_does_not_take_its_place(tmp_path: Path) -> None:
    write_run(tmp_path / "cycle_1" / "logs" / "events.out.tfevents.1", [1.0] * 16)
    for name in ("cycle_reward_distribution_1", "samples"):
        beside = tmp_path / "cycle_1" / "logs" / name
        beside.mkdir()
        (beside / "events.out.tfevents.2").write_bytes(scalar_record("share", 0.5, 1, FIRST + 1000))

    (campaign,) = read_all(Monitor([tmp_path], clock=Clock())).campaigns

    (cycle,) = campaign.cycles
    assert (cycle.run, cycle.learning_rate) == ("cycle_1/logs", 1e-3)


def test_what_lies_behind_a_symbolic_link_is_looked_at_without_being_told(tmp_path: Path) -> None:
    outside, logdir = tmp_path / "outside", tmp_path / "logdir"
    path = write_run(outside / "events.out.tfevents.1", [1.0] * 5)
    logdir.mkdir()
    (logdir / "run").symlink_to(outside)
    clock = Clock()
    monitor = Monitor([logdir], watcher=Watcher([logdir], clock=clock), clock=clock)
    assert read_all(monitor).problems == ()

    write_run(path, [1.0], "ab", first=6)
    write_run(outside / "new" / "events.out.tfevents.1", [1.0] * 3)
    clock.now += POLL_SECONDS
    snapshot = monitor.poll()
    monitor.close()

    assert {run.run: run.last_step for run in snapshot.runs} == {"run": 6, "run/new": 3}
    assert snapshot.problems == ()


def test_a_back_fill_that_ends_without_a_point_ends(tmp_path: Path) -> None:
    path = write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    with path.open("ab") as file:
        for step in range(20):
            file.write(record(event([text("note", "x" * 1000)], step=step)))
    monitor, snapshot = Monitor([tmp_path], watcher=FakeWatcher(), clock=Clock()), None
    for _ in range(200):
        snapshot = monitor.poll(max_bytes=600)
        if not snapshot.backfilling:
            break

    assert snapshot is not None
    assert not snapshot.backfilling
    assert only(snapshot).last_step == 5


def test_a_budget_that_ends_between_two_files_leaves_none_out(tmp_path: Path) -> None:
    first = write_run(tmp_path / "events.out.tfevents.1", [1.0] * 5)
    write_run(tmp_path / "events.out.tfevents.2", [1.0] * 5, first=6)
    monitor = Monitor([tmp_path], watcher=FakeWatcher(), clock=Clock())
    snapshot = monitor.poll(max_bytes=first.stat().st_size)
    while snapshot.backfilling:
        snapshot = monitor.poll(max_bytes=first.stat().st_size)

    assert only(snapshot).last_step == 10


def test_a_file_that_is_replaced_by_one_with_other_tags(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(scalar_record("train/loss", 1.0, 1))
    monitor = Monitor([tmp_path], clock=Clock())
    assert only(read_all(monitor)).series["loss"].tag == "train/loss"

    path.unlink()
    path.write_bytes(scalar_record("loss", 1.0, 1))

    assert only(read_all(monitor)).series["loss"].tag == "loss"


def test_a_restart_with_another_configuration_is_judged_by_the_new_one(tmp_path: Path) -> None:
    for number, rate in ((1, 1e-5), (2, 5e-4)):
        arguments = record(event([text("args/text_summary", json.dumps({"learning_rate": rate}))]))
        (tmp_path / f"events.out.tfevents.{number}").write_bytes(arguments + rows(number, 1.0, rate))
        if number == 1:
            monitor = Monitor([tmp_path], clock=Clock())
            assert only(read_all(monitor)).config.learning_rate == 1e-5

    assert only(read_all(monitor)).config.learning_rate == 5e-4


def test_keras_validation_joins_its_training_an_epoch_later(tmp_path: Path) -> None:
    def write(part: str) -> None:
        (tmp_path / "fit" / part).mkdir(parents=True)
        (tmp_path / "fit" / part / "events.out.tfevents.1").write_bytes(scalar_record("epoch_loss", 1.0, 0))

    write("train")
    monitor = Monitor([tmp_path], clock=Clock())
    assert only(read_all(monitor)).run == "fit/train"

    write("validation")

    run = only(read_all(monitor))
    assert (run.run, set(run.series) >= {"loss", "eval_loss"}) == ("fit", True)


def test_a_restart_is_judged_anew(tmp_path: Path) -> None:
    write_run(tmp_path / "events.out.tfevents.1", [1.0 + 0.1 * n for n in range(40)])
    monitor = Monitor([tmp_path], clock=Clock())
    assert only(read_all(monitor)).verdict.learning_rate == "too_high"

    write_run(tmp_path / "events.out.tfevents.2", [1.0 - 0.001 * n for n in range(40)])
    run = only(read_all(monitor))

    assert run.series["loss"].count == 40
    assert run.verdict.learning_rate == "undecided"


@pytest.mark.parametrize("name", ["lr10²", "lr٣", "run_½"])
def test_digits_of_any_kind_in_a_name(name: str, tmp_path: Path) -> None:
    for run in (name, "lr9", "lr10"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "events.out.tfevents.1.h").write_bytes(losses(1.0))
    snapshot = Monitor([tmp_path]).poll()
    assert sorted(view.run for view in snapshot.runs) == sorted([name, "lr9", "lr10"])
