"""YAML documents that know their places.

Rules, settings, tag tables and dialects are read through `Fields`: a mapping under inspection, whose accessors
return a value of the asked kind and note a `Problem` with ``path:line:column`` for anything else. A reader goes
through the whole document, then looks at the collected problems, so that a person sees every defect at once. An empty
value (``key:`` or ``key: null``) counts as a missing key.

YAML tags such as ``!!python/object`` are never constructed: nodes are composed, not loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml

from raftmon.model import Problem

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "SHIPPED_RULES",
    "Fields",
    "compose",
    "flatten",
    "is_nested_too_deep",
    "read_fields",
    "read_node",
    "read_text",
    "suggest",
]

MAX_DOCUMENT_BYTES: Final = 4_000_000
"""Larger files are refused: no rule, settings file or hyper-parameter dump comes near it."""
_PACKAGE: Final = Path(__file__).resolve().parent
SHIPPED_RULES: Final = next(
    (path for path in (_PACKAGE / "_rules", _PACKAGE.parent / "rules") if path.is_dir()), _PACKAGE / "_rules"
)
"""The rules, tags and tables that came with raftmon: inside the wheel, or at the top of a checkout."""
_FEW: Final = 12
"""Legal words that are named beside a near miss."""
_MAX_DEPTH: Final = 32
_MAX_NODES: Final = 50_000
_MAX_NESTING: Final = 1_000

# libyaml's parser is some ten times faster and gives the same marks; wheels of PyYAML carry it.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Fields:
    """A YAML mapping under inspection: typed access by key, problems collected with their places.

    Args:
        node: the mapping.
        path: the file, for places.
        problems: where defects are noted; shared by all `Fields` of one reading.
        name: dotted path of the mapping inside the document, for messages.
    """

    def __init__(self, node: yaml.MappingNode, path: str, problems: list[Problem], name: str = "") -> None:
        self.path = path
        self.problems = problems
        self.name = name
        self._node = node
        self._values: dict[str, yaml.Node] = {}
        self._keys: dict[str, yaml.Node] = {}
        self._asked: set[str] = set()
        for key, value in node.value:
            text = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not text:
                self.complain("a key must be a plain word", "Write `name: value`.", key)
            elif text in self._values:
                self.complain(
                    f"`{self._dotted(text)}` is given twice", "Keep one of the two; YAML takes the last.", key
                )
            else:
                self._values[text], self._keys[text] = value, key

    def __contains__(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._values

    def keys(self) -> Iterator[str]:
        """Return the keys in the order of the file; each counts as asked for."""
        for key in self._values:
            self._asked.add(key)
            yield key

    def place(self, key: str | None = None) -> str:
        """Return ``path:line:column`` of a key's value, or of the mapping itself."""
        return self._place(self._values.get(key, self._node) if key else self._node)

    def complain(self, what: str, remedy: str, at: str | yaml.Node | None = None) -> None:
        """Note a problem at a key, at a node, or at the mapping itself."""
        where = self._place(at) if isinstance(at, yaml.Node) else self.place(at)
        self.problems.append(Problem(where, what, remedy))

    def text(self, key: str, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """Return a string; without a default the key is required."""
        node = self._take(key, required=default is None)
        if node is None:
            return default or ""
        if not isinstance(node, yaml.ScalarNode):
            self.complain(f"`{self._dotted(key)}` must be text", "Write one value behind the colon.", node)
            return default or ""
        value = str(node.value)
        if choices and value not in choices:
            self.complain(f"`{self._dotted(key)}` is `{value}`", suggest(value, choices), node)
            return default or choices[0]
        return value

    def number(self, key: str, default: float | None = None, *, required: bool = False) -> float | None:
        """Return a finite number; ``5e-5`` counts as one although YAML 1.1 calls it a string."""
        node = self._take(key, required=required)
        if node is None:
            return default
        try:
            value = float(node.value.replace("_", "")) if isinstance(node, yaml.ScalarNode) else math.nan
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        self.complain(f"`{self._dotted(key)}` must be a finite number", "For example 0.25 or 5.0e-5.", node)
        return default

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        node = self._take(key, required=False)
        if node is None:
            return default
        value = str(node.value).lower() if isinstance(node, yaml.ScalarNode) else ""
        if value not in ("true", "false", "yes", "no", "on", "off"):
            self.complain(f"`{self._dotted(key)}` must be true or false", "Write true or false.", node)
            return default
        return value in ("true", "yes", "on")

    def texts(self, key: str, choices: Sequence[str] = ()) -> tuple[str, ...]:
        """Return a list of strings; a single string is a list of one; a missing key is empty."""
        node = self._take(key, required=False)
        if node is None:
            return ()
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = []
        for item in nodes:
            if not isinstance(item, yaml.ScalarNode) or _is_null(item):
                self.complain(f"`{self._dotted(key)}` must be a list of words", "Write [a, b].", item)
            elif choices and item.value not in choices:
                self.complain(f"`{self._dotted(key)}` has `{item.value}`", suggest(str(item.value), choices), item)
            else:
                values.append(str(item.value))
        return tuple(values)

    def mapping(self, key: str, *, required: bool = False) -> Fields | None:
        """Return a nested mapping, or None where it is missing or something else."""
        node = self._take(key, required=required)
        if node is None:
            return None
        if not isinstance(node, yaml.MappingNode):
            self.complain(f"`{self._dotted(key)}` must be a mapping", "Write `key: value` lines below it.", node)
            return None
        return Fields(node, self.path, self.problems, self._dotted(key))

    def mappings(self, key: str, *, required: bool = False) -> list[Fields]:
        """Return a list of mappings."""
        node = self._take(key, required=required)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.complain(f"`{self._dotted(key)}` must be a list", "Begin each entry with `- `.", node)
            return []
        entries = []
        for index, item in enumerate(node.value):
            if isinstance(item, yaml.MappingNode):
                entries.append(Fields(item, self.path, self.problems, f"{self._dotted(key)}[{index}]"))
            else:
                self.complain(f"`{self._dotted(key)}` must hold mappings", "Write `- key: value`.", item)
        return entries

    def finish(self) -> None:
        """Complain of every key that nobody asked for: a typo must not pass in silence."""
        for key, node in self._keys.items():
            if key not in self._asked:
                self.complain(
                    f"`{self._dotted(key)}` is not a key of this document", suggest(key, sorted(self._asked)), node
                )

    def _take(self, key: str, *, required: bool) -> yaml.Node | None:
        self._asked.add(key)
        node = self._values.get(key)
        if node is not None and not _is_null(node):
            return node
        if required and node is not None:
            self.complain(f"`{self._dotted(key)}` is empty", "Write its value.", self._keys[key])
        elif required:
            self.complain(f"`{self._dotted(key)}` is missing", "Add the key.")
        return None

    def _dotted(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _place(self, node: yaml.Node) -> str:
        return f"{self.path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def compose(text: str, path: str, problems: list[Problem]) -> yaml.Node | None:
    """Parse one YAML document into nodes with marks, or note why it is none.

    Args:
        text: the document.
        path: the file, for places.
        problems: where a syntax error is noted.
    """
    if is_nested_too_deep(text):
        problems.append(Problem(path, "not valid YAML: nested too deep", "Mend the file."))
        return None
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        what, remedy = f"not valid YAML: {error.problem}", "Mend the file at this place."
        if error.problem == "but found another document":
            what, remedy = "more than one document", "Give a file with one of them."
        problems.append(Problem(where, what, remedy))
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.append(Problem(path, f"not valid YAML: {error}", "Mend the file."))
        return None
    return node


def is_nested_too_deep(text: str) -> bool:
    """Tell whether a text opens so many levels that libyaml, which nests calls, would end the process."""
    if text.count("[") + text.count("{") + text.count("- ") + text.count("? ") <= _MAX_NESTING:
        return False
    depth = deepest = 0
    for opener in re.finditer(r"[\[\]{}]", text):
        depth = max(0, depth + (1 if opener[0] in "[{" else -1))
        deepest = max(deepest, depth)
    in_line = max((len(run[0]) // 2 for run in re.finditer(r"(?:[-?] )+", text)), default=0)
    return max(deepest, in_line) > _MAX_NESTING


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """Read a text file of a bearable size, or note why it cannot be read."""
    try:
        with path.open("rb") as file:
            # Never all of it: a device has no size and no end.
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            problems.append(Problem(str(path), "larger than 4 MB, not read", "Give a smaller file."))
            return None
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problems.append(Problem(str(path), f"cannot be read: {reason}", "Check the path and its permissions."))
        return None


def read_node(path: Path, problems: list[Problem]) -> yaml.Node | None:
    """Read a YAML file into nodes with marks.

    Returns:
        The top node; None for an empty file, or with one more problem noted.
    """
    text = read_text(path, problems)
    return compose(text, str(path), problems) if text is not None else None


def read_fields(path: Path, problems: list[Problem], *, may_be_empty: bool = False) -> Fields | None:
    """Read a YAML file whose top is a mapping.

    Args:
        path: the file.
        problems: where defects are noted.
        may_be_empty: whether a file without any content counts as an empty mapping.

    Returns:
        The mapping, or None with at least one more problem noted.
    """
    count = len(problems)
    node = read_node(path, problems)
    if may_be_empty and len(problems) == count and (node is None or _is_null(node)):
        mark = yaml.Mark(str(path), 0, 0, 0, None, 0)
        node = yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark)
    if isinstance(node, yaml.MappingNode):
        return Fields(node, str(path), problems)
    if len(problems) == count:
        problems.append(Problem(f"{path}:1:1", "the document is no mapping", "Begin with `key: value` lines."))
    return None


def flatten(node: yaml.Node | None) -> dict[str, str]:
    """Return every scalar of a document by its dotted path; entries of a list count from 0 (``betas.0``).

    For files that others wrote and whose keys nobody promised: nulls, whatever is nested deeper than 32 mappings and
    whatever comes after 50 000 nodes (an alias can stand for a great many) are left out; of a key given twice the
    last one counts, as in PyYAML.
    """
    scalars: dict[str, str] = {}
    left = _MAX_NODES
    stack: list[tuple[str, yaml.Node, int]] = [("", node, 0)] if node is not None else []
    while stack and left:
        path, node, depth = stack.pop()
        left -= 1
        if isinstance(node, yaml.ScalarNode):
            if path and not _is_null(node):
                scalars[path] = str(node.value)
        elif depth < _MAX_DEPTH:
            prefix = f"{path}." if path else ""
            children = (
                [(str(key.value), value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
                if isinstance(node, yaml.MappingNode)
                else [(str(index), item) for index, item in enumerate(node.value)]
            )
            # Reversed, because the newest entry of the stack is taken first.
            stack.extend((prefix + name, child, depth + 1) for name, child in reversed(children))
    return scalars


def suggest(value: str, choices: Sequence[str]) -> str:
    """Return the remedy for a word that is none of the legal ones: the nearest of them, and all where they are few."""
    # Imported here because most documents have no slip in them.
    import difflib

    near = difflib.get_close_matches(value, choices, n=1)
    hint = f"Did you mean `{near[0]}`?" if near else ""
    if near and len(choices) > _FEW:
        return hint
    return f"{hint} One of: {', '.join(choices)}.".strip() if choices else "Remove it."


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and str(node.tag).endswith(":null")
