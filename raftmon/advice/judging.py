"""Follows one run: its points through the signals to the rules, and from there to a verdict and advice.

Rules are evaluated at places that the series decides itself: at each of the first 200 points of the run's clock (its
loss, or else its reward...), later after each half per cent. So the same bytes give the same findings, whether they
were read at once or as they came.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final

from raftmon.advice.engine import RuleEngine, rules_for
from raftmon.advice.feeding import by_role, by_step, is_due, pieces
from raftmon.advice.findings import placed
from raftmon.advice.learning_rate import advise_run
from raftmon.advice.rule import Rule
from raftmon.advice.verdict import decide
from raftmon.advice.weighing import Weighing
from raftmon.events.columns import ScalarBatch
from raftmon.model import Finding, Problem, RunState, RunView, SeriesView
from raftmon.run_config import RunConfig
from raftmon.runs.beside import has_sidecars, sidecar_stamp
from raftmon.runs.logdir import Run, RunUpdate
from raftmon.runs.roles import RoleTable, RoleTag
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import PRIMARY_ROLES, Column, RunSignals
from raftmon.signals.siblings import Columns, SiblingSignals, Standing, standing
from raftmon.slotted import dataclass

__all__ = ["RunJudge"]


FEW: Final = 64
"""Points of a batch up to which one by one is faster than column by column."""


@dataclass(slots=True)
class _Worked:
    """What was worked out of a run's points."""

    signals: RunSignals
    engine: RuleEngine
    points: int = 0
    """Of the run's clock."""
    step: int = 0
    """The newest of the clock."""
    first_step: int | None = None
    """The first of the clock; None before it."""
    moved: set[str] = field(default_factory=lambda: {"run"})
    """What has moved since the rules were looked at last."""

    @property
    def span(self) -> int | None:
        """Steps from the clock's first point to its newest; None without points."""
        return self.step - self.first_step if self.first_step is not None else None

    def count(self, points: int, first: int, last: int) -> None:
        """Count points of the clock, by the steps of the first and the last of them."""
        self.first_step = first if self.first_step is None else self.first_step
        self.points += points
        self.step = last


class RunJudge:
    """Judges one run.

    Args:
        run: what is followed.
        rules: all that are enabled, those on campaigns included.
        weighing: coefficients of the verdict.
        roles: what tags mean.
    """

    def __init__(self, run: Run, rules: Sequence[Rule], weighing: Weighing, roles: RoleTable) -> None:
        self.run = run
        self.problems: list[Problem] = []
        self._all_rules = rules
        self._weighing = weighing
        self._roles = roles
        self._dialect = roles.dialect_of(())
        self._assigned: dict[str, RoleTag] = {}
        self._role_of: dict[str, tuple[str, float]] = {}
        self._tags_seen = -1
        self._config_seen: tuple[tuple[object, ...], tuple[int, ...]] = (), ()
        self._scenario = "any"
        self._config = RunConfig()
        self._followed = False
        self._standing: tuple[Standing | None] | None = None
        self._view: tuple[tuple[object, ...], RunView] | None = None
        self._restart()

    def follow(self, update: RunUpdate, *, in_campaign: bool, look_beside: bool = True) -> None:
        """Take in what a poll of the run brought.

        Args:
            update: the new points.
            in_campaign: whether the run is a cycle of a campaign.
            look_beside: whether the files beside the event files that tell the configuration may have changed; to look
                is dearer than all of the rest.
        """
        self._standing = self._view = None
        if update.rewound:
            self._tags_seen = -1
        changed = self._learn_roles()
        changed = self._learn_config(look_beside or not self._config_seen[1]) or changed
        scenario = "raft" if in_campaign else self._dialect.scenario
        if scenario in ("any", "sft") and self._config.lora_rank:
            scenario = "lora"
        changed = changed or scenario != self._scenario
        self._scenario = scenario
        if changed or update.rewound:
            self._restart()
        if update.rewound or (changed and self._followed):
            self._feed_columns(by_step({role: self._series(tag) for role, tag in self._assigned.items()}))
        else:
            # The first points must come from here: a long series is thinned already.
            for batch in update.batches:
                self._feed(batch)
        self._followed = self._followed or bool(update.batches)

    @property
    def roles(self) -> Mapping[str, RoleTag]:
        """Which tag has which role."""
        return self._assigned

    @property
    def config(self) -> RunConfig:
        """What is known of the run's configuration."""
        return self._config

    @property
    def step_axis(self) -> str:
        """What the trainer counts as a step."""
        return self._dialect.step_axis

    def standing(self) -> Standing | None:
        """Return what the run shows to its siblings; None for a cycle of a campaign, whose model is another one."""
        if self._standing is None:
            self._standing = (self._work_out_standing(),)
        return self._standing[0]

    def view(
        self,
        state: RunState,
        campaign: str | None,
        cycle: int | None,
        siblings: Sequence[Standing] = (),
        timed: Sequence[Finding] = (),
    ) -> RunView:
        """Return everything known about the run now.

        Args:
            state: whether it grows.
            campaign: name of the campaign that it belongs to.
            cycle: its number in there.
            siblings: what the runs beside it show.
            timed: what was found by the rules that time alone moves; the verdict does not rest on it.

        Returns:
            The same object as before, while nothing of all this has changed.
        """
        asked = (state, campaign, cycle, list(siblings), list(timed))
        if self._view is None or self._view[0] != asked:
            self._view = asked, self._work_out_view(state, campaign, cycle, siblings, timed)
        return self._view[1]

    def _work_out_standing(self) -> Standing | None:
        if self._scenario == "raft":
            return None
        loss, held_out = (self._columns(role) for role in ("loss", "eval_loss"))
        return standing(self._now().signals.peak_rate or self._config.learning_rate, loss, held_out)

    def _work_out_view(
        self,
        state: RunState,
        campaign: str | None,
        cycle: int | None,
        siblings: Sequence[Standing],
        timed: Sequence[Finding],
    ) -> RunView:
        worked = self._now()
        taken = self.run.last_step if self._dialect.step_axis == "optimizer_step" else None
        over, finished = state in ("finished", "idle"), state == "finished"
        facts = RunFacts(self._config, over, worked.span, worked.points, taken, finished)
        compared = SiblingSignals.readings(self.standing(), siblings) if siblings else {}
        readings = worked.signals.readings(facts, compared)
        counts = {role: self.run.series[tag.tag].count for role, tag in self._assigned.items()}
        findings = worked.engine.findings(readings, worked.points, worked.step, counts)
        by_id = worked.engine.rule_set.by_id
        verdict = decide(self._weighing, by_id, findings, readings, counts, facts, self._scenario)
        return RunView(
            run=self.run.name,
            path=str(self.run.path),
            state=state,
            dialect=self._dialect.name,
            scenario=self._scenario,
            campaign=campaign,
            cycle=cycle,
            last_step=self.run.last_step,
            last_wall_time=self.run.last_wall_time,
            first_wall_time=self.run.first_wall_time,
            step_axis=self._dialect.step_axis,
            clock=self.run.clock.known,
            series={role: self._series_view(role, tag) for role, tag in self._assigned.items()},
            other_tags=len(self.run.series) - len(self._assigned),
            config=self._config,
            verdict=verdict,
            findings=placed(findings, timed),
            advice=advise_run(self._config, readings.get("schedule.peak"), verdict, findings, by_id),
        )

    def _learn_roles(self) -> bool:
        """Find the roles of new tags; returns whether what was fed so far was fed wrongly."""
        if len(self.run.series) == self._tags_seen:
            return False
        self._tags_seen = len(self.run.series)
        self._dialect = self._roles.dialect_of(self.run.series.keys())
        assigned = self._roles.assign(self.run.series.keys(), self._dialect)
        moved = any(assigned.get(role) != tag for role, tag in self._assigned.items())
        self._assigned = assigned
        self._role_of = {tag.tag: (role, tag.scale) for role, tag in assigned.items()}
        return moved or self._primary != _primary_role(assigned)

    def _learn_config(self, look_beside: bool) -> bool:
        texts, hparams = self.run.texts, self.run.hparams
        # 1 and True are equal, and not the same in a configuration.
        logged = *texts, *texts.values(), *hparams, *hparams.values(), *map(type, hparams.values())
        seen = logged, sidecar_stamp(self.run.path) if look_beside else self._config_seen[1]
        if seen == self._config_seen:
            return False
        self._config_seen = seen
        self.problems.clear()
        config = self._read_config()
        if config.max_grad_norm is None and self._dialect.max_grad_norm is not None:
            config = dataclasses.replace(config, max_grad_norm=self._dialect.max_grad_norm, usual_clip=True)
        changed, self._config = config != self._config, config
        return changed

    def _read_config(self) -> RunConfig:
        """Return what the run and the files beside it say of its configuration, without their trainer's own limits."""
        run = self.run
        if not (run.texts or run.hparams or has_sidecars(run.path)):
            return RunConfig()
        # Imported here because many runs say nothing of themselves.
        from raftmon.runs.sidecars import read_run_config

        return read_run_config(run.path, run.texts, run.hparams, self.problems)

    def _restart(self) -> None:
        """Forget what was worked out; it is worked out anew when it is asked for."""
        self._worked: _Worked | None = None
        self._primary = _primary_role(self._assigned)
        # LoRA is a method; what it is used for is what the dialect says.
        self._stage = self._dialect.scenario if self._scenario == "lora" else self._scenario
        self._averaged = self._dialect.averaged

    def _now(self) -> _Worked:
        """Return signals and rules, made when the first point comes or somebody looks."""
        if self._worked is None:
            signals = RunSignals(self._config, self._stage, averaged=self._averaged)
            self._worked = _Worked(signals, RuleEngine(rules_for(tuple(self._all_rules), self._scenario)))
        return self._worked

    def _feed(self, batch: ScalarBatch) -> None:
        """Hand points to the signals; before the clock's next point, look at the rules."""
        if len(batch.step) > FEW:
            self._feed_columns(by_role(batch, self._role_of))
            return
        worked = self._now()
        rows = zip(batch.tag_id.tolist(), batch.step.tolist(), batch.value.tolist(), strict=True)
        for tag_id, step, value in rows:
            known = self._role_of.get(batch.tags[tag_id])
            if known is None:
                continue
            role, scale = known
            if role == self._primary:
                if worked.points and is_due(worked.points):
                    self._tick(worked)
                worked.count(1, step, step)
            worked.signals.update(role, step, value * scale)
            worked.moved.add(role)

    def _feed_columns(self, columns: Mapping[str, Column]) -> None:
        """Do the same for many points: what lies between two looks at the rules is handed on role by role."""
        worked = self._now()
        for piece, judged in pieces(columns, self._primary, worked.points):
            worked.signals.extend(piece)
            worked.moved.update(piece)
            clock = piece.get(self._primary)
            if clock is not None:
                worked.count(len(clock.steps), clock.steps[0], clock.steps[-1])
            if judged:
                self._tick(worked)

    def _tick(self, worked: _Worked) -> None:
        facts = RunFacts(self._config, ended=False, steps=worked.span, points=worked.points)
        moved, worked.moved = frozenset(worked.moved), {"run"}
        worked.engine.tick(worked.signals.readings(facts), worked.points, worked.step, moved)

    def _columns(self, role: str) -> Columns | None:
        tag = self._assigned.get(role)
        return self._series(tag) if tag is not None else None

    def _series(self, tag: RoleTag) -> Columns:
        series = self.run.series[tag.tag]
        return series.steps, series.values if tag.scale == 1.0 else series.values * tag.scale

    def _series_view(self, role: str, tag: RoleTag) -> SeriesView:
        steps, values = self._series(tag)
        return SeriesView(role, tag.tag, steps, values, self.run.series[tag.tag].count)


def _primary_role(assigned: Mapping[str, RoleTag]) -> str:
    return next((role for role in PRIMARY_ROLES if role in assigned), "")
