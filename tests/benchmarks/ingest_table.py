"""What the reader must reach, what was measured, and the tables of both."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.benchmarks.event_sets import SETS

__all__ = [
    "COMPARED",
    "SINGLE",
    "Comparison",
    "Figure",
    "SetResult",
    "Target",
    "document",
    "machine",
    "markdown",
    "text",
]

TOLERANCE: Final = 0.15
"""By so much a "must" may be missed before the benchmark fails: machines and their neighbours differ."""

Verdict = Literal["met goal", "met must", "missed"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must be, and what it should be."""

    must: float
    goal: float | None
    """None: no more than the must is wanted."""
    at_most: bool = False
    """Whether less is better."""

    def verdict(self, value: float) -> Verdict:
        """Tell what a value reaches; a value that is no number reaches nothing."""
        if self.goal is not None and self._reached(value, self.goal):
            return "met goal"
        return "met must" if self._reached(value, self.must) else "missed"

    def fails(self, value: float) -> bool:
        """Tell whether the must is missed by more than `TOLERANCE` of it."""
        return not self._reached(value, self.must * (1 + TOLERANCE if self.at_most else 1 - TOLERANCE))

    def _reached(self, value: float, limit: float) -> bool:
        return value <= limit if self.at_most else value >= limit


@dataclass(frozen=True, slots=True)
class Comparison:
    """Raftmon's speed in terms of a peer's."""

    title: str
    """Of the peer."""
    unit: str
    """``x``: how many times as fast raftmon is; ``%``: of the peer's speed."""
    targets: Mapping[str, Target]
    """Name of a set to what is wanted on it, in that unit; empty: nothing, it is shown to put the others in place."""

    @property
    def scale(self) -> float:
        """By what a ratio of times is multiplied."""
        return 100.0 if self.unit == "%" else 1.0


def _against(title: str, unit: str, musts: Sequence[float], goals: Sequence[float | None]) -> Comparison:
    targets = {name: Target(must, goal) for name, must, goal in zip("abcdefg", musts, goals, strict=True)}
    return Comparison(title, unit, targets)


COMPARED: Final[Mapping[str, Comparison]] = {
    "rust": _against("Rust server", "x", (3.5, 6, 2, 1.1, 2.5, 1.6, 2), (5, 9, 4, 2, 5, 3, 3)),
    "rust_all": _against("Rust server, all points", "x", (2, 2, 2, 1.3, 2, 2, 2), (8, 8, None, None, 8, None, 8)),
    "loader": _against("EventFileLoader", "x", (150,) * 7, (300,) * 7),
    "c": _against("C -O3", "%", (25,) * 7, (75, 75, 40, 40, 40, 40, 40)),
    "c_inlined": Comparison("C -O3, inlined by force", "%", {}),
}
"""Key of a peer to what is wanted in comparison with it."""


@dataclass(frozen=True, slots=True)
class Single:
    """A figure that is compared with no peer."""

    what: str
    unit: str
    target: Target


SINGLE: Final[Mapping[str, Single]] = {
    "peak": Single("peak resident memory, all points of set a kept", "MB", Target(110, 60, at_most=True)),
    "wake": Single("one wake-up: 5 new records after 100,000 events", "us", Target(60, 20, at_most=True)),
    "follow": Single("series, signals and rules of such a wake-up", "us", Target(40, None, at_most=True)),
    "imports": Single("imports of the daemon, from the start of Python", "ms", Target(120, None, at_most=True)),
    "imports_peak": Single("peak resident memory of these imports", "MB", Target(35, None, at_most=True)),
}
"""Key of a figure to what is wanted; microseconds and milliseconds are of CPU."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure."""

    what: str
    value: float
    unit: str
    """Such as ``x`` or ``us``."""
    target: Target
    note: str = ""
    """What else was measured; empty: nothing."""

    @property
    def verdict(self) -> Verdict:
        """What it reaches."""
        return self.target.verdict(self.value)

    @property
    def fails(self) -> bool:
        """Whether its must is missed by more than the tolerance."""
        return self.target.fails(self.value)


@dataclass(frozen=True, slots=True)
class SetResult:
    """What was measured on one set: medians over the rounds."""

    name: str
    scalars: int
    ns: Mapping[str, float]
    """Reader to nanoseconds of CPU per scalar."""
    ratios: Mapping[str, float]
    """Peer to its CPU time over raftmon's, per scalar."""
    wall_ratios: Mapping[str, float]
    """The same of the time that passed."""
    spreads: Mapping[str, tuple[float, float]]
    """Peer to the least and the greatest ratio of CPU times of a round."""
    peaks: Mapping[str, int]
    """Reader to the most memory its process had resident, bytes; those that were not measured are left out."""

    def figures(self) -> list[Figure]:
        """Return the ratios that have a target, in the order of `COMPARED`."""
        return [
            Figure(
                f"set {self.name} against {compared.title}",
                compared.scale * self.ratios[peer],
                compared.unit,
                compared.targets[self.name],
                self._note(peer, compared),
            )
            for peer, compared in COMPARED.items()
            if peer in self.ratios and self.name in compared.targets
        ]

    def _note(self, peer: str, compared: Comparison) -> str:
        least, greatest, wall = (compared.scale * of for of in (*self.spreads[peer], self.wall_ratios[peer]))
        return f"rounds {_number(least)} to {_number(greatest)}, wall {_number(wall)}"


def _number(value: float) -> str:
    """Three digits, as far as they say something."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 1.95 else f"{value:.2f}"


def _wanted(target: Target) -> tuple[str, str]:
    sign = "<= " if target.at_most else ""
    return f"{sign}{target.must:g}", "-" if target.goal is None else f"{sign}{target.goal:g}"


def text(figures: Sequence[Figure]) -> str:
    """Return the table for a terminal."""
    rows = [("", "measured", "must", "goal", "verdict", "")]
    for figure in figures:
        verdict = figure.verdict + (f" by more than {TOLERANCE:.0%}" if figure.fails else "")
        rows.append(
            (figure.what, f"{_number(figure.value)} {figure.unit}", *_wanted(figure.target), verdict, figure.note)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = [
        "  ".join(
            [row[0].ljust(widths[0]), *(row[c].rjust(widths[c]) for c in (1, 2, 3)), row[4].ljust(widths[4]), row[5]]
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in aligned)


def machine() -> dict[str, str]:
    """Return where and with what it was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    for package in ("numpy", "tensorboard", "tensorboard-data-server"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def markdown(results: Sequence[SetResult], figures: Sequence[Figure], where: Mapping[str, str]) -> str:
    """Return the tables of the README; `figures` are those beside the sets."""
    heads = [f"{compared.unit} {compared.title}" for compared in COMPARED.values()]
    lines = [
        f"| set | ns/scalar | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(heads),
        *(_markdown_row(result) for result in results),
        "",
        "| | measured | must | goal |",
        "|---|---|---|---|",
    ]
    for figure in figures:
        wanted = " | ".join(f"{limit} {figure.unit}" if limit != "-" else limit for limit in _wanted(figure.target))
        lines.append(f"| {figure.what} | {_marked(figure)} {figure.unit} | {wanted} |")
    packages = ", ".join(f"{name} {where[name]}" for name in ("numpy", "tensorboard", "tensorboard-data-server"))
    lines += [
        "",
        "CPU time on one thread; every checksum verified, but those of pictures and histograms beyond 4 kB, which are "
        "passed over by their length (by the Rust server only those of the lengths). Medians of interleaved rounds. "
        "In brackets must and goal; **bold**: the goal is met, _italic_: the must is missed. "
        f"{where['date']}, {where['machine']}, Python {where['python']}, {packages}.",
    ]
    return "\n".join(lines)


def _markdown_row(result: SetResult) -> str:
    figures = {figure.what: figure for figure in result.figures()}
    cells = []
    for peer, compared in COMPARED.items():
        if figure := figures.get(f"set {result.name} against {compared.title}"):
            cells.append(f"{_marked(figure)} ({' / '.join(_wanted(figure.target))})")
        else:
            cells.append(_number(compared.scale * result.ratios[peer]) if peer in result.ratios else "-")
    return f"| {result.name}: {SETS[result.name].what} | {_number(result.ns['raftmon'])} | {' | '.join(cells)} |"


def _marked(figure: Figure) -> str:
    mark = {"met goal": "**", "met must": "", "missed": "_"}[figure.verdict]
    return f"{mark}{_number(figure.value)}{mark}"


def document(results: Sequence[SetResult], figures: Sequence[Figure], where: Mapping[str, str]) -> dict[str, object]:
    """Return everything as plain data; `figures` are all, those of the sets included."""
    return {
        "measured_on": dict(where),
        "sets": {
            result.name: {
                "scalars": result.scalars,
                "cpu_ns_per_scalar": dict(result.ns),
                "cpu_ratios": dict(result.ratios),
                "wall_ratios": dict(result.wall_ratios),
                "cpu_ratio_spreads": {peer: list(spread) for peer, spread in result.spreads.items()},
                "peak_bytes": dict(result.peaks),
            }
            for result in results
        },
        "figures": [
            {
                "what": figure.what,
                "value": figure.value,
                "unit": figure.unit,
                "must": figure.target.must,
                "goal": figure.target.goal,
                "verdict": figure.verdict,
                "fails": figure.fails,
                "note": figure.note,
            }
            for figure in figures
        ],
    }
