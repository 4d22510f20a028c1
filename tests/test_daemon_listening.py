"""The daemon's server: who may ask, what is answered, and what hostile or broken clients can do."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from raftmon.daemon.health import Health
from raftmon.daemon.listening import MOST_REQUESTS, Server
from raftmon.daemon.locks import Locks, in_the_clear
from raftmon.daemon.metrics import OPENMETRICS, Metrics
from raftmon.errors import UsageError
from raftmon.listen import Listen
from raftmon.model import Snapshot

pytest.importorskip("prometheus_client", reason="needs the extra `metrics`")

LOCAL = Listen("127.0.0.1", 0)
GOOD = Health(True, True, "")


@contextmanager
def serving(
    at: Listen = LOCAL, locks: Locks | None = None, health: Health = GOOD, **arguments: Any
) -> Iterator[Server]:
    metrics = Metrics()
    metrics.take(Snapshot(("/data",), (), (), (), version=1))
    listening = threading.Event()
    server = Server(
        at, locks or Locks(), metrics, lambda: health, tell=lambda _: listening.set(), retry_seconds=0.05, **arguments
    )
    try:
        if not server.problems():
            assert listening.wait(10)
        yield server
    finally:
        server.close(5)


def port_of(server: Server) -> int:
    assert server.url is not None
    return int(server.url.rpartition(":")[2])


def ask(
    server: Server, path: str, method: str = "GET", context: ssl.SSLContext | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection: http.client.HTTPConnection
    if context is not None:
        connection = http.client.HTTPSConnection("127.0.0.1", port_of(server), timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    with closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def test_what_is_answered() -> None:
    with serving() as server:
        status, headers, body = ask(server, "/metrics?x=1", Accept="application/openmetrics-text")
        assert (status, headers["Content-Type"]) == (200, OPENMETRICS)
        assert b"raftmon_snapshots_total 1.0\n" in body
        status, headers, small = ask(server, "/metrics", Accept_Encoding="deflate, gzip;q=0.5")
        assert headers["Content-Encoding"] == "gzip"
        assert b"raftmon_snapshots_total 1.0\n" in gzip.decompress(small)
        assert ask(server, "/metrics", Accept_Encoding="gzip;q=0")[1]["Content-Encoding"] is None
        status, headers, body = ask(server, "/metrics", "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 1000
        assert ask(server, "/")[0] == 200
        assert {ask(server, path)[0] for path in ("/metrics/", "/etc/passwd", "/favicon.ico", "/%2e")} == {404}
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            status, headers, _ = ask(server, "/metrics", method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
        assert headers["Server"] is None
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("health", "statuses", "why"),
    [
        (GOOD, (200, 200, 200), ""),
        (Health(True, False, "reading"), (503, 200, 503), "reading"),
        (Health(False, False, "stuck"), (503, 503, 503), "stuck"),
    ],
)
def test_health(health: Health, statuses: tuple[int, int, int], why: str) -> None:
    with serving(health=health) as server:
        assert tuple(ask(server, path)[0] for path in ("/healthz", "/livez", "/readyz")) == statuses
        assert json.loads(ask(server, "/healthz")[2]) == {"live": health.live, "ready": health.ready, "why": why}


def test_a_page_with_another_name_is_turned_away() -> None:
    with serving() as server:
        assert ask(server, "/metrics", Host=f"localhost:{port_of(server)}")[0] == 200
        assert ask(server, "/metrics", Host="evil.example")[0] == 403
        assert ask(server, "/metrics", Host="127.0.0.1@evil.example")[0] == 403


def test_a_token_is_asked_for_on_all_paths() -> None:
    with serving(locks=Locks(token="s3cret")) as server:
        for path in ("/metrics", "/healthz", "/livez", "/", "/nothing"):
            status, headers, body = ask(server, path)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert b"s3cret" not in body
        for wrong in ("Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer", "Bearer \u00e9"):
            assert ask(server, "/metrics", Authorization=wrong)[0] == 401
        assert ask(server, "/metrics", "POST", Authorization="nothing")[0] == 401
        assert ask(server, "/metrics", Authorization="Bearer s3cret", Host="gpu-box:9464")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gpu-box"])
def test_nobody_else_may_ask_without_a_lock(host: str, tmp_path: Path) -> None:
    for locks in (Locks(), Locks(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")):
        with pytest.raises(UsageError, match="other machines could read") as caught:
            Server(Listen(host, 0), locks, Metrics(), lambda: GOOD)
        assert "token" in caught.value.remedy


def test_a_name_that_is_not_this_machine_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: there)
    with pytest.raises(UsageError, match=r"0\.0\.0\.0.*other machines could read"):
        Server(Listen("localhost", 0), Locks(), Metrics(), lambda: GOOD)


def test_a_token_in_the_clear_is_warned_of() -> None:
    world, token = Listen("0.0.0.0", 9464), Locks(token="s3cret")
    warning = in_the_clear(world, token)
    assert warning is not None
    assert "s3cret" not in warning
    assert in_the_clear(LOCAL, token) is None
    assert in_the_clear(world, Locks(token="s3cret", certificate=Path("c.pem"))) is None


def test_a_defect_is_a_problem_and_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    broken = [True]

    def health() -> Health:
        if broken:
            raise LookupError("no such thing")
        return GOOD

    told = threading.Event()
    server = Server(LOCAL, Locks(), Metrics(health), health, tell=lambda _: told.set())
    try:
        assert told.wait(10)
        assert ask(server, "/metrics")[0] == 500
        (problem,) = server.problems()
        assert problem.what == "no answer to '/metrics': LookupError('no such thing')"
        broken.clear()
        assert ask(server, "/metrics")[0] == 200
        assert server.problems() == ()
    finally:
        server.close(5)
    assert capfd.readouterr() == ("", "")


def test_all_addresses_with_a_token() -> None:
    with serving(Listen("0.0.0.0", 0), Locks(token="s3cret")) as server:
        assert ask(server, "/readyz")[0] == 401
        assert ask(server, "/readyz", Authorization="bearer s3cret")[0] == 200


@pytest.mark.parametrize(
    ("at", "locks", "what"),
    [
        (Listen("no.such.host.invalid", 0), Locks(token="x"), "Name|name|resolution"),
        (Listen("192.0.2.1", 0), Locks(token="x"), "Cannot assign"),
        (LOCAL, Locks(client_ca=Path("ca.pem")), "TLS without a certificate"),
        (LOCAL, Locks(certificate=Path("/no/such.pem")), "not usable for TLS: No such file"),
        (LOCAL, Locks(certificate=Path(__file__)), "not usable for TLS"),
    ],
)
def test_what_cannot_be_is_told_at_once(at: Listen, locks: Locks, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Server(at, locks, Metrics(), lambda: GOOD)


def test_a_port_that_is_taken_is_a_problem_until_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        at = Listen("127.0.0.1", other.getsockname()[1])
        told = threading.Event()
        server = Server(at, Locks(), Metrics(), lambda: GOOD, tell=lambda _: told.set(), retry_seconds=0.02)
        (problem,) = server.problems()
        assert problem.where == f"--listen 127.0.0.1:{at.port}"
        assert "Address already in use" in problem.what
        assert server.url is None
        assert not told.wait(0.1)
    assert told.wait(10)
    assert server.problems() == ()
    assert ask(server, "/livez")[0] == 200
    begun = time.monotonic()
    server.close(5)
    assert time.monotonic() - begun < 2


def test_a_server_that_never_had_its_port_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = Server(Listen("127.0.0.1", other.getsockname()[1]), Locks(), Metrics(), lambda: GOOD)
        server.close(5)
        assert server.problems() != ()


def test_slow_clients_are_cut_off_and_others_served() -> None:
    with serving(request_seconds=0.5) as server:
        slow = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) for _ in range(MOST_REQUESTS + 4)]
        for one in slow:
            one.sendall(b"GET /metrics HTTP/1.1\r\nX-")
        assert ask(server, "/livez")[0] == 200
        for one in slow:
            with closing(one), suppress(ConnectionError):
                assert one.recv(1) == b""
        assert ask(server, "/livez")[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET " + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: [::\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx",
    ],
)
def test_what_is_no_request_harms_nothing(request_bytes: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as client:
            try:
                client.sendall(request_bytes)
                answer = client.makefile("rb").read()
            except ConnectionError:
                answer = b""
        assert b"200" not in answer[:20]
        assert b"Traceback" not in answer
        assert ask(server, "/livez")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_request_of_the_oldest_http() -> None:
    with serving() as server, socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as client:
        client.sendall(b"GET /livez\r\n\r\n")
        assert client.makefile("rb").read() == b"ok\n"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a CA, and certificates that it signed for a server and a client; one of another CA."""
    home = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        try:
            subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True, timeout=60)
        except FileNotFoundError:
            pytest.skip("makes certificates with openssl, which is not installed")

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for ca in ("ca", "other-ca"):
        openssl("req", "-x509", *curve, "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
    for name, ca in (("server", "ca"), ("client", "ca"), ("stranger", "other-ca")):
        openssl(
            "req", "-x509", *curve, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
            "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
    return home


def test_client_certificates(papers: Path) -> None:
    locks = Locks(certificate=papers / "server.pem", key=papers / "server.key", client_ca=papers / "ca.pem")
    with serving(Listen("0.0.0.0", 0), locks) as server:
        context = ssl.create_default_context(cafile=str(papers / "ca.pem"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(server, "/metrics", context=context)
        context.load_cert_chain(papers / "stranger.pem", papers / "stranger.key")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(server, "/metrics", context=context)
        context = ssl.create_default_context(cafile=str(papers / "ca.pem"))
        context.load_cert_chain(papers / "client.pem", papers / "client.key")
        assert ask(server, "/metrics", context=context)[0] == 200
        with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as plain:
            plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"raftmon" not in plain.recv(4096)
        assert ask(server, "/livez", context=context)[0] == 200


def test_a_token_with_tls(papers: Path) -> None:
    locks = Locks(token="s3cret", certificate=papers / "server.pem", key=papers / "server.key")
    with serving(Listen("0.0.0.0", 0), locks) as server:
        assert server.url is not None
        assert server.url.startswith("https://0.0.0.0:")
        context = ssl.create_default_context(cafile=str(papers / "ca.pem"))
        assert ask(server, "/metrics", context=context)[0] == 401
        assert ask(server, "/metrics", context=context, Authorization="Bearer s3cret")[0] == 200
