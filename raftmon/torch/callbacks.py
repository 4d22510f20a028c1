"""The callback for the Trainer of transformers (and TRL, and whatever else takes its callbacks).

::

    from raftmon.torch import RaftmonCallback

    for cycle in range(1, 7):
        raftmon = RaftmonCallback("models/raft", "raft.yaml", cycle, heldout=sample_held_out_prompts)
        raftmon.write_verified(samples)
        advice = raftmon.ask()
        if advice is not None and advice.stop:
            break
        if advice is not None and advice.roll_back_to is not None:
            model = load(f"models/raft/cycle_{advice.roll_back_to}_final")
        Trainer(model, args, train_dataset=accepted, callbacks=[raftmon]).train()

When it takes effect: the rate is asked for as the Trainer is made, before its optimiser is (so that `args`, the log and
the schedule all have it), and again as each training begins, where optimiser and schedule are scaled if they were made
with another one. `Trainer.train` keeps its optimiser for a second training, and with it the rate of the first.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from raftmon.errors import MissingExtra

try:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import TrainerCallback
    from transformers.integrations import TensorBoardCallback
except ModuleNotFoundError as error:
    what = f"RaftmonCallback needs {str(error.name).partition('.')[0]}, which is not installed"
    raise MissingExtra("raftmon.torch", what, 'pip install "raftmon[torch]" transformers accelerate') from error

from raftmon.torch.advised import Advised
from raftmon.torch.answers import LOG
from raftmon.torch.cycle import Cycle
from raftmon.torch.rates import peak_of, set_rate

__all__ = ["RaftmonCallback"]

SUFFIX = ".raftmon"
"""How the name of an event file ends that lies beside the Trainer's own."""


class RaftmonCallback(Advised, TrainerCallback):
    """Follows raftmon's advice from within a Trainer, and tells raftmon what it cannot see from outside.

    It takes what `Advised` does: campaign and config, and by name what else there is to choose (``authority``,
    ``heldout``, ``stop_on``, ...). Each further `Trainer.train` is the next cycle. At ``authority="stable"``, the
    default, the rules about campaigns, and probes, move nothing; ``"test"`` lets them act.

    ``stop_on="critical"`` ends a run whose loss diverges or is no number; ``"high"`` also one whose gradient is none,
    which is all that shows while the Trainer filters such losses out of its log (`logging_nan_inf_filter`).
    """

    _own: Any = None
    """What writes the Trainer's log, where it does not do so itself in this cycle's directory."""
    _run: Path | None = None
    """Directory of the event file that is judged (first process only)."""

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for the rate before an optimiser is made with another one."""
        self._cycle.enter(Path(args.output_dir), self._trained)
        self._trained = False
        rate = self._cycle.ask(args.learning_rate)
        if rate is not None:
            args.learning_rate = rate

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Give optimiser and schedule the rate of this cycle, and open the event file."""
        self._cycle.enter(Path(args.output_dir), self._trained)
        self._trained = False
        logged = args.learning_rate
        rate = self._cycle.ask(logged)
        if rate is not None and state.global_step:
            LOG.info("Cycle %s goes on from step %d at the rate in its checkpoint.", self.cycle, state.global_step)
            args.learning_rate = peak_of(optimizer, lr_scheduler)
        elif rate is not None:
            set_rate(optimizer, lr_scheduler, rate)
            args.learning_rate = rate
        if state.is_world_process_zero:
            self._open(args, state, control, **kwargs)
            if not math.isclose(args.learning_rate, logged) and self._own is None:
                self.writer.add_text("args", args.to_json_string())  # the Trainer has written what it was before
            self._cycle.mark(self.writer, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        """Judge the run by what has just been written."""
        if self._own is not None:
            self._own.on_log(args, state, control, logs=logs, **kwargs)
        if self._cycle.is_to_stop(self._run):
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure the held-out rate of the model that leaves the cycle."""
        if self.writer is not None:
            self._cycle.hold_out(model, self.writer, state.global_step)
            self.writer.close()
        self.writer = self._own = self._run = None
        self._cycle.leave()
        self._trained = True

    def _open(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write beside the Trainer's own event file; where that is not in this cycle, log what the Trainer does."""
        if self.writer is not None:
            self.writer.close()  # of a training that was broken off
        self.writer = self._own = self._run = None
        directory = _trainers_own(args, self._cycle)
        if directory is not None:
            self.writer = SummaryWriter(str(directory), filename_suffix=SUFFIX)
            self._run = directory
            return
        self._run = self._cycle.directory / "logs"
        if "tensorboard" in args.report_to:
            LOG.warning(
                "The Trainer's own event file does not lie in cycle %s, so that the callback writes one in %s. With"
                ' report_to="none" that is the only one.',
                self.cycle,
                self._run,
            )
        self.writer = SummaryWriter(str(self._run))
        self._own = TensorBoardCallback(self.writer)
        self._own.on_train_begin(args, state, control, **kwargs)


def _trainers_own(args: Any, cycle: Cycle) -> Path | None:
    """Return the directory of the event file that the Trainer has just opened for this cycle; None: there is none."""
    if "tensorboard" not in args.report_to:
        return None
    places = {cycle.directory}
    places |= {Path(place) for place in (getattr(args, "logging_dir", None), _from_environment()) if place}
    pattern = re.compile(rf".*tfevents\..*\.{os.getpid()}\.([0-9]+)")
    found: list[tuple[int, Path]] = []
    for place in places:
        for file in place.rglob(f"*tfevents*.{os.getpid()}.*"):
            name, match = cycle.name_of(file.parent), pattern.fullmatch(file.name)
            if match is not None and name is not None and name.cycle == cycle.number:
                found.append((int(match[1]), file.parent))
    # TensorBoard's writer counts the files of a process.
    return max(found)[1] if found else None


def _from_environment() -> str | None:
    return os.environ.get("TENSORBOARD_LOGGING_DIR")
