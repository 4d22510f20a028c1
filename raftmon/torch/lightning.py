"""The callback for the Trainer of Lightning.

::

    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import TensorBoardLogger
    from raftmon.torch import RaftmonLightningCallback

    for cycle in range(1, 7):
        raftmon = RaftmonLightningCallback("models/raft", "raft.yaml", heldout=sample_held_out_prompts)
        logger = TensorBoardLogger("models/raft", name=f"cycle_{cycle}", version="")
        Trainer(logger=logger, callbacks=[raftmon, LearningRateMonitor()]).fit(module)

The rate is asked for when the training begins, once optimisers and schedules are made: they are scaled, and the event
file says which rate the run was given, whatever stands in the module's hyper-parameters. A run that goes on from a
checkpoint keeps its schedule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raftmon.errors import MissingExtra, UsageError

try:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import TensorBoardLogger
except ModuleNotFoundError as error:
    what = f"RaftmonLightningCallback needs {str(error.name).partition('.')[0]}, which is not installed"
    raise MissingExtra("raftmon.torch", what, 'pip install "raftmon[torch]" lightning') from error

from raftmon.torch.advised import Advised
from raftmon.torch.answers import LOG
from raftmon.torch.rates import peak_of, set_rate

__all__ = ["RaftmonLightningCallback"]


class RaftmonLightningCallback(Advised, Callback):
    """Follows raftmon's advice from within a Trainer of Lightning, and tells raftmon what it cannot see from outside.

    The Trainer needs a `TensorBoardLogger` that writes into a directory of the cycle, `models/raft/cycle_3` or below.
    Beside that it takes what `Advised` does: campaign and config, and by name what else there is to choose
    (``authority``, ``heldout``, ``stop_on``, ...). At ``authority="stable"``, the default, the rules about campaigns,
    and probes, move nothing; ``"test"`` lets them act.

    ``stop_on="critical"`` ends a run whose loss diverges or is no number; ``"high"`` also one whose gradient is none.
    Lightning trains on to its `min_steps` and `min_epochs`.
    """

    _judged_at = -1
    """Step at which the run was judged last."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Find the cycle, before anything is prepared or lost.

        Raises:
            UsageError: the Trainer writes no event file, or not where a cycle of the campaign lies.
        """
        if stage != "fit":
            return
        logger = _logger_of(trainer)
        remedy = f'Give the Trainer logger=TensorBoardLogger("{self._cycle.logdir}", name="cycle_3", version="").'
        if logger is None:
            raise UsageError(str(self._cycle.logdir), "the Trainer has no TensorBoardLogger", remedy)
        directory = Path(logger.log_dir)
        if self._cycle.name_of(directory) is None:
            raise UsageError(str(directory), f"is no cycle below {self._cycle.logdir}", remedy)
        self._cycle.enter(directory, again=False)
        self._trained = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Give optimisers and schedules the rate of this cycle, and write what raftmon reads."""
        schedulers = {id(config.scheduler.optimizer): config.scheduler for config in trainer.lr_scheduler_configs}
        pairs = [(optimizer, schedulers.get(id(optimizer))) for optimizer in trainer.optimizers]
        peaks = [peak_of(optimizer, scheduler) for optimizer, scheduler in pairs]
        rate = self._cycle.ask(peaks[0] if peaks else None)
        is_set = rate is not None and bool(pairs) and trainer.global_step == 0
        if rate is not None and not is_set:
            LOG.info("Cycle %s goes on from step %d at the rate it has.", self.cycle, trainer.global_step)
        for (optimizer, scheduler), peak in zip(pairs, peaks, strict=True):
            if rate is not None and is_set:
                set_rate(optimizer, scheduler, rate * peak / peaks[0] if peaks[0] > 0.0 else rate)
        logger = _logger_of(trainer)
        if trainer.is_global_zero and logger is not None:
            self.writer = logger.experiment
            if rate is not None and is_set:
                self._cycle.tell_rate(self.writer, rate)
            self._cycle.mark(self.writer, trainer.global_step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Judge the run by what has been written: the logger writes a step once this is over."""
        step = trainer.global_step
        if step == self._judged_at or step % trainer.log_every_n_steps:
            return
        self._judged_at = step
        run = self._cycle.directory if trainer.is_global_zero else None
        if self._cycle.is_to_stop(run):
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure the held-out rate of the module that leaves the cycle."""
        if self.writer is not None:
            self._cycle.hold_out(pl_module, self.writer, trainer.global_step)
        self.writer, self._judged_at, self._trained = None, -1, True
        self._cycle.leave()


def _logger_of(trainer: Any) -> Any:
    return next((logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
