"""Where probes write: a SummaryWriter, or any function of values and a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

import torch.distributed

from raftmon.errors import UsageError

__all__ = ["ScalarWriter", "Writer", "require_writer", "write"]


@runtime_checkable
class ScalarWriter(Protocol):
    """What `torch.utils.tensorboard.SummaryWriter`, tensorboardX and their like have in common."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, /) -> object:
        """Write one value."""


Writer: TypeAlias = ScalarWriter | Callable[[Mapping[str, float], int], object]
"""A SummaryWriter, or a function that is given tags with their values, and the step."""


def require_writer(call: str, writer: object) -> None:
    """Look at an argument that must be a writer, or None.

    Raises:
        UsageError: it is something else, such as the directory that a writer would write into.
    """
    if writer is None or (not isinstance(writer, type) and (isinstance(writer, ScalarWriter) or callable(writer))):
        return
    remedy = "Give a SummaryWriter (torch.utils.tensorboard), a function of (values by tag, step), or None."
    raise UsageError(f"{call}(writer)", f"writer is {writer!r}", remedy)


def write(writer: Writer | None, values: Mapping[str, float], step: int) -> None:
    """Write values at a step; without a writer, and on any rank of a distributed training but the first, do nothing."""
    if writer is None or not values:
        return
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_rank() != 0:
        return
    if isinstance(writer, ScalarWriter):
        for tag, value in values.items():
            writer.add_scalar(tag, value, step)
    else:
        writer(values, step)
