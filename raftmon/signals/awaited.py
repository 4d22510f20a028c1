"""What a rule waits for, in a few plain words, where the description of a signal would tell a person nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftmon.signals.base import SignalInfo

__all__ = ["awaited"]

_TWO_CYCLES: Final = "a second cycle with a rate"
_CONFIG_RATE_AND_METHOD: Final = "a config with learning rate and method"
_CONFIG_STEPS: Final = "a config with warm-up and steps"
_END: Final = "the end of the run"
_GAINED: Final = "held-out counts of two cycles, no higher rate before"
_DIVERSITY: Final = "samples of two cycles"
_GAP: Final = "rates on trained and held-out prompts"
_NAMES: Final[Mapping[str, str]] = {
    "run.ended": _END,
    "run.standing_still": "a word of its end, or growth while it is watched",
    "run.steps": "a second point",
    "run.optimizer_steps": "a count of optimiser steps",
    "run.steps_per_point": "a second point",
    "run.warmup_share": _CONFIG_STEPS,
    "schedule.final_of_peak": "the end of a logged learning rate",
    "schedule.mass_applied": "the end of a run with a known schedule",
    "schedule.peak_of_configured": "a config with a learning rate",
    "config.learning_rate": "a config with a learning rate",
    "config.steps": "a config with the planned steps",
    "config.effective_batch": "a config with a batch size",
    "config.warmup_steps": "a config with a warm-up",
    "config.warmup_share": _CONFIG_STEPS,
    "config.warmup_advised": "a config with the planned steps",
    "config.warmup_excess": _CONFIG_STEPS,
    "config.logging_steps": "a config with a logging interval",
    "config.logs": "a config with a logging interval",
    "config.of_reference": _CONFIG_RATE_AND_METHOD,
    "config.decay_horizon": "a config with a weight decay",
    "config.alpha_missing": "a config with the method",
    "config.decays": "a config with a schedule",
    "config.reference_low": _CONFIG_RATE_AND_METHOD,
    "config.reference_high": _CONFIG_RATE_AND_METHOD,
    "config.of_sft_rate": _CONFIG_RATE_AND_METHOD,
    "config.lora_rank": "a config with a LoRA rank",
    "config.rank_of_reference": "a config with a LoRA rank",
    "config.cycles": "a config with the number of cycles",
    "config.cycle_decay": "a config with the decay between cycles",
    "config.clip_limit": "a config with a clip limit",
    "config.clips_nothing": "a config with a clip limit",
    "campaign.cycles": "a cycle with a rate",
    "campaign.rate": "a cycle with a rate",
    "campaign.held_out": "a cycle with a rate",
    "campaign.drop": _TWO_CYCLES,
    "campaign.drop_of_best": _TWO_CYCLES,
    "campaign.drop_margin": "counted samples of two cycles",
    "campaign.below_best": "counted samples of two cycles",
    "campaign.detectable_drop": "counted samples of two cycles",
    "campaign.flat_cycles": "counted samples of two cycles",
    "campaign.gain_bound": "counted samples of four cycles",
    "campaign.cycles_at_rate": "a cycle with a learning rate",
    "campaign.gain": _GAINED,
    "campaign.gain_z": _GAINED,
    "campaign.total_gain_z": _GAINED,
    "campaign.detectable_gain": _GAINED,
    "campaign.diversity_left": _DIVERSITY,
    "campaign.unique_left": _DIVERSITY,
    "campaign.distinct_left": _DIVERSITY,
    "campaign.entropy_left": "the entropy of two cycles",
    "campaign.length_left": _DIVERSITY,
    "campaign.variation_left": _DIVERSITY,
    "campaign.gap": _GAP,
    "campaign.gap_of_rate": _GAP,
    "campaign.gap_low": _GAP,
    "campaign.gap_growth": f"{_GAP} of two cycles",
    "campaign.gap_growth_low": f"{_GAP} of two cycles",
    "campaign.rho": "a probe of the newest cycle",
    "campaign.rho_curvature": "a probe of the newest cycle",
    "campaign.kl": "a probe of the newest cycle",
    "campaign.harm": "a probe of the newest cycle",
    "campaign.broken": "a run of the newest cycle",
    "campaign.loss_drop": "the loss of the newest cycle",
    "campaign.loss_unexplained": "loss and samples of the newest cycle",
}
"""By signal."""
_ROLES: Final[Mapping[str, str]] = {
    "siblings": "runs at other learning rates",
    "rho": "a probe (rho)",
    "update_ratio": "the size of updates (update_ratio)",
}
"""By what a signal is computed from, where that is no word of everyday use."""


def awaited(info: SignalInfo, seen: int) -> str:
    """Return what has to come before a signal has a reading.

    Args:
        info: of the signal.
        seen: points of what it is computed from so far.
    """
    if info.also and seen >= info.minimum:
        return info.also
    if info.needs in ("run", "config", "campaign"):
        return _NAMES.get(info.name, info.description)
    role = _ROLES.get(info.needs, info.needs.replace("_", " "))
    return role if seen == 0 else f"{info.minimum} {info.needs.replace('_', ' ')} points ({seen} so far)"
