"""What the callbacks of all trainers offer to the loop around the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raftmon.errors import UsageError
from raftmon.model import Finding
from raftmon.override import Override
from raftmon.torch.cycle import Cycle
from raftmon.torch.verdicts import Rates

__all__ = ["Advised"]


class Advised:
    """A callback that follows raftmon's advice, as the loop around it sees it."""

    _cycle: Cycle
    _trained: bool = False
    """Whether a cycle was trained with this callback and the next one has not begun."""
    writer: Any = None
    """The open `SummaryWriter` while a training lasts (first process only), for probes; else None."""

    @property
    def override(self) -> Override | None:
        """All of the newest advice; None: nothing was asked yet, or raftmon had none."""
        return self._cycle.override

    @property
    def cycle(self) -> int | None:
        """Number of the cycle that is, or was last, trained or asked for; None: not known yet."""
        return self._cycle.number

    @property
    def stopped(self) -> Finding | None:
        """Why this run was stopped; None: it was not."""
        return self._cycle.stopped

    def ask(self, default: float | None = None) -> Override | None:
        """Ask for the advice on the coming cycle: where to begin is needed before there is a Trainer.

        Args:
            default: rate to train at when raftmon has none.

        Returns:
            The advice (`learning_rate`, `roll_back_to`, `stop`, `text`); None: without a config or without advice.

        Raises:
            UsageError: the number of the cycle is not known, or no rate from anywhere.
        """
        if self._cycle.number is None:
            raise UsageError("cycle", "not known before a Trainer is made", "Give cycle= to the callback.")
        self._cycle.number += self._trained
        self._trained = False
        self._cycle.ask(default)
        return self._cycle.override

    def write_verified(self, samples: Iterable[Mapping[str, Any]], cycle: int | None = None) -> Rates:
        """Write ``cycle_N_verified.jsonl``: a cycle's own samples, judged, before anything is asked for that cycle.

        Args:
            samples: each with ``success``, and ``prompt`` and ``completion`` where known.
            cycle: its number; None: that of the present one.

        Raises:
            UsageError: a sample has no verdict, or the number is not known yet.
        """
        return self._cycle.note("verified", samples, cycle)

    def write_heldout(self, samples: Iterable[Mapping[str, Any]], cycle: int | None = None) -> Rates:
        """Write ``cycle_N_heldout.jsonl``: prompts that are never trained on, with the model that leaves a cycle.

        Args:
            samples: each with ``success``, and ``prompt`` and ``completion`` where known.
            cycle: its number, 0 for the base model; None: that of the present one.

        Raises:
            UsageError: a sample has no verdict, or the number is not known yet.
        """
        return self._cycle.note("heldout", samples, cycle)
