"""The app process of a tab ends whatever it does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

pytest.importorskip("textual_serve", reason="needs the extra web")

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from aiohttp.test_utils import TestServer

from raftmon.tui.web import tab
from raftmon.tui.web.server import WebServer, diagnostics

PATIENCE = 60.0
DEAF = """
import signal, sys, os
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"__GANGLION__\\nD\\0\\0\\0\\x05hello")
while True:
    os.read(0, 1) or signal.pause()
"""
FULL = """
import os
os.write(1, b"__GANGLION__\\n")
while True:
    os.write(1, b"D\\0\\0\\x10\\0" + b"x" * 4096)
"""
ECHO = """
import os, struct
os.write(1, b"__GANGLION__\\n")
while data := os.read(0, 4096):
    if b"resize" in data:
        os.write(1, b"D" + struct.pack(">I", len(data)) + data)
"""
SAYS = 'import os; os.write(1, b"{}")'


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tab, "QUIT_SECONDS", 0.2)


class Tabs:
    """A server of any program, and tabs on it."""

    def __init__(self) -> None:
        self.session = ClientSession()
        self.server: TestServer | None = None

    async def open(self, *command: str) -> ClientWebSocketResponse:
        """Open a tab that runs a program."""
        web = WebServer(command, title="raftmon <&>", host="127.0.0.1", secret="s", loopback=True)
        self.server = TestServer(web.application())
        await self.server.start_server()
        return await self.session.ws_connect(self.server.make_url("/s/ws"))

    async def close(self) -> None:
        """End the server, then the browser."""
        if self.server is not None:
            await asyncio.wait_for(self.server.close(), PATIENCE)
        await self.session.close()


@pytest.fixture
async def tabs(impatient: None) -> AsyncIterator[Tabs]:
    tabs = Tabs()
    yield tabs
    await tabs.close()


async def test_an_app_that_obeys_nothing_is_killed(tabs: Tabs) -> None:
    websocket = await tabs.open(sys.executable, "-c", DEAF)
    assert (await websocket.receive()).data == b"hello"

    await tabs.close()

    assert (await websocket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)


async def test_no_page_has_a_terminal_of_a_billion_columns(tabs: Tabs) -> None:
    websocket = await tabs.open(sys.executable, "-c", ECHO)
    await websocket.send_json(["resize", {"width": 1e9, "height": -5}])
    told = await asyncio.wait_for(websocket.receive(), PATIENCE)
    assert b'"width": 1000, "height": 1' in told.data


async def test_what_is_no_request_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = diagnostics()
    try:
        raise ValueError("400, message:\n  Missing 'Host' header")
    except ValueError:
        log.exception("Error handling request from %s", "127.0.0.1")
    assert (
        capsys.readouterr().err
        == "raftmon: Error handling request from 127.0.0.1: 400, message: Missing 'Host' header\n"
    )


async def test_an_app_that_never_stops_talking_ends_with_its_tab(tabs: Tabs) -> None:
    websocket = await tabs.open(sys.executable, "-c", FULL)
    assert (await websocket.receive()).data == b"x" * 4096

    await websocket.close()
    await tabs.close()


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no app\\n" * 20,
        "__GANGLION__\\n",
        "__GANGLION__\\nD",
        "__GANGLION__\\nM\\0\\0\\0\\x02{}",
        "__GANGLION__\\nM\\0\\0\\0\\1{",
        "__GANGLION__\\nP\\0\\0\\0\\1{",
        "__GANGLION__\\n?\\0\\0\\0\\1{",
        "x" * 100_000,
    ],
    ids=range(9),
)
async def test_whatever_an_app_says_its_end_is_told(tabs: Tabs, said: str) -> None:
    websocket = await tabs.open(sys.executable, "-c", SAYS.format(said))

    message = await asyncio.wait_for(websocket.receive(), PATIENCE)

    assert message.type is WSMsgType.CLOSE


async def test_a_program_that_is_not_there_is_said(tabs: Tabs, capsys: pytest.CaptureFixture[str]) -> None:
    websocket = await tabs.open("/nonexistent/python")

    message = await asyncio.wait_for(websocket.receive(), PATIENCE)

    assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    assert capsys.readouterr().err == "raftmon: the app of a tab does not start: No such file or directory\n"


async def test_the_title_is_text(tabs: Tabs) -> None:
    await tabs.open("/nonexistent/python")
    assert tabs.server is not None

    async with tabs.session.get(tabs.server.make_url("/s/")) as answer:
        assert "<title>raftmon &lt;&amp;&gt;</title>" in await answer.text()
