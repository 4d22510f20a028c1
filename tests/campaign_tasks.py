"""Three tasks with a verifier that cannot be wrong, for `tests.train_campaigns`.

All ask forty prompts with many right answers each, so that a policy can lose its diversity, and hold out some of the
prompts, so that learning the others by heart shows.
"""

from __future__ import annotations

import functools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["TASKS", "Task"]

PROMPTS: Final = 40
LARGEST: Final = 49
_SUM: Final = re.compile(r"\d{1,3}(?:[+-]\d{1,3})+")


@dataclass(frozen=True)
class Task:
    """Prompts, how they are answered, and how badly the base policy was taught."""

    name: str
    prompts: tuple[str, ...]
    """All of one length."""
    longest: int
    """Characters that a policy may write."""
    judge: Callable[[str, str], bool]
    """Whether a completion answers a prompt."""
    solve: Callable[[str, random.Random], str]
    """Draws a right answer."""
    spoil: Callable[[str, random.Random], str]
    """Makes a mistake in a right answer; a few of the results are right nevertheless."""
    noise: float
    """Share of spoilt completions in the pre-training data."""

    def example(self, rng: random.Random) -> tuple[str, str]:
        """Draw a prompt and a completion to pre-train on."""
        prompt = rng.choice(self.prompts)
        answer = self.solve(prompt, rng)
        return prompt, self.spoil(answer, rng) if rng.random() < self.noise else answer


def _is_worth(prompt: str, completion: str) -> bool:
    if not _SUM.fullmatch(completion):
        return False
    return sum(int(term) for term in re.findall(r"[+-]?\d+", completion)) == int(prompt[:-1])


def _expression(prompt: str, rng: random.Random) -> str:
    number = int(prompt[:-1])
    kind, part, extra = rng.random(), rng.randint(1, number - 1), rng.randint(1, 20)
    if kind < 0.5:
        return f"{part}+{number - part}"
    if kind < 0.8:
        return f"{number + extra}-{extra}"
    return f"{part}+{number - part + extra}-{extra}"


def _miscounted(answer: str, rng: random.Random) -> str:
    """Change one of the terms, or leave the last one out."""
    terms = re.findall(r"[+-]?\d+", answer)
    if rng.random() < 0.15:
        return "".join(terms[:-1])
    place, off = rng.randrange(len(terms)), rng.choice((-10, -2, -1, 1, 2, 10))
    sign = terms[place][0] if terms[place][0] in "+-" else ""
    terms[place] = f"{sign}{max(1, abs(int(terms[place])) + off)}"
    return "".join(terms)


def _spells(prompt: str, completion: str) -> bool:
    total, letters = prompt[:-1].split(",")
    values = ["abcdefghi".find(letter) + 1 for letter in completion]
    return len(values) == int(letters) and 0 not in values and sum(values) == int(total)


def _spelling(prompt: str, rng: random.Random) -> str:
    total, letters = (int(part) for part in prompt[:-1].split(","))
    values = []
    for left in range(letters, 0, -1):
        value = total if left == 1 else rng.randint(max(1, total - 9 * (left - 1)), min(9, total - left + 1))
        values.append(value)
        total -= value
    return "".join("abcdefghi"[value - 1] for value in values)


def _misspelt(answer: str, rng: random.Random) -> str:
    """Replace one letter by another, or write one too many or too few."""
    place = rng.randrange(len(answer))
    letter = rng.choice("abcdefghi")
    return f"{answer[:place]}{rng.choice((letter, letter, letter, letter + answer[place], ''))}{answer[place + 1 :]}"


@functools.cache
def _bracketings() -> Mapping[str, Sequence[str]]:
    """Every balanced text of 3 to 9 pairs, by its prompt: pairs and depth, ``07,3=``."""
    found: dict[str, list[str]] = defaultdict(list)

    def grow(text: str, open_now: int, deepest: int, left: int) -> None:
        if not left and not open_now:
            found[f"{len(text) // 2:02d},{deepest}="].append(text)
            return
        if left:
            grow(f"{text}(", open_now + 1, max(deepest, open_now + 1), left - 1)
        if open_now:
            grow(f"{text})", open_now - 1, deepest, left)

    for pairs in range(3, 10):
        grow("", 0, 0, pairs)
    return found


def _is_bracketing(prompt: str, completion: str) -> bool:
    now = deepest = 0
    for character in completion:
        now += 1 if character == "(" else -1 if character == ")" else -99
        deepest = max(deepest, now)
        if now < 0:
            return False
    return now == 0 and len(completion) == 2 * int(prompt[:2]) and deepest == int(prompt[3])


def _bracketing(prompt: str, rng: random.Random) -> str:
    return rng.choice(_bracketings()[prompt])


def _unbalanced(answer: str, rng: random.Random) -> str:
    """Turn, leave out or add a bracket, or exchange two neighbours."""
    place = rng.randrange(len(answer) - 1)
    here, there = answer[place], answer[place + 1]
    replaced = rng.choice((")" if here == "(" else "(", "", here + "()", None))
    if replaced is None:
        return f"{answer[:place]}{there}{here}{answer[place + 2 :]}"
    return f"{answer[:place]}{replaced}{answer[place + 1 :]}"


def _bracket_prompts() -> tuple[str, ...]:
    """Those with the most answers, so that each has several."""
    counted = sorted(_bracketings().items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(sorted(prompt for prompt, _ in counted[:PROMPTS]))


TASKS: Final[Mapping[str, Callable[[], Task]]] = {
    "arithmetic": lambda: Task(
        "arithmetic",
        tuple(f"{number}=" for number in range(LARGEST - PROMPTS + 1, LARGEST + 1)),
        12,
        _is_worth,
        _expression,
        _miscounted,
        0.6,
    ),
    "letters": lambda: Task(
        "letters",
        tuple(f"{total},{letters}=" for letters in (4, 5) for total in range(4 * letters - 6, 4 * letters + 14)),
        7,
        _spells,
        _spelling,
        _misspelt,
        0.5,
    ),
    "brackets": lambda: Task("brackets", _bracket_prompts(), 20, _is_bracketing, _bracketing, _unbalanced, 0.85),
}
