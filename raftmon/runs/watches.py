"""Which directories the kernel watches for this process, in its own words, and whether it lost events.

watchdog passes over directories for which no watch is left, does so in ways that differ between its versions, and tells
nobody. The kernel does: ``/proc/self/fdinfo`` has a line for each watch of each inotify instance, with the directory's
inode and device.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from raftmon.runs.tree import Identity

__all__ = ["OverflowListener", "kernel_watches", "queue_limit"]

_FDINFO: Final = Path("/proc/self/fdinfo")
_MAX_QUEUED: Final = Path("/proc/sys/fs/inotify/max_queued_events")
_WATCH: Final = re.compile(rb"^inotify wd:\w+ ino:(\w+) sdev:(\w+)", re.MULTILINE)
_USUAL_QUEUE: Final = 16_384


def kernel_watches(fdinfo: Path = _FDINFO) -> frozenset[Identity] | None:
    """Return device and inode of each directory that this process watches; None where the kernel does not tell."""
    watches: set[Identity] = set()
    instances = 0
    try:
        names = os.listdir(fdinfo)  # noqa: PTH208 - names are enough
    except OSError:
        return None
    for name in names:
        try:
            if os.readlink(fdinfo.parent / "fd" / name) != "anon_inode:inotify":  # noqa: PTH115 - compared as text
                continue
            text = (fdinfo / name).read_bytes()
        except OSError:
            continue  # closed meanwhile
        instances += 1
        for inode, device in _WATCH.findall(text):
            number = int(device, 16)
            # The kernel's own numbering, 12 bits major and 20 minor, not the one that programs see.
            watches.add((os.makedev(number >> 20, number & 0xFFFFF), int(inode, 16)))
    return frozenset(watches) if instances else None


def queue_limit(limit_file: Path = _MAX_QUEUED) -> int:
    """Return how many events the kernel keeps for a program that does not take them."""
    try:
        return int(limit_file.read_text())
    except (OSError, ValueError):
        return _USUAL_QUEUE


class OverflowListener(logging.Handler):
    """Hears watchdog say that events were lost (7.1 and later log it, and tell no handler of events).

    While it listens, watchdog's messages go no further than to the handlers that the program has set up itself.

    Args:
        told: called at each such message, in watchdog's thread.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._told = told
        logging.getLogger("watchdog").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message."""
        if "overflow" in record.getMessage().lower():
            self._told()

    def close(self) -> None:
        """Cease to listen."""
        logging.getLogger("watchdog").removeHandler(self)
        super().close()
