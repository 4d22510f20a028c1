"""Changing one scalar of a config: every other byte stays, whatever the YAML looks like."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from raftmon.errors import Refused
from raftmon.trainers.config import read_config
from raftmon.trainers.rewrite import apply_edits, insertion, rate_text, replacement
from raftmon.trainers.tree import parse_config

RATES = st.floats(1e-9, 10.0, allow_nan=False)


def changed(text: str | bytes, rate: float = 3.61e-5, key: str | None = None, name: str = "c.yaml") -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return read_config(data, name, key).with_rate(rate)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("learning_rate: 5e-5\n", "learning_rate: 3.61e-05\n"),
        ("learning_rate: 5.0e-5   # the rate\n", "learning_rate: 3.61e-05   # the rate\n"),
        ("learning_rate: '5e-5'\n", "learning_rate: 3.61e-05\n"),
        ('"learning_rate" : "5e-5" # x\n', '"learning_rate" : 3.61e-05 # x\n'),
        ("learning_rate: !!float 3e-4\n", "learning_rate: !!float 3.61e-05\n"),
        ("learning_rate: &lr 3e-4 # alone\n", "learning_rate: &lr 3.61e-05 # alone\n"),
        ("{a: 1, learning_rate: 5e-5, b: [1, 2]}\n", "{a: 1, learning_rate: 3.61e-05, b: [1, 2]}\n"),
        ("a: {learning_rate: 5e-5}\n", "a: {learning_rate: 3.61e-05}\n"),
        ("learning_rate:\n  0.00005\nb: 1\n", "learning_rate:\n  3.61e-05\nb: 1\n"),
        ("learning_rate:\nb: 1\n", "learning_rate: 3.61e-05\nb: 1\n"),
        ("learning_rate: # none yet\nb: 1\n", "learning_rate: 3.61e-05 # none yet\nb: 1\n"),
        ("learning_rate: ~\n", "learning_rate: 3.61e-05\n"),
        ("? learning_rate\n: 5e-5\n", "? learning_rate\n: 3.61e-05\n"),
        ("learning_rate: &lr # mine\n  5.0e-5 # x\n", "learning_rate: &lr # mine\n  3.61e-05 # x\n"),
        ("learning_rate: !!float # a\n  # b\n  5.0e-5\n", "learning_rate: !!float # a\n  # b\n  3.61e-05\n"),
        ("learning_rate: &lr\nb: 1\n", "learning_rate: &lr 3.61e-05\nb: 1\n"),
        ("learning_rate: 010\n", "learning_rate: 3.61e-05\n"),
        ("<<: {a: 1}\n<<: {b: 2}\nlearning_rate: 1\n", "<<: {a: 1}\n<<: {b: 2}\nlearning_rate: 3.61e-05\n"),
        ("---\n# é😀\nlearning_rate: 1e-3", "---\n# é😀\nlearning_rate: 3.61e-05"),
        ("größe: ü\r\nlearning_rate: 1e-3\r\n\r\n\r\n", "größe: ü\r\nlearning_rate: 3.61e-05\r\n\r\n\r\n"),
        ("\ufefflearning_rate: 1e-3\n", "\ufefflearning_rate: 3.61e-05\n"),
        ("%YAML 1.1\n---\nlearning_rate: 1e-3\n...\n", "%YAML 1.1\n---\nlearning_rate: 3.61e-05\n...\n"),
        ("x: 1\n---\nlearning_rate: 1e-3\n", "x: 1\n---\nlearning_rate: 3.61e-05\n"),
        ("- a\n---\nlearning_rate: 1e-3\n", "- a\n---\nlearning_rate: 3.61e-05\n"),
        (
            "learning_rate: 5.0e-5\nnote: |\n  learning_rate: 5e-5\n",
            "learning_rate: 3.61e-05\nnote: |\n  learning_rate: 5e-5\n",
        ),
    ],
)
def test_only_the_number_changes(before: str, after: str) -> None:
    key = "a.learning_rate" if before.startswith("a:") else "learning_rate"

    assert changed(before, key=key).decode() == after


@pytest.mark.parametrize(
    ("before", "key", "after"),
    [
        ("a: 1\nlearning: {x: 1}\n", "learning.rate", "a: 1\nlearning: {rate: 3.61e-05, x: 1}\n"),
        ("a: {}\n", "a.rate", "a: {rate: 3.61e-05}\n"),
        (
            "a:\n    b: 1 # c\n    # about d\n    d: 2\n",
            "a.rate",
            "a:\n    b: 1 # c\n    rate: 3.61e-05\n    # about d\n    d: 2\n",
        ),
        ("a:\r\n  b: 1\r\nc: 2", "a.rate", "a:\r\n  b: 1\r\n  rate: 3.61e-05\r\nc: 2"),
        ("a:\n  b: 1", "a.rate", "a:\n  b: 1\n  rate: 3.61e-05"),
        ("l:\n  - n: x\n    m: 1\n", "l.0.rate", "l:\n  - n: x\n    rate: 3.61e-05\n    m: 1\n"),
    ],
)
def test_a_missing_key_is_added_beside_its_siblings(before: str, key: str, after: str) -> None:
    tree = parse_config(before.encode(), "c.yaml")

    edit = insertion(tree, tuple(key.split(".")), "3.61e-05")

    assert apply_edits(tree, [edit]).data.decode() == after


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("learning_rate: ${base.lr}\n", "stands elsewhere"),
        ("learning_rate: ???\n", "stands elsewhere"),
        ("lr: &x 1e-3\nlearning_rate: *x\n", "shares its value with other keys through an alias .lr."),
        ("learning_rate: &x 1e-3\nlr: *x\n", "shares its value with other keys through an alias .lr."),
        ("learning_rate: [1e-3, 1e-4]\n", "is a list, no number"),
        ("learning_rate: {a: 1}\n", "is a mapping, no number"),
        ("learning_rate: auto\n", "is `auto`, no number"),
        ("learning_rate: !!str 5e-5x\n", "has the tag !!str"),
        ("learning_rate: 190:20:30\n", "no number"),
        ("learning_rate: |\n  5e-5\n", "no plain number"),
        ("learning_rate: !!python/object:os.system 1\n", "no plain number"),
        ("learning_rate: 1e-3\nlearning_rate: 1e-4\n", "given twice"),
        ("a: {b: 1, b: 2}\nlearning_rate: 1e-4\n", "`b` is given twice"),
        ("learning_rate: 1e-4\t# tab\n", "a tab, which PyYAML does not take here"),
        ("learning_rate: [1\n", "not valid YAML"),
        ("learning_rate: *nothing\n", "not valid YAML"),
        ("- 1\n- 2\n", "no mapping"),
        ("", "no mapping"),
        ("nothing: 1\n", "no key `learning_rate`"),
        ("learning_ratee: 1\n", "no key `learning_rate`"),
        ("learning_rate: 1e-3\n---\nlearning_rate: 1e-4\n", "stands in 2 places"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_place(text: str, what: str) -> None:
    with pytest.raises(Refused, match=what) as caught:
        changed(text, key="learning_rate")

    assert caught.value.where.startswith("c.yaml")
    assert caught.value.remedy
    if "twice" in what or "tab" in what:
        assert caught.value.where.count(":") == 2


def test_a_file_in_another_encoding_is_refused() -> None:
    for data in ("learning_rate: 1\n".encode("utf-16"), b"learning_rate: 1 # \xe9\n"):
        with pytest.raises(Refused, match="not UTF-8"):
            changed(data)


def test_aliases_that_explode_end_in_a_refusal() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]

    with pytest.raises(Refused, match="unfold"):
        changed("\n".join(lines) + "\nlearning_rate: 1e-3\n")


def test_json_stays_json() -> None:
    text = '{\n\t"optimizer": {"params": {"lr": 5e-5, "betas": [0.9, 0.95]}},\n\t"zero_optimization": {"stage": 2}\n}'

    after = changed(text, name="ds.json").decode()

    assert after == text.replace("5e-5", "3.61e-05")
    with pytest.raises(Refused, match="not valid JSON"):
        changed(text[:-1], name="ds.json")
    with pytest.raises(Refused, match="given twice"):
        changed('{"lr": 1, "lr": 2}', key="lr", name="ds.json")


def test_a_megabyte_is_changed_in_one_place() -> None:
    lines = [f"block_{number}: {{a: 'ü', b: [1, 2.0e-3], c: \"x\"}}  # {number}" for number in range(20_000)]
    lines.insert(9_999, "learning_rate: 5e-5 # here")
    text = "\n".join(lines)
    assert len(text) > 1_000_000

    assert changed(text, key="learning_rate").decode() == text.replace("5e-5 # here", "3.61e-05 # here")


@given(RATES)
@example(1e-5)
@example(0.1)
@example(1.0)
@example(4e-05)
@example(0.00011999999999999999)
def test_a_written_rate_is_a_float_for_pyyaml_and_json(rate: float) -> None:
    text = rate_text(rate)

    loaded = yaml.safe_load(f"lr: {text}")["lr"]
    assert isinstance(loaded, float)
    assert math.isclose(loaded, rate, rel_tol=1e-5)
    assert float(text) == loaded


# Documents that people write, grown at random.
KEYS = st.sampled_from(["a", "b", "model", "größe", "data.path", "x-y", "'q k'", '"d"', "null_", "7", "on"])
SCALARS = st.sampled_from(
    [
        "1",
        "5e-5",
        "1.0e-4",
        "true",
        "~",
        "''",
        '"a: b # c"',
        "'it''s'",
        "plain text",
        "ü ö",
        "2024-01-01",
        "!!float 1",
        "0x1F",
        "${x}",
    ]
)
COMMENTS = st.sampled_from(["", "  # note", " # ünï: 'x'", " #"])
BLANKS = st.sampled_from(["", "", "# line\n", "\n", "   \n"])


@st.composite
def flow(draw: Any, depth: int = 0) -> str:
    kind = draw(st.integers(0, 3)) if depth < 2 else 0
    if kind == 1:
        return "[" + ", ".join(draw(st.lists(flow(depth + 1), max_size=3))) + "]"
    if kind == 2:
        keys = draw(st.lists(KEYS, max_size=3, unique_by=lambda key: key.strip("'\"")))
        return "{" + ", ".join(f"{key}: {draw(flow(depth + 1))}" for key in keys) + "}"
    return str(draw(SCALARS))


@st.composite
def block(draw: Any, indent: int = 0, depth: int = 0) -> str:
    """Return a block mapping; one of its levels will get the learning rate."""
    keys = draw(st.lists(KEYS, min_size=1, max_size=4, unique_by=lambda key: key.strip("'\"")))
    lines = []
    for key in keys:
        lines.append(draw(BLANKS))
        pad = " " * indent
        kind = draw(st.integers(0, 5)) if depth < 3 else 0
        if kind == 1:
            inner = indent + draw(st.integers(1, 4))
            lines.append(f"{pad}{key}:{draw(COMMENTS)}\n{draw(block(inner, depth + 1))}")
        elif kind == 2:
            items = "".join(f"{pad}- {draw(flow(1))}{draw(COMMENTS)}\n" for _ in range(draw(st.integers(1, 3))))
            lines.append(f"{pad}{key}:{draw(COMMENTS)}\n{items}")
        elif kind == 3:
            lines.append(f"{pad}{key}: {draw(st.sampled_from(['|', '>-', '|+']))}\n{pad}  text: 1\n\n{pad}  more\n")
        else:
            lines.append(f"{pad}{key}: {draw(flow())}{draw(COMMENTS)}\n")
    return "".join(lines)


RATE_LINES = st.sampled_from(
    [
        "5e-5",
        "5.0e-05",
        "'5e-5'",
        '"1e-4"',
        "0.00005",
        "!!float 3e-4",
        "&own 2e-5",
        "1",
        "~",
        "# below\n{pad}1e-4",
        "&own # why\n{pad}5e-5",
        "!!float # why\n{pad}# and how\n{pad}'3e-4'",
        "&own",
    ]
)


@st.composite
def documents(draw: Any) -> tuple[bytes, str]:
    """Return a config with one learning rate, and the dotted key of it."""
    depth = draw(st.integers(0, 2))
    path = [f"level{number}" for number in range(depth)]
    pieces, indent = [draw(st.sampled_from(["", "---\n", "# head\n\n", "%YAML 1.1\n---\n"]))], 0
    for name in path:
        pieces.append(draw(block(indent, 2)))
        pieces.append(f"{' ' * indent}{name}:{draw(COMMENTS)}\n")
        indent += draw(st.integers(1, 3))
    pieces.append(draw(block(indent, 1)))
    pieces.append(
        f"{' ' * indent}learning_rate: {draw(RATE_LINES).replace('{pad}', ' ' * (indent + 2))}{draw(COMMENTS)}\n"
    )
    pieces.append(draw(st.sampled_from(["", "\n\n", "# end\n", "...\n"])))
    text = "".join(pieces)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    data = text.encode()
    return (b"\xef\xbb\xbf" + data if draw(st.booleans()) else data), ".".join([*path, "learning_rate"])


@settings(max_examples=300)
@given(documents(), RATES)
def test_exactly_one_value_changes_and_every_other_byte_stays(document: tuple[bytes, str], rate: float) -> None:
    data, key = document
    try:
        config = read_config(data, "c.yaml", key)
    except Refused:
        # What PyYAML itself cannot read is not raftmon's to change.
        event("refused")
        assert _pyyaml_fails(data)
        return

    after = config.with_rate(rate)

    at = next(p for p in config.tree.everywhere if p.key == key)
    end = config.tree.offset(at.node.end_mark.index)
    tail = len(data) - end
    assert after[len(after) - tail :] == data[end:]
    # Nothing goes but one of the words that were drawn as a value, and nothing comes but the number.
    head = next((n for n, (a, b) in enumerate(zip(data, after, strict=False)) if a != b), min(len(data), len(after)))
    gone, come = data[head:end].decode(), after[head : len(after) - tail].decode()
    words = ("5e-5", "5.0e-05", "'5e-5'", '"1e-4"', "0.00005", "3e-4", "2e-5", "1", "~", "1e-4", "'3e-4'", "")
    assert any(word.endswith(gone) for word in words)
    assert f" {rate_text(rate)}".endswith(come)
    loaded = next(p for p in parse_config(after, "c.yaml").everywhere if p.key == key)
    assert float(loaded.scalar or "nan") == pytest.approx(rate, rel=1e-5)
    assert str(loaded.node.tag).endswith(":float")
    assert read_config(after, "c.yaml", key).with_rate(rate) == after


def _pyyaml_fails(data: bytes) -> bool:
    try:
        list(yaml.compose_all(data.decode("utf-8-sig"), Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return True
    return False


@given(st.binary(max_size=200), st.sampled_from(["c.yaml", "c.json"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    refused = None
    try:
        tree = parse_config(data, name, "json" if name.endswith("json") else "yaml")
    except Refused as error:
        refused = error
    assert refused.where.startswith(name) if refused is not None else tree.documents


@given(documents(), RATES)
def test_what_is_added_stands_in_a_line_of_its_own(document: tuple[bytes, str], rate: float) -> None:
    data, key = document
    try:
        tree = parse_config(data, "c.yaml")
    except Refused:
        return
    path = (*key.split(".")[:-1], "added")

    try:
        edit = insertion(tree, path, rate_text(rate))
    except Refused as error:
        if "no line beside which" not in error.what:
            raise
        return
    after = apply_edits(tree, [edit]).data

    lines, more = data.splitlines(keepends=True), after.splitlines(keepends=True)
    new = [line for line in more if line.lstrip().startswith(b"added:")]
    assert len(new) == 1
    assert b"".join(more).replace(new[0], b"").rstrip(b"\r\n") == data.rstrip(b"\r\n")
    assert len(more) == len(lines) + 1


@pytest.mark.parametrize("text", ["[" * 60_000, "a: " + "{b: " * 60_000, "- " * 60_000, "? " * 60_000])
def test_brackets_without_end_end_in_a_refusal(text: str) -> None:
    with pytest.raises(Refused, match="nested too deep"):
        parse_config(text.encode(), "c.yaml")


def test_two_edits_in_one_place_are_refused() -> None:
    tree = parse_config(b"learning_rate: &a 1\nlr: *a\n", "c.yaml")
    edits = [replacement(tree, place, 1e-5) for place in tree.everywhere]

    with pytest.raises(Refused, match="written twice in one place"):
        apply_edits(tree, edits)
