"""A campaign directory in the making: files that grow, are torn, fail, and the reader that follows them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from raftmon.model import Problem
from raftmon.runs.campaign_files import CampaignEvidence, CampaignFiles

Rows = Iterable[tuple[str, str, bool]]


def lines(rows: Rows) -> bytes:
    """Rows of prompt, completion and success as halo-forge writes them."""
    return b"".join(
        json.dumps({"prompt": p, "completion": c, "reward": float(s), "success": s, "details": "x"}).encode() + b"\n"
        for p, c, s in rows
    )


def rows(passed: int, failed: int, distinct: int | None = None) -> list[tuple[str, str, bool]]:
    """Accepted completions of ten characters, then rejected ones; eight samples a prompt."""
    distinct = distinct or passed
    verdicts = [(f"answer{n % distinct:04d}", True) for n in range(passed)] + [("no", False)] * failed
    return [(f"prompt {n // 8}", completion, success) for n, (completion, success) in enumerate(verdicts)]


class Opener:
    """Opens real files, counts how often, and fails on command."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.read = 0
        self.broken: set[str] = set()

    def __call__(self, path: Path) -> BinaryIO:
        """Return the content, whose reading is counted."""
        self.opened.append(path.name)
        if path.name in self.broken:
            raise PermissionError(13, "Permission denied")
        opener = self

        class Counting(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                data = super().read(size)
                opener.read += len(data)
                return data

        return Counting(path.read_bytes())


class Campaign:
    """A campaign directory with its reader, whose clock stands at the time of the last file."""

    def __init__(self, path: Path, budget: int = 1 << 20) -> None:
        self.path = path
        self.opener = Opener()
        self.now = 0.0
        self.files = CampaignFiles(path, self.opener, lambda: self.now, budget)
        self.problems: list[Problem] = []

    def write(self, name: str, content: bytes | object, at: float = 0.0) -> None:
        """Write a file, JSON unless bytes are given, that was changed at a time."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        os.utime(path, (at, at))

    def append(self, name: str, content: bytes, at: float) -> None:
        """Add to the end of a file."""
        with (self.path / name).open("ab") as file:
            file.write(content)
        os.utime(self.path / name, (at, at))

    def poll(self) -> CampaignEvidence:
        """Poll with a fresh list of problems."""
        self.problems.clear()
        return self.files.poll(self.problems)
