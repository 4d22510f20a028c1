"""YAML documents: typed access, places, and nothing passed over in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from raftmon.documents import MAX_DOCUMENT_BYTES, Fields, compose, flatten, read_fields, read_node, suggest
from raftmon.model import Problem


def fields_of(text: str) -> tuple[Fields, list[Problem]]:
    problems: list[Problem] = []
    node = compose(text, "a.yaml", problems)
    assert isinstance(node, yaml.MappingNode)
    return Fields(node, "a.yaml", problems), problems


def test_values_come_in_the_kind_that_was_asked_for() -> None:
    fields, problems = fields_of(
        "name: loss\nlimit: 5e-5\nbig: 1_000\non: yes\nwords: [a, b]\nword: c\nnested: {x: 1}\nlist: [{y: 2}, {y: 3}]\n"
    )

    assert fields.text("name") == "loss"
    assert fields.number("limit") == 5e-5
    assert fields.number("big") == 1000.0
    assert fields.flag("on", default=False) is True
    assert fields.texts("words") == ("a", "b")
    assert fields.texts("word") == ("c",)
    nested = fields.mapping("nested")
    assert nested is not None
    assert nested.number("x") == 1.0
    assert [entry.number("y") for entry in fields.mappings("list")] == [2.0, 3.0]
    fields.finish()
    assert problems == []


def test_what_is_absent_takes_its_default_and_says_nothing() -> None:
    fields, problems = fields_of("empty:\nnothing: ~\n")

    assert fields.text("absent", "x") == fields.text("empty", "x") == "x"
    assert fields.number("absent") is None
    assert fields.number("nothing", 2.0) == 2.0
    assert fields.flag("empty", default=True) is True
    assert fields.texts("nothing") == ()
    assert fields.mapping("empty") is None
    assert fields.mappings("absent") == []
    assert ("empty" in fields, "absent" in fields) == (True, False)
    assert problems == []


Access = Callable[[Fields], object]


@pytest.mark.parametrize(
    ("text", "access", "where", "what"),
    [
        ("a: 1", lambda f: f.text("b"), "a.yaml:1:1", "`b` is missing"),
        ("x: 1\na:", lambda f: f.text("a"), "a.yaml:2:1", "`a` is empty"),
        ("a:", lambda f: f.number("a", required=True), "a.yaml:1:1", "`a` is empty"),
        ("a: [1]", lambda f: f.text("a"), "a.yaml:1:4", "`a` must be text"),
        ("a: blue", lambda f: f.number("a"), "a.yaml:1:4", "`a` must be a finite number"),
        ("a: nan", lambda f: f.number("a"), "a.yaml:1:4", "`a` must be a finite number"),
        ("a: 1e999", lambda f: f.number("a"), "a.yaml:1:4", "`a` must be a finite number"),
        ("a: {b: 1}", lambda f: f.number("a"), "a.yaml:1:4", "`a` must be a finite number"),
        ("a: maybe", lambda f: f.flag("a", default=True), "a.yaml:1:4", "`a` must be true or false"),
        ("a: [x, [y]]", lambda f: f.texts("a"), "a.yaml:1:8", "`a` must be a list of words"),
        ("a: [x, ~]", lambda f: f.texts("a"), "a.yaml:1:8", "`a` must be a list of words"),
        ("a: 1", lambda f: f.mapping("a"), "a.yaml:1:4", "`a` must be a mapping"),
        ("a: 1", lambda f: f.mappings("a"), "a.yaml:1:4", "`a` must be a list"),
        ("a: [1]", lambda f: f.mappings("a"), "a.yaml:1:5", "`a` must hold mappings"),
        ("? [1, 2]\n: 3\na: 1", lambda f: f.text("a"), "a.yaml:1:3", "a key must be a plain word"),
        ("a: 1\na: 2", lambda f: f.text("a"), "a.yaml:2:1", "`a` is given twice"),
    ],
)
def test_a_defect_is_told_with_its_place(text: str, access: Access, where: str, what: str) -> None:
    fields, problems = fields_of(text)

    access(fields)

    assert [(problem.where, problem.what) for problem in problems] == [(where, what)]
    assert problems[0].remedy


def test_a_wrong_word_brings_the_nearest_legal_one() -> None:
    fields, problems = fields_of("status: stabel\nlevels: [low, hihg]")

    assert fields.text("status", choices=("stable", "test")) == "stable"
    assert fields.texts("levels", choices=("low", "high")) == ("low",)
    assert [problem.remedy for problem in problems] == [
        "Did you mean `stable`? One of: stable, test.",
        "Did you mean `high`? One of: low, high.",
    ]
    assert suggest("zzz", ("a", "b")) == "One of: a, b."


def test_unknown_keys_are_told_in_the_order_of_the_file() -> None:
    fields, problems = fields_of("zeta: 1\ntitle: x\nalpha: 2\ntitel: 3\nnested:\n  inner: 1\n")
    fields.text("title")
    nested = fields.mapping("nested")
    assert nested is not None
    nested.finish()
    fields.finish()

    assert [problem.where for problem in problems] == ["a.yaml:6:3", "a.yaml:1:1", "a.yaml:3:1", "a.yaml:4:1"]
    assert problems[0].what == "`nested.inner` is not a key of this document"
    assert problems[3].remedy.startswith("Did you mean `title`?")


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"a: [1\nb: 2", ":2:2", "not valid YAML"),
        (b"a: 1\n---\nb: 2", ":2:1", "more than one document"),
        (b"a: \x00", "", "not valid YAML"),
        (b"[" * 3000, "", "not valid YAML"),
        (b"a: \xff", "", "cannot be read: not UTF-8 text"),
        (b"- 1", ":1:1", "the document is no mapping"),
        (b"", ":1:1", "the document is no mapping"),
        (b"#" * (MAX_DOCUMENT_BYTES + 1), "", "larger than 4 MB"),
    ],
)
def test_a_file_that_is_no_document_is_one_problem(tmp_path: Path, content: bytes, where: str, what: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    problems: list[Problem] = []

    assert read_fields(path, problems) is None
    assert len(problems) == 1
    assert problems[0].where.startswith(f"{path}{where}")
    assert problems[0].what.startswith(what)


def test_an_absent_file_is_a_problem_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert read_fields(tmp_path / "none.yaml", problems) is None
    assert problems[0].what == "cannot be read: No such file or directory"

    marked = tmp_path / "marked.yaml"
    marked.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    fields = read_fields(marked, problems)
    assert fields is not None
    assert (fields.text("a"), fields.text("b")) == ("1", "2")
    assert len(problems) == 1


def test_flatten_gives_every_scalar_by_its_path_and_constructs_nothing() -> None:
    text = """
lr: [1e-3, 1.0e-4]
optim: {name: adam, betas: [0.9, 0.98], eps: ~}
callback: !!python/object/apply:os.system ["echo constructed"]
shared: &shared {deep: 1}
again: *shared
"""
    assert flatten(compose(text, "a.yaml", [])) == {
        "lr.0": "1e-3",
        "lr.1": "1.0e-4",
        "optim.name": "adam",
        "optim.betas.0": "0.9",
        "optim.betas.1": "0.98",
        "callback.0": "echo constructed",
        "shared.deep": "1",
        "again.deep": "1",
    }
    assert flatten(None) == {}
    assert flatten(compose("just words", "a.yaml", [])) == {}


def test_flatten_survives_cycles_and_alias_bombs() -> None:
    assert flatten(compose("a: &a {b: *a, c: 1}", "a.yaml", []))["a.c"] == "1"
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    assert 0 < len(flatten(compose(bomb, "a.yaml", []))) <= 50_000


def test_read_node_of_an_empty_file_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "hparams.yaml"
    path.touch()
    problems: list[Problem] = []

    assert read_node(path, problems) is None
    assert problems == []
