"""The verdict's arithmetic: a softmax regression on a few scale-free signals, small enough to be read.

There is one for each kind of log: with the gain ratio of a probe, with gradient norms, with neither. The coefficients
live in ``rules/verdict.yaml`` and are fitted by ``tests/benchmarks/verdicts.py`` on recorded trainings whose right
learning rate is known. A signal without a reading counts as its mean, plus a term for being absent: that
half of the progress never came is news, that no gradient norm was logged is not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from raftmon.advice.rule import Parameter
from raftmon.documents import Fields, read_fields
from raftmon.errors import DocumentErrors
from raftmon.model import Problem, VerdictKind
from raftmon.signals.registry import SIGNALS
from raftmon.slotted import dataclass

__all__ = ["KINDS", "Feature", "Limits", "Model", "Weighing", "read_weighing", "reasons"]

KINDS: Final[tuple[VerdictKind, ...]] = ("too_low", "ok", "too_high")
SCALES: Final[Mapping[str, Callable[[float], float]]] = MappingProxyType(
    {
        "linear": lambda value: value,
        "log": lambda value: math.log(max(value, 1e-9)),
        "log1p": math.log1p,
        "log1m": lambda value: math.log(max(1.0 - value, 1e-3)),
    }
)
"""Name to function: how a reading is bent before it is weighed."""

FARTHEST: Final = 3.0
"""Standard deviations from the mean at which a reading counts no more: one odd signal must not decide alone."""

Numbers = Mapping[VerdictKind, float]


@dataclass(frozen=True, slots=True)
class Feature:
    """One signal's part in the verdict."""

    signal: str
    scale: str
    """One of `SCALES`."""
    least: float
    most: float
    """Readings are held within these before they are scaled."""
    text: str
    """What the reading says, for people, with a place for ``{value}``."""
    absent_text: str = ""
    """What it says that there is no reading; empty: nothing worth saying."""
    mean: float = 0.0
    deviation: float = 1.0
    """Of the scaled readings that the weights were fitted on."""
    weights: Numbers = field(default_factory=dict)
    """Logits per standard deviation, by kind."""
    absent: Numbers = field(default_factory=dict)
    """Logits added where the signal has no reading."""

    def scaled(self, reading: float | None) -> float | None:
        """Bend a reading; None and what is no number stay None."""
        if reading is None or math.isnan(reading):
            return None
        return SCALES[self.scale](min(max(reading, self.least), self.most))

    def logits(self, reading: float | None) -> tuple[float, ...]:
        """Return what the reading adds to each of `KINDS`."""
        scaled = self.scaled(reading)
        if scaled is None:
            return tuple(self.absent.get(kind, 0.0) for kind in KINDS)
        distance = max(-FARTHEST, min(FARTHEST, (scaled - self.mean) / self.deviation))
        weights = self.weights
        return tuple([weights.get(kind, 0.0) * distance for kind in KINDS])


Term: TypeAlias = "tuple[Feature, float | None, tuple[float, ...]]"
"""A feature, its reading, and what that adds to each of `KINDS`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Between speaking and being silent."""

    points: float
    """Loss points below which nothing is said but that a run diverges."""
    speak_above: float
    """Probability from which a verdict is given."""
    most_confident: float
    """No verdict claims more."""
    diverged: float
    """Confidence in a diverging run being too high, where the rule that found it was not measured."""
    early: float
    """Share of the planned steps before which nothing is called too low: every loss still falls then."""


@dataclass(frozen=True, slots=True)
class Model:
    """A softmax regression on the signals that a kind of log has."""

    name: str
    title: str
    """What the log has, for people."""
    needs: tuple[str, ...]
    """Signals without a reading of which it does not apply."""
    features: tuple[Feature, ...]
    intercept: Numbers
    measured: str = ""
    """How right it was on runs with a known answer that nothing was fitted on; empty: not measured."""

    def probabilities(self, readings: Mapping[str, float | None]) -> dict[VerdictKind, float]:
        """Return the probability of each kind."""
        return self.weighed(readings)[0]

    def weighed(self, readings: Mapping[str, float | None]) -> tuple[dict[VerdictKind, float], Sequence[Term]]:
        """Return the probability of each kind, and what each feature adds to it."""
        terms = []
        low, right, high = (self.intercept.get(kind, 0.0) for kind in KINDS)
        for feature in self.features:
            reading = readings.get(feature.signal)
            logits = feature.logits(reading)
            terms.append((feature, reading, logits))
            low, right, high = low + logits[0], right + logits[1], high + logits[2]
        largest = max(low, right, high)
        odds = [math.exp(logit - largest) for logit in (low, right, high)]
        total = sum(odds)
        return {kind: odd / total for kind, odd in zip(KINDS, odds, strict=True)}, terms


def reasons(terms: Iterable[Term], kind: VerdictKind) -> list[tuple[float, str]]:
    """Return what speaks for a kind against the mean of the others, strongest first, each with its words.

    Args:
        terms: as `Model.weighed` returns them.
        kind: what they are to speak for.
    """
    found, place = [], KINDS.index(kind)
    others = [other for other in range(len(KINDS)) if other != place]
    for feature, reading, logits in terms:
        gain = logits[place] - sum([logits[other] for other in others]) / len(others)
        if reading is not None and not math.isnan(reading):
            found.append((gain, feature.text.format(value=reading)))
        elif feature.absent_text:
            found.append((gain, feature.absent_text))
    return sorted(found, key=itemgetter(0), reverse=True)


@dataclass(frozen=True, slots=True)
class Weighing:
    """One model for each kind of log, and when their verdicts are given."""

    models: tuple[Model, ...]
    """The first one whose signals all have readings weighs; the last one needs nothing."""
    limits: Limits
    origin: str = ""
    """How the coefficients were fitted."""
    numbers: Mapping[str, Parameter] = field(default_factory=dict)
    """The limits again by name, with unit and origin."""

    def model(self, readings: Mapping[str, float | None]) -> Model:
        """Return the model for a run's readings."""
        return next(m for m in self.models if all(readings.get(signal) is not None for signal in m.needs))


def read_weighing(path: Path) -> Weighing:
    """Read ``rules/verdict.yaml``.

    Raises:
        DocumentErrors: with every defect of the file.
    """
    problems: list[Problem] = []
    fields = read_fields(path, problems)
    if fields is None:
        raise DocumentErrors(tuple(problems))
    fields.text("schema", choices=("raftmon/verdict@2",))
    numbers = _limits(fields.mapping("limits", required=True))
    weighing = Weighing(
        models=tuple(_model(entry) for entry in fields.mappings("models", required=True)),
        limits=Limits(**{name: number.value for name, number in numbers.items()}),
        origin=fields.text("origin"),
        numbers=numbers,
    )
    if not weighing.models or weighing.models[-1].needs:
        fields.complain("the last of `models` needs a signal", "It must fit any log: give it `needs: []`.", "models")
    fields.finish()
    if problems:
        raise DocumentErrors(tuple(problems))
    return weighing


def _model(fields: Fields) -> Model:
    model = Model(
        name=fields.text("name"),
        title=fields.text("title"),
        needs=fields.texts("needs", tuple(SIGNALS)),
        features=tuple(_feature(entry) for entry in fields.mappings("features", required=True)),
        intercept=_numbers(fields, "intercept"),
        measured=fields.text("measured"),
    )
    fields.finish()
    return model


def _limits(fields: Fields | None) -> dict[str, Parameter]:
    numbers = {known.name: Parameter(0.0, "", "") for known in dataclasses.fields(Limits)}
    for name in numbers:
        entry = fields.mapping(name, required=True) if fields is not None else None
        if entry is not None:
            value = entry.number("value", required=True) or 0.0
            numbers[name] = Parameter(value, entry.text("unit"), entry.text("origin"))
            entry.finish()
    if fields is not None:
        fields.finish()
    return numbers


def _feature(fields: Fields) -> Feature:
    feature = Feature(
        signal=fields.text("signal", choices=tuple(SIGNALS)),
        scale=fields.text("scale", choices=tuple(SCALES)),
        least=fields.number("least", required=True) or 0.0,
        most=fields.number("most", required=True) or 0.0,
        text=fields.text("text"),
        absent_text=fields.text("absent_text", ""),
        mean=fields.number("mean", required=True) or 0.0,
        deviation=fields.number("deviation", required=True) or 1.0,
        weights=_numbers(fields, "weights"),
        absent=_numbers(fields, "absent"),
    )
    try:
        feature.text.format(value=0.5)
    except (ValueError, KeyError, IndexError):
        fields.complain("`text` has a place that is not `{value}`", "For example `{value:.0%} of the run`.", "text")
    fields.finish()
    return feature


def _numbers(fields: Fields, key: str) -> dict[VerdictKind, float]:
    table = fields.mapping(key, required=True)
    if table is None:
        return {}
    numbers = {kind: table.number(kind, required=True) or 0.0 for kind in KINDS}
    table.finish()
    return numbers
