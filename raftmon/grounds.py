"""What is known of a rule itself: what it compares, how that is founded, how right it was, what would refute it.

Frozen data that findings carry up to the front ends, and the words which all front ends use for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from raftmon.slotted import dataclass

__all__ = [
    "BEYOND",
    "GRADES",
    "LEVELS",
    "STATUSES",
    "Criterion",
    "Evidence",
    "EvidenceLevel",
    "Grade",
    "Interval",
    "Measured",
    "Status",
    "beyond",
    "brief_figures",
    "figures",
    "proposal",
]

Status: TypeAlias = Literal["experimental", "test", "stable"]
EvidenceLevel: TypeAlias = Literal["established", "observed", "anecdotal", "withdrawn"]
Grade: TypeAlias = Literal["A", "B", "C", "D", "X"]
Interval: TypeAlias = tuple[float, float]

GRADES: Final[Mapping[Grade, str]] = MappingProxyType(
    {
        "A": "replicated: several independent sources, or arithmetic",
        "B": "one strong source",
        "C": "practice: commonly done, hardly tested",
        "D": "hypothesis: plausible, not tested",
        "X": "contradicted by measurement",
    }
)
"""What each grade means."""
LEVELS: Final[Mapping[EvidenceLevel, str]] = MappingProxyType(
    {
        "established": "arithmetic, or many independent sources",
        "observed": "measured once",
        "anecdotal": "somebody said so",
        "withdrawn": "contradicted by measurement or taken back by its author; decides nothing",
    }
)
"""What each level of evidence means."""
STATUSES: Final[Mapping[Status, str]] = MappingProxyType(
    {
        "experimental": "shown only, moves no number",
        "test": "proposes a learning rate, changes no file",
        "stable": "may change a config when asked to apply",
    }
)
"""What a rule of each status may do."""


BEYOND: Final = 999.0
"""Where readings in standard errors are cut off: there is next to no noise to measure them by."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How right a rule was on runs with a known answer; written by the benchmark."""

    runs: int = 0
    """Labelled runs (or campaigns) that it was tried on; 0: not measured."""
    precision: float | None = None
    """Share (0..1) of the runs that it fired on which were as it said; None if it never fired."""
    recall: float | None = None
    """Share (0..1) of the runs which were as it says that it fired on; None if there were none."""
    on: str = ""
    """What the runs were, in the plural; empty for ``runs``."""
    fired: int | None = None
    """Runs that it fired on; None: not recorded, and `precision` has no interval."""
    wanted: int | None = None
    """Runs that it should have fired on; None: not recorded, and `recall` has no interval."""
    precision_interval: Interval | None = None
    """Wilson 95 % interval."""
    recall_interval: Interval | None = None
    """Wilson 95 % interval."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rule's condition, in the order of its file."""

    depth: int
    """How deep it is nested; 0 is the outermost."""
    joins: Literal["all", "any"] | None
    """How the deeper lines that follow are joined; None for a comparison, which uses all fields below."""
    signal: str = ""
    """Name in the signal registry."""
    meaning: str = ""
    """What the signal is, in words."""
    above: bool = False
    """True: holds while the reading is above `limit`; False: while it is below."""
    limit: float = 0.0
    """In `unit`."""
    clear: float = 0.0
    """While the rule fires, the comparison holds up to this value; equals `limit` without hysteresis."""
    unit: str = ""
    """Of the reading; empty for a plain number."""
    origin: str = ""
    """Where the limit comes from; empty where the rule's file does not say."""
    clear_origin: str = ""
    """The same of `clear`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a rule: what it compares, how that is founded, and what would refute it.

    One object a rule, made when the rules are read; all findings of the rule share it.
    """

    description: str
    """What it means that the rule fires, and why that points where it points."""
    status: Status
    """What the rule may do: ``experimental`` is shown, ``test`` proposes, ``stable`` may change a config."""
    level: EvidenceLevel
    grade: Grade
    """A replicated, B one strong source, C practice, D hypothesis, X contradicted."""
    sources: tuple[tuple[str, str], ...]
    """(claim id or empty, reference)."""
    false_positives: tuple[str, ...]
    """What else it could be."""
    would_change: tuple[str, ...]
    """Observations that would show that the rule is wrong here."""
    measured: Measured
    criteria: tuple[Criterion, ...]
    """The condition, line by line."""
    hold: str
    """How long the condition must hold, for example ``20 steps``."""
    multiply: float | None = None
    """Factor that the rule proposes for the learning rate, or None."""
    roll_back: bool = False
    """Whether it proposes to go back to the best checkpoint."""
    stop: bool = False
    """Whether it proposes to end the campaign."""


def beyond(value: float, unit: str) -> str:
    """Return ``over 999`` or ``under -999`` for a reading or limit that is no measurement but cut off; else nothing."""
    if unit != "sigma" or not abs(value) >= BEYOND:
        return ""
    return f"over {BEYOND:g}" if value > 0.0 else f"under -{BEYOND:g}"


def figures(measured: Measured) -> tuple[str, ...]:
    """Return precision and recall in words, each with what it was counted on; one entry says that there are none."""
    if not measured.runs:
        return ("not measured yet",)
    runs = f"{measured.runs} {measured.on or 'runs'}"
    if measured.precision is None:
        precision = f"never fired on {runs}, so that its precision is not known"
    elif measured.fired is None:
        precision = f"precision {_share(measured.precision, None)} ({runs})"
    else:
        counted = f"fired on {measured.fired} of {runs}"
        precision = f"precision {_share(measured.precision, measured.precision_interval, counted)}"
    if measured.recall is None:
        return (precision,)
    wanted = f"should have fired on {measured.wanted}" if measured.wanted is not None else ""
    return (precision, f"recall {_share(measured.recall, measured.recall_interval, wanted)}")


def brief_figures(measured: Measured) -> tuple[str, ...]:
    """Return the precision as an aside, longer and shorter; empty where it is not known."""
    if measured.precision is None:
        return ()
    if measured.fired is None:
        return (f"precision {measured.precision:.2f}",)
    short = f"precision {measured.precision:.2f} of {measured.fired}"
    return (f"precision {_share(measured.precision, measured.precision_interval, f'of {measured.fired}')}", short)


def proposal(evidence: Evidence) -> str:
    """Return what the rule proposes, in words; empty if it only tells."""
    parts = [f"learning rate × {evidence.multiply:g}"] if evidence.multiply is not None else []
    parts += ["go back to the best checkpoint"] if evidence.roll_back else []
    parts += ["end the campaign and ship the best checkpoint"] if evidence.stop else []
    return ", ".join(parts)


def _share(value: float, interval: Interval | None, counted: str = "") -> str:
    bounds = [f"{interval[0]:.2f}–{interval[1]:.2f}"] if interval is not None else []
    behind = ", ".join([*bounds, counted] if counted else bounds)
    return f"{value:.2f} ({behind})" if behind else f"{value:.2f}"
