"""What a service says to systemd, where systemd started it: ready, reloading, alive, ending."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["Notify"]


class Notify:
    """Sends states to the socket that systemd names in ``NOTIFY_SOCKET`` (see sd_notify(3)); without one, nothing.

    Args:
        environ: of the process.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def say(self, *states: str) -> None:
        """Send states such as ``READY=1``; a supervisor that does not listen is no trouble of ours."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(states).encode(), self._address)
