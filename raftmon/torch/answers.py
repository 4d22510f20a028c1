"""What raftmon answers when it is asked for the rate of a cycle, and what is said of that: for `next_learning_rate`.

It imports no torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from raftmon.advice.settings import Settings
from raftmon.errors import DocumentErrors, NothingToRead, RaftmonError, Refused, UsageError
from raftmon.grounds import STATUSES, Status
from raftmon.hook import MOST_CYCLES, pre_cycle
from raftmon.journal import Journal, place_of
from raftmon.override import Override
from raftmon.remote.address import Address, Logdir
from raftmon.torch.checks import number, one_of, path, whole
from raftmon.trainers.config import read_config
from raftmon.trainers.replace import read_whole
from raftmon.trainers.rewrite import rate_text
from raftmon.trainers.tree import MOST_BYTES

__all__ = ["LOG", "Question", "Say", "answer", "require_places"]

LOG: Final = logging.getLogger("raftmon.torch")
"""Without a handler of the program's own, Python prints its warnings to stderr."""
Say: TypeAlias = Callable[[int, str, str], None]
"""Given a level of `logging`, a message, and what it is about: the same where the same is said in other words."""
_LAYOUT: Final = "Cycles are known by directories below it, such as cycle_3."
_HELD_BACK: Final = "--authority "
"""How the text of a step says what would let it act."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, for one cycle; each field as `raftmon.torch.next_learning_rate` takes it."""

    logdir: Logdir | str
    """Directory of the campaign, or its URL."""
    config: Path | str
    """The trainer's config."""
    cycle: int
    """From 1."""
    default: float | None
    """Rate to train at when raftmon has none; None: what the config says."""
    authority: Status
    """Least status of a rule that may move the number, go back or stop."""
    settings: Settings | Path | str | None
    """The user's, or their file; None: raftmon's own."""
    key: str | None
    """Dotted key of the learning rate in the config; None: found."""
    journal: Journal | Path | str | None
    """Where numbers are noted; None: the user's own."""

    def checked(self, call: str) -> Question:
        """Return it with plain numbers.

        Args:
            call: the function that was called, for errors.

        Raises:
            UsageError: an argument cannot be meant.
        """
        require_places(call, self.logdir, self.config, self.settings, self.key, self.journal)
        one_of(call, "authority", self.authority, STATUSES)
        cycle = whole(call, "cycle", self.cycle, 1, MOST_CYCLES)
        default = number(call, "default", self.default, "(0,inf)") if self.default is not None else None
        rest = (self.authority, self.settings, self.key, self.journal)
        return Question(self.logdir, self.config, cycle, default, *rest)


def require_places(call: str, logdir: object, config: object, settings: object, key: object, journal: object) -> None:
    """Look at where campaign, config, settings, learning rate and journal are said to be.

    Raises:
        UsageError: one of them cannot be meant.
    """
    if not isinstance(logdir, Address):
        path(call, "logdir", logdir)
    path(call, "config", config)
    if settings is not None and not isinstance(settings, Settings):
        path(call, "settings", settings)
    if journal is not None and not isinstance(journal, Journal):
        path(call, "journal", journal)
    if key is not None and (not isinstance(key, str) or not key):
        raise UsageError(f"{call}(key)", f"key is {key!r}", "Give a dotted path, for example optimizer.lr, or None.")


def answer(question: Question, say: Say) -> tuple[float, Override | None]:
    """Return the rate to train at, and all of the advice; what people must know is said.

    Args:
        question: checked.
        say: told the reasons (info), what asks for more than a number or is held back (warnings), and faults (errors).

    Returns:
        None instead of advice where raftmon could not be asked, see `next_learning_rate`.

    Raises:
        UsageError: there is no such config, or no rate is known from anywhere.
        DocumentErrors: the settings or rules have defects.
    """
    try:
        override = pre_cycle(
            question.config,
            question.logdir,
            question.cycle,
            settings=question.settings,
            key=question.key,
            authority=question.authority,
            journal=question.journal,
            obeyed=True,
        )
    except (UsageError, DocumentErrors):
        raise
    except Exception as error:
        return _without_advice(question, error, say), None
    rate = override.learning_rate if override.learning_rate is not None else question.default
    if rate is None:
        what = "no learning rate is known to start from"
        raise UsageError(f"{question.config}", what, override.remedy or "Give `default`.")
    _tell(question.logdir, override, rate, say)
    return rate, override


def _tell(logdir: Logdir | str, override: Override, rate: float, say: Say) -> None:
    """Say what the advice is, as loud as it is grave."""
    reasons = "; ".join(step.text for step in override.because)
    number = f"{logdir}: cycle {override.cycle}: learning rate {rate_text(rate)}"
    say(logging.INFO, f"{number} ({reasons})", number)
    if override.stop or override.roll_back_to is not None:
        # Asked again, it speaks of the number that it has told meanwhile.
        about = f"stop {override.stop}, back to {override.roll_back_to}"
        say(logging.WARNING, f"{logdir}: {override.text}", about)
    # Probes and verdicts, which are no rules, say it in the arithmetic.
    held_back = (*override.held_back, *(step for step in override.because if _HELD_BACK in step.text))
    for text in dict.fromkeys(step.text for step in held_back):
        say(logging.WARNING, f"{logdir}: {text.replace(_HELD_BACK, 'authority ')}", text)
    for remark in override.remarks:
        say(logging.INFO, f"{logdir}: {remark}", remark)
    if override.refused is not None:
        goes_on = f"Cycle {override.cycle} goes on at {rate_text(rate)}."
        say(logging.WARNING, f"{logdir}: {override.refused}. {override.remedy or ''} {goes_on}", override.refused)


def _without_advice(question: Question, error: Exception, say: Say) -> float:
    """Return the rate to go on with when raftmon failed, and say why."""
    told, cycle = _told_before(question), question.cycle
    if told is not None:
        rate, source = told, "as it said before"
    elif question.default is not None:
        rate, source = question.default, "the default"
    else:
        rate, source = _configured(question, error), "as the config says"
    goes_on = f"ycle {cycle} goes on at {rate_text(rate)}, {source}."
    if isinstance(error, RaftmonError):
        remedy = _LAYOUT if isinstance(error, NothingToRead) else error.remedy
        say(logging.WARNING, f"{error.where}: {error.what}. {remedy} C{goes_on}", error.what)
    else:
        say(logging.ERROR, f"raftmon failed ({_why(error)}); c{goes_on}", _why(error))
        LOG.debug("Where it failed:", exc_info=error)
    return rate


def _told_before(question: Question) -> float | None:
    """Return what was noted last for a campaign, where that was for this cycle or the one before."""
    journal = question.journal
    try:
        notes = journal if isinstance(journal, Journal) else Journal(Path(journal) if journal is not None else None)
        place = place_of(question.logdir)
        mine = (entry for entry in notes.standing(Path(question.config)) if entry.campaign == place)
        newest = next(mine, None)
    except Exception:  # the journal may be what failed
        return None
    if newest is None or newest.cycle not in (question.cycle - 1, question.cycle):
        return None
    return newest.learning_rate


def _configured(question: Question, error: Exception) -> float:
    """Return the rate that the config gives a cycle by itself."""
    rate, config = None, question.config
    with suppress(Refused):
        rate = read_config(read_whole(Path(config), MOST_BYTES), str(config), question.key).used(question.cycle)
    if rate is None:
        what = f"no learning rate is known: not from the config, nor from raftmon ({_why(error)})"
        raise UsageError(str(config), what, "Give `default`.") from error
    return rate


def _why(error: Exception) -> str:
    if isinstance(error, RaftmonError):
        return f"{error.where}: {error.what}"
    return f"{type(error).__name__}: {error}"
