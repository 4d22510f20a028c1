"""Mutes under test: a store in memory that fails or waits on command, and a desk that takes each answer in."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field, replace
from typing import cast

from textual.message import Message

from raftmon.errors import Refused
from raftmon.journal import Applied
from raftmon.model import CampaignView, Mute, RunView, Snapshot
from raftmon.tui.mutes import Mutes, MutesArrived
from tests import snapshots

RULE, THEIRS = "loss-draws-up", "cycle-rate-falls"
TITLE = "Loss climbs away from its lowest point"
LOCKED = Refused("/state/journal.sqlite3", "the journal cannot be used: database is locked", "Give another journal.")


@dataclass
class FakeStore:
    """Mutes in memory; fails or waits on command."""

    mutes: dict[tuple[str, str], Mute] = field(default_factory=dict)
    overrides: list[Applied] = field(default_factory=list)
    trouble: Exception | None = None
    asked: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    links: threading.Event = field(default_factory=threading.Event)
    """Unset: to follow links waits, as on a file system that hangs."""
    places: list[tuple[str, str]] = field(default_factory=list)
    """Paths that were asked for, each with the name of the thread."""

    def __post_init__(self) -> None:
        self.gate.set()
        self.links.set()

    def place(self, path: str) -> str:
        self.places.append((path, threading.current_thread().name))
        assert self.links.wait(10)
        return path

    def standing(self) -> list[Mute]:
        self.asked += 1
        assert self.gate.wait(10)
        if self.trouble is not None:
            raise self.trouble
        return list(self.mutes.values())

    def applied(self) -> list[Applied]:
        if self.trouble is not None:
            raise self.trouble
        return self.overrides

    def keep(self, path: str, rule: str, seen: float | None, muted: bool) -> None:
        assert self.gate.wait(10)
        if self.trouble is not None:
            raise self.trouble
        if muted:
            self.mutes[path, rule] = Mute(path, rule, seen, 1.0)
        else:
            self.mutes.pop((path, rule), None)


def live(snapshot: Snapshot) -> RunView:
    return snapshot.runs[0]


def store_with(view: RunView | CampaignView, rule: str = RULE, seen: float | None = None) -> FakeStore:
    store = FakeStore()
    store.keep(view.path, rule, seen, True)
    return store


def calm_and_alarm() -> tuple[Snapshot, Snapshot]:
    alarm = snapshots.raft(2)
    quiet = replace(live(alarm), findings=())
    return replace(alarm, version=1, runs=(quiet, *alarm.runs[1:])), alarm


class Desk:
    """Mutes, over a fake store unless given, each answer taken in before the next question."""

    def __init__(self, mutes: Mutes | None = None) -> None:
        self.store, self.answers = FakeStore(), queue.SimpleQueue[MutesArrived]()
        self.mutes = mutes or Mutes(self.store)
        self.mutes.begin(self._post)
        self.take()

    def _post(self, message: Message) -> bool:
        self.answers.put(cast(MutesArrived, message))
        return True

    def take(self) -> str:
        return self.mutes.take(self.answers.get(timeout=10))
