"""Is raftmon right about other people's runs? The labelled part of the corpus, as an outside check.

None of these runs was used to choose or fit anything. What their curves show was worked out run by run, from the values
and from the code that made them; `CASES` says it in words, and the rule beside the words decides whether what raftmon
says is right, silent or wrong. Runs that are healthy also count its false alarms.

usage: python -m tests.benchmarks.corpus_verdicts [CORPUS]

The event files belong to other projects and are not part of the repository; their directory is named in
``RAFTMON_CORPUS``, or lies at ``../shared/corpus``.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from raftmon.model import SEVERITIES, Finding, RunView, Severity, VerdictKind
from raftmon.monitor import Monitor

Outcome: TypeAlias = Literal["right", "silent", "wrong"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("right", "silent", "wrong")
LONG_AFTER: Final = 4e9
"""A clock at which every run has ended."""
LOUD: Final[Severity] = "medium"
"""Severity from which a finding on a healthy run is a false alarm."""

SLA: Final = "realhugoviana+SLA-prediction"
PROTBERT: Final = "arashmozhdeh+Protbert"
SB3: Final = "DLR-RM+stable-baselines3"
VERL: Final = "volcengine+verl"
PONG: Final = "thu-ml+tianshou"
COLLAPSE: Final = ("policy-collapses", "reward-falls")
WARM_UP: Final = ("warmup-outlasts-run",)


@dataclass(frozen=True)
class Expectation:
    """What makes raftmon right or wrong about a run; wrong is looked at first."""

    verdicts: tuple[VerdictKind, ...] = ()
    """Verdicts that are right."""
    rules: tuple[str, ...] = ()
    """Rules of which one must fire to be right."""
    wrong_verdicts: tuple[VerdictKind, ...] = ()
    """Verdicts that are wrong."""
    wrong_rules: tuple[str, ...] = ()
    """Rules that are wrong to fire, ..."""
    wrong_rules_from: Severity = "informational"
    """... from this severity on."""
    wrong_from: Severity | None = None
    """Severity from which any finding is wrong; None: none is."""
    otherwise: Outcome = "silent"
    """The outcome where nothing of all that is said: ``right`` for a run that is to be left alone."""


@dataclass(frozen=True)
class Case:
    """One run of the corpus and what is known of it."""

    group: str
    """Id of the group in the corpus's list of labels."""
    project: str
    """Directory of the project."""
    run: str
    """How the path of the run ends; for a run that shares its directory, a part of its event file's name."""
    truth: str
    """What the curve shows."""
    expected: Expectation
    healthy: bool = False
    """Whether any finding at or above medium is a false alarm."""
    alone: bool = False
    """Whether `run` names one file among those of several runs, which is then judged alone."""


@dataclass(frozen=True)
class Result:
    """What raftmon says of one run."""

    case: Case
    view: RunView
    outcome: Outcome

    @property
    def loud(self) -> tuple[Finding, ...]:
        """What fires at or above medium."""
        return tuple(finding for finding in self.view.firing if _at_least(finding, LOUD))


HIGH: Final = Expectation(verdicts=("too_high",), wrong_verdicts=("too_low", "ok"))
BEST: Final = Expectation(verdicts=("ok",), wrong_verdicts=("too_low", "too_high"))
LOW: Final = Expectation(verdicts=("too_low",), wrong_verdicts=("ok", "too_high"))
MILDLY_HIGH: Final = Expectation(verdicts=("too_high", "ok"), wrong_verdicts=("too_low",), wrong_from="high")
MILDLY_LOW: Final = Expectation(verdicts=("too_low", "ok"), wrong_verdicts=("too_high",), wrong_from="high")
BEST_OF_GRID: Final = Expectation(verdicts=("ok",), wrong_verdicts=("too_low", "too_high"), wrong_from="high")
RATE_AT_ZERO: Final = Expectation(rules=("lr-effectively-zero",), wrong_verdicts=("ok", "too_high"))
UNDER_WARMED: Final = Expectation(verdicts=("too_low",), rules=WARM_UP, wrong_verdicts=("ok", "too_high"))
BENIGN_START: Final = Expectation(wrong_from="high", otherwise="right")
COLLAPSED: Final = Expectation(rules=COLLAPSE, wrong_verdicts=("too_low", "ok"))
RECOVERED: Final = Expectation(wrong_rules=COLLAPSE, wrong_rules_from="high", otherwise="right")
OVERFIT: Final = Expectation(
    rules=(
        "eval-loss-rises",
        "loss-memorised",
    ),
    wrong_verdicts=("too_low", "too_high"),
)
HEALTHY: Final = Expectation(wrong_verdicts=("too_low", "too_high"), wrong_from="medium", otherwise="right")
SLOW_START: Final = Expectation(wrong_verdicts=("too_low",), wrong_rules=COLLAPSE, otherwise="right")
NEW_TASK: Final = Expectation(wrong_rules=COLLAPSE, wrong_rules_from="high", otherwise="right")

_GRID = "MLP_ALSFRS-R_20-11/MLP_alsfrs-r_T1-T2-T3-T4_T5/trial_{}/version_0"
CASES: Final = (
    Case("A1", SLA, "my_model/version_9", "lr 0.1: too high, never settles", HIGH),
    Case("A1", SLA, "my_model/version_8", "lr 0.01: too high, noisy", HIGH),
    Case("A1", SLA, "my_model/version_10", "lr 1e-4: the best of its sweep", BEST, healthy=True),
    Case("A1", SLA, "my_model/version_11", "lr 1e-5: too low, still falling at the end", LOW),
    *(
        Case("A2", SLA, _GRID.format(trial), truth, expected, healthy=expected is BEST_OF_GRID)
        for trial, truth, expected in (
            (24, "lr 1e-5: as good, 3.5 times slower", MILDLY_LOW),
            (25, "lr 1e-4: best of the grid", BEST_OF_GRID),
            (26, "lr 1e-3: 2 % worse, noisier", MILDLY_HIGH),
            (27, "lr 1e-5: as good, 3.5 times slower", MILDLY_LOW),
            (28, "lr 1e-4: best of the grid", BEST_OF_GRID),
            (29, "lr 1e-3: 2 % worse, noisier", MILDLY_HIGH),
        )
    ),
    *(
        Case("B1", PROTBERT, version, "rate 0 for the second half", RATE_AT_ZERO)
        for version in ("version_23120803", "version_23191178", "version_23192580")
    ),
    Case("B1", PROTBERT, "version_23191179", "ended at step 59 of a 200-step warm-up", UNDER_WARMED),
    Case("B1", PROTBERT, "version_23191180", "ended as the 200-step warm-up did", UNDER_WARMED),
    # Not counted as healthy: its 100 steps lie within the warm-up, which may be said.
    Case("B4", "NVIDIA+Megatron-LM", "gpt3-357m", "first 15 steps skipped by the loss scaler: benign", BENIGN_START),
    Case("C1", SB3, "A2C_8", "457 to 9 at the end, entropy gone: policy collapse", COLLAPSED),
    Case("C1", SB3, "A2C_13", "424 to 32, then 114: collapsed", COLLAPSED),
    Case("C1", SB3, "A2C_1", "329 to 20 half-way, 352 at the end: recovered", RECOVERED),
    Case("C1", SB3, "A2C_11", "rises to 500", HEALTHY, healthy=True),
    Case("C1", SB3, "A2C_25", "a good policy resumed at 500", HEALTHY, healthy=True),
    Case(
        "C4",
        "sukannyapurkayastha+DASP_report_template",
        "1733501242",
        "evaluation loss .25, .28, .34: overfits",
        OVERFIT,
        alone=True,
    ),
    *(
        Case("D1", VERL, run, f"105 steps of GRPO, reward {rewards}", HEALTHY, healthy=True)
        for run, rewards in (("q7b_fsdp_base", ".25 to .99"), ("q3b_mcore_base", ".56 to .96"))
    ),
    # c51 holds nine points of one run and shows nothing.
    *(
        Case("D3", PONG, run, "Pong: near -21 for a fifth of the run or more, then +20", SLOW_START, healthy=True)
        for run in ("dqn", "fqf", "iqn", "ppo", "qrdqn")
    ),
    Case(
        "D7",
        "Awesommesh+SoccerPPO",
        "curriculum_3/SoccerAgentAdvanced",
        "reward .38 to -.07 as the curriculum moves on: no collapse",
        NEW_TASK,
        healthy=True,
    ),
)


def find_corpus() -> Path | None:
    """Return the directory of the event files, or None where they are not."""
    named = os.environ.get("RAFTMON_CORPUS")
    path = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "corpus"
    return path if path.is_dir() else None


def watch(directory: Path) -> tuple[RunView, ...]:
    """Judge all runs below a directory as they stand long after their end, with the shipped rules and coefficients."""
    monitor = Monitor([directory], clock=lambda: LONG_AFTER)
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return snapshot.runs


def results(corpus: Path, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    """Judge the labelled runs.

    Raises:
        LookupError: when the corpus lacks one of them.
    """
    views = {project: watch(corpus / project) for project in {case.project for case in cases if not case.alone}}
    for case in cases:
        if case.alone:
            (view,) = _watch_alone(corpus / case.project, case.run)
        else:
            found = [view for view in views[case.project] if f"/{view.run}".endswith(f"/{case.run}")]
            if len(found) != 1:
                raise LookupError(f"{corpus / case.project} has {len(found)} runs that end in {case.run}, not one")
            view = found[0]
        yield Result(case, view, outcome(case.expected, view))


def _watch_alone(project: Path, name: str) -> tuple[RunView, ...]:
    (file,) = project.rglob(f"*tfevents*{name}*")
    with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
        shutil.copy(file, scratch)
        return watch(Path(scratch))


def outcome(expected: Expectation, view: RunView) -> Outcome:
    """Decide whether what is said of a run is right."""
    verdict, firing = view.verdict.learning_rate, view.firing
    if (
        verdict in expected.wrong_verdicts
        or any(f.rule in expected.wrong_rules and _at_least(f, expected.wrong_rules_from) for f in firing)
        or (expected.wrong_from is not None and any(_at_least(f, expected.wrong_from) for f in firing))
    ):
        return "wrong"
    if verdict in expected.verdicts or any(finding.rule in expected.rules for finding in firing):
        return "right"
    return expected.otherwise


def _at_least(finding: Finding, severity: Severity) -> bool:
    return SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity)


def table(judged: Sequence[Result]) -> str:
    """Return a row for each run."""
    lines = [
        "| group | run | truth | verdict | firing at or above medium | outcome |",
        "|---|---|---|---|---|---|",
    ]
    for result in judged:
        verdict = result.view.verdict
        said = verdict.learning_rate.replace("_", " ")
        loud = ", ".join(f"{finding.rule} ({finding.severity})" for finding in result.loud) or "–"
        cells = (
            result.case.group,
            result.case.run,
            result.case.truth,
            f"{said} {verdict.confidence:.0%}",
            loud,
            result.outcome,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def totals(judged: Sequence[Result]) -> str:
    """Return how many runs of each group are judged right, and all of them."""
    lines = ["| group | runs | right | silent | wrong |", "|---|---|---|---|---|"]
    groups = dict.fromkeys(result.case.group for result in judged)
    for name in (*groups, "all"):
        counts = Counter(result.outcome for result in judged if name in (result.case.group, "all"))
        lines.append(f"| {name} | {counts.total()} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |")
    return "\n".join(lines)


def false_alarms(judged: Sequence[Result]) -> str:
    """Return what fires on healthy runs, as a sentence."""
    healthy = [result for result in judged if result.case.healthy]
    loud = [finding for result in healthy for finding in result.loud]
    critical = sum(finding.severity == "critical" for finding in loud)
    alarmed = sum(bool(result.loud) for result in healthy)
    rules = ", ".join(f"{rule} {count}" for rule, count in sorted(Counter(f.rule for f in loud).items())) or "none"
    return (
        f"{len(healthy)} healthy runs: {len(loud)} findings at or above medium on {alarmed} of them ({rules}), "
        f"{critical} of them critical"
    )


def main() -> int:
    """Print the tables."""
    corpus = Path(sys.argv[1]) if len(sys.argv) > 1 else find_corpus()
    if corpus is None or not corpus.is_dir():
        print("no corpus of event files here; name its directory in RAFTMON_CORPUS", file=sys.stderr)
        return 3
    judged = list(results(corpus))
    print(f"{table(judged)}\n\n{totals(judged)}\n\n{false_alarms(judged)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
