"""Telling people, and programs, that a finding fires or has ended: `--notify URL` and `--notify-exec CMD`.

Both are sinks of the daemon. What happens is grouped and limited by `grouping`, and brought to each target by a thread
of its own (`delivery`), so that a target that hangs delays no other, nor the reading. A daemon that is started again
tells nothing twice, because its `Ledger` knows what the journal holds; what began to fire and was not delivered when
it ended is told by the next one (`resume`), which knows from the journal when each target was told something last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from raftmon.daemon.commands import Outcome, Runner
from raftmon.daemon.delivery import STUCK_SECONDS, Delivery, Undelivered
from raftmon.daemon.grouping import Group, Grouping
from raftmon.daemon.pace import Backoff, TokenBucket
from raftmon.daemon.targets import Target
from raftmon.daemon.wording import document, encode, text_of, title_of
from raftmon.happenings import Happening
from raftmon.model import SEVERITIES, Problem, Severity, Snapshot
from raftmon.slotted import dataclass

__all__ = ["Notifier", "NotifyExec", "Pacing"]

_TRY_AGAIN: Final = os.EX_TEMPFAIL
"""Exit status by which a command asks to be run again later."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How often, and for how long, one target is tried. All in seconds but `burst`."""

    window: float = 10.0
    """How long the first finding of a message waits for others."""
    burst: int = 5
    """Messages that may follow one another at once."""
    seconds_each: float = 60.0
    """After those, one each so many seconds."""
    repeat_after: float = 4 * 3600.0
    """The same state of the same finding is not told again before."""
    first_pause: float = 2.0
    """Between a failure and the next try; each further pause is twice as long."""
    longest_pause: float = 300.0
    give_up_after: float = 3600.0
    """What could not be told for so long is not tried again."""
    stuck_after: float = STUCK_SECONDS
    """A target that does not answer for so long is a problem."""


def _nothing_muted(_: Happening) -> bool:
    return False


class _Telling:
    """What both ways of telling have in common."""

    def __init__(
        self,
        at_least: Severity,
        is_muted: Callable[[Happening], bool],
        pacing: Pacing,
        told: Callable[[str, Group], None],
    ) -> None:
        self._told = told
        self._least = SEVERITIES.index(at_least)
        self._is_muted = is_muted
        self._pacing = pacing
        self._deliveries: list[Delivery] = []
        self._problems: tuple[Problem, ...] = ()

    def take(self, _snapshot: Snapshot | None, news: Sequence[Happening]) -> None:
        """Take in what happened; of it only findings that are grave enough are told."""
        told = [(happening, self._is_muted(happening)) for happening in news if self._matters(happening)]
        if told:
            for delivery in self._deliveries:
                delivery.put(told)

    def resume(self, standing: Sequence[Happening], told: Mapping[str, float], now: float) -> None:
        """Tell what an earlier process noted and did not deliver.

        Args:
            standing: what it said last.
            told: label of a target to when something was last delivered there, in seconds since the epoch.
            now: seconds since the epoch.
        """
        oldest = now - self._pacing.give_up_after
        firing = [one for one in standing if one.state == "firing" and not one.late and self._matters(one)]
        for delivery in self._deliveries:
            since = max(oldest, told.get(delivery.label, oldest))
            missed = [(one, self._is_muted(one)) for one in firing if since < one.at <= now]
            if missed:
                delivery.put(missed)

    def problems(self) -> Sequence[Problem]:
        """Return which targets do not work now."""
        return *self._problems, *(problem for delivery in self._deliveries for problem in delivery.problems())

    def close(self, seconds: float) -> None:
        """Tell what waits, as far as it goes in so many seconds; what does not, stays untold."""
        until = time.monotonic() + seconds
        for delivery in self._deliveries:
            delivery.end()
        for delivery in self._deliveries:
            delivery.join(until - time.monotonic())

    def _matters(self, happening: Happening) -> bool:
        if happening.kind != "finding":
            return False
        return SEVERITIES.index(happening.severity or "informational") >= self._least

    def _start(self, label: str, deliver: Callable[[Group], None], remedy: str, clock: Callable[[], float]) -> None:
        pacing = self._pacing
        self._deliveries.append(
            Delivery(
                label,
                deliver,
                Grouping(pacing.window, pacing.repeat_after, pacing.give_up_after),
                rate=TokenBucket(pacing.burst, pacing.seconds_each),
                backoff=Backoff(pacing.first_pause, pacing.longest_pause),
                remedy=remedy,
                clock=clock,
                stuck_after=pacing.stuck_after,
                told=self._told,
            )
        )


class Notifier(_Telling):
    """Sends messages to people.

    Args:
        targets: where to; see `raftmon.daemon.targets.read_targets`.
        at_least: findings below this severity are not told.
        is_muted: tells whether a finding is muted; asked on the daemon's thread, so it must be quick and not raise.
        pacing: how often.
        problems: what is wrong from the start, such as a file that others may read.
        clock: seconds that never go back.
        told: is called with the label of a target and each group that arrived there, in a thread of the target.
        before: what told people until now: of targets that stay, what waits and what was told goes on.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        at_least: Severity = "medium",
        is_muted: Callable[[Happening], bool] = _nothing_muted,
        pacing: Pacing | None = None,
        problems: Sequence[Problem] = (),
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[str, Group], None] = lambda _label, _group: None,
        before: Notifier | None = None,
    ) -> None:
        super().__init__(at_least, is_muted, pacing or Pacing(), told)
        self._problems = tuple(problems)
        self._by_fingerprint: dict[str, Delivery] = {}
        remedy = "It is tried again, ever less often; look at its URL, its token and the network."
        for target in targets:
            kept = before.give_up(target.fingerprint) if before is not None and target.fingerprint else None
            if kept is not None:
                self._deliveries.append(kept)
            else:
                self._start(f"notify {target.label}", partial(_send, target), remedy, clock)
            self._by_fingerprint[target.fingerprint] = self._deliveries[-1]

    def give_up(self, fingerprint: str) -> Delivery | None:
        """Leave a target's delivery to a successor; None: there is none."""
        delivery = self._by_fingerprint.pop(fingerprint, None)
        if delivery is not None:
            self._deliveries.remove(delivery)
        return delivery


class NotifyExec(_Telling):
    """Runs a command with a group of findings as JSON on its standard input (schema ``raftmon/notification@1``).

    One runs at a time. Exit status 75 (``EX_TEMPFAIL``) asks for another try later; any other failure is told as a
    problem and not repeated, as the command may have done half of its work.

    Args:
        words: the program and its arguments; see `raftmon.daemon.commands.words_of`.
        seconds: time limit of one run.
        secrets: environment variables that the command is not given.
        environment: what it is given; None: this process's.
        at_least: findings below this severity are not told.
        is_muted: tells whether a finding is muted; as for `Notifier`.
        pacing: how often.
        clock: seconds that never go back.
        told: as for `Notifier`.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        seconds: float = 60.0,
        secrets: Collection[str] = (),
        environment: Mapping[str, str] | None = None,
        at_least: Severity = "medium",
        is_muted: Callable[[Happening], bool] = _nothing_muted,
        pacing: Pacing | None = None,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[str, Group], None] = lambda _label, _group: None,
    ) -> None:
        super().__init__(at_least, is_muted, pacing or Pacing(stuck_after=seconds + STUCK_SECONDS), told)
        self._words = tuple(words)
        self._seconds = seconds
        self._runner = Runner(secrets=secrets, environment=environment)
        remedy = "Run it by hand with the JSON of the README on its standard input."
        self._start(f"--notify-exec {self._words[0]}", self._run, remedy, clock)

    def close(self, seconds: float) -> None:
        """Let the command that runs finish within so many seconds, then end it."""
        self._runner.end_within(seconds)
        super().close(seconds)

    def _run(self, group: Group) -> None:
        outcome: Outcome = self._runner.run(self._words, encode(document(group)), seconds=self._seconds)
        if not outcome.ok:
            raise Undelivered(outcome.text, again=outcome.status == _TRY_AGAIN)


def _send(target: Target, group: Group) -> None:
    text = text_of(group, target.service.max_text)
    target.service.send(title_of(group), text, group.gravest, fires=group.fires)
