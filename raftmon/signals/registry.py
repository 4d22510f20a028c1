"""Every signal by name, and the set of statistics that follows one run."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from raftmon.run_config import RunConfig
from raftmon.signals.base import Family, SignalInfo
from raftmon.signals.campaign import CampaignSignals
from raftmon.signals.config import ConfigSignals, LogAgainstConfig
from raftmon.signals.gradient import GradientCourse, GradientSignals
from raftmon.signals.loss import LossCourse, LossSignals
from raftmon.signals.policy import EntropySignals, RewardSignals
from raftmon.signals.probe import GainRatioSignals, UpdateRatioSignals
from raftmon.signals.progress import EvaluationSignals, RunFacts, ScheduleSignals
from raftmon.signals.shape import ShapeSignals
from raftmon.signals.siblings import SiblingSignals
from raftmon.signals.standing import STANDING_STILL, StandstillSignals

__all__ = ["PRIMARY_ROLES", "RESTS_ON", "SELDOM", "SIGNALS", "TIME", "Column", "Readings", "RunSignals"]

SIGNALS: Final[Mapping[str, SignalInfo]] = MappingProxyType(
    {
        info.name: info
        for family in (
            LossSignals,
            LossCourse,
            GradientSignals,
            GradientCourse,
            ScheduleSignals,
            EvaluationSignals,
            RewardSignals,
            EntropySignals,
            ShapeSignals,
            GainRatioSignals,
            UpdateRatioSignals,
            RunFacts,
            StandstillSignals,
            SiblingSignals,
            ConfigSignals,
            LogAgainstConfig,
            CampaignSignals,
        )
        for info in family.signals
    }
)
"""The catalogue: name to description."""

_RUN_FAMILIES: Final[tuple[type[Family], ...]] = (
    LossSignals,
    LossCourse,
    GradientSignals,
    GradientCourse,
    ScheduleSignals,
    EvaluationSignals,
    RewardSignals,
    EntropySignals,
    ShapeSignals,
    GainRatioSignals,
    UpdateRatioSignals,
    LogAgainstConfig,
    RunFacts,
)
_SOURCES: Final[Mapping[str, tuple[str, Callable[[Any], float | None] | None]]] = {
    info.name: (family.role, family.readers.get(info.name)) for family in _RUN_FAMILIES for info in family.signals
}
"""Signal of a run to its family and how the family reads it; None: with all of its others."""

RESTS_ON: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {info.name: frozenset({info.needs} - {"config"}) for info in SIGNALS.values()}
    | {info.name: family.rests_on for family in _RUN_FAMILIES for info in family.signals}
    | {"run.ended": frozenset({"end"}), STANDING_STILL: StandstillSignals.rests_on}
)
"""Signal to what moves it: the roles of points, ``run`` for facts about the run, ``end`` for its end, ``siblings``,
``campaign``, ``time`` alone; nothing moves what the configuration says."""
SELDOM: Final = frozenset({"end", "siblings"})
"""What does not move from point to point."""
TIME: Final = frozenset({"time"})
"""What moves while no point comes."""

PRIMARY_ROLES: Final = ("loss", "reward", "policy_loss", "eval_loss", "accuracy")
"""The first of these that a run has is its clock: its points are what rules count."""


LARGEST: Final = 1e100
"""A value beyond counts as infinite: no training logs it in earnest."""


class Column(NamedTuple):
    """Points of one role, in the order of arrival."""

    rows: list[int]
    """Where they stand among the points of all roles, ascending."""
    steps: list[int]
    values: list[float]

    def part(self, begin: int, end: int | None = None) -> Column:
        """Return the points from one place to another, or to the end."""
        return Column(self.rows[begin:end], self.steps[begin:end], self.values[begin:end])


class Readings(dict[str, "float | None"]):
    """The value of every signal of a run at one moment, worked out when it is asked for.

    Most rules look at one signal and see that nothing is the matter.
    """

    __slots__ = ("_families",)

    def __init__(self, known: Mapping[str, float | None], families: Mapping[str, Family]) -> None:
        super().__init__(known)
        self._families = families

    def __missing__(self, signal: str) -> float | None:
        try:
            role, read = _SOURCES[signal]
            family = self._families[role]
        except KeyError:
            return None
        if read is None:
            self.update(family.readings())
            return self[signal]
        value = self[signal] = read(family)
        return value

    def get(self, signal: str, default: float | None = None) -> float | None:  # type: ignore[override]
        """Return a reading; None for what is no signal of a run, too."""
        value = self[signal]
        return default if value is None else value

    def complete(self) -> dict[str, float | None]:
        """Return the readings of every family."""
        for signal in _SOURCES:
            self[signal]
        return dict(self)


class RunSignals:
    """The statistics of one run, fed with its points in the order of arrival.

    Args:
        config: what is known of the run's configuration.
        scenario: kind of training, as far as it is known.
        averaged: whether a logged loss is the mean over the steps since the one before, not that of one step.
    """

    __slots__ = ("_against_config", "_averaged", "_config", "_families", "_gain_ratio", "_schedule", "_shape")

    def __init__(self, config: RunConfig, scenario: str = "any", *, averaged: bool = False) -> None:
        loss, schedule, evaluation = LossSignals(), ScheduleSignals(), EvaluationSignals()
        gradient = GradientSignals(config.max_grad_norm)
        self._schedule = schedule
        self._config = ConfigSignals(config, scenario).readings()
        self._against_config = LogAgainstConfig(config, schedule)
        self._shape = ShapeSignals(loss.shape, schedule.profile, evaluation)
        self._gain_ratio = GainRatioSignals()
        self._averaged = averaged
        families: list[Family] = [
            loss,
            LossCourse(loss),
            gradient,
            gradient.course,
            schedule,
            evaluation,
            RewardSignals(),
            EntropySignals(),
            self._shape,
            self._gain_ratio,
            UpdateRatioSignals(),
            self._against_config,
        ]
        self._families: dict[str, Family] = {family.role: family for family in families}

    def update(self, role: str, step: int, value: float) -> None:
        """Take in one point of a role; roles without a family are passed over."""
        if not -LARGEST < value < LARGEST:
            # Squares and sums of it would overflow; NaN stays what it is.
            value = math.copysign(math.inf, value) if value == value else value
        family = self._families.get(role)
        if family is not None:
            family.update(step, value)
        if role == "learning_rate":
            self._gain_ratio.rate = value

    def extend(self, columns: Mapping[str, Column]) -> None:
        """Take in points of several roles; roles without a family are passed over."""
        probes, rates = columns.get("rho"), columns.get("learning_rate")
        if probes is not None and rates is not None:
            # Before the rates themselves: a gain ratio belongs to the rate in force just then.
            in_force = self._rates_at(probes.rows, rates)
            self._gain_ratio.extend_at(in_force, _within_reason(probes.values))
        for role, (_, steps, values) in columns.items():
            if role == "rho" and rates is not None:
                continue
            if len(values) == 1:
                self.update(role, steps[0], values[0])
            elif role in self._families:
                self._families[role].extend(steps, _within_reason(values))
        if rates is not None:
            self._gain_ratio.rate = _within_reason(rates.values[-1:])[0]

    def _rates_at(self, rows: Sequence[int], rates: Column) -> list[float]:
        """Return the learning rate in force at some places."""
        in_force = (self._gain_ratio.rate, *_within_reason(rates.values))
        return [in_force[bisect_left(rates.rows, row)] for row in rows]

    @property
    def peak_rate(self) -> float | None:
        """Largest learning rate logged, None without one."""
        return self._schedule.peak()

    def readings(self, facts: RunFacts, siblings: Mapping[str, float | None] = {}) -> Readings:
        """Return the value of every run signal as it is now; None is "not enough data".

        Read it before the next point comes: a signal is worked out when it is asked for.

        Args:
            facts: what is known of the run beside its series.
            siblings: readings of `SiblingSignals`, where they were worked out.
        """
        if self._averaged and facts.steps and facts.points > 1:
            self._shape.points_per_value = facts.steps / (facts.points - 1)
        self._against_config.facts = facts
        self._families[facts.role] = facts
        return Readings({**self._config, **siblings} if siblings else self._config, self._families)


def _within_reason(values: Sequence[float]) -> Sequence[float]:
    """Make what is larger than any training logs infinite; NaN stays what it is."""
    # A NaN in first place is what `max` and `min` then return; elsewhere they pass over it.
    if max(values) < LARGEST and min(values) > -LARGEST:
        return values
    return [value if abs(value) < LARGEST or value != value else math.copysign(math.inf, value) for value in values]
