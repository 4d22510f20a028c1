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

from collections.abc import Callable
from pathlib import Path

from raftmon.advice.settings import Settings
from raftmon.errors import RaftmonError
from raftmon.grounds import Status
from raftmon.journal import Journal
from raftmon.override import Override
from raftmon.remote.address import Logdir
from raftmon.torch.answers import LOG, Question, answer
from raftmon.torch.checks import function

__all__ = ["StopCampaign", "next_learning_rate"]


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

    Asked again for the same cycle, it says the same: a cycle may be begun again. Logged as warnings (logger
    ``raftmon.torch``) are advice to go back to a checkpoint or to stop, what `authority` holds back, and a config that
    cannot be used. When raftmon cannot say (nothing to read yet, a damaged journal, a fault of its own), the reason is
    logged, and what it said last for this cycle or the one before is returned, else `default`, else what the config
    gives: no training ends for that.

    Args:
        logdir: directory with the runs of one campaign, or its URL.
        config: the trainer's config, YAML or JSON; it is read, never written.
        cycle: number of the cycle that comes, from 1.
        default: rate to train at when raftmon has none.
        authority: least status of a rule that may move the number, go back or stop. At ``stable``, the default, only
            rules of that status do. Those about campaigns (a cycle made it worse), and probes (rho, KL), are of status
            ``test`` at most: they move nothing, and what they ask for is logged as a warning. ``test`` lets them act.
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
    call = "next_learning_rate"
    if tell is not None:
        function(call, "tell", tell)
    question = Question(logdir, config, cycle, default, authority, settings, key, journal).checked(call)
    rate, override = answer(question, lambda level, message, _: LOG.log(level, message))
    if override is not None and tell is not None:
        tell(override)
    if override is not None and override.stop and raise_on_stop:
        raise StopCampaign(str(logdir), override)
    return rate
