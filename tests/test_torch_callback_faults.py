"""What may go wrong within the Trainer of transformers ends no training; what cannot be meant is refused before it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the callbacks run within a training")
pytest.importorskip("transformers", reason='its Trainer; pip install -e ".[trainers]"')
pytest.importorskip("accelerate", reason='its Trainer needs it; pip install -e ".[trainers]"')

import numpy as np
import torch
from transformers import set_seed

from raftmon.errors import UsageError
from raftmon.monitor import Monitor
from raftmon.torch import RaftmonCallback
from raftmon.torch.answers import LOG
from tests.hf_campaign import STEPS, Campaign
from tests.logged_values import judged


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


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "heldout: a NoneType was returned\n  Return the judged samples, or their rate from 0 to 1."),
        ("0.5", "heldout: a str was returned"),
        ({"success": True}, "heldout: a dict was returned"),
        (40.0, "heldout(rate): rate is 40.0\n  Give a number at least 0 and at most 1."),
        (np.float32(-0.5), "heldout(rate): rate is "),
        (float("nan"), "heldout(rate): rate is nan"),
        (True, "heldout(rate): rate is True"),
        (ZeroDivisionError("no prompts"), "ZeroDivisionError: no prompts"),
    ],
)
def test_a_fault_of_the_sampler_costs_no_model(
    campaign: Campaign, caplog: pytest.LogCaptureFixture, found: Any, said: str
) -> None:
    def held_out(model: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    trainer = campaign.trainer(campaign.callback(1, config=None, heldout=held_out), max_steps=1)
    trainer.train()
    (error,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert error.message.startswith(f"The held-out rate of cycle 1 is lost: {said}")
    assert campaign.logged(1, "raftmon/heldout_rate") == []


@pytest.mark.parametrize("rate", [0.25, 0, np.float32(0.25), np.array(0.25), torch.tensor(0.25)], ids=repr)
def test_a_held_out_rate_without_samples_is_a_tag(campaign: Campaign, rate: Any) -> None:
    campaign.trainer(campaign.callback(1, heldout=lambda _: rate), max_steps=1).train()
    (view,) = Monitor([campaign.logdir]).poll().campaigns
    assert (view.cycles[0].verification_rate, view.cycles[0].source) == (float(rate), "raftmon/heldout_rate")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda c: c.callback(1, stop_on="grave"), "stop_on is 'grave'\n  Give one of .*critical"),
        (lambda c: c.callback(1, authority="all"), "authority is 'all'\n  Give one of .*stable"),
        (lambda c: c.callback(0), r"RaftmonCallback\(cycle\): cycle is 0\n  Give a whole number from 1"),
        (lambda c: c.callback("1"), "cycle is '1'"),
        (lambda c: c.callback(True), "cycle is True"),
        (
            lambda c: c.callback(1, heldout=[0.5]),
            r"RaftmonCallback\(heldout\): heldout is a list, which cannot be called",
        ),
        (lambda c: c.callback(1, config=3), "config is 3"),
        (lambda c: c.callback(1, key=""), "key is ''"),
        (lambda _: RaftmonCallback(None), "logdir is None"),  # type: ignore[arg-type]
        (lambda c: c.callback(1).write_verified(["abc"]), "sample 1 is a str\n  Each sample is a mapping"),
        (lambda c: c.callback(1).write_verified("abc"), "a str was given, no list of samples"),
        (lambda c: c.callback(1).write_verified(judged(1)[0]), "a dict was given, no list of samples"),
        (lambda c: c.callback(1).write_verified(None), "a NoneType was given"),
        (lambda c: c.callback(1).write_verified([{"success": np.ones(2)}]), "sample 1 has no verdict"),
        (lambda c: c.callback(1).write_verified(judged(1), 0), r"write_verified\(cycle\): cycle is 0"),
        (lambda c: c.callback(1).write_heldout(judged(1), "0"), "cycle is '0'"),
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
