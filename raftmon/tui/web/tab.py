"""The app process of one browser tab."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp.web import WebSocketResponse
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

__all__ = ["MOST_CELLS", "Tab"]

DRIVER: Final = "raftmon.tui.web.driver:TabDriver"
READY: Final = b"__GANGLION__\n"
"""The line with which Textual's driver begins."""
PRELUDE_LINES: Final = 10
MOST_CELLS: Final = 1000
"""Columns or rows of a terminal."""
QUIT_SECONDS: Final = 2.0
"""How long an app may take to end when it is told to quit, and again when it is told to terminate."""


class Tab(AppService):
    """Runs the app for one tab and carries what both say to each other.

    Unlike its base it starts the command without a shell, so that no name needs quoting, leaves the diagnostics of
    the app to the server's own stderr, and sees to it that the process has ended.

    Args:
        command: program and arguments.
        websocket: to the browser.
        downloads: of all tabs.
    """

    def __init__(self, command: Sequence[str], websocket: WebSocketResponse, downloads: DownloadManager) -> None:
        async def close() -> None:
            await websocket.close()

        super().__init__(
            "",
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=close,
            download_manager=downloads,
        )
        self._arguments = tuple(command)
        self._gone = False
        self._ending: asyncio.Task[None] | None = None

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        return {**super()._build_environment(width, height), "TEXTUAL_DRIVER": DRIVER}

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        # A session of its own: Ctrl+C in the server's terminal is the server's, which then ends its tabs in order.
        self._process = process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=PIPE,
            stdout=PIPE,
            env=self._build_environment(width, height),
            start_new_session=True,
        )
        self._stdin = process.stdin
        return process

    async def set_terminal_size(self, width: int, height: int) -> None:
        """Tell the app how large the page's terminal is; nobody has one of more than `MOST_CELLS` columns or rows."""
        await super().set_terminal_size(_cells(width), _cells(height))

    async def run(self) -> None:
        """Carry what the app says to the browser until the app ends; then the browser is told."""
        process = self._process
        if process is None or process.stdout is None:
            raise RuntimeError("run comes after start")
        try:
            for _ in range(PRELUDE_LINES):
                if await process.stdout.readline() in (READY, b""):
                    break
            await self._carry(process.stdout)
        except asyncio.IncompleteReadError:
            pass
        except Exception as error:
            # Whatever it was, Textual's driver did not say it.
            print(f"raftmon: the app of a tab is not understood: {type(error).__name__}: {error}", file=sys.stderr)
        await self._say(self.remote_close)

    async def stop(self) -> None:
        """End the app and wait for it; whoever comes second waits for the same end."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _carry(self, stdout: asyncio.StreamReader) -> None:
        receivers: dict[bytes, Callable[[bytes], Awaitable[None]]] = {
            b"D": self.on_data,
            b"M": self.on_meta,
            b"P": self.on_packed,
        }
        while True:
            kind, size = struct.unpack(">cI", await stdout.readexactly(5))
            payload = await stdout.readexactly(size)
            if kind in receivers:
                await self._say(receivers[kind], payload)

    async def _say(self, receiver: Callable[..., Awaitable[None]], *payload: bytes) -> None:
        """Hand something to the browser; when it has gone, the app is still read from, so that it can end."""
        if self._gone:
            return
        try:
            await receiver(*payload)
        except (ConnectionError, RuntimeError):
            self._gone = True

    async def _end(self) -> None:
        process, reading = self._process, self._task
        if process is None:
            return
        if process.returncode is None:
            await self._download_manager.cancel_app_downloads(app_service_id=self.app_service_id)
            with contextlib.suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(self.send_meta({"type": "quit"}), QUIT_SECONDS)
        for harder in (process.terminate, process.kill):
            try:
                await asyncio.wait_for(process.wait(), QUIT_SECONDS)
                break
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    harder()
        await process.wait()
        if self._stdin is not None:
            self._stdin.close()
        if reading is not None:
            await reading


def _cells(count: int) -> int:
    return min(max(int(count), 1), MOST_CELLS)
