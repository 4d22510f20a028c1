"""91 configs in the shape of real ones: whose each is, where its learning rate stands, what a write changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from raftmon.advice.settings import Guardrails, Settings, Strategy
from raftmon.hook import pre_cycle, undo
from raftmon.journal import Journal
from raftmon.trainers.config import read_config
from raftmon.trainers.table import load_trainers

CONFIGS: Final = Path(__file__).parent / "configs"
EXPECTED: Final[dict[str, dict[str, Any]]] = yaml.safe_load((CONFIGS / "expected.yaml").read_text(encoding="utf-8"))
RATE: Final = 3.61e-5
SETTINGS: Final = Settings(strategy=Strategy("constant", base=RATE), guardrails=Guardrails())
REASONS: Final = {
    "interpolation": r"stands elsewhere",
    "alias": r"shares its value with other keys",
    "defaults": r"takes values from others|stands in a file that this one builds on|may set another",
    "ambiguous": r"keys could be the learning rate",
    "auto": r"`auto`",
    "void": r"optimizer: auto|is not read|read no config file|replaces the file's learning rate|Noam schedule|auto",
    "resume": r"a new learning rate would not be used",
    "list": r"is a list",
    "duplicate": r"given twice",
    "syntax": r"not valid|keys could be the learning rate",
    "missing": r"is not in this file|no block|is no mapping|no learning rate in this config",
}
WRITABLE: Final = sorted(name for name, expected in EXPECTED.items() if "refused" not in expected)
REFUSED: Final = sorted(name for name, expected in EXPECTED.items() if "refused" in expected)


def test_every_config_is_expected_and_every_trainer_has_one() -> None:
    names = {path.name for path in CONFIGS.iterdir()} - {"expected.yaml"}
    assert names == set(EXPECTED)
    assert {trainer.name for trainer in load_trainers()} == {e["trainer"] for e in EXPECTED.values()} - {None}
    assert len(WRITABLE) >= 40


@pytest.mark.parametrize("name", WRITABLE)
def test_the_learning_rate_is_found(name: str) -> None:
    expected = EXPECTED[name]

    config = read_config((CONFIGS / name).read_bytes(), name)

    assert config.rate_key.trainer is not None
    found = (config.rate_key.trainer.name, config.rate_key.key, config.flag(RATE))
    assert found == (expected["trainer"], expected["key"], expected.get("flag"))
    assert config.written.rate == expected.get("rate")


@pytest.mark.parametrize("name", WRITABLE)
def test_a_write_changes_the_number_and_undo_gives_the_bytes_back(name: str, tmp_path: Path) -> None:
    path, journal = tmp_path / name, Journal(tmp_path / "journal.sqlite3")
    before = (CONFIGS / name).read_bytes()
    path.write_bytes(before)

    override = pre_cycle(path, tmp_path / "runs", 1, apply=True, settings=SETTINGS, journal=journal, processes=list)

    assert override.refused is None
    assert (override.applied, override.changed, override.learning_rate) == (True, True, RATE)
    after = path.read_bytes()
    assert read_config(after, name).used(1) == pytest.approx(RATE, rel=1e-4)
    gone = _changed_bytes(before, after).decode()
    assert gone in str(EXPECTED[name].get("value", ""))
    undo(path, journal)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_harm_or_have_no_effect_is_refused(name: str, tmp_path: Path) -> None:
    path, journal = tmp_path / name, Journal(tmp_path / "journal.sqlite3")
    before = (CONFIGS / name).read_bytes()
    path.write_bytes(before)

    override = pre_cycle(path, tmp_path / "runs", 1, apply=True, settings=SETTINGS, journal=journal, processes=list)

    assert override.refused is not None
    assert override.remedy
    assert re.search(REASONS[EXPECTED[name]["refused"]], override.refused), override.refused
    assert str(path) in override.refused
    assert not override.applied
    assert override.learning_rate == RATE
    assert path.read_bytes() == before
    assert journal.entries() == []


def _changed_bytes(before: bytes, after: bytes) -> bytes:
    """Return the bytes of the old file that are not in the new one."""
    most = min(len(before), len(after))
    head = next((n for n in range(most) if before[n] != after[n]), most)
    tail = next((n for n in range(most - head) if before[-1 - n] != after[-1 - n]), most - head)
    return before[head : len(before) - tail]
