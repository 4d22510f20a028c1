"""What is known of the configuration of one training."""

from __future__ import annotations

from typing import Literal

from raftmon.slotted import dataclass

__all__ = ["RunConfig"]


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What is known of a run's configuration, from its own logs and sidecar files; None: not known."""

    learning_rate: float | None = None
    """Configured (peak) learning rate."""
    max_grad_norm: float | None = None
    """The clip limit; 0 or None: unknown or no clipping."""
    warmup_steps: int | None = None
    """Optimiser steps of warm-up, worked out from a ratio where one was given."""
    max_steps: int | None = None
    """Planned optimiser steps."""
    batch_size: int | None = None
    """Samples per device and forward pass."""
    gradient_accumulation: int | None = None
    scheduler: str | None = None
    """For example ``linear``, ``cosine``, ``constant``."""
    lora_rank: int | None = None
    logging_steps: int | None = None
    temperature: float | None = None
    """Sampling temperature of the generation phase."""
    source: str = ""
    """Where the values were read: ``args/text_summary``, ``hparams.yaml``..."""
    optimizer: str | None = None
    """In one word and lower case: ``adamw``, ``adam``, ``sgd``, ``adafactor``, ``lion``..."""
    beta2: float | None = None
    """Decay of Adam's second moment, between 0 and 1."""
    weight_decay: float | None = None
    """Decoupled weight decay (lambda); 0: none."""
    lora_alpha: float | None = None
    use_rslora: bool | None = None
    """Whether LoRA scales by alpha/sqrt(rank) instead of alpha/rank; None: not said, trainers then take alpha/rank."""
    method: Literal["lora", "full"] | None = None
    """What is trained: adapters or all weights."""
    stage: str | None = None
    """``pretrain``, ``sft``, ``raft``, ``dpo``, ``rl``, ``embedding``, where the config itself says so."""
    epochs: float | None = None
    """Passes over the training samples."""
    train_samples: int | None = None
    """Samples of one epoch."""
    devices: int | None = None
    """Devices that share the batch."""
    global_batch_size: int | None = None
    """Samples per optimiser step over all devices, where the config gives that itself."""
    model_parameters: float | None = None
    """Weights of the model: a count, or what its name says (``Llama-3.1-8B``)."""
    several_rates: bool | None = None
    """True where groups of weights have learning rates of their own; None: not said."""
    schedule_temperature: float | None = None
    """Multiplier of the schedule that some recipes call "temperature"; has nothing to do with sampling."""
    num_cycles: int | None = None
    """Cycles that one campaign is to have."""
    lr_decay: float | None = None
    """Factor on the learning rate from one cycle to the next; 1: the same in all."""
    warmup_ratio: float | None = None
    """Warm-up as a share of the steps, where it is given so and no count of steps goes before it."""
    clips: bool | None = None
    """False where the trainer is known to clip nothing, because the limit is missing; None: not known."""
    usual_clip: bool | None = None
    """True where `max_grad_norm` is not this run's own, but its trainer's default; else None."""

    @property
    def is_known(self) -> bool:
        """Whether anything at all is known."""
        return any(getattr(self, name) is not None for name in self.__slots__ if name != "source")

    @property
    def effective_batch(self) -> int | None:
        """Samples per optimiser step (per device where their number is not known); None without a batch size."""
        if self.global_batch_size is not None:
            return self.global_batch_size
        if self.batch_size is None:
            return None
        # Accumulation that is not given is 1: that is every trainer's default.
        return self.batch_size * (self.gradient_accumulation or 1) * (self.devices or 1)
