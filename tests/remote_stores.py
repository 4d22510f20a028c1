"""A remote directory held in memory, with faults to order; see `raftmon.remote.store.Store`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raftmon.remote.listing import Entry, Listing
from raftmon.remote.store import Range


@dataclass
class FakeStore:
    """An object store: every write makes another object, with another tag."""

    tagged: bool = True
    """Whether it tells tags; a file system does not."""
    objects: dict[str, bytes] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    now: float = 1_000_000.0
    requests: int = 0
    refused: Sequence[str] = ()
    ranges: list[Range] = field(default_factory=list)
    bytes_sent: int = 0
    connections: int = 1
    list_faults: list[Exception] = field(default_factory=list)
    """Raised by the next listings, one each."""
    read_faults: list[Exception] = field(default_factory=list)
    """Raised by the next batches of reads, one each."""
    denied: set[str] = field(default_factory=set)
    """Files that may be listed, and not read."""
    failing: set[str] = field(default_factory=set)
    """Files at which the connection breaks."""
    shortened: set[str] = field(default_factory=set)
    """Files of which the last byte of a range does not come."""
    ignores_ranges: bool = False

    def put(self, path: str, data: bytes) -> None:
        """Write an object."""
        self.now += 1.0
        self.objects[path] = data
        self.times[path] = self.now

    def delete(self, path: str) -> None:
        """Delete an object."""
        del self.objects[path], self.times[path]

    def files(self) -> Listing:
        """Return all there is."""
        self.requests += 1
        if self.list_faults:
            raise self.list_faults.pop(0)
        return {
            path: Entry(len(data), self.times[path], f"{hash(data)}" if self.tagged else None)
            for path, data in self.objects.items()
        }

    def read(self, ranges: Sequence[Range]) -> list[bytes | BaseException]:
        """Return the bytes of each range."""
        self.ranges += ranges
        if self.read_faults:
            raise self.read_faults.pop(0)
        answers = [self._read(wanted) for wanted in ranges]
        self.bytes_sent += sum(len(answer) for answer in answers if isinstance(answer, bytes))
        return answers

    def reconnect(self) -> None:
        """Count."""
        self.connections += 1

    def _read(self, wanted: Range) -> bytes | BaseException:
        if wanted.path in self.denied:
            return PermissionError(f"https://key:secret@host/{wanted.path}")
        if wanted.path in self.failing:
            return ConnectionResetError(wanted.path)
        if wanted.path not in self.objects:
            return FileNotFoundError(wanted.path)
        data = self.objects[wanted.path]
        if self.ignores_ranges:
            return data
        end = wanted.end - 1 if wanted.path in self.shortened else wanted.end
        return data[wanted.start : end]
