"""The reference ranges of ``rules/references.yaml``: where others put the learning rate of a method and a stage."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final, Literal, get_args

from raftmon.documents import SHIPPED_RULES, Fields, read_fields
from raftmon.errors import DocumentErrors
from raftmon.model import Problem
from raftmon.run_config import RunConfig
from raftmon.slotted import dataclass

__all__ = ["Reference", "load_references", "reference_at", "reference_for"]

Method = Literal["lora", "full"]
STAGES: Final = ("pretrain", "sft", "raft", "dpo", "rl", "embedding")
GRADES: Final = ("A", "B", "C", "D")


@dataclass(frozen=True, slots=True)
class Reference:
    """A range of learning rates, and how much it is worth."""

    method: Method
    stage: str
    low: float
    high: float
    grade: str
    """A replicated, B one strong source, C practice, D somebody's hypothesis."""
    claims: tuple[str, ...]
    source: str
    usual: float | None = None
    """The one rate that is quoted most for it, where there is one."""

    def excess(self, rate: float) -> float:
        """Return how many times a rate lies above the range (over 1) or of which part below it (under 1); 1 inside."""
        return rate / self.high if rate > self.high else rate / self.low if rate < self.low else 1.0


@functools.cache
def load_references(path: Path = SHIPPED_RULES / "references.yaml") -> tuple[Reference, ...]:
    """Read the table.

    Raises:
        DocumentErrors: with every defect of the file.
    """
    problems: list[Problem] = []
    fields = read_fields(path, problems)
    references: tuple[Reference, ...] = ()
    if fields is not None:
        fields.text("schema", choices=("raftmon/references@1",))
        references = tuple(_reference(entry) for entry in fields.mappings("references", required=True))
        fields.finish()
    if problems:
        raise DocumentErrors(tuple(problems))
    return references


def reference_for(config: RunConfig, stage: str | None) -> Reference | None:
    """Return the range for what a config trains, or None where method or stage is not known.

    Args:
        config: says the method, and the stage if it knows it.
        stage: what else is known of the stage.
    """
    return reference_at(config.method, config.stage or stage)


def reference_at(method: str | None, stage: str | None) -> Reference | None:
    """Return the range of a method and a stage, or None without one."""
    return next((ref for ref in load_references() if (ref.method, ref.stage) == (method, stage)), None)


def _reference(fields: Fields) -> Reference:
    written = fields.text("method", choices=get_args(Method))
    reference = Reference(
        method="lora" if written == "lora" else "full",
        stage=fields.text("stage", choices=STAGES),
        low=fields.number("low", required=True) or 0.0,
        high=fields.number("high", required=True) or 0.0,
        grade=fields.text("grade", choices=GRADES),
        claims=fields.texts("claims"),
        source=fields.text("source"),
        usual=fields.number("usual"),
    )
    if not 0.0 < reference.low <= reference.high:
        fields.complain("the range is empty", "`low` must be above 0 and not above `high`.", "low")
    if reference.usual is not None and not reference.low <= reference.usual <= reference.high:
        fields.complain("`usual` lies outside the range", "It must lie between `low` and `high`.", "usual")
    fields.finish()
    return reference
