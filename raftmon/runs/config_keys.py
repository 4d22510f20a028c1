"""What trainers call the values of a configuration: their keys, turned into `RunConfig`.

A source is a flat mapping of dotted keys to text. Values that cannot be meant (a learning rate of 0, ``auto``, -1 for
"not set") are left out, and so are those whose key means something else because of another key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias

from raftmon.run_config import RunConfig
from raftmon.runs.key_table import KEYS
from raftmon.runs.trainer_marks import (
    HALO_FORGE_WARMUP,
    Flat,
    clips,
    cycle_decay,
    is_halo_forge,
    method_without_a_key,
    stage_of,
)

__all__ = ["canonical", "normalised_optimizer", "parameters_of", "run_config", "used_keys"]

Found: TypeAlias = dict[str, float | str | bool]
"""Name of a field (or ``warmup_ratio``) to its value."""

_POSITIVE: Final = frozenset(
    {
        "learning_rate",
        "max_steps",
        "batch_size",
        "gradient_accumulation",
        "lora_rank",
        "lora_alpha",
        "logging_steps",
        "epochs",
        "train_samples",
        "devices",
        "global_batch_size",
        "model_parameters",
        "num_cycles",
        "lr_decay",
    }
)
_ROOTS: Final = ("cfg", "config", "hparams", "args", "params", "raft")
"""Keys which some trainers put around everything else."""
_METHODS: Final[Mapping[str, Literal["lora", "full"]]] = {
    **dict.fromkeys(("lora", "qlora", "dora", "adalora", "true"), "lora"),
    **dict.fromkeys(("full", "none", "false"), "full"),
}
_OPTIMIZERS: Final = ("adamw", "adam", "sgd", "rmsprop", "adagrad", "adafactor", "lion", "muon", "prodigy", "lamb")
_ORNAMENTS: Final = re.compile(r"paged|bnb|fused|torch|apex|hf|tpu|npu|xla|cpu|deepspeed|anyprecision|[0-9]+bit")
"""What a name says about the implementation and not about the arithmetic."""
_OWN_RATE: Final = re.compile(
    r"(?:^|[._])(?:encoder|decoder|backbone|head|vision|vit|aligner|projector|embedding|mm_projector|lora_b)"
    r"_(?:learning_rate|lr)$|(?:^|[._])loraplus_lr_ratio$|(?:^|\.)lr_groups\."
)
"""Keys of groups with a rate of their own."""
_MOST: Final = 1e15
"""No count of steps, samples or devices comes near it; products of counts stay finite."""
_SIZE: Final = re.compile(r"(?:^|[-_ /])([0-9]+(?:\.[0-9]+)?)([bm])(?=$|[-_ /.])", re.IGNORECASE)
_MIXTURE: Final = re.compile(r"[0-9]x[0-9]|[-_]a[0-9.]+b", re.IGNORECASE)


def canonical(flat: Flat) -> Found:
    """Return what one source says in the words of `RunConfig`; values that cannot be meant are left out."""
    _, inner = _without_root(flat)
    found: Found = {}
    for name in KEYS:
        key = _used_key(name, inner)
        value = _value(name, inner[key]) if key is not None else None
        if value is not None:
            found[name] = value
    stage = stage_of(flat)
    if stage is not None:
        found["stage"] = stage
    for name in _void(inner):
        found.pop(name, None)
    _note_method(inner, found)
    if any(_OWN_RATE.search(key) and (_number(text) or 0.0) > 0.0 for key, text in inner.items()):
        found["several_rates"] = True
    _count_megatron_warmup(inner, found)
    _note_what_no_key_says(flat, inner, found)
    return found


def used_keys(flat: Flat) -> dict[str, str]:
    """Return from which dotted key of a source each field was read; fields without one are left out."""
    root, inner = _without_root(flat)
    used = {name: f"{root}{key}" for name in KEYS if (key := _used_key(name, inner)) is not None}
    if "warmup_steps" not in used and "lr_warmup_samples" in inner:
        used["warmup_steps"] = f"{root}lr_warmup_samples"
    elif "warmup_ratio" in used and not _number(flat.get(used.get("warmup_steps", ""), "")):
        used["warmup_steps"] = used["warmup_ratio"]
    return used


def _without_root(flat: Flat) -> tuple[str, Flat]:
    """Take off the one key that some trainers put around everything; returns it with its dot, and the rest."""
    roots = {key.split(".", 1)[0] for key in flat}
    root = next(iter(roots)) if len(roots) == 1 else ""
    if root not in _ROOTS:
        return "", flat
    return f"{root}.", {key.split(".", 1)[1]: text for key, text in flat.items() if "." in key}


def _used_key(name: str, flat: Flat) -> str | None:
    """Return the likeliest key that holds a value which can be meant; the first entry of a list counts for it."""
    keys = (written for key in KEYS[name] for written in (key, f"{key}.0"))
    return next((key for key in keys if key in flat and _value(name, flat[key]) is not None), None)


def _note_what_no_key_says(flat: Flat, inner: Flat, found: Found) -> None:
    """Add what follows from the trainer's own defaults."""
    decay, method = cycle_decay(flat), method_without_a_key(flat)
    if decay is not None:
        found["lr_decay"] = decay
    if method is not None and "method" not in found:
        found["method"] = method
    if is_halo_forge(inner):
        found["epochs"] = 1.0  # its `train_epochs`, which no key of a config reaches
        found["warmup_steps"] = found.get("warmup_steps") or HALO_FORGE_WARMUP
    if "max_grad_norm" not in found and clips(flat) is False:
        found["clips"] = False


def _count_megatron_warmup(flat: Flat, found: Found) -> None:
    """Megatron-LM can count the warm-up in samples, and its count in steps is then 0 whatever the warm-up."""
    samples = _number(flat.get("lr_warmup_samples", ""))
    if samples:
        found.pop("warmup_steps", None)
        batch = _number(flat.get("global_batch_size", ""))
        if batch and flat.get("rampup_batch_size", "None") == "None":
            found["warmup_steps"] = math.ceil(samples / batch)


def _note_method(flat: Flat, found: Found) -> None:
    """Say ``lora`` where there is a rank, ``full`` where the rank is 0 (verl); a said method rules out a left-over."""
    ranks = [_number(flat[key]) for key in KEYS["lora_rank"] if key in flat]
    if "method" not in found and "lora_rank" in found:
        found["method"] = "lora"
    elif "method" not in found and 0.0 in ranks:
        found["method"] = "full"
    if found.get("method") == "full":
        for name in ("lora_rank", "lora_alpha", "use_rslora"):
            found.pop(name, None)


def _void(flat: Flat) -> Iterator[str]:
    """Yield the fields whose key does not mean what it says, because of another key."""
    if flat.get("optimizer") == "auto" and "lr0" in flat:
        yield "learning_rate"  # Ultralytics chooses one itself
        yield "optimizer"
    if "value" in (flat.get("gradient_clip_algorithm"), flat.get("trainer.gradient_clip_algorithm")):
        yield "max_grad_norm"  # Lightning clips each entry, not the norm
    if "trainer_type" in flat:
        yield "max_steps"  # ML-Agents counts steps of the environment
    if _number(flat.get("lr_decay_iters", "")):
        yield "warmup_ratio"  # Megatron-LM: a share of those, not of all steps
    if flat.get("logging_strategy", "steps").rsplit(".", 1)[-1].lower() != "steps":
        yield "logging_steps"
    if "per_device_train_batch_size" in flat:
        yield "global_batch_size"  # Hugging Face's `train_batch_size` leaves accumulation and processes out
    if is_halo_forge(flat):
        # halo-forge does not hand these on to the Trainer, whose defaults are in force.
        yield from ("max_grad_norm", "weight_decay", "scheduler", "epochs", "logging_steps")


def _value(name: str, text: str) -> float | str | bool | None:
    if name == "scheduler":
        # `SchedulerType.COSINE`, `torch.optim.lr_scheduler.OneCycleLR`, `cosine`
        word = text.rsplit(".", 1)[-1].strip()
        return (word.lower() if word.isupper() else word) if word and word != "None" else None
    if name == "optimizer":
        return normalised_optimizer(text)
    if name == "method":
        return _METHODS.get(text.strip().lower())
    if name == "use_rslora":
        return {"true": True, "false": False}.get(text.strip().lower())
    number = parameters_of(text) if name == "model_parameters" else _number(text)
    if number is None or number < 0 or (number == 0 and name in _POSITIVE):
        return None
    if name == "beta2" and not 0.0 < number < 1.0:
        return None
    return number


def normalised_optimizer(text: str) -> str | None:
    """Return an optimiser in one word: ``torch.optim.AdamW``, ``paged_adamw_8bit`` and ``adamw_torch`` are ``adamw``.

    A word that is more than an implementation of a known one (``galore_adamw``) stays whole: it needs its own rules.
    """
    last = text.rsplit(".", 1)[-1].strip().lower()
    word = re.sub(r"[^a-z]+", "", _ORNAMENTS.sub("", last))
    if word in _OPTIMIZERS:
        return word
    whole = re.sub(r"[^a-z0-9]+", "_", last).strip("_")
    return whole if whole and not whole.isdigit() and whole not in ("none", "auto", "null") else None


def parameters_of(text: str) -> float | None:
    """Return the number of weights: a plain count, or the size in a model's name; None for mixtures of experts."""
    number = _number(text)
    if number is not None:
        return number if number >= 1000.0 else None
    name = text.rstrip("/").rsplit("/", 1)[-1]
    sizes = _SIZE.findall(name)
    if len(sizes) != 1 or _MIXTURE.search(name):
        return None
    return float(sizes[0][0]) * (1e9 if sizes[0][1].lower() == "b" else 1e6)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


class _Known:
    """Typed access to what was found."""

    def __init__(self, found: Mapping[str, float | str | bool]) -> None:
        self._found = found

    def number(self, name: str) -> float | None:
        value = self._found.get(name)
        return value if isinstance(value, float | int) else None

    def count(self, name: str) -> int | None:
        value = self.number(name)
        return int(value) if value is not None and value < _MOST and value == int(value) else None

    def word(self, name: str) -> str | None:
        value = self._found.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool | None:
        value = self._found.get(name)
        return value if isinstance(value, bool) else None

    def in_steps(self, value: float | None) -> int | None:
        """Hugging Face reads a number below 1 as a share of all steps."""
        if value is None or value >= 1 or value == 0:
            return None if value is None else round(value)
        steps = self.count("max_steps")
        return None if steps is None else math.ceil(value * steps)


def run_config(found: Mapping[str, float | str | bool], source: str) -> RunConfig:
    """Put together what the sources of one run say.

    Args:
        found: as `canonical` returns it.
        source: names of the sources.
    """
    known = _Known(found)
    warmup, ratio = known.number("warmup_steps"), known.number("warmup_ratio")
    return RunConfig(
        learning_rate=known.number("learning_rate"),
        max_grad_norm=known.number("max_grad_norm"),
        warmup_steps=known.in_steps(warmup or ratio if ratio is not None else warmup),
        max_steps=known.count("max_steps"),
        batch_size=known.count("batch_size"),
        gradient_accumulation=known.count("gradient_accumulation"),
        scheduler=known.word("scheduler"),
        lora_rank=known.count("lora_rank"),
        logging_steps=known.in_steps(known.number("logging_steps")),
        temperature=known.number("temperature"),
        source=source,
        optimizer=known.word("optimizer"),
        beta2=known.number("beta2"),
        weight_decay=known.number("weight_decay"),
        lora_alpha=known.number("lora_alpha"),
        use_rslora=known.flag("use_rslora"),
        method=_METHODS.get(known.word("method") or ""),
        stage=known.word("stage"),
        epochs=known.number("epochs"),
        train_samples=known.count("train_samples"),
        devices=known.count("devices"),
        global_batch_size=known.count("global_batch_size"),
        model_parameters=known.number("model_parameters"),
        several_rates=known.flag("several_rates"),
        schedule_temperature=known.number("schedule_temperature"),
        num_cycles=known.count("num_cycles"),
        lr_decay=known.number("lr_decay"),
        warmup_ratio=ratio if not warmup else None,
        clips=known.flag("clips"),
    )
