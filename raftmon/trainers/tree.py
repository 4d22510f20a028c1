"""The text of a trainer's config with the place of every key, kept so exactly that single characters can be changed.

Two readers must agree before anything is written: libyaml, whose marks give the places, and the scanner of PyYAML's
own loader, which trainers use and which refuses a tab before a comment where libyaml does not. JSON is strict JSON
whose places come from `raftmon.runs.json_places`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

import yaml

from raftmon.documents import is_nested_too_deep
from raftmon.errors import Refused
from raftmon.runs.json_places import compose_json

__all__ = ["MOST_BYTES", "ConfigTree", "Form", "Place", "is_null", "parse_config"]

Form: TypeAlias = Literal["yaml", "json"]

MOST_BYTES: Final = 16_000_000
"""Larger files are no configs."""
MOST_PLACES: Final = 500_000
"""More places than that come of aliases that stand for aliases, not of a person."""
_MOST_DEPTH: Final = 64
_MERGE: Final = "tag:yaml.org,2002:merge"
_BOM: Final = b"\xef\xbb\xbf"
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser is some four times faster and gives the same marks; wheels of PyYAML carry it."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One value of a config."""

    key: str
    """Dotted path of keys; entries of a list count from 0."""
    path: tuple[str, ...]
    """The keys one by one: a key may hold a dot itself."""
    node: yaml.Node
    """The value."""
    parent: yaml.MappingNode | yaml.SequenceNode
    document: int
    """Which document of the file, from 0."""
    shared: bool
    """Whether an alias or a merge key makes the same characters stand for another key too."""
    inherited: bool
    """Whether a merge key (``<<: *defaults``) brings it, so that its characters stand in another mapping."""

    @property
    def scalar(self) -> str | None:
        """The text of the value, quotes taken off; None for a mapping or a list."""
        return str(self.node.value) if isinstance(self.node, yaml.ScalarNode) else None


class ConfigTree:
    """A parsed config.

    Args:
        data: the bytes of the file.
        path: the file, for places.
        form: which language it is in.
        text: `data` as text, without a byte-order mark.
        documents: the top nodes; a file may hold several.
    """

    def __init__(self, data: bytes, path: str, form: Form, text: str, documents: tuple[yaml.Node, ...]) -> None:
        self.data = data
        self.path = path
        self.form = form
        self.text = text
        self.documents = documents
        self._references = _count_references(documents)

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Dotted key to place, in the order of the file; of several documents the first that has a key."""
        found: dict[str, Place] = {}
        for place in self.everywhere:
            found.setdefault(place.key, place)
        return found

    @cached_property
    def everywhere(self) -> tuple[Place, ...]:
        """Every value with its place, in all documents.

        Raises:
            Refused: aliases make it endless.
        """
        found = []
        for place in self._walk():
            found.append(place)
            if len(found) > MOST_PLACES:
                raise Refused(self.path, "its aliases unfold to more than 500 000 values", "Write the values out.")
        return tuple(found)

    def where(self, node: yaml.Node) -> str:
        """Return ``path:line:column`` of a node."""
        return f"{self.path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def offset(self, index: int) -> int:
        """Return the byte at which a character begins."""
        bom = len(_BOM) if self.data.startswith(_BOM) else 0
        return bom + len(self.text[:index].encode())

    @property
    def newline(self) -> str:
        """What ends the lines of this file."""
        head = self.text.partition("\n")[0]
        return "\r\n" if head.endswith("\r") and "\n" in self.text else "\n"

    def duplicate(self) -> tuple[str, yaml.Node] | None:
        """Return the first key that is given twice, with its second place."""
        seen: set[int] = set()
        stack = list(reversed(self.documents))
        while stack:
            node = stack.pop()
            if id(node) in seen or isinstance(node, yaml.ScalarNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                keys: set[tuple[str, str]] = set()
                for key, _ in node.value:
                    name = (key.tag, str(key.value))
                    if name in keys and isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                        return str(key.value), key
                    keys.add(name)
            stack.extend(reversed(list(_children(node))))
        return None

    def _walk(self) -> Iterator[Place]:
        for number, top in enumerate(self.documents):
            stack: list[tuple[tuple[str, ...], yaml.Node, bool, bool, int]] = [((), top, False, False, 0)]
            while stack:
                path, node, shared, inherited, depth = stack.pop()
                shared = shared or self._references[id(node)] > 1
                if not isinstance(node, yaml.MappingNode | yaml.SequenceNode) or depth > _MOST_DEPTH:
                    continue
                entries = list(_entries(node, inherited))
                for name, child, merged in entries:
                    alike = shared or merged or self._references[id(child)] > 1
                    yield Place(".".join((*path, name)), (*path, name), child, node, number, alike, merged)
                # Reversed, because the newest entry of the stack is taken first.
                stack.extend(
                    ((*path, name), child, shared or merged, merged, depth + 1) for name, child, merged in entries[::-1]
                )


def parse_config(data: bytes, path: str, form: Form = "yaml", *, is_scanned: bool = False) -> ConfigTree:
    """Parse a config as its trainer would.

    Args:
        data: the bytes of the file.
        path: the file, for places.
        form: the language that the trainer reads it as.
        is_scanned: whether the slow scanner has read all but a number of it already.

    Raises:
        Refused: it cannot be read, by PyYAML's own loader or at all; the place is in the error.
    """
    if len(data) > MOST_BYTES:
        raise Refused(path, "larger than 16 MB", "Give the config itself.")
    try:
        text = data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text (byte {error.start})"
        raise Refused(path, what, "Save it as UTF-8; raftmon changes no other encoding.") from None
    if form == "json":
        _check_json(text, path)
        top = compose_json(text, path)
        documents: tuple[yaml.Node, ...] = (top,) if top is not None else ()
    else:
        documents = _compose(text, path)
        if not is_scanned:
            _scan(text, path)
    if not documents or not any(isinstance(node, yaml.MappingNode) for node in documents):
        raise Refused(f"{path}:1:1", "the document is no mapping", "Give the trainer's config: `key: value` lines.")
    return ConfigTree(data, path, form, text, documents)


def is_null(node: yaml.Node) -> bool:
    """Tell whether a value is empty, ``null`` or ``~``."""
    return isinstance(node, yaml.ScalarNode) and str(node.tag).endswith(":null")


def _check_json(text: str, path: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise Refused(where, f"not valid JSON: {error.msg}", "Mend the file at this place.") from None
    except RecursionError:
        raise Refused(path, "not valid JSON: nested too deep", "Mend the file.") from None


def _compose(text: str, path: str) -> tuple[yaml.Node, ...]:
    if is_nested_too_deep(text):
        raise Refused(path, "nested too deep", "Give the trainer's config.")
    try:
        return tuple(node for node in yaml.compose_all(text, Loader=_Loader) if node is not None)
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, path) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Refused(path, f"not valid YAML: {what}", "Mend the file.") from None


def _scan(text: str, path: str) -> None:
    """Let the scanner of PyYAML's own loader read the text: it refuses more than libyaml does."""
    try:
        for _ in yaml.scan(text, Loader=yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, path) from None


def _unreadable(error: yaml.MarkedYAMLError, path: str) -> Refused:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
    what = error.problem or error.context or "not valid"
    remedy = "Mend the file at this place."
    if mark and "'\\t'" in what:
        what, remedy = "a tab, which PyYAML does not take here", "Write spaces instead: trainers fail at it too."
    return Refused(where, f"not valid YAML: {what}", remedy)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _count_references(documents: tuple[yaml.Node, ...]) -> Counter[int]:
    """Count how often each node stands in the documents: more than once by aliases and merge keys alone."""
    counts: Counter[int] = Counter()
    seen: set[int] = set()
    stack = list(documents)
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for child in _children(node):
            counts[id(child)] += 1
            stack.append(child)
    return counts


def _entries(node: yaml.Node, inherited: bool, depth: int = 0) -> Iterator[tuple[str, yaml.Node, bool]]:
    """Yield (key, value, whether a merge key brings it); a mapping's own keys win over merged ones."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield str(index), item, inherited
        return
    own: set[str] = set()
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if str(key.tag) == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        elif isinstance(key, yaml.ScalarNode):
            own.add(str(key.value))
            yield str(key.value), value, inherited
    for source in merged if depth < _MOST_DEPTH else ():
        if isinstance(source, yaml.MappingNode):
            for name, value, _ in _entries(source, True, depth + 1):
                if name not in own:
                    own.add(name)
                    yield name, value, True
