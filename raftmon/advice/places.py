"""Where in a trainer's config a remark belongs: the value that it is about, or the block that lacks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from raftmon.advice.rule import Rule
from raftmon.documents import flatten
from raftmon.runs.config_keys import used_keys
from raftmon.runs.key_table import KEYS
from raftmon.signals.config import ABOUT

__all__ = ["Places"]

_RATE: Final = ("learning_rate",)
_BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "lora_alpha": ("lora_rank",),
    "warmup_steps": ("learning_rate",),
    "max_grad_norm": ("epochs", "max_steps", "devices", "logging_steps", "batch_size"),
}
"""Fields in whose block a missing one belongs, the surest first; beside the learning rate if none."""


class Places:
    """The places of one document.

    Args:
        path: the file.
        top: the document.
    """

    def __init__(self, path: Path, top: yaml.MappingNode) -> None:
        self._path = path
        self._top = top
        self._used = used_keys(flatten(top))

    def of_rule(self, rule: Rule) -> str:
        """Return ``path:line:column`` of what a rule is about: that of its first comparison which the file answers."""
        signals = [comparison.signal for comparison in rule.when.comparisons()]
        about = list(dict.fromkeys(name for signal in signals for name in ABOUT.get(signal, _RATE)))
        return self._where(self._value(about[:1]) or self._block(about[0]) or self._value(about) or self._top)

    def _value(self, names: Iterable[str]) -> yaml.Node | None:
        """Return the value of the first field that the file gives, even where it is empty."""
        for name in names:
            written = [self._used[name]] if name in self._used else KEYS[name]
            node = next((node for key in written if (node := _at(self._top, key)) is not None), None)
            if node is not None:
                return node
        return None

    def _block(self, name: str) -> yaml.Node | None:
        """Return the block where a field belongs that the file lacks."""
        for sibling in _BESIDE.get(name, ()):
            if sibling in self._used:
                block = self._used[sibling].rpartition(".")[0]
                return _at(self._top, block) if block else self._top
        return None

    def _where(self, node: yaml.Node) -> str:
        return f"{self._path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _at(node: yaml.Node, dotted: str) -> yaml.Node | None:
    """Return the node under a dotted key. Keys may have dots of their own; of one given twice the last one counts."""
    for key, value in _children(node):
        if key == dotted:
            return value
        if dotted.startswith(f"{key}.") and (found := _at(value, dotted[len(key) + 1 :])) is not None:
            return found
    return None


def _children(node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode):
                yield str(key.value), value
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield str(index), value
