"""Are other tools right about the learning rate, on the files that raftmon is judged on?

Runs raftmon and five tools that install from PyPI (`tests.benchmarks.peer_tools`) on recorded trainings of known kind,
logged at every step and thinned. The tools get an environment of their own, never raftmon's. Nothing is tuned: the
tools run with their defaults, raftmon with coefficients fitted on the other families.

usage: python -m tests.benchmarks.peers [--venv PATH] [--every N [N ...]]

``--venv`` names an environment that is made there, or used again; without it, one is made and thrown away.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from raftmon.advice.judging import RunJudge
from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.weighing import KINDS, Weighing
from raftmon.model import RunView, VerdictKind
from raftmon.runs.roles import RoleTable
from raftmon.runs.sidecars import read_run_config
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import RunSignals
from tests.benchmarks.looks import CONDITIONS, ROLES, recordings
from tests.benchmarks.peer_inputs import LabelledRun, labelled_runs, open_run, points, prepare, unread_run
from tests.benchmarks.peer_tools import PEERS, Answer, ask
from tests.benchmarks.verdicts import weighings_without

INTERVALS: Final = (1, 5, 10)
"""Steps between two logged points."""
SAYS: Final[Mapping[VerdictKind, Answer]] = {
    "too_low": "raise",
    "ok": "ok",
    "too_high": "lower",
    "undecided": "undecided",
}
"""What a verdict of raftmon tells a run."""
RIGHT: Final[Mapping[VerdictKind, tuple[Answer, ...]]] = {
    "too_low": ("raise",),
    "ok": ("ok", "nothing"),
    "too_high": ("lower",),
}
"""What a run should be told."""
OPPOSITE: Final[Mapping[VerdictKind, Answer]] = {"too_low": "lower", "too_high": "raise"}
UNSPOKEN: Final[tuple[Answer, ...]] = ("nothing", "undecided", "broken")
MOVED: Final[tuple[Answer, ...]] = ("raise", "lower", "both")

Answers: TypeAlias = Mapping[str, Sequence[Answer]]
"""Title of a tool to its answer for each run."""


def make_environment(path: Path) -> Path:
    """Install the tools into an environment, made unless it is there; returns the directory of its commands."""
    programs = path / "bin"
    if not (programs / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", path], check=True)
    requirements = sorted({peer.requirement for peer in PEERS})
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet", *requirements]
    subprocess.run(install, check=True)
    return programs


def left_out_weighings() -> Mapping[str, Weighing]:
    """Return, for each family of the runs, coefficients that were fitted on the others."""
    cases = recordings()
    looks = {condition: [case.readings(condition) for case in cases] for condition in CONDITIONS}
    return weighings_without(cases, looks)


def judge(runs: Sequence[LabelledRun], weighings: Mapping[str, Weighing]) -> list[RunView]:
    """Judge each run as the monitor does once it has ended, with coefficients from the other families."""
    rules = [rule for rule in load_rules() if rule.subject == "run"]
    roles = RoleTable.load(SHIPPED_RULES, [])
    views = []
    for labelled in runs:
        run = unread_run(labelled.directory)
        judging = RunJudge(run, rules, weighings[labelled.family], roles)
        judging.follow(run.poll(1 << 30), in_campaign=False)
        views.append(judging.view("finished", None, None))
    return views


def likeliest(run: LabelledRun, weighing: Weighing) -> VerdictKind:
    """Return the kind that the weighing thinks likeliest, however unsure."""
    opened = open_run(run.directory)
    config = read_run_config(run.directory, opened.texts, opened.hparams, [])
    signals = RunSignals(config)
    last = 0
    for point in points(opened):
        signals.update(ROLES[point.tag], point.step, point.value)
        last = point.step
    probabilities = weighing.probabilities(signals.readings(RunFacts(config, ended=True, steps=last)))
    return max(KINDS, key=lambda kind: probabilities[kind])


def raftmon_answers(runs: Sequence[LabelledRun], weighings: Mapping[str, Weighing]) -> dict[str, list[Answer]]:
    """Return what raftmon says, read in three ways."""
    said, quiet, forced = list[Answer](), list[Answer](), list[Answer]()
    for run, view in zip(runs, judge(runs, weighings), strict=True):
        kind = view.verdict.learning_rate
        undecided = kind == "undecided"
        said.append(SAYS[kind])
        quiet.append("nothing" if undecided else SAYS[kind])
        forced.append(SAYS[likeliest(run, weighings[run.family]) if undecided else kind])
    return {"raftmon": said, "raftmon, undecided read as ok": quiet, "raftmon, forced to choose": forced}


def main_table(runs: Sequence[LabelledRun], answers: Answers) -> str:
    """Return a row for each tool."""
    counts = Counter(run.kind for run in runs)
    titles = [
        "tool",
        "balanced accuracy",
        *(f"{kind.replace('_', ' ')} right of {counts[kind]}" for kind in KINDS),
        "wrong way",
        "ok told to move",
        "contradicts itself",
        "failed, no direction",
        "speaks",
        "no answer",
    ]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for title, said in answers.items():
        pairs = [(run.kind, answer) for run, answer in zip(runs, said, strict=True)]
        right = {kind: sum(really == kind and answer in RIGHT[kind] for really, answer in pairs) for kind in KINDS}
        balanced = sum(right[kind] / counts[kind] for kind in KINDS if counts[kind]) / len(KINDS)
        cells = [
            title,
            f"{balanced:.2f}",
            *(str(right[kind]) for kind in KINDS),
            str(sum(OPPOSITE.get(kind) == answer for kind, answer in pairs)),
            str(sum(kind == "ok" and answer in MOVED for kind, answer in pairs)),
            str(sum(answer == "both" for answer in said)),
            str(sum(answer == "failed" for answer in said)),
            f"{sum(answer not in UNSPOKEN for answer in said) / len(said):.0%}",
            str(sum(answer == "broken" for answer in said)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def distance_table(runs: Sequence[LabelledRun], answers: Answers) -> str:
    """Return a row for each distance from the best learning rate: right answers, and those of the wrong way."""
    lines = [f"| × best | low/ok/high | {' | '.join(answers)} |", "|---" * (2 + len(answers)) + "|"]
    for factor in sorted({run.factor for run in runs}):
        chosen = [index for index, run in enumerate(runs) if run.factor == factor]
        kinds = "/".join(str(sum(runs[index].kind == kind for index in chosen)) for kind in KINDS)
        cells = [f"{factor:.3g}", kinds]
        for said in answers.values():
            right = sum(said[index] in RIGHT[runs[index].kind] for index in chosen)
            opposite = sum(said[index] == OPPOSITE.get(runs[index].kind) for index in chosen)
            cells.append(f"{right}, −{opposite}" if opposite else str(right))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compare(runs: Sequence[LabelledRun], weighings: Mapping[str, Weighing], programs: Path, every: int) -> Answers:
    """Ask raftmon and all tools about the runs, logged every so many steps."""
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        prepared = [prepare(run, Path(scratch, str(index)), every) for index, run in enumerate(runs)]
        answers = raftmon_answers(prepared, weighings)
        for peer in PEERS:
            answers[peer.title] = [ask(peer, programs, run.directory) for run in prepared]
        return answers


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path)
    parser.add_argument("--every", type=int, nargs="+", default=list(INTERVALS))
    arguments = parser.parse_args()
    runs, weighings = labelled_runs(), left_out_weighings()
    with tempfile.TemporaryDirectory(prefix="peers-venv-") as scratch:
        programs = make_environment(arguments.venv or Path(scratch))
        for every in arguments.every:
            answers = compare(runs, weighings, programs, every)
            print(f"{caption(runs, every)}\n\n{main_table(runs, answers)}\n")
            print(f"Right answers by distance (− wrong way)\n\n{distance_table(runs, answers)}\n", flush=True)


def caption(runs: Sequence[LabelledRun], every: int) -> str:
    """Return what the tables below it show, and how to read them."""
    families = len({run.family for run in runs})
    logged = "at every step" if every == 1 else f"every {every} steps, a loss being the mean of them"
    return (
        f"{len(runs)} runs of {families} families, logged {logged}. raftmon's verdicts: each family judged by "
        "coefficients fitted on the others, never the shipped ones; `undecided` is right for nothing and the wrong way "
        "for nothing. A tool that says nothing on the learning rate has said `ok`; contradictory advice is right for "
        "nothing. Wrong way: a too low run told to lower, or a too high one to raise."
    )


if __name__ == "__main__":
    main()
