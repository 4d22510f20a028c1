"""A moment as a person writes it: some time ago, a date, a date with a time, seconds since the epoch."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from raftmon.errors import UsageError

__all__ = ["LEGAL", "read_moment"]

LEGAL: Final = "45s, 30m, 2h, 3d or 2w ago; 2026-11-22; 2026-11-22T14:30, with Z or +02:00 if not local; @1795300000"
"""What can be written."""
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", re.ASCII)
_EPOCH: Final = re.compile(r"@(\d{1,12}(?:\.\d{1,9})?)", re.ASCII)


def read_moment(text: str, now: float, option: str) -> float:
    """Return a moment in seconds since the epoch; without a zone it is local time.

    Args:
        text: as it was typed.
        now: seconds since the epoch.
        option: the flag that it was given with.

    Raises:
        UsageError: it is none, and what could be written.
    """
    ago, epoch = _AGO.fullmatch(text.strip()), _EPOCH.fullmatch(text.strip())
    if ago is not None:
        return now - float(ago[1]) * _UNITS[ago[2]]
    if epoch is not None:
        return float(epoch[1])
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{option} '{text}'", "no time", f"Write {LEGAL}.") from None
