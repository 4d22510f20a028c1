"""Every signal by name, and the set of statistics that follows one run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from raftmon.model import RunConfig
from raftmon.signals.base import Family, SignalInfo
from raftmon.signals.campaign import CampaignSignals
from raftmon.signals.config import ConfigSignals
from raftmon.signals.gradient import GradientSignals
from raftmon.signals.loss import LossSignals
from raftmon.signals.progress import EntropySignals, EvaluationSignals, RewardSignals, RunFacts, ScheduleSignals

__all__ = ["PRIMARY_ROLES", "SIGNALS", "RunSignals"]

SIGNALS: Final[Mapping[str, SignalInfo]] = MappingProxyType(
    {
        info.name: info
        for family in (
            LossSignals,
            GradientSignals,
            ScheduleSignals,
            EvaluationSignals,
            RewardSignals,
            EntropySignals,
            RunFacts,
            ConfigSignals,
            CampaignSignals,
        )
        for info in family.signals
    }
)
"""The catalogue: name to description."""

PRIMARY_ROLES: Final = ("loss", "reward", "policy_loss", "eval_loss", "accuracy")
"""The first of these that a run has is its clock: its points are what rules count."""


class RunSignals:
    """The statistics of one run, fed with its points in the order of arrival.

    Args:
        config: what is known of the run's configuration.
        scenario: kind of training, as far as it is known.
    """

    def __init__(self, config: RunConfig, scenario: str = "any") -> None:
        self._config_signals = ConfigSignals(config, scenario)
        self._schedule = ScheduleSignals()
        self._families: dict[str, Family] = {
            family.role: family
            for family in (
                LossSignals(),
                GradientSignals(config.max_grad_norm),
                self._schedule,
                EvaluationSignals(),
                RewardSignals(),
                EntropySignals(),
            )
        }

    def update(self, role: str, step: int, value: float) -> None:
        """Take in one point of a role; roles without a family are passed over."""
        family = self._families.get(role)
        if family is not None:
            family.update(step, value)

    def readings(self, facts: RunFacts) -> dict[str, float | None]:
        """Return the value of every run signal; None is "not enough data"."""
        readings = facts.readings()
        for family in self._families.values():
            readings.update(family.readings())
        readings.update(self._config_signals.readings())
        readings.update(self._config_signals.against_log(facts, readings, self._schedule.first_step))
        return readings
