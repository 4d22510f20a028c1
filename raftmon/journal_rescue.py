"""A journal whose file is broken: moved aside, with what can still be read of it taken along into a new one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from raftmon.errors import Refused
from raftmon.journal_file import JournalFile

__all__ = ["begin_anew"]

_KEPT: Final = {"overrides": "1", "mutes": "1", "happenings": "stands IS NOT NULL"}
"""What is taken along: `undo` needs the overrides, silence the mutes, a restart what was said last."""


def begin_anew(file: JournalFile, at: float) -> tuple[Path, int]:
    """Move a broken journal and what SQLite keeps beside it aside, and begin a new one.

    Args:
        file: the journal.
        at: seconds since the epoch, for the name.

    Returns:
        Where it is now, and how many lines could be taken along.

    Raises:
        Refused: it cannot be moved, or no new one can be made.
    """
    aside = _name(file.path, at)
    try:
        file.path.rename(aside)
        for ending in ("-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{file.path}{ending}").rename(f"{aside}{ending}")
    except OSError as error:
        what = f"the damaged journal cannot be moved aside: {error.strerror or error}"
        raise Refused(str(file.path), what, "Move it away, or give another with --journal PATH.") from None
    with file.writing() as connection:
        return aside, sum(_take_along(aside, table, where, connection) for table, where in _KEPT.items())


def _name(path: Path, at: float) -> Path:
    stem = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}"
    names = (Path(stem if number == 1 else f"{stem}-{number}") for number in range(1, 1_000))
    return next((name for name in names if not os.path.lexists(name)), Path(stem))


def _take_along(aside: Path, table: str, where: str, connection: sqlite3.Connection) -> int:
    taken = 0
    for columns, row in _readable(aside, table, where):
        with suppress(sqlite3.IntegrityError, sqlite3.OperationalError):  # no row of this table
            names = ", ".join(f'"{column}"' for column in columns)
            marks = ", ".join("?" * len(row))
            taken += connection.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row).rowcount
    return taken


def _readable(aside: Path, table: str, where: str) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
    """Yield the rows of a table up to the first that cannot be read."""
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(aside, isolation_level=None)) as broken:
        rows = broken.execute(f"SELECT * FROM {table} NOT INDEXED WHERE {where}")
        columns = [column[0] for column in rows.description]
        for row in rows:
            yield columns, row
