"""`raftmon watch --web`: the address, the command of a tab, and what has to be said before anything is served."""

from __future__ import annotations

import errno
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from raftmon.commands.shared import WEB_ADDRESS, names_of, open_monitor
from raftmon.errors import UsageError
from raftmon.listen import Listen, bound_socket, is_loopback
from raftmon.plain import plain
from raftmon.remote.address import Address, Logdir

__all__ = ["serve_watch", "tab_command"]

OURS: Final = frozenset({"web", "listen"})
"""Parameters of `watch` that the app of a tab does not get."""
_LOGDIRS: Final = "logdirs"


def serve_watch(
    context: click.Context,
    logdirs: Sequence[Logdir],
    settings: Path | None,
    config: Path | None,
    listen: str | None,
    writes: bool,
) -> None:
    """Serve what `watch` shows until a signal ends it.

    Args:
        context: of the command, whose other options the app of each tab gets.
        logdirs: directories of runs.
        settings: the user's settings file.
        config: of the trainer.
        listen: where, as `HOST:PORT`; None: the usual address.
        writes: whether the app may write the config.

    Raises:
        RaftmonError: it cannot be served, or the app would not start.
    """
    at = Listen.of(listen or WEB_ADDRESS, WEB_ADDRESS)
    try:
        import textual_serve.server  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UsageError("--web", str(error), "Install the extra: pip install 'raftmon[web]'") from None

    _require_readable(logdirs, settings, config)
    with _listener(at) as listener:
        name, port = listener.getsockname()[:2]
        loopback = is_loopback(name)
        if writes and not loopback:
            remedy = f"Leave --apply out, or listen on {WEB_ADDRESS} and come through `ssh -L`."
            raise UsageError(f"--listen {at.host}", "with --apply, another machine could write your config", remedy)
        if not loopback:
            click.echo(_warning(at.host), err=True)
        _serve(tab_command(context), logdirs, listener, Listen(at.host, port), loopback)


def tab_command(context: click.Context) -> list[str]:
    """Return program and arguments that show in a browser's tab what a command line asked for."""
    arguments: list[str] = []
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if not isinstance(parameter, click.Option) or parameter.name in OURS or value is None:
            continue
        name = parameter.opts[0]
        if not parameter.is_flag:
            arguments.append(f"{name}={value}")
        elif value:
            arguments.append(name)
    logdirs = [one.url if isinstance(one, Address) else str(one) for one in context.params[_LOGDIRS]]
    # -P: a `json.py` in the current directory is none of our modules.
    return [sys.executable, "-P", "-m", "raftmon.cli", str(context.info_name), *arguments, "--", *logdirs]


def _require_readable(logdirs: Sequence[Logdir], settings: Path | None, config: Path | None) -> None:
    """Raise what the app would raise at its start, where a person sees it: defects of settings, rules and URLs."""
    if addresses := [logdir for logdir in logdirs if isinstance(logdir, Address)]:
        from raftmon.remote.keeper import Keeper

        Keeper(addresses).close()
    local = [logdir for logdir in logdirs if not isinstance(logdir, Address)]
    open_monitor(local, settings, watching=False, config=config, usable=False).close()


def _listener(at: Listen) -> socket.socket:
    """Return a socket that is bound to an address; it listens as soon as it is served.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        listener = bound_socket(at)
        listener.listen()
    except OSError as error:
        remedy = f"Choose another port: --listen {at.host}:0 takes any that is free."
        if error.errno == errno.EADDRNOTAVAIL:
            remedy = "Name an address of this machine."
        where = f"--listen {at.host}:{at.port}"
        raise UsageError(where, error.strerror or str(error), remedy) from None
    return listener


def _warning(host: str) -> str:
    return (
        f"raftmon: --listen {plain(host)}: other machines can reach this port, and nothing is encrypted: whoever "
        "gets to know the address sees the runs\n"
        f"  Better: listen on {WEB_ADDRESS} and come through `ssh -L 8765:{WEB_ADDRESS} HOST`."
    )


def _serve(command: list[str], logdirs: Sequence[Logdir], listener: socket.socket, at: Listen, loopback: bool) -> None:
    import asyncio

    from raftmon.tui.web.server import WebServer, serve

    secret = secrets.token_urlsafe(18)
    title = f"raftmon {plain(names_of(logdirs))}"
    server = WebServer(command, title=title, host=at.host, secret=secret, loopback=loopback)
    name = socket.gethostname() if at.host in ("0.0.0.0", "::") else at.host
    url = f"http://{f'[{name}]' if ':' in name else name}:{at.port}/{secret}/"
    asyncio.run(serve(server, listener, lambda: click.echo(f"raftmon is served on {url} (Ctrl+C ends it)")))
