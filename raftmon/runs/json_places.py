"""JSON as nodes with marks, as PyYAML makes them of YAML: what looks at places need not know which it was.

PyYAML itself does not read all of JSON (tabs between tokens, a line break before a colon, keys of more than 1024
characters), so the tokens of a text that `json.loads` has accepted are put together here.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Final

import yaml

__all__ = ["compose_json"]

_TOKEN: Final = re.compile(r'[{}\[\]]|"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+')
_TAG: Final = "tag:yaml.org,2002:"
_WORDS: Final = {"null": "null", "true": "bool", "false": "bool"}


class _Marks:
    """Turns offsets of a text into marks."""

    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, offset: int) -> yaml.Mark:
        line = bisect_right(self._starts, offset) - 1
        return yaml.Mark(self._path, offset, line, offset - self._starts[line], None, 0)


def compose_json(text: str, path: str) -> yaml.Node | None:
    """Return the nodes of a JSON document; None for one without any token.

    Args:
        text: what `json.loads` accepts.
        path: the file, for places.
    """
    marks = _Marks(text, path)
    top: yaml.Node | None = None
    containers: list[yaml.CollectionNode] = []
    keys: list[yaml.Node | None] = []
    for match in _TOKEN.finditer(text):
        token, start, end = match[0], marks.at(match.start()), marks.at(match.end())
        if token in "}]":
            containers.pop().end_mark = end
            keys.pop()
            continue
        node = _node(token, start, end)
        if not containers:
            top = node
        elif isinstance(containers[-1], yaml.SequenceNode):
            containers[-1].value.append(node)
        elif (key := keys[-1]) is None:
            keys[-1] = node
        else:
            containers[-1].value.append((key, node))
            keys[-1] = None
        if isinstance(node, yaml.CollectionNode):
            containers.append(node)
            keys.append(None)
    return top


def _node(token: str, start: yaml.Mark, end: yaml.Mark) -> yaml.Node:
    if token == "{":
        return yaml.MappingNode(f"{_TAG}map", [], start, end, flow_style=True)
    if token == "[":
        return yaml.SequenceNode(f"{_TAG}seq", [], start, end, flow_style=True)
    if token.startswith('"'):
        return yaml.ScalarNode(f"{_TAG}str", json.loads(token, strict=False), start, end, style='"')
    return yaml.ScalarNode(f"{_TAG}{_WORDS.get(token, 'float')}", token, start, end)
