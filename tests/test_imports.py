"""A monitor imports what every logdir needs, and the rest where it first meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.test_monitor import write_run

UNNEEDED: Final = frozenset(
    {
        "difflib",
        "google.protobuf",
        "json",
        "msgspec",
        "psutil",
        "pynvml",
        "random",
        "raftmon.advice.campaign_policy",
        "raftmon.advice.campaigns",
        "raftmon.advice.interactions",
        "raftmon.advice.ruletests",
        "raftmon.gpus",
        "raftmon.remote",
        "raftmon.runs.campaign_files",
        "raftmon.runs.config_keys",
        "raftmon.runs.evidence",
        "raftmon.runs.sidecars",
        "raftmon.trainers",
        "statistics",
        "tensorboard",
        "textual",
        "torch",
        "watchdog",
    }
)
"""Modules that cost time or memory, and that a run of scalars never needs."""
LOOK: Final = """
import sys
from pathlib import Path
from raftmon.monitor import Monitor
for logdir in sys.argv[1:]:
    monitor = Monitor([Path(logdir)], clock=lambda: 1e9)
    assert len(monitor.poll().runs) == 1
print(*sys.modules)
"""
DEAR: Final = """
import dataclasses, sys
made = []
theirs = dataclasses.dataclass
dataclasses.dataclass = lambda cls=None, **how: (made.append(how) or theirs(cls, **how))
import raftmon.monitor
print(sum(how.get("init", True) for how in made), len(made))
"""


def run(code: str, *arguments: str) -> list[str]:
    """Run Python in a process of its own; returns the words that it printed."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.split()


def test_to_import_the_monitor_imports_nothing_that_only_some_logdirs_need() -> None:
    loaded = run("import sys, raftmon.monitor; print(*sys.modules)")

    assert "raftmon.monitor" in loaded
    assert UNNEEDED & set(loaded) == set()


def test_a_run_of_scalars_is_judged_without_the_rest(tmp_path: Path) -> None:
    write_run(tmp_path / "run" / "events.out.tfevents.1", [2.0 - 0.01 * step for step in range(100)])

    loaded = run(LOOK, str(tmp_path))

    assert "raftmon.advice.judging" in loaded
    assert UNNEEDED & set(loaded) == set()


@pytest.mark.parametrize(
    ("run_name", "file", "content", "module"),
    [
        ("cycle_1", "", "", "raftmon.advice.campaigns"),
        ("run", "hparams.yaml", "learning_rate: 3.0e-5\n", "raftmon.runs.sidecars"),
    ],
)
def test_what_is_met_is_imported(tmp_path: Path, run_name: str, file: str, content: str, module: str) -> None:
    write_run(tmp_path / run_name / "events.out.tfevents.1", [2.0 - 0.01 * step for step in range(100)])
    if file:
        (tmp_path / run_name / file).write_text(content)

    assert module in run(LOOK, str(tmp_path))


@pytest.mark.parametrize(
    "module", ["raftmon.cli", "raftmon.commands.looking", "raftmon.tui.app", "raftmon.tui.web.driver"]
)
def test_only_a_server_for_browsers_or_agents_imports_one(module: str) -> None:
    loaded = run(f"import sys, {module}; print(*sys.modules)")

    assert module in loaded
    servers = {"aiohttp", "jinja2", "textual_serve", "raftmon.commands.serving", "mcp", "raftmon.mcp.server"}
    assert servers & set(loaded) == set()


def test_few_dataclasses_of_a_monitor_are_made_at_the_full_price() -> None:
    dear, made = map(int, run(DEAR))

    assert made > 40
    assert dear <= 2
