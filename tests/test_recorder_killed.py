"""A daemon's recorder killed at any moment: the journal is whole, and the next one goes on where it ended."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TypeAlias

import pytest

from raftmon.daemon.recorder import Recorder
from raftmon.happenings import Ledger
from raftmon.history import History
from raftmon.model import Snapshot
from tests import snapshots

RUNS = 5
WRITER = """
import itertools, sys
from pathlib import Path
from raftmon import journal_file
from raftmon.daemon.recorder import Recorder
from raftmon.happenings import Ledger
from tests.test_recorder_killed import world
if sys.argv[3] == "remote":
    journal_file.is_remote = lambda _: True
recorder = Recorder(Path(sys.argv[1]))
print(int(sys.argv[2]) - 1, flush=True)
ledger = Ledger(recorder.open())
recorder.start()
for moment in itertools.count(int(sys.argv[2])):
    recorder.take(world(moment), ledger.take(world(moment), float(moment)))
    print(moment, flush=True)
"""
Said: TypeAlias = tuple[float, str, str, str, str]


def world(moment: int) -> Snapshot:
    """Return what there is at a moment: runs with a finding each that fires and ends, some sooner than others."""
    runs = []
    for number in range(RUNS):
        state = "firing" if moment // (number + 1) % 2 else "resolved"
        finding = snapshots.make_finding("nan-loss", state=state)
        runs.append(snapshots.make_run(f"run_{number}", state="live", findings=(finding,)))
    return snapshots.snapshot(runs)


def live_and_die(path: Path, first: int, lines: int, where: str) -> int:
    """Let a recorder work until it has said so many lines, and kill it; returns the last moment that it saw."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", WRITER, str(path), str(first), where]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        seen = [int(line) for line in islice(writer.stdout, lines + 1)]
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(30) == -signal.SIGKILL
        # The last may be cut off, or not have been said.
        seen += [int(line) for line in writer.stdout if line.endswith("\n")]
    return seen[-1] + 1


def said_in(path: Path) -> list[Said]:
    return [(line.at, line.path, line.kind, line.subject, line.state) for line in History(path).lines()]


def check_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def survive(path: Path, lives: int, chance: random.Random, where: str = "local") -> list[Said]:
    """Let recorders write and be killed; after each life the journal is looked through. Returns what it holds then."""
    moment, kept = 0, list[Said]()
    for _ in range(lives):
        ledger = Ledger(History(path).standing())
        last = live_and_die(path, moment, chance.choice([0, 1, 2, 5, 20, 100, 400, 1_500]), where)
        now = said_in(path)
        if path.exists():
            check_whole(path)
        assert now[: len(kept)] == kept
        new = now[len(kept) :]
        expected = [
            [
                (news.at, news.path, news.kind, news.subject, news.state)
                for news in ledger.take(world(when), float(when))
            ]
            for when in range(moment, last + 1)
        ]
        whole = next(n for n in range(len(expected) + 1) if sum(map(len, expected[:n])) >= len(new))
        assert new == list(chain(*expected[:whole])), "a prefix of what was taken, each moment whole"
        moment, kept = last + 1, now
    recorder = Recorder(path)
    ledger = Ledger(recorder.open())
    recorder.start()
    recorder.take(world(moment), ledger.take(world(moment), float(moment)))
    recorder.close(30.0)
    assert recorder.problems() == []
    assert list(path.parent.glob("*.corrupt-*")) == []
    for number in range(RUNS):
        states = [said[4] for said in said_in(path) if said[1].endswith(f"run_{number}") and said[2] == "finding"]
        assert all(one != other for one, other in pairwise(states)), "nothing is said twice"
        assert states[-1] == world(moment).runs[number].findings[0].state, "nothing is missed"
    return said_in(path)


def test_a_recorder_that_is_killed_leaves_a_whole_journal(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.sqlite3"
    assert len(survive(path, 6, random.Random(8))) > RUNS
    check_whole(path)


def test_nor_does_one_that_lies_on_a_network_file_system_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the journal is one that rolls back: whoever opens it next has to."""
    monkeypatch.setattr("raftmon.journal_file.is_remote", lambda _: True)
    path = tmp_path / "state" / "journal.sqlite3"
    assert len(survive(path, 4, random.Random(10), "remote")) > RUNS
    check_whole(path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_recorder_that_is_killed_often_leaves_a_whole_journal(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.sqlite3"
    assert len(survive(path, 150, random.Random(9))) > RUNS
    check_whole(path)
