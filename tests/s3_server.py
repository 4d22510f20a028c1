"""A real S3 server for tests (moto's), behind a proxy that counts requests and injects faults."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Literal, TypeAlias

KEY, SECRET = "AKIATHISISNOKEY", "thisIsMeantToBeSecret"

Fault: TypeAlias = Literal["drop", "hang", "truncate", "500", "503", "expired"]

_SERVE = """
import logging, sys
logging.disable()
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_ERRORS: dict[str, tuple[int, str]] = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "expired": (403, "ExpiredToken"),
}


@dataclass(frozen=True)
class Request:
    """One request as the proxy saw it."""

    method: str
    path: str
    range: str | None
    sent: int
    """Bytes of the answer's body."""

    @property
    def is_listing(self) -> bool:
        return "list-type=2" in self.path


@dataclass
class Proxy:
    """What stands between a client and the server."""

    upstream: int
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    fault: Callable[[str, str], Fault | None] = lambda *_: None
    """Asked for each request, by its method and path."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end, to let go of what hangs."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, *faults: Fault, only: str = "") -> None:
        """Let the next requests whose path contains `only` fail, one fault each."""
        left = list(faults)
        self.fault = lambda _, path: left.pop(0) if left and only in path else None

    def always(self, fault: Fault | None, only: str = "") -> None:
        """Let every request whose path contains `only` fail."""
        self.fault = lambda _, path: fault if only in path else None

    def count(self) -> tuple[int, int, int]:
        """Return listings, reads and bytes of answers, and begin to count anew."""
        requests, self.requests = self.requests, []
        listings = sum(request.is_listing for request in requests)
        return listings, len(requests) - listings, sum(request.sent for request in requests)


@contextmanager
def moto_server() -> Iterator[int]:
    """Run moto in a process of its own; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def proxy_to(upstream: int) -> Iterator[Proxy]:
    """Run a proxy in threads of this process."""
    proxy = Proxy(upstream)

    class Handler(_Handler):
        owner = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ClassVar[Proxy]

    def do_GET(self) -> None:
        self._pass_on()

    def do_HEAD(self) -> None:
        """Do the same."""
        self._pass_on()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        fault = self.owner.fault(self.command, self.path)
        self.close_connection = True
        if fault == "drop":
            self._note(0)
            return
        if fault == "hang":
            self._note(0)
            self.owner.released.wait(30.0)
            return
        if fault in _ERRORS:
            status, code = _ERRORS[fault]
            text = f"<Error><Code>{code}</Code><Message>for {KEY} at http://me:{SECRET}@host</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], text, len(text))
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.upstream, timeout=30)
        try:
            connection.request(self.command, self.path, None, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        skipped = ("content-length", "connection", "transfer-encoding")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in skipped]
        length = len(data) if self.command != "HEAD" else int(answer.getheader("Content-Length") or 0)
        self._answer(answer.status, headers, data[: len(data) // 2] if fault == "truncate" else data, length)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self._note(len(data))

    def _note(self, sent: int) -> None:
        self.owner.requests.append(Request(self.command, self.path, self.headers.get("Range"), sent))
