"""Slips in the YAML of a trainer's config that load without an error and mean something else.

YAML 1.1, which PyYAML speaks, wants a point in the mantissa and a sign in the exponent: ``5e-5`` and ``1.0e5`` are
texts there. OmegaConf, jsonargparse and pydantic read numbers; trainers that hand the value on as it is fail, or
compare a text with a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import yaml

from raftmon.documents import flatten
from raftmon.errors import Refused
from raftmon.grounds import EvidenceLevel, Grade
from raftmon.model import Severity
from raftmon.runs.key_table import KEYS
from raftmon.runs.trainer_marks import is_halo_forge, number_reader
from raftmon.trainers.config import form_of
from raftmon.trainers.tree import parse_config

__all__ = ["Founded", "Slip", "entries", "unread_by_pyyaml", "yaml_slips"]

_NUMBER: Final = re.compile(r"([-+]?)([0-9][0-9_]*)(\.[0-9_]*)?[eE]([-+]?)([0-9]+)")
_PLAIN_NUMBER: Final = re.compile(r"[-+]?(?:[0-9][0-9_]*)?\.?[0-9][0-9_]*")
_TEXT_FOR_NUMBER: Final = "yaml-text-for-number"
_HAND_ON: Final = "Hugging Face's parser and halo-forge hand it on as such; OmegaConf and pydantic read a number"
_Words: TypeAlias = tuple[str, str, Severity, str, str]
"""Id, title, severity, text and fix of a slip."""
_TEXTS: Final = ("optimizer", "scheduler", "method", "use_rslora", "model_parameters", "devices")
"""Fields whose values may be text: names, and devices that Lightning takes as one."""
_NUMERIC_KEYS: Final = frozenset(key for name, keys in KEYS.items() if name not in _TEXTS for key in keys)
_RATE_KEYS: Final = frozenset(KEYS["learning_rate"])
_MOST_NODES: Final = 50_000
_MOST_SLIPS: Final = 50


class Founded(NamedTuple):
    """What a slip rests on, as a rule's `evidence` has it."""

    level: EvidenceLevel
    grade: Grade
    source: str


_FOUNDED: Final[Mapping[str, Founded]] = {
    _TEXT_FOR_NUMBER: Founded("established", "A", "YAML 1.1, section on floats; tried with PyYAML 6.0.3"),
    "yaml-duplicate-key": Founded("established", "A", "tried: PyYAML 6.0.3 and Python's json keep the last one"),
    "rate-not-positive": Founded("established", "A", "arithmetic: a step is a multiple of the rate"),
    "yaml-unresolved": Founded("established", "A", "OmegaConf's interpolation, which needs the rest of the config"),
}


@dataclass(frozen=True, slots=True)
class Slip:
    """One place that means something else than it looks."""

    where: str
    """``path:line:column``."""
    id: str
    title: str
    severity: Severity
    text: str
    """What is the matter."""
    fix: str
    """What to do: one sentence."""
    founded: Founded
    """What it rests on."""


def yaml_slips(top: yaml.MappingNode, path: Path, *, is_json: bool = False) -> list[Slip]:
    """Return the slips of a document in the order of its lines, at most 50.

    Args:
        top: the document.
        path: the file, for places.
        is_json: whether ``5e-5`` is a number there; one in quotes is none anywhere.
    """
    slips: dict[tuple[int, int], Slip] = {}
    found = list(entries(top))
    flat = flatten(top)
    reader, multiplied = number_reader(flat), is_halo_forge(flat)
    for name, key, value in found:
        mark = key.start_mark if key is not None else value.start_mark
        slip = (
            _twice(name)
            if key is not None
            else _useless_rate(name, value)
            or _quoted(name, value)
            or (None if is_json else _float(name, value, reader, multiplied))
            or _unresolved(name, value)
        )
        if slip is not None and len(slips) < _MOST_SLIPS:
            where = f"{path}:{mark.line + 1}:{mark.column + 1}"
            slips.setdefault((mark.line, mark.column), Slip(where, *slip, _FOUNDED[slip[0]]))
    return [slips[place] for place in sorted(slips)]


def unread_by_pyyaml(path: Path) -> list[Slip]:
    """Return where PyYAML's own loader, which trainers use, gives a file up that libyaml reads: a tab, for example."""
    try:
        parse_config(path.read_bytes(), str(path), form_of(str(path)))
    except Refused as error:
        where = error.where if error.where.count(":") > str(path).count(":") else f"{path}:1:1"
        text = f"PyYAML's own loader, with which trainers read it, stops here: {error.what}."
        founded = Founded("established", "A", "tried with PyYAML 6.0.3")
        return [Slip(where, "yaml-not-read", "Trainers cannot read the file", "high", text, error.remedy, founded)]
    except OSError:
        return []
    return []


def entries(top: yaml.Node) -> Iterator[tuple[str, yaml.Node | None, yaml.Node]]:
    """Yield (dotted name, None, scalar), and (dotted name, key, value) for keys given twice."""
    stack: list[tuple[str, yaml.Node]] = [("", top)]
    seen: set[int] = set()
    while stack and len(seen) < _MOST_NODES:
        name, node = stack.pop()
        if id(node) in seen:
            continue  # an alias; its anchor was looked at
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield name, None, node
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                word = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
                dotted = f"{name}.{word}" if name else word
                if word in keys and word not in ("<<", "?"):
                    yield dotted, key, value
                keys.add(word)
                stack.append((dotted, value))
        elif isinstance(node, yaml.SequenceNode):
            stack.extend((name, item) for item in node.value)


def _twice(name: str) -> _Words:
    text = f"`{name}` is given twice: most readers take the last one, some refuse the file."
    return "yaml-duplicate-key", "A key is given twice", "medium", text, "Keep one of the two."


def _quoted(name: str, node: yaml.Node) -> _Words | None:
    """Look for a number in quotes under a key that wants a number."""
    if not isinstance(node, yaml.ScalarNode) or node.style not in ("'", '"') or name not in _NUMERIC_KEYS:
        return None
    written = str(node.value).strip()
    match = _NUMBER.fullmatch(written)
    if match is None and _PLAIN_NUMBER.fullmatch(written) is None:
        return None
    text = f"`{name}: {written}` stands in quotes and is a text; {_HAND_ON}."
    fix = f"Write {_as_number(match) if match is not None else written} without quotes."
    return _TEXT_FOR_NUMBER, "A number that is read as text", _severity(name), text, fix


def _float(name: str, node: yaml.Node, reader: str | None, multiplied: bool) -> _Words | None:
    """Look for a number that YAML 1.1 reads as a text.

    Args:
        name: dotted key.
        node: its value.
        reader: what reads the file, where that knows better.
        multiplied: whether the trainer multiplies the rate as it stands.
    """
    if not isinstance(node, yaml.ScalarNode) or not str(node.tag).endswith(":str") or node.style in ("'", '"'):
        return None
    match = _NUMBER.fullmatch(str(node.value).strip())
    if match is None:
        return None
    severity: Severity = _severity(name)
    if reader is not None:
        severity, then = "informational", f"{reader} reads a number"
    elif multiplied and name in _RATE_KEYS:
        severity, then = "high", "halo-forge multiplies it, and stops with a TypeError after the first cycle's samples"
    else:
        then = _HAND_ON
    text = f"`{name}: {node.value}` is a text for PyYAML (YAML 1.1); {then}."
    return _TEXT_FOR_NUMBER, "A number that YAML reads as text", severity, text, f"Write {_as_number(match)}."


def _severity(name: str) -> Severity:
    return "medium" if name in _RATE_KEYS else "low"


def _as_number(match: re.Match[str]) -> str:
    """Return how YAML 1.1 wants it: a point in the mantissa, a sign in the exponent."""
    sign, mantissa, point, exponent_sign, exponent = match.groups()
    fraction = "0" if point in (None, ".") else point[1:]
    return f"{'-' if sign == '-' else ''}{mantissa}.{fraction}e{exponent_sign or '+'}{exponent}"


def _useless_rate(name: str, node: yaml.Node) -> _Words | None:
    """Look for a learning rate that no training can use."""
    if name not in _RATE_KEYS or not isinstance(node, yaml.ScalarNode):
        return None
    try:
        rate = float(str(node.value).replace(".nan", "nan").replace(".inf", "inf"))
    except ValueError:
        return None
    if 0.0 < rate < math.inf:
        return None
    text, fix = f"`{name}: {node.value}` trains nothing.", "Write a number above 0, such as 5.0e-5."
    return "rate-not-positive", "The learning rate is no number above 0", "high", text, fix


def _unresolved(name: str, node: yaml.Node) -> _Words | None:
    value = str(node.value).strip()
    if name not in _RATE_KEYS or not (value.startswith("${") or value == "???"):
        return None
    text = f"`{name}` is `{value}`: raftmon does not resolve it, so that nothing here speaks of the learning rate."
    fix = "Lint the composed config, as the trainer prints it, to have its rate judged."
    return "yaml-unresolved", "The learning rate stands elsewhere", "informational", text, fix
