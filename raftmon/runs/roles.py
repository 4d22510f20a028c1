"""What a tag means: trainers' names for things, turned into roles.

The knowledge is data: ``rules/tags.yaml`` (role to tags, best first) and ``rules/dialects.yaml`` (how to tell which
trainer wrote a run, and what it means otherwise than the rest). This module reads and applies it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from raftmon.documents import Fields, read_fields, suggest
from raftmon.model import Problem
from raftmon.runs.signature import Signature, pattern_of, read_signature
from raftmon.slotted import dataclass

__all__ = ["ROLES", "SCENARIOS", "STEP_AXES", "UNKNOWN", "Dialect", "RoleTable", "RoleTag"]

Better: TypeAlias = Literal["higher", "lower"]

ROLES: Final[tuple[str, ...]] = (
    "loss",
    "policy_loss",
    "learning_rate",
    "grad_norm",
    "eval_loss",
    "verification_rate",
    "heldout_rate",
    "reward",
    "entropy",
    "kl",
    "update_kl",
    "clip_ratio",
    "completion_length",
    "unique_fraction",
    "accuracy",
    "epoch",
    "throughput",
    "value_loss",
    "update_ratio",
    "cycle_kl",
    "cycle_harm",
    "rho",
    "loss_scale",
    "run_end",
    "eval_metric",
)
"""Every role, in the order in which they take their tags: ``eval_metric`` takes what the others left."""
SCENARIOS: Final = ("raft", "sft", "lora", "dpo", "rl", "pretrain", "any")
STEP_AXES: Final = ("optimizer_step", "samples", "env_steps", "epoch", "cycle")
_BETTER: Final = ("higher", "lower")
_NO_ROLE: Final = "none"
"""What the rules write for a tag that shall have no role."""


@dataclass(frozen=True, slots=True)
class RoleTag:
    """The tag that plays a role in a run."""

    tag: str
    """As the trainer wrote it."""
    scale: float = 1.0
    """What each value must be multiplied by to be in the role's own unit."""
    better: Better | None = None
    """Which way is good; None where neither is, or where the tag does not tell."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a dialect, or the user, says of a tag before the common table is asked."""

    tag: str
    """Name, in which ``*`` stands for any characters."""
    role: str
    """One of `ROLES`, or ``none``."""
    scale: float | None = None
    """None: as in the common table."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One trainer's way of naming things."""

    name: str
    """Short and stable, for example ``hf``; ``unknown`` when no signature fits."""
    title: str
    """For people."""
    scenario: str = "any"
    """One of `SCENARIOS`; ``any`` where the tags do not tell."""
    step_axis: str = "optimizer_step"
    """What the step of an event counts: one of `STEP_AXES`."""
    max_grad_norm: float | None = None
    """The trainer's default clip limit; None: it clips nothing by default, or it is not known."""
    averaged: bool = False
    """Whether a logged loss is the mean over the steps since the one before; False: of one step, or not known."""
    signatures: tuple[Signature, ...] = ()
    """Alternatives."""
    meanings: tuple[Meaning, ...] = ()
    """What it means otherwise than other trainers, best first."""


UNKNOWN: Final = Dialect("unknown", "a trainer that raftmon does not know")


@dataclass(frozen=True, slots=True)
class Role:
    """What the common table knows of one role."""

    better: Better | None = None
    """Which way is good for all its tags; None where that differs."""
    tags: tuple[str, ...] = ()
    """Names, best first; in each ``*`` stands for any characters."""
    left_out: tuple[str, ...] = ()
    """What no name with a ``*`` may take."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Tag to factor, where it is not 1."""
    lower: tuple[str, ...] = ()
    """Names of which less is better."""
    higher: tuple[str, ...] = ()
    """Names of which more is better; asked after `lower`."""

    def find(self, tags: Mapping[str, str]) -> str | None:
        """Return the best tag for the role.

        Args:
            tags: what is left of the run's tags, by their names in lower case, in natural order.
        """
        for name in self.tags:
            if "*" not in name:
                if name.casefold() in tags:
                    return tags[name.casefold()]
                continue
            pattern = pattern_of((name,))
            for tag in tags.values():
                if pattern.fullmatch(tag) and not _fits(self.left_out, tag):
                    return tag
        return None

    def with_tag(self, tag: str, scale: float | None = None) -> RoleTag:
        """Return the role's tag with its scale and direction."""
        better: Better | None = (
            "lower" if _fits(self.lower, tag) else "higher" if _fits(self.higher, tag) else self.better
        )
        return RoleTag(tag, self.scales.get(tag, 1.0) if scale is None else scale, better)


class RoleTable:
    """Which tag plays which role, for every trainer that the rules know.

    Args:
        roles: role to what is known of it.
        dialects: in the order in which their signatures are tried.
        extra: the user's own meanings, which go before all others.
    """

    def __init__(
        self, roles: Mapping[str, Role], dialects: tuple[Dialect, ...], extra: tuple[Meaning, ...] = ()
    ) -> None:
        self.dialects = dialects
        self._roles = {name: roles.get(name, Role()) for name in ROLES}
        self._extra = extra
        self._names: tuple[str, ...] | None = None

    @classmethod
    def load(cls, directory: Path, problems: list[Problem], extra: Mapping[str, str] | None = None) -> RoleTable:
        """Read ``tags.yaml`` and ``dialects.yaml``.

        Args:
            directory: the rule set.
            problems: where every defect of the two files and of `extra` is noted.
            extra: the user's tags, each (``*`` allowed) with its role, or ``none``.
        """
        roles = _read_roles(directory / "tags.yaml", problems)
        dialects = tuple(_read_dialects(directory / "dialects.yaml", problems))
        return cls(roles, dialects, tuple(_read_extra(extra or {}, problems)))

    def plays_role(self, tag: str) -> bool:
        """Tell whether a tag may play a role in the log of some trainer."""
        if self._names is None:
            meanings = [*self._extra, *(meaning for dialect in self.dialects for meaning in dialect.meanings)]
            named = [meaning.tag for meaning in meanings if meaning.role != _NO_ROLE]
            self._names = tuple(dict.fromkeys([*named, *(name for role in self._roles.values() for name in role.tags)]))
        return _fits(self._names, tag)

    def dialect_of(self, tags: Collection[str]) -> Dialect:
        """Return the first dialect whose signature fits a run's tags, else `UNKNOWN`.

        A run shows its tags one after the other, so ask again whenever there is a new one.
        """
        known = frozenset(tags)
        for dialect in self.dialects:
            if any(signature.fits(known) for signature in dialect.signatures):
                return dialect
        return UNKNOWN

    def assign(self, tags: Collection[str], dialect: Dialect) -> dict[str, RoleTag]:
        """Return which tag plays which role.

        Args:
            tags: all scalar tags of a run, in any order.
            dialect: as found by `dialect_of`.

        Returns:
            Role to tag, at most one each and in the order of `ROLES`; the same tags give the same answer.
        """
        free: dict[str, str] = {}
        for tag in sorted(tags, key=_natural):
            free.setdefault(tag.casefold(), tag)
        taken: dict[str, RoleTag] = {}
        for meaning in (*self._extra, *dialect.meanings):
            pattern = pattern_of((meaning.tag,))
            fitting = [folded for folded, tag in free.items() if pattern.fullmatch(tag)]
            if fitting and meaning.role != _NO_ROLE and meaning.role not in taken:
                taken[meaning.role] = self._roles[meaning.role].with_tag(free[fitting[0]], meaning.scale)
            for folded in fitting:
                del free[folded]
        for name, role in self._roles.items():
            found = role.find(free) if name not in taken else None
            if found is not None:
                taken[name] = role.with_tag(found)
                del free[found.casefold()]
        return {name: taken[name] for name in ROLES if name in taken}


def _fits(names: tuple[str, ...], tag: str) -> bool:
    return bool(names) and pattern_of(names).fullmatch(tag) is not None


def _natural(tag: str) -> list[tuple[int, str]]:
    """Sort key under which ``pg2`` comes before ``pg10``."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", tag)]


def _read_roles(path: Path, problems: list[Problem]) -> dict[str, Role]:
    document = _open(path, "raftmon/tags@1", problems)
    if document is None:
        return {}
    ignored = document.texts("ignore")
    entries = document.mapping("roles", required=True)
    roles = {}
    for name in ROLES if entries is not None else ():
        entry = entries.mapping(name) if entries is not None else None
        if entry is None:
            continue
        entry.text("meaning")
        better = entry.text("better", "", _BETTER) if "better" in entry else None
        scales = entry.mapping("scales")
        roles[name] = Role(
            better=cast("Better | None", better),
            tags=entry.texts("tags"),
            left_out=ignored + entry.texts("except"),
            scales={tag: scales.number(tag) or 1.0 for tag in scales.keys()} if scales is not None else {},  # noqa: SIM118
            lower=entry.texts("lower_is_better"),
            higher=entry.texts("higher_is_better"),
        )
        entry.finish()
    if entries is not None:
        entries.finish()
    document.finish()
    return roles


def _read_dialects(path: Path, problems: list[Problem]) -> Iterator[Dialect]:
    document = _open(path, "raftmon/dialects@1", problems)
    if document is None:
        return
    for entry in document.mappings("dialects", required=True):
        entry.text("origin")
        signatures = entry.mappings("signature", required=True)
        meanings = entry.mappings("tags")
        yield Dialect(
            name=entry.text("name"),
            title=entry.text("title"),
            scenario=entry.text("scenario", choices=SCENARIOS),
            step_axis=entry.text("step_axis", choices=STEP_AXES),
            max_grad_norm=entry.number("max_grad_norm"),
            averaged=entry.flag("averaged", False),
            signatures=tuple(read_signature(fields, "run", "tag") for fields in signatures),
            meanings=tuple(
                Meaning(own.text("tag"), own.text("role", choices=(*ROLES, _NO_ROLE)), own.number("scale"))
                for own in meanings
            ),
        )
        for fields in (*signatures, *meanings, entry):
            fields.finish()
    document.finish()


def _read_extra(extra: Mapping[str, str], problems: list[Problem]) -> Iterator[Meaning]:
    legal = (*ROLES, _NO_ROLE)
    for tag, role in extra.items():
        if role in legal:
            yield Meaning(tag, role)
        else:
            problems.append(Problem(f"settings: tags.{tag}", f"`{role}` is no role", suggest(role, legal)))


def _open(path: Path, schema: str, problems: list[Problem]) -> Fields | None:
    document = read_fields(path, problems)
    if document is not None:
        document.text("schema", choices=(schema,))
    return document
