"""Reads the GPUs now and then, in a thread of its own: a driver that hangs must not keep the runs from being read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from raftmon.gpus.amd import DRM, AmdGpus
from raftmon.gpus.nvidia import DRIVER_FILES, NvidiaGpus, Nvml, load_nvml
from raftmon.gpus.samples import Samples
from raftmon.model import GpuView

__all__ = ["MOST_FAILURES", "SAMPLE_SECONDS", "GpuReader", "GpuWatch", "find_readers", "watch_gpus"]

SAMPLE_SECONDS: Final = 2.0
"""Seconds between two readings, and before the first one."""
MOST_FAILURES: Final = 5
"""Readings that may fail one after another in a way that a driver's library does not know of."""


class GpuReader(Protocol):
    """Reads the GPUs of one maker; may block."""

    def read(self) -> list[GpuView]:
        """Return them as they are now."""


class GpuWatch:
    """Reads GPUs while somebody wants to know; the thread starts when that is first so.

    Args:
        find: finds what there is to read, in the thread, once.
        clock: seconds, from any moment on; must not jump.
        pause: waits for so many seconds, or until it is closed; returns whether it is closed.
    """

    def __init__(
        self,
        find: Callable[[], Sequence[GpuReader]],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self._find = find
        self._clock = clock
        self._closed = threading.Event()
        self._wanted = threading.Event()
        self._pause = pause if pause is not None else self._closed.wait
        self._lock = threading.Lock()
        self._samples = Samples()
        self._thread: threading.Thread | None = None

    def want(self, wanted: bool) -> None:
        """Go on reading, or rest until it is wanted again."""
        if not wanted:
            self._wanted.clear()
        elif not self._wanted.is_set():
            self._wanted.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self.run, name="raftmon-gpu", daemon=True)
                self._thread.start()

    def views(self) -> tuple[GpuView, ...]:
        """Return the GPUs; empty while they are not wanted, or cannot be read."""
        with self._lock:
            return self._samples.views(self._clock()) if self._wanted.is_set() else ()

    def idle_for(self) -> float | None:
        """Return for how many seconds none of them has worked, 0 while one does; None: not known."""
        with self._lock:
            return self._samples.idle_for(self._clock()) if self._wanted.is_set() else None

    def close(self) -> None:
        """End the thread, without waiting for a reading in progress."""
        self._closed.set()
        self._wanted.set()

    def run(self) -> None:
        """Read until it is closed, or nothing is there to be read: what the thread does."""
        readers: Sequence[GpuReader] | None = None
        failures = 0
        while not self._pause(SAMPLE_SECONDS):
            self._wanted.wait()
            if self._closed.is_set():
                return
            try:
                readers = self._find() if readers is None else readers
                views = [view for reader in readers for view in reader.read()]
            except Exception:  # whatever a driver's library does, the runs are shown without it
                failures += 1
                if failures >= MOST_FAILURES:
                    return
                continue
            if not readers:
                return
            failures = 0
            with self._lock:
                self._samples.take(views, self._clock())


def find_readers(
    drm: Path = DRM, driver_files: Sequence[Path] = DRIVER_FILES, load: Callable[[], Nvml | None] = load_nvml
) -> list[GpuReader]:
    """Return what reads the GPUs of this machine; a driver that refuses is as good as none."""
    readers: list[GpuReader] = []
    nvml = load() if any(file.exists() for file in driver_files) else None
    if nvml is not None:
        with contextlib.suppress(nvml.NVMLError):
            readers.append(NvidiaGpus(nvml))
    amd = AmdGpus(drm)
    return [*readers, amd] if amd.found else readers


def watch_gpus(drm: Path = DRM, driver_files: Sequence[Path] = DRIVER_FILES) -> GpuWatch | None:
    """Return a watch of this machine's GPUs; None where there cannot be one, so that nothing is imported or started."""
    if not any(file.exists() for file in driver_files) and not AmdGpus(drm).found:
        return None
    return GpuWatch(lambda: find_readers(drm, driver_files))
