"""Rules over time: inactive, pending, firing, resolved; unknown where a needed signal has no reading.

The states depend on the points alone, not on when they were polled: `RuleEngine.tick` is called at places that the
series itself decides, and what it does not cover yet is looked at without being kept.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from raftmon.advice.findings import inhibited, missing, order, quiet_finding, silent_finding, spoken_finding
from raftmon.advice.rule import Duration, Rule
from raftmon.model import Finding, FindingState
from raftmon.signals.registry import SELDOM, Readings
from raftmon.slotted import dataclass

__all__ = ["Progress", "RuleEngine", "RuleSet", "rules_for"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one rule stands."""

    state: FindingState = "unknown"
    since_step: int | None = None
    since_point: int = 0
    clear_step: int | None = None
    """Step at which the condition ceased to hold while the rule fires; None while it holds."""
    clear_point: int = 0

    def moved(self, rule: Rule, holds: bool | None, point: int, step: int) -> Progress:
        """Return where the rule stands after one more look.

        Args:
            rule: the rule.
            holds: whether its condition holds; None: a reading is missing, which resolves nothing.
            point: number of the primary series' points so far.
            step: step of the newest of them.
        """
        if self.state == "firing":
            return self._firing(rule, holds, point, step)
        if holds is None:
            return self if self.state in ("pending", "resolved", "unknown") else Progress()
        if not holds:
            return self if self.state in ("resolved", "inactive") else Progress("inactive")
        if self.state != "pending":
            return Progress("pending" if rule.hold.count else "firing", step, point)
        if _elapsed(rule.hold, self.since_point, point, self.since_step, step):
            return Progress("firing", self.since_step, self.since_point)
        return self

    def _firing(self, rule: Rule, holds: bool | None, point: int, step: int) -> Progress:
        if holds is None:
            return self
        if holds:
            return self if self.clear_step is None else dataclasses.replace(self, clear_step=None)
        clear = self if self.clear_step is not None else dataclasses.replace(self, clear_step=step, clear_point=point)
        if _elapsed(rule.keep, clear.clear_point, point, clear.clear_step, step):
            return Progress("resolved", step, point)
        return clear


class Look(NamedTuple):
    """A rule's place, and what it saw there."""

    progress: Progress = Progress()
    held: Mapping[str, float | None] | None = None
    """The signals that the rule mentions, as they were when its condition held last; None if it never did."""


class _Base(NamedTuple):
    """What a finding that says nothing rests on: as long as all of it is the same, so is the finding."""

    look: Look
    """At the last tick."""
    values: tuple[float | None, ...]
    """Readings of `Rule.signals`."""
    seen: tuple[int | None, ...] | None
    """Points of `Rule.awaited`; None: it waits for nothing."""


def _elapsed(wanted: Duration, from_point: int, point: int, from_step: int | None, step: int) -> bool:
    if wanted.unit == "points":
        return point - from_point >= wanted.count
    return step - (from_step if from_step is not None else step) >= wanted.count


_UNKNOWN: Final = Look(Progress())
_INACTIVE: Final = Look(Progress("inactive"))


class RuleSet:
    """Rules that are applied together, to any number of runs or campaigns.

    Args:
        rules: in the order in which the first of several causes is named.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self.by_id = {rule.id: rule for rule in self.rules}
        self.settling = frozenset(place for place, rule in enumerate(self.rules) if rule.settles)
        self.lasting = tuple(place for place in range(len(self.rules)) if place not in self.settling)
        """Places of the rules of which one look is not enough."""
        self._guarded = [place for place in self.lasting if self.rules[place].guards]
        self._movers = frozenset().union(*(rule.moved_by for rule in self.rules))
        self._awake: dict[tuple[frozenset[str], frozenset[int]], frozenset[int]] = {}

    def closed(self, readings: Readings) -> frozenset[int]:
        """Return the places of the rules that cannot hold before something moves that seldom does."""
        return frozenset(
            place
            for place in self._guarded
            if any(guard(readings, True) is False for guard in self.rules[place].guards)
        )

    def awake(self, moved: frozenset[str], closed: frozenset[int]) -> frozenset[int]:
        """Return the places of the rules that may have something new to see.

        Args:
            moved: what has moved, in the words of `raftmon.signals.registry.RESTS_ON`.
            closed: places of rules that are closed.
        """
        # Most roles move no rule: few sets are left to be remembered.
        moved = moved & self._movers
        places = self._awake.get((moved, closed))
        if places is None:
            moving = [place for place in self.lasting if not moved.isdisjoint(self.rules[place].moved_by)]
            places = self._awake[moved, closed] = frozenset(moving) - closed
        return places


@functools.lru_cache(maxsize=64)
def rules_for(rules: tuple[Rule, ...], scenario: str) -> RuleSet:
    """Return the rules about runs of a kind of training that points move; ``any`` takes in all kinds."""
    return RuleSet(
        rule
        for rule in rules
        if rule.subject == "run"
        and not rule.is_timed
        and (scenario == "any" or "any" in rule.scenarios or scenario in rule.scenarios)
    )


class RuleEngine:
    """The states of a set of rules for one run or one campaign.

    Args:
        rules: those that apply.
    """

    __slots__ = ("_bases", "_closed", "_findings", "_looked", "_looks", "_order", "_ordered", "_restless", "rule_set")

    def __init__(self, rules: RuleSet | Iterable[Rule]) -> None:
        self.rule_set = rules if isinstance(rules, RuleSet) else RuleSet(rules)
        self._looks = [_UNKNOWN] * len(self.rule_set.rules)
        self._looked = False
        self._closed: frozenset[int] = frozenset()
        """Places of the rules that cannot hold before something moves that seldom does."""
        self._restless: set[int] = set()
        """Places of the rules that time alone moves on: one that is pending, or fires and does not hold any more."""
        self._findings: list[Finding | None] = [None] * len(self.rule_set.rules)
        """As they were given last, by place."""
        self._bases: list[_Base | None] = [None] * len(self.rule_set.rules)
        """What those rest on, by place; None: on more than that, or there was no finding yet."""
        self._order: list[int] = []
        """Places of the findings as they were sorted last."""
        self._ordered: tuple[Finding, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that apply."""
        return self.rule_set.rules

    def tick(
        self,
        readings: Mapping[str, float | None],
        point: int,
        step: int,
        moved: frozenset[str] | None = None,
    ) -> None:
        """Advance every rule by the readings at one step and keep the result.

        Args:
            readings: signal name to value.
            point: number of the primary series' points so far.
            step: step of the newest of them.
            moved: what has moved since the tick before, in the words of `raftmon.signals.registry.RESTS_ON`; None:
                anything may have.
        """
        known = _with_nothing_else(readings)
        rules, looks = self.rule_set.rules, self._looks
        for place in self._due(known, moved):
            look = looks[place]
            # Most rules see that nothing is the matter, as before.
            if look is _INACTIVE or look is _UNKNOWN:
                holds = rules[place].test(known, False)
                if holds is (False if look is _INACTIVE else None):
                    continue
            after = self._look(place, known, point, step)
            if after is not look:
                looks[place] = after
                self._note_restless(place, after.progress)
        self._looked = True

    def _due(self, readings: Readings, moved: frozenset[str] | None) -> Collection[int]:
        """Return the places of the rules that a tick has to look at."""
        if moved is None or not self._looked or not moved.isdisjoint(SELDOM):
            self._closed = self.rule_set.closed(readings)
            return self.rule_set.lasting if self._looked else range(len(self._looks))
        places = self.rule_set.awake(moved, self._closed)
        return places | self._restless if self._restless else places

    def findings(
        self, readings: Mapping[str, float | None], point: int, step: int, counts: Mapping[str, int]
    ) -> tuple[Finding, ...]:
        """Look at the newest readings without keeping the result.

        Args:
            readings: signal name to value.
            point: number of the primary series' points so far.
            step: step of the newest of them.
            counts: points received per role, for saying what is missing.

        Returns:
            One finding per rule, firing ones first, then by severity. What has not changed since the last call is the
            same object as then.
        """
        known = _with_nothing_else(readings)
        settled = self.rule_set.settling if self._looked else ()
        findings, changed, moved, read = self._findings, False, False, known.__getitem__
        for place, (rule, look, base) in enumerate(zip(self.rules, self._looks, self._bases, strict=True)):
            values = tuple(map(read, rule.signals))
            if (
                base is not None
                and look is base[0]
                and values == base[1]
                and (0.0 not in values or repr(values) == repr(base[1]))  # to the sign of a zero
                and (base[2] is None or base[2] == tuple(map(counts.get, rule.awaited)))
            ):
                continue
            now = look if place in settled else self._look(place, known, point, step)
            finding, last = _finding(rule, now, values, known, counts), findings[place]
            seen = tuple(map(counts.get, rule.awaited)) if finding.missing else None
            self._bases[place] = _Base(look, values, seen) if finding.state in ("inactive", "unknown") else None
            findings[place] = finding
            changed = changed or finding is not last
            moved = moved or last is None or finding.state != last.state
        if changed:
            self._put_in_order([finding for finding in findings if finding is not None], moved=moved)
        return self._ordered

    def _put_in_order(self, findings: Sequence[Finding], *, moved: bool) -> None:
        """Mark symptoms and sort; the order is another one only where a state is."""
        marked = inhibited(findings, self.rules)
        if moved:
            self._order = order(marked)
        self._ordered = tuple([marked[place] for place in self._order])

    def _look(self, place: int, readings: Readings, point: int, step: int) -> Look:
        """Return where a rule stands after one more look; the same object where nothing has changed."""
        rule, look = self.rule_set.rules[place], self._looks[place]
        before = look.progress
        holds = rule.test(readings, before.state == "firing")
        now = before.moved(rule, holds, point, step)
        if holds:
            return Look(now, {name: readings[name] for name in rule.mentioned})
        if now is before:
            return look
        if now == _INACTIVE.progress and look.held is None:
            return _INACTIVE
        return Look(now, look.held)

    def _note_restless(self, place: int, progress: Progress) -> None:
        waits = progress.state == "pending" or (progress.state == "firing" and progress.clear_step is not None)
        if waits and place not in self.rule_set.settling:
            self._restless.add(place)
        else:
            self._restless.discard(place)


def _with_nothing_else(readings: Mapping[str, float | None]) -> Readings:
    """Return readings that answer None for what they do not hold."""
    return readings if isinstance(readings, Readings) else Readings(readings, {})


def _finding(
    rule: Rule, look: Look, values: tuple[float | None, ...], readings: Readings, counts: Mapping[str, int]
) -> Finding:
    """Return the finding of a rule; `values` are the readings of `Rule.signals`."""
    where = look.progress
    if where.state in ("pending", "firing", "resolved"):
        return spoken_finding(rule, where.state, where.since_step, values, look.held or readings)
    lacking = missing(rule, values, counts) if where.state == "unknown" else ()
    if not any(value is not None for value in values):
        return silent_finding(rule, where.state, lacking)
    return quiet_finding(rule, where.state, values, lacking)
