"""The verdicts of a verifier, one JSON object a line, while the file is being written.

The line format is halo-forge's: ``{"prompt", "completion", "reward", "success", "details"}``. Files hold millions of
lines and grow, so each byte is read once and only tallies are kept.

halo-forge writes the file sorted by reward, best first: half of it tells nothing but lies. Its rate therefore counts
only when the file ends with a whole line, or when a torn line was not mended for `SETTLE_SECONDS` (the writer died).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from raftmon.model import Problem
from raftmon.runs.diversity import DISTINCT_EXACT, DistinctCount, OutputSample, PromptTally

if TYPE_CHECKING:
    from os import stat_result

__all__ = ["DISTINCT_EXACT", "SETTLE_SECONDS", "DistinctCount", "Tally", "VerifiedFile"]

SETTLE_SECONDS: Final = 60.0
"""After so long without growth a torn last line stays torn."""
_CHUNK: Final = 1 << 20
_LONGEST_LINE: Final = 16 << 20
_MISSING: Final = b"null"


@dataclass(slots=True)
class Tally:
    """What the lines of a file add up to."""

    lines: int = 0
    """Whole lines read, empty and broken ones included."""
    judged: int = 0
    passed: int = 0
    broken: int = 0
    """Lines that are no JSON object with a verdict."""
    first_broken: int | None = None
    """Its number, from 1."""
    completions: int = 0
    """Accepted lines that hold their completion."""
    characters: int = 0
    """Sum of the lengths of those completions."""
    squares: int = 0
    """Sum of the squares of the lengths."""
    prompts: PromptTally = field(default_factory=PromptTally)
    accepted: DistinctCount = field(default_factory=DistinctCount)
    sample: OutputSample = field(default_factory=OutputSample)

    @property
    def unique_fraction(self) -> float | None:
        """Distinct accepted completions over accepted ones; None without any."""
        return min(1.0, self.accepted.count / self.completions) if self.completions else None

    @property
    def mean_length(self) -> float | None:
        """Mean length of the accepted completions in characters; None without any."""
        return self.characters / self.completions if self.completions else None

    @property
    def length_variation(self) -> float | None:
        """Standard deviation of those lengths over their mean; None without any."""
        if not self.characters:
            return None
        mean = self.characters / self.completions
        return math.sqrt(max(0.0, self.squares / self.completions - mean * mean)) / mean

    def add(self, line: bytes) -> None:
        """Take in one line without its end."""
        self.lines += 1
        if not line.strip():
            return
        verdict = _decode(line)
        if verdict is None:
            self.broken += 1
            self.first_broken = self.first_broken or self.lines
            return
        self.judged += 1
        prompt, completion = bytes(verdict.prompt), bytes(verdict.completion)
        if prompt != _MISSING:
            self.prompts.add(prompt, verdict.success)
        if not verdict.success:
            return
        self.passed += 1
        if completion != _MISSING:
            text = _text(completion)
            self.completions += 1
            self.characters += len(text)
            self.squares += len(text) ** 2
            self.accepted.add(completion)
            self.sample.add(text)


class _Verdict(msgspec.Struct):
    """One line; everything else in it is skipped without being built."""

    success: bool
    prompt: msgspec.Raw = msgspec.Raw(_MISSING)
    completion: msgspec.Raw = msgspec.Raw(_MISSING)


_strict = msgspec.json.Decoder(_Verdict)


def _decode(line: bytes) -> _Verdict | None:
    try:
        return _strict.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        pass
    try:
        # Python's writer says NaN, which is no JSON, and some verifiers say 0 and 1.
        record = json.loads(line)
        success = record["success"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if success not in (0, 1):
        return None
    return _Verdict(bool(success), *(_raw(record.get(name)) for name in ("prompt", "completion")))


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def _text(completion: bytes) -> str:
    """Return a completion; where it is no plain text, its JSON."""
    try:
        return msgspec.json.decode(completion, type=str)
    except msgspec.MsgspecError:
        return completion.decode(errors="replace")


class VerifiedFile:
    """One file of verdicts, read as it grows.

    Args:
        path: the file.
        opener: opens it for reading bytes.
    """

    def __init__(self, path: Path, opener: Callable[[Path], BinaryIO]) -> None:
        self.path = path
        self.tally = Tally()
        self.more = False
        """Whether the budget of the last reading ended before the file did."""
        self._opener = opener
        self._identity: tuple[int, int] | None = None
        self._seen: tuple[int, int] | None = None
        self._offset = 0
        self._before_offset = b""
        self._torn = False
        self._skipping = False
        self._unreadable: str | None = None

    def read(self, status: stat_result, budget: int) -> int:
        """Read what is new.

        Args:
            status: of the file, as it is now.
            budget: bytes to read at most; the rest waits for the next call. A line is read in one call or not at all,
                so that a budget below the longest line never gets on.

        Returns:
            Bytes read.
        """
        identity, seen = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
        if seen == self._seen and identity == self._identity and not self.more:
            return 0
        if budget <= 0:
            self.more = True
            return 0
        if identity != self._identity or status.st_size <= self._offset:
            self._begin_again()
        self._identity, self._seen = identity, seen
        try:
            with self._opener(self.path) as file:
                if not self._continues(file):
                    self._begin_again()
                read = self._read_lines(file, budget)
        except OSError as error:
            # Another mode or owner leaves size and time as they are: look again at the next poll.
            self._unreadable, self._seen, self.more = error.strerror or str(error), None, False
            return 0
        self._unreadable = None
        return read

    def settled(self, now: float, quiet: float = 0.0) -> bool:
        """Tell whether the tally is that of the whole file.

        Args:
            now: seconds since the epoch, on the clock of the file system.
            quiet: seconds without growth after which a file of whole lines counts as done.
        """
        if self.more or self._seen is None or self._unreadable is not None:
            return False
        needed = SETTLE_SECONDS if self._torn else quiet
        return needed == 0.0 or now - self._seen[1] / 1e9 > needed

    @property
    def problem(self) -> Problem | None:
        """What is wrong with the file, or None."""
        if self._unreadable is not None:
            return Problem(str(self.path), f"cannot be read: {self._unreadable}", "Check the file's permissions.")
        if not self.tally.broken:
            return None
        count = "1 line is" if self.tally.broken == 1 else f"{self.tally.broken} lines are"
        return Problem(
            f"{self.path}:{self.tally.first_broken}",
            f"{count} no JSON object with `success` true or false; left out",
            "Write one object a line: prompt, completion, reward, success.",
        )

    def _begin_again(self) -> None:
        self.tally = Tally()
        self._offset, self._before_offset, self._torn, self._skipping = 0, b"", False, False

    def _continues(self, file: BinaryIO) -> bool:
        """Tell whether the bytes before the place we are at are still those that we read, and go there."""
        file.seek(self._offset - len(self._before_offset))
        return file.read(len(self._before_offset)) == self._before_offset

    def _read_lines(self, file: BinaryIO, budget: int) -> int:
        file.seek(self._offset)
        read, rest = 0, b""
        self.more = False
        while chunk := file.read(min(_CHUNK, budget - read)):
            read += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line + b"\n")
            if len(rest) > _LONGEST_LINE:
                self._skip(rest)
                rest = b""
            if read >= budget:
                self.more = bool(file.read(1))
                break
        # The object is whole although its line has no end: the last line of a file written without one.
        if rest and not self.more and not self._skipping and _decode(rest) is not None:
            self._take(rest)
            rest = b""
        self._torn = bool(rest) or self._skipping
        return read

    def _take(self, line: bytes) -> None:
        if self._skipping:
            self._skipping = False
        else:
            self.tally.add(line.rstrip(b"\r\n"))
        self._advance(line)

    def _skip(self, start: bytes) -> None:
        """Give up on a line that is too long to hold: what follows, up to its end, is no line of its own."""
        if not self._skipping:
            self.tally.add(b"?")
        self._skipping = True
        self._advance(start)

    def _advance(self, consumed: bytes) -> None:
        self._offset += len(consumed)
        self._before_offset = (self._before_offset + consumed)[-256:]
