"""Follows one run: its points through the signals to the rules, and from there to a verdict and advice.

Rules are evaluated at places that the series decides itself: at each of the first 200 points of the run's clock (its
loss, or else its reward...), later after each half per cent. So the same bytes give the same findings, whether they
were read at once or as they came.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from raftmon.advice.engine import RuleEngine
from raftmon.advice.learning_rate import advise_run
from raftmon.advice.rule import Rule
from raftmon.advice.verdict import decide
from raftmon.advice.weighing import Weighing
from raftmon.events.columns import ScalarBatch
from raftmon.model import Problem, RunState, RunView, SeriesView
from raftmon.run_config import RunConfig
from raftmon.runs.logdir import Run, RunUpdate
from raftmon.runs.roles import RoleTable, RoleTag
from raftmon.runs.sidecars import read_run_config, sidecar_stamp
from raftmon.signals.progress import RunFacts
from raftmon.signals.registry import PRIMARY_ROLES, RunSignals
from raftmon.signals.siblings import SiblingSignals, Standing, standing

if TYPE_CHECKING:
    from raftmon.model import Floats, Ints

__all__ = ["RunJudge"]

EVERY_POINT: Final = 200
"""So many points are judged one by one; beyond, one in n/200."""
Row = tuple[str, int, float]
"""Role, step, value."""


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
        self._config_seen: tuple[object, ...] = ()
        self._scenario = "any"
        self._config = RunConfig()
        self._followed = False
        self._restart()

    def follow(self, update: RunUpdate, *, in_campaign: bool) -> None:
        """Take in what a poll of the run brought.

        Args:
            update: the new points.
            in_campaign: whether the run is a cycle of a campaign.
        """
        if update.rewound:
            self._tags_seen = -1
        changed = self._learn_roles()
        changed = self._learn_config() or changed
        scenario = "raft" if in_campaign else self._dialect.scenario
        if scenario in ("any", "sft") and self._config.lora_rank:
            scenario = "lora"
        changed = changed or scenario != self._scenario
        self._scenario = scenario
        if changed or update.rewound:
            self._restart()
        if update.rewound or (changed and self._followed):
            self._feed(self._all_rows())
        else:
            # The first points must come from here: a long series is thinned already.
            for batch in update.batches:
                self._feed(self._rows(batch))
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
        if self._scenario == "raft":
            return None
        loss, held_out = (self._columns(role) for role in ("loss", "eval_loss"))
        return standing(self._signals.peak_rate or self._config.learning_rate, loss, held_out)

    def view(
        self, state: RunState, campaign: str | None, cycle: int | None, siblings: Sequence[Standing] = ()
    ) -> RunView:
        """Return everything known about the run now.

        Args:
            state: whether it grows.
            campaign: name of the campaign that it belongs to.
            cycle: its number in there.
            siblings: what the runs beside it show.
        """
        taken = self.run.last_step if self._dialect.step_axis == "optimizer_step" else None
        over, finished = state in ("finished", "idle"), state == "finished"
        facts = RunFacts(self._config, over, self._span(), self._points, taken, finished)
        compared = SiblingSignals.readings(self.standing(), siblings) if siblings else {}
        readings = self._signals.readings(facts, compared)
        counts = {role: self.run.series[tag.tag].count for role, tag in self._assigned.items()}
        findings = self._engine.findings(readings, self._points, self._step, counts)
        by_id = {rule.id: rule for rule in self._engine.rules}
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
            series={role: self._series_view(role, tag) for role, tag in self._assigned.items()},
            other_tags=len(self.run.series) - len(self._assigned),
            config=self._config,
            verdict=verdict,
            findings=findings,
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

    def _learn_config(self) -> bool:
        seen = (tuple(self.run.texts.items()), repr(self.run.hparams), sidecar_stamp(self.run.path))
        if seen == self._config_seen:
            return False
        self._config_seen = seen
        self.problems.clear()
        config = read_run_config(self.run.path, self.run.texts, self.run.hparams, self.problems)
        if config.max_grad_norm is None and self._dialect.max_grad_norm is not None:
            config = dataclasses.replace(config, max_grad_norm=self._dialect.max_grad_norm)
        changed, self._config = config != self._config, config
        return changed

    def _restart(self) -> None:
        rules = [
            rule
            for rule in self._all_rules
            if rule.subject == "run"
            and (self._scenario == "any" or "any" in rule.scenarios or self._scenario in rule.scenarios)
        ]
        self._engine = RuleEngine(rules)
        # LoRA is a method; what it is used for is what the dialect says.
        stage = self._dialect.scenario if self._scenario == "lora" else self._scenario
        self._signals = RunSignals(self._config, stage, averaged=self._dialect.averaged)
        self._primary = _primary_role(self._assigned)
        self._points = 0
        self._step = 0
        self._first_step: int | None = None

    def _feed(self, rows: Iterable[Row]) -> None:
        """Hand points to the signals; before the clock's next point, look at the rules."""
        for role, step, value in rows:
            if role == self._primary:
                if self._points and self._is_due():
                    self._engine.tick(self._signals.readings(self._facts()), self._points, self._step)
                self._points += 1
                self._step = step
                self._first_step = step if self._first_step is None else self._first_step
            self._signals.update(role, step, value)

    def _is_due(self) -> bool:
        return self._points <= EVERY_POINT or self._points % (self._points // EVERY_POINT) == 0

    def _facts(self) -> RunFacts:
        return RunFacts(self._config, ended=False, steps=self._span(), points=self._points)

    def _span(self) -> int | None:
        return self._step - self._first_step if self._first_step is not None else None

    def _rows(self, batch: ScalarBatch) -> Iterator[Row]:
        """Yield the rows of a batch that have a role, in the order of the file."""
        roles = [self._role_of.get(tag) for tag in batch.tags]
        for tag_id, step, value in zip(batch.tag_id.tolist(), batch.step.tolist(), batch.value.tolist(), strict=True):
            role = roles[tag_id]
            if role is not None:
                yield role[0], step, value * role[1]

    def _all_rows(self) -> Iterator[Row]:
        """Yield what the series hold, in the order of the steps."""
        rows = [
            (role, step, value * tag.scale)
            for role, tag in self._assigned.items()
            for step, value in zip(
                self.run.series[tag.tag].steps.tolist(), self.run.series[tag.tag].values.tolist(), strict=True
            )
        ]
        yield from sorted(rows, key=lambda row: row[1])

    def _columns(self, role: str) -> tuple[Ints, Floats] | None:
        tag = self._assigned.get(role)
        return (self.run.series[tag.tag].steps, self.run.series[tag.tag].values * tag.scale) if tag else None

    def _series_view(self, role: str, tag: RoleTag) -> SeriesView:
        series = self.run.series[tag.tag]
        values = series.values if tag.scale == 1.0 else series.values * tag.scale
        return SeriesView(role, tag.tag, series.steps, values, series.count)


def _primary_role(assigned: Mapping[str, RoleTag]) -> str:
    return next((role for role in PRIMARY_ROLES if role in assigned), "")
