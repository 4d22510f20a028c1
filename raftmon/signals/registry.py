"""Every signal by name, and the set of statistics that follows one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from raftmon.run_config import RunConfig
from raftmon.signals.base import Family, SignalInfo
from raftmon.signals.campaign import CampaignSignals
from raftmon.signals.config import ConfigSignals, LogAgainstConfig
from raftmon.signals.gradient import GradientCourse, GradientSignals
from raftmon.signals.loss import LossCourse, LossSignals
from raftmon.signals.probe import GainRatioSignals, UpdateRatioSignals
from raftmon.signals.progress import EntropySignals, EvaluationSignals, RewardSignals, RunFacts, ScheduleSignals
from raftmon.signals.shape import ShapeSignals
from raftmon.signals.siblings import SiblingSignals

__all__ = ["PRIMARY_ROLES", "SIGNALS", "Readings", "RunSignals"]

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
            SiblingSignals,
            ConfigSignals,
            LogAgainstConfig,
            CampaignSignals,
        )
        for info in family.signals
    }
)
"""The catalogue: name to description."""

PRIMARY_ROLES: Final = ("loss", "reward", "policy_loss", "eval_loss", "accuracy")
"""The first of these that a run has is its clock: its points are what rules count."""


LARGEST: Final = 1e100
"""A value beyond counts as infinite: no training logs it in earnest."""


class Readings(dict[str, "float | None"]):
    """The value of every signal of a run at one moment, family by family as they are asked for.

    Most rules look at one signal and see that nothing is the matter: this is asked some thirty times a point.
    """

    __slots__ = ("_family_of",)

    def __init__(self, known: Mapping[str, float | None], family_of: Mapping[str, Family]) -> None:
        super().__init__(known)
        self._family_of = family_of

    def __missing__(self, signal: str) -> float | None:
        family = self._family_of.get(signal)
        if family is None:
            return None
        self.update(family.readings())
        return self[signal]

    def get(self, signal: str, default: float | None = None) -> float | None:  # type: ignore[override]
        """Return a reading; None for what is no signal of a run, too."""
        value = self[signal]
        return default if value is None else value

    def complete(self) -> dict[str, float | None]:
        """Return the readings of every family."""
        for signal in self._family_of:
            self[signal]
        return dict(self)


class RunSignals:
    """The statistics of one run, fed with its points in the order of arrival.

    Args:
        config: what is known of the run's configuration.
        scenario: kind of training, as far as it is known.
        averaged: whether a logged loss is the mean over the steps since the one before, not that of one step.
    """

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
        self._families = {family.role: family for family in families}
        self._family_of = {info.name: family for family in families for info in family.signals}

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

    @property
    def peak_rate(self) -> float | None:
        """Largest learning rate logged, None without one."""
        return self._schedule.readings()["schedule.peak"]

    def readings(self, facts: RunFacts, siblings: Mapping[str, float | None] = {}) -> Readings:
        """Return the value of every run signal as it is now; None is "not enough data".

        Read it before the next point comes: a family is worked out when one of its signals is asked for.

        Args:
            facts: what is known of the run beside its series.
            siblings: readings of `SiblingSignals`, where they were worked out.
        """
        if self._averaged and facts.steps and facts.points > 1:
            self._shape.points_per_value = facts.steps / (facts.points - 1)
        self._against_config.facts = facts
        return Readings({**self._config, **facts.readings(), **siblings}, self._family_of)
