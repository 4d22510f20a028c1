"""A program in a terminal of its own: what it writes, when, and what it costs."""

from __future__ import annotations

import functools
import os
import re
import select
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

__all__ = ["BARE", "Terminal", "watch_command"]

BARE: Final = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("bare-app")
Bare().run()
"""
"""The least that an application of Textual's can be."""
LONGEST: Final = 120.0
"""Seconds after which something that was to be painted never will be."""


def watch_command(logdir: Path) -> list[str]:
    """Return the command line of `raftmon watch`."""
    return [sys.executable, "-m", "raftmon.cli", "watch", str(logdir)]


@functools.cache
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


class Terminal:
    """Runs a command in a pseudo-terminal and reads along, as a terminal emulator would.

    Args:
        command: what to run; its home directory is empty, so that nobody's settings matter.
        size: columns and lines.
    """

    def __init__(self, command: Sequence[str], size: tuple[int, int] = (120, 30)) -> None:
        self._home = tempfile.TemporaryDirectory()
        self._fd, inner = os.openpty()
        termios.tcsetwinsize(inner, (size[1], size[0]))
        xdg = {f"XDG_{name}_HOME": self._home.name for name in ("CONFIG", "STATE", "DATA", "CACHE")}
        # As pip leaves what it installs: compiled.
        xdg |= {"PYTHONPYCACHEPREFIX": _bytecode().name}
        dropped = {"PYTHONDONTWRITEBYTECODE", "COLUMNS", "LINES", "NO_COLOR", "TMUX", "TERM_PROGRAM"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        self.born = time.monotonic()
        """When the process was started, on the system's monotonic clock."""
        self.process = subprocess.Popen(
            command,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env={**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor", "HOME": self._home.name, **xdg},
        )
        os.close(inner)
        self._text = bytearray()
        self.written = 0
        """Bytes that the program has written so far."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the program, however it stands."""
        self.process.kill()
        self.process.wait()
        os.close(self._fd)
        self._home.cleanup()

    def until(self, pattern: bytes, seconds: float = LONGEST) -> tuple[float, re.Match[bytes]]:
        """Read until something was written since the last call; returns when, and the match."""
        expression = re.compile(pattern)
        end = time.monotonic() + seconds
        while True:
            if match := expression.search(self._text):
                now = time.monotonic()
                del self._text[: match.end()]
                return now, match
            if not self._read(end - time.monotonic()):
                tail = bytes(self._text[-2000:])
                raise SystemExit(f"{pattern!r} was not painted within {seconds:g} s; the end of what was: {tail!r}")

    def follow(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Read along for so long, or until something else is done."""
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            self._read(min(left, 0.1))
            self._text.clear()

    def settle(self, quiet: float = 1.0) -> None:
        """Read along until nothing was written for so many seconds."""
        while self._read(quiet):
            self._text.clear()

    def press(self, key: bytes) -> float:
        """Press a key; returns when. What was written before is forgotten."""
        while self._read(0.0):
            pass
        self._text.clear()
        now = time.monotonic()
        os.write(self._fd, key)
        return now

    def cpu(self) -> float:
        """Seconds of CPU time of all the program's threads so far, as exactly as the kernel's scheduler knows them."""
        seconds = 0.0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            seconds += int(path.read_text().split()[0]) / 1e9
        return seconds

    def ticks(self) -> int:
        """The same in ticks of the kernel's clock (10 ms on Linux), as `top` sees it."""
        times = psutil.Process(self.process.pid).cpu_times()
        return round((times.user + times.system) * os.sysconf("SC_CLK_TCK"))

    def memory(self) -> tuple[float, float]:
        """Megabytes (10^6 bytes) that are resident now, and that were at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
        return int(found["VmRSS"]) * 1.024e-3, int(found["VmHWM"]) * 1.024e-3

    def _read(self, seconds: float) -> bool:
        """Wait for output and take it; returns whether there was any."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, seconds))
        if not ready:
            return False
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # the program has ended
            return False
        self._text += data
        self.written += len(data)
        return bool(data)
