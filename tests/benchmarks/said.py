"""Scores what was said of trainings against what is right."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raftmon.advice.rule import Rule
from raftmon.advice.weighing import KINDS
from raftmon.model import SEVERITIES, PointsTo, VerdictKind
from raftmon.signals.statistics import wilson_interval
from tests.benchmarks.fitting import JUDGES
from tests.benchmarks.replays import LOOKS, Replay
from tests.benchmarks.sweeps import Training

Odds = NDArray[np.float64]
"""Shape (runs, kinds in the order of `KINDS`)."""

SURE: Final = 0.75
WANTED: Final[Mapping[PointsTo, VerdictKind]] = {"lr_too_high": "too_high", "lr_too_low": "too_low", "lr_ok": "ok"}
LANGUAGE: Final = frozenset({"transformer", "gru", "finetune", "lora", "addition"})
SETTLED: Final = 0.25
"""Share of a run after which a verdict should not turn into another one."""


def scores(cases: Sequence[Training], odds: Odds) -> dict[str, float]:
    """Return accuracy when forced to choose, opposite errors, and how right and frequent sure choices are."""
    kinds, likeliest = np.array([KINDS.index(case.kind) for case in cases]), odds.argmax(axis=1)
    right, sure = likeliest == kinds, odds.max(axis=1) >= SURE
    far_low = np.array([case.kind == "too_low" and case.factor < 0.04 for case in cases])
    far_high = np.array([case.kind == "too_high" and case.factor > 9.0 for case in cases])
    return {
        "balanced": float(np.mean([right[kinds == kind].mean() for kind in range(3) if (kinds == kind).any()])),
        "opposite": float(np.mean(np.abs(likeliest - kinds) == 2)),
        "right_when_sure": float(right[sure].mean()) if sure.any() else 0.0,
        "sure": float(sure.mean()),
        "far_low_caught": float(right[far_low].mean()) if far_low.any() else 0.0,
        "far_high_caught": float(right[far_high].mean()) if far_high.any() else 0.0,
    }


def spoken_lines(replays: Sequence[Replay]) -> Iterator[str]:
    """Yield the scores of what raftmon said: of all families, and of the judges."""
    judges = [replay for replay in replays if replay.training.family in JUDGES]
    yield "| | all families | judges |"
    yield "|---|---|---|"
    for title, both in zip(*(list(_spoken(some)) for some in (replays, judges)), strict=True):
        yield f"| {title[0]} | {title[1]} | {both[1]} |"
    yield ""
    yield "| × best | runs | too low | right | too high | undecided |"
    yield "|---|---|---|---|---|---|"
    for half_decade, counts in _by_distance(replays):
        cells = " | ".join(str(counts[kind]) for kind in (*KINDS, "undecided"))
        yield f"| {half_decade} | {counts.total()} | {cells} |"


def _spoken(replays: Sequence[Replay]) -> Iterator[tuple[str, str]]:
    spoken = [(r.training.kind, r.said[-1]) for r in replays if r.said[-1] != "undecided"]
    right = sum(really == said for really, said in spoken)
    opposite = sum({really, said} == {"too_low", "too_high"} for really, said in spoken)
    yield "verdict given at the end", f"{len(spoken)} of {len(replays)} ({len(spoken) / len(replays):.0%})"
    yield "of these right", f"{right} ({right / max(1, len(spoken)):.1%})"
    yield "the opposite of right", str(opposite)
    for name, chosen in (
        ("30 times too low or more, called so", [r for r in replays if _far(r.training) < 0]),
        ("10 times too high or more, called so", [r for r in replays if _far(r.training) > 0]),
    ):
        caught = sum(r.said[-1] == r.training.kind for r in chosen)
        yield name, f"{caught} of {len(chosen)} ({caught / max(1, len(chosen)):.0%})"
    flips = sum(_flips(r.said) for r in replays)
    yield "verdict turned into another after a quarter", f"{flips} of {len(replays)} ({flips / len(replays):.1%})"
    delays = [_delay(r) for r in replays if r.said[-1] == r.training.kind]
    yield "share of the run until the right verdict stands, median", f"{np.median(delays):.0%}" if delays else "–"
    healthy = [r for r in replays if r.training.kind == "ok"]
    for name, some in (
        ("critical alarms per 1,000 healthy steps", healthy),
        ("the same in language models", [r for r in healthy if r.training.family in LANGUAGE]),
    ):
        steps = sum(r.training.steps for r in some)
        alarms = sum(count for r in some for rule, count in r.alarms.items() if r.severities[rule] == "critical")
        yield name, f"{1000 * alarms / steps:.2f} ({alarms} in {steps})" if steps else "–"
    alarmed = sum(any(_is_alarm(r, rule) for rule in r.alarms) for r in healthy)
    about_rate = sum(any(_is_alarm(r, rule) and rule in r.about_rate for rule in r.alarms) for r in healthy)
    yield "healthy runs with an alarm at medium or above", f"{alarmed} of {len(healthy)} ({_share(alarmed, healthy)})"
    yield "the same, about the learning rate", f"{about_rate} of {len(healthy)} ({_share(about_rate, healthy)})"


def _share(count: int, of: Sequence[Replay]) -> str:
    return f"{count / max(1, len(of)):.1%}"


def _is_alarm(replay: Replay, rule: str) -> bool:
    return SEVERITIES.index(replay.severities[rule]) >= SEVERITIES.index("medium")


def _far(training: Training) -> int:
    if training.kind == "too_low" and training.factor < 0.04:
        return -1
    return 1 if training.kind == "too_high" and training.factor > 9.0 else 0


def _flips(said: Sequence[VerdictKind]) -> bool:
    later = [kind for kind in said[round(SETTLED * len(said)) :] if kind != "undecided"]
    return any(a != b for a, b in itertools.pairwise(later))


def _delay(replay: Replay) -> float:
    """Return the share of the run after which the last verdict was the only one said."""
    last = next((i for i in range(len(replay.said), 0, -1) if replay.said[i - 1] != replay.said[-1]), 0)
    return (last + 1) / LOOKS


def _by_distance(replays: Sequence[Replay]) -> Iterator[tuple[str, Counter[str]]]:
    said: dict[int, Counter[str]] = {}
    for replay in replays:
        place = int(np.clip(round(2 * np.log10(replay.training.factor)), -4, 5))
        said.setdefault(place, Counter())[replay.said[-1]] += 1
    for place, counts in sorted(said.items()):
        yield f"{'≤ ' if place == -4 else '≥ ' if place == 5 else ''}{10 ** (place / 2):.3g}", counts


@dataclass(frozen=True)
class Counts:
    """How often a rule fired, and should have."""

    runs: int
    fired: int
    right: int
    wanted: int

    @property
    def precision(self) -> float | None:
        """None: it never fired."""
        return self.right / self.fired if self.fired else None

    @property
    def recall(self) -> float | None:
        """None: it never should have."""
        return self.right / self.wanted if self.wanted else None


def counts(rule: Rule, replays: Sequence[Replay]) -> Counts:
    """Count on how many runs a rule fired at the end, and on how many of these rightly."""
    wanted = WANTED.get(rule.points_to)
    kinds = [replay.training.kind for replay in replays]
    fired = [r.training.kind for r in replays if any(f.rule == rule.id for f in r.view.firing)]
    return Counts(len(kinds), len(fired), sum(kind == wanted for kind in fired), sum(kind == wanted for kind in kinds))


def rule_lines(rules: Sequence[Rule], replays: Sequence[Replay]) -> Iterator[str]:
    """Yield precision and recall of each rule on the learning rate."""
    judges = [replay for replay in replays if replay.training.family in JUDGES]
    yield "| rule | fired | precision | recall | judges: precision |"
    yield "|---|---|---|---|---|"
    for rule in rules:
        if rule.points_to in WANTED:
            every, some = counts(rule, replays), counts(rule, judges)
            cells = [rule.id, f"{every.fired} of {every.runs}", _interval(every.right, every.fired)]
            cells += [_interval(every.right, every.wanted), _interval(some.right, some.fired)]
            yield f"| {' | '.join(cells)} |"


def _interval(hits: int, tries: int) -> str:
    if not tries:
        return "–"
    low, high = wilson_interval(hits, tries)
    return f"{hits / tries:.2f} ({low:.2f}–{high:.2f})"
