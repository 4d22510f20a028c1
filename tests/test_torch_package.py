"""The package ``raftmon.torch``: what it offers, and what it says where torch is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import raftmon.torch

WITHOUT = """
import inspect, sys
for missing in sys.argv.pop(1).split(","):
    sys.modules[missing] = None
import raftmon.torch
from raftmon.errors import RaftmonError
print(*raftmon.torch.__all__)
namespace = {}
exec("from raftmon.torch import *", namespace)
assert set(raftmon.torch.__all__) <= set(namespace)
assert dir(raftmon.torch) == raftmon.torch.__all__ == [n for n, _ in inspect.getmembers(raftmon.torch)]
for name in sys.argv[1:]:
    try:
        getattr(raftmon.torch, name)
    except ImportError as error:
        assert isinstance(error, RaftmonError)
        print(f"{name}: {error}".splitlines()[0], error.remedy)
    else:
        print(name, "is there")
"""
NEED_NONE = {"StopCampaign", "batch_scale", "next_learning_rate", "warmup_length"}


def without(missing: str, names: list[str]) -> list[str]:
    """Return what a program says that lists the package and asks for names where some packages are missing."""
    command = [sys.executable, "-c", WITHOUT, missing, *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


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
    listed, *lines = without("torch", names)

    assert set(listed.split()) == NEED_NONE
    told = dict(zip(names, lines, strict=True))
    assert {name for name, line in told.items() if line == f"{name} is there"} == NEED_NONE
    for name in set(names) - NEED_NONE:
        assert "which is not installed" in told[name], told[name]
        assert 'pip install "raftmon[torch]"' in told[name]


def test_without_a_trainer_all_but_its_callback_is_there() -> None:
    pytest.importorskip("torch")
    callbacks = ["RaftmonCallback", "RaftmonLightningCallback"]
    listed, *lines = without("transformers,lightning", callbacks)

    others = {name for name in raftmon.torch.__all__ if name not in callbacks}
    assert set(listed.split()) == others
    assert ["transformers" in lines[0], "lightning" in lines[1]] == [True, True]


def test_what_is_missing_says_so_where_it_is_imported() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom raftmon.torch import Probe"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Probe needs torch, which is not installed\n  pip install" in done.stderr
