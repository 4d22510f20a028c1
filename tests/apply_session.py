"""A changer that writes nothing, and the sheet under test."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TypeVar

import pytest

from raftmon.model import Step
from raftmon.override import Override, Undone, difference
from raftmon.tui.screens.apply import ApplySheet
from tests.tui_session import LARGE, MEDIUM, SMALL, Session

BEFORE, AFTER = b"# RAFT\nlearning_rate: 3.07e-05\noptim: adamw\n", b"# RAFT\nlearning_rate: 1.84e-05\noptim: adamw\n"
PLACE = "state/journal.sqlite3"
T = TypeVar("T")
SIZES = pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])


def override(**changes: object) -> Override:
    made = Override(
        config="raft.yaml",
        key="learning_rate",
        trainer="trl",
        cycle=5,
        current=3.07e-5,
        learning_rate=1.84e-5,
        written=1.84e-5,
        applied=False,
        changed=True,
        roll_back_to=None,
        stop=False,
        best_cycle=3,
        authority="stable",
        because=(Step("config", None, "config 3.07e-05"), Step("loss-draws-up", 0.6, "loss-draws-up × 0.6 = 1.84e-05")),
        held_back=(Step("collapse-near", None, "collapse-near asks for: stop; --authority test lets it act"),),
        text="Cycle 5: learning rate 3.07e-05 → 1.84e-05.",
        flag="--learning_rate 1.84e-05",
        diff=difference(BEFORE, AFTER, "raft.yaml"),
        refused=None,
        remedy=None,
        remarks=("`learning_rate` was a text for PyYAML.",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


UNDONE = Undone("raft.yaml", "learning_rate", 5, difference(AFTER, BEFORE, "raft.yaml"))


class FakeChanger:
    """Hands out what the test chose, and notes what it was asked for; waits while `gate` is closed."""

    def __init__(self, proposal: Override | Exception | None = None) -> None:
        self.proposal: Override | Exception = proposal or override()
        self.result: Override | Exception | None = None
        self.past: Undone | Exception = UNDONE
        self.asked: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def place(self) -> str:
        return PLACE

    def dry_run(self) -> Override:
        return self._answer("dry run", self.proposal)

    def apply(self, agreed: Override) -> Override:
        assert agreed == self.proposal
        return self._answer("apply", self.result or replace(agreed, applied=True))

    def look_back(self) -> Undone:
        return self._answer("look back", self.past)

    def undo(self, agreed: Undone) -> Undone:
        assert agreed == self.past
        return self._answer("undo", self.past)

    def _answer(self, name: str, answer: T | Exception) -> T:
        self.asked.append(name)
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def come_to_rest(session: Session, sheet: ApplySheet) -> None:
    """Wait until the thread has ended and its page is shown."""
    assert await asyncio.to_thread(sheet.at_rest.wait, 10)
    await session.pilot.pause()
    await session.pilot.pause()


async def press(session: Session, *keys: str) -> ApplySheet:
    """Press keys one after the other, each after what the one before began has ended."""
    for key in keys:
        await session.press(key)
        if isinstance(session.app.screen, ApplySheet):
            await come_to_rest(session, session.app.screen)
    sheet = session.app.screen
    assert isinstance(sheet, ApplySheet)
    return sheet


def text(sheet: ApplySheet, width: int = 200) -> str:
    return "\n".join(line.plain for line in sheet.lines(width))


def notices(session: Session) -> list[str]:
    return [notice.message for notice in session.app._notifications]
