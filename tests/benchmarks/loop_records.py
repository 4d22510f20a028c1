"""Campaigns of the closed loop and what became of them, written down: the tables can be made without training."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Protocol

from tests.benchmarks.loop_campaign import Campaign, Outcome

__all__ = ["RECORDED", "Recorded", "Source", "write_records"]

RECORDED: Final = Path(__file__).parents[1] / "campaigns" / "closed_loop.jsonl.gz"


class Source(Protocol):
    """Where outcomes come from: trained when they are asked for, or recorded."""

    def ask(self, campaign: Campaign) -> Future[Outcome]:
        """Have a campaign run, if it was not yet."""

    def done(self) -> Iterator[tuple[Campaign, Outcome]]:
        """Yield every campaign that was asked for."""


class Recorded:
    """Outcomes that `write_records` wrote.

    Args:
        path: of the records.
    """

    def __init__(self, path: Path = RECORDED) -> None:
        self._found: dict[str, tuple[Campaign, Outcome]] = {}
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                outcome = Outcome(**record["outcome"])
                outcome.truth = [(first, second) for first, second in outcome.truth]
                campaign = Campaign(**record["campaign"])
                self._found[campaign.name] = campaign, outcome

    def ask(self, campaign: Campaign) -> Future[Outcome]:
        """Look a campaign up.

        Raises:
            KeyError: it was not recorded.
        """
        future: Future[Outcome] = Future()
        future.set_result(self._found[campaign.name][1])
        return future

    def done(self) -> Iterator[tuple[Campaign, Outcome]]:
        """Yield every recorded campaign."""
        yield from self._found.values()


def write_records(path: Path, campaigns: Iterable[tuple[Campaign, Outcome]]) -> None:
    """Write campaigns to a file, equal byte by byte for equal ones; the reasons in words are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed:
        for campaign, outcome in sorted(campaigns, key=lambda pair: pair[0].name):
            told: dict[str, Any] = outcome.__dict__ | {"because": []}
            record = {"campaign": campaign.__dict__, "outcome": told}
            packed.write(f"{json.dumps(record, separators=(',', ':'))}\n".encode())
