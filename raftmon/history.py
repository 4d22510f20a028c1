"""What happened to runs and campaigns, as the journal keeps it: written in batches, read in the order of time.

What happened is known by its *place* (`raftmon.journal.place_of`): a run is the same whichever way leads to it, and a
URL is kept without what opens it. What stands is given back under the path that a snapshot calls it by, so that a
daemon that is started anew recognises it, also where its logdirs are now given by another way.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from raftmon.happenings import Happening, Key, Kind
from raftmon.journal import default_path, place_of, plain_path
from raftmon.journal_file import JournalFile
from raftmon.model import Severity
from raftmon.remote.address import Logdir, as_logdir, is_url
from raftmon.timeline import Line, lies_at, timeline

__all__ = ["HAPPENINGS_SINCE", "History", "Places"]

HAPPENINGS_SINCE: Final = 3
"""Schema in which the table came."""
STANDING: Final[Collection[Kind]] = ("finding", "verdict", "advice", "run", "problem")
"""Kinds of which the newest happening tells a later process what was said."""
_NOTHING_SAID: Final = frozenset(
    {("finding", "inactive"), ("finding", "gone"), ("verdict", "undecided"), ("problem", "over")}
)
"""Kind and state after which a ledger says the same as if nothing had been said."""
_COLUMNS: Final = "at, kind, place, seen_as, name, subject, state, text, severity, step, value, readings, title, late"
_INSERT: Final = f"INSERT INTO happenings ({_COLUMNS}, stands) VALUES ({','.join('?' * 15)})"
_SUPERSEDE: Final = """
    UPDATE happenings SET stands = NULL WHERE place = ? AND kind = ? AND subject = ? AND stands IS NOT NULL
"""
_INTEGER: Final = 2**63
FORGOTTEN_AT_ONCE: Final = 5_000
"""Lines deleted in one transaction: other processes write in between."""
KNOWN_PROBLEMS: Final = 10_000
"""Problems, the newest, that a later process is told of: each damaged file is one."""
KNOWN_PLACES: Final = 50_000
"""Paths whose places are remembered."""

_Row: TypeAlias = "tuple[Any, ...]"


class Places:
    """What directories are noted as; of one that is away now, what it was noted as before.

    Args:
        place: from a path or URL to what it is noted as.
    """

    def __init__(self, place: Callable[[str], str] = place_of) -> None:
        self._place = place
        self._known: dict[str, str] = {}

    def of(self, path: str) -> str:
        """Return the place of a path; what is neither an absolute path nor a URL is a place of its own. May block."""
        if not path.startswith("/"):
            return text_of(place_of(path) if is_url(path) else path)
        # The way to a directory on a file system that is not there now would be taken for one without symbolic links.
        before = self._known.get(path)
        if before is not None and not os.path.exists(path):  # noqa: PTH110 - thousands at once
            return before
        if len(self._known) >= KNOWN_PLACES:
            self._known.clear()
        self._known[path] = found = self._place(path)
        return found


class History:
    """The happenings in a journal file, which is made when the first are noted.

    Args:
        path: the file; None: the user's own.
        clock: seconds since the epoch.
        places: what directories are noted as.

    Every method raises `Refused` where the file cannot be used, with the reason; `raftmon.journal_file.Damaged` where
    waiting does not mend it.
    """

    def __init__(
        self, path: Path | None = None, clock: Callable[[], float] = time.time, places: Places | None = None
    ) -> None:
        self.path = path if path is not None else default_path()
        self.file = JournalFile(self.path)
        self._clock = clock
        self._places = places if places is not None else Places()

    def note(self, happenings: Sequence[Happening]) -> None:
        """Note happenings in their order, all or none of them."""
        if not happenings:
            return
        known: dict[str, str] = {}
        rows = [_row(happening, _place(happening, known, self._places)) for happening in happenings]
        newest = {_key(row): index for index, row in enumerate(rows) if row[1] in STANDING}
        stands = set(newest.values())
        with self.file.writing() as connection:
            connection.executemany(_SUPERSEDE, newest)
            connection.executemany(
                _INSERT, ((*row, 1 if index in stands and _matters(row) else None) for index, row in enumerate(rows))
            )

    def standing(self, logdirs: Iterable[Logdir | str] = ()) -> Iterator[Happening]:
        """Yield what was said last of each run and campaign, by kind and subject, for a `Ledger`, and the problems.

        Each is given under every path by which a snapshot may call it: as it is below the logdirs that are followed
        now, as it was seen, and as it is noted. A problem is given as it was seen, wherever it was.

        Args:
            logdirs: absolute paths and URLs; only what was found at or below one of them. None: everything.
        """
        ways = {place: way for logdir in logdirs for place, way in _ways(logdir)}
        with self.file.reading(HAPPENINGS_SINCE) as connection:
            if connection is None:
                return
            known = f"SELECT {_COLUMNS} FROM happenings WHERE stands IS NOT NULL AND kind"
            newest = connection.execute(f"{known} = 'problem' ORDER BY id DESC LIMIT ?", (KNOWN_PROBLEMS,))
            for row in newest.fetchall()[::-1]:
                yield happening_of(row, seen_as(row))
            for row in connection.execute(f"{known} != 'problem' ORDER BY id"):
                place = row[2]
                near = [way + place[len(root) :] for root, way in ways.items() if lies_at(place, root)]
                if near or not ways:
                    for path in dict.fromkeys((*near, seen_as(row), place)):
                        yield happening_of(row, path)

    def lines(
        self,
        place: str | None = None,
        since: float | None = None,
        until: float | None = None,
        kinds: Collection[str] = (),
    ) -> Iterator[Line]:
        """Yield what happened, what was written into configs and what was muted; see `raftmon.timeline.timeline`."""
        return timeline(self.file, place, since, until, kinds)

    def newest(self, kind: Kind, state: str) -> dict[str, float]:
        """Return subject to the newest time, in seconds since the epoch, at which it came to a state."""
        with self.file.reading(HAPPENINGS_SINCE) as connection:
            if connection is None:
                return {}
            asked = "SELECT subject, MAX(at) FROM happenings WHERE kind = ? AND state = ? GROUP BY subject"
            return dict(connection.execute(asked, (kind, state)).fetchall())

    def forget(self, before: float, present: Iterable[str] = ()) -> int:
        """Delete what happened before a time; overrides and mutes stay. Returns how many lines it was.

        What was said last of what is present stays: it would be said anew.

        Args:
            before: seconds since the epoch.
            present: paths of the runs and campaigns that there are.
        """
        kept = sorted({self._places.of(path) for path in present})
        gone = 0
        while True:
            with self.file.writing() as connection:
                connection.execute("CREATE TEMP TABLE present (place TEXT PRIMARY KEY) WITHOUT ROWID")
                connection.executemany("INSERT INTO present VALUES (?)", ((place,) for place in kept))
                cursor = connection.execute(
                    "DELETE FROM happenings WHERE id IN (SELECT id FROM happenings WHERE at < ? AND (stands IS NULL"
                    " OR place NOT IN (SELECT place FROM present)) LIMIT ?)",
                    (before, FORGOTTEN_AT_ONCE),
                )
                deleted = cursor.rowcount
            gone += deleted
            if deleted < FORGOTTEN_AT_ONCE:
                break
        if gone:
            self.file.shrink()
        return gone


def text_of(text: str) -> str:
    """Return text that can be stored, whatever bytes a name in it has."""
    return text.encode(errors="backslashreplace").decode()


def seen_as(row: _Row) -> str:
    """Return the path by which a snapshot called what a row is about."""
    stored: bytes | None = row[3]
    return row[2] if stored is None else stored.decode("utf-8", "surrogatepass")


def happening_of(row: _Row, path: str) -> Happening:
    """Return what a row says, of a path."""
    at, kind, place, _, name, subject, state, text, severity, step, value, readings, title, late = row
    return Happening(
        at,
        cast(Kind, kind),
        path,
        name,
        subject,
        state,
        text,
        severity=cast("Severity | None", severity),
        step=step,
        value=value,
        readings=json.loads(readings) if readings is not None else {},
        title=title,
        late=bool(late),
        place=place,
    )


def _ways(logdir: Logdir | str) -> Iterator[tuple[str, str]]:
    """Yield what a logdir is noted as and how a snapshot calls it, both without a slash at the end."""
    known = as_logdir(logdir)
    way = os.path.abspath(known.expanduser()) if isinstance(known, Path) else known.shown  # noqa: PTH100 - as a Monitor
    yield place_of(known).rstrip("/"), way.rstrip("/")


def _place(happening: Happening, known: dict[str, str], places: Places) -> str:
    """Return the place of a happening; each path of a batch is asked for once."""
    path = happening.path
    if path not in known:
        try:
            # A problem may be of a file, with a line behind it, that is wrong for the very reason that nobody can look.
            of_file = happening.kind == "problem" and path.startswith("/")
            known[path] = plain_path(Path(path)) if of_file else places.of(path)
        except ValueError:  # a name that no file can have
            known[path] = text_of(path)
    return known[path]


def _row(happening: Happening, place: str) -> _Row:
    seen = None
    if happening.path != place and not is_url(happening.path):
        seen = happening.path.encode("utf-8", "surrogatepass")
    step, value = happening.step, happening.value
    return (
        happening.at,
        happening.kind,
        place,
        seen,
        text_of(happening.name),
        text_of(happening.subject),
        happening.state,
        text_of(happening.text),
        happening.severity,
        step if step is not None and -_INTEGER <= step < _INTEGER else None,
        value if value is not None and not math.isnan(value) else None,
        _readings(happening.readings),
        text_of(happening.title),
        int(happening.late),
    )


def _readings(readings: Mapping[str, float | None]) -> str | None:
    return json.dumps(dict(readings)) if readings else None


def _key(row: _Row) -> Key:
    return row[2], row[1], row[5]


def _matters(row: _Row) -> bool:
    return (row[1], row[6]) not in _NOTHING_SAID
