"""One cycle after the other, seen from within the training: what the callbacks of all trainers have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from raftmon.advice.settings import Settings, read_settings
from raftmon.errors import RaftmonError, UsageError
from raftmon.grounds import STATUSES, Status
from raftmon.hook import MOST_CYCLES
from raftmon.journal import Journal
from raftmon.model import SEVERITIES, Finding, Severity
from raftmon.monitor import Monitor
from raftmon.override import Override
from raftmon.remote.address import Address, as_logdir
from raftmon.runs.cycles import CycleName, cycle_of
from raftmon.torch.answers import LOG, Question, answer, require_places
from raftmon.torch.checks import function, number, one_of, whole
from raftmon.torch.rates import decided_by_the_first
from raftmon.torch.verdicts import Kind, Rates, write_verdicts

__all__ = ["Cycle", "HeldOut"]

HeldOut: TypeAlias = Callable[[Any], "Iterable[Mapping[str, Any]] | float"]
"""Given the model, samples its held-out prompts: returns the judged samples, or the rate (0..1) alone."""
_TAGS: Final[Mapping[Kind, str]] = {
    "verified": "raftmon/verification_rate",
    "heldout": "raftmon/heldout_rate",
}
CYCLE_TAG: Final = "raftmon/cycle"
ADVICE_TAG: Final = "raftmon/next_cycle"


class Cycle:
    """The cycle that is being trained: its number, its rate, its files, its health.

    Args:
        call: the callback that is made, for errors.
        logdir: directory of the campaign.
        config: the trainer's config; None: no rate is asked for.
        cycle: number of the one that is trained first; None: told by its directory (`cycle_3`).
        authority: least status of a rule that may move the number.
        settings: the user's, or their file.
        key: dotted key of the learning rate in the config.
        journal: where numbers are noted; None: the user's own.
        heldout: samples the held-out prompts; None: nothing does.
        stop_on: least severity of a finding that ends a run; None: nothing does.

    Raises:
        UsageError: an argument cannot be meant.
        DocumentErrors: the settings have defects.
    """

    def __init__(
        self,
        call: str,
        logdir: Path | str,
        config: Path | str | None,
        cycle: int | None,
        authority: Status,
        settings: Settings | Path | str | None,
        key: str | None,
        journal: Journal | Path | str | None,
        heldout: HeldOut | None,
        stop_on: Severity | None,
    ) -> None:
        require_places(call, logdir, config if config is not None else ".", settings, key, journal)
        if cycle is not None:
            cycle = whole(call, "cycle", cycle, 1, MOST_CYCLES)
        if heldout is not None:
            function(call, "heldout", heldout)
        if stop_on is not None:
            one_of(call, "stop_on", stop_on, SEVERITIES)
        one_of(call, "authority", authority, STATUSES)
        place = as_logdir(logdir) if isinstance(logdir, str) else logdir
        if isinstance(place, Address):
            raise UsageError(str(logdir), "a callback writes into the campaign's directory", "Give a local one.")
        if config is not None and not Path(config).is_file():
            raise UsageError(str(config), "no such file", "Give the trainer's config, or config=None for no advice.")
        self.logdir = place
        self.number = cycle
        self.directory = self.logdir
        """Where the event files of the cycle lie, at some depth."""
        self.override: Override | None = None
        self.stopped: Finding | None = None
        self._config, self._authority, self._key, self._journal = config, authority, key, journal
        known = settings if isinstance(settings, Settings) else read_settings(Path(settings) if settings else None)
        self._settings = known
        self._call, self._heldout, self._stop_on = call, heldout, stop_on
        self._said: set[tuple[int | None, str]] = set()
        self._monitor: Monitor | None = None
        self._entered: Path | None = None
        self._waiting: dict[int, dict[str, float]] = {}

    def name_of(self, directory: Path) -> CycleName | None:
        """Tell which cycle a directory is, or lies in; None: none of this campaign's."""
        try:
            below = directory.resolve().relative_to(self.logdir.resolve())
        except ValueError:
            return None
        return cycle_of(below.as_posix())

    def enter(self, directory: Path, again: bool) -> None:
        """Find the number of the cycle that is about to be trained.

        Args:
            directory: where the trainer writes.
            again: whether a cycle was trained before this one.
        """
        name, last = self.name_of(directory), self.number
        if name is not None and name.directory != ".":
            what = f"{directory} is a cycle of the campaign {name.directory} below"
            raise UsageError(str(self.logdir), what, "Give the directory in which the cycles lie.")
        if name is not None and self._entered is None and last not in (None, name.cycle):
            what = f"cycle {last} was given, and {directory} is cycle {name.cycle}"
            raise UsageError(str(self.logdir), what, "Leave out cycle=, or give the number of the directory.")
        # A trainer that trains once more in the same directory trains the next cycle.
        if name is not None and directory != self._entered:
            self.number = name.cycle
        elif last is not None:
            self.number = last + again
        else:
            what = f"which cycle is trained in {directory} is not known"
            raise UsageError(str(self.logdir), what, "Give cycle=, or call the directory cycle_3, in the campaign's.")
        self._entered = directory
        is_named = name is not None and name.cycle == self.number
        self.directory = directory if is_named else self.logdir / f"cycle_{self.number}"
        self.stopped = None

    def ask(self, default: float | None) -> float | None:
        """Return the rate to train the cycle at, the same in all processes; None: no config was given.

        Args:
            default: the trainer's own.
        """
        config = self._config
        if config is None:
            return None
        assert self.number is not None
        usable = default if default is not None and 0.0 < default < math.inf else None
        rest = (self._authority, self._settings, self._key, self._journal)
        question = Question(self.logdir, config, self.number, usable, *rest)
        rate, self.override = decided_by_the_first(lambda: answer(question, self._say))
        return rate

    def _say(self, level: int, message: str, about: str) -> None:
        """Log a message once for each cycle, however often a trainer makes the callback ask for it."""
        if (self.number, about) not in self._said:
            self._said.add((self.number, about))
            LOG.log(level, message)

    def mark(self, writer: Any, step: int) -> None:
        """Write into the event file which cycle begins, and what was advised for it."""
        writer.add_scalar(CYCLE_TAG, self.number, step)
        if self.override is not None:
            steps = "".join(f"\n- {step.text}" for step in self.override.because)
            writer.add_text(ADVICE_TAG, f"{self.override.text}\n{steps}", step)
        for tag, value in self._waiting.pop(self.number or 0, {}).items():
            writer.add_scalar(tag, value, step)
        writer.flush()

    def tell_rate(self, writer: Any, rate: float) -> None:
        """Write into the event file the rate that the run was given, in words that count more than the log's curve."""
        writer.add_text("args", json.dumps({"learning_rate": rate}))

    def note(self, kind: Kind, samples: Iterable[Mapping[str, Any]], cycle: int | None = None) -> Rates:
        """Write judged samples beside the campaign's runs; their rate goes into the next run's event file.

        Raises:
            UsageError: the samples have no verdicts, or the cycle is not known.
        """
        if cycle is not None:
            number = whole(f"{self._call}.write_{kind}", "cycle", cycle, 0 if kind == "heldout" else 1, MOST_CYCLES)
        elif self.number is not None:
            number = self.number
        else:
            raise UsageError("cycle", "not known before a training has begun", "Give its number.")
        rates = write_verdicts(self.logdir, number, kind, samples)
        self._waiting.setdefault(number, {}).update(_tags(kind, rates))
        return rates

    def hold_out(self, model: Any, writer: Any, step: int) -> None:
        """Sample the held-out prompts with the trained model, and write what came of it.

        What the samples are worth is worth less than the model, which is not saved yet: any fault is only said.
        """
        if self._heldout is None:
            return
        try:
            assert self.number is not None
            found = self._heldout(model)
            if _is_number(found):
                tags = {_TAGS["heldout"]: number("heldout", "rate", found, "[0,1]")}
            else:
                tags = _tags("heldout", write_verdicts(self.logdir, self.number, "heldout", _samples(found)))
            for tag, value in tags.items():
                writer.add_scalar(tag, value, step)
            writer.flush()
        except Exception as error:
            why = str(error) if isinstance(error, RaftmonError | OSError) else f"{type(error).__name__}: {error}"
            LOG.error("The held-out rate of cycle %s is lost: %s", self.number, why)
            LOG.debug("Where it failed:", exc_info=error)

    def is_to_stop(self, run: Path | None) -> bool:
        """Tell whether a finding as grave as `stop_on` fires in the run, the same in all processes.

        Args:
            run: directory of the run's event files; None: in all processes but the first.
        """
        if self._stop_on is None or self.stopped is not None:
            return False
        self.stopped = decided_by_the_first(lambda: self._gravest(run))
        if self.stopped is not None and run is not None:
            LOG.warning("Cycle %s is stopped: %s. %s", self.number, self.stopped.title, self.stopped.text)
        return self.stopped is not None

    def leave(self) -> None:
        """Forget the run of the cycle that was trained."""
        if self._monitor is not None:
            self._monitor.close()
        self._monitor = None

    def _gravest(self, run: Path | None) -> Finding | None:
        """Return the gravest finding that may end the run; a fault of raftmon's ends none."""
        least = self._stop_on
        if run is None or least is None:
            return None
        try:
            if self._monitor is None:
                self._monitor = Monitor([run], settings=self._settings)
            runs = self._monitor.poll().runs
        except Exception as error:
            LOG.error("raftmon failed (%s: %s); this run is not judged any more.", type(error).__name__, error)
            self._stop_on = None
            return None
        grave = [
            finding
            for view in runs
            for finding in view.firing
            # Who asks is at work.
            if not finding.tells_standstill and SEVERITIES.index(finding.severity) >= SEVERITIES.index(least)
        ]
        return max(grave, key=lambda finding: SEVERITIES.index(finding.severity), default=None)


def _tags(kind: Kind, rates: Rates) -> dict[str, float]:
    found = {_TAGS[kind]: rates.rate}
    if kind == "verified" and rates.unique_fraction is not None:
        found["raftmon/unique_fraction"] = rates.unique_fraction
    return found


def _is_number(found: object) -> bool:
    """Tell whether it is one number: also numpy's, and a tensor without dimensions."""
    return isinstance(found, int | float) or getattr(found, "ndim", None) == 0


def _samples(found: Any) -> Iterable[Mapping[str, Any]]:
    if found is None or isinstance(found, str | Mapping) or not isinstance(found, Iterable):
        what = f"a {type(found).__name__} was returned"
        raise UsageError("heldout", what, "Return the judged samples, or their rate from 0 to 1.")
    return found
