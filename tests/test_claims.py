"""Every claim of the documents that the rule set started from is handled, and rules cite none that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftmon.advice.claims import graded, load_claims
from raftmon.advice.rulebook import load_rules
from raftmon.errors import DocumentErrors
from raftmon.headless.claims import claims_markdown
from raftmon.signals.references import load_references

RULES = load_rules()
IDS = {rule.id for rule in RULES}
CLAIMS = load_claims(IDS)
ALL = [f"{document}-{number:02}" for document, last in ((0, 30), (1, 11), (2, 42)) for number in range(1, last + 1)]
ROW = '{id: 0-01, claim: "a", verdict: plausible, grade: C, handled_by: [strategy]}'


def test_every_claim_has_a_row_and_is_handled() -> None:
    assert list(CLAIMS) == ALL
    assert len(CLAIMS) == 83
    for claim in CLAIMS.values():
        assert claim.handled_by, claim.id
        assert claim.claim, claim.id


def test_rules_and_references_cite_claims_of_the_table_only() -> None:
    cited = {(rule.id, claim) for rule in RULES for claim, _ in rule.sources if claim}
    cited |= {("references.yaml", claim) for reference in load_references() for claim in reference.claims}
    assert {(where, claim) for where, claim in cited if claim not in CLAIMS} == set()


def test_a_rule_that_handles_a_claim_of_grade_x_changes_nothing_for_that_reason() -> None:
    for claim in CLAIMS.values():
        if claim.grade == "X":
            assert claim.why, claim.id


def test_withdrawn_figures_are_never_shown() -> None:
    for claim in CLAIMS.values():
        for figure in ("46.7", "29.3", "23.0"):
            assert figure not in claim.claim + claim.why
    assert "withdrawn by their author" in CLAIMS["0-01"].why
    for rule in RULES:
        assert not any(figure in rule.text + rule.description for figure in ("46.7", "29.3", "23.0")), rule.id


def test_the_table_of_the_catalogue() -> None:
    lines = claims_markdown(IDS)
    assert len([line for line in lines if line[:3] in ("| 0", "| 1", "| 2")]) == 83
    assert all(line.count(" | ") == 5 for line in lines if line.startswith("| 0-"))
    assert graded(("0-23", "", "9-99", "2-10"), CLAIMS) == "0-23 (C), 2-10 (C)"


@pytest.mark.parametrize(
    ("row", "place", "what"),
    [
        (ROW.replace("strategy", "loss-divergs"), "3:", "`handled_by` names `loss-divergs`, which is no rule"),
        (ROW.replace("[strategy]", "[]"), "3:", "nothing handles this claim"),
        (ROW.replace("strategy", "refusal"), "3:", "a refusal, or grade X, needs `why`"),
        (ROW.replace("grade: C", "grade: X"), "3:", "a refusal, or grade X, needs `why`"),
        (ROW.replace("plausible", "true"), "3:", "`claims[0].verdict` is `true`"),
        (f"{ROW}\n  - {ROW}", "4:", "claim `0-01` is given twice"),
        (ROW.replace("claim:", "clam:"), "3:", "`claims[0].clam` is not a key"),
    ],
)
def test_defects_are_told_with_their_place(tmp_path: Path, row: str, place: str, what: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(f"schema: raftmon/claims@1\nclaims:\n  - {row}\n")
    with pytest.raises(DocumentErrors) as caught:
        load_claims(IDS, path)
    found = [problem for problem in caught.value.problems if problem.what.startswith(what)]
    assert found, caught.value.problems
    assert found[0].where.startswith(f"{path}:{place}")
    assert found[0].remedy
