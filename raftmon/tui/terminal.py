"""The terminal: there must be one, and a screen that nobody can see must not live on.

The kernel ends a program by SIGHUP when the terminal that controls it goes away. One that was started without (by
`setsid`, in a container, by a service) is not told, and Textual's input thread then reads an end of file over and over,
as fast as it can.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable

from raftmon.errors import UsageError

__all__ = ["require_terminal", "tell_of_hangup"]


def require_terminal() -> None:
    """Raise `UsageError` where there is nothing to draw on; a browser's tab is no terminal, and has its own driver."""
    if os.environ.get("TEXTUAL_DRIVER"):
        return
    # Textual reads keys from standard input and draws on standard error.
    for name, stream in (("input", sys.__stdin__), ("error", sys.__stderr__)):
        if stream is None or not stream.isatty():
            remedy = "`raftmon advise LOGDIR --follow` prints what changes; `watch LOGDIR --web` shows it in a browser."
            raise UsageError(f"standard {name}", "is no terminal, and the screen needs one", remedy)


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
