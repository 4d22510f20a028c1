"""What raftmon wrote into configs, and which findings a person has muted: one SQLite file per user, for all campaigns.

An override is noted *before* the config is replaced (``intended``), and again when that is done (``written``) or was
refused (``failed``). After a crash between the two the config itself tells which: its bytes are those of `before` or of
`after`. Nothing is ever deleted: ``undo`` adds the time at which an override was taken back, `Journal.lift` the time at
which a mute was.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from raftmon.errors import Refused
from raftmon.journal_file import JournalFile
from raftmon.model import Mute
from raftmon.remote.address import Address, Logdir, as_logdir

__all__ = ["Applied", "Entry", "Journal", "Kind", "State", "default_path", "place_of", "plain_path"]

State: TypeAlias = Literal["intended", "written", "failed"]
Kind: TypeAlias = Literal["pre-cycle", "plan"]

_COLUMNS: Final = (
    "at, kind, state, config, campaign, key, cycle, learning_rate, evidence_factor, before, after, document, undone_at"
)
_OVERRIDES_SINCE, _MUTES_SINCE = 1, 2
"""Schema in which each table came."""
_LIFT: Final = "UPDATE mutes SET lifted_at = ? WHERE path = ? AND rule = ? AND lifted_at IS NULL"


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


@dataclass(frozen=True, slots=True)
class Applied:
    """An override that stands, in short."""

    at: float
    """When it was written, in seconds since the epoch."""
    config: str
    """The file, symbolic links resolved."""
    campaign: str
    """As `place_of` calls it."""
    cycle: int | None
    learning_rate: float | None
    """What the cycle was meant to train at; None: not known."""


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
    """A journal file, made when the first override or mute is noted.

    Args:
        path: the file; None: the user's own.
        clock: seconds since the epoch.

    Every method raises `Refused` where the file cannot be used, with the reason.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path if path is not None else default_path()
        self._file = JournalFile(self.path)
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
        with self._file.writing() as connection:
            cursor = connection.execute(f"INSERT INTO overrides ({_COLUMNS}) VALUES ({','.join('?' * 13)})", values)
            return int(cursor.lastrowid or 0)

    def finish(self, number: int, state: State) -> None:
        """Note what became of an override."""
        with self._file.writing() as connection:
            connection.execute("UPDATE overrides SET state = ? WHERE id = ?", (state, number))

    def undo(self, number: int) -> None:
        """Note that an override was taken back."""
        with self._file.writing() as connection:
            connection.execute("UPDATE overrides SET undone_at = ? WHERE id = ?", (self._clock(), number))

    def standing(self, config: Path) -> Iterator[Entry]:
        """Yield the overrides of a config that were neither taken back nor refused, the newest first."""
        where = "config = ? AND undone_at IS NULL AND state != 'failed' ORDER BY id DESC"
        yield from self._select(where, (plain_path(config),))

    def applied(self) -> list[Applied]:
        """Return the newest override of each campaign that was neither taken back nor refused."""
        newest = "SELECT max(id) FROM overrides WHERE state = 'written' AND undone_at IS NULL AND campaign != ''"
        query = (
            f"SELECT at, config, campaign, cycle, learning_rate FROM overrides WHERE id IN ({newest} GROUP BY campaign)"
        )
        with self._file.reading(_OVERRIDES_SINCE) as connection:
            return [] if connection is None else [Applied(*row) for row in connection.execute(query)]

    def entries(self) -> list[Entry]:
        """Return everything, the oldest first."""
        return self._select("1 ORDER BY id", ())

    def mute(self, path: str, rule: str, seen: float | None = None) -> None:
        """Note that a finding is muted; one that is already is muted anew.

        Args:
            path: directory of the run or campaign, or its URL.
            rule: id of the finding's rule.
            seen: wall time of the run's newest point, by the trainer's clock; None: not known, or a campaign.
        """
        now = self._clock()
        with self._file.writing() as connection:
            connection.execute(_LIFT, (now, place_of(path), rule))
            connection.execute(
                "INSERT INTO mutes (at, path, rule, seen) VALUES (?, ?, ?, ?)", (now, place_of(path), rule, seen)
            )

    def lift(self, path: str, rule: str) -> None:
        """Note that a finding is muted no longer."""
        with self._file.writing() as connection:
            connection.execute(_LIFT, (self._clock(), place_of(path), rule))

    def mutes(self) -> list[Mute]:
        """Return all mutes, also those that were lifted, the oldest first."""
        with self._file.reading(_MUTES_SINCE) as connection:
            if connection is None:
                return []
            rows = connection.execute("SELECT path, rule, seen, at, lifted_at FROM mutes ORDER BY id").fetchall()
            return [Mute(*row) for row in rows]

    def _select(self, where: str, values: tuple[str, ...]) -> list[Entry]:
        with self._file.reading(_OVERRIDES_SINCE) as connection:
            if connection is None:
                return []
            rows = connection.execute(f"SELECT {_COLUMNS}, id FROM overrides WHERE {where}", values).fetchall()
            return [_entry(row) for row in rows]


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
