"""The mirrors of one command's remote logdirs: made, kept up to date, shown under their URLs, deleted at the end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from raftmon.errors import NothingToRead, Refused, UsageError
from raftmon.model import Problem
from raftmon.remote.address import Address
from raftmon.remote.mirror import BUDGET, Mirror
from raftmon.remote.private import PrivateDirectory
from raftmon.remote.store import FsspecStore, Store

__all__ = ["Keeper"]

ATTEMPTS: Final = 5
"""Failures in a row after which a single look gives up; the waits between them add up to some ten seconds."""
GIVE_UP_SECONDS: Final = 45.0
"""...or, after a failure, so long after the last success."""
CLOSE_SECONDS: Final = 0.3
"""For all threads to end and all mirrors to be deleted; a supervisor is promised an end within a second."""
DELETE_SECONDS: Final = 0.1
"""...of which the deletion has so much at least."""
_AGAIN: Final = " It is tried again as long as this runs."


class Keeper:
    """Keeps the mirrors of some logdirs, in a directory that only this user may enter.

    Args:
        addresses: the logdirs.
        open_store: opens one of them.
        sleep: waits for so many seconds.
        clock: seconds, monotonic.

    Raises:
        UsageError: a URL cannot be opened at all: the extra is missing, or its kind is unknown.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        open_store: Callable[[Address], Store] = FsspecStore,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        stores = [open_store(address) for address in addresses]
        self._sleep = sleep
        self._clock = clock
        self._stopping = threading.Event()
        self._end = 0.0
        self._threads: list[threading.Thread] = []
        self._addresses: dict[Path, Address] = {}
        self._mirrors: dict[Path, Mirror] = {}
        try:
            self._directory = PrivateDirectory()
        except OSError as error:
            remedy = "Let TMPDIR name a directory that you may write to."
            raise UsageError("TMPDIR", f"no temporary directory: {error.strerror or error}", remedy) from None
        for number, (address, store) in enumerate(zip(addresses, stores, strict=True)):
            # The directory's name counts: it may say that the logdir is a cycle.
            above = self._directory.path / f"{number}"
            root, parts = above / "tree" / _file_name(address), above / "parts"
            root.mkdir(parents=True)
            parts.mkdir()
            self._addresses[root] = address
            self._mirrors[root] = Mirror(store, root, parts, clock, random.random)

    @property
    def roots(self) -> list[Path]:
        """The local directories, in the order of the addresses."""
        return list(self._mirrors)

    @property
    def progress(self) -> float | None:
        """Share (0..1) that was fetched of what is being fetched for the first time; None: nothing is."""
        first = [mirror for mirror in self._mirrors.values() if not mirror.synced and mirror.fault is None]
        shares = [mirror.progress or 0.0 for mirror in first if self._threads]
        return sum(shares) / len(shares) if shares else None

    def fetch(self, alone: bool, whole: bool = False, tell: Callable[[str], None] = lambda _: None) -> None:
        """Fetch all there is, once.

        What fails is one of the `problems`, as long as there is anything to read all the same.

        Args:
            alone: whether there is no other logdir to read.
            whole: whether a part is not enough.
            tell: is told now and then how far it is.

        Raises:
            NothingToRead: nothing could be fetched, and why.
            Refused: a part could not be fetched.
        """
        for root, mirror in self._mirrors.items():
            give_up_at = self._clock() + GIVE_UP_SECONDS
            while mirror.sync(BUDGET) or mirror.fault is not None:
                if mirror.fault is None:
                    give_up_at = self._clock() + GIVE_UP_SECONDS
                    tell(f"{self._addresses[root].shown}: {mirror.progress or 0.0:.0%} read")
                    continue
                if mirror.fault.kind in ("absent", "denied") or mirror.failures >= ATTEMPTS:
                    break
                if self._clock() > give_up_at:
                    break
                self._sleep(mirror.wait())
        if alone and not any(mirror.bytes_read for mirror in self._mirrors.values()):
            for problem in self.problems():
                raise NothingToRead(problem.where, problem.what, problem.remedy)
        for root, mirror in self._mirrors.items():
            for problem in mirror.problems(self._addresses[root].shown) if whole and mirror.lacks_something else ():
                raise Refused(problem.where, f"not all of it could be read: {problem.what}", problem.remedy)

    def start(self) -> None:
        """Keep all of them up to date, each in a thread of its own."""
        for mirror in self._mirrors.values():
            thread = threading.Thread(target=self._keep, args=(mirror,), name="raftmon-mirror", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let the threads end, without waiting for them."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._end = time.monotonic() + CLOSE_SECONDS

    def close(self) -> None:
        """Stop, and delete the mirrors; waits neither for a network that hangs nor for a disk that is slow.

        What is not deleted so long after `stop` goes on being deleted; if the program ends before that is done, the
        next one that makes mirrors does the rest.
        """
        self.stop()
        if not self._threads:
            self._directory.close()
            return
        for thread in self._threads:
            thread.join(max(0.0, self._end - DELETE_SECONDS - time.monotonic()))
        deletion = threading.Thread(target=self._directory.close, name="raftmon-mirror-end", daemon=True)
        deletion.start()
        deletion.join(max(DELETE_SECONDS, self._end - time.monotonic()))

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the remote side."""
        for root, mirror in self._mirrors.items():
            yield from mirror.problems(self._addresses[root].shown, _AGAIN if self._threads else "")

    def shown(self, text: str) -> str:
        """Return text in which the mirrors' paths are replaced by the URLs that they stand for."""
        for root, address in self._addresses.items():
            text = text.replace(str(root), address.shown)
        return text

    def _keep(self, mirror: Mirror) -> None:
        while not self._stopping.is_set():
            mirror.sync(BUDGET)
            self._stopping.wait(mirror.wait())


def _file_name(address: Address) -> str:
    name = address.name.replace("\0", "")[:100]
    return name if name not in ("", ".", "..") else "root"
