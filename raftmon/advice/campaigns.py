"""Follows one campaign: its cycles' rates through the campaign signals to the rules, and to the next learning rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from raftmon.advice.campaign_policy import following, next_cycle
from raftmon.advice.engine import RuleEngine
from raftmon.advice.intent import Intent
from raftmon.advice.interactions import interactions
from raftmon.advice.learning_rate import written_rate
from raftmon.advice.obeyed import rate_in_force
from raftmon.advice.plans import next_plans
from raftmon.advice.rate_changes import rate_changes
from raftmon.advice.rule import Rule
from raftmon.advice.settings import Settings
from raftmon.grounds import Status
from raftmon.model import CampaignView, CycleView, Finding, NextCycle, Problem, RunView, Step
from raftmon.run_config import RunConfig
from raftmon.runs.campaign_files import CampaignEvidence, CampaignFiles, CycleEvidence
from raftmon.signals.campaign import CampaignSignals, CycleFacts
from raftmon.signals.rates import Rate
from raftmon.signals.statistics import wilson_interval
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CampaignJudge", "NextRun", "Start"]

LOSS_POINTS: Final = 8
"""Least loss points of a cycle from which its fall is told."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where the arithmetic of one cycle begins, beside what its campaign shows."""

    configured: float | None
    """Learning rate that the trainer's config gives the cycle as it is; None: not known."""
    origin: str
    """How the config comes to it, in words."""
    carried: Step | None
    """What earlier evidence made of the strategy's rate."""
    config: RunConfig
    """What the trainer's config says now."""
    before: RunConfig | None
    """The configuration that the last override was meant for; None: what the newest run logged is all there is."""
    acted: frozenset[tuple[str, int]] = frozenset()
    """(rule, cycle) of the evidence that overrides have heeded already."""
    again: frozenset[tuple[str, int]] = frozenset()
    """What of that was heeded for this same cycle, asked for once more."""


@dataclass(frozen=True, slots=True)
class NextRun:
    """The training that is about to start."""

    start: Callable[[int, str, float | None, RunView | None], Start]
    """Where its arithmetic begins, by its number, the campaign's directory, when the campaign's first run began
    (seconds since the epoch; None: no run tells), and the run of its newest cycle."""
    cycle: int | None
    """Number that a person gave it; None: found from the campaign."""
    least: Status
    """Least status of a rule that may move a number, go back or stop."""


class CampaignJudge:
    """Judges one campaign.

    Args:
        name: path of the campaign below its logdir.
        path: the directory with its files.
        rules: all that are enabled, those on runs included.
        settings: strategy and guardrails.
        quiet: seconds without growth after which a file of verdicts counts as whole.
        coming: the training that is about to start, where it is known.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        rules: Sequence[Rule],
        settings: Settings,
        quiet: float = 0.0,
        coming: NextRun | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.problems: list[Problem] = []
        self._rules = [rule for rule in rules if rule.subject == "campaign"]
        self._settings = settings
        self._coming = coming
        self._files = CampaignFiles(path, quiet=quiet)
        self._evidence = CampaignEvidence()

    def follow(self, trained: Collection[int]) -> bool:
        """Look at the sidecar files; returns whether they say anything new.

        Args:
            trained: cycles whose training has begun.
        """
        self.problems.clear()
        before, self._evidence = self._evidence, self._files.poll(self.problems, trained)
        return before != self._evidence

    @property
    def more(self) -> bool:
        """Whether the budget ended before the files did."""
        return self._evidence.more

    def has_cycles(self) -> bool:
        """Tell whether the sidecar files know of a cycle."""
        return bool(self._evidence.cycles or self._evidence.held_out)

    def view(self, runs: Mapping[int, RunView]) -> CampaignView:
        """Return everything known about the campaign now.

        Args:
            runs: cycle to its newest run.
        """
        numbers = sorted({*self._evidence.cycles, *self._evidence.held_out, *runs})
        held_out = bool(self._evidence.held_out) or any("heldout_rate" in run.series for run in runs.values())
        cycles = tuple(self._cycle(number, runs.get(number), held_out) for number in numbers)
        facts = [self._facts(cycle, runs.get(cycle.cycle)) for cycle in cycles]
        changes = rate_changes(facts)
        cycles = tuple(dataclasses.replace(cycle, change=changes.get(cycle.cycle)) for cycle in cycles)
        signals, engine = CampaignSignals(), RuleEngine(self._rules)
        readings = signals.readings()
        for fact in facts:
            engine.tick(readings, fact.cycle - 1, fact.cycle - 1)
            signals.update(fact)
            readings = signals.readings()
        last = cycles[-1].cycle if cycles else 0
        counts = {"verification_rate": sum(cycle.verification_rate is not None for cycle in cycles)}
        findings = engine.findings(readings, last, last, counts)
        rated = [cycle for cycle in cycles if cycle.verification_rate is not None]
        best = max(rated, key=lambda cycle: cycle.verification_rate or 0.0).cycle if rated else None
        advice = self._next(cycles, best, findings, readings, runs)
        plans = next_plans(self._settings.strategy, cycles, advice)
        return CampaignView(self.name, str(self.path), cycles, best, advice, findings, plans)

    def _next(
        self,
        cycles: tuple[CycleView, ...],
        best: int | None,
        findings: tuple[Finding, ...],
        readings: Mapping[str, float | None],
        runs: Mapping[int, RunView],
    ) -> NextCycle | None:
        """Work out the next cycle, with what is known of its config."""
        by_id = {rule.id: rule for rule in self._rules}
        newest = runs.get(max(runs)) if runs else None
        advice = newest.advice if newest is not None else ()
        coming, intent = self._coming, None
        if coming is not None and cycles:
            number = coming.cycle if coming.cycle is not None else following(cycles)
            begun = [run.first_wall_time for run in runs.values() if run.first_wall_time is not None]
            start = coming.start(number, str(self.path), min(begun, default=None), newest)
            then, now = self._configs(start, newest, number)
            changes = interactions(then, now) if then is not None else None
            intent = Intent(
                number,
                start.configured,
                start.origin,
                start.carried,
                changes,
                start.acted,
                start.again,
                coming.least,
            )
            found = next_cycle(cycles, best, findings, by_id, self._settings, readings, intent, advice)
            if found is None:
                return None
            # A raise that was held is asked for again once nothing speaks against it, and never taken back unmade.
            kept = {name: getattr(then, name) for name in found.held}
            return dataclasses.replace(found, reference=dataclasses.replace(now, **kept))
        return next_cycle(cycles, best, findings, by_id, self._settings, readings, None, advice)

    def _configs(self, start: Start, newest: RunView | None, number: int) -> tuple[RunConfig | None, RunConfig]:
        """Return the configuration that the rate was meant for, and the coming one; samples kept are trained on.

        What neither file says of the optimiser, the newest run's own log may.
        """
        then = start.before if start.before is not None else newest.config if newest is not None else None
        now = _with_samples(start.config, self._evidence.cycles.get(number))
        optimizer = newest.config.optimizer if newest is not None else None
        if then is None:
            return None, now
        if then.train_samples is None:
            then = _with_samples(then, self._evidence.cycles.get(newest.cycle or 0) if newest is not None else None)
        if then.optimizer is None and now.optimizer is None:
            then, now = (dataclasses.replace(config, optimizer=optimizer) for config in (then, now))
        return then, now

    def _cycle(self, number: int, run: RunView | None, held_out: bool) -> CycleView:
        training = self._evidence.cycles.get(number) or _from_tags(number, run, "verification_rate")
        judged = training
        if held_out:
            judged = self._evidence.held_out.get(number) or _from_tags(number, run, "heldout_rate")
        rate, verified = (judged.rate, judged.verified) if judged is not None else (None, None)
        return CycleView(
            cycle=number,
            run=run.run if run is not None else None,
            learning_rate=_learning_rate(run, training),
            verification_rate=rate,
            verified=verified,
            kept=training.kept if training is not None else None,
            interval=wilson_interval(rate * verified, verified) if rate is not None and verified else None,
            measures=judged.measures if judged is not None else "before",
            held_out=held_out,
            unique_fraction=training.unique_fraction if training is not None else None,
            source=judged.source if judged is not None else "",
            training_rate=training.rate if training is not None and held_out else None,
        )

    def _facts(self, cycle: CycleView, run: RunView | None) -> CycleFacts:
        evidence = self._evidence.held_out if cycle.held_out else self._evidence.cycles
        judged = evidence.get(cycle.cycle) or CycleEvidence(cycle.cycle)
        training = self._evidence.cycles.get(cycle.cycle) or CycleEvidence(cycle.cycle)
        return CycleFacts(
            cycle=cycle.cycle,
            rate=cycle.verification_rate,
            verified=cycle.verified,
            prompts=judged.prompts,
            prompt_count=judged.prompt_count,
            clustering=judged.clustering,
            held_out=cycle.held_out,
            unique_fraction=cycle.unique_fraction,
            outputs=training.outputs,
            distinct=training.distinct,
            entropy=_mean(run, "entropy"),
            mean_length=training.mean_length,
            length_variation=training.length_variation,
            training=_counted(training) if cycle.held_out else None,
            acceptance=training.rate,
            rho=_median(run, "rho"),
            kl=_last(run, "cycle_kl"),
            harm=_last(run, "cycle_harm"),
            broken=_broken(run),
            loss_drop=_loss_drop(run),
            learning_rate=cycle.learning_rate,
            trained=run is not None,
        )


def _with_samples(config: RunConfig, evidence: CycleEvidence | None) -> RunConfig:
    kept = evidence.kept if evidence is not None else None
    return config if kept is None else dataclasses.replace(config, train_samples=kept)


def _counted(evidence: CycleEvidence) -> Rate | None:
    if evidence.rate is None:
        return None
    return Rate(evidence.rate, evidence.verified, evidence.prompts, evidence.prompt_count, evidence.clustering)


def _from_tags(number: int, run: RunView | None, role: str) -> CycleEvidence | None:
    """Return the newest rate that the cycle's run logged itself."""
    series = run.series.get(role) if run is not None else None
    rate = series.last if series is not None else None
    if series is None or rate is None or not 0.0 <= rate <= 1.0:
        return None
    return CycleEvidence(number, rate=rate, measures="after", held_out=role == "heldout_rate", source=series.tag)


def _learning_rate(run: RunView | None, training: CycleEvidence | None) -> float | None:
    given = rate_in_force(run) if run is not None else None
    if given is not None:
        return given[0]
    series = run.series.get("learning_rate") if run is not None else None
    if series is not None:
        finite = series.values[np.isfinite(series.values)]
        if len(finite) and finite.max() > 0.0:
            return written_rate(float(finite.max()))
    if training is not None and training.learning_rate is not None:
        return training.learning_rate
    return run.config.learning_rate if run is not None else None


def _finite(run: RunView | None, role: str) -> NDArray[np.float64]:
    """Return the finite values of one of a run's series; empty without it."""
    series = run.series.get(role) if run is not None else None
    return series.values[np.isfinite(series.values)] if series is not None else np.empty(0)


def _mean(run: RunView | None, role: str) -> float | None:
    values = _finite(run, role)
    return float(values.mean()) if len(values) else None


def _median(run: RunView | None, role: str) -> float | None:
    series = run.series.get(role) if run is not None else None
    return series.median if series is not None else None


def _last(run: RunView | None, role: str) -> float | None:
    values = _finite(run, role)
    return float(values[-1]) if len(values) else None


def _broken(run: RunView | None) -> int | None:
    """Count the NaN and infinite points of a cycle's loss and gradient norm; None where neither is logged."""
    series = [run.series[role] for role in ("loss", "grad_norm") if role in run.series] if run is not None else []
    return sum(int((~np.isfinite(one.values)).sum()) for one in series) if series else None


def _loss_drop(run: RunView | None) -> float | None:
    """Return the fall of the training loss from the first quarter of a cycle to its last, None below 8 points."""
    values = _finite(run, "loss")
    if len(values) < LOSS_POINTS:
        return None
    quarter = len(values) // 4
    return float(values[:quarter].mean() - values[-quarter:].mean())
