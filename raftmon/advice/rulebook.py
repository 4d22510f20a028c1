"""Reads the rule set: ``rules/<id>.yaml`` with ``rules/<id>.test.yaml`` beside it.

Every defect of every file is found in one reading and told with its line and column. A rule set with a defect is not
used at all: half a rule set gives advice that nobody asked for.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar, cast, get_args

from raftmon.advice.evidence import read_founded, read_would_change, summed_up
from raftmon.advice.rule import (
    All,
    Any,
    Comparison,
    Condition,
    Duration,
    DurationUnit,
    Parameter,
    Rule,
)
from raftmon.documents import SHIPPED_RULES, Fields, read_fields, suggest
from raftmon.errors import DocumentErrors
from raftmon.grounds import Status
from raftmon.model import SEVERITIES, PointsTo, Problem
from raftmon.signals.registry import RESTS_ON, SIGNALS, TIME

__all__ = ["SHIPPED_RULES", "load_rules"]

NOT_RULES: Final = frozenset(
    {"tags.yaml", "dialects.yaml", "trainers.yaml", "references.yaml", "verdict.yaml", "claims.yaml"}
)
SCENARIOS: Final = ("raft", "sft", "lora", "dpo", "rl", "pretrain", "any")
_Word = TypeVar("_Word", bound=str)


def load_rules(
    directory: Path = SHIPPED_RULES, overrides: Mapping[str, Mapping[str, float | bool]] = {}, *, tested: bool = True
) -> list[Rule]:
    """Read every rule of a directory, or one rule file.

    Args:
        directory: where the rule files are, or the path of one of them.
        overrides: rule id to parameter name to value, and ``enabled``, as given in the settings.
        tested: whether the cases of each rule are read and required; they cost as much as the rules themselves, and
            who only judges by the rules needs none.

    Raises:
        DocumentErrors: with every defect of every file.
    """
    problems: list[Problem] = []
    single = directory.is_file()
    paths = [directory] if single else sorted(directory.glob("*.yaml"))
    paths = [path for path in paths if path.name not in NOT_RULES and not path.name.endswith(".test.yaml")]
    if not paths:
        problems.append(Problem(str(directory), "no rule files", "Give a directory with <rule>.yaml files."))
    rules = [rule for path in paths if (rule := read_rule(path, problems, overrides, tested)) is not None]
    if not single:
        _check_references(rules, {path.stem for path in paths}, overrides, problems)
    if problems:
        raise DocumentErrors(tuple(problems))
    return [rule for rule in rules if rule.enabled]


def read_rule(
    path: Path, problems: list[Problem], overrides: Mapping[str, Mapping[str, float | bool]], tested: bool
) -> Rule | None:
    """Read one rule, and its cases where they are asked for; defects are added to `problems`."""
    before = len(problems)
    fields = read_fields(path, problems)
    if fields is None:
        return None
    fields.text("schema", choices=("raftmon/rule@1",))
    rule_id = fields.text("id")
    if rule_id and rule_id != path.stem:
        fields.complain(f"`id` is `{rule_id}`", f"It must be the name of the file: {path.stem}.", "id")
    override = overrides.get(rule_id, {})
    parameters = _parameters(fields, override)
    when = fields.mapping("when", required=True)
    condition = _condition(when, parameters) if when is not None else All(())
    if when is not None:
        when.finish()
    applies = fields.mapping("applies_to", required=True)
    scenarios = applies.texts("scenario", SCENARIOS) if applies is not None else ()
    needs = applies.texts("needs") if applies is not None else ()
    if applies is not None:
        applies.texts("optional")
        applies.finish()
    advice = fields.mapping("advice", required=True)
    text, multiply, roll_back, stop = _advice(advice, parameters)
    fix = advice.text("fix", "") if advice is not None else ""
    if advice is not None:
        advice.finish()
    founded = read_founded(fields.mapping("evidence", required=True))
    rule = Rule(
        id=rule_id,
        title=fields.text("title"),
        path=str(path),
        points_to=_choice(fields, "points_to", get_args(PointsTo)),
        status=_choice(fields, "status", get_args(Status)),
        severity=_choice(fields, "severity", SEVERITIES),
        description=fields.text("description"),
        subject="campaign" if _about_campaign(condition) else "run",
        scenarios=scenarios or ("any",),
        needs=needs,
        parameters=parameters,
        when=condition,
        hold=_duration(fields, "for"),
        keep=_duration(fields, "keep_firing_for"),
        inhibits=fields.texts("inhibits"),
        text=text,
        multiply=multiply,
        roll_back=roll_back,
        stop=stop,
        decides=fields.flag("decides", False),
        false_positives=fields.texts("false_positives"),
        evidence_level=founded.level,
        sources=founded.sources,
        measured=founded.measured,
        enabled=bool(override.get("enabled", True)),
        grade=founded.grade,
        would_change=read_would_change(fields),
        fix=fix,
    )
    _check_rule(rule, fields)
    fields.finish()
    if len(problems) > before:
        return None
    rule = dataclasses.replace(rule, evidence=summed_up(rule))
    if not tested:
        return rule
    # Imported here because a monitor needs no cases.
    from raftmon.advice.ruletests import read_tests

    return dataclasses.replace(rule, tests=read_tests(path.with_suffix(".test.yaml"), rule, problems))


def _choice(fields: Fields, key: str, choices: tuple[_Word, ...]) -> _Word:
    written = fields.text(key, choices=[str(choice) for choice in choices])
    return next((choice for choice in choices if choice == written), choices[0])


def _parameters(fields: Fields, override: Mapping[str, float | bool]) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    table = fields.mapping("parameters")
    for name in table.keys() if table is not None else ():
        entry = table.mapping(name, required=True) if table is not None else None
        if entry is None:
            continue
        value, origin = entry.number("value", required=True) or 0.0, entry.text("origin")
        used = float(override.get(name, value))
        origin = origin if used == value else f"your settings, in place of {value:g} ({origin})"
        parameters[name] = Parameter(used, entry.text("unit", ""), origin)
        entry.finish()
    return parameters


def _number(fields: Fields, key: str, parameters: Mapping[str, Parameter]) -> float:
    """Return a number that is written out, or named as ``$parameter``."""
    written = fields.text(key, "")
    if not written.startswith("$"):
        return fields.number(key, required=True) or 0.0
    parameter = parameters.get(written[1:])
    if parameter is None:
        names = ", ".join(f"${name}" for name in parameters) or "none"
        fields.complain(f"`{written}` is no parameter of this rule", f"Parameters: {names}.", key)
        return 0.0
    return parameter.value


def _condition(fields: Fields, parameters: Mapping[str, Parameter]) -> Condition:
    for word, kind in (("all", All), ("any", Any)):
        if word in fields:
            parts = []
            for part in fields.mappings(word, required=True):
                parts.append(_condition(part, parameters))
                part.finish()
            if not parts:
                fields.complain(f"`{word}` is empty", "Give at least one comparison.", word)
            return kind(tuple(parts))
    return _comparison(fields, parameters)


def _comparison(fields: Fields, parameters: Mapping[str, Parameter]) -> Comparison:
    signal = fields.text("signal", choices=tuple(SIGNALS))
    above = "above" in fields
    if above == ("below" in fields):
        fields.complain("a comparison needs `above` or `below`, one of them", "For example `above: $limit`.")
        return Comparison(signal, above, 0.0, 0.0)
    key, clear_key = ("above", "clear_below") if above else ("below", "clear_above")
    limit = _number(fields, key, parameters)
    clear = _number(fields, clear_key, parameters) if clear_key in fields else limit
    if (clear > limit) if above else (clear < limit):
        fields.complain(f"`{clear_key}` lies on the wrong side", f"It must be easier to hold than `{key}`.", clear_key)
    named = tuple(text[1:] for name in (key, clear_key) if (text := fields.text(name, "")).startswith("$"))
    return Comparison(signal, above, limit, clear, named)


def _duration(fields: Fields, key: str) -> Duration:
    words = fields.text(key, "0 points").split()
    if len(words) == 2 and words[0].isdigit() and words[1] in ("points", "steps", "cycles"):
        return Duration(int(words[0]), cast(DurationUnit, words[1]))
    fields.complain(
        f"`{key}` must be a count and a unit", "For example `20 points`; units: points, steps, cycles.", key
    )
    return Duration(0, "points")


def _advice(fields: Fields | None, parameters: Mapping[str, Parameter]) -> tuple[str, float | None, bool, bool]:
    if fields is None:
        return "", None, False, False
    text, multiply = fields.text("text"), None
    adjust = fields.mapping("adjust")
    if adjust is not None:
        adjust.text("parameter", choices=("learning_rate",))
        multiply = _number(adjust, "multiply", parameters)
        if not multiply > 0.0:
            adjust.complain("`multiply` must be above 0", "For example 0.5.", "multiply")
        adjust.finish()
    return text, multiply, fields.flag("roll_back", False), fields.flag("stop", False)


def _about_campaign(condition: Condition) -> bool:
    return any(SIGNALS[c.signal].needs == "campaign" for c in condition.comparisons() if c.signal in SIGNALS)


def _check_rule(rule: Rule, fields: Fields) -> None:
    """Check what spans several keys of one rule."""
    about = {SIGNALS[c.signal].needs == "campaign" for c in rule.when.comparisons() if c.signal in SIGNALS}
    if len(about) == 2:
        fields.complain("mixes signals of a run with signals of a campaign", "Write two rules.", "when")
    if any(RESTS_ON[c.signal] == TIME for c in rule.when.comparisons() if c.signal in SIGNALS):
        _check_timed(rule, fields)
    if len(rule.title) > 60:
        fields.complain(f"`title` has {len(rule.title)} characters", "Say it in at most 60.", "title")
    for _, name, _, _ in string.Formatter().parse(rule.whole_text):
        if name and name not in SIGNALS and name not in rule.parameters:
            fields.complain(f"the advice names `{name}`", "Name a signal or a parameter of the rule.", "advice")
    if rule.status != "experimental" and rule.measured.runs == 0:
        fields.complain(
            f"`status` is {rule.status} but nothing was measured", "A status is earned by `measured`.", "status"
        )


def _check_timed(rule: Rule, fields: Fields) -> None:
    """Check a rule that is looked at when no point comes."""
    others = sorted(signal for signal in rule.signals if RESTS_ON[signal] != TIME)
    if others:
        what = f"mixes `{others[0]}` with a signal that time alone moves"
        fields.complain(what, "Write two rules.", "when")
    if rule.hold.count or rule.keep.count:
        what = "time alone moves it, and no points are counted meanwhile"
        fields.complain(what, "Write `for: 0 points` and `keep_firing_for: 0 points`.", "for")
    if rule.scenarios != ("any",):
        fields.complain("what stands still does so in any kind of training", "Write `scenario: [any]`.", "applies_to")


def _check_references(
    rules: list[Rule], ids: set[str], overrides: Mapping[str, Mapping[str, float | bool]], problems: list[Problem]
) -> None:
    """Check what spans several rules; a rule that could not be read still is a rule."""
    known = {rule.id: rule for rule in rules}
    for rule in rules:
        problems += [
            Problem(rule.path, f"`inhibits` names `{other}`", suggest(other, sorted(ids)))
            for other in rule.inhibits
            if other not in ids
        ]
    for rule_id, values in overrides.items():
        if rule_id not in ids:
            problems.append(
                Problem(f"settings: rules.{rule_id}", "there is no such rule", suggest(rule_id, sorted(ids)))
            )
        if rule_id not in known:
            continue
        names = known[rule_id].parameters
        problems += [
            Problem(f"settings: rules.{rule_id}", f"the rule has no parameter `{name}`", suggest(name, list(names)))
            for name in values
            if name != "enabled" and name not in names
        ]
