"""The table of claims for ``rules/README.md``."""

from __future__ import annotations

from collections.abc import Collection

from raftmon.advice.claims import HANDLERS, Claim, load_claims

__all__ = ["claims_markdown"]

_HEAD = """\
Every statement of the documents that the rule set started from, paraphrased, with what the study found of it and what
raftmon does with it. Grades: A replicated, B one strong source, C practice, D somebody's hypothesis, X wrong or nothing
behind it. `strategy`: how the rate of the next cycle is worked out; `interaction`: a factor for a change between two
configs; `lint`: what `raftmon lint` reads from a config; `refusal`: deliberately not acted on.
"""


def claims_markdown(rule_ids: Collection[str]) -> list[str]:
    """Return the lines of the table.

    Args:
        rule_ids: the rules that exist.
    """
    claims = load_claims(rule_ids)
    head = [
        "",
        "## Claims",
        "",
        _HEAD,
        "| claim | what it says | found | grade | handled by | why |",
        "|---|---|---|---|---|---|",
    ]
    return [*head, *(_row(claim) for claim in claims.values())]


def _row(claim: Claim) -> str:
    handlers = ", ".join(name if name in HANDLERS else f"[{name}]({name}.yaml)" for name in claim.handled_by)
    cells = (claim.id, claim.claim, claim.verdict, claim.grade, handlers, claim.why or "–")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
