"""A run that diverges within the Trainer of transformers is stopped when that is asked for, in all processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("torch", reason="the callbacks run within a training")
pytest.importorskip("transformers", reason='its Trainer; pip install -e ".[trainers]"')
pytest.importorskip("accelerate", reason='its Trainer needs it; pip install -e ".[trainers]"')

from transformers import set_seed

from raftmon.torch.answers import LOG
from tests.hf_campaign import Campaign

ROOT: Final = Path(__file__).resolve().parents[1]


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


PROCESS: Final = """
import os, sys
from pathlib import Path
from torch import distributed
from transformers import set_seed
from tests.hf_campaign import Campaign
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
