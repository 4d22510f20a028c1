"""How long to warm up, and what another batch means for the learning rate. Needs no torch.

The numbers are those that ``raftmon lint`` and ``raftmon pre-cycle`` go by (`raftmon.signals.config`,
`raftmon.advice.interactions`), so that a loop that asks here is not blamed there. What a claim is worth is said with
it: its id in ``rules/claims.yaml``, the verdict on it, and its grade (A replicated, B one strong source, C practice,
D hypothesis, X wrong or nothing behind it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from raftmon.advice.interactions import interactions
from raftmon.errors import UsageError
from raftmon.run_config import RunConfig
from raftmon.signals.config import USUAL_BETA2, WARMUP_SHARE, warmup_advised
from raftmon.torch.checks import number, one_of, whole

__all__ = ["BatchScale", "WarmUp", "batch_scale", "warmup_length"]

_CNN_SHARE: Final = 0.05
"""Share of the steps that claim 2-17 gives convolutional networks."""
_VIT: Final = (
    "not applied: 15 to 20 steps per sample in the batch (claim 2-18: meaningless, grade X; the units make no steps)",
    "not applied: 10 to 50 times the warm-up of a CNN (claim 2-41: unverifiable, grade X)",
)
_ARCHITECTURES: Final[Mapping[str, tuple[str, ...]]] = {
    "transformer": ("transformer: no less than the 10 % (claim 2-17: unsupported, grade D)",),
    "cnn": ("cnn: 5 % instead of 10 % (claim 2-17: unsupported, grade D; no source tells the two apart)",),
    "vit": _VIT,
    "rnn": (
        "rnn: a lower peak is asked for, no other warm-up (claim 2-19: plausible, grade C; a GRU did not need it)",
    ),
    "gnn": ("gnn: restarts are asked for, no other warm-up (claim 2-20: unsupported, grade D)",),
}
_FIXED: Final = "not applied: 5000 to 10000 steps whatever the run (claim 2-14: contradicted, grade X)"


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A length of warm-up, and how it came about."""

    steps: int
    """Optimiser steps below the peak; 0: the run is too short for one."""
    because: tuple[str, ...]
    """The arithmetic in words, line by line, each with its claim, verdict and grade."""


@dataclass(frozen=True, slots=True)
class BatchScale:
    """What a change of the batch means for the learning rate."""

    factor: float
    """Multiply the learning rate by it."""
    because: str
    """The law and its cap in words."""
    claims: tuple[str, ...]
    """Ids in ``rules/claims.yaml``; empty where nothing changed."""
    grade: str
    """A replicated, B one strong source, C practice, D hypothesis."""


def warmup_length(
    total_steps: int,
    optimizer: object = "adamw",
    *,
    beta2: float | None = None,
    architecture: str | None = None,
) -> WarmUp:
    """Return how long to warm up: the smaller of 10 % of the steps and 2/(1 − beta2), rounded down.

    The 10 % are claim 2-10 (plausible, grade C), the 2/(1 − beta2) Ma and Yarats 2021, who show it for Adam (2000
    steps at 0.999, 40 at 0.95; it takes the place of claim 2-07, unsupported, grade D). A run of 16 steps gets 1, one
    of fewer than 10 none. Lengths by architecture have next to nothing behind them (claims 2-17, 2-18, 2-41): only
    the CNN's 5 % changes the number, and is called unsupported; the others are named and not applied.

    Args:
        total_steps: optimiser steps of the run: batches / accumulation, over all epochs.
        optimizer: its name in lower case, or a torch optimiser, whose beta2 is then read; what is not of Adam's family
            gets the 10 % alone.
        beta2: decay of Adam's second moment; None: the optimiser's, or 0.999.
        architecture: ``transformer``, ``cnn``, ``vit``, ``rnn``, ``gnn``, or None.

    Raises:
        UsageError: an argument that cannot be meant.
    """
    call = "warmup_length"
    total = whole(call, "total_steps", total_steps, 1)
    name, own = _optimizer(call, optimizer)
    decay = own if beta2 is None else number(call, "beta2", beta2, "[0,1)")
    if architecture is not None:
        one_of(call, "architecture", architecture, tuple(_ARCHITECTURES))
    share = _CNN_SHARE if architecture == "cnn" else WARMUP_SHARE
    advised = warmup_advised(RunConfig(max_steps=total, optimizer=name, beta2=decay))
    # Never None, as the steps are known. Rounded first: 2/(1 - 0.95) is 39.99999999999996.
    longest = min(share * total, math.inf if advised is None else advised)
    steps = math.floor(round(longest, 6))
    because = [f"10 % of {total} steps: {WARMUP_SHARE * total:.4g} (claim 2-10: plausible, grade C)"]
    if _of_adams_family(name):
        known = USUAL_BETA2 if decay is None else decay
        ma_yarats = "Ma and Yarats 2021; instead of claim 2-07: unsupported, grade D"
        because.append(f"2/(1 − beta2) at {known:g}: {2.0 / (1.0 - known):.4g} ({ma_yarats})")
    else:
        because.append(f"2/(1 − beta2) is for Adam's family and not applied to {name}")
    because += _ARCHITECTURES[architecture] if architecture is not None else ()
    return WarmUp(steps, (*because, _FIXED, f"the smaller, rounded down: {steps}"))


def batch_scale(old_batch: int, new_batch: int, optimizer: object) -> BatchScale:
    """Return the factor for another batch: the square root of the ratio for Adam, the ratio for SGD, at most 2-fold.

    The square root is claims 2-11, 2-31 and 2-39 (grade B; Malladi et al. 2022 derive it for Adam and RMSprop), the
    ratio itself Goyal et al. 2017. Both overrate large batches: in the study of 531 small trainings the best rate
    grew with the power 0.31 (Adam) and 0.43 (SGD), above the noise scale not at all. Hence the cap, both ways.

    Args:
        old_batch: samples per optimiser step that the learning rate was found with: × accumulation × devices.
        new_batch: samples per optimiser step to come, counted alike.
        optimizer: ``adam``, ``adamw``, ``rmsprop``, ``sgd``, or a torch optimiser of one of these classes.

    Raises:
        UsageError: an argument that cannot be meant, or an optimiser for which no scaling is established.
    """
    call = "batch_scale"
    old, new = whole(call, "old_batch", old_batch, 1), whole(call, "new_batch", new_batch, 1)
    name, _ = _optimizer(call, optimizer)
    # Asked for a doubling first: whether a law is established must not depend on the numbers.
    for before, after in ((1, 2), (old, new)):
        found = interactions(*(RunConfig(optimizer=name, global_batch_size=size) for size in (before, after))).found
        if found and found[0].factor is None:
            remedy = "Give one of adam, adamw, rmsprop, sgd, or find the learning rate anew at the new batch."
            raise UsageError(f"{call}(optimizer)", f"no scaling is established for {name}", remedy)
    if not found:
        return BatchScale(1.0, "the same batch", (), "A")
    return BatchScale(found[0].factor or 1.0, found[0].text, found[0].claims, found[0].grade)


def _optimizer(call: str, optimizer: Any) -> tuple[str, float | None]:
    """Return an optimiser's name in lower case, and its beta2 where it has one."""
    if isinstance(optimizer, str):
        if not optimizer:
            raise UsageError(f"{call}(optimizer)", "optimizer is empty", "Give its name, such as adamw or sgd.")
        return optimizer.lower(), None
    own = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    groups = getattr(own, "param_groups", None)
    if not groups:
        what = f"optimizer is {optimizer!r}"
        raise UsageError(f"{call}(optimizer)", what, "Give a torch optimiser, or its name, such as adamw or sgd.")
    name = type(own).__name__.lower()
    betas = [group["betas"][1] for group in groups if _of_adams_family(name) and len(group.get("betas", ())) == 2]
    return name, max(map(float, betas), default=None)


def _of_adams_family(name: str) -> bool:
    """Tell whether 2/(1 − beta2) is asked of it: the same names as those of `warmup_advised`."""
    long = RunConfig(max_steps=10**9, optimizer=name, beta2=0.0)
    return warmup_advised(long) == 2.0
