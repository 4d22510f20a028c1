"""To evaluate a model in the midst of its training and leave no trace: for `raftmon.torch.probe`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parallel.scatter_gather import scatter_kwargs

__all__ = ["Randomness", "undisturbed"]


class Randomness:
    """The state of torch's random numbers on the CPU and on some devices, as it is now."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self.devices = frozenset(device for device in devices if device.type not in ("cpu", "meta"))
        self._cpu = torch.get_rng_state()
        self._others = [(device, _of(device).get_rng_state(*_index(device))) for device in self.devices]

    def restore(self) -> None:
        """Make the next random numbers those that came next when this was made."""
        torch.set_rng_state(self._cpu)
        for device, state in self._others:
            _of(device).set_rng_state(state, *_index(device))


@contextmanager
def undisturbed(model: nn.Module, randomness: Randomness) -> Iterator[None]:
    """Evaluate `model` without dropout and without a trace: modes, buffers and random numbers are as before afterwards.

    All modules are in evaluation mode, but for three kinds that stay as they are. Batch and instance norms keep to the
    statistics of the batch, as the loss that is trained does; their running ones are put back. Recurrent layers, whose
    backward pass cuDNN has in training mode alone, have their dropout set to 0. Modules that are told to recompute
    (``gradient_checkpointing``) go on with that, since memory may not suffice otherwise. Whatever is random all the
    same starts from `randomness` and is thus the same in each evaluation that is given the same one.

    `DistributedDataParallel` is stepped around: its module is called without it, so that no rank waits for another.

    Args:
        model: may contain `DistributedDataParallel`, or be one.
        randomness: random numbers to begin with.
    """
    with ExitStack() as afterwards:
        afterwards.callback(Randomness(randomness.devices).restore)
        for module in model.modules():
            _keep_buffers(module, afterwards)
            if isinstance(module, DistributedDataParallel):
                _set(module, "forward", _bare(module), afterwards)
            if isinstance(module, nn.RNNBase):
                _set(module, "dropout", 0.0, afterwards)
            elif module.training and not (
                isinstance(module, _NormBase) or getattr(module, "gradient_checkpointing", False)
            ):
                _set(module, "training", False, afterwards)
        randomness.restore()
        yield


def _keep_buffers(module: nn.Module, afterwards: ExitStack) -> None:
    """Put the module's own buffers back afterwards, also those that were exchanged for another tensor."""

    def put_back(name: str, buffer: Tensor, value: Tensor) -> None:
        # Batch norms write past autograd's count of changes, which therefore tells nothing and stays as it is.
        buffer.data.copy_(value)
        module._buffers[name] = buffer

    for name, buffer in module._buffers.items():
        if buffer is not None:
            afterwards.callback(put_back, name, buffer, buffer.detach().clone())


def _set(module: nn.Module, name: str, value: object, afterwards: ExitStack) -> None:
    """Set an attribute, not by a method such as `eval` that may do more, and put it back afterwards."""
    if name == "forward" and name not in vars(module):
        afterwards.callback(delattr, module, name)
    else:
        afterwards.callback(setattr, module, name, getattr(module, name))
    setattr(module, name, value)


def _bare(wrapper: DistributedDataParallel) -> Callable[..., Any]:
    """Return the wrapper's forward pass without what it does for the other ranks."""

    def forward(*inputs: Any, **named: Any) -> Any:
        if wrapper.device_ids:
            (inputs,), (named,) = scatter_kwargs(inputs, named, wrapper.device_ids)
        return wrapper.module(*inputs, **named)

    return forward


def _of(device: torch.device) -> Any:
    return getattr(torch, device.type)


def _index(device: torch.device) -> tuple[torch.device, ...]:
    """Return what `get_rng_state` of the device's kind wants to know; Apple's has one state."""
    return () if device.type == "mps" else (device,)
