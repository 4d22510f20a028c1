"""The user's settings file, ``raftmon.yaml``. Every key is optional."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal, TypeAlias, cast

from raftmon.documents import Fields, read_fields
from raftmon.errors import DocumentErrors
from raftmon.model import Problem
from raftmon.slotted import dataclass

__all__ = ["Guardrails", "Settings", "Strategy", "StrategyKind", "read_settings"]

StrategyKind: TypeAlias = Literal["constant", "exponential", "manual"]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How the learning rate is meant to go from cycle to cycle."""

    kind: StrategyKind = "constant"
    base: float | None = None
    """Learning rate of cycle 1; None: that of the first cycle in the log."""
    decay: float = 0.85
    """Factor per cycle, for ``exponential``."""
    least: float = 1e-6
    """Floor, for ``exponential``."""
    schedule: Mapping[int, float] = field(default_factory=dict)
    """Cycle to learning rate, for ``manual``."""
    given: bool = True
    """Whether a person chose it; False: it is the default, and what a trainer's config says comes first."""


@dataclass(frozen=True, slots=True)
class Guardrails:
    """What no advice may exceed."""

    max_change: float | None = None
    """Largest factor, up or down, between two cycles. None: 3; 10 where a probe measured how far the rate is off, or
    where the campaign goes back, so that the rate in force was that of a cycle which is given up."""
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, defaults filled in."""

    strategy: Strategy = field(default_factory=lambda: Strategy(given=False))
    guardrails: Guardrails = field(default_factory=Guardrails)
    rules: Mapping[str, Mapping[str, float | bool]] = field(default_factory=dict)
    """Rule id to ``enabled`` and parameter values."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tag to role, for tags that raftmon does not know."""
    keymap: Mapping[str, str] = field(default_factory=dict)
    """Binding id to key, for the TUI."""
    config_key: str | None = None
    """Dotted key of the learning rate in the trainer's config; None: found by the file's own keys."""
    notify: tuple[str, ...] = ()
    """Where the daemon sends what people are to know: URLs, or where such a URL is kept."""
    listen: str | None = None
    """Where the daemon serves metrics, `HOST:PORT`; None: nowhere."""
    retention: float | None = 365.0
    """Days for which the journal keeps what happened; None: for ever."""
    on_finding: Mapping[str, str] = field(default_factory=dict)
    """Rule id, or a pattern of some, to the command that the daemon runs when such a finding fires."""


def read_settings(path: Path | None) -> Settings:
    """Read a settings file; without one, the defaults.

    Raises:
        DocumentErrors: with every defect of the file.
    """
    if path is None:
        return Settings()
    problems: list[Problem] = []
    fields = read_fields(path, problems, may_be_empty=True)
    if fields is None:
        raise DocumentErrors(tuple(problems))
    settings = Settings(
        strategy=_strategy(fields.mapping("strategy")),
        guardrails=_guardrails(fields.mapping("guardrails")),
        rules=_rules(fields.mapping("rules")),
        tags=_texts(fields.mapping("tags")),
        keymap=_texts(fields.mapping("keymap")),
        config_key=fields.text("config_key", "") or None,
        notify=fields.texts("notify"),
        listen=fields.text("listen", "") or None,
        retention=_retention(fields),
        on_finding=_texts(fields.mapping("on_finding")),
    )
    fields.finish()
    if problems:
        raise DocumentErrors(tuple(problems))
    return settings


def _strategy(fields: Fields | None) -> Strategy:
    if fields is None:
        return Strategy(given=False)
    kind = cast(StrategyKind, fields.text("kind", "constant", choices=("constant", "exponential", "manual")))
    base, decay = fields.number("base"), fields.number("decay", 0.85) or 0.0
    least, table = fields.number("min", 1e-6) or 0.0, fields.mapping("schedule")
    schedule: dict[int, float] = {}
    for key in table.keys() if table is not None else ():
        name, rate = re.fullmatch(r"(?:cycle_)?([0-9]+)", key), table.number(key) if table is not None else None
        if table is not None and (name is None or rate is None or not rate > 0.0):
            table.complain(f"`{key}` is no entry of a schedule", "For example `cycle_3: 3.0e-5`.", key)
        elif name is not None and rate is not None:
            schedule[int(name[1])] = rate
    if not 0.0 < decay <= 1.0:
        fields.complain("`strategy.decay` must be above 0 and at most 1", "For example 0.85.", "decay")
    if base is not None and not base > 0.0:
        fields.complain("`strategy.base` must be above 0", "For example 5.0e-5.", "base")
    fields.finish()
    return Strategy(kind, base, decay, least, schedule)


def _guardrails(fields: Fields | None) -> Guardrails:
    if fields is None:
        return Guardrails()
    guardrails = Guardrails(fields.number("max_change"), fields.number("min"), fields.number("max"))
    if guardrails.max_change is not None and not guardrails.max_change >= 1.0:
        fields.complain("`guardrails.max_change` must be at least 1", "It is a factor, for example 3.0.", "max_change")
    for name, limit in (("min", guardrails.least), ("max", guardrails.most)):
        if limit is not None and not limit > 0.0:
            fields.complain(f"`guardrails.{name}` must be above 0", "For example 1.0e-6.", name)
    if guardrails.least is not None and guardrails.most is not None and guardrails.least > guardrails.most:
        fields.complain("`guardrails.min` is above `guardrails.max`", "Swap the two.", "min")
    fields.finish()
    return guardrails


def _rules(fields: Fields | None) -> dict[str, dict[str, float | bool]]:
    overrides: dict[str, dict[str, float | bool]] = {}
    for rule_id in fields.keys() if fields is not None else ():
        entry = fields.mapping(rule_id, required=True) if fields is not None else None
        if entry is None:
            continue
        values: dict[str, float | bool] = {"enabled": entry.flag("enabled", True)}
        parameters = entry.mapping("parameters")
        for name in parameters.keys() if parameters is not None else ():
            value = parameters.number(name) if parameters is not None else None
            if value is not None:
                values[name] = value
        entry.finish()
        overrides[rule_id] = values
    return overrides


def _retention(fields: Fields) -> float | None:
    """Return the days of `retention`; 0 keeps everything."""
    days = fields.number("retention", 365.0) or 0.0
    if days < 0.0:
        fields.complain(
            "`retention` must not be below 0", "Give days, for example 90; 0 keeps everything.", "retention"
        )
    return days or None


def _texts(fields: Fields | None) -> dict[str, str]:
    return {key: fields.text(key) for key in list(fields.keys())} if fields is not None else {}
