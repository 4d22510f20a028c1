"""Dataclasses as `raftmon.slotted` makes them, beside the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest

from raftmon.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Ours:
    """As raftmon makes them."""

    name: str
    number: float = 1.5
    words: dict[str, int] = field(default_factory=dict)

    @property
    def twice(self) -> float:
        """Return the number again, and again."""
        return 2 * self.number


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """As the standard library makes them."""

    name: str
    number: float = 1.5
    words: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Open:
    """May be changed."""

    number: int = 0
    words: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """Equal to itself alone."""

    number: int


@dataclass(frozen=True, slots=True)
class Checked:
    """Looks at what it is made of."""

    number: int

    def __post_init__(self) -> None:
        """Refuse what is below nothing."""
        if self.number < 0:
            raise ValueError(self.number)


def test_it_looks_like_the_standard_librarys() -> None:
    ours, theirs = Ours("a", 2.0, {"b": 1}), Theirs("a", 2.0, {"b": 1})

    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert list(inspect.signature(Ours).parameters) == list(inspect.signature(Theirs).parameters)
    assert (Ours.__match_args__, Ours.__slots__) == (Theirs.__match_args__, Theirs.__slots__)
    assert ours.twice == 4
    assert not hasattr(ours, "__dict__")


def test_defaults_are_each_instances_own() -> None:
    assert (Ours("a").number, Ours("a").words) == (1.5, {})
    assert Open().words is not Open().words


@pytest.mark.parametrize("arguments", [(), ("a", 1.0, {}, 2)])
def test_wrong_numbers_of_arguments_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="__init__"):
        Ours(*arguments)


def test_equal_fields_of_one_class_are_equal() -> None:
    nan = math.nan

    assert Ours("a") == Ours("a") != Ours("b")
    other: object = Theirs("a")
    assert Ours("a") != other
    # The same NaN is equal in a tuple, which is what the standard library compares.
    assert (Ours("a", nan) == Ours("a", nan)) == (Theirs("a", nan) == Theirs("a", nan))
    assert Open(1) == Open(1) != Open(2)
    assert Same(1) != Same(1)


def test_only_what_cannot_change_has_a_hash_of_its_fields() -> None:
    assert hash(Checked(1)) == hash(Checked(1))
    assert {Same(1), Same(1)} != {Same(1)}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Open())


def test_what_is_frozen_refuses_to_be_changed() -> None:
    ours: Any = Ours("a")
    changing: list[Callable[[], None]] = [
        lambda: setattr(ours, "name", "b"),
        lambda: setattr(ours, "other", "b"),
        lambda: delattr(ours, "name"),
    ]
    for change in changing:
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    opened = Open()
    opened.number = 3
    assert (ours.name, opened.number) == ("a", 3)


def test_it_is_copied_pickled_and_replaced() -> None:
    for made in (Ours("a", 2.0, {"b": 1}), Open(2, ["c"])):
        assert copy.copy(made) == copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made
    assert dataclasses.replace(Ours("a"), number=3.0) == Ours("a", 3.0)


def test_post_init_is_called() -> None:
    assert Checked(1).number == 1
    with pytest.raises(ValueError, match="-1"):
        Checked(-1)


def test_a_frozen_one_may_be_a_base_of_the_standard_librarys() -> None:
    @dataclasses.dataclass(frozen=True)
    class Below(Checked):
        more: int = 0

    assert (Below(1, 2).number, Below(1, 2).more) == (1, 2)


def test_what_it_does_not_know_is_refused() -> None:
    def body(**own: object) -> type:
        return type("Made", (), {"__annotations__": {"number": "int"}, **own})

    refused = [
        body(number=field(kw_only=True)),
        body(number=field(default=1, init=False)),
        body(number=field(repr=False)),
        body(number=field(compare=False)),
        body(__repr__=lambda _: "mine"),
    ]
    for cls in refused:
        with pytest.raises(TypeError, match="use dataclasses"):
            dataclass(slots=True)(cls)
    with pytest.raises(TypeError, match="without slots"):
        dataclass(slots=False)(body())
