"""Which sinks a daemon has, by its command line and its settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raftmon.advice.settings import Settings
from raftmon.daemon.health import Health
from raftmon.daemon.logs import Log, LogFormat, fields_of
from raftmon.daemon.recorder import Recorder
from raftmon.daemon.secret import names_in_environment
from raftmon.daemon.sink import Sink
from raftmon.happenings import Happening
from raftmon.model import Problem, Severity, Snapshot
from raftmon.remote.address import Logdir
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.daemon.actions import Actions, OnFinding
    from raftmon.daemon.grouping import Group
    from raftmon.daemon.listening import Server
    from raftmon.daemon.metrics import Metrics
    from raftmon.daemon.notify import Notifier, NotifyExec
    from raftmon.daemon.targets import Target

__all__ = ["TOLD", "Crew", "Options"]

TOLD = "told"
"""State of a line of the journal that says that a target was told something."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for; the settings file adds what is not given here."""

    logdirs: Sequence[Logdir]
    settings: Path | None
    rules: Path
    """Directory of the rule set."""
    journal: Path | None
    """None: the user's own."""
    log_format: LogFormat = "text"
    listen: str | None = None
    """Where metrics are served, `HOST:PORT`."""
    token: str | None = None
    """Where the token is kept that the server asks for, `env:NAME` or `file:PATH`; None: it asks for none."""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    notify: Sequence[str] = ()
    """Where people are told: `env:NAME`, `file:PATH` or a URL."""
    notify_exec: str | None = None
    notify_from: Severity = "medium"
    """Findings below this severity are not told."""
    on_finding: Sequence[str] = ()
    """`RULE:CMD`."""
    dry_run: bool = False
    """Whether commands of `on_finding` are said and not run."""
    cooldown: float = 3600.0
    """Seconds in which the same command is not run again for the same finding of the same run."""


class _Served:
    """The sink that is asked: metrics, and the server that answers with them."""

    def __init__(self, metrics: Metrics, server: Server, problems: Sequence[Problem]) -> None:
        self._metrics = metrics
        self._server = server
        self._lasting = problems

    def take(self, snapshot: Snapshot, news: Sequence[Happening]) -> None:
        self._metrics.take(snapshot, news)

    def problems(self) -> Sequence[Problem]:
        return *self._lasting, *self._server.problems()

    def close(self, seconds: float) -> None:
        self._server.close(seconds)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What settings and command line ask for, every value read: what is made of it cannot fail."""

    targets: Sequence[Target]
    problems: Sequence[Problem]
    command: tuple[str, ...]
    """Of `--notify-exec`; empty: none."""
    actions: Sequence[OnFinding]
    secrets: frozenset[str]
    """Environment variables that no command is given."""


class Crew:
    """Makes the sinks, and makes them anew when the settings have changed.

    Args:
        options: of the command line.
        recorder: writes the journal; it stays the same.
        log: takes what is said of commands.
        health: tells how the daemon is.
    """

    def __init__(self, options: Options, recorder: Recorder, log: Log, health: Callable[[], Health]) -> None:
        self._options = options
        self._recorder = recorder
        self._log = log
        self._health = health
        self._served: tuple[str, _Served] | None = None
        self._notifier: Notifier | None = None
        self._executed: tuple[object, NotifyExec] | None = None
        self._acting: tuple[object, Actions] | None = None
        self._sinks: Sequence[Sink] = ()

    def sinks(self, settings: Settings) -> Sequence[Sink]:
        """Return the sinks that settings ask for, in the order in which they are to be closed.

        What stays the same keeps what it knows: what waits to be told, what ran a while ago.

        Raises:
            RaftmonError: a value that cannot be meant, a secret that is not there, an extra that is not installed; the
                sinks of before are as they were.
        """
        asked = self._read(settings)
        served = self._serving(settings)
        self._sinks = (*self._telling(asked), *self._doing(asked), *served, self._recorder)
        return self._sinks

    def resume(self, standing: Sequence[Happening], told: Mapping[str, float], now: float) -> None:
        """Tell what an earlier process noted and did not deliver; see `raftmon.daemon.notify`."""
        for sink in (self._notifier, self._executed[1] if self._executed is not None else None):
            if sink is not None:
                sink.resume(standing, told, now)
        firing = [one for one in standing if one.kind == "finding" and one.state == "firing" and not one.late]
        passed = [one for one in firing if self._acting is not None and self._acting[1].is_asked_for(one)]
        if passed:
            names = ", ".join(sorted({f"{one.subject} of {one.name}" for one in passed})[:5])
            text = f"{len(passed)} findings fired before the start, and no command is run for them: {names}"
            self._log.warning("action", text, findings=len(passed))

    def _read(self, settings: Settings) -> _Asked:
        options = self._options
        targets: dict[str, Target] = {}
        problems: list[Problem] = []
        if options.notify or settings.notify:
            from raftmon.daemon.targets import read_targets

            for some in (read_targets(options.notify), read_targets(settings.notify, settings=options.settings)):
                problems += some.problems
                for target in some.targets:
                    targets.setdefault(target.fingerprint, target)
        words: tuple[str, ...] = ()
        if options.notify_exec is not None:
            from raftmon.daemon.commands import words_of

            words = words_of(options.notify_exec, "--notify-exec")
        token = (options.token,) if options.token is not None else ()
        secrets = names_in_environment((*options.notify, *settings.notify, *token))
        return _Asked(tuple(targets.values()), problems, words, self._read_actions(settings), secrets)

    def _read_actions(self, settings: Settings) -> list[OnFinding]:
        options = self._options
        if not options.on_finding and not settings.on_finding:
            return []
        from raftmon.advice.rulebook import load_rules
        from raftmon.daemon.actions import read_action

        ids = [rule.id for rule in load_rules(options.rules, settings.rules, tested=False)]
        where = f"{options.settings}: on_finding"
        return [
            *(read_action(value, ids) for value in options.on_finding),
            *(read_action(f"{rule}:{command}", ids, where) for rule, command in settings.on_finding.items()),
        ]

    def _telling(self, asked: _Asked) -> list[Sink]:
        found: list[Sink] = []
        least = self._options.notify_from
        if asked.targets:
            from raftmon.daemon.notify import Notifier

            self._notifier = Notifier(
                asked.targets,
                at_least=least,
                is_muted=self._is_muted,
                problems=asked.problems,
                told=self._told,
                before=self._notifier,
            )
            found.append(self._notifier)
        else:
            self._notifier = None
        if asked.command:
            from raftmon.daemon.notify import NotifyExec

            known = asked.command, asked.secrets
            if self._executed is None or self._executed[0] != known:
                made = NotifyExec(
                    asked.command, secrets=asked.secrets, at_least=least, is_muted=self._is_muted, told=self._told
                )
                self._executed = known, made
            found.append(self._executed[1])
        return found

    def _doing(self, asked: _Asked) -> list[Sink]:
        if not asked.actions:
            self._acting = None
            return []
        known = tuple(asked.actions), asked.secrets
        if self._acting is None or self._acting[0] != known:
            from raftmon.daemon.actions import Actions

            made = Actions(
                asked.actions,
                self._note,
                is_muted=self._is_muted,
                dry_run=self._options.dry_run,
                cooldown=self._options.cooldown,
                secrets=asked.secrets,
            )
            self._acting = known, made
        return [self._acting[1]]

    def _serving(self, settings: Settings) -> list[Sink]:
        at = self._options.listen or settings.listen
        if at is None:
            return [] if self._served is None else [self._served[1]]
        if self._served is None:
            self._served = at, self._serve(at)
        elif self._served[0] != at:
            self._log.warning("listen", f"still serving on {self._served[0]}: {at} needs a new start")
        return [self._served[1]]

    def _serve(self, at: str) -> _Served:
        from raftmon.daemon.listening import Server
        from raftmon.daemon.locks import USUAL, Locks, in_the_clear
        from raftmon.daemon.metrics import Metrics
        from raftmon.daemon.secret import exposed_secret, read_secret
        from raftmon.listen import Listen

        options = self._options
        token = read_secret(options.token, "--listen-token") if options.token is not None else None
        locks = Locks(token, options.certificate, options.key, options.client_ca)
        listen = Listen.of(at, USUAL)
        if (warning := in_the_clear(listen, locks)) is not None:
            self._log.warning("listen", warning)
        metrics = Metrics(self._health, self._troubles)
        server = Server(
            listen,
            locks,
            metrics,
            self._health,
            tell=lambda url: self._log.info("listen", f"metrics are served on {url}", url=url),
        )
        exposed = exposed_secret(options.token, "--listen-token") if options.token is not None else None
        return _Served(metrics, server, () if exposed is None else (exposed,))

    def _troubles(self) -> dict[str, int]:
        """Return how many problems each part has, by its name."""
        names = {"_Served": "listen", "Recorder": "journal", "Actions": "actions"}
        found = dict.fromkeys(("journal", "listen", "notify", "actions"), 0)
        for sink in self._sinks:
            found[names.get(type(sink).__name__, "notify")] += len(sink.problems())
        return found

    def _is_muted(self, happening: Happening) -> bool:
        return self._recorder.muted(happening.path, happening.subject, happening.began)

    def _note(self, happening: Happening) -> None:
        """Note what a command did; called from any thread."""
        self._recorder.note((happening,))
        text = f"{happening.name}: action {happening.subject} {happening.state}: {happening.text}"
        self._log.info("action", text, **fields_of(happening))

    def _told(self, label: str, group: Group) -> None:
        """Note that a target was told something; called from its thread."""
        text = "1 finding" if group.total == 1 else f"{group.total} findings"
        self._recorder.note((Happening(time.time(), "daemon", "", "", label, TOLD, text),))
        self._log.info("told", f"{label}: told {text}")
