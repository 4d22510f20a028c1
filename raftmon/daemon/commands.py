"""Other people's programs, run beside the daemon: input, time limit, bounded output, and nothing left behind.

A command is split into words like a shell does, and run without one: whoever wants a shell writes ``sh -c '...'``. What
comes out of event files never becomes a word of it.

A program gets a process group of its own. At its time limit the whole group is asked to end (SIGTERM) and then killed;
a program that ends by itself may leave others behind on purpose. When the daemon ends, a program may go on for as long
as the daemon itself has, less a moment.
"""

from __future__ import annotations

import math
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal, TypeAlias

from raftmon.errors import UsageError
from raftmon.plain import plain
from raftmon.slotted import dataclass

__all__ = ["Ending", "Outcome", "Runner", "words_of"]

Ending: TypeAlias = Literal["done", "failed", "timed-out"]

_MOST_OUTPUT: Final = 4_096
"""Bytes of a program's output that are kept: its last."""
_LINE_LENGTH: Final = 300
_GRACE_SECONDS: Final = 2.0
"""From SIGTERM to SIGKILL."""
_CLOSING_GRACE_SECONDS: Final = 0.2
_FIRST_LOOK, _LONGEST_LOOK = 0.005, 0.1
"""Seconds between two looks at a program that says nothing."""
_PIECE: Final = 65_536
_LONGEST_VALUE: Final = 32_768


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    ending: Ending
    status: int | None
    """Exit status, below 0 for a signal; None: it was ended, or could not be started."""
    text: str
    """In words, after a failure with the last line of its output: ``exit status 3: no such job``."""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.ending == "done"


def words_of(command: str, where: str) -> tuple[str, ...]:
    """Return the words of a command; the first is a program that is there.

    Args:
        command: as a person wrote it.
        where: the option it was given to, for errors.

    Raises:
        UsageError: it has no words, a quote stays open, or there is no such program.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(where, f"this is no command: {error}", "Quote its words as for a shell.") from None
    if not words or not words[0] or "\0" in command:
        raise UsageError(where, "names no command", "Write a program and its arguments.")
    if shutil.which(words[0]) is None:
        remedy = "Give its whole path; for pipes and variables write sh -c '...'."
        raise UsageError(where, f"there is no program `{plain(words[0])}` that can be run", remedy)
    return words


class Runner:
    """Runs programs; any number of threads may do so at once.

    Args:
        secrets: environment variables that no program is given.
        environment: what they are given; None: this process's.
    """

    def __init__(self, *, secrets: Collection[str] = (), environment: Mapping[str, str] | None = None) -> None:
        inherited = dict(os.environ if environment is None else environment)
        self._environment = {name: value for name, value in inherited.items() if name not in secrets}
        self._end_at = math.inf
        self._grace = _GRACE_SECONDS

    def end_within(self, seconds: float) -> None:
        """Let what runs, or is yet to run, go on for so many seconds at most."""
        self._grace = min(_CLOSING_GRACE_SECONDS, seconds / 2)
        self._end_at = time.monotonic() + seconds - self._grace

    def run(
        self, words: Sequence[str], message: bytes, *, seconds: float, values: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run a program to its end, its time limit or the daemon's end.

        Args:
            words: the program and its arguments.
            message: what it reads on its standard input; it need not.
            seconds: time limit.
            values: further environment variables.
        """
        environment = self._environment | {name: _value(text) for name, text in (values or {}).items()}
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else None
            return Outcome("failed", None, f"cannot be started: {what or 'no valid command'}")
        with process:
            try:
                return self._follow(process, message, seconds)
            except BaseException:
                _signal_group(process, signal.SIGKILL)
                raise

    def _follow(self, process: subprocess.Popen[bytes], message: bytes, seconds: float) -> Outcome:
        began = time.monotonic()
        with _Pipes(process, message) as pipes:
            in_time = self._wait(process, pipes, began + seconds)
            if not in_time:
                _signal_group(process, signal.SIGTERM)
                killed_at = time.monotonic() + self._grace
                while not _has_ended(process) and time.monotonic() < killed_at:
                    pipes.serve(_FIRST_LOOK)
                _signal_group(process, signal.SIGKILL)
            else:
                pipes.serve(0.0)
            status = process.wait()
            tail = pipes.tail()
        said = f": {tail}" if tail else ""
        if not in_time:
            why = "the daemon ended" if self._end_at < began + seconds else f"it ran longer than {seconds:g} s"
            return Outcome("timed-out", None, f"ended, as {why}{said}")
        if status == 0:
            return Outcome("done", 0, "exit status 0")
        return Outcome(
            "failed", status, (f"ended by signal {-status}" if status < 0 else f"exit status {status}") + said
        )

    def _wait(self, process: subprocess.Popen[bytes], pipes: _Pipes, until: float) -> bool:
        """Serve a program's pipes until it ends; returns False if its time is over before."""
        look = _FIRST_LOOK
        while not _has_ended(process):
            left = min(until, self._end_at) - time.monotonic()
            if left <= 0:
                return False
            look = _FIRST_LOOK if pipes.serve(min(look, left)) else min(2 * look, _LONGEST_LOOK)
        return True


class _Pipes:
    """A program's standard input and output, neither of which may hold anybody up."""

    def __init__(self, process: subprocess.Popen[bytes], message: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self._left = memoryview(message)
        self._kept = b""
        self._selector = selectors.DefaultSelector()
        for file, event in ((self._input, selectors.EVENT_WRITE), (self._output, selectors.EVENT_READ)):
            os.set_blocking(file.fileno(), False)
            self._selector.register(file, event)

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for file in (self._input, self._output):
            with suppress(OSError):
                file.close()

    def serve(self, seconds: float) -> bool:
        """Write and read what can be; returns whether there was anything within so many seconds."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return False
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if key.fileobj is self._input:
                self._write()
            else:
                self._read()
        return bool(ready)

    def tail(self) -> str:
        """Return the last line that was written, made plain."""
        lines = self._kept.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return plain(last)[-_LINE_LENGTH:]

    def _write(self) -> None:
        try:
            written = os.write(self._input.fileno(), self._left[:_PIECE])
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            written = len(self._left)
        self._left = self._left[written:]
        if not self._left:
            self._selector.unregister(self._input)
            with suppress(OSError):
                self._input.close()

    def _read(self) -> None:
        try:
            piece = os.read(self._output.fileno(), _PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if piece:
            self._kept = (self._kept + piece)[-_MOST_OUTPUT:]
        else:
            self._selector.unregister(self._output)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a program has ended; it stays a zombie, so that its group's number is not given to another."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else has waited for it
        return True


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _value(text: str) -> str:
    """Return what an environment variable can hold of a text."""
    text = text.replace("\0", "")[:_LONGEST_VALUE]
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text
