"""Whether the daemon lives, and whether what it says is up to date."""

from __future__ import annotations

from raftmon.slotted import dataclass

__all__ = ["Health"]


@dataclass(frozen=True, slots=True)
class Health:
    """What a supervisor asks."""

    live: bool
    """Whether its loop goes round; False: restart it."""
    ready: bool
    """Whether all files have been read to their ends since the start, or since the settings were read anew."""
    why: str
    """In words, where one of the two is not so; else empty."""
