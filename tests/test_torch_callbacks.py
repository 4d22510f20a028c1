"""The callback within the real Trainer of transformers: the rate asked for is the one that trains and is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the callbacks run within a training")
pytest.importorskip("transformers", reason='its Trainer; pip install -e ".[trainers]"')
pytest.importorskip("accelerate", reason='its Trainer needs it; pip install -e ".[trainers]"')

from transformers import Trainer, TrainerCallback, default_data_collator, set_seed  # noqa: E402

from raftmon.hook import pre_cycle  # noqa: E402
from raftmon.journal import Journal  # noqa: E402
from raftmon.monitor import Monitor  # noqa: E402
from raftmon.torch.answers import LOG  # noqa: E402
from tests.e2e import tiny  # noqa: E402
from tests.hf_campaign import CONFIG, DATA, STEPS, Campaign, falling  # noqa: E402
from tests.logged_values import judged  # noqa: E402


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    set_seed(1)
    return Campaign(tmp_path)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The Trainer prints its logs unless told otherwise, and transformers changes the loggers of the process."""
    level = LOG.level
    yield
    LOG.setLevel(level)


def test_a_campaign_goes_back_and_lower_after_a_drop(campaign: Campaign, caplog: pytest.LogCaptureFixture) -> None:
    """Three real cycles: the held-out rate falls in cycle 2, and cycle 3 trains at what that leaves of the rate."""
    passed = {1: 220, 2: 90, 3: 200}
    callbacks = []
    for cycle in (1, 2, 3):
        heard: list[Any] = []

        def held_out(model: Any, cycle: int = cycle, heard: list[Any] = heard) -> list[dict[str, Any]]:
            heard.append(model)
            return judged(passed[cycle])

        raftmon = campaign.callback(cycle, heldout=held_out)
        if cycle == 1:
            raftmon.write_heldout(judged(200), cycle=0)
        raftmon.write_verified(judged(240), cycle)
        trainer = campaign.trainer(raftmon, cycle)
        callbacks.append(raftmon)
        assert raftmon.override is not None
        assert raftmon.override.noted
        trainer.train()
        assert heard == [campaign.model]

    told = [callback.override.learning_rate for callback in callbacks if callback.override is not None]
    assert told == [5e-4, 5e-4, pytest.approx(5e-5, rel=0.01)]
    for cycle, rate in enumerate(told, start=1):
        assert rate is not None
        assert campaign.logged(cycle, "train/learning_rate") == falling(rate)
        assert campaign.logged(cycle, "raftmon/cycle") == [cycle]
        assert campaign.logged(cycle, "raftmon/heldout_rate") == [pytest.approx(passed[cycle] / 400)]
        assert campaign.logged(cycle, "raftmon/verification_rate") == [pytest.approx(0.6)]
        # What raftmon takes for the rate of the cycle is the same.
        assert campaign.cycle(cycle).config.learning_rate == pytest.approx(rate)
        assert campaign.cycle(cycle).series["heldout_rate"].tag == "raftmon/heldout_rate"
    assert callbacks[2].override is not None
    assert callbacks[2].override.roll_back_to == 1
    assert caplog.text.count("Cycle 3: start from the checkpoint of cycle 1") == 1
    (view,) = Monitor([campaign.logdir]).poll().campaigns
    assert [cycle.verification_rate for cycle in view.cycles] == [0.5, 0.55, 0.225, 0.5]
    assert [cycle.learning_rate for cycle in view.cycles][1:] == pytest.approx(told)
    assert campaign.config.read_text() == CONFIG


def test_a_loop_that_obeys_goes_back_to_the_checkpoint(campaign: Campaign) -> None:
    """Asked before there is a Trainer, as the weights to begin with must be known by then."""
    passed, begun_with, told = {1: 220, 2: 90, 3: 100, 4: 60}, [], []
    raftmon = campaign.callback(1)
    raftmon.write_heldout(judged(200), cycle=0)
    for cycle in (1, 2, 3, 4):
        advice = raftmon.ask()
        assert advice is not None
        assert (advice.cycle, raftmon.cycle) == (cycle, cycle)
        if advice.stop:
            assert "Stop here and ship the checkpoint of cycle 1" in advice.text
            break
        back = advice.roll_back_to if advice.roll_back_to is not None else cycle - 1
        begun_with.append(back)
        told.append(advice.learning_rate)
        campaign.model = tiny.model(campaign.logdir / f"cycle_{back}_final")
        trainer = campaign.trainer(raftmon, cycle)
        trainer.train()
        trainer.save_model(str(campaign.logdir / f"cycle_{cycle}_final"))
        assert campaign.logged(cycle, "train/learning_rate") == falling(told[-1] or 0.0)
        raftmon.write_heldout(judged(passed[cycle]))
    assert begun_with == [0, 1, 1]
    assert raftmon.cycle == 4


def test_what_is_verified_after_a_cycle_was_trained_belongs_to_the_next(campaign: Campaign) -> None:
    """One callback and one Trainer, in the order of the README: write the verdicts, ask, train."""
    raftmon = campaign.callback(1, heldout=lambda _: judged(200))
    trainer = None
    for cycle, passed in ((1, 240), (2, 260), (3, 280)):
        raftmon.write_verified(judged(passed))
        advice = raftmon.ask()
        assert advice is not None
        assert advice.cycle == cycle
        trainer = trainer or campaign.trainer(raftmon, report_to="none")
        trainer.train()
    for cycle, passed in ((1, 240), (2, 260), (3, 280)):
        lines = (campaign.logdir / f"cycle_{cycle}_verified.jsonl").read_text().splitlines()
        assert sum('"success": true' in line for line in lines) == passed
        assert campaign.logged(cycle, "raftmon/verification_rate") == [pytest.approx(passed / 400)]
        assert (campaign.logdir / f"cycle_{cycle}_heldout.jsonl").exists()
    assert not (campaign.logdir / "cycle_4_verified.jsonl").exists()


def test_what_the_authority_holds_back_is_a_warning_once_a_cycle(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    for cycle, passed in ((1, 220), (2, 90), (3, 90)):
        raftmon = campaign.callback(cycle, heldout=lambda _, passed=passed: judged(passed), authority="stable")
        if cycle == 1:
            raftmon.write_heldout(judged(200), cycle=0)
        raftmon.ask()
        campaign.trainer(raftmon, cycle).train()
        said = [record for record in caplog.records if "authority test lets it act" in record.message]
        assert {record.levelno for record in said} <= {logging.WARNING}
        assert len([record for record in said if "cycle-much-worse" in record.message]) == (1 if cycle == 3 else 0)
    assert campaign.logged(3, "train/learning_rate") == falling(5e-4)


def test_one_trainer_for_several_cycles(campaign: Campaign, caplog: pytest.LogCaptureFixture) -> None:
    """Its optimiser is made once, with the rate of the first cycle, and its schedule anew with each training."""
    raftmon = campaign.callback()
    trainer = campaign.trainer(raftmon, report_to="none")
    for cycle, passed in ((1, 220), (2, 90), (3, 100)):
        if cycle == 1:
            raftmon.write_heldout(judged(200), cycle=0)
        trainer.train()
        assert raftmon.cycle == cycle
        raftmon.write_heldout(judged(passed))
    lowered = campaign.logged(3, "train/learning_rate")
    assert campaign.logged(1, "train/learning_rate") == campaign.logged(2, "train/learning_rate") == falling(5e-4)
    assert lowered == falling(lowered[0])
    assert lowered[0] == pytest.approx(5e-5, rel=0.01)
    assert [run.cycle for run in campaign.runs()] == [1, 2, 3]
    assert [run.dialect for run in campaign.runs()] == ["hf"] * 3
    assert campaign.cycle(3).config.learning_rate == pytest.approx(lowered[0])
    assert campaign.logged(2, "train/loss") != []
    assert "start from the checkpoint of cycle 1" in caplog.text


def test_a_trainer_whose_own_file_is_elsewhere_is_told_so(campaign: Campaign, caplog: pytest.LogCaptureFixture) -> None:
    raftmon = campaign.callback()
    trainer = campaign.trainer(raftmon)
    trainer.train()
    assert "event file does not lie in cycle" not in caplog.text
    trainer.train()
    assert "event file does not lie in cycle 2" in caplog.text
    assert 'report_to="none"' in caplog.text
    assert campaign.logged(2, "train/learning_rate") == falling(5e-4)


def test_a_callback_that_is_added_later_sets_the_rate_all_the_same(campaign: Campaign) -> None:
    campaign.config.write_text(CONFIG.replace("5.0e-04", "2.0e-04"))
    trainer = campaign.trainer(None)
    trainer.add_callback(campaign.callback(1))
    trainer.train()
    assert campaign.logged(1, "train/learning_rate") == falling(2e-4)
    assert campaign.cycle(1).config.learning_rate == pytest.approx(2e-4)
    assert campaign.cycle(1).config.max_steps == STEPS


# TRL 1.16's own default, by the name that transformers 5.23 calls old.
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")
def test_it_works_within_trl(campaign: Campaign) -> None:
    trl = pytest.importorskip("trl", reason='its SFTTrainer; pip install -e ".[trainers]"')
    datasets = pytest.importorskip("datasets", reason='TRL takes its data from it; pip install -e ".[trainers]"')
    campaign.config.write_text(CONFIG.replace("5.0e-04", "2.0e-04"))
    arguments = campaign.trainer(None).args.to_dict()
    names = ("output_dir", "max_steps", "per_device_train_batch_size", "logging_steps", "save_strategy", "disable_tqdm")
    kept = [sample for sample in tiny.generate_and_verify(1) if sample.success]
    trainer = trl.SFTTrainer(
        model=campaign.model,
        args=trl.SFTConfig(
            use_cpu=True, report_to="tensorboard", bf16=False, **{name: arguments[name] for name in names}
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": s.prompt, "completion": s.completion} for s in kept]),
        processing_class=tiny.tokenizer(),
        callbacks=[campaign.callback()],
    )
    trainer.train()
    assert campaign.logged(1, "train/learning_rate") == falling(2e-4)
    assert campaign.cycle(1).config.learning_rate == pytest.approx(2e-4)


def test_a_training_that_was_broken_off_is_begun_again(campaign: Campaign) -> None:
    """Its number stays, and what it says is written once more."""

    class Breaks(TrainerCallback):
        broken = False

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3 and not self.broken:
                self.broken = True
                raise RuntimeError("out of memory")

    raftmon = campaign.callback(1)
    trainer = campaign.trainer(raftmon, report_to="none")
    trainer.add_callback(Breaks())
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train()
    trainer.train()
    assert raftmon.cycle == 1
    assert campaign.logged(1, "raftmon/cycle") == [1, 1]
    assert len(campaign.cycle(1).series["loss"].values) == STEPS


def test_groups_and_a_schedule_of_ones_own_keep_their_shape(campaign: Campaign) -> None:
    campaign.config.write_text(CONFIG.replace("5.0e-04", "2.0e-04"))
    parameters = list(campaign.model.parameters())
    groups = [{"params": parameters[:2], "lr": 1e-2}, {"params": parameters[2:], "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    seen = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append([group["lr"] for group in kwargs["optimizer"].param_groups])

    trainer = Trainer(
        model=campaign.model,
        args=campaign.trainer(None).args,
        train_dataset=DATA,
        data_collator=default_data_collator,
        optimizers=(optimizer, schedule),
        callbacks=[campaign.callback(1), Watch()],
    )
    trainer.train()
    assert seen[0] == [2e-4, pytest.approx(2e-5)]
    assert [second / first for first, second in seen] == pytest.approx([0.1] * STEPS)
    assert seen[5][0] == pytest.approx(1e-4)


def test_a_training_that_resumes_keeps_its_schedule(campaign: Campaign) -> None:
    campaign.trainer(campaign.callback(1), save_strategy="steps", save_steps=4).train()
    campaign.config.write_text(CONFIG.replace("5.0e-04", "2.0e-04"))
    resumed = campaign.trainer(campaign.callback(1), save_strategy="no")
    resumed.train(resume_from_checkpoint=str(campaign.logdir / "cycle_1" / "checkpoint-8"))
    rates = [row["learning_rate"] for row in resumed.state.log_history if "learning_rate" in row]
    assert rates == falling(5e-4)
    # The arguments of the second start said otherwise, and raftmon reads them.
    assert campaign.cycle(1).config.learning_rate == 5e-4


def test_the_writer_is_there_for_probes_while_a_training_lasts(campaign: Campaign) -> None:
    raftmon = campaign.callback(1, config=None)

    class Probing(TrainerCallback):
        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            raftmon.writer.add_scalar("raftmon/rho", 0.9, state.global_step)

    trainer = campaign.trainer(raftmon)
    trainer.add_callback(Probing())
    trainer.train()
    assert raftmon.writer is None
    assert campaign.cycle(1).series["rho"].values.tolist() == pytest.approx([0.9] * STEPS)
    assert campaign.cycle(1).dialect == "hf"


def test_the_hook_knows_what_the_callback_told(campaign: Campaign) -> None:
    raftmon = campaign.callback(1)
    raftmon.write_heldout(judged(200), cycle=0)
    campaign.trainer(raftmon).train()
    override = pre_cycle(
        campaign.config, campaign.logdir, journal=Journal(campaign.journal), processes=list, authority="test"
    )
    assert (override.cycle, override.learning_rate, override.refused) == (2, 5e-4, None)
