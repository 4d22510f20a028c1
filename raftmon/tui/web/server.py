"""The server: a page, the files that it needs, and a WebSocket for each tab; its address cannot be guessed."""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
import signal
import socket
import string
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web
from textual_serve.server import Server

from raftmon.listen import is_secret, refusal
from raftmon.plain import plain
from raftmon.tui.web.tab import MOST_CELLS, Tab

__all__ = ["WebServer", "diagnostics", "serve"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OWN: Final = Path(__file__).parent
WITHOUT_SECRET: Final = "There is nothing here. Open the whole address that `raftmon watch --web` printed.\n"
POLICY: Final = (
    # Nothing from elsewhere is loaded, not even if a script asks for it; xterm.js makes its own style sheets.
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HEARTBEAT: Final = 15.0
"""Seconds between two signs of life on a WebSocket; without an answer the tab's app ends."""
STOP_SECONDS: Final = 1.0
"""How long requests that are being answered may take when the server ends."""


class WebServer(Server):
    """Serves a Textual app to browsers: one process a tab.

    From textual-serve come the terminal of the page (xterm.js, the fonts), what is said over the WebSocket, and the
    downloads.

    Args:
        command: program and arguments of the app.
        title: of the page.
        host: what it listens on, without brackets.
        secret: the first part of every path but those of files that are no secret.
        loopback: whether it listens on the loopback interface alone.
    """

    def __init__(self, command: Sequence[str], *, title: str, host: str, secret: str, loopback: bool) -> None:
        super().__init__("", host=host, title=title)
        self._arguments = tuple(command)
        self._secret = secret
        self._loopback = loopback
        self._tabs: dict[Tab, web.WebSocketResponse] = {}

    def application(self) -> web.Application:
        """Return what answers the requests."""
        app = web.Application(middlewares=[self._gate])
        app.add_routes(
            [
                web.get("/{secret}/", self._page),
                web.get("/{secret}/ws", self.handle_websocket),
                # The script of the page asks for downloads at the root; their keys are secrets themselves.
                web.get("/download/{key}", self.handle_download),
                web.static("/own", OWN / "static"),
                web.static("/static", self.statics_path),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self.on_shutdown)
        return app

    async def on_shutdown(self, app: web.Application) -> None:  # noqa: ARG002 - aiohttp's
        """End the apps of all tabs, and tell the browsers."""
        await asyncio.gather(*(tab.stop() for tab in self._tabs))
        await asyncio.gather(*(websocket.close() for websocket in self._tabs.values()))

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run the app as long as the tab is there."""
        self._require_secret(request)
        websocket = web.WebSocketResponse(heartbeat=HEARTBEAT)
        await websocket.prepare(request)
        tab = Tab(self._arguments, websocket, self.download_manager)
        self._tabs[tab] = websocket
        try:
            if await _is_started(tab, request):
                await self._process_messages(websocket, tab)
            else:
                await websocket.close(code=1011)
        except ConnectionError:
            pass  # the browser has gone while it was answered
        except (AssertionError, LookupError, TypeError, ValueError):
            await websocket.close(code=1002, message=b"not a message of the page")
        finally:
            await tab.stop()
            del self._tabs[tab]
        return websocket

    async def _page(self, request: web.Request) -> web.Response:
        self._require_secret(request)
        page = string.Template((OWN / "page.html").read_text(encoding="utf-8"))
        text = page.substitute(title=html.escape(self.title))
        # By its name, because not every browser takes a WebSocket for a part of 'self'.
        policy = f"{POLICY}; connect-src 'self' ws://{request.host} wss://{request.host}"
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": policy}
        return web.Response(text=text, content_type="text/html", headers=headers)

    def _require_secret(self, request: web.Request) -> None:
        if not is_secret(request.match_info["secret"], self._secret):
            raise web.HTTPNotFound

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn away what other pages ask for, and say what is missing where nothing is."""
        headers = request.headers
        reason = refusal(headers.get("Host"), headers.get("Origin"), self.host, self._loopback)
        if reason is not None:
            raise web.HTTPForbidden(text=f"{reason}\n")
        try:
            return await handler(request)
        except web.HTTPNotFound as error:
            error.text = WITHOUT_SECRET
            raise


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001 - aiohttp's
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def diagnostics() -> logging.Logger:
    """Return what takes down the server's own troubles: a line each on standard error, without a traceback."""

    class OneLine(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            text = f"{record.getMessage()}: {error}" if error else record.getMessage()
            print(f"raftmon: {plain(' '.join(text.split()))}", file=sys.stderr)

    log = logging.Logger("raftmon.web")
    log.addHandler(OneLine())
    return log


async def serve(server: WebServer, listener: socket.socket, tell: Callable[[], None]) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; then end all tabs.

    Args:
        server: what is served.
        listener: the socket that it listens on.
        tell: is called when it does.
    """
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    runner = web.AppRunner(server.application(), access_log=None, logger=diagnostics(), shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        # Nobody may be reading what is told.
        with contextlib.suppress(BrokenPipeError):
            tell()
        await over.wait()
    finally:
        await runner.cleanup()


async def _is_started(tab: Tab, request: web.Request) -> bool:
    try:
        await tab.start(_cells(request, "width", 80), _cells(request, "height", 24))
    except OSError as error:
        print(f"raftmon: the app of a tab does not start: {error.strerror}", file=sys.stderr)
        return False
    return True


def _cells(request: web.Request, name: str, usual: int) -> int:
    text = request.query.get(name, "")
    return min(max(int(text), 1), MOST_CELLS) if text.isascii() and text.isdigit() and len(text) < 9 else usual
