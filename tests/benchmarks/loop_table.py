"""The tables of the closed loop, from outcomes of campaigns."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.benchmarks.loop_campaign import Outcome

__all__ = ["Setting", "late_table", "main_tables", "true_rate"]

FOUR: Final = ("10x high", "3x high", "right", "10x low")
"""Starts that the targets speak of."""
Groups: TypeAlias = Mapping[tuple[str, str], Sequence[Outcome]]
"""(start, arm) to a campaign for each seed."""


@dataclass(frozen=True)
class Setting:
    """A task, and what of the model is trained."""

    task: str
    rank: int = 0
    """Of LoRA adapters; 0: every weight."""

    @property
    def scale(self) -> float:
        """What learning rates are multiplied by: adapters need some ten times more."""
        return 10.0 if self.rank else 1.0

    def __str__(self) -> str:
        return f"{self.task}, LoRA rank {self.rank}" if self.rank else self.task


def true_rate(outcome: Outcome, checkpoint: int) -> float:
    """Return the true held-out rate of a checkpoint."""
    return statistics.mean(outcome.truth[checkpoint])


def shipped_rate(outcome: Outcome) -> float:
    """Return that of the shipped one."""
    return true_rate(outcome, outcome.shipped)


def of_peak(outcome: Outcome) -> tuple[float, float]:
    """Return the shipped rate over the campaign's own best, estimated from below and from above.

    From below: over the largest rate, which is too large because it is the luckiest of many noisy ones. From above: the
    best checkpoint is found in one half of the truth and measured in the other, both ways round, which misses it at
    times.
    """
    checkpoints = range(len(outcome.truth))
    largest = max(true_rate(outcome, checkpoint) for checkpoint in checkpoints)
    peaks = [outcome.truth[max(checkpoints, key=lambda c: outcome.truth[c][half])][1 - half] for half in (0, 1)]
    return shipped_rate(outcome) / largest, shipped_rate(outcome) / statistics.mean(peaks)


def _mean(values: Iterable[float]) -> float:
    return statistics.mean(values)


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def best_seen(outcome: Outcome) -> Outcome:
    """Return the same campaign, of which the checkpoint with the best rate among those seen is shipped."""
    return dataclasses.replace(outcome, shipped=outcome.best)


def shares(oracle: Sequence[Outcome], group: Sequence[Outcome]) -> list[float]:
    """Return the share of the oracle's gain that each seed's campaign shipped; the gain is the mean over the seeds."""
    base = _mean(true_rate(outcome, 0) for outcome in oracle)
    gain = _mean(true_rate(outcome, -1) for outcome in oracle) - base
    return [(shipped_rate(outcome) - true_rate(outcome, 0)) / gain for outcome in group]


def main_tables(oracle: Mapping[Setting, Sequence[Outcome]], found: Mapping[Setting, Groups]) -> None:
    """Print the tables of the campaigns of 8 cycles."""
    found = {setting: _with_best_seen(groups) for setting, groups in found.items()}
    starts = dict.fromkeys(start for start, _ in next(iter(found.values())))
    arms = dict.fromkeys(arm for _, arm in next(iter(found.values())))
    print("\nShare of the gain of the best constant rate over the base model (mean of tasks; ± s.e. over seeds)\n")
    print(f"| | {' | '.join(starts)} | mean of the first four | worst of them |")
    print("|---" * (len(starts) + 3) + "|")
    for arm in arms:
        cells: dict[str, list[list[float]]] = {}
        for start in starts:
            if all((start, arm) in groups for groups in found.values()):
                cells[start] = [shares(oracle[setting], groups[start, arm]) for setting, groups in found.items()]
        seeds = {start: [_mean(column) for column in zip(*rows, strict=True)] for start, rows in cells.items()}
        four = [_mean(seeds[start]) for start in FOUR]
        texts = [f"{_mean(seeds[s]):.0%} ± {_error(seeds[s]):.0%}" if s in seeds else "–" for s in starts]
        print(f"| {arm} | {' | '.join(texts)} | {_mean(four):.0%} | {min(four):.0%} |")
    _rate_tables(oracle, found, list(starts), list(arms))
    _right_start(found)


def _with_best_seen(groups: Groups) -> Groups:
    """Add, for who decides without raftmon, the same campaigns of which the best checkpoint seen is shipped."""
    added = {
        (start, f"{arm}, best seen"): [best_seen(outcome) for outcome in group]
        for (start, arm), group in groups.items()
        if not arm.startswith("raftmon")
    }
    return {**groups, **added}


def _rate_tables(
    oracle: Mapping[Setting, Sequence[Outcome]], found: Mapping[Setting, Groups], starts: list[str], arms: list[str]
) -> None:
    print("\nTrue held-out rate that is shipped\n")
    for setting, groups in found.items():
        base, best = (_mean(true_rate(outcome, at) for outcome in oracle[setting]) for at in (0, -1))
        print(f"{setting}: base {base:.3f}, best constant rate {best:.3f}\n")
        print(f"| | {' | '.join(starts)} |\n{'|---' * (len(starts) + 1)}|")
        for arm in arms:
            rates = [[shipped_rate(outcome) for outcome in groups.get((start, arm), ())] for start in starts]
            texts = [f"{_mean(values):.3f} ± {_error(values):.3f}" if values else "–" for values in rates]
            print(f"| {arm} | {' | '.join(texts)} |")
        print()


def _right_start(found: Mapping[Setting, Groups]) -> None:
    print("From the right start: shipped less that of the constant rate, same seeds; cycles given up; stopped early\n")
    print("| | | difference | s.e. | given up | stopped |\n|---|---|---|---|---|---|")
    every: dict[str, list[float]] = {}
    for setting, groups in found.items():
        constant = [shipped_rate(outcome) for outcome in groups["right", "constant"]]
        for arm in ("raftmon", "raftmon-probes"):
            group = groups["right", arm]
            lost = [shipped_rate(outcome) - rate for outcome, rate in zip(group, constant, strict=True)]
            every.setdefault(arm, []).extend(lost)
            stopped = sum(outcome.stopped is not None for outcome in group)
            wasted = [outcome.wasted for outcome in group]
            given_up = f"{_mean(wasted):.1f} (most {max(wasted)})"
            row = f"{_mean(lost):+.3f} | {_error(lost):.3f} | {given_up} | {stopped} of {len(group)}"
            print(f"| {setting} | {arm} | {row} |")
    for arm, lost in every.items():
        print(f"| all | {arm} | {_mean(lost):+.3f} | {_error(lost):.3f} | | |")


def late_table(found: Mapping[Setting, Groups]) -> None:
    """Print the tables of the campaigns of 12 cycles at a low temperature."""
    first = next(iter(found.values()))
    print("\nTwelve cycles at temperature 0.7\n")
    print("| task | start | | shipped | of the own peak, from below | from above | stopped, after cycle | given up |")
    print("|---" * 8 + "|")
    for setting, groups in found.items():
        for start, arm in first:
            group = groups[start, arm]
            stops = [outcome.stopped for outcome in group if outcome.stopped is not None]
            after = f"{len(stops)} of {len(group)}, {statistics.median(stops):g}" if stops else "–"
            rates, (below, above) = [shipped_rate(o) for o in group], zip(*map(of_peak, group), strict=True)
            texts = f"{_mean(rates):.3f} ± {_error(rates):.3f} | {_mean(below):.2f} | {_mean(above):.2f}"
            print(f"| {setting} | {start} | {arm} | {texts} | {after} | {_mean(o.wasted for o in group):.1f} |")
    for arm in dict.fromkeys(arm for _, arm in first):
        reached = [
            of_peak(o) for groups in found.values() for (_, a), group in groups.items() if a == arm for o in group
        ]
        below, above = zip(*reached, strict=True)
        ends = f"{_mean(below):.3f} ± {_error(below):.3f} to {_mean(above):.3f} ± {_error(above):.3f}"
        print(f"\n{arm}: shipped / own peak {ends} over {len(reached)} campaigns")
