"""What may raise a campaign's next rate beside a probe: a rule that says the cycles gain nothing, and a changed config.

Nothing is raised where anything that fires speaks against it, nor on a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from raftmon.advice.intent import Plan, Seen
from raftmon.advice.interactions import Interaction
from raftmon.advice.learning_rate import AUTHORITY, format_rate, weaker
from raftmon.model import Step

__all__ = ["heed_changes", "heed_standstill"]

GUESSED: Final = "D"
"""Grade of an interaction whose size nobody measured: it may lower a rate, but raise none."""
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "effective_batch": ("batch_size", "gradient_accumulation", "devices", "global_batch_size"),
    "lora_rank": ("lora_rank", "lora_alpha", "use_rslora"),
    "train_samples": ("train_samples", "max_steps", "epochs"),
}
"""Change to the fields of `RunConfig` that make it up, where it is not the one of its name."""


def heed_standstill(plan: Plan, seen: Seen) -> None:
    """Raise where a rule says that the cycles gain nothing; a raise that harms is taken back by going back."""
    for finding in seen.firing:
        rule, evidence = seen.rules[finding.rule], (finding.rule, seen.judged)
        if rule.multiply is None or rule.multiply <= 1.0 or not seen.intent.allows(rule):
            continue
        if evidence in seen.intent.acted:
            plan.note(rule.id, f"{rule.id}: heeded already")
        elif seen.judged < seen.trained:
            plan.note(rule.id, f"{rule.id}: waits for the rate of cycle {seen.trained}")
        elif seen.against is not None:
            plan.note(rule.id, f"{rule.id}, but {seen.against} speaks against raising: held")
        else:
            plan.acted.append(evidence)
            plan.raise_by(rule.multiply, rule.id, f"{rule.id} × {rule.multiply:g}")
            plan.authority = weaker(plan.authority, AUTHORITY[rule.status])


def heed_changes(plan: Plan, seen: Seen) -> None:
    """Step 6: multiply by what changed in the configuration; nothing is raised on a guess or against evidence."""
    changes = seen.intent.changes
    if changes is None or plan.rate is None:
        return
    if any(item.refused for item in changes.found):
        for item in changes.found:
            if item.refused:
                plan.note(f"change:{item.parameter}", f"{item.text} The learning rate is held.")
        return
    for item in changes.found:
        if item.factor is None or math.isclose(item.factor, 1.0):
            plan.note(f"change:{item.parameter}", item.text)
        elif item.factor > 1.0 and (reason := _why_not_raised(item, seen.against)):
            plan.held += _FIELDS.get(item.parameter, (item.parameter,))
            plan.note(f"change:{item.parameter}", f"{item.text} × {item.factor:.3g} would raise it, {reason}: held.")
        else:
            plan.rate *= item.factor
            text = f"{item.text} × {item.factor:.3g} = {format_rate(plan.rate)}"
            plan.steps.append(Step(f"change:{item.parameter}", item.factor, text))


def _why_not_raised(item: Interaction, against: str | None) -> str:
    """Return why a factor above 1 is not applied; empty where it is."""
    if against is not None:
        return f"but {against} speaks against that"
    return "but that rests on a hypothesis" if item.grade == GUESSED else ""
