"""What was found in an event file, collected in the order of the file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raftmon.events.columns import ScalarBatch
from raftmon.events.messages import Message, TextSummary
from raftmon.slotted import dataclass

__all__ = ["Collector", "Decoded", "SessionStart"]


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A writer's note that a (re)started job goes on from a step: later points at or after it are void."""

    before: int
    """How many of the scalars that were found with it stand before the note."""
    step: int
    """The step from which the job goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What was found since somebody last asked."""

    batches: tuple[ScalarBatch, ...]
    """The scalars in file order; no batch is empty."""
    texts: tuple[TextSummary, ...]
    hparams: Mapping[str, object]
    """Name to number, text, bool or None, as logged for TensorBoard's hparams plugin; empty: nothing new."""
    session_starts: tuple[SessionStart, ...]


class Collector:
    """Collects what the ways through a file find, in file order."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._batches: list[ScalarBatch] = []
        self._count = 0
        self._texts: list[TextSummary] = []
        self._hparams: dict[str, object] = {}
        self._session_starts: list[SessionStart] = []
        self._open()

    def _open(self) -> None:
        self._points: list[tuple[str, int, float, float]] = []

    def add_batch(self, batch: ScalarBatch) -> None:
        """Take in many points."""
        if len(batch):
            self._close()
            self._batches.append(batch)
            self._count += len(batch)

    def add_point(self, tag: str, step: int, wall_time: float, value: float) -> None:
        """Take in one point."""
        self._points.append((tag, step, wall_time, value))

    def add_message(self, message: Message, before: int | None = None) -> None:
        """Take in what an event says beside its scalars.

        Args:
            message: the event.
            before: scalars in front of it that are not taken in yet; None: take in its scalars too.
        """
        if before is None:
            for tag, value in message.scalars:
                self.add_point(tag, message.step, message.wall_time, value)
        self._texts += message.texts
        self._hparams.update(message.hparams)
        if message.starts_session:
            count = self._count + len(self._points) + (before or 0)
            self._session_starts.append(SessionStart(count, message.step))

    def take(self) -> Decoded:
        """Hand over what was found since the last call."""
        self._close()
        decoded = Decoded(tuple(self._batches), tuple(self._texts), self._hparams, tuple(self._session_starts))
        if self._batches or self._texts or self._hparams or self._session_starts:
            self._clear()
        return decoded

    def _close(self) -> None:
        """Make a batch of the points that came one by one."""
        if not self._points:
            return
        tags, steps, wall_times, values = zip(*self._points, strict=True)
        numbers = {tag: number for number, tag in enumerate(dict.fromkeys(tags))}
        self._batches.append(
            ScalarBatch(
                tuple(numbers),
                np.array([numbers[tag] for tag in tags], np.int32),
                np.array(steps, np.int64),
                np.array(wall_times, np.float64),
                np.array(values, np.float64),
            )
        )
        self._count += len(self._points)
        self._open()
