"""Which findings people are told of, and when: what arrives together is one message, and nothing is said twice.

For each finding, `Grouping` knows what was told last. A change back to that is no news; the same state is told again
only after hours, so that a finding that flaps costs two messages, and later one on how it ended.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from itertools import islice
from typing import Final, Literal, TypeAlias

from raftmon.happenings import Happening, Key, is_news
from raftmon.model import SEVERITIES, Severity
from raftmon.slotted import dataclass

__all__ = ["MAX_LINES", "MAX_PENDING", "Count", "Group", "Grouping", "Line"]

Count: TypeAlias = tuple[str, Severity, str]
"""Rule, severity and state of findings that are counted together."""

MAX_LINES: Final = 1_000
"""Findings that a group names; the others are counted."""
MAX_PENDING: Final = 20_000
"""Findings that wait for one target; those beyond are counted by rule only."""
_MAX_TOLD: Final = 50_000
"""Findings of which it is known what was told last; the oldest are forgotten."""
_ANEW_SECONDS: Final = 600.0
"""The least time between two messages on the same state of a finding whose run began anew: it is another training, but
a job that dies and is restarted again and again calls nobody each time."""


@dataclass(frozen=True, slots=True)
class Line:
    """One finding that is to be told of."""

    happening: Happening
    """The newest."""
    fired: Happening | None
    """Its beginning, where that was not told apart because the end came before the message; else None."""
    changes: int
    """How often it changed back and forth since it was told of, without a message."""


@dataclass(frozen=True, slots=True)
class Group:
    """What goes out as one message."""

    lines: tuple[Line, ...]
    """Firing ones first, then by severity, gravest first; at most `MAX_LINES`."""
    counts: Mapping[Count, int]
    """All that are told of, also those without a line."""
    lost: int = 0
    """Earlier findings that never reached the target: it was given up on them."""

    @property
    def total(self) -> int:
        """Findings that are told of."""
        return sum(self.counts.values())

    @property
    def gravest(self) -> Severity:
        """Severity of the gravest that fires, or of the gravest if none does."""
        firing = [severity for _, severity, state in self.counts if state == "firing"]
        return max(firing or [severity for _, severity, _ in self.counts], key=SEVERITIES.index)

    @property
    def fires(self) -> bool:
        """Whether one of them fires still."""
        return any(state == "firing" for _, _, state in self.counts)


_Side: TypeAlias = Literal["firing", "ended"]


@dataclass(slots=True)
class _Waiting:
    """A finding that is to be told of."""

    happening: Happening
    ready: float
    """Not to be told before."""
    fired: Happening | None = None
    changes: int = 0
    tried: float | None = None
    """When it was first tried to tell it; None: not yet."""


@dataclass(slots=True)
class _Told:
    """What was told of a finding."""

    side: _Side | None = None
    """None: nothing yet."""
    times: dict[_Side, float] = field(default_factory=dict)
    changes: int = 0
    anew: bool = False
    """Whether its run began anew since."""
    step: int = -1
    """The newest at which it is known to have begun or ended."""


class Grouping:
    """What waits for one target. Times are of one clock that never goes back, in seconds.

    Args:
        window: how long the first of a group waits for others.
        repeat_after: least time between two messages on the same state of the same finding.
        give_up_after: how long it is tried to tell a finding.
    """

    def __init__(self, window: float = 10.0, repeat_after: float = 4 * 3600.0, give_up_after: float = 3600.0) -> None:
        self._window = window
        self._repeat_after = repeat_after
        self._give_up_after = give_up_after
        self._waiting: dict[Key, _Waiting] = {}
        self._flying: dict[Key, _Waiting] = {}
        self._told: dict[Key, _Told] = {}
        self._beyond: Counter[Count] = Counter()
        self._beyond_flying: Counter[Count] = Counter()
        self._due = math.inf
        self.lost = 0
        """Findings that it was given up to tell, since a message was last delivered."""

    @property
    def due(self) -> float:
        """When to ask for a group, infinity if nothing waits; it may turn out that there is none yet."""
        return self._due

    def put(self, happening: Happening, now: float, *, muted: bool = False) -> None:
        """Take in what happened to a finding; everything else is passed over."""
        if happening.kind != "finding":
            return
        if muted or not is_news(happening):
            self._silent(happening, muted=muted)
            return
        key, side = happening.key, _side(happening)
        told, waiting = self._known(happening, side), self._waiting.get(key)
        flying = self._flying.get(key)
        known = _side(flying.happening) if flying is not None else told.side
        if side == known:
            if waiting is not None:
                del self._waiting[key]
                told.changes += waiting.changes + 2
            return
        if waiting is not None:
            self._change(waiting, happening, known, self._ready(told, side))
        elif side == "firing" or known is not None:
            self._wait(happening, self._ready(told, side), now)

    def take(self, now: float, *, at_once: bool = False) -> Group | None:
        """Return what is to be told now, None if nothing is; `sent` or `failed` must follow.

        Args:
            now: the time.
            at_once: whether to wait for no others.
        """
        ready = [key for key, waiting in self._waiting.items() if waiting.ready <= now]
        oldest = min((self._waiting[key].ready for key in ready), default=math.inf)
        if not ready or (not at_once and oldest + self._window > now):
            self._reckon()
            return None
        self._flying = {key: self._waiting.pop(key) for key in ready}
        self._beyond_flying, self._beyond = self._beyond, Counter()
        self._reckon()
        counts = Counter(_count(waiting.happening) for waiting in self._flying.values())
        lines = [
            Line(waiting.happening, waiting.fired, waiting.changes + self._told[key].changes)
            for key, waiting in self._flying.items()
        ]
        lines.sort(key=lambda line: _rank(line.happening))
        return Group(tuple(lines[:MAX_LINES]), counts + self._beyond_flying, self.lost)

    def sent(self, now: float) -> None:
        """Note that the group that was taken has arrived."""
        for key, waiting in self._flying.items():
            told = self._told[key]
            told.side, told.changes, told.anew = _side(waiting.happening), 0, False
            told.times[told.side] = now
            if waiting.fired is not None:
                told.times["firing"] = now
        self._flying, self._beyond_flying, self.lost = {}, Counter(), 0

    def failed(self, now: float, *, again: bool = True) -> None:
        """Note that it has not: what can be tried again waits with what has come since.

        Args:
            now: the time.
            again: whether to try again at all.
        """
        flying, self._flying = self._flying, {}
        self._beyond += self._beyond_flying
        self._beyond_flying = Counter()
        for key, waiting in flying.items():
            left = self._after_failure(waiting, self._waiting.pop(key, None), self._told[key], now, again=again)
            if left is not None:
                self._waiting[key] = left
        self._reckon()

    def _after_failure(
        self, flown: _Waiting, newer: _Waiting | None, told: _Told, now: float, *, again: bool
    ) -> _Waiting | None:
        """Return what is to be told of a finding of which a message did not arrive, None if nothing is."""
        flown.tried = now if flown.tried is None else flown.tried
        if not again or now - flown.tried >= self._give_up_after:
            self.lost += 1
            told.side = _side(flown.happening)  # its end, too, is worth a message
            return newer if newer is not None and _side(newer.happening) != told.side else None
        if newer is not None and not self._change(flown, newer.happening, told.side, newer.ready):
            return None
        return flown

    def _known(self, happening: Happening, side: _Side) -> _Told:
        """Return what was told of a finding, brought up to date with how far its run is now."""
        told = self._told.get(happening.key)
        if told is None:
            told = self._remember(happening.key)
            if side == "ended":  # it was told by an earlier process
                told.side = "firing"
        if happening.step is not None:
            if side == "firing" and happening.step < told.step:  # the steps of a run only go back if it began anew
                told.side, told.anew = None if told.side == "firing" else told.side, True
            told.step = happening.step
        return told

    def _silent(self, happening: Happening, *, muted: bool) -> None:
        """Take in what nobody is told of."""
        key = happening.key
        told = self._told.get(key)
        if told is None:
            if muted or happening.late or happening.state == "inhibited":
                self._remember(key)
            return
        waiting = self._waiting.get(key)
        if happening.state == "inhibited" and not muted:
            if waiting is not None and waiting.happening.state == "firing":
                del self._waiting[key]
            return
        if waiting is not None and (muted or waiting.happening.state == "firing"):
            del self._waiting[key]
        if muted or told.side == "firing":
            told.side, told.anew = None, True

    def _change(self, waiting: _Waiting, happening: Happening, known: _Side | None, ready: float) -> bool:
        """Put something newer in the place of what waits; returns whether there is still something to tell."""
        before = waiting.happening
        if _side(happening) == known:
            return False
        if _side(happening) != _side(before):
            waiting.fired = before if _side(before) == "firing" else None
            waiting.changes += 0 if waiting.fired is not None else 2
        waiting.happening, waiting.ready = happening, max(ready, waiting.ready)
        return True

    def _wait(self, happening: Happening, ready: float, now: float) -> None:
        if len(self._waiting) >= MAX_PENDING:
            self._beyond[_count(happening)] += 1
            self._due = min(self._due, now + self._window)
            return
        ready = max(ready, now)
        self._waiting[happening.key] = _Waiting(happening, ready)
        self._due = min(self._due, ready + self._window)

    def _ready(self, told: _Told, side: _Side) -> float:
        """Return when this side may be told (again)."""
        pause = min(_ANEW_SECONDS, self._repeat_after) if told.anew else self._repeat_after
        return told.times.get(side, -math.inf) + pause

    def _remember(self, key: Key) -> _Told:
        if len(self._told) >= _MAX_TOLD:  # many at once, as looking for them takes a while
            idle = (known for known in self._told if known not in self._waiting and known not in self._flying)
            for known in list(islice(idle, _MAX_TOLD // 10)):
                del self._told[known]
        told = self._told[key] = _Told()
        return told

    def _reckon(self) -> None:
        self._due = min((waiting.ready for waiting in self._waiting.values()), default=math.inf) + self._window


def _side(happening: Happening) -> _Side:
    return "firing" if happening.state == "firing" else "ended"


def _count(happening: Happening) -> Count:
    return happening.subject, happening.severity or "informational", happening.state


def _rank(happening: Happening) -> tuple[bool, int, float]:
    severity = SEVERITIES.index(happening.severity or "informational")
    return happening.state != "firing", -severity, happening.at
