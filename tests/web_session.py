"""`raftmon watch --web` as a process of its own, and one tab without a browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

__all__ = ["PATIENCE", "Client", "Served"]

PATIENCE = 60.0


class Served:
    """A server on a free port.

    Args:
        home: where it keeps what it keeps, and its current directory.
        arguments: for `raftmon watch`, beside --web and --listen.
    """

    def __init__(self, home: Path, *arguments: str) -> None:
        home.mkdir(exist_ok=True)
        names = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")
        # The current directory changes, and the package may be found through it alone.
        paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path[1:]])}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raftmon.cli", "watch", "--web", "--listen", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env={**os.environ, **paths, **dict.fromkeys(names, str(home))},
        )
        self.line = _of(self.process.stdout).readline().decode()
        """What it printed when it was ready."""
        url = r"http://[^/]+:\d+/[\w-]{20,}/"
        found = re.fullmatch(rf"raftmon is served on ({url}) \(Ctrl\+C ends it\)\n", self.line)
        if found is None:
            self.close()
            raise AssertionError(f"it said {self.line!r} and {self.said!r}")
        self.url = found[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    @property
    def tabs(self) -> list[psutil.Process]:
        """The processes that it started and that have not ended."""
        return psutil.Process(self.process.pid).children(recursive=True)

    @property
    def origin(self) -> str:
        """The address without its path."""
        return self.url.rsplit("/", 2)[0]

    def end(self, number: int) -> tuple[int, str, str]:
        """Send a signal; returns exit code, and what it printed to stdout and stderr since it was ready."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), err.decode()

    def close(self) -> None:
        """End it in any case."""
        if self.process.returncode is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.said = _of(self.process.stderr).read().decode() if not _of(self.process.stderr).closed else ""
        for pipe in (self.process.stdout, self.process.stderr):
            _of(pipe).close()


class Client:
    """What a browser's tab says and hears.

    Args:
        websocket: to the server.
    """

    def __init__(self, websocket: ClientWebSocketResponse) -> None:
        self.websocket = websocket
        self.received = b""
        """What a terminal would be told, all of it."""

    @classmethod
    async def of(cls, session: ClientSession, served: Served, width: int = 120, height: int = 30) -> Client:
        """Open a tab."""
        url = f"{served.url}ws?width={width}&height={height}"
        return cls(await session.ws_connect(url, origin=served.origin))

    async def until(self, text: str) -> None:
        """Listen until the terminal was told a text."""
        async with asyncio.timeout(PATIENCE):
            while text.encode() not in self.received:
                message = await self.websocket.receive()
                if message.type is not WSMsgType.BINARY:
                    raise AssertionError(f"{text!r} never came, but {message}; before: {self.received[-2000:]!r}")
                self.received += message.data

    async def until_delivered(self) -> str:
        """Listen until the app offers a file; returns its key."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.websocket.receive()).type is WSMsgType.BINARY:
                pass
            kind, key = message.json()
            assert kind == "deliver_file_start"
            return str(key)

    async def press(self, key: str) -> None:
        """Press a key."""
        await self.websocket.send_str(json.dumps(["stdin", key]))

    async def until_closed(self) -> None:
        """Listen until the server closes the tab."""
        async with asyncio.timeout(PATIENCE):
            while (await self.websocket.receive()).type is WSMsgType.BINARY:
                pass


def _of(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
