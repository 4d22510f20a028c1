"""Explains one rule to a person, or as a document: what it means, what else it could be, how right it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.text import Text

from raftmon.advice.evidence import summed_up
from raftmon.advice.rule import Duration, Rule
from raftmon.advice.rulebook import load_rules
from raftmon.documents import suggest
from raftmon.errors import UsageError
from raftmon.grounds import GRADES, LEVELS, STATUSES, Criterion, Evidence, beyond, figures, proposal
from raftmon.headless.document import rule_document
from raftmon.headless.page import Section, item, paragraph, print_page
from raftmon.model import PointsTo

__all__ = ["EXPLAINED", "POINTS_TO", "find_rule", "print_rule", "rule_explained"]

EXPLAINED: Final = "raftmon/explained@1"
"""Schema of the documents."""
POINTS_TO: Final[dict[PointsTo, str]] = {
    "lr_too_high": "a learning rate that is too high",
    "lr_too_low": "a learning rate that is too low",
    "lr_ok": "a learning rate that is right",
    "schedule": "the schedule of the learning rate",
    "data": "the data or the logging",
    "collapse": "a model that collapses",
    "health": "the health of the run, not the learning rate",
}


def find_rule(rule_id: str) -> tuple[Rule, list[Rule]]:
    """Return a shipped rule, and all of them.

    Raises:
        UsageError: if there is no such rule.
    """
    rules = load_rules()
    for rule in rules:
        if rule.id == rule_id:
            return rule, rules
    remedy = suggest(rule_id, [*(rule.id for rule in rules), "verdict"])
    raise UsageError(f"rule `{rule_id}`", "there is no such rule", f"{remedy} `raftmon rules list` lists them.")


def rule_explained(rule: Rule, rules: Sequence[Rule]) -> dict[str, Any]:
    """Return everything about a rule as plain mappings and lists."""
    return {
        "schema": EXPLAINED,
        "kind": "rule",
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity,
        "points_to": rule.points_to,
        "applies_to": {"scenario": list(rule.scenarios), "needs": list(rule.needs)},
        **rule_document(_evidence(rule)),
        "keep_firing_for": str(rule.keep) if rule.keep.count else "",
        "text": rule.text,
        "fix": rule.fix,
        "parameters": {
            name: {"value": p.value, "unit": p.unit, "origin": p.origin} for name, p in rule.parameters.items()
        },
        "inhibits": list(rule.inhibits),
        "inhibited_by": _inhibited_by(rule, rules),
    }


def print_rule(rule: Rule, rules: Sequence[Rule], console: Console) -> None:
    """Print everything about a rule as a page."""
    evidence = _evidence(rule)
    sections: list[Section] = [
        ("What it means", [paragraph(rule.description)]),
        ("When it fires", _when(rule, evidence)),
        ("What it points to, and what it may do", _power(rule, evidence)),
        ("What it says", [paragraph(_with_places(rule.whole_text))]),
        ("What else it could be", [item(entry) for entry in rule.false_positives]),
        ("What would change its mind", [item(entry) for entry in rule.would_change]),
        ("How it is founded", _founded(evidence)),
        ("Beside other rules", _relations(rule, rules)),
    ]
    print_page(console, rule.title, f"{rule.id} · severity {rule.severity} · status {rule.status}", sections)


def _evidence(rule: Rule) -> Evidence:
    return rule.evidence if rule.evidence is not None else summed_up(rule)


def _when(rule: Rule, evidence: Evidence) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for criterion in evidence.criteria:
        indent = 2 + 2 * criterion.depth
        if criterion.joins is not None:
            lines.append(paragraph(f"{criterion.joins} of these:", indent))
        else:
            lines.append(item(_comparison(criterion), indent))
    held = f"It fires once that has held for {_words(rule.hold)}" if rule.hold.count else "It fires at once"
    ended = f"ends once it has not held for {_words(rule.keep)}" if rule.keep.count else "ends when it no longer holds"
    applies = "runs of any kind" if "any" in rule.scenarios else f"{', '.join(rule.scenarios)} runs"
    needs = ", ".join(role.replace("_", " ") for role in rule.needs)
    lines.append(paragraph(f"{held}, and {ended}."))
    return [*lines, paragraph(f"For {applies}" + (f" that log {needs}." if needs else "."))]


def _words(duration: Duration) -> str:
    return f"{duration.count} {duration.unit.removesuffix('s') if duration.count == 1 else duration.unit}"


def _comparison(criterion: Criterion) -> Text:
    word = "above" if criterion.above else "below"
    unit = f" {criterion.unit}" if criterion.unit not in ("", "ratio", "share", "flag", "correlation") else ""
    text = Text.assemble((criterion.signal, "bold"), f" {word} ", (f"{criterion.limit:g}{unit}", "bold"))
    if criterion.clear != criterion.limit:
        again = f"once it fires, while {word} {criterion.clear:g}"
        text.append(f" ({'once is enough' if beyond(criterion.clear, criterion.unit) else again})")
    text.append(f"\n{criterion.meaning}" + ("" if unit or not criterion.unit else f" ({criterion.unit})"))
    for number, origin in ((criterion.limit, criterion.origin), (criterion.clear, criterion.clear_origin)):
        if origin:
            text.append(f"\n{origin}" if beyond(number, criterion.unit) else f"\n{number:g}: {origin}", style="dim")
    return text


def _power(rule: Rule, evidence: Evidence) -> list[RenderableType]:
    lines = [paragraph(f"It points to {POINTS_TO[rule.points_to]}.")]
    lines.append(paragraph(f"Its status is {rule.status}: {STATUSES[rule.status]}."))
    wish = proposal(evidence)
    if wish:
        verb = "It would propose, once it has earned it" if rule.status == "experimental" else "It proposes"
        lines.append(paragraph(f"{verb}: {wish}."))
    used = set(rule.compared)
    for name, parameter in rule.parameters.items():
        if name not in used:
            lines.append(item(f"{name} {parameter.value:g}: {parameter.origin}", style="dim"))
    return lines


def _founded(evidence: Evidence) -> list[RenderableType]:
    lines = [
        paragraph(f"Grade {evidence.grade}: {GRADES[evidence.grade]}."),
        paragraph(f"Evidence {evidence.level}: {LEVELS[evidence.level]}."),
    ]
    measured = figures(evidence.measured)
    lines += [paragraph(text if evidence.measured.runs else f"{text}: shown only") for text in measured]
    for claim, reference in evidence.sources:
        lines.append(item(f"{reference} (claim {claim})" if claim else reference))
    return lines


def _relations(rule: Rule, rules: Sequence[Rule]) -> list[RenderableType]:
    lines = []
    if rule.inhibits:
        lines.append(paragraph(f"When it fires it explains, and silences: {', '.join(rule.inhibits)}"))
    causes = _inhibited_by(rule, rules)
    if causes:
        lines.append(paragraph(f"It is explained, and silenced, by: {', '.join(causes)}"))
    return lines


def _inhibited_by(rule: Rule, rules: Sequence[Rule]) -> list[str]:
    return [other.id for other in rules if rule.id in other.inhibits]


def _with_places(text: str) -> str:
    """Write the places of an advice that readings are put into as ``‹loss.drawup›``."""
    return re.sub(r"\{([^{}:]+)(?::[^{}]*)?\}", r"‹\1›", text)
