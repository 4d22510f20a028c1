"""Replays a recorded campaign: its own bytes, appended in the order in which the trainer wrote them, only faster.

``python -m raftmon.demo.replay TARGET --seconds 30`` does it in a process of its own, as a trainer would.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from raftmon.errors import RaftmonError, UsageError

__all__ = ["RECORDING", "replay", "start_replay"]

RECORDING: Final = Path(__file__).parent / "recording"
"""The campaign that is shipped with raftmon; its README tells how it was made."""

LINES_AT_ONCE: Final = 32
"""Judged samples that are appended together, as a verifier writes them batch by batch."""

PHASES: Final = (("_verified.jsonl", 0.25), ("", 0.6), ("_heldout.jsonl", 0.15))
"""What belongs to a cycle, in the order of writing: ending of the name (empty: the directory with the event files)
and its share of the cycle's time."""

_CYCLE: Final = re.compile(r"cycle_(\d+)")
_LENGTH: Final = struct.Struct("<Q")
_FRAME_BYTES: Final = 16
"""What a TFRecord takes beyond its data: the length, its checksum, the checksum of the data."""


def replay(
    recording: Path,
    target: Path,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Append a recorded campaign to a directory, piece by piece.

    Every cycle takes the same time. Wall times inside the records stay as they were.

    Args:
        recording: directory with ``cycle_N_verified.jsonl``, ``cycle_N/`` and ``cycle_N_heldout.jsonl``; files whose
            names end in ``.gz`` are unpacked.
        target: where the files grow, under the same names without ``.gz``; made if it is missing.
        seconds: how long the whole campaign takes; 0 writes everything at once.
        clock: seconds that only ever grow.
        sleep: waits for so many seconds.

    Raises:
        RaftmonError: there is no campaign in `recording`, or one in `target` already.
    """
    if target.is_dir() and any(_CYCLE.match(path.name) for path in target.iterdir()):
        raise UsageError(str(target), "there is a campaign already", "Name a new or an empty directory.")
    start, parent = clock(), os.getppid()
    for due, name, piece in _schedule(recording):
        if os.getppid() != parent:
            return  # whoever watched was killed: nobody is left to write for
        wait = start + due * seconds - clock()
        if wait > 0:
            sleep(wait)
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(piece)


def start_replay(target: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Start to replay the shipped recording in another process.

    Args:
        target: directory of the campaign.
        seconds: how long the campaign takes.

    Returns:
        The process; it ends by itself, or with exit code 0 when it is terminated.
    """
    command = [sys.executable, "-m", "raftmon.demo.replay", str(target), "--seconds", str(seconds)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _schedule(recording: Path) -> Iterator[tuple[float, str, bytes]]:
    """Yield each piece with its time (0..1 of the whole) and the name of its file, in the order of writing."""
    numbers = {int(found[1]) for path in recording.glob("cycle_*") if (found := _CYCLE.match(path.name))}
    if not numbers:
        raise RaftmonError(str(recording), "there is no recorded campaign", "Name a directory with cycle_1 in it.")
    for index, number in enumerate(sorted(numbers)):
        begin = index / len(numbers)
        for ending, share in PHASES:
            pieces = list(_pieces(recording, f"cycle_{number}{ending}"))
            for at, (name, piece) in enumerate(pieces):
                yield begin + share / len(numbers) * at / len(pieces), name, piece
            begin += share / len(numbers)


def _pieces(recording: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield what is written at once under one name of a cycle: some lines of a file, or one record."""
    if (recording / name).is_dir():
        for path in sorted((recording / name).rglob("events.out.tfevents.*")):
            for record in _records(path.read_bytes()):
                yield str(path.relative_to(recording)), record
        return
    packed, plain = recording / f"{name}.gz", recording / name
    if packed.is_file() or plain.is_file():
        content = gzip.decompress(packed.read_bytes()) if packed.is_file() else plain.read_bytes()
        lines = content.splitlines(keepends=True)
        for at in range(0, len(lines), LINES_AT_ONCE):
            yield name, b"".join(lines[at : at + LINES_AT_ONCE])


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _LENGTH.size <= len(data):
        end = at + _FRAME_BYTES + _LENGTH.unpack_from(data, at)[0]
        yield data[at:end]
        at = end
    if at < len(data):
        yield data[at:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``python -m raftmon.demo.replay`` and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m raftmon.demo.replay", description="Replay a recorded campaign.")
    parser.add_argument("target", type=Path, help="directory in which the campaign grows")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it takes (default: 30)")
    parser.add_argument("--recording", type=Path, default=RECORDING, help="another campaign to replay")
    asked = parser.parse_args(arguments)
    # Whoever watches ends the demo with a signal: that is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        replay(asked.recording, asked.target, seconds=asked.seconds)
    except RaftmonError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
