"""Signals of the configuration, and of the log against it.

What needs ``config`` is answered by a trainer's config alone, before anything has run; ``raftmon lint`` asks only for
those. The others compare the learning rates that were logged with the one that was meant.

Warm-up: Ma and Yarats (2021) show that 2/(1 - beta2) steps do for Adam what longer warm-ups do; with the usual 10 % of
the steps, the smaller of the two is the length advised. Weight decay: 1/(lr x decay) steps is how long the weights
remember (Wang and Aitchison, 2025).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final

from raftmon.run_config import RunConfig
from raftmon.signals.base import Family, Readers, SignalInfo
from raftmon.signals.progress import RunFacts, ScheduleSignals
from raftmon.signals.references import Reference, reference_at, reference_for

__all__ = [
    "ABOUT",
    "RANK_EXPONENT",
    "RSLORA_EXPONENT",
    "ConfigSignals",
    "LogAgainstConfig",
    "lacking",
    "planned_steps",
    "warmup_advised",
]

USUAL_BETA2: Final = 0.999
"""Adam's in PyTorch and in every trainer that takes PyTorch's default."""
WARMUP_SHARE: Final = 0.1
SHORTEST_WARMUP: Final = 2.0
"""Steps: a tenth of a very short run is less than a schedule can express."""
RANK_EXPONENT: Final = 0.8
"""Study of 531 small trainings (2026), 4.7: best rate ~ r^-0.8 with alpha = 2r, over ranks 1 to 64."""
RSLORA_EXPONENT: Final = 0.32
"""The same: best rate ~ r^-0.32 with rsLoRA and a fixed alpha."""
ANCHOR_RANK: Final = 32
"""The rank from which a larger one is counted: sweeps of LoRA's rate were made up to it."""
_ADAM_LIKE: Final = ("adam", "adamw", "lamb")
_MEAN_WITHOUT_WARMUP: Final[Mapping[str, float]] = {
    "constant": 1.0,
    "constant_with_warmup": 1.0,
    "linear": 0.5,
    "cosine": 0.5,
}
"""Mean over peak of a long run without warm-up."""
_INGREDIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "config.learning_rate": ("learning rate",),
    "config.steps": ("planned steps",),
    "config.effective_batch": ("batch size",),
    "config.warmup_steps": ("warm-up",),
    "config.warmup_share": ("warm-up", "planned steps"),
    "config.warmup_advised": ("planned steps",),
    "config.warmup_excess": ("warm-up", "planned steps"),
    "config.logging_steps": ("logging interval",),
    "config.logs": ("planned steps", "logging interval"),
    "config.of_reference": ("learning rate", "stage", "method (LoRA or all weights)"),
    "config.decay_horizon": ("learning rate", "weight decay", "planned steps"),
    "config.alpha_missing": ("LoRA rank",),
    "config.decays": ("schedule",),
    "config.reference_low": ("stage", "method (LoRA or all weights)"),
    "config.reference_high": ("stage", "method (LoRA or all weights)"),
    "config.of_sft_rate": ("learning rate", "stage", "method (LoRA or all weights)"),
    "config.lora_rank": ("LoRA rank",),
    "config.rank_of_reference": ("LoRA rank", "LoRA alpha", "learning rate", "stage"),
    "config.cycles": ("number of cycles",),
    "config.cycle_decay": ("decay between cycles",),
    "config.clip_limit": ("clip limit",),
    "config.clips_nothing": ("clip limit",),
}
"""What each signal is made of, in words for people."""
ABOUT: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("config.warmup_steps", "config.warmup_share", "config.warmup_excess", "run.warmup_share"),
        ("warmup_steps", "warmup_ratio"),
    ),
    "config.logging_steps": ("logging_steps",),
    "config.logs": ("logging_steps",),
    "config.decay_horizon": ("weight_decay",),
    "config.alpha_missing": ("lora_alpha",),
    "config.cycles": ("num_cycles",),
    "config.cycle_decay": ("lr_decay", "num_cycles"),
    "config.clip_limit": ("max_grad_norm",),
    "config.clips_nothing": ("max_grad_norm",),
    "config.effective_batch": ("global_batch_size", "batch_size"),
    "config.steps": ("max_steps", "epochs"),
    "config.lora_rank": ("lora_rank",),
}
"""Fields of `RunConfig` that a person changes to change a signal, the likeliest first; the learning rate if none."""
_DECAYING: Final = ("linear", "cosine", "polynomial", "inverse_sqrt", "cosine_with_min_lr", "cosineannealing")
_NOT_TO_ZERO: Final = ("constant", "constant_with_warmup", "wsd", "warmup_stable_decay", "reduce_lr_on_plateau")


def planned_steps(config: RunConfig) -> int | None:
    """Return the optimiser steps that a run will take: as configured, else ceil(samples / batch) x epochs."""
    if config.max_steps is not None:
        return config.max_steps
    if config.train_samples is None or config.epochs is None or config.effective_batch is None:
        return None
    return math.ceil(math.ceil(config.train_samples / config.effective_batch) * config.epochs)


def warmup_advised(config: RunConfig) -> float | None:
    """Return the longest warm-up that has a reason, in steps: min(10 % of the run, 2/(1 - beta2)), but at least 2."""
    steps = planned_steps(config)
    if steps is None:
        return None
    share = max(SHORTEST_WARMUP, WARMUP_SHARE * steps)
    if config.optimizer is not None and config.optimizer not in _ADAM_LIKE:
        return share
    return min(share, 2.0 / (1.0 - (config.beta2 if config.beta2 is not None else USUAL_BETA2)))


def lacking(signal: str, config: RunConfig) -> tuple[str, ...]:
    """Return what a config does not say that a ``config.*`` signal is made of, in words for people."""
    known: Mapping[str, object] = {
        "learning rate": config.learning_rate,
        "planned steps": planned_steps(config),
        "batch size": config.effective_batch,
        "warm-up": config.warmup_steps if config.warmup_ratio is None else config.warmup_ratio,
        "logging interval": config.logging_steps,
        "stage": config.stage,
        "method (LoRA or all weights)": config.method,
        "weight decay": config.weight_decay,
        "LoRA rank": config.lora_rank,
        "LoRA alpha": config.lora_alpha,
        "number of cycles": config.num_cycles,
        "decay between cycles": config.lr_decay,
        "clip limit": config.max_grad_norm if config.clips is None else config.clips,
        "schedule": config.scheduler,
    }
    return tuple(words for words in _INGREDIENTS.get(signal, ()) if known[words] is None)


class ConfigSignals:
    """Facts of one configuration.

    Args:
        config: what is known.
        stage: kind of training, where something else than the config says it.
    """

    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo("config.learning_rate", "", "config", 0, "configured learning rate"),
        SignalInfo("config.steps", "steps", "config", 0, "planned steps: as configured, or from samples and epochs"),
        SignalInfo("config.effective_batch", "samples", "config", 0, "batch × accumulation (× devices)"),
        SignalInfo("config.warmup_steps", "steps", "config", 0, "configured warm-up"),
        SignalInfo("config.warmup_share", "ratio", "config", 0, "configured warm-up over the planned steps"),
        SignalInfo(
            "config.warmup_advised", "steps", "config", 0, "the smaller of 10 % of the planned steps and 2/(1 − beta2)"
        ),
        SignalInfo("config.warmup_excess", "ratio", "config", 0, "configured warm-up over the one advised"),
        SignalInfo("config.logging_steps", "steps", "config", 0, "steps between two logs"),
        SignalInfo("config.logs", "points", "config", 0, "points that the planned steps will log"),
        SignalInfo(
            "config.of_reference",
            "ratio",
            "config",
            0,
            "learning rate against the range for its method and stage: over 1 above it, under 1 below, 1 inside",
        ),
        SignalInfo("config.decay_horizon", "ratio", "config", 0, "1/(learning rate × weight decay) over planned steps"),
        SignalInfo("config.alpha_missing", "flag", "config", 0, "1 for LoRA without a known alpha, else 0"),
        SignalInfo("config.decays", "flag", "config", 0, "1 when the schedule is meant to fall (nearly) to 0, else 0"),
        SignalInfo("config.reference_low", "", "config", 0, "lower end of the usual range for the method and stage"),
        SignalInfo("config.reference_high", "", "config", 0, "upper end of the usual range for the method and stage"),
        SignalInfo(
            "config.of_sft_rate", "ratio", "config", 0, "learning rate of RAFT over the usual one of SFT by that method"
        ),
        SignalInfo("config.lora_rank", "", "config", 0, "configured LoRA rank"),
        SignalInfo(
            "config.rank_of_reference",
            "ratio",
            "config",
            0,
            "learning rate × (rank/32)^0.8 (alpha at least the rank; ^0.32 with rsLoRA; ^0 else) over the range's top",
        ),
        SignalInfo("config.cycles", "cycles", "config", 0, "cycles that the campaign is to have"),
        SignalInfo("config.cycle_decay", "ratio", "config", 0, "learning rate of a cycle over that of the one before"),
        SignalInfo("config.clip_limit", "", "config", 0, "limit of the gradient norm, where one is set"),
        SignalInfo(
            "config.clips_nothing", "flag", "config", 0, "1 when the trainer clips nothing for want of a limit, else 0"
        ),
    )

    def __init__(self, config: RunConfig, stage: str | None = None) -> None:
        self._static = _static(config, stage)

    def readings(self) -> Mapping[str, float | None]:
        """Return the signals that need ``config``; the same at every step, so worked out once."""
        return self._static


class LogAgainstConfig(Family):
    """The learning rates that were logged against the one that was meant.

    Args:
        config: what is known.
        schedule: follows the learning rate of the run.
    """

    role: ClassVar[str] = "run"
    rests_on: ClassVar[frozenset[str]] = frozenset({"run", "learning_rate"})
    signals: ClassVar[tuple[SignalInfo, ...]] = (
        SignalInfo(
            "schedule.final_of_peak", "ratio", "run", 0, "last learning rate over the largest, of a run that is over"
        ),
        SignalInfo(
            "schedule.mass_applied",
            "ratio",
            "run",
            0,
            "mean learning rate logged, over that of the configured schedule without warm-up; of a run that is over",
        ),
        SignalInfo(
            "schedule.peak_of_configured", "ratio", "run", 0, "largest learning rate logged over the configured one"
        ),
    )

    __slots__ = ("_config", "_schedule", "facts")

    def __init__(self, config: RunConfig, schedule: ScheduleSignals) -> None:
        self._config = config
        self._schedule = schedule
        self.facts = RunFacts(config, ended=False, steps=None)
        """Of the run as it is now; kept up to date by whoever asks."""

    def _is_over(self) -> bool:
        return self.facts.ended and not self._was_cut_short(self.facts)

    def _final_of_peak(self) -> float | None:
        return self._schedule.of_peak() if self._is_over() else None

    def _was_cut_short(self, facts: RunFacts) -> bool:
        planned, done = planned_steps(self._config), facts.optimizer_steps
        if planned is None or done is None:
            return not facts.finished
        return done < 0.95 * planned

    def _mass_applied(self) -> float | None:
        rate, peak, mean = self._config.learning_rate, self._schedule.peak(), self._schedule.mean_of_peak()
        usual = _MEAN_WITHOUT_WARMUP.get((self._config.scheduler or "").lower())
        if not self._is_over() or rate is None or peak is None or usual is None or self.facts.steps is None:
            return None
        steps = self.facts.steps + 1
        # A schedule of few steps begins at the full rate: the mean of 1, 1/2 is 3/4, not 1/2.
        expected = usual if usual == 1.0 else usual * (steps + 1) / steps
        if peak == 0.0:
            return 0.0
        return mean * peak / rate / expected if mean is not None else None

    def _peak_of_configured(self) -> float | None:
        rate, peak, first_step = self._config.learning_rate, self._schedule.peak(), self._schedule.first_step
        steps = self.facts.steps
        if rate is None or peak is None or steps is None or first_step is None or self._config.several_rates:
            return None
        if peak > rate:
            return peak / rate
        warmup, of_peak, rising = self._config.warmup_steps, self._schedule.of_peak(), self._schedule.rising_share()
        settled = (of_peak is not None and of_peak < 1.0) or (rising is not None and rising < 0.8)
        reached = settled if warmup is None else settled or steps > warmup
        # A log that begins late, or a coarse one, has missed the peak of a schedule that falls.
        seen_from_the_start = first_step <= (warmup or 0) + 0.05 * (steps + first_step)
        return peak / rate if reached and seen_from_the_start else None

    readers: ClassVar[Readers] = {
        "schedule.final_of_peak": _final_of_peak,
        "schedule.mass_applied": _mass_applied,
        "schedule.peak_of_configured": _peak_of_configured,
    }


def _static(config: RunConfig, stage: str | None) -> dict[str, float | None]:
    steps, advised, warmup = planned_steps(config), warmup_advised(config), config.warmup_steps
    rate, decay, logging = config.learning_rate, config.weight_decay, config.logging_steps
    reference = reference_for(config, stage)
    scheduler = (config.scheduler or "").lower()
    decays = 1.0 if scheduler in _DECAYING else 0.0 if scheduler in _NOT_TO_ZERO else None
    return {
        "config.learning_rate": rate,
        "config.steps": _float(steps),
        "config.effective_batch": _float(config.effective_batch),
        "config.warmup_steps": _float(warmup),
        "config.warmup_share": warmup / steps if warmup is not None and steps else config.warmup_ratio,
        "config.warmup_advised": advised,
        "config.warmup_excess": warmup / advised if warmup is not None and advised else None,
        "config.logging_steps": _float(logging),
        "config.logs": float(steps // logging) if steps is not None and logging else None,
        "config.of_reference": reference.excess(rate) if reference is not None and rate is not None else None,
        "config.decay_horizon": 1.0 / (rate * decay) / steps if rate and decay and steps and rate * decay else None,
        "config.alpha_missing": float(config.lora_alpha is None) if config.lora_rank is not None else None,
        "config.decays": decays,
        "config.reference_low": reference.low if reference is not None else None,
        "config.reference_high": reference.high if reference is not None else None,
        "config.of_sft_rate": _of_sft_rate(config, stage),
        "config.lora_rank": _float(config.lora_rank),
        "config.rank_of_reference": _rank_of_reference(config, reference),
        "config.cycles": _float(config.num_cycles),
        "config.cycle_decay": config.lr_decay,
        "config.clip_limit": config.max_grad_norm or None,
        "config.clips_nothing": 1.0 if config.clips is False else 0.0 if config.max_grad_norm else None,
    }


def _of_sft_rate(config: RunConfig, stage: str | None) -> float | None:
    """Return the rate of RAFT against the usual one of SFT; None for any other stage."""
    sft = reference_at(config.method, "sft") if (config.stage or stage) == "raft" else None
    if sft is None or sft.usual is None or config.learning_rate is None:
        return None
    return config.learning_rate / sft.usual


def _rank_of_reference(config: RunConfig, reference: Reference | None) -> float | None:
    """Return the rate that a large rank amounts to, over the top of the range for LoRA."""
    rank, alpha, rate = config.lora_rank, config.lora_alpha, config.learning_rate
    if rank is None or alpha is None or rate is None or reference is None or reference.method != "lora":
        return None
    exponent = RSLORA_EXPONENT if config.use_rslora else RANK_EXPONENT if alpha >= rank else 0.0
    return float(rate * max(1.0, rank / ANCHOR_RANK) ** exponent / reference.high)


def _float(value: int | None) -> float | None:
    return float(value) if value is not None else None
