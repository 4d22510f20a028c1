"""A learning rate's way through real trainers: raftmon writes it into the config, the next cycle's event file has it.

A campaign is three cycles of Hugging Face's Trainer, or of TRL's SFTTrainer, each a process of its own, with
``raftmon pre-cycle --apply`` after each (``hf_loop.sh``). The event files are read by TensorBoard's own reader.
``RAFTMON`` names another command to test, such as that of an installed wheel.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT: Final = Path(__file__).resolve().parents[2]
LOOP: Final = Path(__file__).with_name("hf_loop.sh")
RAFTMON: Final = os.environ.get("RAFTMON", f"{sys.executable} -m raftmon.cli")
STEPS: Final = 12
BASE, DECAY = 5.0e-4, 0.85

CONFIG: Final = f"""\
# One cycle per process. The hook writes the learning rate, nothing else.
learning_rate:   {BASE:.1e}   # cycle 1; the later ones are raftmon's
lr_scheduler_type: "linear"
warmup_steps: 0
max_grad_norm: 1.0

max_steps: {STEPS}        # × 8 examples
per_device_train_batch_size: 8
logging_steps: 1
report_to: [tensorboard]
save_strategy: 'no'
use_cpu: true
disable_tqdm: true
keep_top_percent: 1.0     # of the accepted samples"""
"""Comments, uneven spaces, quotes, a character beyond ASCII, no end of the last line: all lost by a YAML library."""

RATE: Final = re.compile(rb"(?m)^(learning_rate: *)([^ #]+)")
NEEDS: Final = {"hf": ("transformers", "accelerate"), "trl": ("transformers", "accelerate", "trl", "datasets")}


@dataclass(frozen=True)
class Campaign:
    """What three cycles left behind."""

    directory: Path
    configs: tuple[bytes, ...]
    """The config as cycles 1, 2 and 3 read it, and as cycle 4 would."""
    undone: bytes
    """The config after ``raftmon undo``."""
    overrides: tuple[Mapping[str, Any], ...]
    """What ``pre-cycle`` said after each cycle."""


def environment(directory: Path) -> dict[str, str]:
    """Two cores are few: no threads. Nothing is downloaded, and nothing is written outside the directory."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(directory / "hub"),
        "XDG_STATE_HOME": str(directory / "state"),
        "XDG_DATA_HOME": str(directory / "state"),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",
    }


def run(command: list[str], directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    variables = environment(directory) | more
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=240)


def needs(trainer: str) -> None:
    """Skip where the trainer is not installed; finding it is enough, importing it costs seconds."""
    missing = [name for name in ("torch", *NEEDS[trainer]) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f'trains with {", ".join(missing)}, which is not installed; pip install -e ".[trainers]"')


@pytest.fixture(scope="module", params=["hf", "trl"])
def campaign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    needs(request.param)
    root = tmp_path_factory.mktemp(request.param)
    config, directory, journal = root / "train.yaml", root / "campaign", root / "journal.db"
    config.write_text(CONFIG)
    settings = root / "raftmon.yaml"
    settings.write_text(f"strategy: {{kind: exponential, base: {BASE:.1e}, decay: {DECAY}, min: 1.0e-6}}\n")
    trainer = f"{sys.executable} -m tests.e2e.{request.param}_cycle"
    loop = [str(LOOP), *map(str, (config, directory, settings, journal))]
    looped = run(loop, root, RAFTMON=RAFTMON, TRAINER=trainer)
    assert looped.returncode == 0, looped.stderr
    configs = (*((directory / f"cycle_{cycle}.yaml").read_bytes() for cycle in (1, 2, 3)), config.read_bytes())
    undone = run([*RAFTMON.split(), "undo", str(config), "--journal", str(journal)], root)
    assert undone.returncode == 0, undone.stderr
    return Campaign(directory, configs, config.read_bytes(), tuple(documents(looped.stdout)))


def documents(text: str) -> list[dict[str, Any]]:
    """Return the JSON documents of a text, one after the other."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text.rstrip()):
        document, place = decoder.raw_decode(text, place)
        found.append(document)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found


def rate_in(config: bytes) -> float:
    """Return the learning rate that a config says."""
    match = RATE.search(config)
    assert match is not None
    return float(match[2])


def logged_rates(campaign: Campaign, cycle: int) -> list[float]:
    """Return the learning rate of each step of a cycle, from its one event file."""
    (file,) = (campaign.directory / f"cycle_{cycle}").rglob("*tfevents*")
    accumulator = EventAccumulator(str(file))
    accumulator.Reload()
    points = accumulator.Scalars("train/learning_rate")
    assert [point.step for point in points] == list(range(1, STEPS + 1))
    return [point.value for point in points]


# The first test of each trainer also waits for the three cycles, some 5 s each on an idle core.
pytestmark = pytest.mark.timeout(300)


def test_each_cycle_trains_at_the_rate_in_its_config(campaign: Campaign) -> None:
    for cycle, config in enumerate(campaign.configs[:3], start=1):
        peak = rate_in(config)
        rates = logged_rates(campaign, cycle)
        assert rates[0] == max(rates)
        # An event file has single precision.
        assert rates == pytest.approx([peak * (1 - step / STEPS) for step in range(STEPS)], rel=1e-6)


def test_the_rates_are_those_of_the_strategy(campaign: Campaign) -> None:
    rates = [rate_in(config) for config in campaign.configs]
    # Three digits are written.
    assert rates == pytest.approx([BASE * DECAY**cycle for cycle in range(4)], rel=5e-3)


def test_what_was_said_is_what_was_written(campaign: Campaign) -> None:
    assert [said["cycle"] for said in campaign.overrides] == [2, 3, 4]
    for said, before, after in zip(campaign.overrides, campaign.configs, campaign.configs[1:], strict=False):
        assert (said["schema"], said["key"]) == ("raftmon/override@1", "learning_rate")
        assert (said["applied"], said["refused"], said["stop"]) == (True, None, False)
        assert (said["current"], said["learning_rate"]) == (rate_in(before), rate_in(after))


def test_nothing_but_the_rate_changes(campaign: Campaign) -> None:
    others = {RATE.sub(rb"\1", config) for config in campaign.configs}
    assert others == {RATE.sub(rb"\1", CONFIG.encode())}
    assert len(set(campaign.configs)) == 4


def test_undo_gives_back_what_the_last_cycle_read(campaign: Campaign) -> None:
    assert campaign.undone == campaign.configs[2]


def test_advise_knows_the_cycles_and_their_rates(campaign: Campaign) -> None:
    command = [*RAFTMON.split(), "advise", str(campaign.directory), "--format", "json"]
    advised = run(command, campaign.directory.parent)
    assert advised.returncode == 0, advised.stderr
    (found,) = json.loads(advised.stdout)["campaigns"]
    assert [cycle["verification_rate"] for cycle in found["cycles"]] == [0.4, 0.45, 0.5]
    rates = [cycle["learning_rate"] for cycle in found["cycles"]]
    assert rates == pytest.approx([rate_in(config) for config in campaign.configs[:3]], rel=1e-6)


def test_a_rate_that_yaml_reads_as_text_ends_the_trainer(tmp_path: Path) -> None:
    """The reason why raftmon writes a point into each rate: ``5e-4`` is a text for the parser of Hugging Face."""
    needs("hf")
    config = tmp_path / "train.yaml"
    config.write_text(CONFIG.replace(f"{BASE:.1e}", "5e-4"))
    trained = run([sys.executable, "-m", "tests.e2e.hf_cycle", str(config), str(tmp_path / "campaign"), "1"], tmp_path)
    assert trained.returncode == 1
    assert "TypeError: '<=' not supported between instances of 'float' and 'str'" in trained.stderr
    linted = run([*RAFTMON.split(), "lint", str(config)], tmp_path)
    assert "yaml-text-for-number" in linted.stdout
