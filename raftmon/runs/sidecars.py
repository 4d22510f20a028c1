"""What a run says of its own configuration: in its event files, and in the files beside them.

Sources, the first one that knows a value wins:

1. text summaries: the ``args`` of Hugging Face's ``TensorBoardCallback`` (the ``TrainingArguments`` as JSON), an
   ``argparse.Namespace`` as text, a Markdown table, the indented hyper-parameters of ML-Agents, Megatron-LM's one text
   per argument;
2. the hparams plugin;
3. ``hparams.yaml`` and ``config.yaml`` of Lightning, ``args.yaml`` of Ultralytics;
4. the newest ``checkpoint-N/trainer_state.json`` (planned steps) and ``adapter_config.json`` (LoRA rank and scaling) of
   Hugging Face.

What a trainer calls a value is known to `raftmon.runs.config_keys`.

Nothing is ever constructed from a file: YAML is composed to nodes, text is parsed as data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from raftmon.documents import MAX_DOCUMENT_BYTES, compose, flatten, read_node, read_text
from raftmon.model import Problem
from raftmon.run_config import RunConfig
from raftmon.runs.beside import ADAPTER, SIDECARS, output_of
from raftmon.runs.config_keys import canonical, run_config
from raftmon.runs.json_places import compose_json
from raftmon.runs.trainer_marks import Flat

__all__ = ["read_run_config", "read_trainer_config"]

_CONFIG_TEXTS: Final = ("args", "training_args", "arguments", "hyperparameters", "hparams", "config", "parameters")
"""Tags, ``/text_summary`` left out and in lower case, whose text holds a configuration; the surest first."""
_ADAPTER_KEYS: Final = ("lora_alpha", "use_rslora", "base_model_name_or_path")
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
    found: dict[str, float | str | bool] = {}
    sources = []
    for source, flat in _sources(run_dir, texts, hparams, problems):
        warmup_known = "warmup_steps" in found or "warmup_ratio" in found
        new = {
            name: value
            for name, value in canonical(flat).items()
            if name not in found and not (warmup_known and name.startswith("warmup_"))
        }
        if new:
            found.update(new)
            sources.append(source)
    return run_config(found, ", ".join(sources))


def read_trainer_config(path: Path, problems: list[Problem]) -> tuple[RunConfig, yaml.MappingNode] | None:
    """Read a trainer's own config file, YAML or JSON, in whatever dialect.

    Args:
        path: the file.
        problems: where a file that cannot be read, or whose top is no mapping, is noted; nothing is raised.

    Returns:
        What it says, and the document with its places; None with at least one more problem noted.
    """
    before = len(problems)
    is_json = path.suffix.lower() == ".json"
    node = _trainer_json(path, problems) if is_json else read_node(path, problems)
    if isinstance(node, yaml.MappingNode):
        return run_config(canonical(flatten(node)), path.name), node
    if len(problems) == before:
        what = (
            "empty" if node is None else "the document is no JSON object" if is_json else "the document is no mapping"
        )
        remedy = 'Begin with `{"key": value`.' if is_json else "Give the trainer's config: `key: value` lines."
        problems.append(Problem(f"{path}:1:1", what, remedy))
    return None


def _trainer_json(path: Path, problems: list[Problem]) -> yaml.Node | None:
    text = read_text(path, problems)
    if text is None:
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        where, what = str(path), "not valid JSON: nested too deep"
        if isinstance(error, json.JSONDecodeError):
            where, what = f"{path}:{error.lineno}:{error.colno}", f"not valid JSON: {error.msg}"
        problems.append(Problem(where, what, "Mend the file at this place."))
        return None
    return compose_json(text, str(path))


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
    for name in SIDECARS:
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
    """Yield what Hugging Face saved beside a run's logs: steps planned, and the LoRA rank and scaling."""
    output = output_of(run_dir)
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
        adapter = _read_json(directory / ADAPTER, problems)
        if "r" in adapter:
            known = {key: adapter[key] for key in _ADAPTER_KEYS if key in adapter}
            yield f"{directory.name}/adapter_config.json", {"lora_r": adapter["r"], **known}
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
