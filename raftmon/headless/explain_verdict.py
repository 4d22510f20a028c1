"""Explains how the verdict is weighed: which signals, in which direction, within which limits, how right it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.text import Text

from raftmon.advice.verdict import WOULD_CHANGE, WOULD_DECIDE_A_CYCLE
from raftmon.advice.weighing import KINDS, Feature, Weighing
from raftmon.headless.explain import EXPLAINED
from raftmon.headless.page import Section, item, paragraph, print_page
from raftmon.model import VerdictKind
from raftmon.signals.registry import SIGNALS

__all__ = ["print_verdict", "verdict_explained"]

WORDS: Final[Mapping[VerdictKind, str]] = {
    "too_low": "too low",
    "ok": "right",
    "too_high": "too high",
    "undecided": "undecided",
}
HARDLY: Final = 0.15
"""Logits per standard deviation below which a signal is not said to speak for anything: a sixth of even odds."""
_LIMITS: Final = {
    "points": "loss points, below which nothing is said but that a run diverges",
    "speak_above": "probability from which a verdict is given",
    "most_confident": "no verdict claims to be surer",
    "diverged": "how sure it is of a diverging run, where the rule that found it was not measured",
    "early": "share of the planned steps, before which nothing is called too low",
}
_MEANING: Final = (
    "Whether the learning rate of a run is too low, right or too high. Each signal below adds to the odds of the "
    "three, by its distance from the usual; the likeliest is said where it is likely enough, else it is undecided."
)
_FIRST: Final = (
    "A run that diverges (a critical finding that points to a too high rate) is too high, whatever the sum.",
    "A run that logs no loss, is too short or is broken in another way is undecided.",
    "A finding of medium severity or more that points the other way makes it undecided.",
    "The cycle of a RAFT campaign is undecided: its loss does not tell its learning rate. Its campaign does.",
)
"""What comes before the weighing."""


def verdict_explained(weighing: Weighing) -> dict[str, Any]:
    """Return the weighing as plain mappings and lists."""
    return {
        "schema": EXPLAINED,
        "kind": "verdict",
        "description": _MEANING,
        "first": list(_FIRST),
        "features": [
            {
                **asdict(feature),
                "meaning": SIGNALS[feature.signal].description,
                "unit": SIGNALS[feature.signal].unit,
                "high_speaks_for": _extreme(feature, high=True),
                "low_speaks_for": _extreme(feature, high=False),
            }
            for feature in weighing.features
        ],
        "intercept": dict(weighing.intercept),
        "limits": {
            name: {"value": n.value, "unit": n.unit, "origin": n.origin} for name, n in weighing.numbers.items()
        },
        "would_change": {kind: list(entries) for kind, entries in WOULD_CHANGE.items()},
        "measured": weighing.measured,
        "origin": weighing.origin,
    }


def print_verdict(weighing: Weighing, console: Console) -> None:
    """Print the weighing as a page."""
    sections: list[Section] = [
        ("What it means", [paragraph(_MEANING)]),
        ("What comes first", [item(entry) for entry in _FIRST]),
        ("What is weighed, the heaviest first", _features(weighing)),
        ("Between speaking and silence", _limits(weighing)),
        ("What would change its mind", _would_change()),
        (
            "How it is founded",
            [paragraph(f"Measured on {weighing.measured}."), paragraph(f"Fitted as {weighing.origin}.")],
        ),
    ]
    print_page(console, "The verdict on the learning rate", "verdict · rules/verdict.yaml", sections)


def _features(weighing: Weighing) -> list[RenderableType]:
    return [item(_feature(feature)) for feature in sorted(weighing.features, key=_weight, reverse=True)]


def _weight(feature: Feature) -> float:
    return max(abs(feature.weights.get(kind, 0.0)) for kind in KINDS)


def _feature(feature: Feature) -> Text:
    high, low = (WORDS[_extreme(feature, high=flag)] for flag in (True, False))
    says = f"a high value speaks for {high}, a low one for {low}"
    text = Text.assemble((feature.signal, "bold"), f"  {SIGNALS[feature.signal].description}")
    text.append(f"\n{says if _weight(feature) >= HARDLY else 'hardly counts either way'}")
    weights = ", ".join(f"{WORDS[kind]} {feature.weights.get(kind, 0.0):+.2f}" for kind in KINDS)
    text.append(f"\na standard deviation more adds to the logits: {weights}", style="dim")
    if any(feature.absent.values()):
        absent = ", ".join(f"{WORDS[kind]} {feature.absent.get(kind, 0.0):+.2f}" for kind in KINDS)
        text.append(f"\nwithout a reading: {absent}", style="dim")
    return text


def _extreme(feature: Feature, *, high: bool) -> VerdictKind:
    """Return the kind that a high, or a low, value speaks for most."""
    return (max if high else min)(KINDS, key=lambda kind: feature.weights.get(kind, 0.0))


def _limits(weighing: Weighing) -> list[RenderableType]:
    lines = []
    for name, number in weighing.numbers.items():
        text = Text.assemble((f"{number.value:g}", "bold"), f"  {_LIMITS.get(name, name.replace('_', ' '))}")
        text.append(f"\n{number.origin}", style="dim")
        lines.append(item(text))
    return lines


def _would_change() -> list[RenderableType]:
    lines: list[RenderableType] = []
    for kind, entries in WOULD_CHANGE.items():
        lines.append(paragraph(f"Said to be {WORDS[kind]}:" if kind != "undecided" else "Undecided:"))
        lines += [item(entry, 4) for entry in entries]
    return [*lines, paragraph("Undecided, for the cycle of a campaign:"), *(item(e, 4) for e in WOULD_DECIDE_A_CYCLE)]
