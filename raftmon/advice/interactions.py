"""What a change of the configuration between two runs means for the learning rate.

Only *changes* count: each factor takes the learning rate that served the earlier run to one that should serve the next
one alike. A change whose effect nobody has measured is refused with the reason, never guessed, and then there is no
total either. Factors of opposite changes undo each other.

Numbers marked "study" were measured on small models in the study of 531 trainings (2026) that the rules start from,
section 4.7; they are directions with a size, no laws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from raftmon.run_config import RunConfig
from raftmon.signals.config import RANK_EXPONENT, RSLORA_EXPONENT, planned_steps
from raftmon.slotted import dataclass

__all__ = ["Interaction", "Interactions", "interactions"]

ADAM_FAMILY: Final = ("adam", "adamw", "rmsprop")
"""Malladi et al. 2022 derive the square root for Adam and RMSprop."""
SQUARE_ROOT: Final = 0.5
LINEAR: Final = 1.0
BATCH_CAP: Final = 2.0
"""Above the (unknown) noise scale of the gradient the best rate grows no more (McCandlish 2018, Surge 2024)."""
SHARPENING_BELOW: Final = 0.8
"""Study: the same best rate at temperatures 1.0 and 1.3, a third of it at 0.7."""
TEMPERATURE_CAP: Final = 2.0
"""Two seeds of a toy: the threefold difference counts for no more than this."""
DATA_EXPONENT: Final = 0.5
"""Study: a tenth of the rate at a fiftieth of the data and equal steps is 0.59; rounded towards no change."""
DATA_CAP: Final = 3.0
SAME_STEPS: Final = 0.1
"""Planned steps that differ by less than this share are the same."""
SIZE_EXPONENT: Final = -0.5
"""Tinker cookbook: multiplier ~ 1/sqrt(parameters)."""
SIZE_CAP: Final = 3.0
FULL_TO_LORA: Final = 10.0
"""LoRA Without Regret 2025: 10 (15 below 100 steps); study: 9 to 14."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One change of the configuration and what follows from it."""

    parameter: str
    """Field of `RunConfig` that changed."""
    factor: float | None
    """For the learning rate; 1.0: no change needed; None: a comment or a refusal."""
    text: str
    claims: tuple[str, ...]
    grade: str
    """A replicated, B one strong source, C practice, D hypothesis."""
    refused: bool = False
    """True where the change matters, but nobody knows by how much."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """All changes between two configurations."""

    found: tuple[Interaction, ...]

    @property
    def factor(self) -> float | None:
        """Product of the factors; None where nothing gives one, or one change was refused."""
        factors = [item.factor for item in self.found if item.factor is not None]
        return math.prod(factors) if factors and not any(item.refused for item in self.found) else None


def interactions(before: RunConfig, after: RunConfig) -> Interactions:
    """Compare the configuration of an earlier run with that of the next one.

    Args:
        before: of the run whose learning rate is the starting point.
        after: of the run to come.
    """
    found = [item for judge in _JUDGES if (item := judge(before, after)) is not None]
    decay = _weight_decay(before, after, Interactions(tuple(found)).factor)
    return Interactions((*found, decay) if decay is not None else tuple(found))


def _refuse(parameter: str, text: str, claims: tuple[str, ...], grade: str = "B") -> Interaction:
    return Interaction(parameter, None, text, claims, grade, refused=True)


def _capped(factor: float, cap: float) -> float:
    return min(max(factor, 1.0 / cap), cap)


def _optimizer(before: RunConfig, after: RunConfig) -> Interaction | None:
    if before.optimizer is None or after.optimizer is None or before.optimizer == after.optimizer:
        return None
    text = (
        f"Optimiser {before.optimizer} → {after.optimizer}: cannot adjust, learning rates of different optimisers have"
        " no common scale. Start from the range for the new one."
    )
    return _refuse("optimizer", text, ("1-03",), "C")


def _stage(before: RunConfig, after: RunConfig) -> Interaction | None:
    if before.stage is None or after.stage is None or before.stage == after.stage:
        return None
    text = (
        f"Stage {before.stage} → {after.stage}: cannot adjust. A quarter of the SFT rate for RAFT is a hypothesis that"
        " its author calls untested; start from the range for the new stage."
    )
    return _refuse("stage", text, ("0-06", "2-26"), "D")


def _method(before: RunConfig, after: RunConfig) -> Interaction | None:
    if before.method is None or after.method is None or before.method == after.method:
        return None
    to_lora = after.method == "lora"
    factor = FULL_TO_LORA if to_lora else 1.0 / FULL_TO_LORA
    steps = planned_steps(after if to_lora else before)
    short = " (runs below 100 steps: nearer 15 than 10)" if steps is not None and steps < 100 else ""
    words = "All weights → LoRA" if to_lora else "LoRA → all weights"
    return Interaction("method", factor, f"{words}: LoRA needs about 10 times the rate{short}.", ("1-07", "2-04"), "B")


def _rank(before: RunConfig, after: RunConfig) -> Interaction | None:
    old, new = before.lora_rank, after.lora_rank
    if old is None or new is None:
        return None
    words = f"LoRA rank {old} → {new}" if old != new else f"LoRA rank {old} stays"
    if before.lora_alpha is None or after.lora_alpha is None:
        if old == new:
            return None
        where = "both configs lack it" if before.lora_alpha is after.lora_alpha else "one of the configs lacks it"
        return _refuse("lora_rank", f"{words}: cannot adjust: need lora_alpha ({where}).", ("0-19",))
    return _rank_by_alpha(before, after, words, new / old, after.lora_alpha / before.lora_alpha)


def _rank_by_alpha(
    before: RunConfig, after: RunConfig, words: str, rank_ratio: float, alpha_ratio: float
) -> Interaction | None:
    """Tell what a rank means once the scaling is known; not said whether rsLoRA is alpha/rank, as trainers take it."""
    stabilised = bool(after.use_rslora)
    if bool(before.use_rslora) != stabilised:
        return _refuse("lora_rank", f"{words}, rsLoRA switched: cannot adjust, not measured.", ("0-19",))
    fixed = math.isclose(alpha_ratio, 1.0)
    if fixed and rank_ratio == 1.0:
        return None
    if fixed and not stabilised:
        text = f"{words} with alpha/r and the same alpha: the best rate does not depend on the rank."
        return Interaction("lora_rank", 1.0, text, ("0-19",), "B")
    if fixed:
        factor = rank_ratio**-RSLORA_EXPONENT
        return Interaction("lora_rank", factor, f"{words} with rsLoRA: × (old/new)^{RSLORA_EXPONENT}.", ("0-19",), "B")
    if math.isclose(alpha_ratio, rank_ratio) and not stabilised:
        factor = rank_ratio**-RANK_EXPONENT
        text = f"{words} with alpha growing alike: × (old/new)^{RANK_EXPONENT}."
        return Interaction("lora_rank", factor, text, ("0-19",), "B")
    alphas = f"alpha {before.lora_alpha:g} → {after.lora_alpha:g}"
    return _refuse("lora_alpha", f"{words}, {alphas}: cannot adjust, this combination was not measured.", ("0-19",))


def _batches(before: RunConfig, after: RunConfig) -> tuple[int, int] | None:
    """Return both batches counted in the same way, or None where they are not."""
    if (before.global_batch_size is None) != (after.global_batch_size is None):
        return None
    old, new = before.effective_batch, after.effective_batch
    if old is None or new is None:
        return None
    if before.global_batch_size is None and (before.devices is None) != (after.devices is None):
        # Known in one config only: taken as unchanged.
        return old // (before.devices or 1), new // (after.devices or 1)
    return old, new


def _batch(before: RunConfig, after: RunConfig) -> Interaction | None:
    batches = _batches(before, after)
    if batches is None or batches[0] == batches[1]:
        return None
    ratio = batches[1] / batches[0]
    words = f"Batch × accumulation {batches[0]} → {batches[1]}"
    optimizer = after.optimizer or before.optimizer
    if optimizer is None:
        text = f"{words}: cannot adjust, the optimiser is not known (Adam needs the square root, SGD the ratio itself)."
        return _refuse("effective_batch", text, ("0-20",))
    if optimizer not in (*ADAM_FAMILY, "sgd"):
        text = f"{words}: cannot adjust, no scaling is established for {optimizer}."
        return _refuse("effective_batch", text, ("0-20",))
    exponent, law = (LINEAR, "the ratio") if optimizer == "sgd" else (SQUARE_ROOT, "the square root of the ratio")
    factor = _capped(ratio**exponent, BATCH_CAP)
    capped = f", at most {BATCH_CAP:g}-fold" if factor != ratio**exponent else ""
    return Interaction(
        "effective_batch", factor, f"{words} with {optimizer}: × {law}{capped}.", ("0-20", "2-11", "2-39"), "B"
    )


def _temperature(before: RunConfig, after: RunConfig) -> Interaction | None:
    old, new = before.temperature, after.temperature
    if old is None or new is None or old == new:
        return None
    words, claims = f"Sampling temperature {old:g} → {new:g}", ("0-21",)
    if (old < SHARPENING_BELOW) == (new < SHARPENING_BELOW):
        return Interaction("temperature", 1.0, f"{words}: no measured difference on this side of 0.8.", claims, "D")
    lower = new < SHARPENING_BELOW
    reason = "below 0.8 the model sharpens itself, and a lower rate served better" if lower else "back above 0.8"
    factor = 1.0 / TEMPERATURE_CAP if lower else TEMPERATURE_CAP
    text = f"{words}: {reason}. The direction was measured on two seeds of a toy; the size is a cap."
    return Interaction("temperature", factor, text, claims, "D")


def _schedule_temperature(before: RunConfig, after: RunConfig) -> Interaction | None:
    old, new = before.schedule_temperature, after.schedule_temperature
    if new is None or old == new:
        return None
    text = (
        f"The schedule's temperature ({new:g}) multiplies the learning rate itself; it is no sampling temperature and"
        " gives no factor here."
    )
    return Interaction("schedule_temperature", None, text, ("2-36",), "C")


def _data(before: RunConfig, after: RunConfig) -> Interaction | None:
    old, new = before.train_samples, after.train_samples
    if old is None or new is None or old == new:
        return None
    words, claims = f"Training samples {old} → {new}", ("0-22",)
    steps = planned_steps(before), planned_steps(after)
    if steps[0] is None or steps[1] is None:
        return _refuse("train_samples", f"{words}: cannot adjust, the planned steps are not known.", claims, "C")
    if abs(steps[1] / steps[0] - 1.0) > SAME_STEPS:
        text = f"{words} and {steps[0]} → {steps[1]} steps: no change was measured when the epochs stay the same."
        same_epochs = before.epochs is not None and before.epochs == after.epochs
        if same_epochs:
            return Interaction("train_samples", 1.0, text, claims, "C")
        reason = "samples, steps and epochs all changed, which was not measured"
        return _refuse("train_samples", f"{words}: cannot adjust, {reason}.", claims, "C")
    factor = _capped((new / old) ** DATA_EXPONENT, DATA_CAP)
    more = "fewer samples are repeated more often" if new < old else "more samples are repeated less often"
    text = f"{words} at equal steps: {more}, × (new/old)^{DATA_EXPONENT}, at most {DATA_CAP:g}-fold."
    return Interaction("train_samples", factor, text, claims, "C")


def _model_size(before: RunConfig, after: RunConfig) -> Interaction | None:
    old, new = before.model_parameters, after.model_parameters
    if old is None or new is None or old == new:
        return None
    factor = _capped((new / old) ** SIZE_EXPONENT, SIZE_CAP)
    text = (
        f"Model of {old / 1e9:.3g} → {new / 1e9:.3g} billion weights: × 1/√(new/old), at most {SIZE_CAP:g}-fold."
        " Larger models want a lower rate, not a higher one."
    )
    return Interaction("model_parameters", factor, text, ("2-40",), "B")


def _weight_decay(before: RunConfig, after: RunConfig, factor: float | None) -> Interaction | None:
    """Comment on lr × decay; a product that moved is worth knowing, but gives no factor."""
    old, new = before.weight_decay, after.weight_decay
    if not old or not new:
        return None
    if old != new:
        text = f"Weight decay {old:g} → {new:g}: keep lr × decay rather than the decay; a comment, no factor."
        return Interaction("weight_decay", None, text, ("2-12", "2-37"), "B")
    if factor is None or math.isclose(factor, 1.0):
        return None
    text = f"With the learning rate × {factor:.3g}, a weight decay of {new / factor:.3g} keeps lr × decay."
    return Interaction("weight_decay", None, text, ("2-12", "2-37"), "B")


_JUDGES: Final[tuple[Callable[[RunConfig, RunConfig], Interaction | None], ...]] = (
    _optimizer,
    _stage,
    _method,
    _rank,
    _batch,
    _temperature,
    _schedule_temperature,
    _data,
    _model_size,
)
