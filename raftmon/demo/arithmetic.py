"""The demo's task: write an expression that is worth a given number and uses another one.

A prompt such as ``57,23=`` asks for an expression worth 57 in which the number 23 occurs: ``23+34``, ``80-23``.
Each is judged by working it out, so the verifier cannot be wrong, and almost every prompt has several answers, so
that a policy can lose its diversity.
"""

from __future__ import annotations

import random
import re
from typing import Final

__all__ = ["ALPHABET", "LONGEST_COMPLETION", "PROMPTS", "example", "judge"]

ALPHABET: Final = "\n0123456789+-*=,"
"""Characters of prompts and completions; the first one ends a completion."""

LONGEST_COMPLETION: Final = 12
"""Characters that a policy may write."""

PROMPTS: Final = tuple(f"{number},{operand}=" for number in range(20, 100) for operand in range(10, number - 1))
"""Every prompt of the task."""

_EXPRESSION: Final = re.compile(r"\d{1,4}(?:[+*-]\d{1,4})+")
_TERM: Final = re.compile(r"([+-]?)(\d+(?:\*\d+)*)")


def judge(prompt: str, completion: str) -> float:
    """Return the reward of a completion.

    Returns:
        1.0 for an expression that is worth the number and uses the operand, 0.5 for any other expression, 0.0 for
        what is no expression at all.
    """
    if not _EXPRESSION.fullmatch(completion):
        return 0.0
    number, operand = prompt.rstrip("=").split(",")
    is_right = _value(completion) == int(number) and operand in re.findall(r"\d+", completion)
    return 1.0 if is_right else 0.5


def example(rng: random.Random, noise: float) -> tuple[str, str]:
    """Draw a prompt and a completion to pre-train on.

    Args:
        rng: source of randomness.
        noise: share (0..1) of the completions that get something wrong in one of five ways; a few of them happen to
            be right nevertheless.

    Returns:
        The prompt and the completion.
    """
    prompt = rng.choice(PROMPTS)
    number, operand = (int(part) for part in prompt.rstrip("=").split(","))
    if rng.random() >= noise:
        return prompt, _solution(number, operand, rng)
    wrong = (
        lambda: _solution(number + 10, operand, rng),
        lambda: _solution(number + rng.choice((-1, 1)), operand, rng),
        lambda: _solution(number, operand + rng.choice((-1, 1)), rng),
        lambda: _solution(number, operand, rng)[:-2],
        lambda: str(number),
    )
    return prompt, rng.choice(wrong)()


def _solution(number: int, operand: int, rng: random.Random) -> str:
    extra = rng.randint(1, 9)
    short = (f"{operand}+{number - operand}", f"{number - operand}+{operand}", f"{number + operand}-{operand}")
    return rng.choice(short) if rng.random() < 0.9 else f"{number + operand + extra}-{operand}-{extra}"


def _value(expression: str) -> int:
    total = 0
    for sign, product in _TERM.findall(expression):
        value = 1
        for factor in product.split("*"):
            value *= int(factor)
        total += -value if sign == "-" else value
    return total
