"""The package ``raftmon.torch``: what it offers, and what it says where torch is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import raftmon.torch

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import raftmon.torch
from raftmon.errors import RaftmonError
for name in sys.argv[1:]:
    try:
        getattr(raftmon.torch, name)
    except RaftmonError as error:
        print(f"{name}: {error}".splitlines()[0], error.remedy)
    else:
        print(name, "is there")
"""
NEED_NONE = {"StopCampaign", "batch_scale", "next_learning_rate", "warmup_length"}


def test_every_name_is_there() -> None:
    pytest.importorskip("torch")
    for name in ("transformers", "lightning"):
        pytest.importorskip(name)

    assert dir(raftmon.torch) == sorted(raftmon.torch.__all__)
    for name in raftmon.torch.__all__:
        assert getattr(raftmon.torch, name).__module__.startswith("raftmon.torch.")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Probes'"):
        raftmon.torch.Probes  # noqa: B018


def test_without_torch_each_name_that_needs_it_says_what_to_install() -> None:
    names = raftmon.torch.__all__
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *names], capture_output=True, text=True, check=True)

    told = dict(zip(names, done.stdout.splitlines(), strict=True))
    assert {name for name, line in told.items() if line == f"{name} is there"} == NEED_NONE
    for name in set(names) - NEED_NONE:
        assert "which is not installed" in told[name], told[name]
        assert 'pip install "raftmon[torch]"' in told[name]
