"""How varied the accepted outputs of a cycle are, in bounded memory.

Shares of different counts are not comparable: the more samples, the more repetitions, whatever the model. So what is
kept is how often each distinct output came, from which the distinct ones among any smaller number of samples follow
(rarefaction: Hurlbert, 1971); and a sample of fixed size for the n-grams.
"""

from __future__ import annotations

import collections
import hashlib
import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

__all__ = [
    "DISTINCT_EXACT",
    "SAMPLED",
    "DistinctCount",
    "OutputSample",
    "PromptTally",
    "distinct_ngrams",
    "intraclass_correlation",
]

DISTINCT_EXACT: Final = 8192
"""Distinct texts that are counted exactly; beyond, the count is estimated with a standard error of 1.1 %."""

SAMPLED: Final = 64
"""Accepted outputs whose n-grams are counted: always so many, because the share depends on the number."""
_LONGEST: Final = 2048
_HASH_RANGE: Final = 2.0**64
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")


class DistinctCount:
    """Counts distinct texts, and how often each came, in bounded memory by keeping the least of their hash values.

    With k values kept, of which the greatest is the share u of the hash range, there are about (k - 1) / u distinct
    texts (k minimum values: Bar-Yossef et al. 2002, Beyer et al. 2007); below k the count is exact. A text that is
    kept was kept from the first time it came, so that its own count is exact always.
    """

    __slots__ = ("_capacity", "_heap", "_kept", "_overflowed")

    def __init__(self, capacity: int = DISTINCT_EXACT) -> None:
        self._capacity = capacity
        self._kept: dict[int, int] = {}
        self._heap: list[int] = []
        self._overflowed = False

    def add(self, text: bytes) -> int | None:
        """Take in one text; returns its key while it is kept."""
        value = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        if value in self._kept:
            self._kept[value] += 1
            return value
        if len(self._kept) < self._capacity:
            self._kept[value] = 1
            heapq.heappush(self._heap, -value)
            return value
        self._overflowed = True
        if value > -self._heap[0]:
            return None
        self._kept[value] = 1
        self._forget(-heapq.heapreplace(self._heap, -value))
        return value

    def _forget(self, value: int) -> None:
        del self._kept[value]

    @property
    def count(self) -> float:
        """Distinct texts seen; whole and exact while there are at most as many as the capacity."""
        if not self._overflowed:
            return float(len(self._kept))
        return (self._capacity - 1) * _HASH_RANGE / -self._heap[0]

    @property
    def multiplicities(self) -> tuple[tuple[int, int], ...]:
        """How many distinct texts came how often: (times, texts), ascending; an estimate beyond the capacity."""
        if not self._kept:
            return ()
        scale = self.count / len(self._kept)
        counted = collections.Counter(self._kept.values())
        return tuple((times, max(1, round(texts * scale))) for times, texts in sorted(counted.items()))

    @property
    def digest(self) -> str | None:
        """What equal sets of texts have in common, whatever their order and repetition; None for the empty set.

        Sets larger than the capacity are told apart by their least hash values only.
        """
        if not self._kept:
            return None
        values = b"".join(value.to_bytes(8, "big") for value in sorted(self._kept))
        return hashlib.blake2b(values, digest_size=8).hexdigest()


class PromptTally(DistinctCount):
    """Counts distinct prompts, and how alike the verdicts of one prompt are."""

    __slots__ = ("_passed",)

    def __init__(self, capacity: int = DISTINCT_EXACT) -> None:
        super().__init__(capacity)
        self._passed: dict[int, int] = {}

    def add(self, text: bytes, passed: bool = False) -> int | None:
        """Take in the verdict on one sample of a prompt."""
        key = super().add(text)
        if key is not None:
            self._passed[key] = self._passed.get(key, 0) + passed
        return key

    def _forget(self, value: int) -> None:
        super()._forget(value)
        self._passed.pop(value, None)

    @property
    def clustering(self) -> float | None:
        """Intraclass correlation of the verdicts (0..1), over at most as many prompts as the capacity.

        It is 0 where all prompts are equally hard, 1 where each is always or never solved; None: see
        `intraclass_correlation`.
        """
        return intraclass_correlation(
            collections.Counter((samples, self._passed[key]) for key, samples in self._kept.items())
        )


def intraclass_correlation(prompts: Mapping[tuple[int, int], int]) -> float | None:
    """Return how alike the verdicts on one prompt are, by a one-way analysis of variance (Donner and Koval, 1980).

    Args:
        prompts: (samples, accepted ones) to the number of prompts with these counts.

    Returns:
        None with fewer than two prompts, without repetitions, or where all verdicts are equal.
    """
    count = sum(prompts.values())
    total = sum(n * times for (n, _), times in prompts.items())
    if count < 2 or total <= count:
        return None
    rate = sum(passed * times for (_, passed), times in prompts.items()) / total
    between = sum(times * n * (passed / n - rate) ** 2 for (n, passed), times in prompts.items()) / (count - 1)
    within = sum(times * passed * (1.0 - passed / n) for (n, passed), times in prompts.items()) / (total - count)
    size = (total - sum(times * n * n for (n, _), times in prompts.items()) / total) / (count - 1)
    spread = between + (size - 1.0) * within
    return min(1.0, max(0.0, (between - within) / spread)) if spread > 0.0 else None


def distinct_ngrams(outputs: Iterable[str], n: int = 2) -> float | None:
    """Return the distinct n-grams over all n-grams (distinct-n: Li et al., 2016); None without any.

    Words and single signs are tokens, begin and end of an output count as one each.

    Args:
        outputs: texts.
        n: tokens of an n-gram.
    """
    total, seen = 0, set[tuple[str, ...]]()
    for output in outputs:
        tokens: Sequence[str] = ["", *_TOKEN.findall(output), ""]
        total += max(0, len(tokens) - n + 1)
        seen.update(tuple(tokens[place : place + n]) for place in range(len(tokens) - n + 1))
    return len(seen) / total if total else None


class OutputSample:
    """An even sample of `SAMPLED` outputs, the same for the same outputs in the same order."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._count = 0
        self._heap: list[tuple[int, str]] = []

    def add(self, output: str) -> None:
        """Take in one output."""
        self._count += 1
        place = hashlib.blake2b(self._count.to_bytes(8, "big"), digest_size=8).digest()
        entry = -int.from_bytes(place, "big"), output[:_LONGEST]
        if len(self._heap) < SAMPLED:
            heapq.heappush(self._heap, entry)
        elif entry[0] > self._heap[0][0]:
            heapq.heapreplace(self._heap, entry)

    @property
    def distinct(self) -> float | None:
        """Share of distinct pairs of tokens in the sample; None before it is full."""
        return distinct_ngrams(text for _, text in self._heap) if len(self._heap) == SAMPLED else None
