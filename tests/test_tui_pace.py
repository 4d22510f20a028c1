"""How fast snapshots follow each other: at once after a quiet while, in proportion to their cost in a stream."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from textual.message import Message

from raftmon.model import Snapshot
from raftmon.tui.source import BUSY_SHARE, MOST_PAUSE, Follower, SnapshotArrived
from tests import snapshots

INTERVAL = 0.5


class Rests(threading.Event):
    """Takes down how long was to be waited, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note the time."""
        assert timeout is not None
        self.asked.append(timeout)
        return False


class Stream:
    """Hands out snapshots one after another, each at once; the last ends the follower."""

    def __init__(self, states: Sequence[Snapshot], stopping: threading.Event) -> None:
        self._states = list(states)
        self._stopping = stopping

    def poll(self) -> Snapshot:
        """Return the next one."""
        state = self._states.pop(0)
        if not self._states:
            self._stopping.set()
        return state

    def wait(self, timeout: float) -> bool:
        """There is always news."""
        return True

    def close(self) -> None:
        """Nothing is to be given back."""


def pauses(states: Sequence[Snapshot], cost: float) -> list[float]:
    """Return the pauses of a follower, all of whose rounds cost so many seconds of CPU time."""
    spent = iter(cost * number for number in range(1000))
    posted: list[Message] = []
    stopping = Rests()

    def post(message: Message) -> bool:
        posted.append(message)
        return True

    follower = Follower(Stream(states, stopping), post, INTERVAL, spent=lambda: next(spent), stopping=stopping)
    follower.follow()
    versions = [message.snapshot.version for message in posted if isinstance(message, SnapshotArrived)]
    assert versions == sorted({state.version for state in states})[: len(versions)]
    assert len(posted) == len(versions)
    return stopping.asked


def stream(count: int, *, backfilling: bool = False) -> list[Snapshot]:
    return [replace(snapshots.raft(), version=1 + number, backfilling=backfilling) for number in range(count)]


def test_a_stream_is_slowed_down_to_its_share_of_a_core() -> None:
    cost = 0.02
    assert pauses(stream(5), cost) == pytest.approx([cost / BUSY_SHARE] * 4)


def test_no_news_waits_longer_than_some_intervals() -> None:
    assert pauses(stream(4), 10.0) == [MOST_PAUSE * INTERVAL] * 3


def test_history_is_read_without_pauses() -> None:
    assert pauses(stream(5, backfilling=True), 0.1) == []


def test_what_was_spent_while_nothing_was_new_delays_no_news() -> None:
    first, second = stream(2)
    # Keys and the mouse cost something, too; the unchanged snapshots between are polls after each interval.
    asked = pauses([first, first, first, second], 0.01)
    assert asked[-1] == pytest.approx(0.01 / BUSY_SHARE)
