"""Which sinks a daemon has, by its command line and its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raftmon.advice.settings import Settings
from raftmon.daemon.health import Health
from raftmon.daemon.logs import Log, LogFormat, fields_of
from raftmon.daemon.recorder import Recorder
from raftmon.daemon.sink import Sink
from raftmon.happenings import Happening
from raftmon.model import Problem, Severity, Snapshot
from raftmon.remote.address import Logdir
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.daemon.actions import Actions
    from raftmon.daemon.listening import Server
    from raftmon.daemon.metrics import Metrics

__all__ = ["Crew", "Options"]


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
        self._actions: tuple[tuple[str, ...], Actions] | None = None
        self._sinks: Sequence[Sink] = ()

    def sinks(self, settings: Settings) -> Sequence[Sink]:
        """Return the sinks that settings ask for, in the order in which they are to be closed.

        Those that tell people are new each time, as what a secret's place holds may have changed; the others stay.

        Raises:
            RaftmonError: a value that cannot be meant, a secret that is not there, an extra that is not installed.
        """
        self._sinks = (
            *self._telling(settings),
            *self._acting(settings),
            *self._serving(settings),
            self._recorder,
        )
        return self._sinks

    def _telling(self, settings: Settings) -> list[Sink]:
        options = self._options
        found: list[Sink] = []
        if options.notify or settings.notify:
            from raftmon.daemon.notify import Notifier
            from raftmon.daemon.targets import read_targets

            asked = [read_targets(options.notify), read_targets(settings.notify, settings=options.settings)]
            targets = {target.label: target for some in asked for target in some.targets}
            problems = [problem for some in asked for problem in some.problems]
            found.append(
                Notifier(
                    tuple(targets.values()), at_least=options.notify_from, is_muted=self._is_muted, problems=problems
                )
            )
        if options.notify_exec is not None:
            from raftmon.daemon.commands import words_of
            from raftmon.daemon.notify import NotifyExec

            words = words_of(options.notify_exec, "--notify-exec")
            secrets = self._secret_names(settings)
            found.append(NotifyExec(words, secrets=secrets, at_least=options.notify_from, is_muted=self._is_muted))
        return found

    def _acting(self, settings: Settings) -> list[Sink]:
        from_settings = tuple(f"{rule}:{command}" for rule, command in settings.on_finding.items())
        asked = (*self._options.on_finding, *from_settings)
        if not asked:
            self._actions = None
            return []
        if self._actions is None or self._actions[0] != asked:
            from raftmon.advice.rulebook import load_rules
            from raftmon.daemon.actions import Actions, read_action

            ids = [rule.id for rule in load_rules(self._options.rules, settings.rules, tested=False)]
            where = f"{self._options.settings}: on_finding"
            actions = [
                *(read_action(value, ids) for value in self._options.on_finding),
                *(read_action(value, ids, where) for value in from_settings),
            ]
            self._actions = (
                asked,
                Actions(
                    actions,
                    self._note,
                    is_muted=self._is_muted,
                    dry_run=self._options.dry_run,
                    cooldown=self._options.cooldown,
                    secrets=self._secret_names(settings),
                ),
            )
        return [self._actions[1]]

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

    def _secret_names(self, settings: Settings) -> frozenset[str]:
        from raftmon.daemon.targets import names_in_environment

        token = (self._options.token,) if self._options.token is not None else ()
        return names_in_environment((*self._options.notify, *settings.notify, *token))

    def _is_muted(self, happening: Happening) -> bool:
        return self._recorder.muted(happening.path, happening.subject, happening.began)

    def _note(self, happening: Happening) -> None:
        """Note what a command did; called from any thread."""
        self._recorder.note((happening,))
        text = f"{happening.name}: action {happening.subject} {happening.state}: {happening.text}"
        self._log.info("action", text, **fields_of(happening))
