"""What raftmon wrote into configs: one SQLite file per user, which outlives the campaigns.

An override is noted *before* the config is replaced (``intended``), and again when that is done (``written``) or was
refused (``failed``). After a crash between the two the config itself tells which: its bytes are those of `before` or of
`after`. Nothing is ever deleted; ``undo`` adds the time at which an override was taken back.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from raftmon.errors import Refused
from raftmon.remote.address import Address, Logdir, as_logdir
from raftmon.runs.watch import is_remote

__all__ = ["Entry", "Journal", "Kind", "State", "default_path", "place_of", "plain_path"]

State: TypeAlias = Literal["intended", "written", "failed"]
Kind: TypeAlias = Literal["pre-cycle", "plan"]

BUSY_SECONDS: Final = 5.0
"""How long another writer of the journal is waited for."""
_MIGRATIONS: Final[Sequence[str]] = (
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
)
"""Statements that lead from one version of the schema to the next; the version is SQLite's ``user_version``."""
_COLUMNS: Final = (
    "at, kind, state, config, campaign, key, cycle, learning_rate, evidence_factor, before, after, document, undone_at"
)
_REMEDY: Final = "Give another journal with --journal PATH."


@dataclass(frozen=True, slots=True)
class Entry:
    """One override."""

    at: float
    """When it was written, in seconds since the epoch."""
    kind: Kind
    state: State
    config: str
    """The file, symbolic links resolved."""
    campaign: str
    """The logdir whose campaign it was for; empty for a plan."""
    key: str
    """Dotted key that was changed."""
    cycle: int | None
    learning_rate: float | None
    """What the cycle was meant to train at; None for a plan."""
    evidence_factor: float | None
    """What rules and changes of the configuration made of the strategy's rate; None: not known."""
    before: bytes
    """The whole file as it was."""
    after: bytes
    """The whole file as it became."""
    document: Mapping[str, Any]
    """What the user is told once it is written, as ``pre-cycle --format json`` prints it."""
    undone_at: float | None = None
    """When it was taken back; None: it was not."""
    id: int = 0
    """Number in the journal; 0: not in one yet."""


def plain_path(path: Path) -> str:
    """Return a path without symbolic links as text that can be stored, whatever bytes its name has."""
    return os.fsencode(os.path.realpath(path)).decode(errors="backslashreplace")


def place_of(logdir: Logdir | str) -> str:
    """Return what a campaign's directory is noted as: a path without symbolic links, or a URL without secrets."""
    known = as_logdir(logdir)
    return known.shown if isinstance(known, Address) else plain_path(known)


def default_path() -> Path:
    """Return where the journal of this user lies."""
    from platformdirs import user_state_path

    return user_state_path("raftmon", appauthor=False) / "journal.sqlite3"


class Journal:
    """A journal file, made when the first override is noted.

    Args:
        path: the file; None: the user's own.
        clock: seconds since the epoch.

    Every method raises `Refused` where the file cannot be used, with the reason.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path if path is not None else default_path()
        self._clock = clock

    @contextmanager
    def noting(self, entry: Entry) -> Iterator[None]:
        """Note an override, let the block make it, and note what became of it.

        The file is what counts: should the second note fail, its bytes tell that to whoever asks.
        """
        number = self.begin(entry)
        try:
            yield
        except Refused:
            with suppress(Refused):
                self.finish(number, "failed")
            raise
        with suppress(Refused):
            self.finish(number, "written")

    def begin(self, entry: Entry) -> int:
        """Note an override that is about to be written; returns its number."""
        values = (
            self._clock(),
            entry.kind,
            "intended",
            entry.config,
            entry.campaign,
            entry.key,
            entry.cycle,
            entry.learning_rate,
            entry.evidence_factor,
            zlib.compress(entry.before),
            zlib.compress(entry.after),
            json.dumps(entry.document),
            None,
        )
        with self._writing() as connection:
            cursor = connection.execute(f"INSERT INTO overrides ({_COLUMNS}) VALUES ({','.join('?' * 13)})", values)
            return int(cursor.lastrowid or 0)

    def finish(self, number: int, state: State) -> None:
        """Note what became of an override."""
        with self._writing() as connection:
            connection.execute("UPDATE overrides SET state = ? WHERE id = ?", (state, number))

    def undo(self, number: int) -> None:
        """Note that an override was taken back."""
        with self._writing() as connection:
            connection.execute("UPDATE overrides SET undone_at = ? WHERE id = ?", (self._clock(), number))

    def standing(self, config: Path) -> Iterator[Entry]:
        """Yield the overrides of a config that were neither taken back nor refused, the newest first."""
        where = "config = ? AND undone_at IS NULL AND state != 'failed' ORDER BY id DESC"
        yield from self._select(where, (plain_path(config),))

    def entries(self) -> list[Entry]:
        """Return everything, the oldest first."""
        return self._select("1 ORDER BY id", ())

    def _select(self, where: str, values: tuple[str, ...]) -> list[Entry]:
        with self._trouble():
            if not self.path.exists():
                return []
            with closing(self._open_for_reading()) as connection:
                version = _version(connection)
                if version > len(_MIGRATIONS):
                    raise self._too_new(version)
                if not version:
                    return []
                rows = connection.execute(f"SELECT {_COLUMNS}, id FROM overrides WHERE {where}", values).fetchall()
                return [_entry(row) for row in rows]

    def _open_for_reading(self) -> sqlite3.Connection:
        """Open the journal without writing to it: it may lie where nobody may write."""
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            _version(connection)
        except sqlite3.OperationalError:
            # In WAL mode even a reader makes a file beside it; where it may not, nobody else writes either.
            connection.close()
            connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
        return connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open the journal for one transaction."""
        with self._trouble():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                # Configs may hold keys and tokens.
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
            with closing(self._connect()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            # In one statement: another process may be making the tables right now.
            version, tables = connection.execute(
                "SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_master)"
            ).fetchone()
            if tables and not version:
                raise Refused(str(self.path), "a database of another program", _REMEDY)
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
        if version > len(_MIGRATIONS):
            raise self._too_new(version)
        if version == len(_MIGRATIONS):
            return
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            # Asked again under the lock: another process may have done it.
            for number in range(_version(connection), len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")

    def _too_new(self, version: int) -> Refused:
        what = f"is of a newer raftmon (schema {version}, known: {len(_MIGRATIONS)})"
        return Refused(str(self.path), what, f"Update raftmon. {_REMEDY}")

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Turn what SQLite and the file system raise into a refusal with a remedy."""
        try:
            yield
        except (sqlite3.DatabaseError, zlib.error, json.JSONDecodeError) as error:
            raise Refused(str(self.path), f"the journal cannot be used: {error}", _REMEDY) from None
        except OSError as error:
            what = f"the journal cannot be used: {error.strerror or error}"
            raise Refused(str(self.path), what, _REMEDY) from None


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _entry(row: tuple[Any, ...]) -> Entry:
    at, kind, state, config, campaign, key, cycle, rate, factor, before, after, document, undone_at, number = row
    return Entry(
        at=at,
        kind=cast(Kind, kind),
        state=cast(State, state),
        config=config,
        campaign=campaign,
        key=key,
        cycle=cycle,
        learning_rate=rate,
        evidence_factor=factor,
        before=zlib.decompress(before),
        after=zlib.decompress(after),
        document=json.loads(document),
        undone_at=undone_at,
        id=number,
    )
