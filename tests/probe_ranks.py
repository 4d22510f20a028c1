"""Two processes that train with DistributedDataParallel: ``python -m tests.probe_ranks FILE EVERY0,EVERY1...``.

For each pair they train a new model, on different data, and probe as often as each is told. Then each rank appends to
FILE.RANK the checksums of its weights and of all its state, and how many values it wrote. A probe that waits for the
other rank while that one does not probe ends in an error.
"""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from tests.probe_toys import Everything, Written, train


def run(rank: int, meeting: str, pairs: list[list[int]]) -> None:
    """Train on one rank."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    lines = []
    for every in pairs:
        torch.manual_seed(1)
        model = DistributedDataParallel(Everything(), find_unused_parameters=True)
        written = Written()
        state = train(model, written, every[rank], seed=rank)
        weights = torch.cat([weight.detach().flatten() for weight in model.parameters()])
        sums = [hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in (weights, state)]
        lines.append(" ".join([*sums, str(len(written.points))]))
    Path(f"{meeting}.{rank}").write_text("\n".join(lines))
    distributed.barrier()
    # Without the way out through the interpreter: gloo's threads sometimes end it with an abort.
    os._exit(0)


if __name__ == "__main__":
    multiprocessing.spawn(run, args=(sys.argv[1], [list(map(int, pair.split(","))) for pair in sys.argv[2:]]), nprocs=2)
