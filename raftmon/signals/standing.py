"""The one signal that time alone moves: whether a run stands still."""

from __future__ import annotations

from typing import ClassVar, Final

from raftmon.signals.base import Family, SignalInfo

__all__ = ["STANDING_STILL", "StandstillSignals"]

STANDING_STILL: Final = "run.standing_still"


class StandstillSignals(Family):
    """What is known of a run that says nothing; worked out by `raftmon.runs.standstill`, not from points."""

    role: ClassVar[str] = "standstill"
    rests_on: ClassVar[frozenset[str]] = frozenset({"time"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo(STANDING_STILL, "flag", "run", 0, "1 while the run should go on and does not, 0 while it does"),
    )
