"""Slips in the YAML of a trainer's config that load without an error and mean something else.

YAML 1.1, which PyYAML speaks, wants a point in the mantissa and a sign in the exponent: ``5e-5`` and ``1.0e5`` are
texts there. OmegaConf, jsonargparse and pydantic read numbers; trainers that hand the value on as it is fail, or
compare a text with a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from raftmon.model import Severity
from raftmon.runs.key_table import KEYS

__all__ = ["Slip", "entries", "yaml_slips"]

_NUMBER: Final = re.compile(r"([-+]?)([0-9][0-9_]*)(\.[0-9_]*)?[eE]([-+]?)([0-9]+)")
_TEXTS: Final = ("optimizer", "scheduler", "method", "use_rslora", "model_parameters")
_NUMERIC_KEYS: Final = frozenset(key for name, keys in KEYS.items() if name not in _TEXTS for key in keys)
_RATE_KEYS: Final = frozenset(KEYS["learning_rate"])
_READ_AS_NUMBERS: Final = frozenset({"_component_", "_target_", "class_path"})
"""Keys of files that OmegaConf or jsonargparse reads, which know better than YAML 1.1."""
_MOST_NODES: Final = 50_000
_MOST_SLIPS: Final = 50


@dataclass(frozen=True, slots=True)
class Slip:
    """One place that means something else than it looks."""

    where: str
    """``path:line:column``."""
    id: str
    title: str
    severity: Severity
    text: str


def yaml_slips(top: yaml.MappingNode, path: Path) -> list[Slip]:
    """Return the slips of a document in the order of its lines, at most 50.

    Args:
        top: the document.
        path: the file, for places.
    """
    slips: dict[tuple[int, int], Slip] = {}
    found = list(entries(top))
    numbers = any(name.rsplit(".", 1)[-1] in _READ_AS_NUMBERS for name, _, _ in found)
    for name, key, value in found:
        mark = key.start_mark if key is not None else value.start_mark
        slip = (
            _twice(name)
            if key is not None
            else _useless_rate(name, value) or _float(name, value, numbers) or _unresolved(name, value)
        )
        if slip is not None and len(slips) < _MOST_SLIPS:
            where = f"{path}:{mark.line + 1}:{mark.column + 1}"
            slips.setdefault((mark.line, mark.column), Slip(where, *slip))
    return [slips[place] for place in sorted(slips)]


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


def _twice(name: str) -> tuple[str, str, Severity, str]:
    text = f"`{name}` is given twice: most readers take the last one, some refuse the file. Keep one."
    return "yaml-duplicate-key", "A key is given twice", "medium", text


def _float(name: str, node: yaml.Node, numbers: bool) -> tuple[str, str, Severity, str] | None:
    """Look for a number that YAML 1.1 reads as a text; `numbers`: the file is one whose reader knows better."""
    if not isinstance(node, yaml.ScalarNode) or not str(node.tag).endswith(":str"):
        return None
    match = _NUMBER.fullmatch(str(node.value).strip())
    if match is None or (node.style in ("'", '"') and name not in _NUMERIC_KEYS):
        return None
    sign, mantissa, point, exponent_sign, exponent = match.groups()
    fraction = "0" if point in (None, ".") else point[1:]
    right = f"{'-' if sign == '-' else ''}{mantissa}.{fraction}e{exponent_sign or '+'}{exponent}"
    severity: Severity = "informational" if numbers else "medium" if name in _RATE_KEYS else "low"
    readers = (
        "the OmegaConf or jsonargparse that this file seems written for reads a number"
        if numbers
        else "Hugging Face's parser and halo-forge hand it on as such; OmegaConf and pydantic read a number"
    )
    text = f"`{name}: {node.value}` is a text for PyYAML (YAML 1.1); {readers}. To be safe write {right}."
    return "yaml-text-for-number", "A number that YAML reads as text", severity, text


def _useless_rate(name: str, node: yaml.Node) -> tuple[str, str, Severity, str] | None:
    """Look for a learning rate that no training can use."""
    if name not in _RATE_KEYS or not isinstance(node, yaml.ScalarNode):
        return None
    try:
        rate = float(str(node.value).replace(".nan", "nan").replace(".inf", "inf"))
    except ValueError:
        return None
    if 0.0 < rate < math.inf:
        return None
    text = f"`{name}: {node.value}` trains nothing. A learning rate is a number above 0, such as 5.0e-5."
    return "rate-not-positive", "The learning rate is no number above 0", "high", text


def _unresolved(name: str, node: yaml.Node) -> tuple[str, str, Severity, str] | None:
    value = str(node.value).strip()
    if name not in _RATE_KEYS or not (value.startswith("${") or value == "???"):
        return None
    text = f"`{name}` is `{value}`: raftmon does not resolve it, so that nothing here speaks of the learning rate."
    return "yaml-unresolved", "The learning rate stands elsewhere", "informational", text
