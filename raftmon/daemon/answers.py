"""What the daemon's server answers to a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from raftmon.daemon.health import Health
from raftmon.slotted import dataclass

__all__ = ["Answer", "Answers", "Pages", "plain_answer"]

TEXT: Final = "text/plain; charset=utf-8"
_HOME: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>raftmon</title>
<p>This is <code>raftmon daemon</code>.</p><ul><li><a href="metrics">metrics</a> for Prometheus</li>
<li><a href="healthz">healthz</a>: alive and up to date? <a href="livez">livez</a> and <a href="readyz">readyz</a> tell
one of the two</li></ul></html>
"""


class Page(Protocol):
    """Metrics as they are sent; `raftmon.daemon.metrics.Page` is one."""

    @property
    def content_type(self) -> str:
        """The format."""

    @property
    def body(self) -> bytes:
        """What is sent."""

    @property
    def packed(self) -> bool:
        """Whether `body` is compressed by gzip."""


class Pages(Protocol):
    """Renders metrics; `raftmon.daemon.metrics.Metrics` is one."""

    def page(self, accept: str = "", *, packed: bool = False) -> Page:
        """Return the metrics in a format that is accepted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of HTTP."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    """Others than type and length."""


def plain_answer(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """Return an answer that is a line of text."""
    return Answer(status, TEXT, f"{text}\n".encode(errors="replace"), headers)


class Answers:
    """Knows the paths.

    Args:
        metrics: renders the metrics.
        health: tells how the daemon is.
    """

    def __init__(self, metrics: Pages, health: Callable[[], Health]) -> None:
        self._metrics = metrics
        self._health = health

    def to(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a path without its query.

        Args:
            path: as it was asked for.
            headers: of the request, whose names may be in any case.
        """
        if path == "/metrics":
            return self._of_metrics(headers)
        if path in ("/healthz", "/livez", "/readyz"):
            return self._of_health(path)
        if path == "/":
            policy = ("Content-Security-Policy", "default-src 'none'")
            return Answer(200, "text/html; charset=utf-8", _HOME.encode(), (policy,))
        return plain_answer(404, "There is nothing here. See /metrics and /healthz.")

    def _of_metrics(self, headers: Mapping[str, str]) -> Answer:
        packed = _takes_gzip(headers.get("Accept-Encoding") or "")
        page = self._metrics.page(headers.get("Accept") or "", packed=packed)
        coding = (("Content-Encoding", "gzip"),) if page.packed else ()
        return Answer(200, page.content_type, page.body, (("Vary", "Accept, Accept-Encoding"), *coding))

    def _of_health(self, path: str) -> Answer:
        health = self._health()
        if path == "/healthz":
            fields = {"live": health.live, "ready": health.ready, "why": health.why}
            body = f"{json.dumps(fields)}\n".encode()
            return Answer(200 if health.live and health.ready else 503, "application/json", body)
        good = health.live if path == "/livez" else health.ready
        return plain_answer(200 if good else 503, "ok" if good else health.why or "no")


def _takes_gzip(accepted: str) -> bool:
    """Tell whether a header `Accept-Encoding` names gzip, and not with a weight of 0."""
    for part in accepted.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";q=")
        if coding in ("gzip", "*"):
            return weight.strip("0.") != "" or weight == ""
    return False
