"""How a finding or a verdict is founded, in lines: readings against limits, other causes, figures, what refutes it."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from raftmon.grounds import GRADES, STATUSES, Criterion, Evidence, Status, beyond, figures, proposal
from raftmon.model import Authority, Finding, Reading, Verdict
from raftmon.tui.text import AUTHORITIES, MUTED, NOTHING, assemble, fit, number, sentence
from raftmon.tui.widgets.advice_panel import verdict_line
from raftmon.tui.widgets.lines import wrap

__all__ = ["founded_lines", "proposal_lines", "reading_lines", "verdict_lines"]

HOLDS = {True: ("✓", "bold"), False: ("✗", MUTED), None: ("?", MUTED)}
"""Glyph and style of a comparison that holds, does not, or has no reading."""
POWERS: dict[Status, Authority] = {"experimental": "show", "test": "propose", "stable": "apply"}
"""What a rule of each status may do."""
BARE = frozenset({"", "ratio", "share", "flag", "correlation"})
"""Units that are not written behind a number."""


def reading_lines(finding: Finding, width: int) -> list[Content]:
    """Return the readings against what they are compared with; without a rule file, beside each other."""
    if finding.evidence is None:
        return _beside(finding)
    readings = {reading.signal: reading for reading in finding.readings}
    held = f", to hold for {finding.evidence.hold}" if finding.evidence.hold else ""
    lines = [assemble(("Readings against limits", "bold"), (held, MUTED))]
    for criterion in finding.evidence.criteria:
        if criterion.joins is not None:
            lines.append(assemble((f"{' ' * (2 + 2 * criterion.depth)}{criterion.joins} of these", MUTED)))
        else:
            lines += _criterion(criterion, readings.get(criterion.signal), finding.state == "firing", width)
    return lines


def _criterion(criterion: Criterion, reading: Reading | None, firing: bool, width: int) -> list[Content]:
    value = reading.value if reading is not None else None
    limit = criterion.clear if firing else criterion.limit
    glyph, style = HOLDS[None if value is None else (value > limit if criterion.above else value < limit)]
    word = "above" if criterion.above else "below"
    unit = "" if criterion.unit in BARE else f" {criterion.unit}"
    other = "below" if criterion.above else "above"
    ends = f", ends {other} {number(criterion.clear)}" if firing and criterion.clear != criterion.limit else ""
    ends = ", once is enough" if ends and beyond(criterion.clear, criterion.unit) else ends
    indent = 2 + 2 * criterion.depth
    parts = assemble(
        (f"{glyph} ", style),
        f"{criterion.signal} ",
        (_measured(value, criterion.unit), "bold" if value is not None else MUTED),
        (f"  wanted {word} {number(criterion.limit)}{unit}{ends}", MUTED),
    )
    return wrap(parts, width, indent, indent + 2) + wrap(assemble((criterion.meaning, MUTED)), width, indent + 2)


def _beside(finding: Finding) -> list[Content]:
    readings = [(reading.signal, _measured(reading.value, reading.unit), reading.unit) for reading in finding.readings]
    limits = [(name, number(value), "") for name, value in finding.thresholds.items()]
    label = max([len(name) for name, _, _ in readings + limits] or [0])
    lines: list[Content] = []
    for title, rows in (("Readings", readings), ("compared with", limits)):
        lines += [assemble((title, "bold"))] if rows else []
        for name, value, unit in rows:
            strength = "bold" if rows is readings and value != NOTHING else ""
            lines.append(assemble(f"  {fit(name, label)}  ", (value.rjust(10), strength), (f" {unit}", MUTED)))
    return lines


def _measured(value: float | None, unit: str) -> str:
    return (beyond(value, unit) if value is not None else "") or number(value)


def proposal_lines(evidence: Evidence, width: int) -> list[Content]:
    """Return what the rule proposes, and whether it may; nothing if it only tells."""
    wish = proposal(evidence)
    if not wish:
        return []
    authority = (f"  {AUTHORITIES[POWERS[evidence.status]]}", MUTED)
    return wrap(assemble(("→ ", "bold $text-primary"), wish, authority), width, 0, 2)


def founded_lines(evidence: Evidence, width: int) -> list[Content]:
    """Return what a rule means, what else it could be, what would change its mind, and how it is founded."""
    lines = _section("What it means", [evidence.description], width, bullet="")
    lines += _section("What else it could be", evidence.false_positives, width)
    lines += _section("What would change its mind", evidence.would_change, width)
    founded = [f"grade {evidence.grade}, {GRADES[evidence.grade]}", *figures(evidence.measured)]
    founded.append(f"status {evidence.status}: {STATUSES[evidence.status]}")
    founded += [f"{reference} (claim {claim})" if claim else reference for claim, reference in evidence.sources]
    return lines + _section("How it is founded", founded, width)


def verdict_lines(verdict: Verdict, width: int) -> list[Content]:
    """Return the verdict with all that was weighed."""
    lines = [verdict_line(verdict), *wrap(assemble(sentence(verdict.why)), width)]
    lines += _section("What was weighed, the strongest first", verdict.reasons, width)
    title = "What would decide it" if verdict.learning_rate == "undecided" else "What would change its mind"
    lines += _section(title, verdict.would_change, width)
    return lines + _section("How right such verdicts were", [verdict.measured] if verdict.measured else [], width)


def _section(title: str, entries: Iterable[str], width: int, *, bullet: str = "· ") -> list[Content]:
    """Return a blank line, a heading and entries that hang below their bullets; nothing without entries."""
    lines = []
    for entry in entries:
        lines += wrap(assemble((bullet, MUTED), entry), width, 2, 2 + len(bullet))
    return [Content(), assemble((title, "bold")), *lines] if lines else []
