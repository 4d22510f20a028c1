"""What does it cost to be woken by a file that grew by five records, after it had a hundred thousand?

usage: python -m tests.benchmarks.ingest_wake (read | follow) EVENTS TIMES

``read`` measures the reader alone; ``follow`` what series, signals and rules take beside it. The file is that of a run
that logs five tags at each step; each wake-up finds one step more. Prints the CPU time of each wake-up in
nanoseconds, as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from raftmon.advice.judging import RunJudge
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import read_weighing
from raftmon.events.tail import EventFile, FileUpdate
from raftmon.runs.logdir import Run
from raftmon.runs.roles import RoleTable
from tests.benchmarks.event_records import encode, framed, opening
from tests.benchmarks.event_sets import FILE_NAME, TAGS, cycle

__all__ = ["NEW", "Measure", "main", "spent_following", "spent_reading"]

Measure: TypeAlias = Callable[[Path, int, int], list[int]]
"""An empty directory, events before the first wake-up, wake-ups -> CPU nanoseconds of each."""

NEW: Final = 5
"""Records of a wake-up."""


def _steps(events: int, times: int) -> Iterator[bytes]:
    """Yield a file's first bytes with so many events, then the records of each of so many steps."""
    rows = cycle(events // NEW + times, tags=TAGS[:NEW])
    yield framed(opening()) + encode(rows.slice(0, events))
    for start in range(events, events + NEW * times, NEW):
        yield encode(rows.slice(start, start + NEW))


def _grow(
    events: int, times: int, file: BinaryIO, catch_up: Callable[[], Any], wake_up: Callable[[], int]
) -> list[int]:
    """Let a file grow, and return what `wake_up` returned after each step."""
    first, *steps = _steps(events, times)
    file.write(first)
    catch_up()
    found = []
    for step in steps:
        file.write(step)
        found.append(wake_up())
    return found


def spent_reading(directory: Path, events: int, times: int) -> list[int]:
    """Return the CPU nanoseconds in which the reader takes in each step."""
    reader = EventFile(directory / FILE_NAME)

    def catch_up() -> None:
        while reader.read().more:
            pass

    def wake_up() -> int:
        begun = time.process_time_ns()
        update = reader.read()
        spent = time.process_time_ns() - begun
        _expect(sum(map(len, update.batches)))
        return spent

    with (directory / FILE_NAME).open("wb", buffering=0) as file:
        return _grow(events, times, file, catch_up, wake_up)


class _Timed(EventFile):
    """Keeps what its last read took, in CPU nanoseconds."""

    spent = 0

    def read(self, *arguments: Any, **named: Any) -> FileUpdate:
        """Read as any other file, by the clock."""
        begun = time.process_time_ns()
        update = super().read(*arguments, **named)
        self.spent = time.process_time_ns() - begun
        return update


def spent_following(directory: Path, events: int, times: int) -> list[int]:
    """Return the CPU nanoseconds that run and judge take for each step, reading left out."""
    reader = _Timed(directory / FILE_NAME)
    run = Run("run", directory, open_file=lambda _: reader)
    run.add_file(reader.path)
    rules = [rule for rule in load_rules() if rule.subject == "run"]
    judge = RunJudge(run, rules, read_weighing(SHIPPED_RULES / "verdict.yaml"), RoleTable.load(SHIPPED_RULES, []))

    def catch_up() -> None:
        more = True
        while more:
            update = run.poll(8 << 20)
            judge.follow(update, in_campaign=False)
            more = update.more

    def wake_up() -> int:
        begun = time.process_time_ns()
        update = run.poll(8 << 20)
        # As the monitor does it, which looks beside a growing run once a second.
        judge.follow(update, in_campaign=False, look_beside=False)
        spent = time.process_time_ns() - begun
        _expect(update.points)
        return spent - reader.spent

    with (directory / FILE_NAME).open("wb", buffering=0) as file:
        return _grow(events, times, file, catch_up, wake_up)


def _expect(points: int) -> None:
    if points != NEW:
        raise ValueError(f"a wake-up brought {points} points instead of {NEW}")


def main() -> None:
    """Measure and print."""
    part, events, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as directory:
        spent = {"read": spent_reading, "follow": spent_following}[part](Path(directory), events, times)
    json.dump(spent, sys.stdout)


if __name__ == "__main__":
    main()
