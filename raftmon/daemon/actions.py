"""What people ask for when a rule begins to fire: `--on-finding RULE:CMD`. Off unless asked for.

An action runs when a finding *begins* to fire. A finding that fired before the daemon was started and stands in its
journal does not begin again; one that nobody watched begins when it is first seen, unless its run is over (`late`), so
that with a new journal an action may run at the start for a run that is live. It does begin again when a graver finding
that explained it has ended, or when its run was begun anew; the cooldown bounds both.

What comes out of event files (names, paths, texts) is given to the program on its standard input and in its
environment, never in its words.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import queue
import shlex
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from raftmon.daemon.commands import Runner, words_of
from raftmon.daemon.pace import TokenBucket
from raftmon.daemon.wording import encode, finding_document
from raftmon.errors import UsageError
from raftmon.happenings import Happening
from raftmon.model import Problem, Snapshot
from raftmon.plain import plain
from raftmon.slotted import dataclass

__all__ = ["SCHEMA", "Actions", "OnFinding", "read_action"]

SCHEMA: Final = "raftmon/action@1"
_AT_ONCE: Final = 4
"""Programs that run at the same time."""
_MAX_WAITING: Final = 50
_COMMAND_LENGTH: Final = 200
_MAX_COOLING: Final = 50_000


@dataclass(frozen=True, slots=True)
class OnFinding:
    """What is to be run when a rule begins to fire."""

    rule: str
    """Id of the rule, or a pattern such as ``loss-*``."""
    words: tuple[str, ...]
    """The program and its arguments."""

    @property
    def command(self) -> str:
        """The command as it may be shown."""
        text = plain(shlex.join(self.words))
        return text if len(text) <= _COMMAND_LENGTH else f"{text[: _COMMAND_LENGTH - 1]}…"


def read_action(value: str, rules: Collection[str], where: str = "--on-finding") -> OnFinding:
    """Return the action that a value ``RULE:CMD`` asks for.

    Args:
        value: a rule's id or a pattern, a colon, and a command in words as for a shell.
        rules: ids of all rules.
        where: the option or the place in the settings, for errors.

    Raises:
        UsageError: no rule has such a name, or there is no such program.
    """
    rule, colon, command = value.partition(":")
    rule = rule.strip()
    if not colon or not rule:
        raise UsageError(where, "is not RULE:CMD", "For example 'loss-diverges:/usr/local/bin/stop-job'.")
    if not any(fnmatch.fnmatchcase(known, rule) for known in rules):
        near = difflib.get_close_matches(rule, rules, n=3)
        meant = f"Did you mean {' or '.join(f'`{name}`' for name in near)}? " if near else ""
        raise UsageError(where, f"there is no rule `{plain(rule)}`", f"{meant}`raftmon rules list` names them.")
    return OnFinding(rule, words_of(command, f"{where} {plain(rule)}"))


class Actions:
    """Runs what people asked for. A sink of the daemon.

    Args:
        actions: of those that match a finding's rule each is run.
        note: is given a line for the journal each time (a `Happening` of kind ``action`` whose state is ``dry-run``,
            ``started``, ``done``, ``failed``, ``timed-out`` or ``skipped``), from any thread; must not raise or block.
        is_muted: tells whether a finding is muted; asked on the daemon's thread, must not raise or block.
        dry_run: whether to say only what would be run.
        cooldown: seconds in which the same action is not run again for the same run and rule.
        most: actions within `most_seconds`, of all runs; those beyond are skipped.
        most_seconds: see `most`.
        seconds: time limit of one program.
        secrets: environment variables that no program is given.
        environment: what they are given; None: this process's.
        clock: seconds that never go back.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        actions: Sequence[OnFinding],
        note: Callable[[Happening], None],
        *,
        is_muted: Callable[[Happening], bool] = lambda _: False,
        dry_run: bool = False,
        cooldown: float = 3600.0,
        most: int = 10,
        most_seconds: float = 60.0,
        seconds: float = 300.0,
        secrets: Collection[str] = (),
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._actions = tuple(actions)
        self._note = note
        self._is_muted = is_muted
        self._dry_run = dry_run
        self._cooldown = cooldown
        self._limit = TokenBucket(most, most_seconds / most)
        self._seconds = seconds
        self._clock = clock
        self._now = now
        self._runner = Runner(secrets=secrets, environment=environment)
        self._ran: dict[tuple[str, str, int], float] = {}
        self._waiting: queue.Queue[tuple[OnFinding, Happening] | None] = queue.Queue(_MAX_WAITING)
        self._threads: list[threading.Thread] = []
        self._trouble: dict[OnFinding, str] = {}
        self._skipped_at: float | None = None
        self._closing = False

    def take(self, _snapshot: Snapshot | None, news: Sequence[Happening]) -> None:
        """Ask for what is to be run for findings that begin to fire."""
        skipped: list[Happening] = []
        for happening in news:
            if not _begins(happening) or self._closing or self._is_muted(happening):
                continue
            for number, action in enumerate(self._actions):
                if fnmatch.fnmatchcase(happening.subject, action.rule):
                    self._ask(number, action, happening, skipped)
        if skipped:
            self._skipped_at = self._clock()
            first = f"too many at once: {skipped[0].text}"
            text = first if len(skipped) == 1 else f"{first}, and {len(skipped) - 1} further actions"
            self._note(dataclasses.replace(skipped[0], text=text))

    def is_asked_for(self, happening: Happening) -> bool:
        """Tell whether something is to be run when such a finding begins to fire."""
        return any(fnmatch.fnmatchcase(happening.subject, action.rule) for action in self._actions)

    def problems(self) -> Sequence[Problem]:
        """Return which actions failed the last time, and whether some were skipped in the last hour."""
        found = [
            Problem(f"--on-finding {action.rule}", f"`{action.words[0]}` failed: {trouble}", "Run it by hand.")
            for action, trouble in list(self._trouble.items())
        ]
        if self._skipped_at is not None and self._clock() - self._skipped_at < 3600:
            remedy = "`raftmon history --kind action` names the first of them; ten a minute are run."
            found.append(Problem("--on-finding", "more actions were asked for than are run at once", remedy))
        return tuple(found)

    def close(self, seconds: float) -> None:
        """Let what runs finish within so many seconds, then end it; what waits is not run."""
        until = time.monotonic() + seconds
        self._closing = True
        self._runner.end_within(seconds)
        while True:
            try:
                asked = self._waiting.get_nowait()
            except queue.Empty:
                break
            if asked is not None:
                self._say(asked[1], "skipped", f"{asked[0].command}: the daemon ended")
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _ask(self, number: int, action: OnFinding, happening: Happening, skipped: list[Happening]) -> None:
        key, now = (happening.path, happening.subject, number), self._clock()
        last = self._ran.get(key)
        if last is not None and now - last < self._cooldown:
            left = self._cooldown - (now - last)
            self._say(happening, "skipped", f"{action.command}: it ran before, and may again in {left:.0f} s")
            return
        if not self._limit.spend(now):
            skipped.append(self._line(happening, "skipped", action.command))
            return
        self._cool(key, now)
        if self._dry_run:
            self._say(happening, "dry-run", f"would run {action.command}")
            return
        try:
            self._waiting.put_nowait((action, happening))
        except queue.Full:
            skipped.append(self._line(happening, "skipped", action.command))
            return
        if len(self._threads) < _AT_ONCE:
            thread = threading.Thread(target=self._work, name="on-finding", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _cool(self, key: tuple[str, str, int], now: float) -> None:
        if len(self._ran) >= _MAX_COOLING:
            self._ran = {known: at for known, at in self._ran.items() if now - at < self._cooldown}
        self._ran[key] = now

    def _work(self) -> None:
        while (asked := self._waiting.get()) is not None:
            action, happening = asked
            try:
                self._run(action, happening)
            except Exception as error:  # one action's trouble is not the next one's
                self._trouble[action] = f"failed with {type(error).__name__}"
                self._say(happening, "failed", f"{action.command}: {self._trouble[action]}")

    def _run(self, action: OnFinding, happening: Happening) -> None:
        self._say(happening, "started", action.command)
        message = {"schema": SCHEMA, "finding": finding_document(happening)}
        outcome = self._runner.run(action.words, encode(message), seconds=self._seconds, values=_values(happening))
        if outcome.ok:
            self._trouble.pop(action, None)
        else:
            self._trouble[action] = outcome.text
        self._say(happening, outcome.ending, f"{action.command}: {outcome.text}")

    def _say(self, happening: Happening, state: str, text: str) -> None:
        self._note(self._line(happening, state, text))

    def _line(self, happening: Happening, state: str, text: str) -> Happening:
        """Return a line of the journal on an action."""
        return dataclasses.replace(happening, at=self._now(), kind="action", state=state, text=text, readings={})


def _begins(happening: Happening) -> bool:
    return happening.kind == "finding" and happening.state == "firing" and not happening.late


def _values(happening: Happening) -> dict[str, str]:
    return {
        "RAFTMON_RUN": happening.name,
        "RAFTMON_RULE": happening.subject,
        "RAFTMON_PATH": happening.path,
        "RAFTMON_SEVERITY": happening.severity or "",
        "RAFTMON_STEP": "" if happening.step is None else str(happening.step),
    }
