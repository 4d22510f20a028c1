"""What the callbacks of all trainers offer to the loop around the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raftmon.advice.settings import Settings
from raftmon.errors import UsageError
from raftmon.grounds import Status
from raftmon.journal import Journal
from raftmon.model import Finding, Severity
from raftmon.override import Override
from raftmon.torch.cycle import Cycle, HeldOut
from raftmon.torch.verdicts import Rates

__all__ = ["Advised"]


class Advised:
    """A callback that follows raftmon's advice, as the loop around it sees it."""

    _trained: bool = False
    """Whether a cycle was trained with this callback and the next one has not begun."""
    writer: Any = None
    """The open `SummaryWriter` while a training lasts (first process only), for probes; else None."""

    def __init__(
        self,
        logdir: Path | str,
        config: Path | str | None = None,
        cycle: int | None = None,
        *,
        authority: Status = "stable",
        heldout: HeldOut | None = None,
        stop_on: Severity | None = None,
        settings: Settings | Path | str | None = None,
        key: str | None = None,
        journal: Journal | Path | str | None = None,
    ) -> None:
        """Look at the arguments and read the settings; nothing is asked for yet.

        Args:
            logdir: directory of the campaign, in which the cycles lie.
            config: the trainer's config, from which the rate begins; None: no rate is asked for, nothing is set.
            cycle: number of the cycle that is trained first, from 1. None: the directory that the Trainer writes into
                says it (`models/raft/cycle_3`), which is too late for `ask` and `write_verified` before there is one.
            authority: least status of a rule that may move the number, go back or stop. At ``stable``, the default,
                only rules of that status do. Those about campaigns (a cycle made it worse), and probes (rho, KL), are
                of status ``test`` at most: they move nothing, and what they ask for is logged as a warning, once for
                each cycle. ``test`` lets them act.
            heldout: given the model when a cycle is trained, samples prompts that are never trained on and returns the
                judged samples (see `write_heldout`), or their rate (0..1) alone, of which no change can be tested. It
                runs in the first process only. A fault of it is logged as an error and ends no training.
            stop_on: least severity of a finding that ends a run, see the class; None: nothing does.
            settings: raftmon's, or their file.
            key: dotted key of the learning rate in the config, where the file leaves it open.
            journal: where numbers are noted; None: the user's own.

        Raises:
            UsageError: an argument cannot be meant.
            DocumentErrors: the settings have defects.
        """
        super().__init__()
        call = type(self).__name__
        self._cycle = Cycle(call, logdir, config, cycle, authority, settings, key, journal, heldout, stop_on)

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
            cycle: its number; None: the present one's, and once that is trained, the next one's: these samples are
                what the model writes that enters a cycle.

        Raises:
            UsageError: a sample has no verdict, or the number is not known yet.
        """
        if cycle is None and self._trained and self._cycle.number is not None:
            cycle = self._cycle.number + 1
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
