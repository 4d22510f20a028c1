"""Real HTTP servers that notifications are sent to, and findings to send."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from raftmon.happenings import Happening

PATIENCE = 30.0
"""Seconds that a test waits for what must happen."""


@dataclass
class Receiver:
    """What a server was sent."""

    answers: list[int] = field(default_factory=list)
    """Status codes of the next answers; then 200."""
    hangs: bool = False
    """Whether it answers only at the end of the test."""
    port: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    tried: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Its address for apprise, with a time limit of 0.2 s."""
        return f"json://127.0.0.1:{self.port}/hook?rto=0.2&cto=0.2"

    def take(self, message: dict[str, Any]) -> int:
        """Note a message and return the status of the answer."""
        with self.changed:
            self.tried += 1
            status = self.answers.pop(0) if self.answers else 200
            if status == 200 and not self.hangs:
                self.messages.append(message)
            self.changed.notify_all()
        if self.hangs:
            self.released.wait(PATIENCE)
        return status

    def until(self, what: Callable[[], bool]) -> None:
        """Wait until something holds that changes with a request."""
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE)


@contextmanager
def receiving(**options: Any) -> Iterator[Receiver]:
    """Run a server on a free port."""
    receiver = Receiver(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            status = receiver.take(json.loads(self.rfile.read(length)))
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:  # whoever asked waits no longer
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def refusing() -> Iterator[int]:
    """Hold a port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def finding(rule: str = "loss-diverges", run: str = "cycle_3/logs", state: str = "firing", **changes: Any) -> Happening:
    """Return what happened to a finding that was said to fire, if it ended; any field can be changed."""
    fields: dict[str, Any] = {
        "fired": state in ("firing", "resolved", "gone"),
        "at": 1_800_000_000.0,
        "kind": "finding",
        "path": f"/data/{run}",
        "name": run,
        "text": "The loss has climbed 4.6 sigma above its lowest point. Lower the learning rate.",
        "severity": "high",
        "step": 120,
        "readings": {"loss.drawup": 4.6},
        "title": "Loss climbs away from its lowest point",
    }
    return Happening(subject=rule, state=state, **{**fields, **changes})
