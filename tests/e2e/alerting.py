"""Real daemons, a real Prometheus and a real Alertmanager, and a receiver of what they send."""

from __future__ import annotations

import json
import os
import queue
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.scripted import event, record, simple

__all__ = ["DEPLOY", "Daemon", "Job", "Receiver", "Stack", "eventually", "fetched", "missing_tools"]

DEPLOY = Path(__file__).resolve().parents[2] / "raftmon" / "deploy"
TOOLS = ("prometheus", "prometheus-alertmanager", "amtool")
PATIENCE = 40.0
"""Seconds that anything may take on a busy machine."""


def missing_tools() -> str:
    """Return the names of the programs that are not installed."""
    return ", ".join(tool for tool in TOOLS if shutil.which(tool) is None)


def eventually(what: str, look: Callable[[], Any]) -> Any:
    """Look until there is something; real programs have no clock that a test could turn."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            found = look()
        except OSError:
            found = None  # it does not listen yet
        if found:
            return found
        threading.Event().wait(0.1)
    raise AssertionError(f"{what}: not within {PATIENCE:g} s")


def fetched(url: str) -> Any:
    """Return what JSON an address answers with."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Job:
    """A run whose loss goes where the test wants, in real bytes.

    Args:
        directory: of its event file.
        seed: of the noise.
    """

    def __init__(self, directory: Path, seed: int = 1) -> None:
        directory.mkdir(parents=True)
        self._file = directory / f"events.out.tfevents.{int(time.time())}.host.{seed}.0"
        self._random = random.Random(seed)
        self._step = 0

    def learns(self) -> None:
        """Write 80 points of a loss that falls."""
        self._write([2.4 * 0.97**n + 0.5 for n in range(80)])

    def diverges(self) -> None:
        """Write 40 points of a loss that climbs far above where it began."""
        self._write([0.7 + 0.1 * n for n in range(40)])

    def recovers(self) -> None:
        """Write 80 points of a loss that comes back."""
        self._write([max(0.5, 4.7 - 0.1 * n) for n in range(80)])

    def _write(self, losses: Sequence[float]) -> None:
        begun, data = time.time() - 0.1 * len(losses), b""
        for number, loss in enumerate(losses, start=1):
            self._step += 1
            values = [simple("train/loss", loss + self._random.gauss(0.0, 0.02)), simple("train/learning_rate", 1e-3)]
            data += record(event(values, step=self._step, wall_time=begun + 0.1 * number))
        with self._file.open("ab") as file:
            file.write(data)


class Receiver:
    """A webhook: each alert that Alertmanager sends, once for each of its states."""

    def __init__(self) -> None:
        self._arrived: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self.seen: list[tuple[str, str, str, str]] = []
        """Path of the receiver, state, name and logdir of each alert, in the order of arrival."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._arrived.put((self.path, json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait_for(self, path: str, state: str, name: str, logdir: str) -> dict[str, Any]:
        """Return the alert once it comes."""
        end = time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0:
            try:
                at, message = self._arrived.get(timeout=left)
            except queue.Empty:
                break
            for alert in message["alerts"]:
                labels = alert["labels"]
                one = at, alert["status"], labels["alertname"], labels.get("logdir", "")
                self.seen.append(one)
                if one == (path, state, name, logdir):
                    found: dict[str, Any] = alert
                    return found
        raise AssertionError(f"no {state} {name} of {logdir} at {path}; what came: {self.seen}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Daemon:
    """A real `raftmon daemon` on a directory of runs."""

    def __init__(self, home: Path, logdir: Path) -> None:
        self.home = home
        self.logdir = logdir
        self.log = home / f"{logdir.name}.log"
        command = [sys.executable, "-m", "raftmon.cli", "daemon", str(logdir), "--listen", "127.0.0.1:0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--journal", str(home / f"{logdir.name}.db")], stdout=log, stderr=subprocess.STDOUT
            )

    def address(self) -> str:
        """Return HOST:PORT once it listens."""
        found = eventually("a daemon listens", lambda: re.search(r"http://([\d.]+:\d+)", self.log.read_text()))
        return str(found[1])

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Stack(ExitStack):
    """Prometheus and Alertmanager with the shipped rules and routes, as fast as they can be.

    Args:
        home: directory for their data.
        targets: HOST:PORT of each daemon.
        receiver: gets what Alertmanager sends.
    """

    def __init__(self, home: Path, targets: Sequence[str], receiver: Receiver) -> None:
        super().__init__()
        self.home = home
        self.prometheus = f"http://127.0.0.1:{free_port()}"
        self.alertmanager = f"http://127.0.0.1:{free_port()}"
        self._configure(targets, receiver)
        self._start(
            "prometheus-alertmanager",
            f"--config.file={home / 'alertmanager.yml'}",
            f"--storage.path={home / 'alertmanager'}",
            f"--web.listen-address={self.alertmanager.removeprefix('http://')}",
            "--cluster.listen-address=",
        )
        self._start(
            "prometheus",
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'prometheus'}",
            f"--web.listen-address={self.prometheus.removeprefix('http://')}",
        )

    def alerts(self) -> dict[tuple[str, str], str]:
        """Return the state of each alert that Alertmanager has, by name and logdir."""
        found = fetched(f"{self.alertmanager}/api/v2/alerts")
        return {(one["labels"]["alertname"], one["labels"].get("logdir", "")): one["status"]["state"] for one in found}

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers."""
        answer = fetched(f"{self.prometheus}/api/v1/query?query={urllib.parse.quote(query)}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def amtool(self, *arguments: str) -> str:
        """Run amtool on the Alertmanager."""
        command = ["amtool", f"--alertmanager.url={self.alertmanager}", *arguments]
        environment = {**os.environ, "HOME": str(self.home)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _configure(self, targets: Sequence[str], receiver: Receiver) -> None:
        """Write the shipped files, without their waits and with the addresses of this test."""
        rules = (DEPLOY / "prometheus" / "raftmon.rules.yml").read_text()
        rules, waits = re.subn(r"(?m)^( +for:) \w+$", r"\1 0s", rules)
        assert waits == rules.count("- alert:")
        (self.home / "raftmon.rules.yml").write_text(rules)
        routes = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
        routes = re.sub(r"group_wait: \w+", "group_wait: 0s", routes)
        routes = re.sub(r"group_interval: \w+", "group_interval: 1s", routes)
        routes, places = re.subn(r"https://example\.com", receiver.url, routes)
        assert places == 3
        (self.home / "alertmanager.yml").write_text(routes)
        at = self.alertmanager.removeprefix("http://")
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["raftmon.rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [at]}]}]},
            "scrape_configs": [{"job_name": "raftmon", "static_configs": [{"targets": list(targets)}]}],
        }
        (self.home / "prometheus.yml").write_text(json.dumps(config))

    def _start(self, *command: str) -> None:
        with (self.home / f"{command[0]}.log").open("wb") as log:
            process = subprocess.Popen([*command, "--log.level=warn"], stdout=log, stderr=subprocess.STDOUT)

        def end() -> None:
            process.terminate()
            process.wait(20)

        self.callback(end)
