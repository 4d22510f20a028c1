"""halo-forge's arithmetic and files: what raftmon must know of them before it writes into its config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raftmon.cli import main
from raftmon.monitor import Monitor
from tests.halo_forge import DECAY, EXPERIMENTS, FLOOR, RATE, build, config_text, schedule, used_rate


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "raft.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (config_text("5.0e-5"), [5e-5, 3.6125e-5, FLOOR]),
        (config_text(None), [5e-5, 3.6125e-5, FLOOR]),
        (config_text("0"), [5e-5, 3.6125e-5, FLOOR]),
        (config_text(None, training="base_learning_rate: 7.0e-5"), [7e-5, 5.0575e-5, FLOOR]),
        (config_text("3.0e-5", training="base_learning_rate: 7.0e-5"), [3e-5, 2.1675e-5, FLOOR]),
        (config_text("5.0e-5", training="lr_decay_factor: 1.0"), [5e-5, 5e-5, 5e-5]),
        (config_text("5.0e-5", training="lr_decay_factor: 1"), [5e-5, 5e-5, 5e-5]),
        (config_text("5.0e-5", top="lr_decay_per_cycle: 1.0"), [5e-5, 3.6125e-5, FLOOR]),
        (config_text("5.0e-5", training="lr_decay_per_cycle: 0.5"), [5e-5, 3.6125e-5, FLOOR]),
        (config_text("5.0e-5", top="min_lr: 4.9e-5"), [5e-5, 3.6125e-5, FLOOR]),
        (config_text("5.0e-5", training="learning_rate_schedule: {cycle_3: 1.0e-5}"), [5e-5, 3.6125e-5, FLOOR]),
        ("learning_rate: 1.0e-5\ntraining:\n", [5e-5, 3.6125e-5, FLOOR]),
    ],
)
def test_what_is_read(config: Path, text: str, expected: list[float]) -> None:
    """These are the rates which the real command took in cycles 1, 3 and 40."""
    config.write_text(text)
    assert [used_rate(config, cycle) for cycle in (1, 3, 40)] == pytest.approx(expected)


def test_the_command_line_comes_first(config: Path) -> None:
    config.write_text(config_text("5.0e-5", training="lr_decay_factor: 0.5"))
    assert used_rate(config, 3, "--learning-rate", "1e-5") == pytest.approx(1e-5 * 0.25)
    assert used_rate(config, 3, "--lr-decay", "0.9") == pytest.approx(5e-5 * 0.81)
    assert used_rate(config, 3, "--lr-decay", "0.85") == pytest.approx(5e-5 * 0.25)
    assert used_rate(config, 9, "--min-lr", "4e-6") == 4e-6


@pytest.mark.parametrize("rate", ["5e-5", "4e-05", "'5.0e-5'"])
@pytest.mark.parametrize("training", ["", "lr_decay_factor: 1", "lr_decay_factor: 1.0"])
def test_a_rate_that_yaml_reads_as_text_ends_it(config: Path, rate: str, training: str) -> None:
    config.write_text(config_text(rate, training=training))
    for cycle in (1, 2):
        with pytest.raises(TypeError):
            used_rate(config, cycle)
    assert used_rate(config, 1, "--learning-rate", "5e-5") == 5e-5


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("layout", ["logs", "runs"])
def test_raftmon_reads_the_campaign(tmp_path: Path, name: str, layout: str) -> None:
    build(tmp_path, name, finished=True, layout=layout)
    snapshot = Monitor([tmp_path]).poll()
    (campaign,) = snapshot.campaigns
    measured = EXPERIMENTS[name].cycles
    assert [(cycle.verification_rate, cycle.verified, cycle.kept) for cycle in campaign.cycles] == [
        (cycle.passed / cycle.verified, cycle.verified, cycle.kept) for cycle in measured
    ]
    assert [run.cycle for run in snapshot.runs] == [number for number, _ in enumerate(measured, start=1)]
    assert {run.dialect for run in snapshot.runs} == {"hf"}
    assert snapshot.problems == ()


def test_a_running_campaign_has_no_reports(tmp_path: Path) -> None:
    build(tmp_path, "3B", cycles=1)
    assert {path.name for path in tmp_path.iterdir()} == {
        "cycle_1", "cycle_1_final", "cycle_1_samples.jsonl", "cycle_1_verified.jsonl"
    }  # fmt: skip
    verdicts = (tmp_path / "cycle_1_verified.jsonl").read_text().splitlines()
    rewards = [line.split('"reward": ')[1][:3] for line in verdicts]
    assert rewards == ["0.5"] * 125 + ["0.0"] * 3


def test_the_gradient_norms_on_record_are_logged(tmp_path: Path) -> None:
    directory = build(tmp_path, "HumanEval")
    norms = [_logged(directory, cycle, "train/grad_norm") for cycle in (1, 2, 3)]
    assert norms == [pytest.approx([995.3]), pytest.approx([194.0]), pytest.approx([0.47])]


def test_a_cycle_of_few_steps_never_gets_to_its_rate(tmp_path: Path) -> None:
    directory = build(tmp_path, "3B")
    assert _logged(directory, 2, "train/learning_rate") == pytest.approx([0.0, RATE * DECAY / 10])
    assert max(schedule(1.0, 9)) == 0.8
    assert max(schedule(1.0, 16)) == 1.0


@pytest.mark.parametrize("name", ["1.5B", "3B"])
def test_the_rate_of_such_a_cycle_is_the_configured_one(tmp_path: Path, name: str) -> None:
    """Otherwise the next cycle would be planned from a tenth of the rate that the config says."""
    (campaign,) = Monitor([build(tmp_path, name)]).poll().campaigns
    assert [cycle.learning_rate for cycle in campaign.cycles] == pytest.approx([RATE, RATE * DECAY])


CONSTANT = "constant, base: 5.0e-5"
EXPONENTIAL = "exponential, base: 5.0e-5, decay: 0.85, min: 1.0e-6"


@pytest.mark.parametrize("name", ["HumanEval", "3B"])
@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        (EXPONENTIAL, config_text("5.0e-5")),
        (EXPONENTIAL, config_text("5e-5")),
        (EXPONENTIAL, config_text(None)),
        (EXPONENTIAL, config_text("1.0e-5", training="lr_decay_factor: 0.7")),
        (CONSTANT, config_text("5.0e-5")),
        (CONSTANT, config_text("5.0e-5", training="lr_decay_factor: 1.0")),
        (CONSTANT, config_text("5.0e-5", training="lr_decay_per_cycle: 0.5\nmin_lr: 4.0e-5")),
        (CONSTANT, config_text("5.0e-5", top="lr_decay_per_cycle: 1.0")),
        (EXPONENTIAL, config_text("5.0e-5", top="min_lr: 4.0e-5")),
        (EXPONENTIAL, config_text("5.0e-5", training="lr_decay_factor: 0.7", top="lr_decay_per_cycle: 0.9")),
    ],
)
def test_the_next_cycle_trains_at_the_rate_that_was_said(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str], name: str, strategy: str, text: str
) -> None:
    """halo-forge multiplies what the config says by its decay: the value to be written is another one."""
    campaign = build(tmp_path / "models", name)
    config.write_text(text)
    (tmp_path / "raftmon.yaml").write_text(f"strategy: {{kind: {strategy}}}\nguardrails: {{max_change: 10.0}}\n")
    files = ["--settings", str(tmp_path / "raftmon.yaml"), "--journal", str(tmp_path / "journal.db")]
    with pytest.raises(SystemExit) as end:
        main(["pre-cycle", str(config), "--logdir", str(campaign), *files, "--apply", "--format", "json"])
    assert end.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["cycle"] == len(EXPERIMENTS[name].cycles) + 1
    # A rate is written with three to six digits.
    assert used_rate(config, said["cycle"]) == pytest.approx(said["learning_rate"], rel=1e-3)


def _logged(directory: Path, cycle: int, tag: str) -> list[float]:
    """Return the values of a tag, read by TensorBoard's own reader."""
    (file,) = (directory / f"cycle_{cycle}").rglob("*tfevents*")
    accumulator = EventAccumulator(str(file))
    accumulator.Reload()
    return [point.value for point in accumulator.Scalars(tag)]
