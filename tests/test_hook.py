"""Between two cycles: the arithmetic, what is written, what is refused, what is taken back."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from raftmon.advice.campaign_policy import next_cycle
from raftmon.advice.intent import Intent
from raftmon.advice.settings import Settings, Strategy
from raftmon.errors import NothingToRead, Refused, UsageError
from raftmon.hook import Override, pre_cycle, undo
from raftmon.journal import Journal
from raftmon.model import CycleView
from raftmon.override import override_document
from raftmon.trainers.effect import Process, running_processes, running_with
from tests.loop import BEGAN, CONFIG, Loop

HALO_FORGE = """\
# halo-forge
num_cycles: 6
output_dir: models/raft
raft: {samples_per_prompt: 8, keep_top_percent: 0.5}
training:
  batch_size: 2
  gradient_accumulation_steps: 16
  learning_rate: 5e-5
"""


def hook(loop: Loop, cycle: int | None = None, apply: bool = True, **options: Any) -> Override:
    options.setdefault("processes", list)
    return pre_cycle(loop.config, loop.campaign, cycle, apply, journal=Journal(loop.journal), **options)


def written(loop: Loop, key: str = "learning_rate") -> Any:
    value: Any = yaml.safe_load(loop.config.read_text())
    for part in key.split("."):
        value = value[part]
    return value


def exponential(base: float | None = 5e-5, decay: float = 0.85) -> Settings:
    return Settings(strategy=Strategy("exponential", base=base, decay=decay))


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    made = Loop(tmp_path)
    made.train(1)
    made.train(2)
    return made


def test_nothing_to_change_leaves_every_byte(loop: Loop) -> None:
    before = loop.config.read_bytes()

    override = hook(loop)

    assert (override.cycle, override.learning_rate, override.current) == (3, 5e-5, 5e-5)
    assert (override.applied, override.changed, override.diff, override.refused) == (True, False, "", None)
    assert loop.config.read_bytes() == before
    # It is noted all the same: the next cycle's config is compared with this one.
    assert [(entry.cycle, entry.state) for entry in Journal(loop.journal).entries()] == [(3, "written")]


def test_a_dry_run_shows_all_and_touches_nothing(loop: Loop) -> None:
    override = hook(loop, apply=False, settings=exponential())

    assert override.learning_rate == pytest.approx(3.61e-5)
    assert "-learning_rate: 5.0e-05   # of every cycle\n+learning_rate: 3.61e-05   # of every cycle\n" in override.diff
    assert override.because[0].text == "strategy:exponential 5.0e-05 × 0.85^2 = 3.61e-05"
    assert override.flag == "--learning_rate 3.61e-05"
    assert (override.applied, override.changed) == (False, True)
    assert loop.config.read_text() == CONFIG
    assert not loop.journal.exists()


def test_apply_writes_one_number_and_undo_takes_it_back(loop: Loop) -> None:
    override = hook(loop, settings=exponential())

    assert override.applied
    assert loop.config.read_text() == CONFIG.replace("5.0e-05", "3.61e-05")
    taken = undo(loop.config, loop.journal)
    assert (taken.key, taken.cycle) == ("learning_rate", 3)
    assert loop.config.read_text() == CONFIG
    with pytest.raises(Refused, match="no override to take back"):
        undo(loop.config, loop.journal)
    assert [entry.undone_at is not None for entry in Journal(loop.journal).entries()] == [True]


def test_what_a_person_agreed_to_is_written_and_nothing_else(loop: Loop) -> None:
    shown = hook(loop, apply=False, settings=exponential())
    loop.train(3)

    refused = hook(loop, settings=exponential(), agreed=shown)

    assert (refused.applied, refused.remedy) == (False, "Look at it again.")
    assert "changed since you looked" in (refused.refused or "")
    assert loop.config.read_text() == CONFIG
    assert not loop.journal.exists()
    again = hook(loop, apply=False, settings=exponential())
    assert hook(loop, settings=exponential(), agreed=again).applied
    assert written(loop) == again.written


def test_what_would_be_taken_back_is_shown_and_nothing_else_is(loop: Loop) -> None:
    hook(loop, settings=exponential())
    after = loop.config.read_bytes()

    shown = undo(loop.config, loop.journal, apply=False)

    assert "-learning_rate: 3.61e-05" in shown.diff
    assert loop.config.read_bytes() == after
    assert Journal(loop.journal).entries()[0].undone_at is None
    hook(loop, 4, settings=exponential())
    with pytest.raises(Refused, match="changed since you looked"):
        undo(loop.config, loop.journal, agreed=shown)
    undo(loop.config, loop.journal)
    assert undo(loop.config, loop.journal, agreed=shown) == shown
    assert loop.config.read_text() == CONFIG


def test_undo_walks_back_and_refuses_what_was_edited(loop: Loop) -> None:
    hook(loop, settings=exponential())
    hook(loop, 4, settings=exponential())
    undo(loop.config, loop.journal)
    assert written(loop) == 3.61e-5
    loop.config.write_text(loop.config.read_text() + "# edited\n")

    with pytest.raises(Refused, match="edited since") as caught:
        undo(loop.config, loop.journal)

    assert caught.value.exit_code == 4
    assert written(loop) == 3.61e-5


@pytest.mark.parametrize(
    ("strategy", "rate"),
    [
        (Strategy("constant", base=4e-5), 4e-5),
        (Strategy("constant"), 5e-5),
        (Strategy("exponential", decay=0.7), 2.45e-5),
        (Strategy("exponential", base=5e-5, decay=0.5, least=2e-5), 2e-5),
        (Strategy("manual", schedule={1: 5e-5, 3: 3e-5}), 3e-5),
        (Strategy("manual", schedule={1: 5e-5, 2: 4e-5}), 4e-5),
    ],
)
def test_the_strategies(loop: Loop, strategy: Strategy, rate: float) -> None:
    override = hook(loop, settings=Settings(strategy=strategy))

    assert override.learning_rate == pytest.approx(rate)
    assert written(loop) == pytest.approx(rate)


def test_a_schedule_in_the_config_is_followed(tmp_path: Path) -> None:
    schedule = "learning_rate_schedule:\n  cycle_1: 5.0e-5\n  cycle_2: 4.0e-5\n  cycle_3: 3e-5\n"
    loop = Loop(tmp_path, CONFIG + schedule)
    loop.train(1)
    loop.train(2)

    override = hook(loop)

    assert (override.learning_rate, override.because[0].rule) == (3e-5, "strategy:manual")
    assert loop.config.read_text() == CONFIG.replace("5.0e-05", "3.0e-05") + schedule


def test_a_manual_strategy_without_a_schedule_is_a_wrong_setting(loop: Loop) -> None:
    with pytest.raises(UsageError, match="no schedule"):
        hook(loop, settings=Settings(strategy=Strategy("manual")))


def test_a_drop_goes_back_and_lowers_only_with_authority(loop: Loop) -> None:
    loop.train(3, passed=420)
    loop.train(4, passed=150)
    before = loop.config.read_bytes()

    held = hook(loop, apply=False)
    assert (held.cycle, held.learning_rate, held.roll_back_to) == (5, 5e-5, None)
    assert [step.rule for step in held.held_back] == ["cycle-much-worse"]
    assert "--authority test lets it act" in held.held_back[0].text

    override = hook(loop, authority="test")
    assert (override.roll_back_to, override.best_cycle) == (2, 3)
    assert override.learning_rate == pytest.approx(5e-6)
    assert written(loop) == pytest.approx(5e-6)
    assert [step.rule for step in override.because] == ["config", "cycle-much-worse", "roll-back"]
    # Asked once more for the same cycle, it says the same: what it wrote is no new start.
    again = hook(loop, authority="test")
    assert (again.learning_rate, again.changed) == (override.learning_rate, False)
    undo(loop.config, loop.journal)
    assert loop.config.read_bytes() == before


def test_what_evidence_lowered_stays_low_under_a_strategy(loop: Loop) -> None:
    loop.train(3, passed=420)
    loop.train(4, passed=150)
    lowered = hook(loop, authority="test", settings=exponential(decay=0.95))
    assert lowered.learning_rate is not None
    loop.written_at(5)
    loop.train(5, rate=lowered.learning_rate, passed=420)

    after = hook(loop, authority="test", settings=exponential(decay=0.95))

    assert after.cycle == 6
    assert after.learning_rate is not None
    assert after.learning_rate < lowered.learning_rate
    assert [step.rule for step in after.because][:2] == ["strategy:exponential", "carried"]


def test_stop_writes_nothing(loop: Loop) -> None:
    loop.train(3, passed=420)
    loop.train(4, passed=200)
    loop.train(5, passed=100)
    loop.train(6, passed=60)

    override = hook(loop, authority="test")

    assert override.stop
    assert (override.applied, override.refused) == (False, None)
    assert loop.config.read_text() == CONFIG


def test_halo_forge_multiplies_by_its_decay(tmp_path: Path) -> None:
    loop = Loop(tmp_path, HALO_FORGE)
    loop.train(1, 5e-5)
    loop.train(2, 4.25e-5)

    as_it_is = hook(loop, apply=False)
    assert as_it_is.learning_rate == pytest.approx(3.6125e-5)
    assert "5.0e-05 × 0.85^2" in as_it_is.because[0].text
    assert "text for PyYAML" in as_it_is.remarks[0]

    override = hook(loop, settings=Settings(strategy=Strategy("constant", base=4e-5)))
    assert override.learning_rate == 4e-5
    assert override.written == pytest.approx(4e-5 / 0.85**2)
    assert override.flag == f"--learning-rate {4e-5 / 0.85**2:.5e}".replace("0e-", "e-")
    assert written(loop, "training.learning_rate") * 0.85**2 == pytest.approx(4e-5, rel=1e-5)
    assert "start it anew" in " ".join(override.remarks)


def test_halo_forge_does_not_go_below_its_floor(tmp_path: Path) -> None:
    loop = Loop(tmp_path, HALO_FORGE)
    loop.train(1, 5e-5)

    override = hook(loop, settings=Settings(strategy=Strategy("constant", base=8e-7), guardrails=_wide()))

    assert override.refused is not None
    assert "no less than its --min-lr 1e-06" in override.refused
    assert override.learning_rate == 8e-7


def _wide() -> Any:
    return dataclasses.replace(Settings().guardrails, max_change=100.0)


def test_a_given_key_is_the_rate_itself(tmp_path: Path) -> None:
    loop = Loop(tmp_path, HALO_FORGE)
    loop.train(1, 5e-5)
    loop.train(2, 4.25e-5)

    override = hook(loop, settings=exponential(), key="training.learning_rate")

    assert override.written == override.learning_rate == pytest.approx(3.61e-5)
    assert written(loop, "training.learning_rate") == pytest.approx(3.61e-5)
    by_settings = hook(loop, 4, settings=dataclasses.replace(exponential(), config_key="training.learning_rate"))
    assert by_settings.written == pytest.approx(3.07e-5)


def test_more_accumulation_raises_by_the_square_root_and_less_lowers(loop: Loop) -> None:
    arguments: dict[str, object] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 16}
    loop.train(2, arguments=arguments)

    override = hook(loop)

    step = next(step for step in override.because if step.rule == "change:effective_batch")
    assert step.factor == pytest.approx(0.5)
    assert override.learning_rate == pytest.approx(2.5e-5)


def test_the_journal_knows_the_config_of_the_cycle_before(loop: Loop) -> None:
    hook(loop)
    loop.train(3)
    text = loop.config.read_text()
    loop.config.write_text(text.replace("gradient_accumulation_steps: 4", "gradient_accumulation_steps: 8"))

    override = hook(loop, apply=False)

    step = next(step for step in override.because if step.rule == "change:effective_batch")
    assert step.factor == pytest.approx(2**0.5)
    assert override.learning_rate == pytest.approx(7.07e-5)


def test_a_hypothesis_lowers_once_and_raises_nothing(loop: Loop) -> None:
    """Temperatures to and fro are no ratchet: what was not raised is not lowered again."""
    rates = []
    for cycle, temperature in enumerate((1.0, 0.7, 1.0, 0.7, 1.0), start=3):
        text = loop.config.read_text().partition("temperature")[0]
        loop.config.write_text(f"{text}temperature: {temperature}\n")
        override = hook(loop)
        assert override.learning_rate is not None
        rates.append(override.learning_rate)
        loop.written_at(cycle)
        loop.train(cycle, rate=override.learning_rate)

    assert rates == [5e-5, *[pytest.approx(2.5e-5)] * 4]
    assert any("rests on a hypothesis" in step.text for step in override.because)


def test_fewer_kept_samples_are_shown_in_the_arithmetic(tmp_path: Path) -> None:
    loop = Loop(tmp_path, CONFIG + "max_steps: 100\n")
    for cycle in (1, 2):
        loop.train(cycle, arguments={"max_steps": 100})
    report = [{"cycle": 1, "kept": 800}, {"cycle": 2, "kept": 800}, {"cycle": 3, "kept": 200}]
    (loop.campaign / "raft_statistics.json").write_text(json.dumps(report))

    override = hook(loop, apply=False)

    assert override.cycle == 3
    step = next(step for step in override.because if step.rule == "change:train_samples")
    assert step.factor == pytest.approx(0.5)
    assert override.learning_rate == pytest.approx(2.5e-5)


def test_another_optimiser_holds_the_rate(loop: Loop) -> None:
    loop.config.write_text(CONFIG.replace("adamw_torch", "sgd"))

    override = hook(loop, apply=False)

    assert any("no common scale" in step.text and "held" in step.text for step in override.because)
    assert override.learning_rate == 5e-5


def test_the_log_shows_another_rate_than_the_file_means(loop: Loop) -> None:
    loop.train(2, rate=1e-4)

    override = hook(loop, settings=exponential())

    assert override.refused is not None
    assert "cycle 2 trained at 1.0e-04, but `learning_rate` meant 5.0e-05 for it" in override.refused
    assert "--learning_rate 3.61e-05" in (override.remedy or "")
    assert loop.config.read_text() == CONFIG


def test_a_file_edited_since_that_cycle_is_no_contradiction(loop: Loop) -> None:
    loop.train(2, rate=1e-4)
    loop.config.write_text(CONFIG)

    override = hook(loop, settings=exponential())

    assert override.refused is None
    assert any("changed since it began" in remark for remark in override.remarks)


def test_what_raftmon_wrote_was_not_used(loop: Loop) -> None:
    hook(loop, settings=exponential())
    loop.written_at(3)
    loop.train(3, rate=5e-5)

    override = hook(loop, settings=exponential())

    assert override.refused is not None
    assert "cycle 3 trained at 5.0e-05, but `learning_rate` meant 3.61e-05" in override.refused


def test_a_short_warm_up_that_hides_the_rate_is_no_contradiction(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.train(1, rate=5e-5, arguments={"warmup_steps": 100})
    loop.train(2, rate=5e-5, arguments={"warmup_steps": 100})

    assert hook(loop).refused is None


def test_a_trainer_that_runs_has_read_its_config(loop: Loop) -> None:
    process = Process(4711, "python3.11", ("python", "train.py", "--config", loop.config.name), str(loop.config.parent))

    override = hook(loop, settings=exponential(), processes=lambda: [process])

    assert override.refused is not None
    assert "process 4711 (python3.11) runs with this config" in override.refused
    assert "--learning_rate 3.61e-05" in (override.remedy or "")
    assert "raftmon.hook.pre_cycle" in (override.remedy or "")
    assert loop.config.read_text() == CONFIG


def test_who_counts_as_a_running_trainer(tmp_path: Path) -> None:
    config = tmp_path / "raft.yaml"
    config.touch()
    link = tmp_path / "link.yaml"
    link.symlink_to(config)

    def runs(name: str, *words: str, directory: Path = tmp_path) -> bool:
        return running_with(config, [Process(1, name, words, str(directory))]) is not None

    assert runs("python3", "python3", "train.py", "raft.yaml")
    assert runs("python3", "python3", "train.py", "--config=raft.yaml")
    assert runs("python3", "python3", "-m", "trl", str(link), directory=Path("/"))
    assert not runs("vim", "vim", "raft.yaml")
    assert not runs("python3", "python3", "train.py", "other.yaml")
    assert not runs("python3", "python3", "/usr/bin/raftmon", "watch", "--config", "raft.yaml")
    assert runs("python3", "python3", "/data/raftmon/train.py", "raft.yaml")
    assert not runs("python3", "python3", "train.py", "raft.yaml", directory=Path("/"))


def test_a_real_process_is_seen_and_ones_own_are_not(tmp_path: Path) -> None:
    """A trainer of another terminal, one that this process started, and this process itself."""
    config, gate = tmp_path / "raft.yaml", tmp_path / "gate"
    config.touch()
    os.mkfifo(gate)
    trainer = f"import sys; print('up', flush=True); open({str(gate)!r}).read()"
    launch = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {trainer!r}, {str(config)!r}])"
    with subprocess.Popen([sys.executable, "-c", launch], stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"up\n"
        launcher.wait()
        with gate.open("w"):
            found = running_with(config, running_processes())
            assert found is not None
            assert str(config) in found.arguments
        launcher.stdout.read()  # ends with the trainer
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert running_with(config, running_processes()) is None
    first, *others = running_processes()
    assert first.pid == os.getpid() not in {process.pid for process in others}
    inside = [Process(os.getpid(), "python3", ("python3", "train.py", str(config)), "/")]
    rank = Process(4711, "python3", ("python3", "train.py", str(config)), "/")
    assert running_with(config, [*inside, rank]) is None
    assert running_with(config, [first, rank]) is rank


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("resume_from_checkpoint: true\n", "resume_from_checkpoint"),
        ("resume_from_checkpoint: out/checkpoint-16\n", "resume_from_checkpoint"),
        ("defaults:\n  - base\n  - _self_\n  - override\n", "files named after `_self_`"),
    ],
)
def test_a_rate_that_would_not_be_used_is_not_written(tmp_path: Path, more: str, what: str) -> None:
    loop = Loop(tmp_path, CONFIG + more)
    loop.train(1)

    override = hook(loop, settings=exponential())

    assert override.refused is not None
    assert what in override.refused
    assert ":9:" in override.refused or ":10:" in override.refused


def test_checkpoints_of_which_the_trainer_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(tmp_path, CONFIG + "stage: sft\nfinetuning_type: lora\n")
    loop.train(1)
    monkeypatch.chdir(tmp_path)
    assert hook(loop, settings=exponential(), apply=False).refused is None
    (tmp_path / "out" / "checkpoint-16").mkdir(parents=True)

    override = hook(loop, settings=exponential())
    assert override.refused is not None
    assert "LLaMA-Factory goes on from output_dir's last checkpoint by itself" in override.refused

    loop.config.write_text(loop.config.read_text() + "overwrite_output_dir: true\n")
    assert hook(loop, settings=exponential()).refused is None


def test_before_the_first_cycle_the_number_must_be_said(tmp_path: Path) -> None:
    loop = Loop(tmp_path)

    with pytest.raises(NothingToRead, match="--cycle 1"):
        hook(loop)

    override = hook(loop, 1, settings=exponential(base=2e-5))
    assert (override.cycle, written(loop)) == (1, 2e-5)


def test_two_campaigns_below_a_logdir_must_be_told_apart(loop: Loop) -> None:
    other = Loop(loop.campaign.parent, name="other.yaml")
    other.campaign = loop.campaign.parent / "second"
    other.train(1)
    loop.campaign = loop.campaign.parent

    with pytest.raises(UsageError, match="2 campaigns below: campaign, second"):
        hook(loop)


def test_verdicts_of_the_coming_cycle_do_not_count_as_a_trained_one(loop: Loop) -> None:
    loop.train(3)
    for path in sorted((loop.campaign / "cycle_3").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()

    assert hook(loop, apply=False).cycle == 3


def test_wrong_arguments_are_told(loop: Loop) -> None:
    with pytest.raises(UsageError, match="cycles count from 1"):
        hook(loop, 0)
    with pytest.raises(UsageError, match="no status of a rule"):
        hook(loop, authority="all")
    with pytest.raises(UsageError, match="cannot be read"):
        pre_cycle(loop.config.parent / "missing.yaml", loop.campaign)


def test_the_document_keeps_its_contract(loop: Loop) -> None:
    document = override_document(hook(loop, settings=exponential()))

    contract = {
        "schema",
        "config",
        "key",
        "cycle",
        "current",
        "learning_rate",
        "applied",
        "roll_back_to",
        "stop",
        "best_cycle",
        "authority",
        "because",
        "refused",
        "remedy",
    }
    assert contract <= document.keys()
    assert document["schema"] == "raftmon/override@1"
    assert document["because"][0].keys() == {"rule", "factor", "text"}
    assert document == Journal(loop.journal).entries()[0].document


def test_kill_9_between_journal_and_config_leaves_both_in_order(tmp_path: Path) -> None:
    """Sixty overrides are killed at any moment; then the file is one of the two, and undo knows what to do."""
    random_source, seen = random.Random(11), set()
    loop = Loop(tmp_path)
    loop.train(1)
    loop.train(2)
    changed = CONFIG.replace("5.0e-05", "3.61e-05")
    started = time.perf_counter()
    hook(loop, settings=exponential())
    undo(loop.config, loop.journal)
    usual = time.perf_counter() - started
    for _ in range(60):
        child = os.fork()
        if not child:
            try:
                hook(loop, settings=exponential())
            finally:
                os._exit(0)
        # The moment is what is tested: no clock can be handed to a process that is killed.
        time.sleep(random_source.uniform(0.2 * usual, 3.0 * usual))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        content = loop.config.read_text()
        seen.add(content)
        assert content in (CONFIG, changed)
        if content == changed:
            undo(loop.config, loop.journal)
        assert loop.config.read_text() == CONFIG
    assert seen == {CONFIG, changed}
    left: Iterable[str] = {path.name for path in tmp_path.iterdir()}
    hook(loop, settings=exponential())
    assert loop.config.read_text() == changed
    assert ".raft.yaml.raftmon" not in {path.name for path in tmp_path.iterdir()}, left


def follow(loop: Loop, cycles: Iterable[int], **options: Any) -> list[float]:
    """Go on cycle by cycle, each trained at what was written, and healthy."""
    rates = []
    for cycle in cycles:
        override = hook(loop, authority="test", **options)
        assert (override.cycle, override.refused) == (cycle, None)
        assert override.learning_rate is not None
        rates.append(override.learning_rate)
        loop.written_at(cycle)
        loop.train(cycle, rate=override.learning_rate, passed=430)
    return rates


def test_a_change_of_the_batch_counts_once(loop: Loop) -> None:
    assert follow(loop, [3]) == [5e-5]
    loop.config.write_text(loop.config.read_text().replace("accumulation_steps: 4", "accumulation_steps: 8"))

    assert follow(loop, [4, 5, 6, 7]) == [pytest.approx(7.07e-5)] * 4


@pytest.mark.parametrize("text", [CONFIG, HALO_FORGE.replace("5e-5", "5.0e-05")])
@pytest.mark.parametrize("strategy", [None, Strategy("constant")])
def test_harm_counts_once_where_the_config_holds_it_already(
    tmp_path: Path, text: str, strategy: Strategy | None
) -> None:
    loop, decay = Loop(tmp_path, text), 0.85 if text != CONFIG else 1.0
    for cycle, passed in ((1, 400), (2, 420), (3, 430), (4, 200)):
        loop.train(cycle, rate=5e-5 * decay ** (cycle - 1), passed=passed)
    settings = Settings(strategy=strategy) if strategy is not None else None

    first, *later = follow(loop, [5, 6, 7, 8], settings=settings)

    held = 1.0 if strategy is not None else decay
    assert first < 5e-5 * decay**3 / 2
    assert later == [pytest.approx(first * held**n, rel=0.02) for n in (1, 2, 3)]


def test_asking_again_is_no_new_evidence_whatever_else_was_edited(loop: Loop) -> None:
    loop.train(3, passed=430)
    loop.train(4, passed=200)
    first = hook(loop, authority="test")

    for comment in ("# a\n", "# b\n"):
        loop.config.write_text(loop.config.read_text() + comment)
        again = hook(loop, authority="test")
        assert (again.learning_rate, again.changed) == (first.learning_rate, False)


def test_what_was_never_written_is_not_carried_on(loop: Loop) -> None:
    loop.train(3, passed=430)
    loop.train(4, passed=200)
    settings = exponential(decay=1.0)

    class Killed(Journal):
        """Ends with the process between its note and the config."""

        def begin(self, entry: Any) -> int:
            number = super().begin(entry)
            raise KeyboardInterrupt(number)

    with pytest.raises(KeyboardInterrupt):
        pre_cycle(
            loop.config,
            loop.campaign,
            apply=True,
            settings=settings,
            authority="test",
            journal=Killed(loop.journal),
            processes=list,
        )
    assert loop.config.read_text() == CONFIG
    loop.written_at(5)
    loop.train(5, passed=430)

    assert hook(loop, authority="test", settings=settings).learning_rate == pytest.approx(5e-5)


def test_undo_takes_the_notes_back_that_changed_nothing(loop: Loop) -> None:
    hook(loop, settings=exponential())
    hook(loop, settings=exponential())
    assert undo(loop.config, loop.journal).cycle == 3

    assert all(entry.undone_at for entry in Journal(loop.journal).entries())


def test_an_undo_that_was_killed_is_finished(loop: Loop) -> None:
    hook(loop, settings=exponential())
    loop.config.write_text(CONFIG)

    taken = undo(loop.config, loop.journal)

    assert (taken.cycle, loop.config.read_text()) == (3, CONFIG)
    with pytest.raises(Refused, match="no override to take back"):
        undo(loop.config, loop.journal)


def test_another_campaign_in_the_same_place_begins_anew(loop: Loop) -> None:
    loop.train(3, passed=430)
    loop.train(4, passed=200)
    early = Journal(loop.journal, clock=lambda: BEGAN - 3600.0)
    settings = exponential(decay=1.0)
    options: dict[str, Any] = {"settings": settings, "authority": "test", "processes": list}
    lowered = pre_cycle(loop.config, loop.campaign, apply=True, journal=early, **options)
    assert lowered.evidence_factor < 0.5
    loop.train(4, passed=430)
    loop.train(5, passed=430)

    assert hook(loop, authority="test", settings=settings, apply=False).learning_rate == pytest.approx(5e-5)


@pytest.mark.parametrize("decay", [0.95, 0.85])
def test_a_flag_that_wins_is_seen_after_one_cycle(loop: Loop, decay: float) -> None:
    hook(loop, settings=exponential(decay=decay))
    loop.written_at(3)
    loop.train(3, rate=5e-5)

    override = hook(loop, settings=exponential(decay=decay))

    assert override.refused is not None
    assert "cycle 3 trained at 5.0e-05" in override.refused


def test_a_rate_that_trains_nothing_is_replaced(tmp_path: Path) -> None:
    for text in ("0", "0.0", "-5.0e-5", "1e-400"):
        loop = Loop(tmp_path, CONFIG.replace("5.0e-05", text))
        loop.train(1)

        override = hook(loop, settings=exponential())
        assert (override.refused, written(loop)) == (None, 4.25e-5)


def test_a_flat_config_of_a_loop_of_ones_own(tmp_path: Path) -> None:
    text = "learning_rate: 5.0e-05\nbatch_size: 4\nnum_cycles: 6\nkeep_top_percent: 0.5\n"
    loop = Loop(tmp_path, text)
    loop.train(1)

    hook(loop, settings=exponential())

    assert loop.config.read_text() == text.replace("5.0e-05", "4.25e-05")


def test_a_key_is_not_added_where_another_may_be_meant(tmp_path: Path) -> None:
    loop = Loop(tmp_path, "raft: {num_cycles: 6}\ntraining: {batch_size: 4}\noptimizer: {lr: 5.0e-5}\n")
    loop.train(1)

    override = hook(loop, settings=exponential())

    assert override.refused is not None
    assert "optimizer.lr (line 3), training.learning_rate (missing)" in override.refused


def test_a_wrong_logdir_is_told_whatever_the_number(loop: Loop) -> None:
    loop.campaign = loop.campaign.parent / "typo"

    with pytest.raises(NothingToRead):
        hook(loop, 5)


def test_a_jump_of_the_number_and_an_edit_by_hand_are_remarked(loop: Loop) -> None:
    assert "The newest cycle that was trained is 2, and the number 40 was given." in hook(loop, 40, apply=False).remarks
    hook(loop, settings=exponential())
    loop.config.write_text(CONFIG.replace("5.0e-05", "1.0e-5"))

    edited = hook(loop, settings=exponential())

    assert any("changed by hand from 3.61e-05 to 1.0e-05" in remark for remark in edited.remarks)
    assert written(loop) == 3.61e-5


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"raft-\xff.yaml")
    loop = Loop(tmp_path, name=name)
    loop.train(1)

    override = hook(loop, settings=exponential())

    assert override.refused is None
    json.dumps(override_document(override)).encode()
    undo(loop.config, loop.journal)
    assert loop.config.read_text() == CONFIG


def test_without_a_journal_a_dry_run_says_so_and_apply_refuses(loop: Loop) -> None:
    loop.journal.mkdir()
    dry = hook(loop, apply=False, settings=exponential())
    assert dry.refused is None
    assert dry.learning_rate == pytest.approx(3.61e-5)
    assert any("journal cannot be used" in remark for remark in dry.remarks)

    override = hook(loop, settings=exponential())
    assert override.refused is not None
    assert "the journal cannot be used" in override.refused
    assert loop.config.read_text() == CONFIG


def test_a_flag_that_would_not_help_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    auto = Loop(tmp_path / "a", "lr0: 0.01\nlrf: 0.01\nimgsz: 640\noptimizer: auto\n")
    auto.train(1, rate=0.01)
    assert hook(auto, apply=False).flag is None

    elsewhere = Loop(tmp_path / "b", "trainer: {max_steps: 1}\nrate: 1\nmodel:\n  optim:\n    lr: ${rate}\n")
    elsewhere.train(1)
    override = hook(elsewhere, apply=False, settings=exponential())
    assert override.refused is not None
    assert override.flag == "model.optim.lr=4.25e-05"


def test_one_harm_counts_once_though_nothing_is_judged_for_two_cycles(tmp_path: Path) -> None:
    for strategy in (None, Strategy("constant", base=5e-5)):
        loop = Loop(tmp_path / str(strategy is None))
        for cycle, passed in ((1, 400), (2, 420), (3, 430), (4, 200)):
            loop.train(cycle, passed=passed)
        rates = []
        for cycle in (5, 6, 7):
            settings = Settings(strategy=strategy) if strategy is not None else None
            override = hook(loop, authority="test", settings=settings)
            assert override.learning_rate is not None
            rates.append(override.learning_rate)
            loop.written_at(cycle)
            loop.train(cycle, rate=override.learning_rate)
            (loop.campaign / f"cycle_{cycle}_verified.jsonl").unlink()

        assert rates == [pytest.approx(5e-6)] * 3
        assert any("heeded already" in step.text for step in override.because)
        assert override.roll_back_to is None


def test_a_cycle_that_is_begun_again_keeps_its_cut_and_its_way_back(loop: Loop) -> None:
    loop.train(3, passed=430)
    loop.train(4, passed=200)
    first = hook(loop, 5, authority="test")
    again = hook(loop, 5, authority="test")
    assert (again.learning_rate, again.roll_back_to) == (first.learning_rate, first.roll_back_to)
    loop.written_at(5)
    assert first.learning_rate is not None
    loop.train(5, rate=first.learning_rate, passed=430)

    crashed = hook(loop, 5, authority="test")

    assert (crashed.learning_rate, crashed.changed) == (first.learning_rate, False)


def test_a_number_taken_back_counts_nothing_twice(loop: Loop) -> None:
    wide = Settings(guardrails=_wide())
    loop.train(3, passed=430)
    loop.train(4, passed=200)
    mistaken = hook(loop, 6, authority="test", settings=wide)
    assert hook(loop, 5, authority="test", settings=wide).learning_rate == mistaken.learning_rate == pytest.approx(5e-6)
    loop.campaign, own = loop.campaign.parent, loop.campaign
    assert hook(loop, 5, authority="test", settings=wide).learning_rate == mistaken.learning_rate
    loop.campaign = own
    loop.config.write_text(loop.config.read_text().replace("accumulation_steps: 4", "accumulation_steps: 2"))
    smaller = hook(loop, 5, authority="test", settings=wide).learning_rate
    assert smaller == pytest.approx(5e-6 / 2**0.5, rel=0.01)
    assert hook(loop, 4, authority="test", settings=wide).learning_rate == smaller


def test_an_override_whose_second_note_failed_is_known_by_its_rate(loop: Loop) -> None:
    loop.train(3, passed=430)
    loop.train(4, passed=200)

    class Locked(Journal):
        """Cannot note that the file was written."""

        def finish(self, number: int, state: Any) -> None:
            raise Refused(str(self.path), "locked", "")

    first = pre_cycle(
        loop.config, loop.campaign, apply=True, authority="test", journal=Locked(loop.journal), processes=list
    )
    loop.config.write_text(loop.config.read_text() + "# edited\n")

    assert hook(loop, authority="test").learning_rate == first.learning_rate


def test_a_raise_that_was_held_is_not_taken_back(loop: Loop) -> None:
    loop.train(3, passed=430)
    loop.train(4, passed=200)
    lowered = hook(loop, authority="test").learning_rate
    text = loop.config.read_text()
    loop.config.write_text(text.replace("accumulation_steps: 4", "accumulation_steps: 8"))
    assert hook(loop, authority="test").learning_rate == lowered
    loop.config.write_text(text)
    assert hook(loop, authority="test").learning_rate == lowered


def test_a_probe_only_proposes(loop: Loop) -> None:
    cycle = CycleView(1, "cycle_1", 5e-5, None, None, None, None, "before", False, None, "")
    for least, rate in (("stable", 5e-5), ("test", 2.5e-4)):
        intent = Intent(least=least)  # type: ignore[arg-type]
        found = next_cycle([cycle], None, [], {}, Settings(), {"campaign.rho": 0.98}, intent)
        assert found is not None
        assert found.learning_rate == pytest.approx(rate)


def test_halo_forge_takes_its_optimiser_from_the_log(tmp_path: Path) -> None:
    loop = Loop(tmp_path, HALO_FORGE.replace("5e-5", "5.0e-05"))
    loop.train(1, 5e-5)
    hook(loop)
    loop.written_at(2)
    loop.train(2, 4.25e-5)
    loop.config.write_text(loop.config.read_text().replace("accumulation_steps: 16", "accumulation_steps: 8"))

    override = hook(loop, apply=False)

    assert any(step.rule == "change:effective_batch" and step.factor for step in override.because)
    assert override.learning_rate == pytest.approx(5e-5 * 0.85**2 / 2**0.5, rel=0.01)


def test_numbers_of_cycles_without_sense_are_told(loop: Loop, tmp_path: Path) -> None:
    for cycle in (10_000, 2**63, 10**400):
        with pytest.raises(UsageError, match="cycles count from 1"):
            hook(loop, cycle)
    (tmp_path / "far").mkdir()
    halo = Loop(tmp_path / "far", HALO_FORGE)
    halo.train(1)
    override = hook(halo, 5_000, settings=Settings(strategy=Strategy("constant", base=5e-5)))
    assert override.refused is not None
    assert "decays its rate 0.85-fold" in override.refused


def test_a_flag_of_ones_own_is_not_forgotten(loop: Loop) -> None:
    """A trainer that does not read its file again is handed the number; the file stays as it is."""
    loop.train(3, passed=430)
    loop.train(4, passed=200)
    rates = []
    for cycle in (5, 6, 7):
        told = hook(loop, cycle, apply=False, authority="test")
        assert told.learning_rate is not None
        rates.append(told.learning_rate)
        loop.train(cycle, rate=told.learning_rate, passed=430)

    assert rates == [pytest.approx(5e-6)] * 3
    assert loop.config.read_text() == CONFIG


@pytest.mark.parametrize("strategy", [None, Strategy("constant", base=5e-5), Strategy("exponential", base=5e-5)])
def test_asked_twice_for_one_cycle_it_says_the_same_whatever_the_guardrail(
    tmp_path: Path, strategy: Strategy | None
) -> None:
    settings = Settings(strategy=strategy) if strategy is not None else None
    loop = Loop(tmp_path)
    for cycle, passed in ((1, 400), (2, 420), (3, 430), (4, 100)):
        loop.train(cycle, passed=passed)
    first, second, third = (hook(loop, authority="test", settings=settings).learning_rate for _ in range(3))

    assert first is not None
    assert first < 5e-5 / 3
    assert (second, third) == (first, first)
    loop.written_at(5)
    loop.train(5, rate=first, passed=430)
    after = hook(loop, authority="test", settings=settings).learning_rate
    assert after is not None
    assert after == pytest.approx(first, rel=0.2)
