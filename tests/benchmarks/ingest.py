"""How fast is the reader, against the other readers of event files, and what memory does it take?

Prints, for each set of `tests.benchmarks.event_sets`, how many times as fast as each peer raftmon is, with what it
must reach and what it should; then its memory, what one wake-up costs and what the daemon's imports do. Ends with 1
when a must is missed by more than 15 %, or when two readers disagree about what the files hold.

usage: python -m tests.benchmarks.ingest [--data DIR] [--rounds N] [--only a,b,wake] [--json | --markdown]

Takes some five minutes of one core and, the first time, 400 MB in DIR. Readers take turns, round by round; each load
is the first in a fresh process with one thread, from the page cache; its CPU time counts, imports do not. Ratios are
taken within a round, and their median is printed. The slow peers (tensorboard's in Python, tbparse) get sets of the
same content with 20,000 scalars. The parts beside the sets are called ``wake``, ``follow`` and ``imports``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.benchmarks.event_sets import SETS, EventSet, prepare
from tests.benchmarks.ingest_imports import measure_imports
from tests.benchmarks.ingest_load import Load, event_files
from tests.benchmarks.ingest_peers import Peer, peers, run_python
from tests.benchmarks.ingest_table import SINGLE, TOLERANCE, Figure, SetResult, document, machine, markdown, text

SMALL: Final = 20_000
"""Scalars in the sets of the slow peers."""
PARTS: Final = ("wake", "follow", "imports")


class Disagreement(Exception):
    """Two readers found different scalars in the same files."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Scalars of the sets that are read."""

    full: int | None = None
    """None: as many as the set has."""
    small: int = SMALL
    """For slow peers."""


def say(message: str) -> None:
    """Tell whoever waits."""
    print(message, file=sys.stderr, flush=True)


def measure_set(made: EventSet, readers: Sequence[Peer], rounds: int, data: Path, sizes: Sizes = Sizes()) -> SetResult:
    """Measure all readers on one set.

    Raises:
        Disagreement: readers found different scalars.
    """
    logdirs = {False: prepare(made, data, sizes.full), True: prepare(made, data, sizes.small)}
    for logdir in logdirs.values():
        for path in event_files(logdir):
            path.read_bytes()  # into the page cache
    loads: dict[str, list[Load]] = {reader.name: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            loads[reader.name].append(reader.load(logdirs[reader.small]))
    _agree(made.name, readers, {name: of[0] for name, of in loads.items()}, logdirs[True])
    return summary(made.name, loads)


def _agree(name: str, readers: Sequence[Peer], found: Mapping[str, Load], small: Path) -> None:
    """Hold what the readers found against what raftmon found."""
    ours = {False: found["raftmon"], True: next(reader for reader in readers if reader.name == "raftmon").load(small)}
    for reader in readers:
        theirs, expected = found[reader.name], ours[reader.small]
        if theirs.scalars not in (None, expected.scalars):
            raise Disagreement(
                f"set {name}: {theirs.scalars} scalars for {reader.title}, {expected.scalars} for raftmon"
            )
        if theirs.checksums not in (None, expected.checksums):
            raise Disagreement(f"set {name}: {theirs.checksums} for {reader.title}, {expected.checksums} for raftmon")


def summary(name: str, loads: Mapping[str, Sequence[Load]]) -> SetResult:
    """Return the medians over the rounds of what all readers took, raftmon's among them."""
    ours = loads["raftmon"]
    scalars = ours[0].scalars or 0

    def each(load: Load, seconds: float) -> float:
        return seconds / (scalars if load.scalars is None else load.scalars)

    def ratios(peer: str, field: str) -> list[float]:
        pairs = zip(loads[peer], ours, strict=True)
        return [each(a, getattr(a, field)) / each(b, getattr(b, field)) for a, b in pairs]

    cpu = {peer: ratios(peer, "cpu") for peer in loads if peer != "raftmon"}
    return SetResult(
        name=name,
        scalars=scalars,
        ns={reader: 1e9 * statistics.median(each(load, load.cpu) for load in of) for reader, of in loads.items()},
        ratios={peer: statistics.median(found) for peer, found in cpu.items()},
        wall_ratios={peer: statistics.median(ratios(peer, "wall")) for peer in cpu},
        spreads={peer: (min(found), max(found)) for peer, found in cpu.items()},
        peaks={reader: max(load.peak for load in of) for reader, of in loads.items() if of[0].peak},
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line, None: this process's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(tempfile.gettempdir()) / f"raftmon-ingest-{os.getuid()}"
    parser.add_argument("--data", type=Path, metavar="DIR", help=f"where sets are kept ({default})")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--only", type=lambda names: names.split(","), default=[*SETS, *PARTS], metavar="NAMES")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true")
    output.add_argument("--markdown", action="store_true")
    parsed = parser.parse_args(arguments)
    if unknown := set(parsed.only) - {*SETS, *PARTS}:
        parser.error(f"--only: no set or part {', '.join(sorted(unknown))}; there are {', '.join([*SETS, *PARTS])}")
    if parsed.rounds < 1:
        parser.error("--rounds: at least 1")
    if parsed.data is None:
        # Everybody may write beside it, and a program is run from it.
        default.mkdir(mode=0o700, exist_ok=True)
        if default.stat().st_uid != os.getuid():
            parser.error(f"{default} belongs to somebody else; name a directory with --data")
        parsed.data = default
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    chosen = parse(arguments)
    try:
        results = list(_measure_sets(chosen))
        beside = _beside(results, chosen.only)
    except (Disagreement, RuntimeError, subprocess.CalledProcessError) as trouble:
        say(f"not measured: {trouble}")
        return 1
    return conclude(results, beside, "json" if chosen.json else "markdown" if chosen.markdown else "text")


def _measure_sets(chosen: argparse.Namespace) -> Iterator[SetResult]:
    wanted = [made for made in SETS.values() if made.name in chosen.only]
    readers = peers(chosen.data, say) if wanted else []
    for made in wanted:
        say(f"set {made.name}: {made.what}")
        result = measure_set(made, readers, chosen.rounds, chosen.data)
        say(_line(result))
        yield result


def conclude(results: Sequence[SetResult], beside: Sequence[Figure], form: Literal["text", "json", "markdown"]) -> int:
    """Print what was measured; returns 1 when a must is missed by more than the tolerance."""
    figures = [figure for result in results for figure in result.figures()] + list(beside)
    if form == "json":
        print(json.dumps(document(results, figures, machine()), indent=1))
    else:
        print(markdown(results, beside, machine()) if form == "markdown" else text(figures))
    failing = [figure.what for figure in figures if figure.fails]
    if failing:
        say(f"missed by more than {TOLERANCE:.0%}: {'; '.join(failing)}")
    return 1 if failing else 0


def _line(result: SetResult) -> str:
    found = ", ".join(f"{reader} {ns:,.0f}" for reader, ns in result.ns.items())
    return f"  ns of CPU per scalar: {found}"


def _beside(results: Sequence[SetResult], parts: Sequence[str]) -> list[Figure]:
    """Return the figures that are no ratios."""
    measured: dict[str, tuple[float, str]] = {}
    for result in results:
        if result.name == "a":
            measured["peak"] = (result.peaks["raftmon"] / 1e6, "")
    for part, mode in (("wake", "read"), ("follow", "follow")):
        if part in parts:
            say(SINGLE[part].what)
            measured[part] = wake_ups(mode)
    if "imports" in parts:
        say(SINGLE["imports"].what)
        found = measure_imports()
        measured |= {"imports": (1e3 * found.monitor, found.note()), "imports_peak": (found.peak / 1e6, "")}
    return [
        Figure(SINGLE[key].what, value, SINGLE[key].unit, SINGLE[key].target, note)
        for key, (value, note) in measured.items()
    ]


def wake_ups(mode: str, events: int = 100_000, times: int = 1000) -> tuple[float, str]:
    """Return the median microseconds of a wake-up (see `tests.benchmarks.ingest_wake`), and a note on the others."""
    spent = json.loads(run_python("-m", "tests.benchmarks.ingest_wake", mode, str(events), str(times)))
    late = statistics.quantiles(spent, n=100)[-1]
    return statistics.median(spent) / 1e3, f"mean {statistics.mean(spent) / 1e3:.0f}, p99 {late / 1e3:.0f} us"


if __name__ == "__main__":
    sys.exit(main())
