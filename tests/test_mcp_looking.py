"""The thread that looks while agents ask: what it waits for, and what it tells of faults."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from raftmon.errors import NothingToRead, RaftmonError, Refused
from raftmon.mcp.looking import BREATH, TICK, Looker
from raftmon.model import Snapshot
from tests import snapshots


class Script:
    """A source that is polled by a thread, and waits for its end."""

    def __init__(self, *states: Snapshot | Exception) -> None:
        self.states = list(states)
        self.closed = threading.Event()
        self.asked = list[str]()

    def poll(self) -> Snapshot:
        self.asked.append("poll")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def wait(self, timeout: float) -> bool:
        self.asked.append(f"wait {timeout:g}")
        return self.closed.wait(0.001)

    def close(self) -> None:
        self.closed.set()


def test_a_question_waits_until_all_was_read_once() -> None:
    whole = snapshots.raft()
    source = Script(replace(whole, backfilling=True), replace(whole, backfilling=True), whole)
    looker = Looker(lambda: source, patience=10.0)
    looker.start()
    assert looker.snapshot() is whole
    looker.close()
    assert source.closed.is_set()
    assert source.asked[:6] == ["poll", f"wait {BREATH:g}"] * 2 + ["poll", f"wait {TICK:g}"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NothingToRead("s3://b", "not there", "Look."), "not there"),
        (ValueError("bad"), "raftmon failed (ValueError: bad)"),
    ],
)
def test_what_cannot_be_read_is_told_with_each_answer(error: Exception, said: str) -> None:
    looker = Looker(lambda: Script(error), patience=10.0)
    looker.start()
    for _ in range(2):
        with pytest.raises(RaftmonError, match=r"not there|raftmon failed") as raised:
            looker.snapshot()
        assert said in raised.value.what
    looker.close()


def test_a_question_does_not_wait_for_ever() -> None:
    looker = Looker(lambda: Script(replace(snapshots.raft(), backfilling=True)), patience=0.01)
    looker.start()
    with pytest.raises(Refused, match="not read to their ends"):
        looker.snapshot()
    looker.close()
