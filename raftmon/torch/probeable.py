"""What a `raftmon.torch.Probe` can measure, and what it was given by mistake."""

from __future__ import annotations

import inspect
import math
from typing import Any, Final, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from raftmon.errors import RaftmonError, UsageError

__all__ = ["NAME", "limit_of", "require_loss", "require_probeable"]

NAME: Final = "raftmon.torch.Probe"
"""The place that errors name."""


def require_probeable(model: nn.Module, optimizer: Optimizer) -> None:
    """Raise where a step cannot be measured from outside, or one rank does not have all the weights.

    Raises:
        UsageError: these are no model and no optimiser.
        RaftmonError: they cannot be probed.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"{NAME}(model)", f"model is a {type(model).__name__}", "Give the torch.nn.Module in training."
        )
    if not (hasattr(optimizer, "param_groups") and hasattr(optimizer, "step")):
        what = f"optimizer is a {type(optimizer).__name__}"
        raise UsageError(f"{NAME}(optimizer)", what, "Give the torch.optim.Optimizer that is to be stepped.")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        what = f"{type(optimizer).__name__} evaluates the loss itself, several times a step"
        raise RaftmonError(NAME, what, "Probe a run with a first-order optimiser, such as AdamW or SGD.")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    kinds = {base.__name__ for module in model.modules() for base in type(module).__mro__}
    sharded = kinds & {"FullyShardedDataParallel", "FSDPModule", "DeepSpeedEngine"}
    sharded |= {type(weight).__name__ for weight in weights} & {"DTensor", "ShardedTensor", "FlatParameter"}
    if sharded or any(hasattr(weight, "ds_id") for weight in weights):
        what = f"the weights are spread over ranks ({', '.join(sorted(sharded)) or 'DeepSpeed'})"
        raise RaftmonError(NAME, what, "Probe a run with DistributedDataParallel, or on one device.")


def require_loss(loss: object) -> None:
    """Raise where what `loss_of` returned is no loss whose gradient can be taken without changing the training's.

    Raises:
        UsageError: it is no tensor of one number, or no weight has a part in it.
        RaftmonError: the model recomputes activations in the older way, which hides its weights.
    """
    if not (isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad):
        what = f"loss_of() returned a {type(loss).__name__}"
        if isinstance(loss, Tensor):
            what = f"loss_of() returned a tensor of shape {tuple(loss.shape)}, requires_grad={loss.requires_grad}"
        raise UsageError(NAME, what, "Return the mean loss of one micro-batch: a tensor of one number, not detached.")
    if _recomputes_in_the_older_way(loss):
        what, remedy = "the model recomputes activations with use_reentrant=True", "Set it to False"
        raise RaftmonError(NAME, what, f"{remedy} (in trainers: gradient_checkpointing_kwargs).")


def limit_of(max_norm: object) -> float:
    """Return the limit that gradients are clipped to; infinite: none.

    Raises:
        UsageError: it is no number above 0.
    """
    try:
        limit = math.nan if isinstance(max_norm, bool | str) else float(cast("Any", max_norm))
    except (TypeError, ValueError):
        limit = math.nan
    if not limit > 0.0:
        remedy = "Give a number above 0, for example 1.0, or leave it out to measure only."
        raise UsageError(f"{NAME}.clip(max_norm)", f"max_norm is {max_norm!r}", remedy)
    return limit


def _recomputes_in_the_older_way(loss: Tensor) -> bool:
    """Look for nodes whose weights `torch.autograd.grad` does not find: it takes them for unused, without a word."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if "CheckpointFunction" in node.name():
            return True
        seen.add(node)
        waiting += [follower for follower, _ in node.next_functions]
    return False
