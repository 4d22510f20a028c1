"""The callback within the real Trainer of Lightning."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

torch = pytest.importorskip("torch", reason="the callbacks run within a training")
pytest.importorskip("lightning", reason='its Trainer; pip install -e ".[trainers]"')

from lightning.pytorch import LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import LearningRateMonitor  # noqa: E402
from lightning.pytorch.loggers import TensorBoardLogger  # noqa: E402

from raftmon.errors import UsageError  # noqa: E402
from raftmon.model import RunView  # noqa: E402
from raftmon.monitor import Monitor  # noqa: E402
from raftmon.torch import RaftmonLightningCallback  # noqa: E402
from tests.logged_values import judged, logged_values  # noqa: E402

STEPS: Final = 10
CONFIG: Final = "# RAFT\nlearning_rate: 5.0e-03\n"


class Line(LightningModule):
    """Fits a line; its loss is no number from a step on, where one is given."""

    def __init__(self, lr: float = 5e-3, broken_from: int = 10**6, scheduled: bool = True) -> None:
        super().__init__()
        self.save_hyperparameters("lr")
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.broken_from, self.scheduled = broken_from, scheduled

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = ((batch @ self.weight - 1.0) ** 2).mean()
        self.log("train_loss", loss * (float("nan") if self.global_step >= self.broken_from else 1.0), on_step=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])
        if not self.scheduled:
            return optimizer
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Campaign:
    """A directory, a config and a journal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logdir = directory / "campaign"
        self.config = directory / "raft.yaml"
        self.config.write_text(CONFIG)
        self.journal = directory / "journal.sqlite3"

    def callback(self, **options: Any) -> Any:
        options = {"config": self.config, "journal": self.journal, "authority": "test", **options}
        return RaftmonLightningCallback(self.logdir, options.pop("config"), **options)

    def trainer(self, callbacks: list[Any], cycle: int = 1, **options: Any) -> Any:
        options = {
            "logger": TensorBoardLogger(str(self.logdir), name=f"cycle_{cycle}", version=""),
            "max_steps": STEPS,
            "log_every_n_steps": 1,
            "accelerator": "cpu",
            "devices": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "default_root_dir": str(self.directory),
            **options,
        }
        return Trainer(callbacks=[*callbacks, LearningRateMonitor(logging_interval="step")], **options)

    def fit(self, callback: Any, cycle: int = 1, module: Any = None, **options: Any) -> Any:
        torch.manual_seed(1)
        data = torch.utils.data.DataLoader(torch.randn(16, 3), batch_size=4)
        trainer = self.trainer([callback], cycle, **options)
        trainer.fit(module if module is not None else Line(), data)
        return trainer

    def cycle(self, number: int) -> RunView:
        (run,) = (run for run in Monitor([self.logdir]).poll().runs if run.cycle == number)
        return run

    def logged(self, number: int, tag: str) -> list[float]:
        return logged_values(self.logdir / f"cycle_{number}", tag)


def falling(rate: float) -> Any:
    return pytest.approx([rate * (1.0 - 0.1 * step) for step in range(STEPS)], rel=1e-5)


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


pytestmark = [
    # Lightning 2.6 walks through a batch by what torch 2.13 calls old.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    # On a machine with more cores it advises more workers.
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]


def test_a_campaign_goes_back_and_lower_after_a_drop(campaign: Campaign, caplog: pytest.LogCaptureFixture) -> None:
    passed, told = {1: 220, 2: 90, 3: 200}, []
    for cycle in (1, 2, 3):
        raftmon = campaign.callback(heldout=lambda _, cycle=cycle: judged(passed[cycle]))
        if cycle == 1:
            raftmon.write_heldout(judged(200), 0)
        raftmon.write_verified(judged(240), cycle)
        campaign.fit(raftmon, cycle)
        assert raftmon.cycle == cycle
        assert raftmon.override is not None
        told.append(raftmon.override.learning_rate)
        assert campaign.logged(cycle, "lr-AdamW") == falling(told[-1])
        assert campaign.logged(cycle, "raftmon/cycle") == [cycle]
        assert campaign.logged(cycle, "raftmon/heldout_rate") == [pytest.approx(passed[cycle] / 400)]
        assert campaign.logged(cycle, "raftmon/verification_rate") == [pytest.approx(0.6)]
        # The module's hyper-parameters still say 5e-3.
        assert campaign.cycle(cycle).config.learning_rate == pytest.approx(told[-1])
    assert told == [5e-3, 5e-3, pytest.approx(5e-4, rel=0.01)]
    assert raftmon.override.roll_back_to == 1
    assert "Cycle 3: start from the checkpoint of cycle 1" in caplog.text
    assert campaign.config.read_text() == CONFIG


def test_without_a_schedule_the_rate_is_constant(campaign: Campaign) -> None:
    campaign.config.write_text(CONFIG.replace("5.0e-03", "1.0e-03"))
    campaign.fit(campaign.callback(), module=Line(scheduled=False))
    assert campaign.logged(1, "lr-AdamW") == pytest.approx([1e-3] * STEPS)


def test_a_run_that_goes_on_keeps_its_schedule(campaign: Campaign) -> None:
    first = campaign.fit(campaign.callback(), max_steps=4)  # an epoch
    checkpoint = campaign.directory / "last.ckpt"
    first.save_checkpoint(checkpoint)
    campaign.config.write_text(CONFIG.replace("5.0e-03", "1.0e-03"))
    torch.manual_seed(1)
    data = torch.utils.data.DataLoader(torch.randn(16, 3), batch_size=4)
    campaign.trainer([campaign.callback()]).fit(Line(), data, ckpt_path=str(checkpoint))
    assert campaign.logged(1, "lr-AdamW") == falling(5e-3)


def test_a_diverged_run_is_stopped_when_told_to(campaign: Campaign, caplog: pytest.LogCaptureFixture) -> None:
    for stop_on, steps in (("critical", range(4, 9)), (None, (STEPS,))):
        raftmon = campaign.callback(config=None, stop_on=stop_on)
        trainer = campaign.fit(raftmon, module=Line(broken_from=4))
        assert trainer.global_step in steps
        assert (raftmon.stopped is not None) == (stop_on is not None)
        assert raftmon.override is None
    assert "Cycle 1 is stopped:" in caplog.text


def test_the_writer_is_there_for_probes_while_a_training_lasts(campaign: Campaign) -> None:
    raftmon = campaign.callback(config=None)

    class Probed(Line):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            raftmon.writer.add_scalar("raftmon/rho", 0.9, self.global_step)

    campaign.fit(raftmon, module=Probed())
    assert raftmon.writer is None
    assert campaign.cycle(1).series["rho"].values.tolist() == pytest.approx([0.9] * STEPS)


@pytest.mark.parametrize(
    ("logger", "said"),
    [
        (lambda _: False, "the Trainer has no TensorBoardLogger"),
        (lambda c: TensorBoardLogger(str(c.logdir)), "version_0: is no cycle below"),
        (lambda c: TensorBoardLogger(str(c.directory), name="cycle_1", version=""), "cycle_1/?: is no cycle below"),
        (lambda c: TensorBoardLogger(str(c.logdir / "a"), name="cycle_1", version=""), "Give the directory in which"),
    ],
)
def test_a_run_that_raftmon_would_not_find_is_refused(
    campaign: Campaign, logger: Callable[[Campaign], Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        campaign.fit(campaign.callback(), logger=logger(campaign))


def test_without_lightning_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['lightning'] = None\n"
        "import raftmon.torch\n"
        "from raftmon.errors import RaftmonError\n"
        "try: raftmon.torch.RaftmonLightningCallback\n"
        "except RaftmonError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "raftmon.torch: RaftmonLightningCallback needs lightning, which is not installed",
        '  pip install "raftmon[torch]" lightning',
    ]
