"""What a run says of its own configuration: in its event files, and in the files beside them.

Sources, the first one that knows a value wins:

1. text summaries: the ``args`` of Hugging Face's ``TensorBoardCallback`` (the ``TrainingArguments`` as JSON), an
   ``argparse.Namespace`` as text, a Markdown table, the indented hyper-parameters of ML-Agents, Megatron-LM's one text
   per argument;
2. the hparams plugin;
3. ``hparams.yaml`` and ``config.yaml`` of Lightning, ``args.yaml`` of Ultralytics;
4. the newest ``checkpoint-N/trainer_state.json`` (planned steps) and ``adapter_config.json`` (LoRA rank) of Hugging
   Face.

Nothing is ever constructed from a file: YAML is composed to nodes, text is parsed as data.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from raftmon.documents import MAX_DOCUMENT_BYTES, compose, flatten, read_node
from raftmon.model import Problem, RunConfig

__all__ = ["read_run_config", "sidecar_stamp"]

Flat: TypeAlias = dict[str, str]
"""Dotted key to text."""

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "learning_rate": (
        "learning_rate",
        "lr",
        "optim.lr",
        "optimizer.lr",
        "optimizer.init_args.lr",
        "optimizer.params.lr",
        "optimizer.kwargs.lr",
        "optimizer_params.lr",
        "optimizer_kwargs.lr",
        "optim_wrapper.optimizer.lr",
        "model.init_args.learning_rate",
        "model.init_args.lr",
        "model.learning_rate",
        "model.lr",
        "model.optim.lr",
        "training.learning_rate",
        "train.learning_rate",
        "train.lr",
        "hyperparameters.learning_rate",
        "base_lr",
        "lr0",
    ),
    "max_grad_norm": (
        "max_grad_norm",
        "trainer.gradient_clip_val",
        "gradient_clip_val",
        "clip_grad_norm",
        "clip_grad",
        "gradient_clipping",
        "training.max_grad_norm",
        "optim.clip_grad",
    ),
    "warmup_steps": (
        "warmup_steps",
        "num_warmup_steps",
        "lr_warmup_steps",
        "lr_warmup_iters",
        "optim.sched.warmup_steps",
        "model.optim.sched.warmup_steps",
        "lr_scheduler.num_warmup_steps",
        "training.warmup_steps",
    ),
    "warmup_ratio": ("warmup_ratio", "lr_warmup_fraction", "lr_warmup_ratio", "training.warmup_ratio"),
    "max_steps": ("max_steps", "trainer.max_steps", "train_iters", "total_steps", "training.max_steps"),
    "batch_size": (
        "per_device_train_batch_size",
        "micro_batch_size",
        "batch_size",
        "data.init_args.batch_size",
        "data.batch_size",
        "hyperparameters.batch_size",
        "training.batch_size",
        "batch",
    ),
    "gradient_accumulation": (
        "gradient_accumulation_steps",
        "accumulate_grad_batches",
        "trainer.accumulate_grad_batches",
        "training.gradient_accumulation_steps",
    ),
    "scheduler": (
        "lr_scheduler_type",
        "lr_decay_style",
        "lr_scheduler",
        "scheduler",
        "optim.sched.name",
        "model.optim.sched.name",
        "lr_scheduler.class_path",
        "hyperparameters.learning_rate_schedule",
    ),
    "lora_rank": ("lora_r", "lora_rank", "lora.r", "lora.rank", "model.lora_rank", "peft_config.r"),
    "logging_steps": ("logging_steps", "log_every_n_steps", "trainer.log_every_n_steps", "tensorboard_log_interval"),
    "temperature": ("temperature", "rollout_temperature", "generation.temperature"),
}
"""Field of `RunConfig` to the keys under which trainers keep it, the likeliest first."""
_POSITIVE: Final = ("learning_rate", "max_steps", "batch_size", "gradient_accumulation", "lora_rank", "logging_steps")
_ROOTS: Final = ("cfg", "config", "hparams", "args", "params")
"""Keys which some trainers put around everything else."""
_CONFIG_TEXTS: Final = ("args", "training_args", "arguments", "hyperparameters", "hparams", "config", "parameters")
"""Tags, ``/text_summary`` left out and in lower case, whose text holds a configuration; the surest first."""
_SIDECARS: Final = ("hparams.yaml", "config.yaml", "args.yaml")
_LOG_DIRECTORIES: Final = ("runs", "logs", "tensorboard")
_SUFFIX: Final = "/text_summary"
_MOST_BYTES: Final = 8_000_000
"""Larger JSON files beside a run are left alone."""


def read_run_config(
    run_dir: Path, texts: Mapping[str, str], hparams: Mapping[str, object], problems: list[Problem]
) -> RunConfig:
    """Work out a run's configuration from its logs and sidecar files.

    Reads files, so call it when a run is new or has new texts, not at every poll.

    Args:
        run_dir: directory of the run's event files.
        texts: tag to text of the run's text summaries.
        hparams: name to value as the hparams plugin has them.
        problems: where a file or text that cannot be read is noted; nothing is raised.

    Returns:
        What is known; a field that no source gives is None.
    """
    found: dict[str, float | str] = {}
    sources = []
    for source, flat in _sources(run_dir, texts, hparams, problems):
        warmup_known = "warmup_steps" in found or "warmup_ratio" in found
        new = {
            name: value
            for name, value in _canonical(flat).items()
            if name not in found and not (warmup_known and name.startswith("warmup_"))
        }
        if new:
            found.update(new)
            sources.append(source)
    return _run_config(found, ", ".join(sources))


def sidecar_stamp(run_dir: Path) -> tuple[int, ...]:
    """Return what changes whenever a sidecar file appears or is written anew (Lightning writes its own late)."""
    stamps = []
    for name in _SIDECARS:
        try:
            stamps.append((run_dir / name).stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)


def _sources(
    run_dir: Path, texts: Mapping[str, str], hparams: Mapping[str, object], problems: list[Problem]
) -> Iterator[tuple[str, Flat]]:
    """Yield each source that exists with its content, the surest first."""
    ranked = {tag: _rank(tag) for tag in texts}
    for tag in sorted((tag for tag, rank in ranked.items() if rank is not None), key=lambda tag: (ranked[tag], tag)):
        yield tag, _parse_text(texts[tag], f"{run_dir}: {tag}", problems)
    if f"lr{_SUFFIX}" in texts or f"learning_rate{_SUFFIX}" in texts:
        yield "text summaries", {tag.removesuffix(_SUFFIX): text for tag, text in texts.items() if len(text) < 200}
    if hparams:
        yield "hparams", {name.replace("/", "."): str(value) for name, value in hparams.items()}
    for name in _SIDECARS:
        path = run_dir / name
        if _is_readable(path):
            yield name, flatten(read_node(path, problems))
    yield from _checkpoint_sources(run_dir, problems)


def _rank(tag: str) -> int | None:
    name = tag.removesuffix(_SUFFIX).casefold()
    return _CONFIG_TEXTS.index(name) if name in _CONFIG_TEXTS else None


def _parse_text(text: str, where: str, problems: list[Problem]) -> Flat:
    """Read the text of a configuration, whatever way it was written."""
    stripped = text.strip()
    if stripped.startswith("{"):
        return _parse_json(stripped, where, problems)
    if stripped.startswith("Namespace("):
        pairs = re.finditer(r"""\b(\w+)=('[^']*'|"[^"]*"|[^\s,()\[\]{}]+)""", stripped)
        return {pair[1]: pair[2].strip("'\"") for pair in pairs}
    if stripped.startswith("|"):
        rows = re.finditer(r"^\|[ \t]*([\w./-]+)[ \t]*\|[ \t]*([^|\n]*?)[ \t]*\|", stripped, re.MULTILINE)
        return {row[1]: row[2] for row in rows}
    if ":\t" in stripped:
        # ML-Agents indents YAML by one tab and puts another behind each colon.
        text = "\n".join(line.removeprefix("\t").replace(":\t", ": ") for line in text.splitlines())
    # Free text is legal in any text summary, so that what is no YAML is no problem either.
    return flatten(compose(text[:MAX_DOCUMENT_BYTES], where, []))


def _parse_json(text: str, where: str, problems: list[Problem]) -> Flat:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        problems.append(Problem(where, f"not valid JSON: {what}", "Its values are left out; the run is still read."))
        return {}
    return dict(_leaves(document)) if isinstance(document, dict) else {}


def _leaves(value: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list) and depth < 8:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in items:
            yield from _leaves(child, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, str | int | float):
        yield path, str(value)


def _checkpoint_sources(run_dir: Path, problems: list[Problem]) -> Iterator[tuple[str, Flat]]:
    """Yield what Hugging Face saved beside a run's logs: steps planned, and the LoRA rank."""
    above = run_dir.parent
    output = above if run_dir.name in _LOG_DIRECTORIES else above.parent if above.name in _LOG_DIRECTORIES else run_dir
    try:
        checkpoints = sorted(
            (path for path in output.glob("checkpoint-*") if path.name[11:].isdecimal()),
            key=lambda path: int(path.name[11:]),
            reverse=True,
        )
    except OSError:
        return
    newest = checkpoints[:1]
    for checkpoint in newest:
        state = _read_json(checkpoint / "trainer_state.json", problems)
        if "max_steps" in state:
            yield f"{checkpoint.name}/trainer_state.json", {"max_steps": state["max_steps"]}
    for directory in (*newest, output, output.parent / f"{output.name}_final"):
        adapter = _read_json(directory / "adapter_config.json", problems)
        if "r" in adapter:
            yield f"{directory.name}/adapter_config.json", {"lora_r": adapter["r"]}
            return


def _read_json(path: Path, problems: list[Problem]) -> Flat:
    if not _is_readable(path):
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problems.append(Problem(str(path), f"cannot be read: {reason}", "Check the file and its permissions."))
        return {}
    return _parse_json(text, str(path), problems)


def _is_readable(path: Path) -> bool:
    """Tell whether there is a file worth opening; an absent one is no problem."""
    try:
        return path.is_file() and 0 < path.stat().st_size <= _MOST_BYTES
    except OSError:
        return False


def _canonical(flat: Flat) -> dict[str, float | str]:
    """Return what one source says in the words of `RunConfig`; values that cannot be meant are left out."""
    roots = {key.split(".", 1)[0] for key in flat}
    if len(roots) == 1 and next(iter(roots)) in _ROOTS:
        flat = {key.split(".", 1)[1]: text for key, text in flat.items() if "." in key}
    found: dict[str, float | str] = {}
    for name, keys in _KEYS.items():
        for key in keys:
            text = flat.get(key, flat.get(f"{key}.0"))
            value = _value(name, text) if text is not None else None
            if value is not None:
                found[name] = value
                break
    for name in _void(flat):
        found.pop(name, None)
    samples = _number(flat.get("lr_warmup_samples", ""))
    if samples:
        # Megatron-LM: counted in samples, and the count in steps is then 0 whatever the warm-up.
        found.pop("warmup_steps", None)
        batch = _number(flat.get("global_batch_size", ""))
        if batch and flat.get("rampup_batch_size", "None") == "None":
            found["warmup_steps"] = math.ceil(samples / batch)
    return found


def _void(flat: Flat) -> Iterator[str]:
    """Yield the fields whose key does not mean what it says, because of another key."""
    if flat.get("optimizer") == "auto" and "lr0" in flat:
        yield "learning_rate"  # Ultralytics chooses one itself
    if "value" in (flat.get("gradient_clip_algorithm"), flat.get("trainer.gradient_clip_algorithm")):
        yield "max_grad_norm"  # Lightning clips each entry, not the norm
    if "trainer_type" in flat:
        yield "max_steps"  # ML-Agents counts steps of the environment
    if _number(flat.get("lr_decay_iters", "")):
        yield "warmup_ratio"  # Megatron-LM: a share of those, not of all steps
    if flat.get("logging_strategy", "steps").rsplit(".", 1)[-1].lower() != "steps":
        yield "logging_steps"


def _value(name: str, text: str) -> float | str | None:
    if name == "scheduler":
        # `SchedulerType.COSINE`, `torch.optim.lr_scheduler.OneCycleLR`, `cosine`
        word = text.rsplit(".", 1)[-1].strip()
        return (word.lower() if word.isupper() else word) if word and word != "None" else None
    number = _number(text)
    if number is None or number < 0 or (number == 0 and name in _POSITIVE):
        return None
    return number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _run_config(found: Mapping[str, float | str], source: str) -> RunConfig:
    def number(name: str) -> float | None:
        value = found.get(name)
        return value if isinstance(value, float | int) else None

    def count(name: str) -> int | None:
        value = number(name)
        return int(value) if value is not None and value == int(value) else None

    steps = count("max_steps")

    def in_steps(value: float | None) -> int | None:
        """Hugging Face reads a number below 1 as a share of all steps."""
        if value is None or value >= 1 or value == 0:
            return None if value is None else round(value)
        return None if steps is None else math.ceil(value * steps)

    warmup, ratio = number("warmup_steps"), number("warmup_ratio")
    scheduler = found.get("scheduler")
    return RunConfig(
        learning_rate=number("learning_rate"),
        max_grad_norm=number("max_grad_norm"),
        warmup_steps=in_steps(warmup or ratio if ratio is not None else warmup),
        max_steps=steps,
        batch_size=count("batch_size"),
        gradient_accumulation=count("gradient_accumulation"),
        scheduler=scheduler if isinstance(scheduler, str) else None,
        lora_rank=count("lora_rank"),
        logging_steps=in_steps(number("logging_steps")),
        temperature=number("temperature"),
        source=source,
    )
