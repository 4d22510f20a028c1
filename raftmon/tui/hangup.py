"""The end of the terminal: a screen that nobody can see must not live on.

The kernel ends a program by SIGHUP when the terminal that controls it goes away. One that was started without (by
`setsid`, in a container, by a service) is not told, and Textual's input thread then reads an end of file over and over,
as fast as it can.
"""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Callable

__all__ = ["tell_of_hangup"]


def tell_of_hangup(tell: Callable[[], object], file: int | None = None) -> None:
    """Have a function called, from another thread, when the terminal is gone; waiting for that costs nothing.

    Args:
        tell: the function.
        file: descriptor of the terminal; None: where standard input is one.
    """
    if file is None:
        if sys.__stdin__ is None or not sys.__stdin__.isatty():
            return
        file = sys.__stdin__.fileno()
    poller = select.poll()
    poller.register(file, 0)  # a hang-up is told of always

    def wait() -> None:
        poller.poll()
        tell()

    threading.Thread(target=wait, name="raftmon-hangup", daemon=True).start()
