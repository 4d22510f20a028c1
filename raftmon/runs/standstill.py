"""Whether a run that said nothing of its end stands still: one decision, from what was measured.

Most trainers write no mark at their end, so that silence alone says little. A run is called stalled only where there is
evidence that it should go on: it grew while it was watched, or its process is there.

The limits were chosen, not fitted: a few minutes, because an alarm about a job is not worth less; so many intervals and
pauses, because evaluations and checkpoints are no standstill. They were then checked on the event files of 21 projects
(146 files with 389 silences of more than 100 s in which the training went on): none of those is called a stall by its
silence, and one would be if no GPU had worked during it.
"""

from __future__ import annotations

from typing import Final

from raftmon.model import Standstill
from raftmon.runs.writers import ProcessState
from raftmon.slotted import dataclass

__all__ = [
    "GIVEN_UP_SECONDS",
    "RECENT_SECONDS",
    "STOPPED_SECONDS",
    "Pulse",
    "duration",
    "is_given_up",
    "span",
    "standstill",
]

LEAST_STALLED: Final = 300.0
"""Seconds of silence without which nothing but a stopped process is called stalled."""
STALLED_INTERVALS: Final = 30.0
"""...and so many of the run's own intervals."""
STALLED_PAUSES: Final = 3.0
"""...and so many of its own longest pauses."""
PAUSE_EXTRA: Final = 1800.0
"""Seconds on top of the longest pause that are enough, however long that was."""
GPU_LEAST: Final = 180.0
"""Seconds of silence while no GPU works, though they did before, that are enough."""
GPU_INTERVALS: Final = 25.0
"""...with so many intervals."""
GPU_PAUSES: Final = 2.0
"""...and so many of its own longest pauses."""
STOPPED_SECONDS: Final = 10.0
"""Seconds of silence after which a stopped process is told."""
RECENT_SECONDS: Final = 3600.0
"""Silence up to which a run that never grew before our eyes, but whose process lives, may be called stalled."""
GIVEN_UP_SECONDS: Final = 7 * 86400.0
"""Silence after which a run of whose process nothing is known is not expected to go on: it was killed on another host,
say."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What is known of a run's writing."""

    silent: float
    """Seconds since it last grew."""
    watched: bool
    """Whether it grew while it was watched."""
    usual: float | None
    """Seconds between two of its steps, as a rule; None: not known."""
    pause: float
    """Its longest regular pause so far in seconds; 0: none."""
    over: bool
    """Whether it may be done: it said so, reached its plan, its rate decayed, or what comes after it has begun."""
    process: ProcessState | None = None
    """Of what writes it, on this host; None: not known."""
    pid: int | None = None
    """Of that process."""
    gpu_idle: float | None = None
    """Seconds for which no GPU of this host has worked; None: not known, or they may not be needed."""
    step: int | None = None
    """Largest step so far."""
    planned: int | None = None
    """Steps that it is to take; None: not known."""


def standstill(pulse: Pulse) -> Standstill | None:
    """Decide whether a run stands still; None: it goes on, is done, or nobody can tell."""
    if pulse.process == "gone":
        return _gone(pulse)
    if pulse.over:
        return None
    if pulse.process == "stopped" and pulse.silent >= max(STOPPED_SECONDS, 2.0 * (pulse.usual or 0.0)):
        return Standstill("stalled", f"its process (pid {pulse.pid}) is stopped; {_silence(pulse)}")
    expected = pulse.watched or (pulse.process == "running" and pulse.silent <= RECENT_SECONDS)
    if not expected or pulse.process == "shared" or pulse.usual is None or is_given_up(pulse):
        return None
    idle = pulse.gpu_idle
    if idle is not None and min(idle, pulse.silent) >= _patience(pulse, GPU_LEAST, GPU_INTERVALS, GPU_PAUSES):
        return Standstill("stalled", f"{_silence(pulse)}; no GPU has worked for over {span(idle)}")
    if pulse.silent >= _patience(pulse, LEAST_STALLED, STALLED_INTERVALS, STALLED_PAUSES):
        alive = f"; its process (pid {pulse.pid}) is still there" if pulse.process == "running" else ""
        return Standstill("stalled", _silence(pulse) + alive)
    return None


def is_given_up(pulse: Pulse) -> bool:
    """Tell whether nobody expects it to go on any more."""
    return pulse.process is None and pulse.silent > GIVEN_UP_SECONDS


def _gone(pulse: Pulse) -> Standstill:
    """Say that the process has ended: before its time, where that is known."""
    if pulse.planned is not None and pulse.step is not None and not pulse.over:
        where = f"at step {pulse.step} of {pulse.planned}"
        return Standstill("cut_off", f"its process (pid {pulse.pid}) is gone, {where}, without a word of an end")
    if pulse.over:
        return Standstill("ended", f"its process (pid {pulse.pid}) has ended")
    return Standstill("ended", f"its process (pid {pulse.pid}) has ended; whether it was done is not known")


def _patience(pulse: Pulse, least: float, intervals: float, pauses: float) -> float:
    """Return the seconds of silence that are too long for this run."""
    pause = min(pauses * pulse.pause, pulse.pause + PAUSE_EXTRA)
    return max(least, intervals * (pulse.usual or 0.0), pause)


def _silence(pulse: Pulse) -> str:
    said = f"nothing written for over {span(pulse.silent)}"
    if pulse.usual is None:
        return said
    usual = "several times a second" if pulse.usual < 0.5 else f"every {duration(pulse.usual)}"
    longest = pulse.pause > max(3.0 * pulse.usual, 10.0)
    return f"{said}, usually {usual}{f' with pauses of up to {duration(pulse.pause)}' if longest else ''}"


_MINUTES: Final = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720)
_SPANS: Final = (10, 20, 30, *(60 * minutes for minutes in _MINUTES))
"""Seconds that a growing span is told in: a text that changed every minute would be news every minute."""


def span(seconds: float) -> str:
    """Return a round duration that is not longer than this one, and changes seldom as it grows."""
    days = int(seconds // 86400)
    return f"{days} d" if days else duration(max((step for step in _SPANS if step <= seconds), default=_SPANS[0]))


def duration(seconds: float) -> str:
    """Return a duration in its largest unit, for people: ``20 s``, ``1.5 h``."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{float(f'{seconds:.2g}'):g} s"
