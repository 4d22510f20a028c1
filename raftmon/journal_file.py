"""The journal's file: opened for one question or one transaction, brought to the newest schema, its trouble told."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from raftmon.errors import Refused
from raftmon.runs.watch import is_remote

__all__ = ["MIGRATIONS", "Damaged", "Foreign", "JournalFile"]

BUSY_SECONDS: Final = 5.0
"""How long another writer of the journal is waited for."""
MIGRATIONS: Final[Sequence[str]] = (
    """
    CREATE TABLE overrides (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        config TEXT NOT NULL,
        campaign TEXT NOT NULL,
        key TEXT NOT NULL,
        cycle INTEGER,
        learning_rate REAL,
        evidence_factor REAL,
        before BLOB NOT NULL,
        after BLOB NOT NULL,
        document TEXT NOT NULL,
        undone_at REAL
    ) STRICT;
    CREATE INDEX overrides_by_config ON overrides (config, id);
    """,
    """
    CREATE TABLE mutes (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        path TEXT NOT NULL,
        rule TEXT NOT NULL,
        seen REAL,
        lifted_at REAL
    ) STRICT;
    CREATE UNIQUE INDEX mutes_that_stand ON mutes (path, rule) WHERE lifted_at IS NULL;
    """,
    """
    CREATE TABLE happenings (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        place TEXT NOT NULL,
        seen_as BLOB,
        name TEXT NOT NULL,
        subject TEXT NOT NULL,
        state TEXT NOT NULL,
        text TEXT NOT NULL,
        severity TEXT,
        step INTEGER,
        value REAL,
        readings TEXT,
        title TEXT NOT NULL,
        late INTEGER NOT NULL,
        stands INTEGER
    ) STRICT;
    CREATE INDEX happenings_by_time ON happenings (at);
    CREATE INDEX happenings_by_place ON happenings (place, at);
    CREATE UNIQUE INDEX happenings_that_stand ON happenings (place, kind, subject) WHERE stands IS NOT NULL;
    """,
)
"""Statements that lead from one version of the schema to the next; the version is SQLite's ``user_version``."""
_REMEDY: Final = "Give another journal with --journal PATH."
_INCREMENTAL: Final = 2
"""SQLite's name for a file whose free room can be given back bit by bit."""
_FREE_PART: Final = 4
"""Room is given back when a quarter of the file is free: less is soon filled again."""
_AT_ONCE: Final = 5_000
"""Pages given back in one transaction: other processes write in between."""
_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Damaged(Refused):
    """A journal whose file is broken: waiting does not mend it."""


class Foreign(Refused):
    """A database that is not this raftmon's to use."""


class JournalFile:
    """An SQLite file that several processes may use, made when it is first written to.

    Args:
        path: where it lies.

    Every method raises `Refused` where the file cannot be used, with the reason.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(self, since: int, mode: Literal["ro", "rw"] = "ro") -> Iterator[sqlite3.Connection | None]:
        """Open the journal for a question; None where there is none yet, or one of a schema before `since`."""
        with self._trouble():
            if not self.path.exists():
                yield None
                return
            with closing(self._open_for_reading(mode)) as connection:
                version = _version(connection)
                if version > len(MIGRATIONS):
                    raise self._too_new(version)
                yield connection if version >= since else None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open the journal for one transaction."""
        with self._trouble():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                # Configs may hold keys and tokens.
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
            with closing(self._connect()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection

    def check(self) -> None:
        """Raise `Damaged` where the file of a journal is broken, also in a part that nobody asks for yet."""
        # Only who may write can take back what a killed process left half written: that is no damage.
        with self.reading(0, "rw") as connection:
            if connection is not None:
                (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if answer != "ok":
                    raise Damaged(str(self.path), f"the journal is damaged: {answer}", _REMEDY)

    def shrink(self) -> None:
        """Give the room of what was deleted back to the file system; not where another process is in the journal."""
        with self._trouble(), closing(self._connect()) as connection:
            free, pages, mode = connection.execute(
                "SELECT (SELECT freelist_count FROM pragma_freelist_count), (SELECT page_count FROM pragma_page_count),"
                " (SELECT auto_vacuum FROM pragma_auto_vacuum)"
            ).fetchone()
            if free * _FREE_PART < pages:
                return
            with suppress(sqlite3.OperationalError):
                if mode != _INCREMENTAL:
                    # A journal of an older version: what is to be given back has to be known from the first page on.
                    connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
                    connection.execute("VACUUM")
                else:
                    for _ in range(0, free, _AT_ONCE):
                        # Not `execute`: that ends such a statement at its first page.
                        connection.executescript(f"PRAGMA incremental_vacuum({_AT_ONCE})")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open_for_reading(self, mode: Literal["ro", "rw"] = "ro") -> sqlite3.Connection:
        """Open the journal for questions; what a process that was killed left half written is taken back."""
        try:
            return self._opened(f"mode={mode}")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK and mode == "ro":
                return self._open_for_reading("rw")
            if not self._is_still(error):
                raise
            return self._opened("mode=ro&immutable=1")

    def _opened(self, how: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?{how}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            _version(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_still(self, error: sqlite3.OperationalError) -> bool:
        """Tell whether a journal was refused only because nobody writes here, so that it is whole as it lies there.

        In WAL mode even a reader makes a file beside it; where it may not, nobody else writes either. Pages that a
        killed process wrote are in the file, though, as long as a rollback journal tells how to take them back.
        """
        with suppress(FileNotFoundError):
            if Path(f"{self.path}-journal").stat().st_size:
                return False
        code = error.sqlite_errorcode & 0xFF
        return code == sqlite3.SQLITE_CANTOPEN or (
            code == sqlite3.SQLITE_READONLY and not os.access(self.path.parent, os.W_OK)
        )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            # In one statement: another process may be making the tables right now.
            version, tables = connection.execute(
                "SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_master)"
            ).fetchone()
            if tables and not version:
                raise Foreign(str(self.path), "a database of another program", _REMEDY)
            if not tables:
                connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
            # Machines share no memory through a network file system, and SQLite does not notice that by itself.
            mode = "DELETE" if is_remote(self.path.parent) else "WAL"
            with suppress(sqlite3.OperationalError):
                # Refused while another process is in it, which has then set the mode itself.
                connection.execute(f"PRAGMA journal_mode = {mode}")
            # An override must be in the journal before it is in the config, even if the power fails.
            connection.execute("PRAGMA synchronous = FULL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise self._too_new(version)
        if version == len(MIGRATIONS):
            return
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            # Asked again under the lock: another process may have done it.
            for number in range(_version(connection), len(MIGRATIONS)):
                for statement in MIGRATIONS[number].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")

    def _too_new(self, version: int) -> Foreign:
        what = f"is of a newer raftmon (schema {version}, known: {len(MIGRATIONS)})"
        return Foreign(str(self.path), what, f"Update raftmon. {_REMEDY}")

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Turn what SQLite and the file system raise into a refusal with a remedy."""
        try:
            yield
        except (sqlite3.DatabaseError, zlib.error, json.JSONDecodeError) as error:
            broken = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN
            what = f"the journal cannot be used: {error}"
            raise (Damaged if broken else Refused)(str(self.path), what, _REMEDY) from None
        except OSError as error:
            what = f"the journal cannot be used: {error.strerror or error}"
            raise Refused(str(self.path), what, _REMEDY) from None


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
