"""Everything that is measured about the rules, in one go: prints the tables of ``rules/README.md``.

usage: python -m tests.benchmarks [--write]

``--write`` puts coefficients, figures and tables (``rules/measured.md``) into the rule set; then `make rules-readme`.
From the stored recordings this takes some ten minutes of one core; `tests.train_sweeps`, `tests.train_campaigns` and
`tests.record_runs` make those anew. The comparison with other tools (`tests.benchmarks.peers`) installs packages and is
run by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Final

from raftmon.advice.rulebook import SHIPPED_RULES
from tests.benchmarks import campaigns, cycle_drop, sibling_runs, verdicts

Benchmark = Callable[[Sequence[str]], None]
PARTS: Final[tuple[tuple[str, Benchmark], ...]] = (
    ("The verdict on recorded trainings", verdicts.main),
    ("Runs of one sweep, compared", sibling_runs.main),
    ("A drop of the verification rate, simulated", cycle_drop.main),
    ("Recorded RAFT campaigns", campaigns.main),
)


BY_HAND: Final = "### Other tools on the same files"
"""Title of the part of ``measured.md`` that `tests.benchmarks.peers` prints."""


class _Both(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, text: str) -> int:
        """Write to the terminal, too."""
        sys.__stdout__.write(text) if sys.__stdout__ is not None else None
        return super().write(text)


def main() -> None:
    """Run every part; write what it gives if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    printed = _Both()
    with contextlib.redirect_stdout(printed):
        for title, benchmark in PARTS:
            print(f"\n### {title}\n")
            benchmark(["--write"] if arguments.write else [])
    if arguments.write:
        path = SHIPPED_RULES / "measured.md"
        # The tables of other tools are made by hand, and stay.
        kept = path.read_text(encoding="utf-8").partition(BY_HAND)[2] if path.is_file() else ""
        text = printed.getvalue().strip() + "\n" + (f"\n{BY_HAND}{kept}" if kept else "")
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
