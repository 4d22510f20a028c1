"""How a person left the screens of a logdir: kept until they come back.

One small JSON file for each set of logdirs, in the user's state directory. It is written as a whole or not at all. One
that cannot be read is ignored, which is said, and replaced at the next end.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from raftmon.slotted import dataclass

__all__ = ["BrokenState", "State", "StateFile", "default_file"]

SCHEMA: Final = "raftmon/watch-state@1"
MOST_BYTES: Final = 1 << 16


class BrokenState(Exception):
    """A state file cannot be read; its text says which and why."""


@dataclass(frozen=True, slots=True)
class State:
    """What is kept."""

    theme: str | None = None
    """Name of the theme; None: never chosen."""
    log: bool = False
    """Whether the y axes are logarithmic."""
    chart: str | None = None
    """Role of the chart that is enlarged."""
    filter: str = ""
    """Of the runs, as typed."""

    @classmethod
    def of(cls, document: Mapping[str, object]) -> State:
        """Return what a document says; what it says in another form is left out."""
        theme, log, chart, text = (document.get(name) for name in ("theme", "log", "chart", "filter"))
        return cls(
            theme if isinstance(theme, str) else None,
            log is True,
            chart if isinstance(chart, str) else None,
            text if isinstance(text, str) else "",
        )


def default_file(logdirs: Sequence[object]) -> Path:
    """Return where the state of some logdirs lies for this user."""
    from platformdirs import user_state_path

    names = sorted(os.path.realpath(str(one)) if isinstance(one, Path) else str(one) for one in logdirs)
    key = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return user_state_path("raftmon", appauthor=False) / "watch" / f"{key}.json"


class StateFile:
    """The file.

    Args:
        path: where it lies; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> State:
        """Return what was kept; without a file, the defaults.

        Raises:
            BrokenState: there is a file, and it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            document = json.loads(data) if len(data) <= MOST_BYTES else None
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise BrokenState(f"{self.path} is ignored: {error.strerror or 'it cannot be read'}") from error
        except (ValueError, RecursionError) as error:
            raise BrokenState(f"{self.path} is ignored: it is not JSON") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise BrokenState(f"{self.path} is ignored: it is no `{SCHEMA}`")
        return State.of(document)

    def write(self, state: State) -> None:
        """Keep a state; the file is replaced as a whole.

        Raises:
            OSError: it cannot be written.
        """
        document = {
            "schema": SCHEMA,
            "theme": state.theme,
            "log": state.log,
            "chart": state.chart,
            "filter": state.filter,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        made = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file)
            made.replace(self.path)
        except BaseException:
            made.unlink()
            raise
