"""What the keys of a config tell of the trainer that reads it: the kind of training, and what its defaults add.

A trainer is recognised by keys that only it has. What is said here of its defaults was read in its source or its
documentation; of any other trainer nothing is said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

__all__ = [
    "HALO_FORGE_WARMUP",
    "Flat",
    "clips",
    "cycle_decay",
    "is_halo_forge",
    "method_without_a_key",
    "number_reader",
    "stage_of",
]

Flat: TypeAlias = Mapping[str, str]
"""Dotted key to text."""

_HALO_FORGE: Final = (
    "num_cycles",
    "raft.num_cycles",
    "lr_decay_per_cycle",
    "keep_top_percent",
    "raft.keep_top_percent",
    "raft.samples_per_prompt",
)
_HALO_FORGE_DECAY: Final = 0.85
"""Default of ``--lr-decay`` (halo-forge commit c8f6548)."""
HALO_FORGE_WARMUP: Final = 10.0
"""Steps of warm-up where ``training.warmup_steps`` is missing or 0 (halo-forge commit c8f6548)."""
_READ_AS_NUMBERS: Final = frozenset({"_component_", "_target_", "class_path"})
"""Keys of files that OmegaConf or jsonargparse reads."""
_OMEGACONF_ROOTS: Final = ("actor_rollout_ref.", "worker.actor.", "policy.generation.", "exp_manager.", "model.optim.")
"""Blocks of verl, EasyR1, NeMo-RL and NeMo."""
_STAGES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("pt", "pretrain", "pretraining"), "pretrain"),
    "sft": "sft",
    **dict.fromkeys(("dpo", "ipo", "kto", "orpo", "simpo", "cpo"), "dpo"),
    **dict.fromkeys(("ppo", "grpo", "rloo", "gspo", "dapo", "reinforce"), "rl"),
    "raft": "raft",
    "embedding": "embedding",
}
_STAGE_ROOTS: Final[Mapping[str, str]] = {
    "actor_rollout_ref.": "rl",
    "worker.actor.": "rl",
    "policy.generation.": "rl",
    "actor_train.": "rl",
    "raft.": "raft",
}
_STAGE_KEYS: Final[Mapping[str, str]] = {
    "num_generations": "rl",  # TRL's GRPO and RLOO
    **dict.fromkeys(("completion_only_loss", "assistant_only_loss", "dataset_text_field"), "sft"),
    **dict.fromkeys(("precompute_ref_log_probs", "reference_free", "rpo_alpha", "ref_model_init_kwargs"), "dpo"),
}
"""Keys that the training arguments of one stage alone have (TRL's `SFTConfig`, `DPOConfig`, `GRPOConfig`)."""
_BATCH_SAMPLERS: Final = ("batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label")
"""What sentence-transformers' own ``batch_sampler`` can be."""
_TORCHTUNE_LOSS: Final = "loss._component_"
_TORCHTUNE_MODEL: Final = "model._component_"
_LORA_BUILDER: Final = re.compile(r"(?:^|\.)q?lora_\w+$")
_LIGHTNING: Final = re.compile(r"(?:model|optimizer|lr_scheduler)\.(?:class_path|init_args)(?:\.|$)|seed_everything$")


def is_halo_forge(keys: Iterable[str]) -> bool:
    """Tell whether dotted keys are those of halo-forge's RAFT command."""
    names = set(keys)
    return not names.isdisjoint(_HALO_FORGE) and any(name.startswith("training.") for name in names)


def stage_of(flat: Flat) -> str | None:
    """Return the kind of training that a config says or shows, in the words of `RunConfig`; None: neither."""
    for key in ("stage", "rl", "rlhf_type", "task_type"):
        stage = _STAGES.get(flat.get(key, "").lower())
        if stage is not None:
            return stage
    if any(key in flat for key in _HALO_FORGE):
        return "raft"
    stage = next((stage for key, stage in _STAGE_KEYS.items() if key in flat), None)
    if stage is None and _is_sentence_transformers(flat):
        stage = "embedding"
    elif stage is None:
        stage = _torchtune_stage(flat) if _is_torchtune(flat) else _axolotl_stage(flat) if _is_axolotl(flat) else None
    return stage or next(
        (stage for root, stage in _STAGE_ROOTS.items() if any(key.startswith(root) for key in flat)), None
    )


def method_without_a_key(flat: Flat) -> Literal["lora", "full"] | None:
    """Return what is trained where the absence of a key says it; None for trainers of which that is not known."""
    if _is_torchtune(flat):
        return "lora" if _LORA_BUILDER.search(flat.get(_TORCHTUNE_MODEL, "")) else "full"
    if _is_axolotl(flat):
        return "full" if not flat.get("adapter") else None
    # An adapter that a script adds in code shows nowhere; all weights is what these trainers do by themselves.
    is_verl = any(key.startswith("actor_rollout_ref.") for key in flat)
    return "full" if is_verl or _is_trl(flat) or _is_sentence_transformers(flat) else None


def clips(flat: Flat) -> bool | None:
    """Tell whether a trainer clips gradients when no limit is given: False for those that do not; None: not known.

    torchtune clips where ``clip_grad_norm`` is given, Lightning where ``gradient_clip_val`` is; Hugging Face's default
    is 1.0, and verl's, NeMo-RL's and Ultralytics' configs have one.
    """
    return False if _is_torchtune(flat) or _is_lightning(flat) else None


def number_reader(flat: Flat) -> str | None:
    """Return what reads a file in which ``5e-5`` is a number although YAML 1.1 says text; None: not known."""
    if any(key.rsplit(".", 1)[-1] in _READ_AS_NUMBERS for key in flat):
        return "the OmegaConf or jsonargparse that this file seems written for"
    if any(key.startswith(_OMEGACONF_ROOTS) for key in flat):
        return "OmegaConf, which its trainer reads it with,"
    return "Axolotl, whose file this seems to be," if _is_axolotl(flat) else None


def cycle_decay(flat: Flat) -> float | None:
    """Return the factor on the learning rate from one cycle to the next, of trainers whose rule is known.

    halo-forge reads ``training.lr_decay_factor``; its flag has a default that comes before the top-level
    ``lr_decay_per_cycle``. malagent and LMFlow keep the rate.
    """
    if is_halo_forge(flat):
        return _positive(flat.get("training.lr_decay_factor", "")) or _HALO_FORGE_DECAY
    is_malagent = "raft.cycles" in flat and any(key.startswith("raft.training.") for key in flat)
    return 1.0 if is_malagent or "num_raft_iteration" in flat else None


def _positive(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 < number < math.inf else None


def _is_torchtune(flat: Flat) -> bool:
    return flat.get(_TORCHTUNE_MODEL, "").startswith("torchtune.")


def _is_sentence_transformers(flat: Flat) -> bool:
    return "multi_dataset_batch_sampler" in flat or flat.get("batch_sampler", "").lower() in _BATCH_SAMPLERS


def _is_trl(flat: Flat) -> bool:
    """Tell whether this is a file for TRL's own commands, whose `use_peft` is false unless given."""
    return "model_name_or_path" in flat and "finetuning_type" not in flat and any(key in flat for key in _STAGE_KEYS)


def _is_axolotl(flat: Flat) -> bool:
    return "base_model" in flat and "micro_batch_size" in flat and ("sequence_len" in flat or "datasets.0.path" in flat)


def _is_lightning(flat: Flat) -> bool:
    return any(key.startswith("trainer.") for key in flat) and any(_LIGHTNING.match(key) for key in flat)


def _torchtune_stage(flat: Flat) -> str | None:
    loss = flat.get(_TORCHTUNE_LOSS, "").rsplit(".", 1)[-1].lower()
    words = {
        "dpo": "dpo",
        "rso": "dpo",
        "simpo": "dpo",
        "ppo": "rl",
        "grpo": "rl",
        "crossentropy": "sft",
        "cewith": "sft",
    }
    stage = next((stage for word, stage in words.items() if word in loss), None)
    is_text = "text_completion" in "".join(text for key, text in flat.items() if key.startswith("dataset.")).lower()
    return None if stage == "sft" and is_text else stage


def _axolotl_stage(flat: Flat) -> str | None:
    """Return the stage of an Axolotl config whose `rl` is missing; plain text may be SFT as well as pre-training."""
    if any(key.startswith("pretraining_dataset") for key in flat):
        return "pretrain"
    kinds = [text for key, text in flat.items() if re.fullmatch(r"datasets\.\d+\.type", key)]
    return "sft" if "rl" not in flat and kinds and "completion" not in kinds else None
