"""Who writes a run: its event file's name tells host and process, and on that host the process can be looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from raftmon.slotted import dataclass

if TYPE_CHECKING:
    import psutil

__all__ = ["LocalProcesses", "ProcessState", "Processes", "Writer", "WriterWatch", "newest_writer", "writer_of"]

ProcessState: TypeAlias = Literal["running", "stopped", "shared", "gone"]
"""``stopped`` by a signal or a debugger; ``shared``: it outlives its trainings, as the kernel of a notebook does."""
LOOK_SECONDS: Final = 2.0
"""Seconds between two looks at a process."""
SLACK_SECONDS: Final = 60.0
"""A process that began so much later than the file is another one that was given the same number."""
_NAME: Final = re.compile(r"\.tfevents\.(?P<time>\d{9,11})\.(?P<host>.+)\.(?P<pid>[1-9]\d{0,9})\.\d+(\.v2)?", re.ASCII)
"""As TensorBoard, PyTorch and TensorFlow name a file; tensorboardX leaves the process out."""
_KERNELS: Final = ("ipykernel", "colab_kernel", "jupyter")


@dataclass(frozen=True, slots=True)
class Writer:
    """A process, by what the name of its event file says."""

    host: str
    pid: int
    began: float
    """When it created the file, in seconds since the epoch."""


class Processes(Protocol):
    """The processes of one host."""

    @property
    def host(self) -> str:
        """Its name, as event files have it."""

    def state(self, writer: Writer) -> ProcessState | None:
        """Look at a process of this host; None: it cannot be looked at."""


def writer_of(name: str) -> Writer | None:
    """Return who wrote an event file, by its name; None where that does not tell."""
    found = _NAME.search(name)
    return Writer(found["host"], int(found["pid"]), float(found["time"])) if found is not None else None


def newest_writer(names: Iterable[str]) -> Writer | None:
    """Return who wrote the newest of several event files that tell."""
    writers = [writer for name in names if (writer := writer_of(name)) is not None]
    return max(writers, key=lambda writer: writer.began, default=None)


class WriterWatch:
    """Looks at the process that writes a run, seldom.

    That it is gone is told only of a process that was seen: what a container or another user runs may not be visible
    at all.

    Args:
        processes: of this host; None: nothing is looked at.
    """

    def __init__(self, processes: Processes | None) -> None:
        self._processes = processes
        self._writer: Writer | None = None
        self._looked_at: float | None = None
        self._state: ProcessState | None = None
        self.seen = False
        """Whether the present writer was there at one look."""

    @property
    def writer(self) -> Writer | None:
        """The present writer, if it is a process of this host."""
        return self._writer

    def follow(self, writer: Writer | None) -> None:
        """Look at this process from now on, if it is one of this host."""
        if self._processes is None or (writer is not None and writer.host != self._processes.host):
            writer = None
        if writer != self._writer:
            self._writer, self._looked_at, self._state, self.seen = writer, None, None, False

    def state(self, now: float) -> ProcessState | None:
        """Return what the process does; None: not known.

        Args:
            now: seconds, from any moment on.
        """
        if self._writer is None or self._processes is None:
            return None
        if self._looked_at is None or abs(now - self._looked_at) >= LOOK_SECONDS:
            self._looked_at, self._state = now, self._processes.state(self._writer)
            self.seen = self.seen or self._state not in ("gone", None)
        return self._state if self.seen else None


class LocalProcesses:
    """The processes of this host, through psutil, which is imported at the first look."""

    def __init__(self) -> None:
        self._host: str | None = None

    @property
    def host(self) -> str:
        """The host's name."""
        if self._host is None:
            import socket

            self._host = socket.gethostname()
        return self._host

    def state(self, writer: Writer) -> ProcessState | None:
        """Look at a process."""
        import psutil

        try:
            process = psutil.Process(writer.pid)
            with process.oneshot():
                if process.create_time() > writer.began + SLACK_SECONDS:
                    return "gone"
                status = process.status()
                if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                    return "gone"
                if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
                    return "stopped"
                return "shared" if _is_kernel(process) else "running"
        except psutil.NoSuchProcess:
            return "gone"
        except (psutil.Error, OSError):
            return None


def _is_kernel(process: psutil.Process) -> bool:
    """Tell whether a process is the kernel of a notebook, which lives on when a training has ended."""
    import psutil

    try:
        return any(word in argument for argument in process.cmdline()[:4] for word in _KERNELS)
    except (psutil.Error, OSError):
        return False
