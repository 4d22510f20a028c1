"""The learning rate of the next cycle as a plain function, for a training loop of one's own. It imports no torch.

::

    from raftmon.torch import next_learning_rate

    rate = next_learning_rate("models/raft", "raft.yaml", cycle)

halo-forge asks its config for each cycle's rate, before it trains that cycle; so this config follows raftmon:

::

    class Followed(RAFTConfig):
        def get_learning_rate_for_cycle(self, cycle):
            own = super().get_learning_rate_for_cycle(cycle)
            return next_learning_rate(self.output_dir, "raft.yaml", cycle, default=own)

    RAFTTrainer(verifier=verifier, config=Followed(**settings)).run(prompts)

Nothing is written into the config: the journal notes what was told, so that the cycle after it goes on from there, with
the trainer's own decay where it has one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from raftmon.advice.settings import Settings
from raftmon.errors import DocumentErrors, NothingToRead, RaftmonError, Refused, UsageError
from raftmon.grounds import Status
from raftmon.hook import pre_cycle
from raftmon.journal import Journal, place_of
from raftmon.override import Override
from raftmon.remote.address import Logdir
from raftmon.trainers.config import read_config
from raftmon.trainers.replace import read_whole
from raftmon.trainers.rewrite import rate_text
from raftmon.trainers.tree import MOST_BYTES

__all__ = ["StopCampaign", "next_learning_rate"]

_LAYOUT: Final = "Cycles are known by directories below it, such as cycle_3."
LOG: Final = logging.getLogger("raftmon.torch")
"""Without a handler of the program's own, Python prints its warnings to stderr."""


class StopCampaign(RaftmonError):
    """The advice is to end the campaign and to ship the best checkpoint.

    Args:
        where: directory of the campaign.
        override: all of the advice.
    """

    def __init__(self, where: str, override: Override) -> None:
        super().__init__(where, override.text, "")
        self.override = override


def next_learning_rate(
    logdir: Logdir | str,
    config: Path | str,
    cycle: int,
    *,
    default: float | None = None,
    authority: Status = "stable",
    tell: Callable[[Override], None] | None = None,
    raise_on_stop: bool = False,
    settings: Settings | Path | str | None = None,
    key: str | None = None,
    journal: Journal | Path | str | None = None,
) -> float:
    """Return the learning rate that a cycle should train at, and have the journal remember it for the cycle after.

    Asked again for the same cycle, it says the same: a cycle may be begun again. Advice to go back to a checkpoint or
    to stop is logged as a warning (logger ``raftmon.torch``) and handed to `tell`. When raftmon cannot say (nothing
    to read yet, a damaged journal, a fault of its own), the reason is logged, and what it said last for this
    cycle or the one before is returned, else `default`, else what the config gives: no training ends for that.

    Args:
        logdir: directory with the runs of one campaign, or its URL.
        config: the trainer's config, YAML or JSON; it is read, never written.
        cycle: number of the cycle that comes, from 1.
        default: rate to train at when raftmon has none.
        authority: least status of a rule that may move the number, go back or stop.
        tell: is given all of the advice, when there is some.
        raise_on_stop: whether advice to stop raises `StopCampaign`; else the rate to go on with is returned.
        settings: the user's, or their file.
        key: dotted key of the learning rate, where the file leaves it open.
        journal: where it is noted; None: the user's own.

    Raises:
        UsageError: an argument cannot be meant, there is no such config, or no rate is known from anywhere.
        DocumentErrors: the settings or rules have defects.
        StopCampaign: the advice is to stop, and `raise_on_stop` is set.
    """
    if default is not None and not 0.0 < default < math.inf:
        raise UsageError(f"default {default}", "no learning rate", "Give a number above 0, for example 5.0e-5.")
    try:
        override = pre_cycle(
            config, logdir, cycle, settings=settings, key=key, authority=authority, journal=journal, obeyed=True
        )
    except (UsageError, DocumentErrors):
        raise
    except Exception as error:
        return _without_advice(logdir, config, cycle, default, key, journal, error)
    if override.learning_rate is None and default is None:
        raise UsageError(f"{config}", "no learning rate is known to start from", override.remedy or "Give `default`.")
    rate = override.learning_rate if override.learning_rate is not None else default
    assert rate is not None
    _log(logdir, override, rate)
    if tell is not None:
        tell(override)
    if override.stop and raise_on_stop:
        raise StopCampaign(str(logdir), override)
    return rate


def _log(logdir: Logdir | str, override: Override, rate: float) -> None:
    """Say what the advice is, as loud as it is grave."""
    number = f"cycle {override.cycle}: learning rate {rate_text(rate)}"
    LOG.info("%s: %s (%s)", logdir, number, "; ".join(step.text for step in override.because))
    if override.stop or override.roll_back_to is not None:
        LOG.warning("%s: %s", logdir, override.text)
    for step in override.held_back:
        LOG.warning("%s: %s", logdir, step.text.replace("--authority ", "authority "))
    for remark in override.remarks:
        LOG.info("%s: %s", logdir, remark)
    if override.refused is not None:
        LOG.warning("%s: not remembered for the next cycle: %s %s", logdir, override.refused, override.remedy or "")


def _without_advice(
    logdir: Logdir | str,
    config: Path | str,
    cycle: int,
    default: float | None,
    key: str | None,
    journal: Journal | Path | str | None,
    error: Exception,
) -> float:
    """Return the rate to go on with when raftmon failed, and say why."""
    told = _told_before(logdir, config, cycle, journal)
    if told is not None:
        rate, source = told, "as it said before"
    elif default is not None:
        rate, source = default, "the default"
    else:
        rate, source = _configured(config, cycle, key, error), "as the config says"
    if isinstance(error, RaftmonError):
        remedy = _LAYOUT if isinstance(error, NothingToRead) else error.remedy
        why = f"{error.where}: {error.what}. {remedy}"
        LOG.warning("%s Cycle %d goes on at %s, %s.", why, cycle, rate_text(rate), source)
    else:
        LOG.error("raftmon failed (%s); cycle %d goes on at %s, %s.", _why(error), cycle, rate_text(rate), source)
        LOG.debug("Where it failed:", exc_info=error)
    return rate


def _told_before(
    logdir: Logdir | str, config: Path | str, cycle: int, journal: Journal | Path | str | None
) -> float | None:
    """Return what was noted last for a campaign, where that was for this cycle or the one before."""
    try:
        notes = journal if isinstance(journal, Journal) else Journal(Path(journal) if journal is not None else None)
        place = place_of(logdir)
        mine = (entry for entry in notes.standing(Path(config)) if entry.campaign == place)
        newest = next(mine, None)
    except Exception:  # the journal may be what failed
        return None
    if newest is None or newest.cycle not in (cycle - 1, cycle):
        return None
    return newest.learning_rate


def _configured(config: Path | str, cycle: int, key: str | None, error: Exception) -> float:
    """Return the rate that the config gives a cycle by itself."""
    rate = None
    with suppress(Refused):
        rate = read_config(read_whole(Path(config), MOST_BYTES), str(config), key).used(cycle)
    if rate is None:
        what = f"no learning rate is known: not from the config, nor from raftmon ({_why(error)})"
        raise UsageError(str(config), what, "Give `default`.") from error
    return rate


def _why(error: Exception) -> str:
    if isinstance(error, RaftmonError):
        return f"{error.where}: {error.what}"
    return f"{type(error).__name__}: {error}"
