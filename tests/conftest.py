"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The directory of real event files, which are not part of the repository."""
    named = os.environ.get("RAFTMON_CORPUS")
    path = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "corpus"
    if not path.is_dir():
        pytest.skip(f"no corpus of event files at {path}; name its directory in RAFTMON_CORPUS")
    return path
