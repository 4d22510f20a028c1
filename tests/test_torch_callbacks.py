"""The callback within the real Trainer of transformers: the rate asked for is the one that trains and is logged."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

torch = pytest.importorskip("torch", reason="the callbacks run within a training")
pytest.importorskip("transformers", reason='its Trainer; pip install -e ".[trainers]"')
pytest.importorskip("accelerate", reason='its Trainer needs it; pip install -e ".[trainers]"')

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator, set_seed  # noqa: E402

from raftmon.errors import UsageError  # noqa: E402
from raftmon.hook import pre_cycle  # noqa: E402
from raftmon.journal import Journal  # noqa: E402
from raftmon.model import RunView  # noqa: E402
from raftmon.monitor import Monitor  # noqa: E402
from raftmon.torch import RaftmonCallback  # noqa: E402
from raftmon.torch.next_rate import LOG  # noqa: E402
from tests.e2e import tiny  # noqa: E402
from tests.e2e.hf_cycle import examples  # noqa: E402

ROOT: Final = Path(__file__).resolve().parents[1]
STEPS: Final = 10
CONFIG: Final = """\
# RAFT, all cycles in one process
learning_rate: 5.0e-04
max_steps: 10
per_device_train_batch_size: 8
"""
DATA: Final = examples([sample for sample in tiny.generate_and_verify(1) if sample.success])


class Campaign:
    """A directory, a config and a journal."""

    def __init__(self, directory: Path) -> None:
        self.logdir = directory / "campaign"
        self.config = directory / "raft.yaml"
        if not self.config.exists():
            self.config.write_text(CONFIG)
        self.journal = directory / "journal.sqlite3"
        self.model = tiny.model(Path("none"))

    def callback(self, cycle: int | None = None, **options: Any) -> RaftmonCallback:
        options = {"config": self.config, "journal": self.journal, "authority": "test", **options}
        return RaftmonCallback(self.logdir, options.pop("config"), cycle, **options)

    def trainer(
        self, callback: TrainerCallback | None, cycle: int = 1, report_to: str = "tensorboard", **options: Any
    ) -> Any:
        options = {
            "output_dir": str(self.logdir / f"cycle_{cycle}"),
            "learning_rate": 5e-4,
            "max_steps": STEPS,
            "per_device_train_batch_size": 8,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            **options,
        }
        return Trainer(
            model=self.model,
            args=TrainingArguments(report_to=report_to, **options),
            train_dataset=DATA,
            data_collator=default_data_collator,
            callbacks=[callback] if callback is not None else [],
        )

    def runs(self) -> list[RunView]:
        return list(Monitor([self.logdir]).poll().runs)

    def cycle(self, number: int) -> RunView:
        """Return the newest run of a cycle: one that resumes in another second has a directory of its own."""
        runs = [run for run in self.runs() if run.cycle == number]
        return max(runs, key=lambda run: run.first_wall_time or 0.0)

    def logged(self, number: int, tag: str) -> list[float]:
        """Return a tag's values from all event files of a cycle, as TensorBoard's own reader finds them."""
        found = []
        for file in sorted((self.logdir / f"cycle_{number}").rglob("*tfevents*")):
            accumulator = EventAccumulator(str(file), size_guidance={"scalars": 0})
            accumulator.Reload()
            if tag in accumulator.Tags()["scalars"]:
                found += [point.value for point in accumulator.Scalars(tag)]
        return found


def judged(passed: int, of: int = 400) -> list[dict[str, Any]]:
    return [{"prompt": f"p{n % 40}", "completion": f"c{n}", "success": n < passed} for n in range(of)]


def falling(rate: float, steps: int = STEPS) -> Any:
    return pytest.approx([rate * (1 - step / steps) for step in range(steps)], rel=1e-5)


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
    assert "Cycle 3: start from the checkpoint of cycle 1" in caplog.text
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


@pytest.mark.parametrize(
    ("rate", "stop_on", "rule", "report_to"),
    [
        (1.0, "critical", "loss-diverges", "tensorboard"),
        (1.0, "critical", "loss-diverges", "none"),
        # The Trainer logs 0 for a loss that is no number, so that "critical" sees nothing here.
        (1e30, "high", "grad-norm-not-finite", "tensorboard"),
        (1e30, "critical", None, "tensorboard"),
        (1.0, None, None, "tensorboard"),
        (5e-4, "high", None, "tensorboard"),
    ],
)
def test_a_diverged_run_is_stopped_when_told_to(
    campaign: Campaign,
    caplog: pytest.LogCaptureFixture,
    rate: float,
    stop_on: Any,
    rule: str | None,
    report_to: str,
) -> None:
    raftmon = campaign.callback(1, config=None, stop_on=stop_on)
    options: dict[str, Any] = {"learning_rate": rate, "max_steps": 40, "lr_scheduler_type": "constant"}
    trainer = campaign.trainer(raftmon, report_to=report_to, **options)
    trainer.train()
    assert (raftmon.stopped.rule if raftmon.stopped is not None else None) == rule
    assert (trainer.state.global_step < 25) == (rule is not None)
    assert ("Cycle 1 is stopped:" in caplog.text) == (rule is not None)
    assert raftmon.override is None


def test_a_fault_in_judging_ends_no_training(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Monitor) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("raftmon.torch.cycle.Monitor.poll", broken)
    trainer = campaign.trainer(campaign.callback(1, config=None, stop_on="critical"))
    trainer.train()
    assert trainer.state.global_step == STEPS
    assert caplog.text.count("raftmon failed (ZeroDivisionError: a fault); this run is not judged any more.") == 1


def test_held_out_samples_that_cannot_be_written_cost_no_model(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    for found, said in (([{"prompt": "p"}], "sample 1 has no verdict"), ([], "no samples")):
        trainer = campaign.trainer(campaign.callback(1, config=None, heldout=lambda _, found=found: found))
        trainer.train()
        assert (
            f"The held-out rate of cycle 1 is lost: {campaign.logdir / 'cycle_1_heldout.jsonl'}: {said}" in caplog.text
        )
    assert not (campaign.logdir / "cycle_1_heldout.jsonl").exists()


def test_a_held_out_rate_without_samples_is_a_tag(campaign: Campaign) -> None:
    campaign.trainer(campaign.callback(1, heldout=lambda _: 0.25)).train()
    (view,) = Monitor([campaign.logdir]).poll().campaigns
    assert (view.cycles[0].verification_rate, view.cycles[0].source) == (0.25, "raftmon/heldout_rate")


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


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda c: c.callback(1, stop_on="grave"), "stop_on grave: no severity"),
        (lambda c: c.callback(1, authority="all"), "authority all: no status of a rule"),
        (lambda c: c.callback(1, config="missing.yaml"), r"missing\.yaml: no such file"),
        (lambda _: RaftmonCallback("s3://bucket/raft"), "Give a local one"),
        (
            lambda c: c.trainer(c.callback(), output_dir=str(c.logdir / "out")),
            "which cycle is trained in .* is not known",
        ),
        (lambda c: c.trainer(c.callback(), output_dir=str(c.logdir / "a" / "cycle_1")), "Give the directory in which"),
        (lambda c: c.callback().write_heldout(judged(1)), "not known before a training has begun"),
        (lambda c: c.trainer(c.callback(3), cycle=2), "cycle 3 was given, and .*cycle_2 is cycle 2"),
        (lambda c: c.callback().ask(), "not known before a Trainer is made"),
        (lambda c: c.callback().write_verified([{"success": 0.5}], 1), "sample 1 has no verdict"),
    ],
)
def test_what_cannot_be_meant_is_said(campaign: Campaign, make: Callable[[Campaign], Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(campaign)


def test_without_transformers_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import raftmon.torch\n"
        "from raftmon.errors import RaftmonError\n"
        "try: raftmon.torch.RaftmonCallback\n"
        "except RaftmonError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "raftmon.torch: RaftmonCallback needs transformers, which is not installed",
        '  pip install "raftmon[torch]" transformers accelerate',
    ]


def test_the_package_alone_imports_neither_torch_nor_a_trainer() -> None:
    code = "import sys, raftmon.torch; print(sorted(raftmon.torch.__all__) == dir(raftmon.torch), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *modules = done.stdout.split()
    assert first == "True"
    assert {"torch", "transformers", "lightning", "numpy"} & set(modules) == set()


def test_a_warning_is_seen_without_any_set_up_of_logging() -> None:
    assert LOG.getEffectiveLevel() <= logging.WARNING
    assert LOG.handlers == []
    assert LOG.propagate


PROCESS: Final = """
import os, sys
from pathlib import Path
from torch import distributed
from transformers import set_seed
from tests.test_torch_callbacks import Campaign
set_seed(1)
campaign = Campaign(Path(sys.argv[1]))
raftmon = campaign.callback(1, stop_on="high")
trainer = campaign.trainer(raftmon, ddp_backend="gloo", max_steps=40, lr_scheduler_type="constant")
trainer.train()
rate = trainer.optimizer.param_groups[0]["lr"]
rule = raftmon.stopped.rule if raftmon.stopped is not None else None
Path(sys.argv[1], os.environ["RANK"]).write_text(f"{rate} {trainer.state.global_step} {rule}")
distributed.destroy_process_group()
"""


def test_all_processes_train_at_one_rate_and_stop_together(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(PROCESS)
    # As wrong as a rate can be: one process judges, and both must stop.
    (tmp_path / "raft.yaml").write_text("learning_rate: 1.0e+30\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launch, str(tmp_path)], capture_output=True, text=True, check=False, env=environment, timeout=110
    )
    assert done.returncode == 0, done.stderr
    rate, step, rule = (tmp_path / "0").read_text().split()
    assert (rate, rule) == ("1e+30", "grad-norm-not-finite")
    assert int(step) < 40
    assert (tmp_path / "1").read_text() == (tmp_path / "0").read_text()
    assert done.stderr.count("Cycle 1 is stopped:") == 1
