"""The settings file: all keys, all defects at once."""

from pathlib import Path

import pytest

from raftmon.advice.settings import Settings, read_settings
from raftmon.errors import DocumentErrors

FULL = """\
strategy: {kind: manual, base: 5e-5, decay: 0.9, min: 1.0e-6, schedule: {cycle_1: 5.0e-5, cycle_2: 4e-5}}
guardrails: {max_change: 2.0, min: 1.0e-7, max: 1.0e-3}
rules:
  loss-spikes: {enabled: false}
  loss-diverges: {parameters: {drawup: 0.5}}
tags: {my/loss: loss}
keymap: {quit: ctrl+q}
config_key: a.b.c
"""


def test_no_file_means_defaults() -> None:
    assert read_settings(None) == Settings()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_means_defaults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "raftmon.yaml"
    path.write_text(text)

    assert read_settings(path) == Settings()


def test_every_key(tmp_path: Path) -> None:
    path = tmp_path / "raftmon.yaml"
    path.write_text(FULL)

    settings = read_settings(path)

    assert settings.strategy.kind == "manual"
    assert settings.strategy.base == 5e-5
    assert settings.strategy.schedule == {1: 5e-5, 2: 4e-5}
    assert (settings.guardrails.max_change, settings.guardrails.least, settings.guardrails.most) == (2.0, 1e-7, 1e-3)
    assert settings.rules == {"loss-spikes": {"enabled": False}, "loss-diverges": {"enabled": True, "drawup": 0.5}}
    assert settings.tags == {"my/loss": "loss"}
    assert settings.keymap == {"quit": "ctrl+q"}


def test_all_defects_at_once_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "raftmon.yaml"
    path.write_text("strategy: {kind: exponental, decay: 1.5}\nguardrails: {max_change: 0.5}\nstrategie: {}\n")

    with pytest.raises(DocumentErrors) as caught:
        read_settings(path)

    where = sorted(problem.where.removeprefix(str(path)) for problem in caught.value.problems)
    assert where == [":1:18", ":1:37", ":2:26", ":3:1"]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentErrors, match="cannot be read"):
        read_settings(tmp_path / "none.yaml")
