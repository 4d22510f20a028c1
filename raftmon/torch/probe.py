"""What a training tells of its own steps: `Probe`.

The gain ratio rho is the loss decrease that a step really gave on its own batch over the first-order prediction
<g, delta>. It is 1 for a step so small that the loss is a straight line along it and sinks with the learning rate:
1 - rho is nearly proportional to it. Source: study of 531 small trainings (2026), 3.16 and 4.4 (above 0.985 too low,
below 0.60 too high: on 128 single RAFT cycles that nothing was chosen on 0.86 right, none the wrong way round); level
`observed`, on toy models alone. What is written here is what `raftmon.signals.probe` reads.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from raftmon.torch.checks import function, tag, whole
from raftmon.torch.probeable import NAME, limit_of, require_loss, require_probeable
from raftmon.torch.undisturbed import Randomness, undisturbed
from raftmon.torch.writing import Writer, require_writer, write

__all__ = ["Probe"]

EVERY: Final = 100
"""Steps between two probes of a long run: at most 2 % of it."""
PROBES: Final = 8
"""Probes that a short run of known length has, at least: as many as the recorded campaigns."""
TOGETHER: Final = 4
"""Newest probed steps whose gains and predictions are summed into one value, as in the recorded sweeps."""
LEGIBLE: Final = 10.0
"""A predicted decrease below so many times the loss's error of rounding is not told from it."""
INSIDE: Final = 0.01
"""Share of the coarsest number format inside a model that reaches its mean loss: 0.003 to 0.012 where steps were small,
with transformers of 30 thousand to a million weights under bfloat16 autocast and batches of 128 to 1024 tokens."""

LossOf = Callable[[], Tensor]


@dataclass(frozen=True)
class _Loss:
    """A micro-batch's loss before the step."""

    value: Tensor
    gradients: list[Tensor | None]
    """Of the weights, times the scaler's scale; None: no part in the loss."""
    rounding: float
    """Error of such a loss, relative."""


@dataclass(frozen=True)
class _Measured:
    """One probed step."""

    gained: float
    """Change of the loss, in units of the loss: below 0 where the step was good."""
    predicted: float
    """<g, delta>, in the same units."""
    rounding: float
    """Error of the loss, in the same units."""


class Probe:
    """Takes the optimiser's steps, and measures some of them.

    ::

        probe = Probe(model, optimizer, SummaryWriter(logdir), steps=len(batches))
        for batch in batches:
            optimizer.zero_grad()
            loss_of(batch).backward()
            probe.clip(1.0)
            probe.step(lambda: loss_of(batch))

    Written are at each step the learning rate that it is taken at, the gradient's norm before clipping and
    ``raftmon/clipped`` (1 or 0; these two by `clip`), and at each probed step ``raftmon/update_ratio``, the norm of the
    update over that of the weights, and ``raftmon/rho``: over the newest four probed steps, the sum of what each
    changed of the loss of its own batch over the sum of <g, delta>. Where that is no number, or the sum predicts no
    decrease, or less than rounding hides, none is written.

    A probe evaluates the loss twice: before the step, with its gradient, and after it. So it holds whatever made the
    step: micro-batches, clipping, GradScaler, weight decay, the mean over ranks, any optimiser. It leaves no trace in
    the training (modes, running statistics, random numbers; see `raftmon.torch.undisturbed`): with and without it the
    weights are the same to the last bit. Frozen weights (LoRA) take no part.

    A probe costs 1.3 to 1.5 steps of one micro-batch and holds two copies of the trained weights meanwhile (measured by
    ``tests/benchmarks/probe_overhead.py``, ten million weights): every 100 steps 1.6 % of a run; 8 in 16 steps 70 %
    without accumulation, 18 % with 4 micro-batches, 5 % with 16.

    A trainer that steps by itself is probed with `around`; under Hugging Face's by a callback that enters it in
    ``on_pre_optimizer_step`` and leaves it in ``on_optimizer_step``. Such a trainer logs rate and norm itself: give
    ``rate_tag=None``, or raftmon reads two curves under one tag.

    In distributed training every rank makes its Probe and calls it alike; the first rank's own batch is what is
    written. With ``torch.compile`` the first probe compiles anew, for the model without dropout.

    Args:
        model: in training; may be, or contain, `DistributedDataParallel`.
        optimizer: its weights that require a gradient are those that are probed.
        writer: `SummaryWriter` or the like, or a function of (values by tag, step). None: nothing is written.
        steps: optimiser steps that this run will have; a run shorter than 800 is then probed more often than `EVERY`:
            8 to 15 times, and at each of fewer than 8 steps. None: unknown.
        every: steps from one probe to the next; 0: none. None: `EVERY`, or by `steps`.
        scaler: `torch.amp.GradScaler` that the losses are scaled with. A step that it skips gives no value.
        first_step: steps that were taken before, in a resumed run.
        norm_tag: for the gradient's norm; None where the trainer writes it already.
        rate_tag: for the learning rate of the first group of parameters; None where the trainer writes it already.
            Without it in the log raftmon does not know at which rate a probe was taken, and probes raise nothing.
        prefix: of the other tags. `Trainer.log` of Hugging Face puts ``train/`` before each; with ``prefix=""`` they
            are then ``train/rho`` and ``train/update_ratio``, which raftmon knows, too.

    Raises:
        UsageError: an argument cannot be meant.
        RaftmonError: an optimiser that evaluates the loss itself (LBFGS), or weights that are spread over ranks (FSDP,
            DeepSpeed's ZeRO, DTensor).
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        writer: Writer | None,
        *,
        steps: int | None = None,
        every: int | None = None,
        scaler: Any = None,
        first_step: int = 0,
        norm_tag: str | None = "train/grad_norm",
        rate_tag: str | None = "train/learning_rate",
        prefix: str = "raftmon",
    ) -> None:
        require_probeable(model, optimizer)
        require_writer(NAME, writer)
        steps = whole(NAME, "steps", steps, 0) if steps is not None else None
        every = whole(NAME, "every", every, 0) if every is not None else _every(steps)
        for name, value in (("norm_tag", norm_tag), ("rate_tag", rate_tag), ("prefix", prefix or None)):
            tag(NAME, name, value)
        self._model, self._optimizer, self._writer, self._scaler = model, optimizer, writer, scaler
        self._every = every
        self._norm_tag, self._rate_tag, self._prefix = norm_tag, rate_tag, f"{prefix}/" if prefix else ""
        self._newest: deque[_Measured] = deque(maxlen=TOGETHER)
        self._gained, self._predicted = 0.0, 0.0
        self._taken = self._begun = whole(NAME, "first_step", first_step, 0)

    @property
    def rho(self) -> float | None:
        """Gain over prediction, each summed over all probed steps of this run; None without a predicted decrease."""
        return self._gained / self._predicted if self._predicted < 0.0 else None

    @property
    def every(self) -> int:
        """Steps from one probe to the next; 0: none."""
        return self._every

    def clip(self, max_norm: float = math.inf) -> Tensor:
        """Scale the gradients in place so that their norm is at most `max_norm`.

        Args:
            max_norm: limit, above 0; infinite: the norm is written, and no gradient is touched.

        Returns:
            Total L2 norm before clipping, a tensor without dimensions; where there is a scaler, of what it unscaled.

        Raises:
            UsageError: the limit is no number above 0.
        """
        limit = limit_of(max_norm)
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        weights = self._weights()
        # At an infinite limit torch divides infinity by infinity where a gradient is infinite, and all become NaN.
        norm = _norm_of(weights) if limit == math.inf else nn.utils.clip_grad_norm_(weights, limit)
        if self._writer is not None:
            value = float(norm)
            values = {self._norm_tag: value} if self._norm_tag is not None else {}
            if value == value:
                values[f"{self._prefix}clipped"] = float(value > limit)
            write(self._writer, values, self._taken + 1)
        return norm

    def step(self, loss_of: LossOf) -> None:
        """Take the optimiser's step, through the scaler where there is one, and measure it if a probe is due.

        The scaler's ``update()`` and the schedule's ``step()`` are left to the caller.

        Args:
            loss_of: returns the loss of one micro-batch of this step, a mean without scaling, as a tensor with a graph.
                It is called only where a probe is due, inside the caller's precision: where the training runs under
                ``autocast``, so must this.

        Raises:
            UsageError: `loss_of` cannot be called, or returns no single number, or one that no weight has a part in.
            RaftmonError: the model recomputes activations with ``use_reentrant=True``, which hides its weights.
        """
        with self.around(loss_of):
            if self._scaler is not None:
                self._scaler.step(self._optimizer)
            else:
                self._optimizer.step()

    @contextmanager
    def around(self, loss_of: LossOf) -> Iterator[None]:
        """Measure, if a probe is due, the one step that somebody else takes within: for trainers that step themselves.

        Args:
            loss_of: see `step`.

        Raises:
            UsageError: see `step`.
            RaftmonError: see `step`.
        """
        function(NAME, "loss_of", loss_of)
        if self._rate_tag is not None and self._writer is not None:
            rate = float(self._optimizer.param_groups[0]["lr"])  # before the schedule takes its step
            write(self._writer, {self._rate_tag: rate}, self._taken + 1)
        due = self._every > 0 and (self._taken - self._begun) % self._every == self._every // 2
        if not due:
            yield
        else:
            weights = self._weights()
            randomness = Randomness(weight.device for weight in weights)
            # As training scales it: without that, small gradients vanish in half precision.
            scale = float(self._scaler.get_scale()) if self._scaler is not None else 1.0
            before = self._loss_before(loss_of, weights, randomness, scale)
            old = [weight.detach().clone() for weight in weights]
            yield
            with torch.no_grad(), undisturbed(self._model, randomness):
                after = loss_of().detach()
            predicted, moved, size = _products(weights, old, before.gradients)
            self._note(before, after, predicted / scale, moved / size if size > 0.0 else math.nan)
        self._taken += 1

    def _weights(self) -> list[Tensor]:
        """Return what is trained, each once; looked up anew because weights are unfrozen and groups added."""
        groups = self._optimizer.param_groups
        return list({id(w): w for group in groups for w in group["params"] if w.requires_grad}.values())

    def _loss_before(self, loss_of: LossOf, weights: list[Tensor], randomness: Randomness, scale: float) -> _Loss:
        coarsest = 0.0

        def look_at(tensor: Tensor) -> Tensor:
            nonlocal coarsest
            if tensor.is_floating_point():
                coarsest = max(coarsest, torch.finfo(tensor.dtype).eps)
            return tensor

        with torch.enable_grad(), undisturbed(self._model, randomness):
            with torch.autograd.graph.saved_tensors_hooks(look_at, lambda tensor: tensor):
                loss = loss_of()
            require_loss(loss)
            gradients = list(torch.autograd.grad(loss * scale, weights, allow_unused=True))
        return _Loss(loss.detach(), gradients, torch.finfo(loss.dtype).eps + INSIDE * coarsest)

    def _note(self, before: _Loss, after: Tensor, predicted: float, update_ratio: float) -> None:
        values = {}
        if update_ratio > 0.0 and math.isfinite(update_ratio):
            values["update_ratio"] = update_ratio
        loss, gained = float(before.value), float(after.double() - before.value.double())
        if update_ratio != 0.0 and math.isfinite(gained) and math.isfinite(predicted):
            self._newest.append(_Measured(gained, predicted, before.rounding * abs(loss)))
            self._gained += gained
            self._predicted += predicted
            expected = sum(one.predicted for one in self._newest)
            if -expected > LEGIBLE * math.hypot(*(one.rounding for one in self._newest)):
                values["rho"] = sum(one.gained for one in self._newest) / expected
        write(self._writer, {f"{self._prefix}{name}": value for name, value in values.items()}, self._taken + 1)


def _norm_of(weights: list[Tensor]) -> Tensor:
    """Return the total L2 norm of the gradients, as `torch.nn.utils.clip_grad_norm_` finds it."""
    norms = [torch.linalg.vector_norm(weight.grad) for weight in weights if weight.grad is not None]
    return torch.linalg.vector_norm(
        torch.stack([norm.to(norms[0].device) for norm in norms]) if norms else torch.zeros(0)
    )


def _every(steps: int | None) -> int:
    return EVERY if steps is None else max(1, min(EVERY, steps // PROBES))


def _products(weights: list[Tensor], old: list[Tensor], gradients: list[Tensor | None]) -> tuple[float, float, float]:
    """Return <g, delta> and the norms of update and old weights; empties the lists of old weights and gradients."""
    sums = []
    for weight in reversed(weights):
        was, gradient = old.pop(), gradients.pop()
        wide = torch.promote_types(weight.dtype, torch.float32)
        was = was.to(wide)
        update = weight.detach().to(wide) - was
        size, moved = (torch.linalg.vector_norm(tensor).square() for tensor in (was, update))
        if gradient is None:
            predicted = torch.zeros_like(size)
        else:
            dense = gradient.to_dense() if gradient.is_sparse else gradient
            predicted = update.mul_(dense.to(wide)).sum()
        sums.append(torch.stack([predicted, moved, size]))
    # One transfer, and sums in double precision, which not every device has.
    predicted, moved, size = torch.stack([row.to(sums[0].device) for row in sums]).cpu().double().sum(0).tolist()
    return predicted, math.sqrt(moved), math.sqrt(size)
