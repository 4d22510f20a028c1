"""Length of a warm-up, factor of a batch, and the claims that raftmon.torch cites."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import raftmon.torch
from raftmon.advice.claims import load_claims
from raftmon.advice.interactions import interactions
from raftmon.advice.rulebook import load_rules
from raftmon.errors import UsageError
from raftmon.run_config import RunConfig
from raftmon.signals.config import warmup_advised
from raftmon.torch import batch_scale, warmup_length

CLAIMS: Final = load_claims({rule.id for rule in load_rules()})
CITED: Final = re.compile(r"[Cc]laim (\d-\d\d)(?: \(|: |, )(\w+), grade (\w)")
MODULES: Final = sorted(Path(raftmon.torch.__file__).parent.glob("*.py"))
ADVISING: Final = (
    "constant_late_decay",
    "cosine_restarts",
    "cycle_decay",
    "discriminative_groups",
    "layerwise_groups",
    "multiply_schedule",
    "plateau_decay",
    "warmup_cosine",
    "warmup_length",
    "warmup_linear",
)


@pytest.mark.parametrize(
    ("total", "optimizer", "beta2", "steps"),
    [
        (1, "adamw", None, 0),
        (9, "adamw", None, 0),
        (10, "adamw", None, 1),
        (16, "adamw", None, 1),
        (20, "adamw", None, 2),
        (70, "adamw", None, 7),
        (5000, "adamw", None, 500),
        (100_000, "adamw", None, 2000),
        (100_000, "adam", 0.95, 40),
        (100_000, "adamw", 0.0, 2),
        (100_000, "sgd", None, 10_000),
        (100_000, "SGD", 0.95, 10_000),
    ],
)
def test_the_length_of_a_warm_up(total: int, optimizer: str, beta2: float | None, steps: int) -> None:
    assert warmup_length(total, optimizer, beta2=beta2).steps == steps


@given(st.integers(1, 10**7), st.sampled_from(["adamw", "adam", "lamb", "sgd", "lion"]), st.floats(0.0, 0.9999))
def test_a_warm_up_is_never_one_that_lint_calls_too_long_nor_the_whole_run(
    total: int, optimizer: str, beta2: float
) -> None:
    steps = warmup_length(total, optimizer, beta2=beta2).steps
    longest = warmup_advised(RunConfig(max_steps=total, optimizer=optimizer, beta2=beta2))
    assert longest is not None
    assert 0 <= steps <= longest + 1e-6
    assert 10 * steps <= total


def test_it_is_said_how_the_length_came_about() -> None:
    assert warmup_length(16).because == (
        "10 % of 16 steps: 1.6 (claim 2-10: plausible, grade C)",
        "2/(1 − beta2) at 0.999: 2000 (Ma and Yarats 2021; instead of claim 2-07: unsupported, grade D)",
        "not applied: 5000 to 10000 steps whatever the run (claim 2-14: contradicted, grade X)",
        "the smaller, rounded down: 1",
    )
    assert "not applied to sgd" in warmup_length(16, "sgd").because[1]


@pytest.mark.parametrize(
    ("architecture", "steps", "words"),
    [
        ("transformer", 100, "claim 2-17: unsupported, grade D"),
        ("cnn", 50, "5 % instead of 10 % (claim 2-17: unsupported, grade D"),
        ("vit", 100, "claim 2-18: meaningless, grade X"),
        ("vit", 100, "claim 2-41: unverifiable, grade X"),
        ("rnn", 100, "claim 2-19: plausible, grade C"),
        ("gnn", 100, "claim 2-20: unsupported, grade D"),
    ],
)
def test_what_is_claimed_for_an_architecture_is_named_with_its_worth(architecture: str, steps: int, words: str) -> None:
    warm_up = warmup_length(1000, architecture=architecture)
    assert warm_up.steps == steps
    assert any(words in line for line in warm_up.because)


def test_the_optimiser_tells_its_own_beta2_through_a_wrapper_too() -> None:
    groups = [{"betas": (0.9, 0.95)}, {"betas": (0.9, 0.98)}]
    adamw = type("AdamW", (), {"param_groups": groups})()
    assert warmup_length(100_000, adamw).steps == 100
    assert warmup_length(100_000, SimpleNamespace(optimizer=adamw)).steps == 100
    assert warmup_length(100_000, adamw, beta2=0.99).steps == 200


@pytest.mark.parametrize(
    ("old", "new", "optimizer", "factor"),
    [
        (256, 1024, "adamw", 2.0),
        (32, 64, "adam", 2**0.5),
        (64, 32, "rmsprop", 0.5**0.5),
        (32, 48, "sgd", 1.5),
        (32, 64, "SGD", 2.0),
        (32, 320, "sgd", 2.0),
        (4096, 1, "adamw", 0.5),
        (32, 32, "sgd", 1.0),
    ],
)
def test_the_factor_of_a_batch(old: int, new: int, optimizer: str, factor: float) -> None:
    assert batch_scale(old, new, optimizer).factor == pytest.approx(factor)


@given(st.integers(1, 4096), st.integers(1, 4096), st.sampled_from(["adam", "adamw", "rmsprop", "sgd"]))
def test_a_batch_counts_as_between_two_cycles_and_opposite_changes_cancel(old: int, new: int, optimizer: str) -> None:
    there, back = batch_scale(old, new, optimizer), batch_scale(new, old, optimizer)
    assert there.factor * back.factor == pytest.approx(1.0)
    assert 0.5 <= there.factor <= 2.0
    between = interactions(*(RunConfig(optimizer=optimizer, global_batch_size=size) for size in (old, new)))
    assert there.factor == (1.0 if old == new else between.factor)
    if old != new:
        assert {CLAIMS[claim].grade for claim in there.claims} == {there.grade} == {"B"}


@pytest.mark.parametrize(
    ("call", "what", "remedy"),
    [
        (lambda: warmup_length(0), "total_steps is 0", "at least 1"),
        (lambda: warmup_length(16, beta2=1.0), "beta2 is 1.0", "at least 0 and below 1"),
        (lambda: warmup_length(16, architecture="mlp"), "architecture is 'mlp'", "transformer, cnn, vit, rnn, gnn"),
        (lambda: warmup_length(16, ""), "optimizer is empty", "adamw"),
        (lambda: warmup_length(16, 3), "optimizer is 3", "a torch optimiser"),
        (lambda: batch_scale(0, 8, "sgd"), "old_batch is 0", "at least 1"),
        (lambda: batch_scale(8, 8.5, "sgd"), "new_batch is 8.5", "a whole number"),  # type: ignore[arg-type]
        (lambda: batch_scale(8, 16, "lion"), "no scaling is established for lion", "adam, adamw, rmsprop, sgd"),
        (lambda: batch_scale(8, 8, "lion"), "no scaling is established for lion", "adam, adamw, rmsprop, sgd"),
    ],
)
def test_what_cannot_be_meant_is_refused(call: object, what: str, remedy: str) -> None:
    assert callable(call)
    with pytest.raises(UsageError) as caught:
        call()
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert caught.value.where.endswith(")")


def texts(path: Path) -> list[str]:
    """Return docstrings and texts of a module, each on one line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [" ".join(text.split()) for text in found]


def test_a_claim_is_cited_with_the_verdict_and_the_grade_of_the_table() -> None:
    cited = [(path.name, *match) for path in MODULES for text in texts(path) for match in CITED.findall(text)]

    assert len(cited) >= 20
    for name, claim, verdict, grade in cited:
        assert (CLAIMS[claim].verdict, CLAIMS[claim].grade) == (verdict, grade), (name, claim)


@pytest.mark.parametrize("name", ADVISING)
def test_each_method_names_its_claim(name: str) -> None:
    pytest.importorskip("torch", reason="docstrings of functions that need it")
    assert CITED.search(" ".join((getattr(raftmon.torch, name).__doc__ or "").split()))


WITHOUT_TORCH: Final = """
import sys
sys.modules["torch"] = None
import raftmon.torch
from raftmon.errors import RaftmonError
print(raftmon.torch.warmup_length(16).steps, raftmon.torch.batch_scale(1, 4, "adam").factor)
for name in ("warmup_cosine", "layerwise_groups", "restart_at"):
    try:
        getattr(raftmon.torch, name)
    except RaftmonError as error:
        print(error.remedy)
"""


def test_numbers_need_no_torch_and_the_rest_says_how_to_get_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 2.0", *['pip install "raftmon[torch]"'] * 3]
