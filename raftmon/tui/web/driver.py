"""What the app of a tab reads and writes through, instead of a terminal: two pipes to the server."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import Any

from textual.app import App
from textual.drivers.web_driver import WebDriver

__all__ = ["TabDriver"]


class TabDriver(WebDriver):
    """Textual's driver for browsers, which also ends the app when the server has gone, however it went.

    Args:
        app: the app.
        debug: Textual's.
        mouse: whether the mouse is listened to.
        size: columns and rows; None: as the environment says.
    """

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._write = partial(self._write_all)

    def run_input_thread(self) -> None:
        """Read until the app or the server ends."""
        super().run_input_thread()
        if not self.exit_event.is_set():
            self._leave()

    def on_meta(self, packet_type: str, payload: dict[str, object]) -> None:
        """Do what the server says."""
        if packet_type == "quit":
            self._leave()
        else:
            super().on_meta(packet_type, payload)

    def _leave(self) -> None:
        """End the app as its own key does, which keeps how it was left; not while its first screen is being made."""
        app = self._app
        app.call_later(lambda: app.screen.call_later(app.exit))

    def _write_all(self, data: bytes) -> int:
        """Write all of it, or forget what nobody reads any more; returns how much it was."""
        rest = memoryview(data)
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(self.fileno, rest) :]
        return len(data)
