"""Tells whether a learning rate written into a config would be used at all; where not, writing it would lose a day."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from raftmon.errors import NoEffect, Refused
from raftmon.trainers.config import TrainerConfig
from raftmon.trainers.table import Resume

__all__ = ["Process", "require_effect", "running_processes", "running_with"]

_COMPOSED: Final = ("defaults", "_base_", "base_config", "include")
"""Keys by which a config takes values from other files: Hydra and NeMo-RL, mmengine, others."""
_SELF: Final = "_self_"
_INTERPRETERS: Final = ("python", "pypy")


@dataclass(frozen=True, slots=True)
class Process:
    """A program that runs."""

    pid: int
    name: str
    """Of the executable."""
    arguments: tuple[str, ...]
    """Command line, the program first."""
    directory: str
    """Working directory; empty: not known."""


def require_effect(config: TrainerConfig, directory: Path) -> None:
    """Check that the trainer would use a learning rate that is written into the file.

    Args:
        config: the trainer's.
        directory: where the trainer is started, for relative paths in the config.

    Raises:
        Refused: it would not, and why.
    """
    _require_not_composed(config)
    trainer = config.rate_key.trainer
    if trainer is None:
        return
    for void in trainer.void:
        if void.when.holds(config.values):
            raise NoEffect(_place(config, void.when.key), void.text, void.remedy, flag_helps=void.flag_helps)
    for resume in trainer.resume:
        found = _resumes(config, resume, directory)
        if found is not None:
            remedy = "Start the cycle without resuming, from the weights alone; then the new rate is used."
            what = f"{resume.text.rstrip('.')}: a new learning rate would not be used"
            raise NoEffect(found, what, remedy, flag_helps=False)


def running_with(config: Path, processes: Iterable[Process]) -> Process | None:
    """Return a trainer that runs with a config: it has read the file already and will not read it again.

    Args:
        config: the file.
        processes: those to look at, this one first: a trainer that asks from within is no obstacle to itself, nor are
            the others of its kind that a launcher started beside it.
    """
    real = os.path.realpath(config)
    for process in processes:
        if _reads(process, real):
            return None if process.pid == os.getpid() else process
    return None


def running_processes() -> Iterator[Process]:
    """Yield this process, then the others of this machine that can be seen, its ancestors and descendants left out."""
    import psutil

    try:
        own = psutil.Process()
        family = {own.pid, *(one.pid for one in (*own.parents(), *own.children(recursive=True)))}
        everyone = [own, *(process for process in psutil.process_iter() if process.pid not in family)]
    except (psutil.Error, OSError):
        return  # no /proc, or one that shows nothing
    for process in everyone:
        try:
            with process.oneshot():
                name, words = Path(process.exe()).name, tuple(process.cmdline())
                yield Process(process.pid, name, words, process.cwd())
        except (psutil.Error, OSError):
            continue


def _reads(process: Process, real: str) -> bool:
    """Tell whether a process is a Python program, and not raftmon, with a config on its command line."""
    programs = [word.rpartition("/")[2] for word in process.arguments[:3]]
    if not process.name.startswith(_INTERPRETERS) or {"raftmon", "raftmon.cli"} & set(programs):
        return False
    for word in process.arguments[1:]:
        # `config.yaml`, `--config=config.yaml`
        for path in (word, word.partition("=")[2]):
            if path and os.path.realpath(os.path.join(process.directory or "/", path)) == real:  # noqa: PTH118
                return True
    return False


def _require_not_composed(config: TrainerConfig) -> None:
    """Refuse where the learning rate comes from another file, or another file comes after this one."""
    places = config.tree.places
    composed = next((places[key] for key in _COMPOSED if key in places), None)
    if composed is None:
        return
    where, key = config.tree.where(composed.node), composed.key
    if config.rate_key.place is None:
        what = f"`{config.rate_key.key}` is not in this file, which takes values from others (`{key}:`)"
        raise Refused(where, what, "Give the file that holds it, or pass the trainer's flag.")
    items = composed.node.value if isinstance(composed.node, yaml.SequenceNode) else []
    names = [_entry_name(item) for item in items]
    after = names[names.index(_SELF) + 1 :] if _SELF in names else []
    # `override hydra/...` only configures Hydra itself.
    if any(not name.startswith("override hydra/") for name in after):
        what = f"files named after `{_SELF}` in `{key}:` may set another learning rate"
        raise Refused(where, what, f"Move `{_SELF}` to the end of the list, or pass the trainer's flag.")


def _entry_name(item: yaml.Node) -> str:
    """Return an entry of a `defaults:` list: a word, or the group of ``group: file``."""
    if isinstance(item, yaml.MappingNode) and item.value:
        item = item.value[0][0]
    return str(item.value)


def _resumes(config: TrainerConfig, resume: Resume, directory: Path) -> str | None:
    """Return the place of what makes the trainer resume, or None."""
    if resume.unless is not None and resume.unless.holds(config.values):
        return None
    if resume.when is not None and not resume.when.holds(config.values):
        return None
    if not resume.checkpoints:
        return _place(config, resume.when.key) if resume.when is not None else None
    output = next((path for one in resume.checkpoints if (path := _filled(one, config.values))), None)
    if output is None:
        return None
    try:
        checkpoints = sorted((directory / Path(output).expanduser()).glob(resume.pattern))
    except (OSError, ValueError, RuntimeError):
        return None
    return str(checkpoints[-1]) if checkpoints else None


def _filled(template: str, values: Mapping[str, str]) -> str | None:
    """Return the path that a key or a template of keys means; None where one is missing, or stands elsewhere."""
    keys = re.findall(r"\{([^}]+)\}", template) or [template]
    found = [values.get(key) for key in keys]
    if any(value is None or "${" in value or value == "???" for value in found):
        return None
    path = template if "{" in template else f"{{{template}}}"
    for key in keys:
        path = path.replace(f"{{{key}}}", values[key])
    return path


def _place(config: TrainerConfig, key: str) -> str:
    place = config.tree.places.get(key)
    return config.tree.where(place.node) if place is not None else config.tree.path
