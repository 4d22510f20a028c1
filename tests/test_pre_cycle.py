"""`raftmon pre-cycle`, `undo` and `plan` as a person and a script see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from raftmon.cli import main
from tests.loop import CONFIG, Loop


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    made = Loop(tmp_path)
    made.train(1)
    made.train(2)
    return made


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return int(str(end.value.code)), shown.out, shown.err


def pre_cycle(capsys: pytest.CaptureFixture[str], loop: Loop, *words: object) -> tuple[int, str, str]:
    where = ("--logdir", loop.campaign, "--journal", loop.journal)
    return run(capsys, "pre-cycle", loop.config, *where, "--decay", "0.85", *words)


def test_a_dry_run_for_people(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = pre_cycle(capsys, loop)

    assert (code, err) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0].startswith("cycle 3  learning rate 3.61e-05")
    assert "strategy:exponential 5.0e-05 × 0.85^2 = 3.61e-05" in lines
    assert "-learning_rate: 5.0e-05   # of every cycle" in lines
    assert "+learning_rate: 3.61e-05   # of every cycle" in lines
    assert lines[-1] == "nothing is written yet: add --apply"
    assert loop.config.read_text() == CONFIG


def test_apply_and_undo(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = pre_cycle(capsys, loop, "--apply")
    assert (code, out.splitlines()[-1]) == (0, "written; `raftmon undo` takes it back")
    assert yaml.safe_load(loop.config.read_text())["learning_rate"] == 3.61e-5

    code, out, _ = run(capsys, "undo", loop.config, "--journal", loop.journal)
    assert code == 0
    assert "the override of cycle 3 is taken back" in out
    assert loop.config.read_text() == CONFIG

    code, out, err = run(capsys, "undo", loop.config, "--journal", loop.journal)
    assert (code, out) == (4, "")
    assert "no override to take back" in err


def test_formats_for_scripts(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    assert pre_cycle(capsys, loop, "--format", "value") == (0, "3.61e-05\n", "")
    assert pre_cycle(capsys, loop, "--format", "flag") == (0, "--learning_rate 3.61e-05\n", "")
    code, out, _ = pre_cycle(capsys, loop, "--format", "json")
    document: dict[str, Any] = json.loads(out)
    assert (code, document["schema"], document["learning_rate"]) == (0, "raftmon/override@1", 3.61e-5)
    assert (document["applied"], document["refused"]) == (False, None)


def test_a_refusal_ends_with_4_and_its_remedy(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.config.write_text(CONFIG + "resume_from_checkpoint: true\n")
    before = loop.config.read_bytes()

    code, out, err = pre_cycle(capsys, loop, "--apply")
    assert (code, err) == (4, "")
    assert "refused: " in out
    assert "without resuming" in out

    code, out, err = pre_cycle(capsys, loop, "--apply", "--format", "value")
    assert (code, out) == (4, "3.61e-05\n")
    assert "not written" in err

    # Nobody asked for a write: the number is what is wanted.
    code, out, err = pre_cycle(capsys, loop, "--format", "value")
    assert (code, out) == (0, "3.61e-05\n")

    code, out, _ = pre_cycle(capsys, loop, "--apply", "--format", "json")
    assert code == 4
    assert json.loads(out)["refused"].startswith(f"{loop.config}:9:")
    assert loop.config.read_bytes() == before


def test_a_config_that_pyyaml_cannot_read_still_gets_a_number(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.config.write_text(CONFIG.replace("   # of", "\t# of"))

    code, out, _ = pre_cycle(capsys, loop, "--format", "json")

    document = json.loads(out)
    assert code == 4
    assert (document["learning_rate"], document["key"]) == (3.61e-5, None)
    assert f"{loop.config}:3:23: not valid YAML: a tab" in document["refused"]


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["--decay", "1.5"], 2, "above 1"),
        (["--base-lr", "nan"], 2, "no number above 0"),
        (["--base-lr", "-1"], 2, "no number above 0"),
        (["--strategy", "constant", "--decay", "0.5"], 2, "has none"),
        (["--cycle", "0"], 2, "--cycle"),
        (["--key", "a.b"], 4, "no key `a.b`"),
        (["--format", "yaml"], 2, "--format"),
    ],
)
def test_wrong_usage(loop: Loop, capsys: pytest.CaptureFixture[str], words: list[str], code: int, what: str) -> None:
    base = ("pre-cycle", loop.config, "--logdir", loop.campaign, "--journal", loop.journal)

    found, out, err = run(capsys, *base, *words)

    assert found == code
    assert what in " ".join((out + err).split())


def test_nothing_to_read_and_missing_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop(tmp_path)
    code, _, err = pre_cycle(capsys, loop)
    assert code == 3
    assert "--cycle 1" in err
    loop.config.unlink()
    assert pre_cycle(capsys, loop)[0] == 2


def test_settings_give_strategy_guardrails_and_key(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    settings = loop.config.parent / "raftmon.yaml"
    settings.write_text(
        "strategy: {kind: manual, schedule: {cycle_1: 5.0e-5, cycle_3: 1.0e-3}}\nguardrails: {max_change: 2.0}\n"
        "config_key: learning_rate\n"
    )

    where = ("--logdir", loop.campaign, "--journal", loop.journal)
    code, out, _ = run(capsys, "pre-cycle", loop.config, *where, "--settings", settings, "--format", "value")

    assert (code, out) == (0, "1.0e-04\n")


def test_the_plan_of_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "plan", "--base-lr", "5e-5", "--cycles", "5")

    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert rows[1] == ["constant", *["5.0e-05"] * 5]
    # The seed's table: 5.0 4.5 4.1, 5.0 3.6 2.6 and 5.0 2.5 1.2 e-5 in the cycles 1, 3 and 5; its 4.5 is 4.51.
    assert [rows[2][n] for n in (2, 4, 6)] == ["5.0e-05", "4.51e-05", "4.07e-05"]
    assert [rows[3][n] for n in (2, 4, 6)] == ["5.0e-05", "3.61e-05", "2.61e-05"]
    assert [rows[4][n] for n in (2, 4, 6)] == ["5.0e-05", "2.45e-05", "1.2e-05"]

    code, out, _ = run(capsys, "plan", "--base-lr", "5e-5", "--cycles", "2", "--decay", "0.5", "--format", "json")
    document = json.loads(out)
    chosen = [plan for plan in document["strategies"] if plan["chosen"]]
    assert [cycle["learning_rate"] for cycle in chosen[0]["cycles"]] == [5e-5, 2.5e-5]

    assert run(capsys, "plan")[0] == 2


def test_a_plan_is_written_followed_and_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = "num_cycles: 3\ntraining:\n  learning_rate: 5e-5  # base\n  batch_size: 2\n"
    loop = Loop(tmp_path, config)
    words = ("--base-lr", "4e-5", "--cycles", "3", "--decay", "0.5", "--write", loop.config, "--journal", loop.journal)

    code, out, _ = run(capsys, "plan", *words)

    assert code == 0
    assert "training.learning_rate_schedule written" in out
    schedule = yaml.safe_load(loop.config.read_text())["training"]["learning_rate_schedule"]
    assert schedule == {"cycle_1": 4e-5, "cycle_2": 2e-5, "cycle_3": 1e-5}
    loop.train(1, rate=4e-5)
    code, out, _ = run(
        capsys, "pre-cycle", loop.config, "--logdir", loop.campaign, "--journal", loop.journal, "--format", "value"
    )
    assert (code, out) == (0, "2.0e-05\n")
    assert run(capsys, "undo", loop.config, "--journal", loop.journal)[0] == 0
    assert loop.config.read_text() == config


def test_a_plan_does_not_go_where_a_foreign_key_would_stop_the_trainer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = Loop(tmp_path, CONFIG + "stage: sft\nfinetuning_type: lora\n")

    code, _, err = run(capsys, "plan", "--base-lr", "4e-5", "--write", loop.config, "--journal", loop.journal)

    assert code == 4
    assert "may fail at a key that it does not know" in err
    assert "strategy: {kind: manual, schedule: {cycle_1: 4.0e-05" in err
    assert loop.config.read_text().startswith(CONFIG)


def test_advise_begins_with_the_config(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.config.write_text(CONFIG.replace("5.0e-05", "4.0e-05"))

    code, out, _ = run(capsys, "advise", loop.campaign, "--config", loop.config, "--format", "json")

    following = json.loads(out)["campaigns"][0]["next"]
    assert (code, following["learning_rate"]) == (0, 4e-5)
    assert following["because"][0] == "config 4.0e-05"
    assert run(capsys, "advise", loop.campaign, "--config", loop.campaign / "none.yaml")[0] == 2


SCHEDULED = "num_cycles: 3\ntraining:\n  learning_rate: 5.0e-5\n  batch_size: 2\n  learning_rate_schedule:"


@pytest.mark.parametrize(
    ("schedule", "what"),
    [
        ("\n    cycle_1: &a 5.0e-5\n    cycle_2: *a\n", "shares its value"),
        ("\n    cycle_1: 5.0e-5\n    cycle_2: ${lr}\n", "stands elsewhere"),
        ("\n    cycle_1: 5.0e-5\n    cycle_3: 3.0e-5\n", "has cycle_3 too, which would stay in force"),
        ("\n", "holds no cycles"),
        (" {}\n", "holds no cycles"),
        (" [5.0e-5, 4.0e-5]\n", "cycle_"),
    ],
)
def test_a_schedule_that_cannot_be_rewritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schedule: str, what: str
) -> None:
    loop = Loop(tmp_path, SCHEDULED + schedule)
    words = ("--base-lr", "4e-5", "--cycles", "2", "--decay", "0.5", "--write", loop.config, "--journal", loop.journal)

    code, _, err = run(capsys, "plan", *words)

    assert code == 4
    assert what in err
    assert loop.config.read_text() == SCHEDULED + schedule


@pytest.mark.parametrize("schedule", [" [5.0e-5, 4.0e-5]\n", "\n    cycle_1: 5.0e-5\n    cycle_2: 4e-5x\n"])
def test_a_schedule_that_is_none_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schedule: str
) -> None:
    loop = Loop(tmp_path, SCHEDULED + schedule)
    loop.train(1)

    code, out, _ = run(capsys, "pre-cycle", loop.config, "--logdir", loop.campaign, "--journal", loop.journal)

    assert code == 4
    assert "is no entry of a schedule" in " ".join(out.split())


def test_a_stop_prints_no_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop(tmp_path)
    for cycle, passed in enumerate((400, 420, 430, 200, 100, 60), start=1):
        loop.train(cycle, passed=passed)
    where = ("--logdir", loop.campaign, "--journal", loop.journal, "--authority", "test")

    code, out, err = run(capsys, "pre-cycle", loop.config, *where, "--apply", "--format", "value")

    assert (code, out) == (0, "")
    assert "Stop here and ship" in err
    assert loop.config.read_text() == CONFIG


@pytest.mark.parametrize(
    ("guardrails", "what"),
    [("{max: 0}", "must be above 0"), ("{min: -1}", "must be above 0"), ("{min: 1.0e-3, max: 1.0e-6}", "is above")],
)
def test_guardrails_that_cannot_be_meant(
    loop: Loop, capsys: pytest.CaptureFixture[str], guardrails: str, what: str
) -> None:
    settings = loop.config.parent / "raftmon.yaml"
    settings.write_text(f"guardrails: {guardrails}\n")

    code, _, err = pre_cycle(capsys, loop, "--settings", settings, "--apply")

    assert code == 2
    assert what in err


def test_a_terminal_is_not_told_what_a_config_holds(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.config.write_text(CONFIG.replace("5.0e-05", '"\\e]0;x\\a"'))

    for form in ("text", "value", "flag"):
        _, out, err = pre_cycle(capsys, loop, "--format", form)
        assert "\x1b" not in out + err
        assert "no number" in " ".join((out + err).split())


def test_the_floor_of_a_strategy_is_named(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = pre_cycle(capsys, loop, "--base-lr", "5e-5", "--min-lr", "4e-5")

    assert "strategy:exponential 5.0e-05 × 0.85^2, at least 4.0e-05" in out


def test_advise_follows_a_config_that_changes(loop: Loop) -> None:
    from raftmon.commands.shared import open_monitor

    monitor = open_monitor([loop.campaign], None, watching=False, config=loop.config)
    first = monitor.poll().campaigns[0].next
    loop.config.write_text(CONFIG.replace("5.0e-05", "4.0e-05"))
    loop.train(3)
    second = monitor.poll().campaigns[0].next
    loop.config.unlink()
    loop.train(4)
    third = monitor.poll().campaigns[0].next

    assert third is not None
    assert (third.cycle, third.learning_rate) == (5, 4e-5)
    assert first is not None
    assert second is not None
    assert (first.learning_rate, second.learning_rate) == (5e-5, 4e-5)
