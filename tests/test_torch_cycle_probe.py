"""What a CycleProbe measures, against closed forms."""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra torch")

import torch
from torch import Tensor, nn

from raftmon.errors import UsageError
from raftmon.torch import CycleProbe, CycleShift, completion_nll

Sample = tuple[int, float]
"""Tokens, and how far the cycle raises the sum."""


class Toy:
    """Gives each sample 2 nats a token before the cycle, and what its rise adds after it."""

    def __init__(self) -> None:
        self.trained = False
        self.asked: list[int] = []

    def __call__(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        assert not torch.is_grad_enabled()
        self.asked.append(len(samples))
        tokens = torch.tensor([count for count, _ in samples])
        rise = torch.tensor([rise for _, rise in samples], dtype=torch.float64)
        return 2.0 * tokens + (rise if self.trained else 0.0), tokens


def shift_of(own: Sequence[Sample], verified: Sequence[Sample] = (), batch_size: int = 32) -> CycleShift:
    toy = Toy()
    probe = CycleProbe(toy, batch_size=batch_size)
    probe.before(own, verified)
    toy.trained = True
    return probe.after()


def test_the_shift_is_per_token_and_its_error_that_of_a_ratio() -> None:
    shift = shift_of([(4, 0.4), (2, 0.6), (4, 0.0)], [(10, -0.1), (10, 0.3)])

    # The residuals of the first are 0, .4 and -.4: their deviation is .4, the error .4 * sqrt(3) / 10.
    assert shift.kl == pytest.approx(0.1)
    assert shift.kl_error == pytest.approx(0.4 * math.sqrt(3) / 10)
    assert shift.harm == pytest.approx(0.01)
    assert shift.harm_error == pytest.approx(0.2 * math.sqrt(2) * math.sqrt(2) / 20)


def test_the_recorded_campaigns_were_measured_alike() -> None:
    from tests.train_campaigns import _shift

    own = [(3, 0.2), (5, -0.1), (1, 0.7), (8, 1.1)]
    toy = Toy()
    with torch.no_grad():
        before = toy(own)
        toy.trained = True
        mean, error = _shift(before, toy(own))
    shift = shift_of(own)

    assert shift.kl == pytest.approx(mean)
    assert shift.kl_error == pytest.approx(error)


@pytest.mark.parametrize(
    ("samples", "shift", "error"),
    [([], None, None), ([(0, 0.0)], None, None), ([(5, 1.0)], 0.2, None), ([(5, 1.0), (5, 1.0)], 0.2, 0.0)],
)
def test_what_cannot_be_said_is_none_and_not_written(
    samples: list[Sample], shift: float | None, error: float | None
) -> None:
    toy = Toy()
    written: dict[str, float] = {}
    probe = CycleProbe(toy)
    probe.before(samples, samples)
    toy.trained = True
    found = probe.after(lambda values, step: written.update(values, step=step), step=16)

    assert found == CycleShift(shift, error, shift, error)
    tags = ("kl_per_token", "kl_per_token_error", "heldout_nll_change", "heldout_nll_change_error")
    expected = {f"raftmon/{tag}": value for tag, value in zip(tags, (shift, error) * 2, strict=True)}
    left = {tag: value for tag, value in expected.items() if value is not None}
    assert written == (left | {"step": 16} if left else {})


@settings(deadline=None, max_examples=40)
@given(
    own=st.lists(st.tuples(st.integers(1, 50), st.floats(-5.0, 5.0)), min_size=2, max_size=20),
    batch_size=st.integers(1, 25),
)
def test_batches_change_nothing_and_bound_what_is_asked_at_once(own: list[Sample], batch_size: int) -> None:
    toy = Toy()
    CycleProbe(toy, batch_size=batch_size).before(own, own[:1])

    assert max(toy.asked) <= batch_size
    assert sum(toy.asked) == len(own) + 1
    assert shift_of(own, own[:1], batch_size) == shift_of(own, own[:1])


def test_each_cycle_has_fresh_samples() -> None:
    toy = Toy()
    probe = CycleProbe(toy)
    probe.before([(1, 9.0), (1, 9.0)], [])
    probe.before([(4, 2.0)], [])
    toy.trained = True

    assert probe.after() == CycleShift(0.5, None, None, None)


def test_the_model_is_in_evaluation_mode_meanwhile_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1))
    model[1].eval()
    seen = []

    def nll(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        seen.append(model[0].training)
        return torch.zeros(len(samples)), torch.ones(len(samples))

    CycleProbe(nll, model=model).before([(1, 0.0)], [])

    assert seen == [False]
    assert [module.training for module in (model, *model)] == [True, True, False]


def test_wrong_use_is_told_with_a_remedy() -> None:
    with pytest.raises(UsageError, match="fresh samples"):
        CycleProbe(Toy()).after()
    with pytest.raises(UsageError, match="Give a whole number of at least 1"):
        CycleProbe(Toy(), batch_size=0)
    with pytest.raises(UsageError, match="nll is a NoneType, which cannot be called"):
        CycleProbe(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="own is a generator"):
        CycleProbe(Toy()).before((sample for sample in [(1, 0.0)]), [])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"after\(writer\): writer is 'runs/x'"):
        CycleProbe(Toy()).after("runs/x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="for each sample"):
        CycleProbe(lambda _: (torch.zeros(1), torch.ones(1))).before([1, 2], [])
    counts = iter((3.0, 4.0))
    probe = CycleProbe(lambda _: (torch.zeros(1), torch.tensor([next(counts)])))
    probe.before([1], [])
    with pytest.raises(UsageError, match="must stay as they were"):
        probe.after()


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (([0.5, 0.5], [1, 1]), r"\(list, list\)"),
        (torch.zeros(2, 2), "a Tensor"),
        (None, "a NoneType"),
        ((torch.zeros(2),), r"\(Tensor\)"),
        ((torch.zeros(2, 1), torch.ones(2)), r"shapes \(2, 1\) and \(2,\)"),
    ],
)
def test_likelihoods_that_are_none_are_refused(returned: Any, said: str) -> None:
    with pytest.raises(UsageError, match=rf"nll\(\) returned {said} for 2 samples\n  Return two tensors"):
        CycleProbe(lambda _: returned).before([1, 2], [])


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "there are no samples"),
        (["2+2=4"], "sample 1 is '2\\+2=4'"),
        ([([1, 2], 1), (3, 1)], "sample 2 is"),
        ([([1, 2], 3)], "prompt of sample 1 is 3\n  Give a whole number from 0 to 2"),
        ([([1, 2], 1.5)], "prompt of sample 1 is 1.5"),
    ],
)
def test_completions_that_are_none_are_refused(samples: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        completion_nll(Bigrams(torch.zeros(2, 2)), samples)
    with pytest.raises(UsageError, match="temperature is 0"):
        completion_nll(Bigrams(torch.zeros(2, 2)), [([1, 2], 1)], temperature=0)


class Bigrams(nn.Module):
    """A causal language model of which all is known: the logits of the next token depend on the last one alone."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.table[input_ids])


@settings(deadline=None, max_examples=40)
@given(
    samples=st.lists(
        st.lists(st.integers(0, 4), min_size=1, max_size=9).flatmap(
            lambda ids: st.tuples(st.just(ids), st.integers(0, len(ids)))
        ),
        min_size=1,
        max_size=6,
    ),
    heat=st.sampled_from([0.5, 1.0, 2.0]),
    pad=st.integers(0, 4),
)
def test_completions_are_evaluated_as_by_hand(samples: list[tuple[list[int], int]], heat: float, pad: int) -> None:
    table = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        sums, tokens = completion_nll(Bigrams(table), samples, pad=pad, temperature=heat)

    scores = torch.log_softmax(table / heat, dim=-1)
    for (ids, prompt), found, count in zip(samples, sums, tokens, strict=True):
        places = range(max(1, prompt), len(ids))
        assert int(count) == len(places)
        assert float(found) == pytest.approx(-sum(float(scores[ids[i - 1], ids[i]]) for i in places), abs=1e-4)


def test_own_samples_estimate_the_kl() -> None:
    """The KL between two bigram models is known; own samples estimate it within their error."""
    generator = torch.Generator().manual_seed(7)
    table = torch.randn(6, 6, generator=generator)
    model = Bigrams(table.clone())
    chances = torch.softmax(table, dim=-1)
    rows = [[int(torch.randint(6, (1,), generator=generator))] for _ in range(2000)]
    for _ in range(5):
        last = torch.tensor([row[-1] for row in rows])
        for row, token in zip(
            rows, torch.multinomial(chances[last], 1, generator=generator)[:, 0].tolist(), strict=True
        ):
            row.append(token)
    probe = CycleProbe(lambda samples: completion_nll(model, samples), model=model, batch_size=500)
    probe.before([(row, 1) for row in rows], [])
    with torch.no_grad():
        model.table += 0.3 * torch.randn(6, 6, generator=generator)
    shift = probe.after()

    moved = torch.log_softmax(table, -1) - torch.log_softmax(model.table.detach(), -1)
    visits = torch.bincount(torch.tensor([token for row in rows for token in row[:-1]]), minlength=6).double()
    truth = float((visits / visits.sum()) @ (chances * moved).sum(-1).double())
    assert shift.kl is not None
    assert shift.kl_error is not None
    assert shift.kl_error < 0.01 < truth
    assert abs(shift.kl - truth) < 3.0 * shift.kl_error


def test_a_model_of_hugging_face_is_evaluated_alike_padded_or_alone() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra trainers")
    config = transformers.GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    torch.manual_seed(1)
    model = transformers.GPT2LMHeadModel(config).eval()
    samples = [([1, 2, 3, 4, 5, 6, 7, 8], 3), ([9, 10, 11], 1), ([12, 13, 14, 15], 2)]
    with torch.no_grad():
        together, tokens = completion_nll(model, samples)
        ids, prompt = samples[0]
        labels = torch.tensor([[-100] * prompt + ids[prompt:]])
        theirs = model(input_ids=torch.tensor([ids]), labels=labels).loss * (len(ids) - prompt)
        alone = [completion_nll(model, [sample])[0].item() for sample in samples]

    assert tokens.tolist() == [5, 2, 2]
    assert together.tolist() == pytest.approx(alone, rel=1e-4)
    assert together[0].item() == pytest.approx(theirs.item(), rel=1e-4)
