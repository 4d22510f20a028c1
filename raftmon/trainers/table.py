"""The table of trainers' config files, ``rules/trainers.yaml``: how each is known, where its learning rate stands.

Facts as data; what is done with them is in `raftmon.trainers.dialects` and `raftmon.trainers.effect`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from raftmon.documents import SHIPPED_RULES, Fields, read_fields
from raftmon.errors import DocumentErrors
from raftmon.model import Problem
from raftmon.runs.signature import Signature, read_signature

__all__ = ["Condition", "Resume", "Select", "Trainer", "Void", "load_trainers"]

ExtraKeys: TypeAlias = Literal["ignored", "refused", "unknown"]
Process: TypeAlias = Literal["cycle", "campaign"]
Insert: TypeAlias = Literal["beside", "block", "never"]
MISSING: Final = "missing"
PATH: Final = "path"
_NOT_A_PATH: Final = frozenset({"true", "false", "null", "~", "", "none", "no", "yes", "off", "on", "auto"})


@dataclass(frozen=True, slots=True)
class Condition:
    """A key that has one of some values."""

    key: str
    values: tuple[str, ...]
    """In lower case; ``missing``: the key is not there or empty; ``path``: any text that is no switch."""

    def holds(self, values: Mapping[str, str]) -> bool:
        """Tell whether it holds of a document's dotted keys and texts."""
        text = values.get(self.key)
        if text is None:
            return MISSING in self.values
        word = text.strip().lower()
        return word in self.values or (PATH in self.values and word not in _NOT_A_PATH)


@dataclass(frozen=True, slots=True)
class Select:
    """Another key that decides which one holds the learning rate."""

    key: str
    by_value: Mapping[str, str]
    """Value of that key, in lower case, to the dotted key of the learning rate."""
    otherwise: str
    """The dotted key for any other value, and where that key is missing."""


@dataclass(frozen=True, slots=True)
class Void:
    """Another key because of which the learning rate's own has no effect."""

    when: Condition
    text: str
    remedy: str
    flag_helps: bool
    """Whether the trainer's command-line override is used all the same."""


@dataclass(frozen=True, slots=True)
class Resume:
    """How a trainer comes to restore the old optimiser and schedule, so that a new learning rate has no effect."""

    text: str
    when: Condition | None = None
    """Only then; None: always."""
    unless: Condition | None = None
    """What turns it off."""
    checkpoints: tuple[str, ...] = ()
    """Directories in which checkpoints make it resume by itself: dotted keys, or paths with ``{dotted.key}`` in them;
    the first whose keys are all there counts. Empty: it does not look for any."""
    pattern: str = ""
    """Glob of the checkpoints' names in that directory."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """One trainer's config file."""

    name: str
    title: str
    signatures: tuple[Signature, ...]
    """Alternatives."""
    keys: tuple[str, ...]
    """Dotted keys of the learning rate, the likeliest first; ``*`` stands for any characters."""
    choose: Literal["first", "one"]
    """``first``: it takes the first of them that is there; ``one``: more than one leaves open which is meant."""
    select: Select | None
    default: float | None
    """Learning rate in force where the key is missing; None: not known, or the trainer has none."""
    flag: str | None
    """Command-line override with ``{value}`` and perhaps ``{key}``; None: it has none."""
    forms: Mapping[str, str]
    """Other ways to write the value (``lin_{value}``) to the flag of each."""
    insert: Insert
    """``beside``: a missing key may be added to a block that is there; ``block``: with the block, if that is missing
    too; ``never``."""
    beside: tuple[str, ...]
    """Keys next to which a missing learning rate is added, the likeliest first."""
    extra_keys: ExtraKeys
    """What it does with a key that it does not know."""
    process: Process
    """``cycle``: one process per cycle reads the file; ``campaign``: one process runs all cycles and reads it once."""
    resume: tuple[Resume, ...]
    void: tuple[Void, ...]


@cache
def load_trainers(path: Path = SHIPPED_RULES / "trainers.yaml") -> tuple[Trainer, ...]:
    """Read the table.

    Raises:
        DocumentErrors: with every defect of the file.
    """
    problems: list[Problem] = []
    document = read_fields(path, problems)
    trainers: tuple[Trainer, ...] = ()
    if document is not None:
        document.text("schema", choices=("raftmon/trainers@1",))
        trainers = tuple(_read_trainer(entry) for entry in document.mappings("trainers", required=True))
        document.finish()
    if problems:
        raise DocumentErrors(tuple(problems))
    return trainers


def _read_trainer(entry: Fields) -> Trainer:
    entry.text("origin")
    kinds = entry.mappings("signature", required=True)
    signatures = [read_signature(fields, "config", "key") for fields in kinds]
    trainer = Trainer(
        name=entry.text("name"),
        title=entry.text("title"),
        signatures=tuple(signatures),
        keys=entry.texts("keys"),
        choose=cast(Literal["first", "one"], entry.text("choose", "one", choices=("first", "one"))),
        select=_read_select(entry.mapping("select")),
        default=entry.number("default"),
        flag=entry.text("flag", "") or None,
        forms={fields.text("text"): fields.text("flag") for fields in entry.mappings("forms")},
        insert=cast(Insert, entry.text("insert", "never", choices=("never", "beside", "block"))),
        beside=entry.texts("beside"),
        extra_keys=cast(ExtraKeys, entry.text("extra_keys", "unknown", choices=("ignored", "refused", "unknown"))),
        process=cast(Process, entry.text("process", choices=("cycle", "campaign"))),
        resume=tuple(_read_resume(fields) for fields in entry.mappings("resume")),
        void=tuple(_read_voids(entry.mappings("void"))),
    )
    if not trainer.keys and trainer.select is None:
        entry.complain(f"`{entry.name}` names no key of the learning rate", "Write `keys` or `select`.")
    if trainer.flag is not None and "{value}" not in trainer.flag:
        entry.complain("`flag` lacks `{value}`", "For example `--learning_rate {value}`.", "flag")
    for fields in (*kinds, entry):
        fields.finish()
    return trainer


def _read_select(fields: Fields | None) -> Select | None:
    if fields is None:
        return None
    key, otherwise = fields.text("key"), fields.text("otherwise")
    by_value = {word.lower(): fields.text(word) for word in list(fields.keys()) if word not in ("key", "otherwise")}
    fields.finish()
    return Select(key, by_value, otherwise)


def _read_resume(fields: Fields) -> Resume:
    text, unless = fields.text("text"), _read_equality(fields.mapping("unless"))
    if "checkpoints" not in fields:
        resume = Resume(text, _read_condition(fields), unless)
    else:
        when = _read_equality(fields.mapping("when"))
        resume = Resume(text, when, unless, fields.texts("checkpoints"), fields.text("pattern"))
    fields.finish()
    return resume


def _read_equality(fields: Fields | None) -> Condition | None:
    if fields is None:
        return None
    condition = Condition(fields.text("key"), (fields.text("value").lower(),))
    fields.finish()
    return condition


def _read_voids(entries: list[Fields]) -> Iterator[Void]:
    for fields in entries:
        flag_helps = fields.flag("flag_helps", False)
        yield Void(_read_condition(fields), fields.text("text"), fields.text("remedy"), flag_helps)
        fields.finish()


def _read_condition(fields: Fields) -> Condition:
    values = fields.texts("values")
    if not values:
        fields.complain(f"`{fields.name}` needs `values`", f"Texts in lower case, `{MISSING}` or `{PATH}`.")
    return Condition(fields.text("key"), tuple(value.lower() for value in values))
