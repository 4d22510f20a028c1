"""The daemon's server: metrics and health for whoever may ask, and nothing that changes anything.

Requests are small and answers come from memory, so that one that takes long is a broken or a hostile client: each has
seconds to be asked and answered in, and only so many are served at one time.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from socketserver import BaseRequestHandler, TCPServer
from typing import Any, Final

from raftmon.daemon.answers import Answer, Answers, Pages, plain_answer
from raftmon.daemon.health import Health
from raftmon.daemon.locks import Locks, check_locks, tls_context, why_refused
from raftmon.errors import UsageError
from raftmon.listen import Listen, bound_socket
from raftmon.model import Problem

__all__ = ["Server"]

MOST_REQUESTS: Final = 16
"""Served at one time; one more ends the oldest."""
REQUEST_SECONDS: Final = 10.0
"""For asking and answering; Prometheus waits as long."""
RETRY_SECONDS: Final = 5.0
"""Between two tries to have a port that another process has."""
ROUND_SECONDS: Final = 0.25
"""Between two looks whether a request takes too long or the server is to end."""
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Connection", "close"),
)


class Server:
    """Serves `/metrics`, `/healthz`, `/livez` and `/readyz` from a thread of its own.

    Where the port is taken it tries again until it has it; meanwhile that is a problem.

    Args:
        at: where; port 0: any that is free.
        locks: who may ask.
        metrics: renders the metrics.
        health: tells how the daemon is.
        tell: is called with the address whenever the server begins to listen.
        retry_seconds: between two tries to have the port.
        request_seconds: that a request may take.

    Raises:
        UsageError: the address is none of this machine, or open to others without a lock.
    """

    def __init__(
        self,
        at: Listen,
        locks: Locks,
        metrics: Pages,
        health: Callable[[], Health],
        *,
        tell: Callable[[str], None] = lambda _: None,
        retry_seconds: float = RETRY_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        check_locks(at, locks)
        self._at = at
        self._locks = locks
        self._answers = Answers(metrics, health)
        self._tell = tell
        self._retry_seconds = retry_seconds
        self._request_seconds = request_seconds
        self._tls = tls_context(locks)
        self._where = f"--listen {at.host}:{at.port}"
        self._over = threading.Event()
        self._problem: Problem | None = None
        self._fault: Problem | None = None
        self.url: str | None = None
        """Where it listens; None: it does not yet."""
        first = self._listener()
        self._thread = threading.Thread(target=self._serve, args=(first,), name="raftmon-listen", daemon=True)
        self._thread.start()

    def problems(self) -> Sequence[Problem]:
        """Return what keeps it from being asked."""
        return tuple(problem for problem in (self._problem, self._fault) if problem is not None)

    def close(self, seconds: float) -> None:
        """End, within so many seconds."""
        self._over.set()
        self._thread.join(seconds)

    def _listener(self) -> socket.socket | None:
        """Return a socket that listens; None: its port is taken, which is a problem from then on.

        Raises:
            UsageError: it cannot be had, now or later.
        """
        try:
            listener = bound_socket(self._at)
        except OSError as error:
            self._not_bound(error)
            return None
        try:
            # What a name means is known now: `localhost` may be anything in a file of hosts.
            check_locks(Listen(listener.getsockname()[0], self._at.port), self._locks)
            listener.listen(64)
        except UsageError:
            listener.close()
            raise
        except OSError as error:
            listener.close()
            self._not_bound(error)
            return None
        self._problem = None
        return listener

    def _not_bound(self, error: OSError) -> None:
        """Note that the port is taken; raise what will not pass by itself."""
        reason = error.strerror or str(error)
        if error.errno != errno.EADDRINUSE:
            remedy = "Name an address of this machine."
            if error.errno == errno.EACCES:
                remedy = "Choose a port above 1023, or give the process the right to this one."
            raise UsageError(self._where, reason, remedy)
        remedy = f"It is tried again every {self._retry_seconds:g} s. End what has the port, or choose another one."
        self._problem = Problem(self._where, f"nobody can ask for metrics: {reason}", remedy)

    def _serve(self, listener: socket.socket | None) -> None:
        while not self._over.is_set():
            if listener is not None:
                self._serve_on(listener)
                listener = None
            elif not self._over.wait(self._retry_seconds):
                try:
                    listener = self._listener()
                except UsageError as error:
                    self._problem = Problem(error.where, error.what, error.remedy)

    def _serve_on(self, listener: socket.socket) -> None:
        """Serve until the end, or until the socket is broken, which is a problem until there is another one."""
        name, port = listener.getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}"
        self._tell(self.url)
        server = _Requests(listener, self._answer, self._tls, self._request_seconds)
        try:
            while not self._over.is_set():
                server.handle_request()
        except (OSError, ValueError) as error:
            self._problem = Problem(self._where, f"nobody can ask for metrics: {error}", "It is tried again.")
        finally:
            server.end()

    def _answer(self, command: str, path: str, headers: Any) -> Answer:
        try:
            answer = self._answered(command, path, headers)
        except Exception as error:  # a person is told of a defect, and the other paths are answered
            remedy = "This is a defect of raftmon: report it with this line. Runs are judged all the same."
            self._fault = Problem(self._where, f"no answer to {path.partition('?')[0][:80]!r}: {error!r}", remedy)
            return plain_answer(500, "This cannot be answered; the daemon's log says why.")
        if answer.status == 200 and path.startswith("/metrics"):
            self._fault = None
        return answer

    def _answered(self, command: str, path: str, headers: Any) -> Answer:
        refused = why_refused(self._at, self._locks, headers.get("Authorization"), headers.get("Host"))
        if refused is not None:
            status, reason = refused
            return plain_answer(status, reason, *((("WWW-Authenticate", "Bearer"),) if status == 401 else ()))
        if command not in ("GET", "HEAD"):
            return plain_answer(405, "This is for reading only.", ("Allow", "GET, HEAD"))
        return self._answers.to(path.partition("?")[0], headers)


class _Requests(TCPServer):
    """Serves each connection in a thread, a bounded number of them for a bounded time."""

    timeout = ROUND_SECONDS

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[str, str, Any], Answer],
        tls: ssl.SSLContext | None,
        seconds: float,
    ) -> None:
        self._handler: Callable[[socket.socket, tuple[str, int], TCPServer], object] = _handler(answer)
        super().__init__(listener.getsockname(), BaseRequestHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._tls = tls
        self._seconds = seconds
        self._lock = threading.Lock()
        self._open: dict[int, tuple[float, socket.socket]] = {}
        self._number = 0

    def handle_request(self) -> None:
        """Take one connection in, or wait a little for one; end those that take too long."""
        super().handle_request()
        self._end_older_than(time.monotonic() - self._seconds)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return the next connection."""
        try:
            return self.socket.accept()
        except OSError:
            # Out of file descriptors, say: the connection is still waiting, and would be tried at once again.
            time.sleep(ROUND_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's
        """Begin to serve a connection in a thread of its own."""
        with self._lock:
            crowd = len(self._open)
            oldest = min(self._open.values(), key=lambda entry: entry[0])[1] if crowd >= MOST_REQUESTS else None
            self._number += 1
            number = self._number
            if crowd < 2 * MOST_REQUESTS:
                self._open[number] = time.monotonic(), request
        if oldest is not None:
            _cut(oldest)
        if crowd >= 2 * MOST_REQUESTS:
            self.shutdown_request(request)
            return
        try:
            threading.Thread(target=self._converse, args=(number, request), name="raftmon-request", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            with self._lock:
                del self._open[number]
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a broken connection: whoever broke it knows."""

    def end(self) -> None:
        """Take no more connections, and cut those that there are."""
        self.server_close()
        self._end_older_than(float("inf"))

    def _converse(self, number: int, request: socket.socket) -> None:
        try:
            request.settimeout(self._seconds)
            if self._tls is not None:
                wrapped = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                request = wrapped
                with self._lock:
                    self._open[number] = self._open[number][0], request
                wrapped.do_handshake()
            self._handler(request, ("", 0), self)
        except (OSError, ValueError):
            pass  # the connection is broken, or was cut
        finally:
            with self._lock:
                self._open.pop(number, None)
            self.shutdown_request(request)

    def _end_older_than(self, moment: float) -> None:
        with self._lock:
            late = [request for begun, request in self._open.values() if begun < moment]
        for request in late:
            _cut(request)


def _cut(request: socket.socket) -> None:
    """End a connection that a thread may be waiting on: it is then told that there is no more."""
    with contextlib.suppress(OSError):
        # Not the method of TLS, which another thread is in.
        socket.socket.shutdown(request, socket.SHUT_RDWR)


def _handler(answer: Callable[[str, str, Any], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One request, whatever its method; says nothing of what serves it."""

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            self.close_connection = True
            if not self.raw_requestline or len(self.raw_requestline) > 65536 or not self.parse_request():
                return
            self._send(answer(self.command, self.path, self.headers))

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
            self.command = getattr(self, "command", None) or "GET"
            self._send(plain_answer(code, message or "This request cannot be read."))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: paths and headers are other people's."""

        def _send(self, given: Answer) -> None:
            if self.request_version != "HTTP/0.9":
                self.send_response_only(given.status)
                length = str(len(given.body))
                named = (("Content-Type", given.content_type), ("Content-Length", length), *given.headers, *_HEADERS)
                for name, value in named:
                    self.send_header(name, value)
                self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body)

    return Handler
