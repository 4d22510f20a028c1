"""What surrounds the runs of a monitor: the passing of time, processes and GPUs of this host, which run came next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from raftmon.model import GpuView
from raftmon.runs.writers import Processes, Writer, WriterWatch

__all__ = ["Gpus", "Surroundings"]

MOST_TICK: Final = 60.0
"""Seconds that pass at most between two looks at the clock: more is a clock that was set, or a machine that slept, and
the trainer slept with it."""


class Gpus(Protocol):
    """The GPUs of this host; `raftmon.gpus.watch.GpuWatch` is one. No method may block."""

    def want(self, wanted: bool) -> None:
        """Read them from now on, or no longer."""

    def views(self) -> tuple[GpuView, ...]:
        """Return them as they are; empty if that is not known."""

    def idle_for(self) -> float | None:
        """Return for how many seconds none has worked, 0 while one does; None: not known."""

    def close(self) -> None:
        """Give them back."""


class Surroundings:
    """Shared by all runs that one monitor follows.

    Args:
        processes: of this host, where it may be the one that writes the runs; None: nothing is known of them.
        gpus: of this host, likewise.
        blind: whether what is written would not be seen just now, as while the network to a remote logdir is down.
    """

    def __init__(
        self,
        processes: Processes | None = None,
        gpus: Gpus | None = None,
        blind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.steady = 0.0
        """Seconds of watching that have passed for certain since the start; a clock that jumps does not move it."""
        self._processes = processes
        self._gpus = gpus
        self._blind = blind
        self._now: float | None = None
        self._newest_file: dict[tuple[str, int], float] = {}
        self._newest_cycle: dict[str, int] = {}

    def advance(self, now: float) -> None:
        """Look at the clock.

        Args:
            now: seconds since the epoch.
        """
        if self._now is not None and not self._blind():
            self.steady += min(max(now - self._now, 0.0), MOST_TICK)
        self._now = now

    def gpus(self, wanted: bool) -> tuple[GpuView, ...]:
        """Return the GPUs of this host; empty where none is known, or wanted."""
        if self._gpus is None:
            return ()
        self._gpus.want(wanted)
        return self._gpus.views() if wanted else ()

    @property
    def gpu_idle(self) -> float | None:
        """Seconds for which no GPU has worked; None: not known."""
        return self._gpus.idle_for() if self._gpus is not None else None

    def watch_writer(self) -> WriterWatch:
        """Return what looks at the process that writes a run."""
        return WriterWatch(self._processes)

    def note(self, writer: Writer | None, campaign: str | None, cycle: int | None) -> None:
        """Take in that a run has scalars.

        Args:
            writer: of its newest file, whatever its host.
            campaign: path of its campaign.
            cycle: its number there.
        """
        if writer is not None:
            key = writer.host, writer.pid
            self._newest_file[key] = max(self._newest_file.get(key, writer.began), writer.began)
        if campaign is not None and cycle is not None:
            self._newest_cycle[campaign] = max(self._newest_cycle.get(campaign, cycle), cycle)

    def is_succeeded(self, writer: Writer | None, campaign: str | None, cycle: int | None) -> bool:
        """Tell whether the process of a run has begun another one since, or its campaign another cycle."""
        if campaign is not None and cycle is not None and self._newest_cycle.get(campaign, cycle) > cycle:
            return True
        return writer is not None and self._newest_file.get((writer.host, writer.pid), 0.0) > writer.began

    def close(self) -> None:
        """Give back what was taken."""
        if self._gpus is not None:
            self._gpus.close()
