"""The tables of the closed loop, from outcomes of campaigns."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.loop_campaign import Arm, Outcome

__all__ = ["Setting", "late_table", "main_tables", "true_rate"]

FOUR: Final = ("10x high", "3x high", "right", "10x low")
"""Starts that the targets speak of."""
Groups = Mapping[tuple[str, Arm], Sequence[Outcome]]
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


def of_peak(outcome: Outcome) -> float:
    """Return the shipped rate over the campaign's own best.

    The best checkpoint is found in one half of the truth and measured in the other, both ways round: the largest of
    many noisy rates is too large.
    """
    checkpoints = range(len(outcome.truth))
    peaks = [outcome.truth[max(checkpoints, key=lambda c: outcome.truth[c][half])][1 - half] for half in (0, 1)]
    return shipped_rate(outcome) / statistics.mean(peaks)


def _mean(values: Iterable[float]) -> float:
    return statistics.mean(values)


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def shares(oracle: Sequence[Outcome], group: Sequence[Outcome]) -> list[float]:
    """Return the share of the oracle's gain that each seed's campaign shipped; the gain is the mean over the seeds."""
    base = _mean(true_rate(outcome, 0) for outcome in oracle)
    gain = _mean(true_rate(outcome, -1) for outcome in oracle) - base
    return [(shipped_rate(outcome) - true_rate(outcome, 0)) / gain for outcome in group]


def main_tables(oracle: Mapping[Setting, Sequence[Outcome]], found: Mapping[Setting, Groups]) -> None:
    """Print the tables of the campaigns of 8 cycles."""
    first = next(iter(found.values()))
    starts, arms = dict.fromkeys(start for start, _ in first), dict.fromkeys(arm for _, arm in first)
    print("\nShare of the gain of the best constant rate over the base model (mean of tasks; ± s.e. over seeds)\n")
    print(f"| | {' | '.join(starts)} | mean of the first four | worst of them |")
    print("|---" * (len(starts) + 3) + "|")
    for arm in arms:
        cells = {start: [shares(oracle[s], found[s][start, arm]) for s in found] for start in starts}
        seeds = {start: [_mean(column) for column in zip(*rows, strict=True)] for start, rows in cells.items()}
        four = [_mean(seeds[start]) for start in FOUR]
        texts = [f"{_mean(values):.0%} ± {_error(values):.0%}" for values in seeds.values()]
        print(f"| {arm} | {' | '.join(texts)} | {_mean(four):.0%} | {min(four):.0%} |")
    print("\nTrue held-out rate that is shipped\n")
    for setting, groups in found.items():
        base, best = (_mean(true_rate(outcome, at) for outcome in oracle[setting]) for at in (0, -1))
        print(f"{setting}: base {base:.3f}, best constant rate {best:.3f}\n")
        print(f"| | {' | '.join(starts)} |\n{'|---' * (len(starts) + 1)}|")
        for arm in arms:
            rates = {start: [shipped_rate(outcome) for outcome in groups[start, arm]] for start in starts}
            texts = [f"{_mean(values):.3f} ± {_error(values):.3f}" for values in rates.values()]
            print(f"| {arm} | {' | '.join(texts)} |")
        best_seen = {s: [true_rate(o, o.best) for o in groups[s, "constant"]] for s in starts}
        print(
            f"| constant, best seen | {' | '.join(f'{_mean(v):.3f} ± {_error(v):.3f}' for v in best_seen.values())} |"
        )
        print()
    print("From the right start: shipped less that of the constant rate, same seeds; cycles given up; stopped early\n")
    print("| | | difference | s.e. | given up | stopped |\n|---|---|---|---|---|---|")
    for setting, groups in found.items():
        constant = [shipped_rate(outcome) for outcome in groups["right", "constant"]]
        for arm in ("raftmon", "raftmon-probes"):
            group = groups["right", arm]
            lost = [shipped_rate(outcome) - rate for outcome, rate in zip(group, constant, strict=True)]
            stopped = sum(outcome.stopped is not None for outcome in group)
            wasted = [outcome.wasted for outcome in group]
            given_up = f"{_mean(wasted):.1f} (most {max(wasted)})"
            row = f"{_mean(lost):+.3f} | {_error(lost):.3f} | {given_up} | {stopped} of {len(group)}"
            print(f"| {setting} | {arm} | {row} |")


def late_table(found: Mapping[Setting, Groups]) -> None:
    """Print the tables of the campaigns of 12 cycles at a low temperature."""
    first = next(iter(found.values()))
    print("\nTwelve cycles at temperature 0.7\n")
    print("| task | start | | shipped | own peak reached | stopped, after cycle | given up |\n" + "|---" * 7 + "|")
    for setting, groups in found.items():
        for start, arm in first:
            group = groups[start, arm]
            stops = [outcome.stopped for outcome in group if outcome.stopped is not None]
            after = f"{len(stops)} of {len(group)}, {statistics.median(stops):g}" if stops else "–"
            wasted = _mean(outcome.wasted for outcome in group)
            rates, peaks = [shipped_rate(o) for o in group], [of_peak(o) for o in group]
            texts = f"{_mean(rates):.3f} ± {_error(rates):.3f} | {_mean(peaks):.2f} ± {_error(peaks):.2f}"
            print(f"| {setting} | {start} | {arm} | {texts} | {after} | {wasted:.1f} |")
    for arm in dict.fromkeys(arm for _, arm in first):
        reached = [
            of_peak(o) for groups in found.values() for (_, one), group in groups.items() if one == arm for o in group
        ]
        print(f"{arm}: shipped / own peak {_mean(reached):.3f} ± {_error(reached):.3f} over {len(reached)} campaigns")
