"""Changes a value of a config and nothing else: characters are replaced at the marks of the parser.

A new text is parsed again and compared node by node with the old one. What differs must be what was meant to differ, or
nothing is returned.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from raftmon.errors import Refused
from raftmon.trainers.tree import ConfigTree, Place, is_null, parse_config

__all__ = ["Edit", "Written", "apply_edits", "insertion", "rate_text", "read_written", "replacement"]

_SCHEDULED: Final = re.compile(r"(lin_)([0-9.eE+-]+)")
"""How rl-baselines3-zoo writes a rate that falls linearly to 0."""
_LEGAL_TAGS: Final = frozenset({"float", "int", "str", "null"})
_BY_HAND: Final = "Write the number there yourself, or pass the learning rate on the trainer's command line."


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters of the text that become others."""

    start: int
    """Index of the first character that goes."""
    end: int
    """Index behind the last one; equals `start` where something is inserted."""
    text: str
    path: tuple[str, ...]
    """Keys of the value that is meant to differ."""
    document: int = 0
    value: str = ""
    """What the parser must find there afterwards; empty: a block."""


@dataclass(frozen=True, slots=True)
class Written:
    """A learning rate as it stands in a config."""

    rate: float | None
    """None: the key is there without a value that could train anything (empty, 0, negative, NaN)."""
    prefix: str
    """What stands before the number inside the value: ``lin_``, or nothing."""
    is_text: bool
    """Whether PyYAML reads a string where a number is meant (``5e-5``)."""


def rate_text(rate: float) -> str:
    """Write a learning rate so that YAML 1.1 and JSON read a number: ``3.61e-05``, ``4.0e-05``; at most six digits."""
    text = f"{rate:.6g}" if rate >= 0.01 else f"{rate:.5e}"
    mantissa, mark, exponent = text.partition("e")
    digits = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{digits if '.' in digits else f'{digits}.0'}{mark}{exponent}"


def read_written(tree: ConfigTree, place: Place) -> Written:
    """Read the learning rate at a place.

    Raises:
        Refused: the value is no number of its own: a reference, a list, or shared with another key.
    """
    where, key = tree.where(place.node), place.key
    if not isinstance(place.node, yaml.ScalarNode):
        kind = "a list" if isinstance(place.node, yaml.SequenceNode) else "a mapping"
        raise Refused(where, f"`{key}` is {kind}, no number", "Name one of its values with --key.")
    text = str(place.node.value).strip()
    if "${" in text or text == "???":
        what = f"`{key}` is `{text}`: the number stands elsewhere"
        raise Refused(where, what, "Give the key that holds the number with --key, or pass the trainer's flag.")
    if place.shared:
        raise _shared(tree, place)
    if str(place.node.tag).rpartition(":")[2] not in _LEGAL_TAGS or place.node.style in ("|", ">"):
        raise Refused(where, f"`{key}` is no plain number", _BY_HAND)
    if is_null(place.node):
        return Written(None, "", False)
    tag = tree.text[place.node.start_mark.index :][:5]
    if tag == "!!str":
        raise Refused(where, f"`{key}` has the tag {tag}, which makes a text of it", "Take the tag out.")
    scheduled = _SCHEDULED.fullmatch(text)
    prefix, number = (scheduled[1], scheduled[2]) if scheduled else ("", text)
    rate = _number(number, is_yaml=tree.form == "yaml")
    if rate is None:
        raise Refused(where, f"`{key}` is `{text}`, no number", _BY_HAND)
    is_text = not prefix and str(place.node.tag).endswith(":str")
    if tree.form == "json":
        is_text = place.node.style in ("'", '"')  # in quotes; a bare 5e-5 is a number in JSON
    return Written(rate if 0.0 < rate < math.inf else None, prefix, is_text)


def replacement(tree: ConfigTree, place: Place, rate: float, prefix: str = "") -> Edit:
    """Return the edit that puts a learning rate in the place of another.

    Raises:
        Refused: the characters of the value are not those that the parser made of them.
    """
    start, end = place.node.start_mark.index, place.node.end_mark.index
    span, old, style = tree.text[start:end], str(place.node.value), getattr(place.node, "style", None) or ""
    # A null may be written out; tags, anchors, and comments behind them stand before the value.
    quote = style if style in ("'", '"') else ""
    value = f"{quote}{old}{quote}"
    if not span.endswith(value):
        raise Refused(tree.where(place.node), f"`{place.key}` is no plain number", _BY_HAND)
    text = f"{prefix}{rate_text(rate)}"
    written = f"{quote}{text}{quote}" if prefix else text
    if not value:
        # `key:` without a value: the place is the character behind the colon, or behind a tag.
        written = f" {written}"
    return Edit(end - len(value), end, written, place.path, place.document, text)


def insertion(
    tree: ConfigTree,
    path: tuple[str, ...],
    content: str | Mapping[str, str],
    beside: Sequence[str] = (),
    document: int = 0,
    may_add_block: bool = False,
) -> Edit:
    """Return the edit that adds a key to a mapping of the config, next to a sibling and indented like it.

    Args:
        tree: the config.
        path: keys, the new one last; the mapping must be there.
        content: the value's text, or a block of keys and texts.
        beside: dotted keys of siblings, the likeliest first.
        document: which document of the file.
        may_add_block: whether a missing top-level mapping may be added with the key.

    Raises:
        Refused: there is no such mapping, or no line next to which a key can be added.
    """
    is_there = any(place.path == path[:-1] and place.document == document for place in tree.everywhere)
    if may_add_block and len(path) == 2 and not is_there and isinstance(content, str):
        path, content = path[:-1], {path[-1]: content}
    if "\n" not in tree.text and "\r" in tree.text:
        raise Refused(tree.path, "its lines end in CR alone, and none can be added", f"Add `{path[-1]}: ...` yourself.")
    parent = _mapping_at(tree, path[:-1], document)
    name = path[-1]
    if parent.flow_style or tree.form == "json":
        if not isinstance(content, str):
            raise Refused(tree.where(parent), "a mapping in braces takes no block", "Write it in lines.")
        start = parent.start_mark.index + tree.text[parent.start_mark.index :].index("{") + 1
        quoted = f'"{name}"' if tree.form == "json" else name
        text = f"{quoted}: {content}{', ' if parent.value else ''}"
        return Edit(start, start, text, path, document, content)
    siblings = {str(key.value): (key, value) for key, value in parent.value if isinstance(key, yaml.ScalarNode)}
    wanted = [key.rpartition(".")[2] for key in beside]
    for sibling in [*(siblings[name] for name in wanted if name in siblings), *siblings.values()]:
        if _is_one_line(*sibling):
            return _after(tree, sibling[0], sibling[1], path, content, document)
    raise Refused(tree.where(parent), f"no line beside which `{name}` can be added", f"Add `{name}: ...` yourself.")


def apply_edits(tree: ConfigTree, edits: Sequence[Edit]) -> ConfigTree:
    """Return the config with the edits made, parsed again and proved to differ in nothing else.

    Raises:
        Refused: something else would change.
    """
    data, behind = tree.data, len(tree.text)
    for edit in sorted(edits, key=lambda edit: -edit.start):
        if edit.end > behind:
            raise Refused(tree.path, f"`{'.'.join(edit.path)}` would be written twice in one place", _BY_HAND)
        behind = edit.start
        data = data[: tree.offset(edit.start)] + edit.text.encode() + data[tree.offset(edit.end) :]
    try:
        after = parse_config(data, tree.path, tree.form, is_scanned=True)
        changed = set(_differences(tree.documents, after.documents))
    except Refused as error:
        raise Refused(tree.path, f"the changed file could not be read: {error.what}", _BY_HAND) from None
    meant = {(edit.document, edit.path) for edit in edits}
    if not changed <= meant:
        keys = ", ".join(".".join(path) or "the document" for _, path in sorted(changed - meant)[:4])
        raise Refused(tree.path, f"writing would change {keys} too", _BY_HAND)
    found = {(place.document, place.path): place.scalar for place in after.everywhere}
    for edit in edits:
        if edit.value and found.get((edit.document, edit.path)) != edit.value:
            raise Refused(tree.path, f"`{'.'.join(edit.path)}` could not be read back", _BY_HAND)
    return after


def _number(text: str, *, is_yaml: bool) -> float | None:
    """Return the number that a trainer makes of a text: PyYAML reads 010 as 8, `float` a text like 5e-5."""
    value = yaml.safe_load(text) if is_yaml and re.fullmatch(r"[-+]?[0-9][0-9_.xXa-fA-F]*", text) else text
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _shared(tree: ConfigTree, place: Place) -> Refused:
    alike = [other.key for other in tree.everywhere if other.node is place.node and other.key != place.key]
    with_whom = f" ({', '.join(alike[:4])}{', ...' if len(alike) > 4 else ''})" if alike else ""
    what = f"`{place.key}` shares its value with other keys through an alias{with_whom}"
    return Refused(
        tree.where(place.node), what, f"Write the number out at `{place.key}`, or change the anchor yourself."
    )


def _mapping_at(tree: ConfigTree, path: tuple[str, ...], document: int) -> yaml.MappingNode:
    key = ".".join(path)
    if not path:
        node: yaml.Node = tree.documents[document]
    else:
        found = [p for p in tree.everywhere if p.path == path and p.document == document]
        if not found:
            raise Refused(tree.path, f"no block `{key}` to add a learning rate to", f"Add `{key}:` with its keys.")
        if found[0].shared:
            raise _shared(tree, found[0])
        node = found[0].node
    if not isinstance(node, yaml.MappingNode):
        raise Refused(tree.where(node), f"`{key}` is no mapping", f"Write `{key}:` and its keys in lines below it.")
    return node


def _is_one_line(key: yaml.Node, value: yaml.Node) -> bool:
    is_simple = isinstance(value, yaml.ScalarNode) and value.style not in ("|", ">")
    return is_simple and key.start_mark.line == value.end_mark.line


def _after(
    tree: ConfigTree,
    key: yaml.Node,
    value: yaml.Node,
    path: tuple[str, ...],
    content: str | Mapping[str, str],
    document: int,
) -> Edit:
    """Insert lines behind the line of a sibling, comment included."""
    text, newline = tree.text, tree.newline
    begin = text.rfind("\n", 0, key.start_mark.index) + 1
    # The first key of a list's entry stands behind a dash.
    indent = re.sub(r"\S", " ", text[begin : key.start_mark.index])
    lines, value_text = [f"{indent}{path[-1]}: {content}"], content if isinstance(content, str) else ""
    if not isinstance(content, str):
        lines = [f"{indent}{path[-1]}:", *(f"{indent}  {name}: {value}" for name, value in content.items())]
    block = newline.join(lines)
    end = text.find("\n", value.end_mark.index)
    if end < 0:
        return Edit(len(text), len(text), f"{newline}{block}", path, document, value_text)
    return Edit(end + 1, end + 1, f"{block}{newline}", path, document, value_text)


def _differences(before: Sequence[yaml.Node], after: Sequence[yaml.Node]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (document, keys) of each value that differs; an added key counts as one."""
    if len(before) != len(after):
        yield 0, ()
        return
    for document, (old, new) in enumerate(zip(before, after, strict=True)):
        seen: set[tuple[int, int]] = set()
        stack: list[tuple[tuple[str, ...], yaml.Node, yaml.Node]] = [((), old, new)]
        while stack:
            path, first, second = stack.pop()
            if (id(first), id(second)) in seen:
                continue
            seen.add((id(first), id(second)))
            for step, one, other in _compared(first, second):
                if one is None or other is None:
                    yield document, (*path, *step)
                else:
                    stack.append(((*path, *step), one, other))


def _compared(
    first: yaml.Node, second: yaml.Node
) -> Iterator[tuple[tuple[str, ...], yaml.Node | None, yaml.Node | None]]:
    """Yield the parts of two nodes to be compared further; a None where they differ."""
    if type(first) is not type(second) or first.tag != second.tag:
        yield (), None, None
    elif isinstance(first, yaml.ScalarNode):
        if first.value != second.value:
            yield (), None, None
    elif isinstance(first, yaml.SequenceNode):
        if len(first.value) != len(second.value):
            yield (), None, None
        else:
            for index, (one, other) in enumerate(zip(first.value, second.value, strict=True)):
                yield (str(index),), one, other
    else:
        yield from _compared_keys(first.value, second.value)


def _compared_keys(
    first: list[tuple[yaml.Node, yaml.Node]], second: list[tuple[yaml.Node, yaml.Node]]
) -> Iterator[tuple[tuple[str, ...], yaml.Node | None, yaml.Node | None]]:
    """Compare mappings entry by entry, in order; the second may have keys that the first has not."""
    index = 0
    for key, value in second:
        name = str(key.value)
        if index < len(first) and _same_key(first[index][0], key):
            yield (name,), first[index][1], value
            index += 1
        else:
            yield (name,), None, value
    for key, _ in first[index:]:
        yield (str(key.value),), None, None


def _same_key(one: yaml.Node, other: yaml.Node) -> bool:
    if isinstance(one, yaml.ScalarNode) and isinstance(other, yaml.ScalarNode):
        return one.tag == other.tag and one.value == other.value
    # A list or mapping as a key: its parts are not told apart, its extent is.
    return yaml.serialize(one) == yaml.serialize(other)
