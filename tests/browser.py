"""A headless Chromium, driven through its DevTools protocol, and pictures of what it shows."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

__all__ = ["CHROMIUM", "Browser", "Page", "share_of"]

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The browser; None: there is none on this machine."""
PATIENCE: Final = 60.0
KEYS: Final = {"Enter": (13, "\r"), "Escape": (27, "")}


class Browser:
    """A Chromium with a profile of its own, which can reach nothing but this machine."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        self._profile = profile
        flags = (
            "--headless --no-sandbox --disable-gpu --no-first-run --disable-extensions --disable-background-networking "
            "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-port=0 --mute-audio"
        )
        self._process = subprocess.Popen(
            [
                CHROMIUM,
                *flags.split(),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def open(self, session: ClientSession, width: int, height: int) -> Page:
        """Return its page, empty, of so many pixels."""
        port = (await _eventually(self._port, "the port of Chromium")).strip()
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = await answer.json()
        url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
        page = Page(await session.ws_connect(url, max_msg_size=0))
        for domain in ("Page", "Network", "Runtime"):
            await page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await page.call("Emulation.setDeviceMetricsOverride", **size)
        return page

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _port(self) -> str | None:
        file = self._profile / "DevToolsActivePort"
        lines = file.read_text().splitlines() if file.exists() else []
        return lines[0] if len(lines) >= 2 else None


class Page:
    """One page: what it asked the network for, what came over its WebSocket, what it said, how it looks."""

    def __init__(self, tools: ClientWebSocketResponse) -> None:
        self._tools = tools
        self._numbers = itertools.count(1)
        self.requested: list[str] = []
        """URLs, in the order of the requests, WebSockets included."""
        self.received = b""
        """What the terminal was told, all of it."""
        self.complaints: list[str] = []
        """Uncaught errors and refused loads."""

    async def call(self, method: str, **parameters: object) -> dict[str, object]:
        """Call a method of the DevTools and return its result."""
        number = next(self._numbers)
        await self._tools.send_json({"id": number, "method": method, "params": parameters})
        while (message := await self._next()).get("id") != number:
            pass
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        result = message["result"]
        assert isinstance(result, dict)
        return result

    async def go(self, url: str) -> None:
        """Open a URL."""
        await self.call("Page.navigate", url=url)

    async def evaluate(self, script: str) -> object:
        """Return what a piece of JavaScript gives; a promise is waited for."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        value = result["result"]
        assert isinstance(value, dict)
        return value.get("value")

    async def until_true(self, script: str) -> None:
        """Evaluate JavaScript until it gives true."""
        for _ in range(600):
            if await self.evaluate(script) is True:
                return
            await self._listen(PATIENCE / 600)
        raise AssertionError(f"never true: {script}; complaints: {self.complaints}")

    async def press(self, key: str) -> None:
        """Press a key that makes a character, or one of `KEYS`."""
        code, text = KEYS.get(key, (0, key))
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)

    async def picture(self) -> Image.Image:
        """Return what is shown."""
        data = (await self.call("Page.captureScreenshot", format="png"))["data"]
        return Image.open(io.BytesIO(base64.b64decode(str(data)))).convert("RGB")

    async def until(self, holds: Callable[[Image.Image], bool]) -> Image.Image:
        """Take pictures until something holds; returns the last."""
        picture: Image.Image | None = None
        for _ in range(600):
            picture = await self.picture()
            if holds(picture):
                return picture
            await self._listen(PATIENCE / 600)
        raise AssertionError(f"never came; complaints: {self.complaints}; received: {self.received[-2000:]!r}")

    async def until_received(self, text: str) -> None:
        """Listen until the terminal was told a text."""
        for _ in range(600):
            if text.encode() in self.received:
                return
            await self._listen(PATIENCE / 600)
        raise AssertionError(f"{text!r} never came; complaints: {self.complaints}; received: {self.received[-2000:]!r}")

    async def _listen(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._next()

    async def _next(self) -> dict[str, object]:
        message = json.loads(await self._tools.receive_str(timeout=PATIENCE))
        parameters = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])
            case "Network.webSocketCreated":
                self.requested.append(parameters["url"])
            case "Network.webSocketFrameReceived" if parameters["response"]["opcode"] == 2:
                self.received += base64.b64decode(parameters["response"]["payloadData"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            case "Network.loadingFailed":
                self.complaints.append(str(parameters))
        assert isinstance(message, dict)
        return message


def share_of(picture: Image.Image, colours: Iterable[str]) -> dict[str, float]:
    """Return the share of the pixels that have each of some colours (``#rrggbb``), exactly."""
    counts = {rgb: count for count, rgb in picture.getcolors(picture.width * picture.height) or []}
    pixels = picture.width * picture.height
    wanted = {colour: (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)) for colour in colours}
    return {colour: counts.get(rgb, 0) / pixels for colour, rgb in wanted.items()}


async def _eventually(look: Callable[[], str | None], what: str) -> str:
    for _ in range(600):
        found = look()
        if found is not None:
            return found
        await asyncio.sleep(PATIENCE / 600)
    raise AssertionError(f"never came: {what}")
