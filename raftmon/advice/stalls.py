"""Findings that time alone moves: of a run that should go on and does not.

Other rules are looked at where the series itself says so, so that the same bytes give the same findings. A silence is
in no byte: these are looked at whenever somebody looks at the run, and the verdict on the learning rate rests on none
of them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Final

from raftmon.advice.engine import Progress
from raftmon.advice.findings import filled_in, missing, quiet_finding, silent_finding, spoken_finding
from raftmon.advice.rule import Rule
from raftmon.model import Finding, FindingState, Standstill
from raftmon.signals.registry import Readings
from raftmon.signals.standing import STANDING_STILL

__all__ = ["StallWatch"]

_UNKNOWN: Final = Progress()


class StallWatch:
    """The rules on the standstill of one run.

    Args:
        rules: those that time alone moves.
    """

    __slots__ = ("_places", "_rules", "_said")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._places = (_UNKNOWN,) * len(rules)
        self._said = ""
        """What was said of the standstill last."""

    def look(
        self, reading: float | None, still: Standstill | None, step: int | None, *, given_up: bool = False
    ) -> tuple[Finding, ...]:
        """Return a finding for each rule.

        Args:
            reading: 1: it stands still; 0: it goes on, or is done; None: nobody can tell, which resolves nothing.
            still: what is known of its silence.
            step: its newest.
            given_up: whether it has stood still for so long that nobody expects it to go on.
        """
        if not self._rules:
            return ()
        if reading:
            self._said = still.text if still is not None else ""
        readings, at = Readings({STANDING_STILL: reading}, {}), step or 0
        self._places = tuple(
            place.moved(rule, rule.test(readings, place.state == "firing"), 0, at)
            for rule, place in zip(self._rules, self._places, strict=True)
        )
        found = zip(self._rules, self._places, strict=True)
        over = "Its process has ended" if still is not None and still.kind == "ended" else "It stands still no longer"
        over = "It has said nothing for a week, and its process is not known: it is given up" if given_up else over
        return tuple(self._finding(rule, place, reading, over) for rule, place in found)

    @property
    def is_firing(self) -> bool:
        """Whether one of them fires."""
        return any(place.state == "firing" for place in self._places)

    def _finding(self, rule: Rule, place: Progress, reading: float | None, over: str) -> Finding:
        if place.state not in ("firing", "resolved"):
            return _calm(rule, place.state, reading)
        quoted = {STANDING_STILL: reading}
        spoken = spoken_finding(rule, place.state, place.since_step, (reading,) * len(rule.signals), quoted)
        said = self._said[:1].upper() + self._said[1:]
        if place.state == "firing":
            return dataclasses.replace(spoken, text=f"{said}. {filled_in(rule.fix, rule, quoted)}".rstrip())
        return dataclasses.replace(spoken, text=f"{over}. Before: {self._said}.")


@functools.lru_cache(maxsize=64)
def _calm(rule: Rule, state: FindingState, reading: float | None) -> Finding:
    """Return a finding that says nothing: one object for all runs."""
    values = (reading,) * len(rule.signals)
    lacking = missing(rule, values, {}) if state == "unknown" else ()
    return silent_finding(rule, state, lacking) if reading is None else quiet_finding(rule, state, values, lacking)
