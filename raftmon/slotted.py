"""`dataclass(slots=True)`, made at a third of the cost.

Python before 3.13 compiles each of a dataclass's methods apart, 0.45 ms a class: with sixty classes behind a monitor,
that was a third of what its own modules cost to import. Here only ``__init__`` is compiled, which differs from class to
class in more than the names of its fields; the other methods are closures over those names: 0.14 ms. The fields are the
standard library's own, so that `dataclasses.replace`, `fields` and `asdict` know these classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

__all__ = ["dataclass"]

T = TypeVar("T")


def _dataclass(*, slots: bool, frozen: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]:
    """Return a decorator that does what `dataclasses.dataclass` does with the same arguments.

    Args:
        slots: always True: it is written out so that readers and type checkers see what they know.
        frozen: whether an instance refuses to be changed.
        eq: whether instances with equal fields are equal; a frozen one then has a hash.

    Raises:
        TypeError: no slots, or a field in a way that is not known here: keyword only, not in ``__init__``, not in
            ``repr`` or not compared; or a method of its own that would be made here.
    """
    if not slots:
        raise TypeError("without slots, use dataclasses.dataclass")

    def made(cls: type[T]) -> type[T]:
        slotted: Any = dataclasses.dataclass(slots=True, init=False, repr=False, eq=False)(cls)
        fields = dataclasses.fields(slotted)
        for field in fields:
            if field.kw_only or not (field.init and field.repr and field.compare):
                raise TypeError(f"{cls.__qualname__}.{field.name}: use dataclasses.dataclass")
        for own in ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"):
            if cls.__dict__.get(own) is not None:
                raise TypeError(f"{cls.__qualname__}.{own}: use dataclasses.dataclass")
        names = tuple(field.name for field in fields)
        slotted.__init__, slotted.__repr__ = _init(slotted, fields), _repr(names)
        # The class is among them so that those of a single field are a tuple, too.
        values = attrgetter("__class__", *names)
        if eq:
            _compare(slotted, values, hashed=frozen)
        if frozen:
            _freeze(slotted, values)
        return cast("type[T]", slotted)

    return made


def _init(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    """Compile ``__init__``; a slot's own descriptor sets it, also where instances are frozen."""
    known: dict[str, Any] = {"MISSING": MISSING}
    parameters, lines = [], []
    for field in fields:
        name, value = field.name, field.name
        known[f"set_{name}"] = getattr(cls, name).__set__
        if field.default_factory is not MISSING:
            known[f"default_{name}"], default = field.default_factory, "MISSING"
            value = f"default_{name}() if {name} is MISSING else {name}"
        elif field.default is not MISSING:
            known[f"default_{name}"], default = field.default, f"default_{name}"
        else:
            default = ""
        parameters.append(f"{name}={default}" if default else name)
        lines.append(f"  set_{name}(self, {value})\n")
    if hasattr(cls, "__post_init__"):
        lines.append("  self.__post_init__()\n")
    exec(f"def __init__(self, {', '.join(parameters)}):\n{''.join(lines) or '  pass'}", known)
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _repr(names: tuple[str, ...]) -> Callable[[object], str]:
    def represented(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return represented


def _compare(cls: Any, values: Callable[[object], tuple[Any, ...]], *, hashed: bool) -> None:
    def equal(self: object, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hash_of(self: object) -> int:
        return hash(values(self))

    cls.__eq__, cls.__hash__ = equal, hash_of if hashed else None


def _freeze(cls: Any, values: Callable[[object], tuple[Any, ...]]) -> None:
    def reduced(self: object) -> tuple[type, tuple[Any, ...]]:
        # Copies and pickles are made by calling the class: what they would set otherwise refuses to be set.
        made, *state = values(self)
        return made, tuple(state)

    cls.__setattr__, cls.__delattr__, cls.__reduce__ = _refuse_to_set, _refuse_to_delete, reduced
    cls.__dataclass_params__.frozen = True


def _refuse_to_set(_: object, name: str, __: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass
