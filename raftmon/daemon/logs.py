"""The daemon's log on stderr: a line for people, or a JSON object a line.

A thread writes it, so that a pipe that nobody reads does not stop the daemon; lines that find no room, or that a full
disk does not take, are counted, and their number is told with the next that is written.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Final, Literal, TypeAlias

import msgspec

from raftmon.happenings import Happening
from raftmon.plain import plain

__all__ = ["Level", "Log", "LogFormat", "fields_of"]

Level: TypeAlias = Literal["info", "warning", "error"]
LogFormat: TypeAlias = Literal["text", "json"]
Value: TypeAlias = "str | int | float | bool | None"
ROOM: Final = 10_000
"""Lines that wait to be written at most."""


class Log:
    """Writes lines.

    Args:
        stream: takes them; None: nobody does.
        form: for people or for programs.
        clock: seconds since the epoch.
    """

    def __init__(
        self, stream: IO[str] | None, form: LogFormat = "text", clock: Callable[[], float] = time.time
    ) -> None:
        self._stream = stream
        self._form = form
        self._clock = clock
        self._lines: queue.Queue[str | None] = queue.Queue(ROOM)
        self._lost = 0
        self._thread: threading.Thread | None = None
        if stream is not None:
            self._thread = threading.Thread(target=self._write, args=(stream,), name="raftmon-log", daemon=True)
            self._thread.start()

    def info(self, event: str, text: str, **fields: Value) -> None:
        """Log what is as it should be.

        Args:
            event: kind of event, one word.
            text: for people.
            fields: more, for programs.
        """
        self._put("info", event, text, fields)

    def warning(self, event: str, text: str, **fields: Value) -> None:
        """Log what somebody should look at."""
        self._put("warning", event, text, fields)

    def error(self, event: str, text: str, **fields: Value) -> None:
        """Log what did not work."""
        self._put("error", event, text, fields)

    def close(self, seconds: float) -> None:
        """Write what waits, for so many seconds at most."""
        if self._thread is None:
            return
        with contextlib.suppress(queue.Full):
            if self._lost:
                self._lines.put(self._lost_line(), timeout=seconds)
            self._lines.put(None, timeout=seconds)
        self._thread.join(seconds)

    def _put(self, level: Level, event: str, text: str, fields: Mapping[str, Value]) -> None:
        if self._thread is None:
            return
        if self._lost:
            self._offer(self._lost_line(), counts=False)
        self._offer(self._line(level, event, text, fields), counts=True)

    def _offer(self, line: str, *, counts: bool) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += counts
        else:
            self._lost = self._lost if counts else 0

    def _lost_line(self) -> str:
        return self._line("warning", "log", f"{self._lost} lines of this log found no room", {"lost": self._lost})

    def _line(self, level: Level, event: str, text: str, fields: Mapping[str, Value]) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        if self._form == "text":
            return f"{now} {level:<7} {plain(text)}"
        known = {name: value for name, value in fields.items() if value is not None}
        document = {"time": now, "level": level, "event": event, "text": text, **known}
        return msgspec.json.encode({key: _encodable(value) for key, value in document.items()}).decode()

    def _write(self, stream: IO[str]) -> None:
        missing = 0
        while (line := self._lines.get()) is not None:
            try:
                if missing:
                    # The stream may hold what it could not write: a line is given to it only when that is gone.
                    stream.flush()
                    stream.write(self._missing_line(missing) + "\n")
                stream.write(line + "\n")
                stream.flush()
            except (OSError, ValueError) as error:
                if _is_over(stream, error):
                    # Nobody reads any more; what is to be known is in the journal.
                    return
                # A full disk, or one that does not answer, may be mended.
                missing += 1
            else:
                missing = 0
        if missing:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
                stream.write(self._missing_line(missing) + "\n")
                stream.flush()

    def _missing_line(self, missing: int) -> str:
        # The first of them may have been in the stream's hands.
        return self._line("warning", "log", f"up to {missing} lines of this log are missing", {"lost": missing})


def fields_of(happening: Happening) -> dict[str, Value]:
    """Return what a program may want to know of a happening."""
    return {
        "kind": happening.kind,
        "path": happening.path or None,
        "run": happening.name or None,
        "subject": happening.subject or None,
        "state": happening.state,
        "severity": happening.severity,
        "step": happening.step,
        "value": happening.value,
    }


def _is_over(stream: IO[str], error: Exception) -> bool:
    """Tell whether a stream will never take a line again; a number that was closed may soon be another's file."""
    return stream.closed or (isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.EBADF))


def _encodable(value: Value) -> Value:
    return value.encode(errors="surrogateescape").decode(errors="replace") if isinstance(value, str) else value
