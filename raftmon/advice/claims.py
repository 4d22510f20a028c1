"""The claims that the rule set started from (``rules/claims.yaml``), and what handles each of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftmon.documents import SHIPPED_RULES, Fields, read_fields, suggest
from raftmon.errors import DocumentErrors
from raftmon.model import Problem

__all__ = ["HANDLERS", "Claim", "graded", "load_claims"]

HANDLERS: Final = ("strategy", "interaction", "lint", "refusal")
"""What handles a claim where no rule does."""
GRADES: Final = ("A", "B", "C", "D", "X")
VERDICTS: Final = (
    "supported",
    "plausible",
    "conditional",
    "hypothesis",
    "arithmetic",
    "definition",
    "contradicted",
    "withdrawn",
    "unverified",
    "unverifiable",
    "unsupported",
    "meaningless",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the documents that the rule set started from."""

    id: str
    """Document and number: ``0-12``."""
    claim: str
    """Paraphrase."""
    verdict: str
    """What the study found; one of `VERDICTS`."""
    grade: str
    """A replicated, B one strong source, C practice, D hypothesis, X wrong or nothing behind it."""
    handled_by: tuple[str, ...]
    """Rule ids, or words of `HANDLERS`."""
    why: str
    """Why it is refused, or what is done instead; empty where there is nothing to explain."""


def load_claims(rule_ids: Collection[str], path: Path = SHIPPED_RULES / "claims.yaml") -> Mapping[str, Claim]:
    """Read the table of claims.

    Args:
        rule_ids: the rules that exist.
        path: the file.

    Raises:
        DocumentErrors: with every defect of the file, a rule that does not exist among them.
    """
    problems: list[Problem] = []
    fields = read_fields(path, problems)
    claims: dict[str, Claim] = {}
    if fields is not None:
        fields.text("schema", choices=("raftmon/claims@1",))
        for entry in fields.mappings("claims", required=True):
            claim = _claim(entry, rule_ids)
            if claim.id in claims:
                entry.complain(f"claim `{claim.id}` is given twice", "Keep one of the two.", "id")
            claims[claim.id] = claim
        fields.finish()
    if problems:
        raise DocumentErrors(tuple(problems))
    return claims


def graded(ids: Collection[str], claims: Mapping[str, Claim]) -> str:
    """Return claims with their grades, for people: ``0-23 (C), 2-10 (C)``; ids without a row are left out."""
    return ", ".join(f"{claims[id_].id} ({claims[id_].grade})" for id_ in ids if id_ in claims)


def _claim(fields: Fields, rule_ids: Collection[str]) -> Claim:
    claim = Claim(
        id=fields.text("id"),
        claim=fields.text("claim"),
        verdict=fields.text("verdict", choices=VERDICTS),
        grade=fields.text("grade", choices=GRADES),
        handled_by=fields.texts("handled_by"),
        why=fields.text("why", ""),
    )
    if not claim.handled_by:
        fields.complain("nothing handles this claim", f"Name rules, or one of: {', '.join(HANDLERS)}.", "handled_by")
    for name in claim.handled_by:
        if name not in rule_ids and name not in HANDLERS:
            remedy = suggest(name, [*HANDLERS, *sorted(rule_ids)])
            fields.complain(f"`handled_by` names `{name}`, which is no rule", remedy, "handled_by")
    if not claim.why and ("refusal" in claim.handled_by or claim.grade == "X"):
        fields.complain("a refusal, or grade X, needs `why`", "Say it in one sentence.")
    fields.finish()
    return claim
