"""What a trainer's config says before anything has run: rules that the config alone answers, and slips of its YAML.

With an earlier run beside it, also what the changes between the two mean for the learning rate.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftmon.advice.claims import Claim
from raftmon.advice.engine import RuleEngine
from raftmon.advice.findings import filled_in
from raftmon.advice.interactions import Interactions, interactions
from raftmon.advice.kept_samples import most_samples
from raftmon.advice.learning_rate import rounded, written_rate
from raftmon.advice.places import Places
from raftmon.advice.rule import All, Comparison, Condition, Rule
from raftmon.advice.unread_keys import unread_keys
from raftmon.advice.yaml_slips import Slip, unread_by_pyyaml, yaml_slips
from raftmon.documents import flatten
from raftmon.grounds import EvidenceLevel
from raftmon.model import SEVERITIES, CycleView, Problem, RunView, Severity
from raftmon.run_config import RunConfig
from raftmon.runs.sidecars import read_trainer_config
from raftmon.runs.trainer_marks import Flat
from raftmon.signals.config import ConfigSignals, lacking, planned_steps
from raftmon.signals.references import Reference, reference_for
from raftmon.signals.registry import SIGNALS

__all__ = ["Earlier", "Evidence", "LintReport", "Remark", "RunComparison", "earlier_run", "lint_config"]

_ALSO_ANSWERED: Final = {"run.warmup_share": "config.warmup_share"}
"""Signals of a run that a config answers for a run that has not begun."""
_GRADED: Final = re.compile(r"grade ([A-DX]):? *")
_OF_SOME_CONFIGS: Final = frozenset({"LoRA rank", "number of cycles", "decay between cycles", "clip limit"})
"""What a config without them is not about, or leaves to a trainer that has a sound default."""
_FROM_THE_RUN: Final = ("optimizer", "beta2", "epochs", "stage", "method", "train_samples")
"""Fields that a config may leave to its trainer, and that the trainer's next run will have alike."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One source of a remark."""

    claim: str
    """Id in the table of claims; empty without one."""
    grade: str
    """Of the source where the rule gives it, else of the claim; empty without either."""
    ref: str


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know about a config."""

    where: str
    """``path:line:column`` of the value that it is about; of the block where a missing key belongs."""
    rule: str
    """Id of a rule; ``yaml-...`` for a slip of the file's YAML, ``key-not-read`` for a key without effect."""
    title: str
    severity: Severity
    text: str
    """What is the matter."""
    fix: str
    """What to do about it: one sentence, or the line to write."""
    evidence: tuple[Evidence, ...]
    """What it rests on, at least one source."""
    level: EvidenceLevel
    """How well it is founded."""
    grade: str
    """Of the whole: that of its rule, or of the reference range that it rests on."""
    would_change: tuple[str, ...] = ()
    """What would show that it does not hold here."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The run that a config is compared with."""

    run: str
    """Path of the run below its logdir."""
    config: RunConfig
    learning_rate: float | None
    """In force: the largest logged, else the configured one."""
    stage: str | None = None
    """As its tags and neighbours show it, which a config may not say."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """A config against an earlier run."""

    earlier: Earlier
    changes: Interactions
    learning_rate: float | None
    """The earlier rate times all factors; None where one is missing or refused."""


@dataclass(frozen=True, slots=True)
class LintReport:
    """Everything about one config."""

    path: str
    config: RunConfig
    taken: tuple[str, ...]
    """Fields that the config leaves open and that were taken from the earlier run."""
    at_most: str
    """What the planned steps were worked out from where they are an upper bound; else empty."""
    reference: Reference | None
    remarks: tuple[Remark, ...]
    """Gravest first, then in the order of the file."""
    unanswered: Mapping[str, tuple[str, ...]]
    """Rule to what the config does not say about it."""
    against: RunComparison | None


def earlier_run(runs: Sequence[RunView], cycles: Sequence[CycleView] = ()) -> Earlier | None:
    """Return the newest run that has begun, or None.

    Args:
        runs: of the logdir.
        cycles: of its campaigns: the samples kept in a cycle are what it trained on.
    """
    begun = [run for run in runs if run.state != "empty"]
    if not begun:
        return None
    newest = max(begun, key=lambda run: (run.last_wall_time or 0.0, run.run))
    series = newest.series.get("learning_rate")
    finite = [float(rate) for rate in series.values if 0.0 < rate < math.inf] if series is not None else []
    config = newest.config
    kept = next((cycle.kept for cycle in cycles if cycle.run == newest.run and cycle.kept), None)
    if config.train_samples is None and kept is not None:
        config = dataclasses.replace(config, train_samples=kept)
    stage = newest.scenario if newest.scenario not in ("any", "lora") else None
    return Earlier(newest.run, config, written_rate(max(finite)) if finite else config.learning_rate, stage)


def lint_config(
    path: Path,
    rules: Sequence[Rule],
    claims: Mapping[str, Claim],
    problems: list[Problem],
    earlier: Earlier | None = None,
) -> LintReport | None:
    """Read a trainer's config and say what is to be said of it.

    Args:
        path: the config, YAML or JSON.
        rules: all that are enabled.
        claims: id to claim, for the grades.
        problems: where a file that cannot be read is noted.
        earlier: the run to compare with, if any.

    Returns:
        The report; None with at least one more problem noted.
    """
    read = read_trainer_config(path, problems)
    if read is None:
        return None
    written, node = read
    config, taken = _completed(written, earlier)
    config, at_most = _bounded_by_prompts(config, flatten(node), path)
    reference = reference_for(config, None)
    remarks, unanswered = _judged(Places(path, node), config, rules, claims, reference)
    remarks = [_bounded(remark, at_most) for remark in remarks]
    slips = [*yaml_slips(node, path, is_json=path.suffix.lower() == ".json"), *unread_keys(node, path)]
    slips += unread_by_pyyaml(path)
    remarks += [_of_slip(slip) for slip in slips]
    remarks.sort(key=lambda remark: (-SEVERITIES.index(remark.severity), *_line_and_column(remark)))
    return LintReport(
        path=str(path),
        config=config,
        taken=taken,
        at_most=at_most,
        reference=reference,
        remarks=tuple(remarks),
        unanswered=unanswered,
        against=_compared(config, earlier),
    )


def _line_and_column(remark: Remark) -> tuple[int, int]:
    _, line, column = remark.where.rsplit(":", 2)
    return int(line), int(column)


def _of_slip(slip: Slip) -> Remark:
    level, grade, source = slip.founded
    evidence = (Evidence("", grade, source),)
    return Remark(slip.where, slip.id, slip.title, slip.severity, slip.text, slip.fix, evidence, level, grade)


def _judged(
    places: Places,
    config: RunConfig,
    rules: Sequence[Rule],
    claims: Mapping[str, Claim],
    reference: Reference | None,
) -> tuple[list[Remark], dict[str, tuple[str, ...]]]:
    """Evaluate what the config alone answers; returns the remarks, and rule to what it lacks."""
    answering = {
        rule.id: rule
        for rule in rules
        if rule.subject == "run"
        and _is_answerable(rule.when)
        and ("any" in rule.scenarios or config.stage in rule.scenarios)
    }
    remarks, unanswered, readings = [], {}, _readings(config)
    for finding in RuleEngine(answering.values()).findings(readings, 0, 0, {}):
        rule = answering[finding.rule]
        if finding.state == "firing" and finding.inhibited_by is None:
            remarks.append(_of_rule(rule, places, readings, claims, reference))
        elif finding.state == "unknown" and (missing := _lacking(rule, config)):
            unanswered[rule.id] = missing
    return remarks, unanswered


def _of_rule(
    rule: Rule,
    places: Places,
    readings: Mapping[str, float | None],
    claims: Mapping[str, Claim],
    reference: Reference | None,
) -> Remark:
    founded = reference if _rests_on_reference(rule) else None
    return Remark(
        where=places.of_rule(rule),
        rule=rule.id,
        title=rule.title,
        severity=rule.severity,
        text=filled_in(rule.text, rule, readings),
        fix=filled_in(rule.fix, rule, readings),
        evidence=_evidence(rule, claims, reference),
        would_change=rule.would_change,
        level=rule.evidence_level,
        grade=founded.grade if founded is not None else rule.grade,
    )


def _bounded_by_prompts(config: RunConfig, flat: Flat, path: Path) -> tuple[RunConfig, str]:
    """Take the most samples that a cycle's prompts allow where nothing else is known; returns how they were counted."""
    if config.train_samples is not None or config.max_steps is not None or (most := most_samples(flat, path)) is None:
        return config, ""
    bounded = dataclasses.replace(config, train_samples=most.samples)
    return (bounded, most.text) if planned_steps(bounded) is not None else (config, "")


def _bounded(remark: Remark, at_most: str) -> Remark:
    """Say of a remark on steps that they are a bound: fewer steps make such a remark only truer."""
    if not at_most or " steps" not in remark.text:
        return remark
    return dataclasses.replace(remark, text=f"{remark.text} The steps are the most there can be: {at_most}.")


def _completed(config: RunConfig, earlier: Earlier | None) -> tuple[RunConfig, tuple[str, ...]]:
    """Fill in what a config leaves to its trainer from the run that the trainer made."""
    if earlier is None:
        return config, ()
    names = [name for name in _FROM_THE_RUN if getattr(config, name) is None]
    known = {name: value for name in names if (value := getattr(earlier.config, name)) is not None}
    if (
        earlier.stage is not None
        and config.stage != earlier.stage
        and (config.stage is None or (config.stage, earlier.stage) == ("sft", "raft"))
    ):
        known["stage"] = earlier.stage  # a cycle of RAFT trains by SFT, and its config says no more
    return dataclasses.replace(config, **known), tuple(known)


def _compared(config: RunConfig, earlier: Earlier | None) -> RunComparison | None:
    if earlier is None:
        return None
    changes = interactions(earlier.config, config)
    factor, rate = changes.factor, earlier.learning_rate
    return RunComparison(earlier, changes, rounded(rate * factor) if factor is not None and rate else None)


def _readings(config: RunConfig) -> dict[str, float | None]:
    readings = dict(ConfigSignals(config).readings())
    for signal, same in _ALSO_ANSWERED.items():
        readings[signal] = readings[same]
    return readings


def _is_answerable(condition: Condition) -> bool:
    """Tell whether a config alone can make a condition true."""
    if isinstance(condition, Comparison):
        return SIGNALS[condition.signal].needs == "config" or condition.signal in _ALSO_ANSWERED
    parts = [_is_answerable(part) for part in condition.parts]
    return all(parts) if isinstance(condition, All) else any(parts)


def _lacking(rule: Rule, config: RunConfig) -> tuple[str, ...]:
    """Return what a config does not say; empty where it says enough, or lacks what most configs do not speak of."""
    signals = [_ALSO_ANSWERED.get(comparison.signal, comparison.signal) for comparison in rule.when.comparisons()]
    missing = tuple(dict.fromkeys(words for signal in signals for words in lacking(signal, config)))
    return () if not _OF_SOME_CONFIGS.isdisjoint(missing) else missing


def _evidence(rule: Rule, claims: Mapping[str, Claim], reference: Reference | None) -> tuple[Evidence, ...]:
    """Return what a rule rests on; one on the usual range rests on that range alone."""
    if reference is not None and _rests_on_reference(rule):
        return tuple(Evidence(claim, reference.grade, reference.source) for claim in reference.claims)
    evidence = []
    for claim, ref in rule.sources:
        graded = _GRADED.match(ref)
        grade = graded[1] if graded is not None else claims[claim].grade if claim in claims else ""
        evidence.append(Evidence(claim, grade, ref[graded.end() :] if graded is not None else ref))
    return tuple(evidence)


def _rests_on_reference(rule: Rule) -> bool:
    """Tell whether a rule compares with the usual range and nothing else."""
    return all(comparison.signal == "config.of_reference" for comparison in rule.when.comparisons())
