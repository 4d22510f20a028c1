"""Reads how a rule is founded, and sums a rule up for those who read its findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import get_args

from raftmon.advice.rule import All, Comparison, Condition, Rule
from raftmon.documents import Fields, suggest
from raftmon.grounds import GRADES, Criterion, Evidence, EvidenceLevel, Grade, Measured
from raftmon.signals.registry import SIGNALS
from raftmon.signals.statistics import wilson_interval
from raftmon.slotted import dataclass

__all__ = ["Founded", "criteria", "read_founded", "read_would_change", "summed_up"]


@dataclass(frozen=True, slots=True)
class Founded:
    """The section ``evidence`` of a rule file."""

    level: EvidenceLevel = "anecdotal"
    grade: Grade = "D"
    sources: tuple[tuple[str, str], ...] = ()
    """(claim id or empty, reference)."""
    measured: Measured = field(default_factory=Measured)


def read_founded(fields: Fields | None) -> Founded:
    """Read the section ``evidence``; defects are noted."""
    if fields is None:
        return Founded()
    level = fields.text("level", choices=get_args(EvidenceLevel))
    grade = _grade(fields)
    sources = []
    for source in fields.mappings("sources"):
        sources.append((source.text("claim", ""), source.text("ref")))
        source.finish()
    if not sources and level != "anecdotal":
        fields.complain("`sources` is missing", "Only anecdotal evidence has no source.")
    if grade == "X" and level != "withdrawn":
        remedy = "What measurement contradicts has the level `withdrawn`, and decides nothing."
        fields.complain(f"`evidence.grade` is X but `level` is {level}", remedy, "grade")
    table = fields.mapping("measured")
    measured = _measured(table) if table is not None else Measured()
    fields.finish()
    known: EvidenceLevel = next((word for word in get_args(EvidenceLevel) if word == level), "anecdotal")
    return Founded(known, grade, tuple(sources), measured)


def read_would_change(fields: Fields) -> tuple[str, ...]:
    """Read the required list ``would_change``."""
    entries = fields.texts("would_change")
    if not entries:
        fields.complain(
            "`would_change` is missing: what would show that the rule is wrong about a run?",
            'List one to three observations, for example ["a second run at a third of the rate ends no better"].',
            "would_change",
        )
    return entries


def _grade(fields: Fields) -> Grade:
    written = fields.text("grade", "")
    grade: Grade | None = next((grade for grade in GRADES if grade == written), None)
    if grade is not None:
        return grade
    legal = "; ".join(f"{letter} {meaning}" for letter, meaning in GRADES.items())
    if written:
        fields.complain(f"`evidence.grade` is `{written}`", f"{suggest(written, tuple(GRADES))} {legal}.", "grade")
    else:
        fields.complain("`evidence.grade` is missing", f"Add it: {legal}.", "grade")
    return "D"


def _measured(table: Fields) -> Measured:
    runs, fired, wanted = (_count(table, key) for key in ("runs", "fired", "wanted"))
    precision, recall = _share(table, "precision"), _share(table, "recall")
    on, runs = table.text("on", ""), runs or 0
    for key, count in (("fired", fired), ("wanted", wanted)):
        if count is not None and count > runs:
            table.complain(f"`{table.name}.{key}` is {count} of {runs} runs", "It cannot be more than `runs`.", key)
    for key, share, count in (("precision", precision, fired), ("recall", recall, wanted)):
        if share is not None and not runs:
            table.complain(f"`{table.name}.{key}` is given without `runs`", "Say on how many runs it was.", key)
        elif share is not None and count == 0:
            table.complain(f"`{table.name}.{key}` is a share of no run", "Write null.", key)
    table.finish()
    return Measured(runs, precision, recall, on, fired, wanted, _interval(precision, fired), _interval(recall, wanted))


def _count(table: Fields, key: str) -> int | None:
    value = table.number(key)
    if value is not None and (value < 0.0 or value != int(value)):
        table.complain(f"`{table.name}.{key}` is {value:g}", "It counts runs: a whole number from 0 on.", key)
        return None
    return int(value) if value is not None else None


def _share(table: Fields, key: str) -> float | None:
    value = table.number(key)
    if value is not None and not 0.0 <= value <= 1.0:
        table.complain(f"`{table.name}.{key}` is {value:g}", "It is a share from 0 to 1, or null.", key)
        return None
    return value


def _interval(share: float | None, count: int | None) -> tuple[float, float] | None:
    """Return the Wilson interval of a share that was written with two decimals."""
    return wilson_interval(round(share * count), count) if share is not None and count else None


def summed_up(rule: Rule) -> Evidence:
    """Return what a finding of the rule carries to its readers."""
    return Evidence(
        description=rule.description,
        status=rule.status,
        level=rule.evidence_level,
        grade=rule.grade,
        sources=rule.sources,
        false_positives=rule.false_positives,
        would_change=rule.would_change,
        measured=rule.measured,
        criteria=tuple(criteria(rule)),
        hold=str(rule.hold) if rule.hold.count else "",
        multiply=rule.multiply,
        roll_back=rule.roll_back,
        stop=rule.stop,
    )


def criteria(rule: Rule) -> Iterator[Criterion]:
    """Yield the condition line by line, as the file has it."""
    return _lines(rule.when, rule, 0)


def _lines(condition: Condition, rule: Rule, depth: int) -> Iterator[Criterion]:
    if isinstance(condition, Comparison):
        info = SIGNALS[condition.signal]
        origins = {rule.parameters[name].value: rule.parameters[name].origin for name in condition.parameters}
        yield Criterion(
            depth=depth,
            joins=None,
            signal=condition.signal,
            meaning=info.description,
            above=condition.above,
            limit=condition.limit,
            clear=condition.clear,
            unit=info.unit,
            origin=origins.get(condition.limit, ""),
            clear_origin=origins.get(condition.clear, "") if condition.clear != condition.limit else "",
        )
        return
    yield Criterion(depth, "all" if isinstance(condition, All) else "any")
    for part in condition.parts:
        yield from _lines(part, rule, depth + 1)
